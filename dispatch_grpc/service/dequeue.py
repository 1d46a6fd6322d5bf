"""Claim jobs from the queue for the free slots, as soon as there are jobs that may begin."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

from dispatch_grpc.service import queue
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.hosts import SharedHosts
from dispatch_grpc.service.jobs_under_way import JobsUnderWay
from dispatch_grpc.service.lanes import Lanes, host_of_lane
from dispatch_grpc.service.limited import Limited
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.pauses import Pauses
from dispatch_grpc.service.policies import SharedPolicies
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.timetable import Timetable, now

# Jobs are claimed together that come within this time, and while requests are being accepted within
# up to the second: their answers go first.
GATHER_SECONDS = 0.003  # in which jobs and requests come together
_MAX_GATHER_SECONDS = 0.03
_IDLE_SECONDS = 0.02  # without a claim, after which the next one does not wait

_LOOK_SECONDS = 2.0  # between two scans of the whole queue, since notices may get lost


class Dequeue:
    """Claims jobs, and has them done.

    Args:
        owner: The process.
        database: The database.
        settings: How many jobs are claimed at once.
        metrics: Told the ages of the lanes, and when the queue was asked.
        timetable: When there is something to do.
        jobs: The jobs under way.
        lanes: The slots.
        hosts: Which hosts may be called.
        limited: Claims the jobs that policies limit.
        policies: Must be known before a job is claimed.
        pauses: The same.
        expect: Told the lanes of jobs that are back in the queue.
        may_reclaim: Whether no other transaction of this process may be taking jobs.

    Attributes:
        turned_at: When the last turn began, by the time of the event loop.
        claimed_at: When the queue was last asked for jobs, and answered.
        has_lost_claim: Whether jobs may have been taken that this process does not know of.
    """

    def __init__(
        self,
        owner: UUID,
        database: Database,
        settings: Settings,
        metrics: Metrics,
        timetable: Timetable,
        *,
        jobs: JobsUnderWay,
        lanes: Lanes,
        hosts: SharedHosts,
        limited: Limited,
        policies: SharedPolicies,
        pauses: Pauses,
        expect: Callable[[Iterable[str]], None],
        may_reclaim: Callable[[], bool],
    ) -> None:
        self._owner = owner
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._timetable = timetable
        self._jobs = jobs
        self._lanes = lanes
        self._hosts = hosts
        self._limited = limited
        self._policies = policies
        self._pauses = pauses
        self._expect = expect
        self._may_reclaim = may_reclaim
        self._look_after = ""  # the lane at which the next scan goes on
        self._accepting_until = 0.0
        self.turned_at: float = float("-inf")
        self.claimed_at: float = float("-inf")
        self.has_lost_claim: bool = False

    @property
    def is_sound(self) -> bool:
        """Whether this process knows the policies, the pauses, and all jobs that it has taken."""
        return self.claimed_at > float("-inf") and not self.has_lost_claim

    def make_way(self) -> None:
        """Let a request go first: claim jobs a little later."""
        self._accepting_until = now() + GATHER_SECONDS

    def lose_claim(self) -> None:
        """Note that jobs may have been taken that this process does not know of."""
        self.has_lost_claim = True
        self._timetable.look_again()

    async def turn(self) -> float:
        """Claim jobs for the free slots. Returns the seconds until there may be more."""
        self.turned_at = now()
        if not self._policies.are_known:
            await self._policies.read()
        await self._pauses.load()
        if self.has_lost_claim and self._may_reclaim():
            await self._reclaim()
        if self._timetable.look_at <= now():
            await self._look()
        self._have_jobs(self._timetable.come_due())
        self._limited.come_free()
        await self._hosts.probe(self._lanes.hosts())
        # Outcomes that wait to be written hold no slot: this bounds their number.
        most = 2 * self._settings.concurrency - len(self._jobs.tasks)
        turns = self._lanes.turns(min(self._settings.batch_size, most))
        try:
            if turns and await self._claim(turns):
                return 0
        finally:
            self._lanes.claimed()
        seconds = self._timetable.seconds_left()
        for change in (self._hosts.next_change(), self._limited.next_change()):
            if change is not None:
                seconds = min(seconds, max(change, 0.001))
        return seconds

    def _have_jobs(self, lanes: Iterable[str]) -> None:
        for lane in lanes:
            self._lanes.has_jobs(lane)

    async def _look(self) -> None:
        """Scan the whole queue for lanes."""
        start = now()
        async with self._database.relaxed.acquire() as connection:
            found, self._look_after = await queue.lanes(connection, self._look_after)
            await queue.claim(connection, self._owner, {})  # whether jobs could be taken
        self._note_claim()
        self._limited.look_again()
        self._metrics.shared.queued(found, is_end=not self._look_after)
        self._have_jobs(self._timetable.note(found))
        # With very many lanes a scan is slow: it may take a fiftieth of the time.
        self._timetable.look_at = now() + max(_LOOK_SECONDS, 50 * (now() - start))

    def _note_claim(self) -> None:
        """Note that the queue was asked for jobs, and answered."""
        self.claimed_at = now()
        self._metrics.dequeued()

    async def _claim(self, turns: Sequence[str]) -> bool:
        """Claim jobs and start them. Returns whether there may be more."""
        await self._gather()
        limited = [lane for lane in turns if self._limited.is_limited(lane)]
        wanted = Counter(turns) - Counter(limited)
        try:
            claims = []
            if wanted:
                async with self._database.relaxed.acquire() as connection:
                    claims = await queue.claim(connection, self._owner, wanted)
            if limited:
                some, granted = await self._limited.claim(self._owner, limited)
                claims += some
                wanted.update({lane: granted[lane] for lane in limited})
        except BaseException:
            self.lose_claim()
            raise
        self._note_claim()
        found = dict.fromkeys(wanted, 0)
        for claim in claims:
            found[claim.lane] += 1
            if claim.id not in self._jobs.tasks:  # or else it is still under way here
                self._lanes.take(claim.lane)
                self._hosts.begun(host_of_lane(claim.lane))
                self._jobs.begin(claim)
        return await self._go_on(wanted, found)

    async def _go_on(self, wanted: Mapping[str, int], found: Mapping[str, int]) -> bool:
        """Note which lanes have more jobs. Returns whether there may be any."""
        exhausted = [lane for lane, number in found.items() if number < wanted[lane]]
        # Those that got nothing go first: their policies were full.
        for lane in sorted(found, key=lambda lane: found[lane] > 0):
            if found[lane] == wanted[lane]:
                self._lanes.has_jobs(lane)
        if asked := self._timetable.may_have_later(exhausted):
            async with self._database.relaxed.acquire() as connection:
                due = await queue.due(connection, asked)
            self._have_jobs(self._timetable.note(due, asked))
        return len(exhausted) < len(wanted)

    async def _gather(self) -> None:
        """Wait a little, so that jobs are claimed in batches; a lone one waits for nobody."""
        if now() - self.claimed_at > _IDLE_SECONDS:
            return
        end = now() + _MAX_GATHER_SECONDS
        await asyncio.sleep(GATHER_SECONDS)
        while (at := now()) < min(self._accepting_until, end):
            await asyncio.sleep(self._accepting_until - at)

    async def _reclaim(self) -> None:
        """Put jobs back that were taken for this process by a statement whose answer was lost."""
        async with self._database.relaxed.acquire() as connection:
            lanes = await queue.reclaim(connection, self._owner, self._jobs.tasks)
        self.has_lost_claim = False
        self._expect(lanes)
        self._limited.ended(lanes)
