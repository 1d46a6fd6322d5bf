"""Jobs that are begun in the transaction that makes them due.

The transaction that records calls of clients knows that they may begin. The one that writes the
answer of a workflow knows the workflow's next call, and the one that writes the last result that a
workflow waits for knows that it goes on. While there are slots to spare, the process that writes
this takes the jobs in the same transaction. They are in the queue like all others, so that another
process takes over when this one ends. But there is no notice, no wait for jobs that come together,
and no transaction to claim and load.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.errors import RPCError
from dispatch_grpc.service import queue, store_attempts
from dispatch_grpc.service.faults import was_refused
from dispatch_grpc.service.hosts import SharedHosts
from dispatch_grpc.service.lanes import Lanes, host_of_lane
from dispatch_grpc.service.queue import Claim
from dispatch_grpc.service.store import Due, Job, Loaded
from dispatch_grpc.service.store_accept import Accepted, Request, Taker, accept_all, lanes_to_take


class Handover:
    """The jobs that one transaction hands over.

    Attributes:
        taken: The jobs, and their calls; None for one that is stale.
        may_be_lost: Whether jobs were taken by a transaction whose end is not known.
    """

    def __init__(self, owner: UUID, lanes: Lanes, hosts: SharedHosts) -> None:
        self._owner, self._lanes, self._hosts = owner, lanes, hosts
        self._slots: dict[str, int] = {}
        self.taken: Sequence[tuple[Claim, Loaded | None]] = []
        self.may_be_lost: bool = False

    async def take(self, connection: Any, due: Due) -> Due:
        """Take jobs that the transaction has added, as far as there are slots to spare.

        Args:
            connection: The connection that the transaction is on.
            due: The jobs.

        Returns:
            The others.
        """
        self._reserve({lane: len(payloads) for lane, payloads in due.items()})
        if not self._slots:
            return due
        some = {lane: due[lane][:number] for lane, number in self._slots.items()}
        claims = await queue.take(connection, self._owner, some)
        loaded = await store_attempts.load(
            connection, [Job.unpack(claim.payload) for claim in claims]
        )
        self.taken = [(claim, loaded.get(Job.unpack(claim.payload))) for claim in claims]
        rest = {lane: payloads[self._slots.get(lane, 0) :] for lane, payloads in due.items()}
        return {lane: payloads for lane, payloads in rest.items() if payloads}

    async def accept(
        self, connection: Any, requests: Sequence[Request], now: datetime
    ) -> list[Accepted | RPCError | None]:
        """Record requests as `accept_all`, and take their jobs as far as there are slots to spare.

        The attempts begin in the same transaction, since their requests are about to be sent: only
        those of hosts that answer, so that nothing waits for a connection.

        Args:
            connection: A connection, without a transaction.
            requests: The requests.
            now: The time.
        """
        wanted = lanes_to_take(requests).items()
        self._reserve(
            {lane: n for lane, n in wanted if self._hosts.is_answering(host_of_lane(lane))}
        )
        taker = Taker(self._owner, self._slots) if self._slots else None
        answers = await accept_all(connection, requests, now, taker)
        self.taken = [one for each in answers if isinstance(each, Accepted) for one in each.begun]
        return answers

    def _reserve(self, wanted: Mapping[str, int]) -> None:
        """Take slots for jobs, by lane, as far as there are slots to spare."""
        self.give_back()  # the transaction may be a second attempt
        self._slots = self._lanes.take_spare(wanted)
        for lane, number in self._slots.items():
            for _ in range(number):
                self._hosts.begun(host_of_lane(lane))
        self.may_be_lost |= bool(self._slots)

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
        self._slots, self.taken = {}, []


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
