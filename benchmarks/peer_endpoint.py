"""An endpoint of dispatch-py, served by aiohttp. Argument: a verification key, or none."""

import asyncio
import os
import sys
from importlib import import_module
from typing import Any

from benchmarks import workload
from benchmarks.workload import INPUT, KEY

# Not by the import statement: where types are checked, `dispatch` is the package of our stubs.
dispatch: Any = import_module("dispatch")
dispatch_http: Any = import_module("dispatch.http")
function_pb2: Any = import_module("dispatch.sdk.v1.function_pb2")


async def noop(value: int) -> int:
    return value


def noop_sync(value: int) -> int:
    return value


async def main(verification_key: str | None = None) -> None:
    workload.be_quiet("dispatch")
    os.environ.pop("DISPATCH_VERIFICATION_KEY", None)
    # Its client is not used, nor is the endpoint's URL looked at.
    registry = dispatch.Registry(
        "benchmarks", client=dispatch.Client(KEY), endpoint="http://127.0.0.1:1"
    )
    calls = {
        "async": registry.function(noop).build_call(INPUT),
        "sync": registry.function(noop_sync).build_call(INPUT),
    }
    requests = {
        what: workload.run_request(function_pb2.RunRequest, call._as_proto())
        for what, call in calls.items()
    }
    app = dispatch_http.Dispatch(registry, verification_key)
    async with dispatch_http.Server("127.0.0.1", 0, app) as server:
        workload.announce(server.port, requests)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
