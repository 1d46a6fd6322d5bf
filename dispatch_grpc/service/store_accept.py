"""Record calls: those that clients dispatch, and those that other calls make."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import RPCError, rpc_error
from dispatch_grpc.service.lanes import lane_of
from dispatch_grpc.service.store import Job, NewCall, signed
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
    """

    ids: Sequence[UUID]
    is_new: bool = True


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
    connection: Any, requests: Sequence[Request], now: datetime
) -> list[Accepted | RPCError | None]:
    """Record requests, whose keys differ, by one statement: each all or none.

    One more statement is needed when keys were used before. An error of the database means that
    none of the requests that are new was recorded.

    Args:
        connection: A connection.
        requests: The requests, one or more.
        now: The time.

    Returns:
        The answer to each request. None: another transaction has its key, and nothing is known of
        it before that ends.
    """
    answers: list[Accepted | RPCError | None] = [None] * len(requests)
    places = list(range(len(requests)))
    while places:
        rows = await _accept(connection, [requests[place] for place in places], now)
        if not rows:
            for place in places:
                answers[place] = Accepted([new.id for new in requests[place].calls])
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


async def _accept(connection: Any, requests: Sequence[Request], now: datetime) -> list[Any]:
    calls = [new for request in requests for new in request.calls]
    firsts, lasts, last = [], [], 0
    for request in requests:
        firsts.append(last + 1)
        last += len(request.calls)
        lasts.append(last)
    rows: list[Any] = await connection.fetch(
        "SELECT * FROM accept($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, "
        "$16, $17, $18, $19, $20)",
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
    )
    return rows


async def record(connection: Any, calls: Sequence[NewCall], now: datetime) -> None:
    """Record calls that other calls make, and their jobs, by one statement."""
    await _accept(connection, [Request(calls)], now)
