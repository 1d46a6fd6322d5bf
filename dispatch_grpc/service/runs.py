"""Run calls: load the call of a job, run it on its endpoint, write the outcome."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any
from uuid import UUID

from dispatch_grpc.codes import Status
from dispatch_grpc.service import machine, run_log, run_traces, store_attempts, store_outcomes
from dispatch_grpc.service.batching import Batcher
from dispatch_grpc.service.caller import Caller
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.faults import Fault, classify
from dispatch_grpc.service.handover import Handovers
from dispatch_grpc.service.memory import Memory, Share
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.policies import SharedPolicies
from dispatch_grpc.service.store import CallDecision, Due, Job, Loaded, Release
from dispatch_grpc.service.urls import problem_of_call


class Runs:
    """Runs the calls of jobs. A job is done once the outcome of its attempt is written.

    Args:
        owner: The process.
        database: The database.
        caller: Calls endpoints.
        metrics: Counts runs.
        limits: Bounds of what calls may ask for.
        allow_metadata: Whether link-local and metadata addresses may be called.
        answered: Told the host and the answer of each attempt, and when its job was begun.
        written: Told what has been written: the outcomes, the lanes of new jobs, and the calls that
            have finished.
        handovers: Begins jobs that outcomes make due.
        memory: What large requests and answers may hold.
        policies: How calls are run by host and function.
    """

    def __init__(
        self,
        owner: UUID,
        database: Database,
        caller: Caller,
        metrics: Metrics,
        *,
        limits: machine.Limits,
        allow_metadata: bool,
        answered: Callable[[str, machine.Answer, float], None],
        written: Callable[[Sequence[CallDecision], Collection[str], Sequence[UUID]], None],
        handovers: Handovers,
        memory: Memory,
        policies: SharedPolicies,
    ) -> None:
        self._owner = owner
        self._database = database
        self._caller = caller
        self._metrics = metrics
        self._limits = limits
        self._allow_metadata = allow_metadata
        self._answered = answered
        self._written = written
        self._handovers = handovers
        self._memory = memory
        self._policies = policies
        self._loads: Batcher[Job, Loaded | Exception | None] = Batcher(self._load, 500)
        self._begins: Batcher[Job, bool] = Batcher(self._begin_all, 500)
        self._writes: Batcher[CallDecision, Exception | None] = Batcher(self.write, 500, _bytes_of)
        self._running: dict[UUID, asyncio.Timeout] = {}
        self._ended: set[UUID] = set()
        self._released = False

    async def load(self, payload: bytes) -> Loaded | None:
        """Load the call of a job; None when the job is stale."""
        loaded = await self._loads.submit(Job.unpack(payload))
        if isinstance(loaded, Exception):
            raise loaded
        return loaded

    async def do(
        self, loaded: Loaded | None, job: int, begun_at: float, give_back: Callable[[], None]
    ) -> bool:
        """Run a call to its outcome.

        Args:
            loaded: The call; None when the job was stale: done by another, or cancelled.
            job: The job, which is deleted with the outcome.
            begun_at: When the job was begun, by the time of the event loop.
            give_back: Called when the run has ended, and its slot is free.

        Returns:
            Whether the job is deleted.
        """
        if loaded is None:
            return False
        share = self._memory.share(loaded.host)
        try:
            try:
                decision = await self._decide(loaded, job, begun_at, share)
            finally:
                self._ended.discard(loaded.running.id)
                give_back()
            if decision is None:
                return False
            error = await self._writes.submit(decision)
            if error is not None:
                raise error
            return True
        finally:
            share.give_back()

    def release(self) -> None:
        """End the runs under way, and begin no more: their calls are released to others."""
        self._released = True
        for attempt in self._running.values():
            _interrupt(attempt)

    def end(self, ids: Sequence[str]) -> None:
        """End the attempts of calls that have finished; most of them were cancelled."""
        for text in ids:
            id = UUID(hex=text)
            if attempt := self._running.get(id):
                self._ended.add(id)
                _interrupt(attempt)

    async def _decide(
        self, loaded: Loaded, job: int, begun_at: float, share: Share
    ) -> CallDecision | None:
        """Run a call, and decide how it goes on; None when it was ended from outside."""
        running = loaded.running
        limits = self._policies.current.limits(self._limits, loaded.host, loaded.function)
        if running.pickups > 1:
            run_log.taken_over(loaded)
        if running.pickups > limits.max_pickups:
            return CallDecision(loaded, machine.park(running), job)
        if self._database.clock.now() >= running.expires_at:
            return CallDecision(loaded, machine.expire(running), job)
        if self._released:
            return CallDecision(loaded, Release(), job)
        with run_traces.attempt(loaded) as span:
            trace = None if span is None else span.context
            answer = await self._run(loaded, share, trace)
            run_traces.note(span, answer)
        if answer is None:
            return None if running.id in self._ended else CallDecision(loaded, Release(), job)
        self._answered(loaded.host, answer, begun_at)
        outcome = machine.decide(
            running,
            answer,
            self._database.clock.now(),
            limits,
            problem_of_call=lambda call: problem_of_call(call, allow_metadata=self._allow_metadata),
        )
        self._metrics.attempted(loaded.function, outcome)
        traces = answer.traces or ([trace] if trace else ())
        return CallDecision(loaded, outcome, job, traces)

    async def _run(self, loaded: Loaded, share: Share, trace: str | None) -> machine.Answer | None:
        """Run a call; None when the run was ended from here."""
        start = perf_counter()
        self._metrics.started(loaded, self._database.clock.now())
        id = loaded.running.id
        attempt = self._running[id] = asyncio.timeout(None)  # which ends when others ask for it
        answer: machine.Answer | None = None
        self._metrics.running.inc()
        try:
            with suppress(_InterruptedError):
                async with attempt:
                    answer = await self._attempt(loaded, share, trace)
        except TimeoutError:
            if not attempt.expired():
                raise
        finally:
            if self._running.get(id) is attempt:
                del self._running[id]
            self._metrics.running.dec()
        if answer is None:
            return None
        took = perf_counter() - start
        self._metrics.run_seconds.observe(took)
        run_log.slow(loaded, took)
        return answer

    async def _attempt(self, loaded: Loaded, share: Share, trace: str | None) -> machine.Answer:
        has_begun = False

        async def begin() -> None:
            nonlocal has_begun
            await self._begin(loaded)
            has_begun = True

        async def load() -> Loaded:
            await share.request.take(loaded.size)
            return await self._whole(loaded)

        try:
            answer = await self._caller.run(
                loaded,
                share,
                begin,
                load if loaded.size else None,
                run_timeout=self._policies.current.get("run_timeout", loaded.host, loaded.function),
                trace=trace,
            )
            return answer if has_begun else replace(answer, was_sent=False)
        finally:
            share.request.give_back()

    async def _load(self, jobs: Sequence[Job]) -> Sequence[Loaded | Exception | None]:
        async def load(connection: Any) -> dict[Job, Loaded]:
            return await store_attempts.load(connection, jobs)

        try:
            found = await self._database.persist(self._database.relaxed, load, in_transaction=False)
        except Exception as error:  # noqa: BLE001 (it is for the one that is to blame)
            if len(jobs) == 1:
                return [error]
            return [one for job in jobs for one in await self._load([job])]
        return [found.get(job) for job in jobs]

    async def _whole(self, loaded: Loaded) -> Loaded:
        """Load what was left out; end the run when the call was cancelled meanwhile."""

        async def load(connection: Any) -> Loaded | None:
            return await store_attempts.load_whole(connection, loaded)

        whole = await self._database.persist(self._database.relaxed, load, in_transaction=False)
        if whole is None:
            self._ended.add(loaded.running.id)
            raise _InterruptedError
        return whole

    async def _begin(self, loaded: Loaded) -> None:
        """Note that an attempt begins; end its run when the call was cancelled meanwhile."""
        id = loaded.running.id
        if loaded.has_begun:
            return
        if not await self._begins.submit(Job(id, loaded.turn)):
            self._ended.add(id)
            raise _InterruptedError

    async def _begin_all(self, jobs: Sequence[Job]) -> Sequence[bool]:
        async def begin(connection: Any) -> set[Job]:
            return await store_attempts.begin(connection, jobs)

        begun = await self._database.persist(self._database.relaxed, begin, in_transaction=False)
        return [job in begun for job in jobs]

    async def write(self, items: Sequence[CallDecision]) -> Sequence[Exception | None]:
        """Write outcomes; each for itself when they cannot be written together.

        Returns:
            For each the error that kept it from being written, or None.
        """
        try:
            due, finished = await self._write(items)
        except Exception as error:  # noqa: BLE001 (it is for the one that is to blame)
            if len(items) > 1:
                return [one for item in items for one in await self.write([item])]
            if classify(error) is not Fault.ITEM:
                return [error]
            await self._refuse(items[0], error)
            return [None]
        now = self._database.clock.now()
        self._metrics.finished(items, set(finished), now)
        run_log.outcomes(items, set(finished), now)
        self._written(items, due, finished)
        return [None] * len(items)

    async def _write(self, items: Sequence[CallDecision]) -> tuple[Due, list[UUID]]:
        """Write outcomes in a transaction. Returns the jobs that are left to others, as `write`."""
        async with self._handovers.open() as handover:

            async def write(connection: Any) -> tuple[Due, list[UUID]]:
                now = self._database.clock.now()
                if handover is not None:
                    return await handover.write(connection, items, now, self._limits)
                return await store_outcomes.write(connection, items, now, self._limits, self._owner)

            in_transaction = not store_outcomes.is_one_statement(items)
            return await self._database.persist(
                self._database.durable, write, in_transaction=in_transaction
            )

    async def _refuse(self, item: CallDecision, error: Exception) -> None:
        """End a call whose outcome the database does not take."""
        run_log.refused(item.loaded, error)
        finish = machine.fail(
            item.loaded.running,
            Status.INVALID_RESPONSE,
            f"the outcome of the call cannot be written: {error}",
        )
        refused = [CallDecision(item.loaded, finish, item.job)]
        due, finished = await self._write(refused)
        self._metrics.finished(refused, set(finished), self._database.clock.now())
        self._written(refused, due, finished)


class _InterruptedError(asyncio.CancelledError):
    """The attempt is not to go on."""


def _interrupt(attempt: asyncio.Timeout) -> None:
    """End the block of an attempt, and not what follows it."""
    if not attempt.expired():
        attempt.reschedule(0)


def _bytes_of(item: CallDecision) -> int:
    """Return about how many bytes an outcome writes."""
    match item.outcome:
        case machine.Finish(result=result):
            return result.ByteSize()
        case machine.Retry(error=error):
            return error.ByteSize()
        case machine.Suspend(poll=poll, calls=calls):
            return poll.ByteSize() + sum(call.ByteSize() for call in calls)
        case machine.Resume(poll=poll, error=error):
            return poll.ByteSize() + error.ByteSize()
        case machine.Replace(call=call):
            return call.ByteSize()
    return 0
