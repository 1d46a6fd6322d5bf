"""The pauses that this process knows: all processes learn of a change within moments."""

import asyncio
from collections.abc import Callable, Sequence

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service import notices, store_pause
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.lanes import parts_of_lane
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.notices import Notices
from dispatch_grpc.service.refreshing import refresh

_LOOK_SECONDS = 2.0  # since notices may get lost


class Pauses:
    """Which lanes are paused. While the database does not work, those that were last.

    Args:
        database: The database.
        told: The notices of this process.
        metrics: Told the number of pauses.
        changed: Called when lanes are paused, or no longer.
    """

    def __init__(
        self, database: Database, told: Notices, metrics: Metrics, changed: Callable[[], None]
    ) -> None:
        self._database = database
        self._notices = told
        self._metrics = metrics
        self._changed = changed
        self._is_loaded = False
        self._targets: set[tuple[str, str]] = set()
        self._sooner = asyncio.Event()
        told.listen(notices.PAUSES, self._told)

    def _told(self, _: Sequence[str]) -> None:
        self._sooner.set()

    def tell(self) -> None:
        """Have all processes look at the pauses now, this one too."""
        self._notices.tell(notices.PAUSES, ["changed"])

    def is_paused(self, lane: str) -> bool:
        """Whether no job of a lane is to be taken."""
        if not self._targets:
            return False
        host, function = parts_of_lane(lane)
        return not self._targets.isdisjoint(
            {("", ""), (host, ""), ("", function), (host, function)}
        )

    async def load(self) -> None:
        """Look at the pauses, unless they were looked at before: no job is taken until then."""
        if not self._is_loaded:
            await self.look()

    async def look(self) -> None:
        """Look at the pauses now."""
        async with self._database.relaxed.acquire() as connection:
            found = await store_pause.find(connection)
        before, targets = self._targets, {(one.host, one.function) for one in found}
        self._is_loaded, self._targets = True, targets
        self._metrics.pauses.set(len(found))
        if targets != before:
            for host, function in sorted(targets - before):
                logger.warning("%s is paused", name_of(host, function))
            for host, function in sorted(before - targets):
                logger.warning("%s is resumed", name_of(host, function))
            self._changed()

    async def run(self) -> None:
        """Learn of changes until it is cancelled."""
        health = self._database.health
        await refresh(self.look, self._sooner, _LOOK_SECONDS, health=health, what="pauses")


def name_of(host: str, function: str) -> str:
    """Return what a pause is of, for a person."""
    if not host and not function:
        return "everything"
    if not function:
        return f"the host {host}"
    return f"the function {function}{f' on {host}' if host else ''}"
