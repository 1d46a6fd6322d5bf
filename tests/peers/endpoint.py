"""Functions of dispatch-py, for its own Python: not this package's.

Arguments: a port, the public key of the service. Serves the functions and dispatches each by
dispatch-py's client; prints their ids as a JSON object, then serves until it is ended.
"""

# mypy: ignore-errors
# (mypy runs where dispatch-py is not.)

import asyncio
import itertools
import json
import sys

from dispatch import Client, Registry, Reset, Server, any, gather, race
from dispatch.http import Dispatch

port, public_key = int(sys.argv[1]), sys.argv[2]
registry = Registry("peer", client=Client(), endpoint=f"http://127.0.0.1:{port}")


@registry.function
async def double(number: int) -> int:
    return number * 2


@registry.function
async def fails(text: str) -> None:
    raise ValueError(text)


@registry.function
async def gathers(count: int) -> int:
    return sum(await gather(*(double(number) for number in range(count))))


@registry.function
async def takes_any() -> int:
    return await any(double(4), double(4))


@registry.function
async def races() -> int:
    return await race(double(3), double(3))


@registry.function
async def nested(depth: int) -> int:
    if depth == 0:
        return 1
    return sum(await gather(nested(depth - 1), nested(depth - 1)))


@registry.function
async def catches() -> str:
    try:
        await fails("crosses")
    except ValueError as error:
        return f"caught {error}"
    return "nothing was raised"


@registry.function
async def awaits_in_turn() -> int:
    first = await double(1)
    second = await double(first)
    return await double(second)


starts = itertools.count(1)


@registry.function
async def resets() -> int:
    start = next(starts)
    if start < 3:
        raise Reset(resets)
    return start


async def main() -> None:
    async with Server("127.0.0.1", port, Dispatch(registry, verification_key=public_key)):
        ids = {}
        for function, *args in (
            (double, 21),
            (gathers, 20),
            (takes_any,),
            (races,),
            (nested, 3),
            (catches,),
            (awaits_in_turn,),
            (resets,),
            (fails, "final"),
        ):
            ids[function.name] = await function.dispatch(*args)
        sys.stdout.write(json.dumps(ids) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


asyncio.run(main())
