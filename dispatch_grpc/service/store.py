"""The types that the parts of the store share, the states of a call, and the jobs of the queue.

The `store_*` modules hold all SQL that changes calls; `reads` holds the SQL that only looks. The
state of a call and its job change in one transaction: a call has a job while there is something to
do for it. A job names a call and one of its turns. A job whose turn has passed is stale, and does
nothing.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pgqueuer.queries import Queries

from dispatch_grpc.schema import Call, CallResult, Error, Poll
from dispatch_grpc.service.lanes import lane_of
from dispatch_grpc.service.machine import (
    Outcome,
    Running,
)
from dispatch_grpc.service.urls import host_of

QUEUED, RUNNING, WAITING, FINISHED = 1, 2, 3, 4


_JOB = struct.Struct(">16si")

Due = dict[str, list[bytes]]
"""Payloads of jobs that are due now, by their lanes."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the queue: a call, and one of its turns."""

    id: UUID
    turn: int

    def pack(self) -> bytes:
        """Return the payload of the job in the queue."""
        return _JOB.pack(self.id.bytes, self.turn)

    @classmethod
    def unpack(cls, payload: bytes) -> "Job":
        """Return the job that a payload holds."""
        id, turn = _JOB.unpack(payload)
        return cls(UUID(bytes=id), turn)


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call to record, from a request (`store_accept`) or from a Poll (`store_outcomes`).

    Without a start it begins immediately.
    """

    id: UUID
    call: Call
    expires_at: datetime
    parent_id: UUID | None = None
    parent_generation: int = 0
    root_id: UUID | None = None
    starts_at: datetime | None = None
    labels: Mapping[str, str] | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A call with everything that an attempt needs.

    When that is large, it is left out until the request is to be sent: `size` is more than zero,
    there is no `input`, and the poll and the results are not complete. `has_begun`: the attempt
    began in the transaction that made its job due.
    """

    running: Running
    turn: int
    generation: int
    parent_id: UUID | None
    root_id: UUID
    function: str
    input: bytes | None
    created_at: datetime
    poll: Poll | None
    poll_error: Error | None
    results: list[CallResult] = field(default_factory=list)
    result_ids: list[UUID] = field(default_factory=list)
    size: int = 0
    scheduled_at: datetime | None = None
    starts_at: datetime | None = None
    trace: str | None = None
    has_begun: bool = False

    @property
    def host(self) -> str:
        """The host of its endpoint."""
        return host_of(self.running.endpoint)

    @property
    def lane(self) -> str:
        """The lane of its jobs."""
        return lane_of(self.host, self.function)


@dataclass(frozen=True, slots=True)
class Release:
    """The call is given back, for another process to run."""


@dataclass(frozen=True, slots=True)
class CallDecision:
    """How a call goes on after an attempt, for `store_outcomes` to write.

    Attributes:
        loaded: The call.
        outcome: How it goes on.
        job: The job of the attempt, which is deleted with it; None if there is none.
        traces: The contexts of the calls that the attempt makes: one for each, or one for all; none
            for that of the call.
    """

    loaded: Loaded
    outcome: Outcome | Release
    job: int | None = None
    traces: Sequence[str] = ()


@dataclass(slots=True)
class Jobs:
    """Jobs to add to the queue."""

    lanes: list[str] = field(default_factory=list)
    payloads: list[bytes | None] = field(default_factory=list)
    delays: list[timedelta | None] = field(default_factory=list)

    def add(self, row: Any, delay: timedelta | None = None) -> None:
        """Add the job of a call, given a row with its id, turn, endpoint and function."""
        self.lanes.append(lane_of(host_of(row["endpoint"]), row["function"]))
        self.payloads.append(Job(row["id"], row["turn"]).pack())
        self.delays.append(delay)

    def split(self, slots: Mapping[str, int]) -> "tuple[Jobs, Jobs]":
        """Return jobs that are due, at most so many of each lane, and the others."""
        left = dict(slots)
        some, others = Jobs(), Jobs()
        for lane, payload, delay in zip(self.lanes, self.payloads, self.delays, strict=True):
            found = others
            if not delay and left.get(lane, 0) > 0:
                left[lane] -= 1
                found = some
            found.lanes.append(lane)
            found.payloads.append(payload)
            found.delays.append(delay)
        return some, others

    @property
    def due(self) -> Due:
        """The jobs that are due now."""
        found: Due = {}
        for lane, payload, delay in zip(self.lanes, self.payloads, self.delays, strict=True):
            if not delay and payload is not None:
                found.setdefault(lane, []).append(payload)
        return found

    async def write(self, connection: Any) -> None:
        """Write the jobs to the queue."""
        if self.lanes:
            queries = Queries.from_asyncpg_connection(connection)
            await queries.enqueue(self.lanes, self.payloads, [0] * len(self.lanes), self.delays)


def signed(number: int) -> int:
    """Return the signed number by which the database holds a correlation id."""
    return number - 2**64 if number >= 2**63 else number


def unsigned(number: int) -> int:
    """Return the correlation id that the database holds as a signed number."""
    return number + 2**64 if number < 0 else number
