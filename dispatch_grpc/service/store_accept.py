"""Record calls: those that clients dispatch, and those that other calls make."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import RPCError, rpc_error
from dispatch_grpc.service.lanes import lane_of
from dispatch_grpc.service.machine import Running
from dispatch_grpc.service.memory import FREE_BYTES
from dispatch_grpc.service.queue import Claim
from dispatch_grpc.service.store import Due, Job, Jobs, Loaded, NewCall, signed
from dispatch_grpc.service.urls import host_of
from dispatch_grpc.serving.details import reason


@dataclass(frozen=True, slots=True)
class Request:
    """The calls of a request, which are recorded all or none.

    Attributes:
        calls: The calls, one or more.
        key: The idempotency key.
        body: A digest of the request, which tells it from others with its key.
        size: Its size in bytes.
        time: When it was accepted, from which its expirations count; None: when it is recorded.
    """

    calls: Sequence[NewCall]
    key: bytes | None = None
    body: bytes = b""
    size: int = 0
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a request.

    Attributes:
        ids: The ids of its calls.
        is_new: False when the ids are those of an earlier request with its key.
        begun: The calls of which the attempts have begun, with the jobs that were taken for that.
    """

    ids: Sequence[UUID]
    is_new: bool = True
    begun: Sequence[tuple[Claim, Loaded]] = ()


@dataclass(frozen=True, slots=True)
class Taker:
    """A process that takes jobs as they are recorded.

    Attributes:
        owner: The process.
        slots: Largest number of jobs that it takes, by lane.
    """

    owner: UUID
    slots: Mapping[str, int]


async def accept(
    connection: Any,
    calls: Sequence[NewCall],
    now: datetime,
    *,
    key: bytes | None = None,
    body: bytes = b"",
) -> tuple[Sequence[UUID], list[str]]:
    """Record the calls of one request and their jobs.

    Args:
        connection: A connection in a transaction. It waits for another one that has the key.
        calls: The calls of a request.
        now: The time.
        key: The idempotency key of the request.
        body: A digest of the request, which tells it from others with its key.

    Returns:
        The ids to answer with, and the lanes for which there are jobs now. When the key was used
        before, the ids are those of that request, and there is nothing new.

    Raises:
        AlreadyExistsError: The key was used for another request.
    """
    if key is not None:
        await connection.execute(
            "SELECT pg_advisory_xact_lock(1684632432, hashtext(encode($1, 'hex')))", key
        )
    (answer,) = await accept_all(connection, [Request(calls, key, body)], now)
    if not isinstance(answer, Accepted):
        assert answer is not None  # noqa: S101 (this transaction has the key)
        raise answer
    return answer.ids, lanes_of(calls) if answer.is_new else []


async def has_key(connection: Any, key: bytes) -> bool:
    """Take an idempotency key for a transaction; False while another one has it."""
    found: bool = await connection.fetchval(
        "SELECT pg_try_advisory_xact_lock(1684632432, hashtext(encode($1, 'hex')))", key
    )
    return found


async def accept_all(
    connection: Any, requests: Sequence[Request], now: datetime, taker: Taker | None = None
) -> list[Accepted | RPCError | None]:
    """Record requests, whose keys differ, by one statement: each all or none.

    One more statement is needed when keys were used before. An error of the database means that
    none of the requests that are new was recorded.

    Args:
        connection: A connection.
        requests: The requests, one or more.
        now: The time.
        taker: The process that takes some of the jobs; None: all are left in the queue.

    Returns:
        The answer to each request. None: another transaction has its key, and nothing is known of
        it before that ends.
    """
    answers: list[Accepted | RPCError | None] = [None] * len(requests)
    places = list(range(len(requests)))
    while places:
        some = [requests[place] for place in places]
        takers = [] if taker is None else _takers(some, taker)
        rows = await _accept(connection, some, now, takers)
        jobs = {row["body"]: row["job"] for row in rows if row["number"] == 0}
        if len(jobs) == len(rows):
            for place in places:
                answers[place] = _accepted(requests[place], jobs, now)
            break
        for row in rows:
            place = places[row["number"] - 1]
            if row["ids"] is not None:
                answers[place] = _used(requests[place], row)
        others = {row["number"] - 1 for row in rows}
        places = [place for index, place in enumerate(places) if index not in others]
    return answers


def _used(request: Request, row: Any) -> Accepted | RPCError:
    """Return the answer to a request whose key was used before."""
    if row["body"] == request.body:
        return Accepted(row["ids"], is_new=False)
    return rpc_error(
        Code.ALREADY_EXISTS,
        "the idempotency key was used for other calls before",
        [reason("IDEMPOTENCY_KEY_REUSED")],
    )


def lanes_of(calls: Sequence[NewCall]) -> list[str]:
    """Return the lane of each call."""
    return [lane_of(host_of(new.call.endpoint), new.call.function) for new in calls]


def lanes_to_take(requests: Sequence[Request]) -> Mapping[str, int]:
    """Return how many jobs of requests may be taken as they are recorded, by lane.

    A call that begins later waits in the queue, and so does one with a large input, which is not
    held while it waits for memory.
    """
    calls = [new for request in requests for new in request.calls if _may_be_taken(new)]
    return Counter(lanes_of(calls))


def _may_be_taken(new: NewCall) -> bool:
    return new.starts_at is None and new.call.input.ByteSize() <= FREE_BYTES


def _takers(requests: Sequence[Request], taker: Taker) -> list[UUID | None]:
    """Return for each call the process that takes its job; an empty list if none is taken."""
    left = dict(taker.slots)
    found: list[UUID | None] = []
    for request in requests:
        for new, lane in zip(request.calls, lanes_of(request.calls), strict=True):
            takes = left.get(lane, 0) > 0 and _may_be_taken(new)
            if takes:
                left[lane] -= 1
            found.append(taker.owner if takes else None)
    return found if any(found) else []


def _accepted(request: Request, jobs: Mapping[bytes, int], now: datetime) -> Accepted:
    ids = [new.id for new in request.calls]
    if not jobs:
        return Accepted(ids)
    begun = []
    for new, lane in zip(request.calls, lanes_of(request.calls), strict=True):
        payload = Job(new.id, 0).pack()
        if (job := jobs.get(payload)) is not None:
            begun.append((Claim(job, lane, payload), _begun(new, request.time or now)))
    return Accepted(ids, begun=begun)


def _begun(new: NewCall, created_at: datetime) -> Loaded:
    """Return a call that was just recorded and has begun, as it would be loaded."""
    call = new.call
    return Loaded(
        running=Running(new.id, call.endpoint, call.correlation_id, new.expires_at),
        turn=0,
        generation=0,
        parent_id=new.parent_id,
        root_id=new.root_id or new.id,
        function=call.function,
        input=call.input.SerializeToString(),
        created_at=created_at,
        poll=None,
        poll_error=None,
        trace=new.trace,
        has_begun=True,
    )


async def _accept(
    connection: Any,
    requests: Sequence[Request],
    now: datetime,
    takers: Sequence[UUID | None] = (),
) -> list[Any]:
    calls = [new for request in requests for new in request.calls]
    firsts, lasts, last = [], [], 0
    for request in requests:
        firsts.append(last + 1)
        last += len(request.calls)
        lasts.append(last)
    rows: list[Any] = await connection.fetch(
        "SELECT * FROM accept($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, "
        "$16, $17, $18, $19, $20, $21)",
        [request.key for request in requests],
        [request.body for request in requests],
        firsts,
        lasts,
        [new.id for new in calls],
        [new.parent_id for new in calls],
        [new.parent_generation for new in calls],
        [new.root_id or new.id for new in calls],
        [signed(new.call.correlation_id) for new in calls],
        [new.call.endpoint for new in calls],
        [new.call.function for new in calls],
        [new.call.version for new in calls],
        [new.call.input.SerializeToString() for new in calls],
        [new.expires_at for new in calls],
        [request.time or now for request in requests for _ in request.calls],
        lanes_of(calls),
        [Job(new.id, 0).pack() for new in calls],
        # Most requests have none of these: an empty array stands for all of their calls.
        [new.starts_at for new in calls] if any(new.starts_at for new in calls) else [],
        [json.dumps(new.labels) if new.labels else None for new in calls]
        if any(new.labels for new in calls)
        else [],
        [new.trace for new in calls] if any(new.trace for new in calls) else [],
        takers,
    )
    return rows


async def record(connection: Any, calls: Sequence[NewCall], now: datetime) -> None:
    """Record calls that other calls make, and their jobs, by one statement."""
    await _accept(connection, [Request(calls)], now)


class InQueue:
    """Writes the jobs that follow from outcomes: all are left in the queue."""

    async def record(self, connection: Any, calls: Sequence[NewCall], now: datetime) -> Due:
        """Record calls that other calls make, and their jobs, by one statement.

        Returns:
            The jobs that are left in the queue and due.
        """
        await record(connection, calls, now)
        return due_of(calls)

    async def enqueue(self, connection: Any, jobs: Jobs) -> Due:
        """Write jobs. Returns those that are left in the queue and due."""
        await jobs.write(connection)
        return jobs.due


def due_of(calls: Sequence[NewCall]) -> Due:
    """Return the first jobs of calls."""
    due: Due = {}
    for lane, new in zip(lanes_of(calls), calls, strict=True):
        due.setdefault(lane, []).append(Job(new.id, 0).pack())
    return due
