"""A process of the service as `dispatch-grpc serve` runs it. Arguments: database, API key.

With a third argument, `ungrouped`, it records each request in a transaction of its own. It prints
its URL as a line of JSON, and serves until its input ends.
"""

import asyncio
import gc
import json
import sys
from importlib import import_module

import uvloop

from dispatch_grpc.service import Service, ServiceSettings


async def main(database: str, key: str, how: str = "") -> None:
    if how == "ungrouped":
        # By its name, since an earlier version does not have it.
        recording = import_module("dispatch_grpc.service.recording")
        vars(recording)["_MAX_CALLS"] = 0  # every request is too large for a group
    settings = ServiceSettings(database=database, port=0, api_keys=[key])
    async with Service.open(settings) as service:
        gc.freeze()
        print(json.dumps({"url": service.url}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
