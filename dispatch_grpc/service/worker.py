"""What runs the calls that are in the database: its parts, and their life.

No error ends it. When the database fails, that is logged once, and each part tries again. No part
waits for the runs under way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from uuid import UUID, uuid4

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service import held_slots, machine, notices, queue, rates
from dispatch_grpc.service.caller import Caller
from dispatch_grpc.service.chores import Chores
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.dequeue import Dequeue
from dispatch_grpc.service.handover import Handovers
from dispatch_grpc.service.held_slots import HeldSlots
from dispatch_grpc.service.hosts import SharedHosts
from dispatch_grpc.service.jobs_under_way import JobsUnderWay
from dispatch_grpc.service.lanes import Lanes
from dispatch_grpc.service.limited import Limited
from dispatch_grpc.service.memory import Memory
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.notices import Notices
from dispatch_grpc.service.pauses import Pauses
from dispatch_grpc.service.policies import SharedPolicies
from dispatch_grpc.service.queue import Claim
from dispatch_grpc.service.rates import Rates
from dispatch_grpc.service.retention import SECONDS, Retention
from dispatch_grpc.service.runs import Runs
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.store import CallDecision, Loaded
from dispatch_grpc.service.timetable import Timetable, now

_READY_SECONDS = 10.0
_ALIVE_SECONDS = 60.0
_STOPPED_SECONDS = 2.0  # between two looks at a worker that claims nothing any more
_RELEASE_SECONDS = 5.0


class Worker:
    """Runs the calls that are in the database.

    Args:
        database: The database.
        caller: Calls endpoints.
        settings: How much is done at once, and how long things are kept.
        metrics: Counts what is done.

    Attributes:
        me: The id of this process.
        handovers: Begin the jobs that transactions of this process make due.
        notices: The notices of this process.
        memory: What large requests and answers may hold.
        pauses: The pauses.
        rates: Counts the calls that finish.
    """

    def __init__(
        self, database: Database, caller: Caller, settings: Settings, metrics: Metrics
    ) -> None:
        self.me: UUID = uuid4()
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self._wrote_at = float("-inf")
        self._timetable = timetable = Timetable()
        self.memory: Memory = Memory(settings.memory)
        self.rates: Rates = Rates(database)
        self.notices: Notices = Notices(database, lost=timetable.look_again)
        self.notices.listen(notices.LANES, self._have_jobs)
        self.notices.listen(notices.LATER, self._have_later_jobs)
        self._policies = SharedPolicies(database, self.notices, timetable.look_again)
        self._limited = Limited(database, self._policies, self.notices, timetable.wake_up)
        self._hosts = SharedHosts(database, self.notices, timetable.wake_up)
        metrics.shared.resting = self._hosts.resting
        self.pauses: Pauses = Pauses(database, self.notices, metrics, self._paused)
        self._lanes = Lanes(
            settings.concurrency,
            settings.host_concurrency,
            self._hosts.allowance,
            self.pauses.is_paused,
            is_limited=self._limited.is_limited,
            is_full=self._limited.is_full,
            priority=self._policies.priority,
        )
        self._chores = Chores(
            database, settings, metrics, expect=self.expect, written=self._written
        )
        retention = Retention(database, lambda: self._policies.current, settings.retention)
        self._chores.add(retention.prune, SECONDS)
        self._chores.add(self.rates.flush, rates.SECONDS)
        self.handovers: Handovers = Handovers(
            self.me,
            self._lanes,
            self._hosts,
            is_open=self._may_take,
            begin=self._begin,
            lost=self._lose_claim,
        )
        self._runs = Runs(
            self.me,
            database,
            caller,
            metrics,
            limits=settings.limits,
            allow_metadata=settings.allow_metadata,
            answered=self._hosts.answered,
            written=self._written,
            handovers=self.handovers,
            memory=self.memory,
            policies=self._policies,
        )
        self.notices.listen(notices.FINISHED, self._runs.end)
        self._jobs = JobsUnderWay(
            self.me,
            database,
            self._runs,
            lanes=self._lanes,
            hosts=self._hosts,
            limited=self._limited,
            timetable=timetable,
        )
        self._dequeue = Dequeue(
            self.me,
            database,
            settings,
            metrics,
            timetable,
            jobs=self._jobs,
            lanes=self._lanes,
            hosts=self._hosts,
            limited=self._limited,
            policies=self._policies,
            pauses=self.pauses,
            expect=self.expect,
            may_reclaim=lambda: not self.handovers.under_way,
        )

    # Called by other parts

    def warn_of_held_slots(self, waited_for: Callable[[], Collection[UUID]]) -> None:
        """Warn of functions that hold the slots that calls need for which clients wait."""
        look = HeldSlots(self._database, self._lanes, waited_for).look
        self._chores.add(look, held_slots.SECONDS)

    def add_chore(self, chore: Callable[[], Awaitable[None]], seconds: float) -> None:
        """Do something again after so many seconds; before `run`."""
        self._chores.add(chore, seconds)

    def make_way(self) -> None:
        """Let a request go first: claim jobs a little later."""
        self._dequeue.make_way()

    def expect(self, lanes: Iterable[str]) -> None:
        """Note lanes that have jobs, and notify other processes."""
        self.notices.tell(notices.LANES, sorted(set(lanes)))

    def expect_later(self, lane: str, seconds: float) -> None:
        """Note that a lane has a job that is due in some seconds. Other processes find it."""
        self._timetable.expect(lane, seconds)

    def _have_jobs(self, lanes: Sequence[str]) -> None:
        for lane in lanes:
            self._lanes.has_jobs(lane)
        self._timetable.wake_up()

    def _have_later_jobs(self, lanes: Sequence[str]) -> None:
        for lane in lanes:
            self._timetable.expect(lane, 0)  # a claim that finds none asks when they are due

    def _paused(self) -> None:
        self._lanes.drop_paused()
        self._timetable.look_again()

    def _may_take(self) -> bool:
        # Outcomes that wait to be written hold no slot: this bounds their number.
        has_room = len(self._jobs.tasks) < self._settings.concurrency
        return has_room and self._dequeue.is_sound and not self._stopping.is_set()

    def _begin(self, claim: Claim, loaded: Loaded | None) -> None:
        self._jobs.begin(claim, loaded)

    def _lose_claim(self) -> None:
        self._dequeue.lose_claim()

    def _written(
        self, items: Sequence[CallDecision], lanes: Collection[str], finished: Sequence[UUID]
    ) -> None:
        self.rates.finished(items, finished)
        time = self._database.clock.now()
        for item in items:
            outcome = item.outcome
            if isinstance(outcome, machine.Retry):
                self.expect_later(item.loaded.lane, (outcome.at - time).total_seconds())
            elif isinstance(outcome, machine.Suspend):
                soonest = min(outcome.wake_at, outcome.idle_at)
                self._chores.wake_within((soonest - time).total_seconds())
        self.expect(lanes)
        self.notices.tell(notices.FINISHED, [id.hex for id in finished])

    @property
    def is_ready(self) -> bool:
        """Whether a dequeue and a write succeeded within the last seconds."""
        return now() - min(self._dequeue.claimed_at, self._wrote_at) < _READY_SECONDS

    @property
    def is_alive(self) -> bool:
        """Whether the loop turns, even if the database does not work."""
        return now() - self._dequeue.turned_at < _ALIVE_SECONDS

    # Its life

    async def run(self) -> None:
        """Run calls until it is cancelled, also after outages of the database."""
        loops = [
            asyncio.create_task(act)
            for act in (
                self._forever(self._turn, self._timetable.wait),
                self._forever(self._beat, asyncio.sleep),
                self.notices.run(),
                self._hosts.run(),
                self._policies.run(),
                self.pauses.run(),
                self._chores.run(),
            )
        ]
        try:
            await asyncio.gather(*loops)
        finally:
            tasks = [*loops, *self._jobs.tasks.values()]
            for task in tasks:
                if not task.cancelling():  # a second time would interrupt the end of a transaction
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self, running: "asyncio.Task[None]") -> None:
        """Claim no more jobs; give the runs time to finish, then release their calls.

        Args:
            running: The task of `run`.
        """
        self._stopping.set()
        self._timetable.wake_up()
        with suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self.handovers.ended()  # or jobs would begin after the last one has ended
        await self._jobs.end_within(self._settings.shutdown_timeout.total_seconds())
        self._runs.release()
        # Without the database nothing can be released: other processes take over in time.
        await self._jobs.end_within(_RELEASE_SECONDS)
        running.cancel()
        await asyncio.wait({running}, timeout=2 * _RELEASE_SECONDS)

    async def _forever(
        self, act: Callable[[], Awaitable[float]], wait: Callable[[float], Awaitable[None]]
    ) -> None:
        """Do something again and again, each time after it has returned how long to wait.

        Args:
            act: What to do. Returns the seconds until it is to be done again.
            wait: Waits so long, or less.
        """
        backoff = 0.1
        while True:
            try:
                seconds = await act()
            except Exception as error:
                if not self._database.health.noted(error):
                    logger.exception("the service goes on after an error of its own")
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, 2)
            else:
                backoff = 0.1
                await wait(seconds)

    async def _turn(self) -> float:
        """Claim jobs, unless this process is to stop. Returns the seconds until the next turn."""
        self._timetable.begin()
        if self._stopping.is_set():
            return _STOPPED_SECONDS
        return await self._dequeue.turn()

    async def _beat(self) -> float:
        """Send heartbeats, and take over the jobs of processes that send none."""
        timeout = self._settings.heartbeat_timeout

        async with self._database.transaction() as connection:
            is_alone = await queue.present(connection, self.me, timeout)
            if self._jobs.tasks:
                await queue.beat(connection, self.me, self._jobs.tasks)
            lanes = await queue.take_over(connection, self.me, timeout)
            await self._database.clock.set(connection)
        self._wrote_at = now()
        self.notices.is_alone = is_alone
        self._database.health.worked()
        self._metrics.taken_over(len(lanes))
        self.expect(lanes)
        self._limited.ended(lanes)
        return min(timeout.total_seconds() / 4, 2)
