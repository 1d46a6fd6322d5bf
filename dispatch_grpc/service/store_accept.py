"""Record calls: those that clients dispatch, and those that other calls make."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.service.lanes import lane_of
from dispatch_grpc.service.store import Job, New, signed
from dispatch_grpc.service.urls import host_of


async def accept(
    connection: Any,
    calls: Sequence[New],
    now: datetime,
    *,
    key: bytes | None = None,
    body: bytes = b"",
) -> tuple[Sequence[UUID], list[str]]:
    """Record calls and their jobs, all or none.

    Args:
        connection: A connection.
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
    for _ in range(3):
        if await record(connection, calls, now, key, body):
            return [new.id for new in calls], lanes_of(calls)
        row = await connection.fetchrow("SELECT body, ids FROM requests WHERE key = $1", key)
        if row is None:
            continue  # pruned in between
        if row["body"] != body:
            raise rpc_error(
                Code.ALREADY_EXISTS, "the idempotency key was used for other calls before"
            )
        return row["ids"], []
    raise rpc_error(
        Code.UNAVAILABLE, "the idempotency key was forgotten while it was looked up: try again"
    )


def lanes_of(calls: Sequence[New]) -> list[str]:
    """Return the lane of each call."""
    return [lane_of(host_of(new.call.endpoint), new.call.function) for new in calls]


async def record(
    connection: Any,
    calls: Sequence[New],
    now: datetime,
    key: bytes | None = None,
    body: bytes = b"",
) -> bool:
    """Record calls and their jobs by one statement. Returns False when the key was used before."""
    recorded: bool = await connection.fetchval(
        "SELECT record($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        key,
        body,
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
        now,
        lanes_of(calls),
        [Job(new.id, 0).pack() for new in calls],
    )
    return recorded
