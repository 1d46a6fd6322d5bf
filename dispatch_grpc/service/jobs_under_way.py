"""The jobs that this process has claimed, each until it is deleted or put back."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service import queue
from dispatch_grpc.service.batching import Batcher
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.hosts import SharedHosts
from dispatch_grpc.service.lanes import Lanes, host_of_lane
from dispatch_grpc.service.limited import Limited
from dispatch_grpc.service.queue import Claim
from dispatch_grpc.service.runs import Runs
from dispatch_grpc.service.store import Loaded
from dispatch_grpc.service.timetable import Timetable, now


class JobsUnderWay:
    """Does jobs, each in a task of its own. A job holds its slot until its attempt has ended.

    Args:
        owner: The process.
        database: The database.
        runs: Runs the calls of the jobs.
        lanes: Where the slots are given back.
        hosts: Told the attempts that have ended.
        limited: Told the jobs that have ended.
        timetable: Told the slots that come free, and the jobs that are put back.
    """

    def __init__(
        self,
        owner: UUID,
        database: Database,
        runs: Runs,
        *,
        lanes: Lanes,
        hosts: SharedHosts,
        limited: Limited,
        timetable: Timetable,
    ) -> None:
        self._owner = owner
        self._database = database
        self._runs = runs
        self._lanes = lanes
        self._hosts = hosts
        self._limited = limited
        self._timetable = timetable
        self._dones: Batcher[int, None] = Batcher(self._done, 500)
        self.tasks: dict[int, asyncio.Task[None]] = {}
        """The tasks that do the jobs, by the ids of the jobs."""

    async def end_within(self, seconds: float) -> None:
        """Wait until there is no job under way, but no longer than some seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.tasks:
                    await asyncio.wait(set(self.tasks.values()))

    def begin(self, claim: Claim, *loaded: Loaded | None) -> None:
        """Have a job done that was taken, with its slot, and whose call may be loaded."""
        self.tasks[claim.id] = asyncio.create_task(self._do(claim, *loaded))

    async def _do(self, claim: Claim, *loaded: Loaded | None) -> None:
        has_slot = True
        begun_at = now()

        def give_back() -> None:
            nonlocal has_slot
            if has_slot:
                has_slot = False
                self._lanes.give_back(claim.lane)
                self._hosts.ended(host_of_lane(claim.lane))
                self._timetable.wake_up()

        try:
            if loaded:
                (call,) = loaded
                await asyncio.sleep(0)  # the answer to the client that dispatched the call first
            else:
                call = await self._runs.load(claim.payload)
            if not await self._runs.do(call, claim.id, begun_at, give_back):
                give_back()
                await self._dones.submit(claim.id)
        except Exception:
            logger.exception("a job cannot be done, and is tried again")
            give_back()
            await self._put_back(claim)
        finally:
            give_back()
            del self.tasks[claim.id]
            self._limited.ended([claim.lane])
            self._timetable.wake_up()

    async def _done(self, ids: Sequence[int]) -> Sequence[None]:
        async def done(connection: Any) -> None:
            await queue.done(connection, self._owner, ids)

        await self._database.persist(self._database.relaxed, done, in_transaction=False)
        return [None] * len(ids)

    async def _put_back(self, claim: Claim) -> None:
        async def put_back(connection: Any) -> timedelta | None:
            return await queue.put_back(connection, self._owner, claim.id)

        delay = await self._database.persist(self._database.relaxed, put_back)
        if delay is not None:
            self._timetable.expect(claim.lane, delay.total_seconds())
