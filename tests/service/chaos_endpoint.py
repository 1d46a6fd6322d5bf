"""An endpoint for `chaos`. Arguments: a file, a port, the URL that the service calls it by.

Each attempt notes a line in the file: the function, the dispatch id.
"""

import asyncio
import os
import random
import sys

from dispatch_grpc import Endpoint, PermanentError, current_call, unmarshal
from dispatch_grpc.primitives import RunRequest, RunResponse, exit_, poll, tail_call
from dispatch_grpc.serving import one_port

endpoint = Endpoint(sys.argv[3])
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(name: str) -> None:
    os.write(log, f"{name} {current_call().dispatch_id}\n".encode())


@endpoint.function
async def square(number: int) -> int:
    note("square")
    return number * number


@endpoint.function
async def slow(seconds: float) -> float:
    note("slow")
    await asyncio.sleep(seconds)
    return seconds


@endpoint.function
async def unsteady(number: int) -> int:
    """Fails every other time."""
    note("unsteady")
    if random.random() < 0.5:
        raise RuntimeError("not this time")
    return -number


@endpoint.function
async def refuses(number: int) -> None:
    note("refuses")
    raise PermanentError(f"not {number}")


@endpoint.primitive
async def total(request: RunRequest) -> RunResponse:
    """The sum of the squares of the numbers below the input, taken a few at a time."""
    note("total")
    if request.HasField("input"):
        left, found = unmarshal(request.input), 0
        calls = [square.call(number) for number in range(left)]
    else:
        left, found = unmarshal(request.poll_result.typed_coroutine_state)
        results = request.poll_result.results
        left -= len(results)
        found += sum(unmarshal(result.output) for result in results)
        calls = []
    if left == 0:
        return exit_(found)
    return poll(calls, min_results=min(left, 3), max_results=5, state=[left, found])


@endpoint.primitive
async def chain(request: RunRequest) -> RunResponse:
    """Goes on as itself, so many times."""
    note("chain")
    left = unmarshal(request.input)
    return exit_("end") if left == 0 else tail_call(chain.call(left - 1))


@endpoint.workflow
async def gather(count: int) -> int:
    """The sum of the squares of the numbers below the input, but for the last in turn."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(square.run(number)) for number in range(count - 1)]
    return sum(task.result() for task in tasks) + await square.run(count - 1)


async def main() -> None:
    listener = one_port.listen(port=int(sys.argv[2]))
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    await one_port.serve(endpoint.app, listener, until=asyncio.Event().wait)


if __name__ == "__main__":
    asyncio.run(main())
