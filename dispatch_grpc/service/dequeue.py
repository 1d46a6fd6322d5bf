"""The loop around the queue: it claims jobs, runs them, and sends heartbeats while they run.

No error stops the loop. When the database fails, the loop logs it once and tries again; runs under
way do not hold it up. It is long because the loop, its heartbeats and its end share one state.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service import held_slots, machine, notices, queue, rates
from dispatch_grpc.service.batching import Batcher
from dispatch_grpc.service.caller import Caller
from dispatch_grpc.service.chores import Chores
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.events import is_set_within
from dispatch_grpc.service.handover import Handovers
from dispatch_grpc.service.held_slots import HeldSlots
from dispatch_grpc.service.hosts import SharedHosts
from dispatch_grpc.service.lanes import Lanes, host_of_lane
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

# Dequeue waits for the first time so that jobs are claimed in batches, and for up to the second
# while requests are being accepted: their answers go first.
_GATHER_SECONDS = 0.003
_MAX_GATHER_SECONDS = 0.03
_IDLE_SECONDS = 0.02  # without a dequeue, after which the next one does not wait

_LOOK_SECONDS = 2.0  # between two scans of the whole queue, since notices may get lost
_READY_SECONDS = 10.0
_ALIVE_SECONDS = 60.0
_RELEASE_SECONDS = 5.0


class Worker:
    """Runs the calls that are in the database."""

    def __init__(
        self, database: Database, caller: Caller, settings: Settings, metrics: Metrics
    ) -> None:
        self.me: UUID = uuid4()
        self.notices: Notices = Notices(database, lost=self._look_again)
        self.notices.listen(notices.LANES, self._have_jobs)
        self.notices.listen(notices.LATER, self._have_later_jobs)
        self.memory: Memory = Memory(settings.memory)
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._policies = SharedPolicies(database, self.notices, self._look_again)
        self._limited = Limited(database, self._policies, self.notices, self._wake_up)
        self._hosts = SharedHosts(database, self.notices, self._wake_up)
        metrics.resting = self._hosts.resting
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
        self.rates: Rates = Rates(database)
        self._chores = Chores(
            database, settings, metrics, expect=self.expect, written=self._written
        )
        retention = Retention(database, lambda: self._policies.current, settings.retention)
        self._chores.add(retention.prune, SECONDS)
        self._chores.add(self.rates.flush, rates.SECONDS)
        self._handovers = Handovers(
            self.me,
            self._lanes,
            self._hosts,
            is_open=lambda: not (self._lost_claim or self._stopping.is_set()),
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
            handovers=self._handovers,
            memory=self.memory,
            policies=self._policies,
        )
        self.notices.listen(notices.FINISHED, self._runs.end)
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._dones: Batcher[int, None] = Batcher(self._done, 500)
        self._due: dict[str, float] = {}  # when jobs of lanes are due next
        self._delayed: set[str] = set()  # lanes whose jobs came due, of which there may be more
        self._look_at = 0.0
        self._look_after = ""  # the lane at which the next scan goes on
        self._lost_claim = False
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._accepting_until = 0.0
        self._turned_at = self._claimed_at = self._wrote_at = float("-inf")

    # Called by other parts

    def warn_of_held_slots(self, waited_for: Callable[[], Collection[UUID]]) -> None:
        """Warn of functions that hold the slots that calls need for which clients wait."""
        look = HeldSlots(self._database, self._lanes, waited_for).look
        self._chores.add(look, held_slots.SECONDS)

    def add_chore(self, chore: Callable[[], Awaitable[None]], seconds: float) -> None:
        """Do something again after so many seconds; before `run`."""
        self._chores.add(chore, seconds)

    def make_way(self) -> None:
        """Let a request go first: take jobs a little later."""
        self._accepting_until = _now() + _GATHER_SECONDS

    def expect(self, lanes: Iterable[str]) -> None:
        """Note lanes that have jobs, and notify other processes."""
        self.notices.tell(notices.LANES, sorted(set(lanes)))

    def _have_jobs(self, lanes: Sequence[str]) -> None:
        for lane in lanes:
            self._lanes.has_jobs(lane)
        self._wake.set()

    def _have_later_jobs(self, lanes: Sequence[str]) -> None:
        for lane in lanes:
            self.expect_later(lane, 0)  # a claim that finds none asks when they are due

    def expect_later(self, lane: str, seconds: float) -> None:
        """Note that a lane has a job that is due in some seconds. Other processes find it."""
        self._due[lane] = min(self._due.get(lane, float("inf")), _now() + seconds)
        self._wake.set()

    def _look_again(self) -> None:
        self._look_at = 0.0
        self._wake.set()

    def _paused(self) -> None:
        self._lanes.drop_paused()
        self._look_again()

    def _wake_up(self) -> None:
        self._wake.set()

    def _written(
        self, items: Sequence[CallDecision], lanes: Collection[str], finished: Sequence[UUID]
    ) -> None:
        self.rates.finished(items, finished)
        now = self._database.clock.now()
        for item in items:
            outcome = item.outcome
            if isinstance(outcome, machine.Retry):
                self.expect_later(item.loaded.lane, (outcome.at - now).total_seconds())
            elif isinstance(outcome, machine.Suspend):
                soonest = min(outcome.wake_at, outcome.idle_at)
                self._chores.wake_within((soonest - now).total_seconds())
        self.expect(lanes)
        self.notices.tell(notices.FINISHED, [id.hex for id in finished])

    @property
    def is_ready(self) -> bool:
        """Whether a dequeue and a write succeeded within the last seconds."""
        return _now() - min(self._claimed_at, self._wrote_at) < _READY_SECONDS

    @property
    def is_alive(self) -> bool:
        """Whether the loop turns, even if the database does not work."""
        return _now() - self._turned_at < _ALIVE_SECONDS

    # Its life

    async def run(self) -> None:
        """Run calls until it is cancelled, also after outages of the database."""
        loops = [
            asyncio.create_task(act)
            for act in (
                self._forever(self._turn),
                self._forever(self._beat),
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
            tasks = [*loops, *self._jobs.values()]
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
        self._wake.set()
        await self._jobs_end(self._settings.shutdown_timeout.total_seconds())
        self._runs.release()
        # Without the database nothing can be released: other processes take over in time.
        await self._jobs_end(_RELEASE_SECONDS)
        running.cancel()
        await asyncio.wait({running}, timeout=2 * _RELEASE_SECONDS)

    async def _jobs_end(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._jobs:
                    await asyncio.wait(set(self._jobs.values()))

    async def _forever(self, act: Callable[[], Awaitable[float]]) -> None:
        """Call a function again and again, each time after the seconds that it returns."""
        backoff = 0.1
        while True:
            try:
                seconds = await act()
            except Exception as error:
                if not self._database.health.noted(error):
                    logger.exception("the service goes on after an error of its own")
                seconds, backoff = backoff, min(backoff * 2, 2)
                await asyncio.sleep(seconds)
            else:
                backoff = 0.1
                if act == self._turn:
                    await is_set_within(self._wake, seconds)
                else:
                    await asyncio.sleep(seconds)

    async def _beat(self) -> float:
        """Send heartbeats, and take over the jobs of processes that send none."""
        timeout = self._settings.heartbeat_timeout

        async with self._database.transaction() as connection:
            await queue.present(connection, self.me, timeout)
            if self._jobs:
                await queue.beat(connection, self.me, self._jobs)
            lanes = await queue.take_over(connection, self.me, timeout)
            await self._database.clock.set(connection)
        self._wrote_at = _now()
        self._database.health.worked()
        self._metrics.taken_over(len(lanes))
        self.expect(lanes)
        self._limited.ended(lanes)
        return min(timeout.total_seconds() / 4, 2)

    # A turn of the loop

    async def _turn(self) -> float:
        """Claim jobs for the free slots. Returns the seconds until there may be more."""
        self._turned_at = _now()
        self._wake.clear()
        if self._stopping.is_set():
            return _LOOK_SECONDS
        if not self._policies.are_known:
            await self._policies.read()
        await self.pauses.load()
        if self._lost_claim and not self._handovers.under_way:
            await self._reclaim()
        if self._look_at <= _now():
            await self._look()
        self._come_due()
        self._limited.come_free()
        await self._hosts.probe(self._lanes.hosts())
        # Outcomes that wait to be written hold no slot: this bounds their number.
        most = min(self._settings.batch_size, 2 * self._settings.concurrency - len(self._jobs))
        turns = self._lanes.turns(most)
        if turns and await self._claim(turns):
            return 0
        soonest = min(self._due.values(), default=self._look_at)
        seconds = max(min(soonest, self._look_at) - _now(), 0)
        for change in (self._hosts.next_change(), self._limited.next_change()):
            if change is not None:
                seconds = min(seconds, max(change, 0.001))
        return seconds

    async def _look(self) -> None:
        """Scan the whole queue for lanes."""
        start = _now()
        async with self._database.relaxed.acquire() as connection:
            found, self._look_after = await queue.lanes(connection, self._look_after)
            await queue.claim(connection, self.me, {})  # whether jobs could be taken
        self._note_claim()
        self._limited.look_again()
        self._metrics.queued(found)
        self._note(found)
        # With very many lanes a scan is slow: it may take a fiftieth of the time.
        self._look_at = _now() + max(_LOOK_SECONDS, 50 * (_now() - start))

    def _note_claim(self) -> None:
        """Note that the queue was asked for jobs, and answered."""
        self._claimed_at = _now()
        self._metrics.dequeued()

    def _note(self, lanes: dict[str, float]) -> None:
        """Note in how many seconds the first jobs of lanes are due."""
        now = _now()
        for lane, seconds in lanes.items():
            if seconds <= 0:
                self._delayed.add(lane)  # there may be later ones
                self._lanes.has_jobs(lane)
            else:
                self._due[lane] = now + seconds

    def _come_due(self) -> None:
        now = _now()
        for lane in [lane for lane, at in self._due.items() if at <= now]:
            del self._due[lane]
            self._delayed.add(lane)
            self._lanes.has_jobs(lane)

    async def _claim(self, turns: Sequence[str]) -> bool:
        """Claim jobs and start them. Returns whether there may be more."""
        await self._gather()
        limited = [lane for lane in turns if self._limited.is_limited(lane)]
        wanted = Counter(turns)
        try:
            claims = []
            if others := wanted - Counter(limited):
                async with self._database.relaxed.acquire() as connection:
                    claims = await queue.claim(connection, self.me, others)
            if limited:
                some, granted = await self._limited.claim(self.me, limited)
                claims += some
                wanted.update({lane: granted[lane] - wanted[lane] for lane in set(limited)})
        except BaseException:
            self._lose_claim()
            raise
        self._note_claim()
        found = dict.fromkeys(wanted, 0)
        for claim in claims:
            found[claim.lane] += 1
            if claim.id not in self._jobs:  # or else it is still under way here
                self._lanes.take(claim.lane)
                self._hosts.begun(host_of_lane(claim.lane))
                self._begin(claim)
        exhausted = [lane for lane, number in found.items() if number < wanted[lane]]
        # Those that got nothing go first: their policies were full.
        for lane in sorted(found, key=lambda lane: found[lane] > 0):
            if found[lane] == wanted[lane]:
                self._lanes.has_jobs(lane)
        await self._ask_when(exhausted)
        return len(exhausted) < len(wanted)

    async def _gather(self) -> None:
        """Wait a little, so that jobs are claimed in batches; a lone one waits for nobody."""
        if _now() - self._claimed_at > _IDLE_SECONDS:
            return
        end = _now() + _MAX_GATHER_SECONDS
        await asyncio.sleep(_GATHER_SECONDS)
        while (now := _now()) < min(self._accepting_until, end):
            await asyncio.sleep(self._accepting_until - now)

    async def _ask_when(self, lanes: Sequence[str]) -> None:
        """Ask when the next jobs of lanes are due that have no more now."""
        if some := [lane for lane in lanes if lane in self._delayed]:
            async with self._database.relaxed.acquire() as connection:
                found = await queue.due(connection, some)
            self._delayed.difference_update(some)  # those of which some are due come back
            self._note(found)

    def _lose_claim(self) -> None:
        """Note that jobs may have been taken that this process does not know of."""
        self._lost_claim = True
        self._look_again()

    async def _reclaim(self) -> None:
        """Put jobs back that were taken for this process by a statement whose answer was lost."""
        async with self._database.relaxed.acquire() as connection:
            lanes = await queue.reclaim(connection, self.me, self._jobs)
        self._lost_claim = False
        self.expect(lanes)
        self._limited.ended(lanes)

    # A job

    def _begin(self, claim: Claim, *loaded: Loaded | None) -> None:
        """Have a job done that was taken, and whose call may be loaded."""
        self._jobs[claim.id] = asyncio.create_task(self._do(claim, *loaded))

    async def _do(self, claim: Claim, *loaded: Loaded | None) -> None:
        has_slot = True

        def give_back() -> None:
            nonlocal has_slot
            if has_slot:
                has_slot = False
                self._lanes.give_back(claim.lane)
                self._hosts.ended(host_of_lane(claim.lane))
                self._wake.set()

        try:
            call = loaded[0] if loaded else await self._runs.load(claim.payload)
            if not await self._runs.do(call, claim.id, give_back):
                give_back()
                await self._dones.submit(claim.id)
        except Exception:
            logger.exception("a job cannot be done, and is tried again")
            give_back()
            await self._put_back(claim)
        finally:
            give_back()
            del self._jobs[claim.id]
            self._limited.ended([claim.lane])
            self._wake.set()

    async def _done(self, ids: Sequence[int]) -> Sequence[None]:
        async def done(connection: Any) -> None:
            await queue.done(connection, self.me, ids)

        await self._database.persist(self._database.relaxed, done, in_transaction=False)
        return [None] * len(ids)

    async def _put_back(self, claim: Claim) -> None:
        async def put_back(connection: Any) -> timedelta | None:
            return await queue.put_back(connection, self.me, claim.id)

        delay = await self._database.persist(self._database.relaxed, put_back)
        if delay is not None:
            self.expect_later(claim.lane, delay.total_seconds())


def _now() -> float:
    return asyncio.get_running_loop().time()
