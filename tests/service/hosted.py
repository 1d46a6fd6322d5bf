"""An endpoint whose functions do what the tests of faults need.

Arguments: a file, a port (0 chooses one), and the URL that the service calls it by, unless that is
the port's.

Each run notes a line in the file: the function, the dispatch id.
"""

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from dispatch_grpc import Endpoint, PermanentError, Status, current_call, unmarshal
from dispatch_grpc.primitives import RunRequest, RunResponse, exit_, poll, tail_call
from dispatch_grpc.serving import one_port, sockets

endpoint = Endpoint(sys.argv[3] if sys.argv[3:] else "http://127.0.0.1:1")  # its port comes later
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
async def ticked(seconds: float) -> str:
    """Notes the tick for which it runs, and returns it after some time."""
    tick = current_call().scheduled_time
    os.write(log, f"ticked {current_call().dispatch_id} {tick and tick.isoformat()}\n".encode())
    await asyncio.sleep(seconds)
    return str(tick and tick.isoformat())


@endpoint.function
async def stubborn() -> None:
    """Takes an hour, and notes when it is cancelled."""
    note("stubborn")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        note("cancelled")
        raise


crowd = 0


@endpoint.function
async def crowded(seconds: float) -> None:
    """Takes a while, and notes how many of its runs there are at the time, itself included."""
    global crowd  # noqa: PLW0603
    crowd += 1
    os.write(log, f"crowded {current_call().dispatch_id} {crowd}\n".encode())
    try:
        await asyncio.sleep(seconds)
    finally:
        crowd -= 1


@endpoint.primitive
async def crowds(request: RunRequest) -> RunResponse:
    """Calls `crowded` so many times at once."""
    if request.HasField("input"):
        count = unmarshal(request.input)
        return poll([crowded.call(0.02)] * count, min_results=count)
    return exit_(len(request.poll_result.results))


tokens, filled = 50.0, time.monotonic()


@endpoint.primitive
async def limited(request: RunRequest) -> RunResponse:
    """Takes 50 calls a second, and those of up to a second in which the process had no turn."""
    global tokens, filled  # noqa: PLW0603
    now = time.monotonic()
    tokens, filled = min(50.0, tokens + (now - filled) * 50), now
    if tokens < 1:
        note("refused")
        return RunResponse(status=Status.THROTTLED.value)
    tokens -= 1
    note("limited")
    return exit_(1)


@endpoint.function
def flaky(times: int) -> int:
    """Fails so many times, for each call."""
    note("flaky")
    runs = Path(sys.argv[1]).read_text().count(current_call().dispatch_id)
    if runs <= times:
        raise ConnectionError(f"run {runs} of {times}")
    return runs


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


@endpoint.function
def dies() -> None:
    """Ends the process in the middle of its answer."""
    note("dies")
    os._exit(1)


@endpoint.primitive
async def total(request: RunRequest) -> RunResponse:
    """The sum of the squares of the numbers below the input, each a call of its own."""
    if request.HasField("input"):
        count = unmarshal(request.input)
        calls = [square.call(number) for number in range(count)]
        return poll(calls, min_results=min(count, 1000), state={"left": count, "sum": 0})
    state = unmarshal(request.poll_result.typed_coroutine_state)
    results = request.poll_result.results
    left = state["left"] - len(results)
    sum_ = state["sum"] + sum(unmarshal(result.output) for result in results)
    if left <= 0:
        return exit_(sum_)
    return poll(min_results=min(left, 1000), state={"left": left, "sum": sum_})


@endpoint.primitive
async def total_in_parts(request: RunRequest) -> RunResponse:
    """The same, with the results of three to five calls at a time."""
    note("total_in_parts")
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


@endpoint.workflow
async def gather(count: int) -> int:
    """The sum of the squares of the numbers below the input, but for the last in turn."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(square.run(number)) for number in range(count - 1)]
    return sum(task.result() for task in tasks) + await square.run(count - 1)


@endpoint.function
async def large(size: int) -> bytes:
    """Returns so many bytes, no two results alike."""
    return os.urandom(size)


@endpoint.primitive
async def fan_out(request: RunRequest) -> RunResponse:
    """Calls `large` so many times, with such a size, and returns how many bytes came back."""
    if request.HasField("input"):
        count, size = unmarshal(request.input)
        return poll([large.call(size)] * count, min_results=count, state=[count, 0])
    left, total = unmarshal(request.poll_result.typed_coroutine_state)
    results = request.poll_result.results
    left, total = left - len(results), total + sum(len(unmarshal(one.output)) for one in results)
    return poll(min_results=left, state=[left, total]) if left else exit_(total)


@endpoint.primitive
async def complain(request: RunRequest) -> RunResponse:
    """Fails with a message of so many bytes, and may be tried again."""
    error = ConnectionError("x" * unmarshal(request.input))
    return exit_(error=error, status=Status.TEMPORARY_ERROR)


@endpoint.primitive
async def complaints(request: RunRequest) -> RunResponse:
    """Calls `complain` so many times, with such a size."""
    count, size = unmarshal(request.input)
    return poll([complain.call(size)] * count, min_results=count)


@endpoint.function
async def weigh(data: bytes) -> int:
    """Takes a while, and returns the size of its input."""
    await asyncio.sleep(2)
    return len(data)


@endpoint.primitive
async def heavy(request: RunRequest) -> RunResponse:
    """Makes a call with so many bytes, and keeps as many for itself; returns how many these are."""
    if request.HasField("input"):
        data = os.urandom(unmarshal(request.input))
        return poll([weigh.call(data)], state=data)
    result = request.poll_result
    there = unmarshal(result.results[0].output)
    return exit_(there + len(result.coroutine_state))


@endpoint.primitive
async def nested(request: RunRequest) -> RunResponse:
    """Calls itself to a depth, twice each time; returns how many there were at the bottom."""
    if request.HasField("input"):
        depth = unmarshal(request.input)
        if depth == 0:
            return exit_(1)
        return poll([nested.call(depth - 1)] * 2, min_results=2)
    return exit_(sum(unmarshal(result.output) for result in request.poll_result.results))


@endpoint.primitive
async def chain(request: RunRequest) -> RunResponse:
    """Goes on as itself, so many times."""
    note("chain")
    left = unmarshal(request.input)
    return exit_("end") if left == 0 else tail_call(chain.call(left - 1))


async def main() -> None:
    listener = sockets.listen(port=int(sys.argv[2]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    if not sys.argv[3:]:
        endpoint.url = url
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    await one_port.serve(endpoint.app, listener, until=asyncio.Event().wait)


if __name__ == "__main__":
    asyncio.run(main())
