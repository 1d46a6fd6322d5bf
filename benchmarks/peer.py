"""Measures dispatch-py, in its own virtual environment. Argument: port of the HTTP server."""

import asyncio
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks import workload
from benchmarks.workload import ENDPOINT, FUNCTION, INPUTS, KEY, Measurement, concurrently, timed

# Not by the import statement: where types are checked, `dispatch` is the package of our stubs.
dispatch: Any = import_module("dispatch")
dispatch_any: Any = import_module("dispatch.any")
dispatch_function: Any = import_module("dispatch.function")


def main(port: str) -> None:
    client = dispatch.Client(KEY, f"http://127.0.0.1:{port}")
    call = new_call(23)
    ready = [new_call(value) for value in INPUTS]

    async def dispatch_batch(calls: Callable[[], Any]) -> None:
        batch = dispatch_function.Batch(client)
        for one in calls():
            batch.add_call(one)
        assert len(await batch.dispatch()) == len(INPUTS)

    with asyncio.Runner() as runner:
        measurements: dict[str, Measurement] = {
            "async": concurrently(runner, lambda: client.dispatch([call])),
            "batch of values": timed(
                lambda: runner.run(dispatch_batch(lambda: map(new_call, INPUTS))),
                per=len(INPUTS),
            ),
            "batch of calls": timed(
                lambda: runner.run(dispatch_batch(lambda: ready)), per=len(INPUTS)
            ),
            **workload.conversions(dispatch_any.marshal_any, dispatch_any.unmarshal_any),
        }
        workload.obey(measurements, ["dispatch-py", "aiohttp", "protobuf"])

        async def close() -> None:
            await dispatch_function.current_session().close()

        runner.run(close())


def new_call(value: Any) -> Any:
    return dispatch.Call(endpoint=ENDPOINT, function=FUNCTION, input=value)


if __name__ == "__main__":
    main(*sys.argv[1:])
