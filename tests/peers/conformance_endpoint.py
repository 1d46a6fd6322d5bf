"""The functions of the conformance, on dispatch-py: run by its own Python.

Arguments: a port, and the public key of the service.
"""

# mypy: ignore-errors
# (mypy runs where dispatch-py is not.)

import asyncio
import sys

from dispatch import Client, Registry, Server
from dispatch.any import unmarshal_any
from dispatch.http import Dispatch
from dispatch.proto import Call, Error, Input, Output
from dispatch.status import Status

port, public_key = int(sys.argv[1]), sys.argv[2]
registry = Registry("peer", client=Client("key"), endpoint=f"http://127.0.0.1:{port}")


async def echo(input: Input) -> Output:
    return Output.value(input.input, Status.OK)


async def fail(input: Input) -> Output:
    return Output.error(Error(Status[input.input], "Failed", "as was asked"))


async def crash(input: Input) -> Output:
    raise RuntimeError(input.input)


async def relay(input: Input) -> Output:
    if input.is_first_call:
        given = input.input
        call = Call(
            given.function, unmarshal_any(given.input), given.endpoint, given.correlation_id
        )
        return Output.poll(None, [call], 1, 1, 3600)
    error = input.poll_error or input.call_results[0].error
    if error is not None:
        error.status = Status.PERMANENT_ERROR
        return Output.error(error)
    return Output.value(input.call_results[0].output)


for function in (echo, fail, crash, relay):
    registry.primitive_function(function)


async def main() -> None:
    async with Server("127.0.0.1", port, Dispatch(registry, verification_key=public_key)):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


asyncio.run(main())
