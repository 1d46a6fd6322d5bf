"""Keep what a process knows of a table up to date, since other processes change it."""

import asyncio
from collections.abc import Awaitable, Callable

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.events import is_set_within
from dispatch_grpc.service.faults import Health

_AGAIN_SECONDS = 1.0


async def refresh(
    read: Callable[[], Awaitable[None]],
    sooner: asyncio.Event,
    seconds: float,
    *,
    health: Health,
    what: str,
) -> None:
    """Read a table again and again, also after outages of the database, until it is cancelled.

    Args:
        read: Reads the table.
        sooner: Set by a notice of a change: the table is read at once, and the event is cleared.
        seconds: Longest time between two reads, since a notice may get lost.
        health: Told the errors of the database.
        what: What the table holds, for the log.
    """
    while True:
        sooner.clear()
        try:
            await read()
        except Exception as error:
            if not health.noted(error):
                logger.exception("the %s cannot be read, and are tried again", what)
            await asyncio.sleep(_AGAIN_SECONDS)
        await is_set_within(sooner, seconds)
