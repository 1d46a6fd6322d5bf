"""Jobs that are begun in the transaction that makes them due.

The transaction that records calls of clients knows that they may begin. The one that writes the
answer of a workflow knows the workflow's next call, and the one that writes the last result that a
workflow waits for knows that it goes on. While there are slots to spare, the process that writes
this takes the jobs in the same transaction. They are in the queue like all others, so that another
process takes over when this one ends. But there is no notice, no wait for jobs that come together,
and no transaction to claim, to load, or to note that the attempt begins.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.errors import RPCError
from dispatch_grpc.service import queue, store_attempts, store_outcomes
from dispatch_grpc.service.faults import was_refused
from dispatch_grpc.service.hosts import SharedHosts
from dispatch_grpc.service.lanes import Lanes, host_of_lane
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.queue import Claim
from dispatch_grpc.service.store import CallDecision, Due, Job, Jobs, Loaded, NewCall
from dispatch_grpc.service.store_accept import (
    Accepted,
    InQueue,
    Request,
    Taker,
    accept_all,
    due_of,
    lanes_to_take,
)


class Handover(InQueue):
    """The jobs that one transaction hands over.

    Attempts begin in this transaction as well when their requests are sent as soon as it is
    committed: only those of hosts that answer, so that nothing waits for a connection, and of small
    contents, so that nothing waits for memory.

    Attributes:
        taken: The jobs, and their calls; None for one that is stale.
        may_be_lost: Whether jobs were taken by a transaction whose end is not known.
    """

    def __init__(self, owner: UUID, lanes: Lanes, hosts: SharedHosts) -> None:
        self._owner, self._lanes, self._hosts = owner, lanes, hosts
        self._slots: Counter[str] = Counter()
        self.taken: list[tuple[Claim, Loaded | None]] = []
        self.may_be_lost: bool = False

    async def write(
        self, connection: Any, items: Sequence[CallDecision], now: datetime, limits: Limits
    ) -> tuple[Due, list[UUID]]:
        """Write outcomes as `store_outcomes.write`, and take jobs as slots are to spare."""
        self.give_back()  # the transaction may be a second attempt
        return await store_outcomes.write(
            connection, items, now, limits, self._owner, follow_ups=self
        )

    async def accept(
        self, connection: Any, requests: Sequence[Request], now: datetime
    ) -> list[Accepted | RPCError | None]:
        """Record requests as `accept_all`, and take their jobs as far as there are slots to spare.

        Args:
            connection: A connection, without a transaction.
            requests: The requests.
            now: The time.
        """
        self.give_back()
        answers = await accept_all(connection, requests, now, self._taker(requests))
        for answer in answers:
            if isinstance(answer, Accepted):
                self.taken += answer.begun
        return answers

    async def record(self, connection: Any, calls: Sequence[NewCall], now: datetime) -> Due:
        """Record calls that other calls make, and take jobs as slots are to spare.

        Returns:
            The others.
        """
        request = Request(calls)
        (answer,) = await accept_all(connection, [request], now, self._taker([request]))
        assert isinstance(answer, Accepted)  # noqa: S101 (there is no key)
        self.taken += answer.begun
        begun = {claim.payload for claim, _ in answer.begun}
        due = {
            lane: [payload for payload in payloads if payload not in begun]
            for lane, payloads in due_of(calls).items()
        }
        return await self._take_queued(connection, due)

    async def enqueue(self, connection: Any, jobs: Jobs) -> Due:
        """Write jobs, and take those that are due as slots are to spare. Returns the others."""
        slots = self._reserve({lane: len(payloads) for lane, payloads in jobs.due.items()})
        some, others = jobs.split(slots)
        if some.lanes:
            self.taken += await store_attempts.take(
                connection,
                self._owner,
                some.lanes,
                [Job.unpack(payload) for payload in some.payloads if payload is not None],
                [self._hosts.is_answering(host_of_lane(lane)) for lane in some.lanes],
            )
        return await super().enqueue(connection, others)

    async def _take_queued(self, connection: Any, due: Due) -> Due:
        """Take jobs whose calls wait for a connection or for memory. Returns the others."""
        slots = self._reserve({lane: len(payloads) for lane, payloads in due.items()})
        if slots:
            some = {lane: due[lane][:number] for lane, number in slots.items()}
            claims = await queue.take(connection, self._owner, some)
            jobs = [Job.unpack(claim.payload) for claim in claims]
            loaded = await store_attempts.load(connection, jobs)
            self.taken += [
                (claim, loaded.get(job)) for claim, job in zip(claims, jobs, strict=True)
            ]
        rest = {lane: payloads[slots.get(lane, 0) :] for lane, payloads in due.items()}
        return {lane: payloads for lane, payloads in rest.items() if payloads}

    def _taker(self, requests: Sequence[Request]) -> Taker | None:
        """Take slots for calls that may begin as they are recorded."""
        wanted = lanes_to_take(requests).items()
        slots = self._reserve(
            {lane: n for lane, n in wanted if self._hosts.is_answering(host_of_lane(lane))}
        )
        return Taker(self._owner, slots) if slots else None

    def _reserve(self, wanted: Mapping[str, int]) -> Mapping[str, int]:
        """Take slots for jobs, by lane, as far as there are slots to spare."""
        slots = self._lanes.take_spare(wanted)
        for lane, number in slots.items():
            for _ in range(number):
                self._hosts.begun(host_of_lane(lane))
        self._slots.update(slots)
        self.may_be_lost |= bool(slots)
        return slots

    def keep(self) -> None:
        """Leave the slots to the jobs: the transaction is committed."""
        for claim, _ in self.taken:
            self._slots[claim.lane] -= 1
        self.may_be_lost = False
        self.give_back()

    def give_back(self) -> None:
        """Give back the slots that no job has."""
        for lane, number in self._slots.items():
            for _ in range(number):
                self._lanes.give_back(lane)
                self._hosts.ended(host_of_lane(lane))
        self._slots, self.taken = Counter(), []


class Handovers:
    """The handovers of a process.

    Args:
        owner: The process.
        lanes: Where slots are taken.
        hosts: The hosts that rest.
        is_open: Tells whether the process takes jobs now.
        begin: Has a job done that was taken.
        lost: Told when jobs may have been taken by a transaction whose end is not known.

    Attributes:
        under_way: Number of the transactions that may take jobs.
    """

    def __init__(
        self,
        owner: UUID,
        lanes: Lanes,
        hosts: SharedHosts,
        *,
        is_open: Callable[[], bool],
        begin: Callable[[Claim, Loaded | None], None],
        lost: Callable[[], None],
    ) -> None:
        self._owner, self._lanes, self._hosts = owner, lanes, hosts
        self._is_open, self._begin, self._lost = is_open, begin, lost
        self.under_way: int = 0
        self._none_under_way = asyncio.Event()

    async def ended(self) -> None:
        """Wait until no transaction is under way that may take jobs."""
        while self.under_way:
            self._none_under_way.clear()
            await self._none_under_way.wait()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Handover | None]:
        """Begin the jobs that the block has taken, at its end; None if no job may be taken."""
        if not self._is_open():
            yield None
            return
        handover = Handover(self._owner, self._lanes, self._hosts)
        self.under_way += 1
        try:
            yield handover
            taken = handover.taken
            handover.keep()
            for claim, loaded in taken:
                self._begin(claim, loaded)
        except BaseException as error:
            if handover.may_be_lost and not was_refused(error):
                self._lost()
            raise
        finally:
            self.under_way -= 1
            if not self.under_way:
                self._none_under_way.set()
            handover.give_back()
