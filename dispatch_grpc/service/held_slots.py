"""Warn when functions hold all slots of a host while clients wait for queued calls of that host.

A function that waits for a call with a client holds a slot meanwhile. When such functions hold all
slots that their host may have, the calls that they wait for never begin. The service cannot tell
who a waiting client is, so it warns only when nothing of the host has ended for some time.
"""

from collections.abc import Callable, Collection
from uuid import UUID

from dispatch_grpc.calls import mask_urls
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service import reads
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.lanes import Lanes
from dispatch_grpc.service.urls import host_of

SECONDS = 10.0
"""Time between two looks; a host is warned of when it stood still from one to the next."""
_MOST = 1000


class HeldSlots:
    """Looks for hosts that stand still, and warns of each once.

    Args:
        database: The database.
        lanes: The slots.
        waited_for: Returns the ids of calls that clients wait for.
    """

    def __init__(
        self, database: Database, lanes: Lanes, waited_for: Callable[[], Collection[UUID]]
    ) -> None:
        self._database, self._lanes, self._waited_for = database, lanes, waited_for
        self._before: set[str] = set()
        self._warned: set[str] = set()

    async def look(self) -> None:
        """Warn of hosts that have stood still since the last look."""
        stalled = self._lanes.stalled()
        suspected = (stalled & self._before) - self._warned
        self._before = stalled
        self._warned &= stalled
        ids = list(self._waited_for())[:_MOST]
        if not suspected or not ids:
            return
        async with self._database.looks.acquire() as connection:
            rows = await reads.queued_by_function(connection, ids)
        for row in rows:
            host = host_of(row["endpoint"])
            if host in suspected and host not in self._warned:
                self._warned.add(host)
                logger.warning(
                    "all slots of %s are taken, none of its calls has ended for %g s, and clients "
                    "wait for %d queued calls of %s. Functions that wait for calls with a client "
                    "hold the slots that those calls need: make such functions workflows "
                    "(@endpoint.workflow) and await the calls there, or raise --host-concurrency",
                    mask_urls(host),
                    SECONDS,
                    row["count"],
                    row["function"],
                )
