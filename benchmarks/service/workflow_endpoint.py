"""An endpoint with workflows, in a process of its own, on uvloop.

It prints its port as a line of JSON, and serves until its input ends.
"""

import asyncio
import json
import sys

import uvloop

from dispatch_grpc import Endpoint
from dispatch_grpc.serving import one_port, sockets

endpoint = Endpoint("http://127.0.0.1:1", env={})


@endpoint.function
async def f(number: int) -> int:
    return number


@endpoint.workflow
async def chain(count: int) -> int:
    """So many calls, one after the other."""
    total = 0
    for number in range(count):
        total += await f.run(number)
    return total


@endpoint.workflow
async def fan_out(count: int) -> int:
    """So many calls at once."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(f.run(number)) for number in range(count)]
    return sum(task.result() for task in tasks)


async def main() -> None:
    listener = sockets.listen()
    port = listener.getsockname()[1]
    endpoint.url = f"http://127.0.0.1:{port}"
    print(json.dumps(port), flush=True)

    async def until() -> None:
        await asyncio.to_thread(sys.stdin.read)

    await one_port.serve(endpoint.app, listener, until=until)


if __name__ == "__main__":
    uvloop.run(main())
