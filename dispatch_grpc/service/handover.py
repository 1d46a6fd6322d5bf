"""Jobs that are begun in the transaction that makes them due.

The transaction that writes the answer of a workflow knows the workflow's next call, and the one
that writes the last result that a workflow waits for knows that it goes on. While there are slots
to spare, the process that writes this takes the jobs in the same transaction. They are in the queue
like all others, so that another process takes over when this one ends. But between a call and the
next there is no notice, no wait for jobs that come together, and no transaction to claim and load.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from dispatch_grpc.service import queue, store_attempts
from dispatch_grpc.service.hosts import SharedHosts
from dispatch_grpc.service.lanes import Lanes, host_of_lane
from dispatch_grpc.service.queue import Claim
from dispatch_grpc.service.store import Due, Job, Loaded


class Handover:
    """The jobs that one transaction hands over.

    Attributes:
        taken: The jobs, and their calls; None for one that is stale.
    """

    def __init__(self, owner: UUID, lanes: Lanes, hosts: SharedHosts) -> None:
        self._owner, self._lanes, self._hosts = owner, lanes, hosts
        self._slots: dict[str, int] = {}
        self.taken: list[tuple[Claim, Loaded | None]] = []
        self.may_be_lost: bool = False

    async def take(self, connection: Any, due: Due) -> Due:
        """Take jobs that the transaction has added, as far as there are slots to spare.

        Args:
            connection: The connection that the transaction is on.
            due: The jobs.

        Returns:
            The others.
        """
        self.give_back()  # the transaction may be a second attempt
        wanted = {lane: len(payloads) for lane, payloads in due.items()}
        self._slots = self._lanes.take_spare(wanted)
        for lane, number in self._slots.items():
            for _ in range(number):
                self._hosts.begun(host_of_lane(lane))
        if not self._slots:
            return due
        self.may_be_lost = True
        some = {lane: due[lane][:number] for lane, number in self._slots.items()}
        claims = await queue.take(connection, self._owner, some)
        loaded = await store_attempts.load(
            connection, [Job.unpack(claim.payload) for claim in claims]
        )
        self.taken = [(claim, loaded.get(Job.unpack(claim.payload))) for claim in claims]
        rest = {lane: payloads[self._slots.get(lane, 0) :] for lane, payloads in due.items()}
        return {lane: payloads for lane, payloads in rest.items() if payloads}

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
        finally:
            self.under_way -= 1
            handover.give_back()
            if handover.may_be_lost:
                self._lost()
