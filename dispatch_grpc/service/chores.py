"""The service's chores: waking calls, counting, deleting what is old, mending what is broken.

Each is done by one process at a time, whichever comes first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any
from uuid import UUID

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service import reads_counts, run_log, store_due, store_upkeep
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.events import is_set_within
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.store import CallDecision

_WAKE_SECONDS = 2.0
_SLICE_PAUSE_SECONDS = 0.05  # others are to have a part of the database
_EXPIRED_AT_ONCE = 1_000
_COUNT_TIMEOUT = timedelta(seconds=10)  # another process counts when this one has not by then
# One number for each chore, the same in all processes.
_LOCKS = {
    "recover": 0x6469_7370_0001,
    "prune": 0x6469_7370_0002,
    "expire": 0x6469_7370_0003,
    "file": 0x6469_7370_0004,
    "labels": 0x6469_7370_0005,
}


class Chores:
    """What is to be done again and again beside running calls.

    Args:
        database: The database.
        settings: How long things are kept.
        metrics: Told the counts.
        expect: Told the lanes for which there are new jobs.
        written: Told the outcomes that were written, the lanes of new jobs, and the calls that have
            finished.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        metrics: Metrics,
        *,
        expect: Callable[[Iterable[str]], None],
        written: Callable[[Sequence[CallDecision], Collection[str], Sequence[UUID]], None],
    ) -> None:
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._expect = expect
        self._written = written
        self._wake_at = 0.0
        self._sooner = asyncio.Event()
        self._more: list[tuple[Callable[[], Awaitable[Any]], float]] = []

    def add(self, chore: Callable[[], Awaitable[Any]], seconds: float) -> None:
        """Add a chore that is done again after so many seconds; before `run`."""
        self._more.append((chore, seconds))

    def wake_within(self, seconds: float) -> None:
        """Have calls woken after some time, or before."""
        at = asyncio.get_running_loop().time() + seconds
        if at < self._wake_at:
            self._wake_at = at
            self._sooner.set()

    async def run(self) -> None:
        """Do the chores until it is cancelled."""
        await asyncio.gather(
            self._wake_when_due(),
            *(
                self._repeatedly(chore, seconds)
                for chore, seconds in (
                    (self._count, 2.0),
                    (self._expire, 1.0),
                    (self._database.revive, 1.0),
                    (self._prune, 60.0),
                    (self._recover, 60.0),
                    (self._file, 60.0),
                    (self._prune_labels, 3600.0),
                    *self._more,
                )
            ),
        )

    async def _repeatedly(self, chore: Callable[[], Awaitable[Any]], seconds: float) -> None:
        while True:
            await self._safely(chore)
            await asyncio.sleep(seconds)

    async def _safely(self, chore: Callable[[], Awaitable[Any]]) -> None:
        try:
            await chore()
        except Exception as error:
            if not self._database.health.noted(error):
                logger.exception("a chore of the service failed, and is tried again")

    async def _wake_when_due(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._sooner.clear()
            if self._wake_at <= loop.time():
                self._wake_at = loop.time() + _WAKE_SECONDS
                await self._safely(self._wake)
            await is_set_within(self._sooner, max(self._wake_at - loop.time(), 0.01))

    async def _wake(self) -> None:
        async with self._database.transaction() as connection:
            lanes = await store_due.wake(connection)
            seconds = await store_due.next_wake(connection)
        self._expect(lanes)
        if seconds is not None:
            self.wake_within(seconds)

    async def _count(self) -> None:
        """Tell the metrics how many calls there are; count them when it is time to."""
        async with self._database.relaxed.acquire() as connection:
            if await store_upkeep.claim_count(connection, _COUNT_TIMEOUT):
                start = perf_counter()
                async with self._database.looks.acquire() as looks:
                    numbers = await reads_counts.count(looks)
                took = timedelta(seconds=perf_counter() - start)
                await store_upkeep.note_count(connection, numbers, took)
            if (counted := await reads_counts.counted(connection)) is not None:
                self._metrics.backlog(counted)
        async with self._database.looks.acquire() as looks:
            self._metrics.dead.set(await reads_counts.count_dead(looks))

    async def _expire(self) -> None:
        """End calls that have expired in the queue: their lane is full, or their host rests."""
        while await self._expire_some() == _EXPIRED_AT_ONCE:
            pass

    async def _expire_some(self) -> int:
        async with self._database.transaction() as connection:
            if not await _is_mine(connection, "expire"):
                return 0
            items, due, finished = await store_due.expire(
                connection, self._database.clock.now(), self._settings.limits, _EXPIRED_AT_ONCE
            )
        now = self._database.clock.now()
        self._metrics.finished(items, set(finished), now)
        run_log.outcomes(items, set(finished), now)
        self._written(items, due, finished)
        return len(items)

    async def _recover(self) -> None:
        after: UUID | None = store_upkeep.FIRST_ID
        while after is not None:
            async with self._database.transaction() as connection:
                if not await _is_mine(connection, "recover"):
                    return
                lanes, after = await store_upkeep.recover(connection, after)
            if lanes:
                logger.warning("calls without a job were found, and have one again")
                self._expect(lanes)
            await asyncio.sleep(_SLICE_PAUSE_SECONDS)

    async def _file(self) -> None:
        after: tuple[datetime, UUID] | None = store_upkeep.FIRST_PLACE
        while after is not None:
            async with self._database.transaction() as connection:
                if not await _is_mine(connection, "file"):
                    return
                after = await store_upkeep.file(connection, after)
            await asyncio.sleep(_SLICE_PAUSE_SECONDS)

    async def _prune_labels(self) -> None:
        after: UUID | None = store_upkeep.FIRST_ID
        while after is not None:
            async with self._database.transaction() as connection:
                if not await _is_mine(connection, "labels"):
                    return
                after = await store_upkeep.prune_labels(connection, self._settings.retention, after)
            await asyncio.sleep(_SLICE_PAUSE_SECONDS)

    async def _prune(self) -> None:
        settings = self._settings
        async with self._database.transaction() as connection:
            if await _is_mine(connection, "prune"):
                await store_upkeep.tend_partitions(
                    connection, settings.retention, settings.request_retention
                )
        while await self._prune_some():
            await asyncio.sleep(_SLICE_PAUSE_SECONDS)

    async def _prune_some(self) -> bool:
        settings = self._settings
        async with self._database.transaction() as connection:
            if not await _is_mine(connection, "prune"):
                return False
            await connection.execute(
                "DELETE FROM processes WHERE seen_at < now() - $1::interval", timedelta(days=1)
            )
            await connection.execute(
                "DELETE FROM resting_hosts WHERE until < now() - $1::interval", timedelta(hours=1)
            )
            return await store_upkeep.prune(
                connection, settings.retention, settings.request_retention
            )


async def _is_mine(connection: Any, chore: str) -> bool:
    """Whether this process may do a chore, until the end of the transaction."""
    found: bool = await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCKS[chore])
    return found
