"""Rerun finished calls, and purge them.

A rerun is a new call without a parent. It and the call that it is a rerun of name each other. It
has the labels of that call, by which it is found, its schedule and tick, for which a function may
ask, and its trace.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc.codes import Code, Status
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.schema import Call
from dispatch_grpc.service.batching import MAX_BYTES
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.matching import Matches, Selection, check_expected, match
from dispatch_grpc.service.store import NewCall, unsigned
from dispatch_grpc.service.store_accept import accept, has_key, lanes_of, record

_COLUMNS = (
    "id, parent_id, correlation_id, endpoint, function, version, input, created_at, expires_at, "
    "finished_at, starts_at, labels, schedule, scheduled_at, trace"
)
_STATES = {1: "queued", 2: "running", 3: "waiting for the calls that it made"}


async def rerun(
    connection: Any,
    id: UUID,
    now: datetime,
    limits: Limits,
    *,
    key: bytes | None = None,
    body: bytes = b"",
) -> tuple[UUID, list[str]] | None:
    """Record a call again that has finished.

    Args:
        connection: A connection in a transaction.
        id: The call.
        now: The time.
        limits: Bounds of what calls may ask for.
        key: The idempotency key of the request.
        body: A digest of the request, which tells it from others with its key.

    Returns:
        The id of the rerun, and the lanes for which there are jobs now. When the key was used
        before, the id is that of the rerun of that time, and there is nothing new. None: another
        transaction has the key, and nothing is known of it before that ends.

    Raises:
        NotFoundError: There is no such call.
        RPCError: The call has not finished.
        AlreadyExistsError: The key was used for another request.
    """
    if key is not None and not await has_key(connection, key):
        return None
    row = None
    for table in ("calls", "finished"):  # it may be moved from the first to the second
        if row is None:
            row = await connection.fetchrow(
                f"SELECT state, {_COLUMNS} FROM {table} WHERE id = $1 FOR UPDATE",  # noqa: S608
                id,
            )
    if row is None:
        raise rpc_error(Code.NOT_FOUND, f"there is no call {id}")
    if row["finished_at"] is None:
        raise rpc_error(
            Code.FAILED_PRECONDITION,
            f"the call {id} has not finished, it is {_STATES.get(row['state'], 'under way')}: "
            f"rerun it when it has finished, or cancel it first",
        )
    new = _again(row, now, limits)
    ids, lanes = await accept(connection, [new], now, key=key, body=body)
    if lanes:
        await _link(connection, [row], ids)
    return ids[0], lanes


async def rerun_page(
    connection: Any, selection: Selection, now: datetime, limits: Limits
) -> tuple[Matches, int, list[str]]:
    """Record a page of finished calls again.

    Args:
        connection: A connection in a transaction.
        selection: The calls. Those that were rerun before are left out, and those with a parent.
        now: The time.
        limits: Bounds of what calls may ask for.

    Returns:
        The page, how many calls of it were rerun, and the lanes for which there are jobs now.

    Raises:
        RPCError: There are more calls than expected.
    """
    found = await match(connection, selection, rerun_base(selection), MAX_BYTES)
    check_expected(selection, len(found.ids), "rerun")
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM finished WHERE id = ANY($1) AND rerun_as IS NULL
        ORDER BY id FOR UPDATE
        """,  # noqa: S608
        found.ids,
    )
    calls = [_again(row, now, limits) for row in rows]
    if calls:
        await record(connection, calls, now)
        await _link(connection, rows, [new.id for new in calls])
    return found, len(calls), lanes_of(calls)


def rerun_base(selection: Selection) -> str:
    """Return the condition for the calls that are rerun: see `match`."""
    if selection.status == Status.OK.value and not selection.dead:
        return "parent_id IS NULL AND rerun_as IS NULL"
    return "dead"


def _again(row: Any, now: datetime, limits: Limits) -> NewCall:
    """Return the call to record for a rerun."""
    call = Call(
        endpoint=row["endpoint"],
        function=row["function"],
        version=row["version"],
        input=AnyProto.FromString(row["input"]),
        # The parent knew the call by it, and does not get the result of the rerun.
        correlation_id=0 if row["parent_id"] else unsigned(row["correlation_id"]),
    )
    # It begins at once, and has as long as the call had from its start.
    length = row["expires_at"] - (row["starts_at"] or row["created_at"])
    labels = None if row["labels"] is None else json.loads(row["labels"])
    expires_at = now + min(length, limits.max_expiration)
    return NewCall(new_id(), call, expires_at, labels=labels, trace=row["trace"])


async def _link(connection: Any, rows: Sequence[Any], news: Sequence[UUID]) -> None:
    """Have calls and their reruns name each other, and give the reruns the ticks of the calls."""
    olds = [row["id"] for row in rows]
    await connection.execute(
        """
        UPDATE calls SET rerun_of = old, schedule = old_schedule, scheduled_at = tick
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[])
            AS pair (old, new, old_schedule, tick)
        WHERE id = new
        """,
        olds,
        news,
        [row["schedule"] for row in rows],
        [row["scheduled_at"] for row in rows],
    )
    pairs = "FROM unnest($1::uuid[], $2::uuid[]) AS pair (old, new)"
    for table in ("calls", "finished"):
        await connection.execute(
            f"UPDATE {table} SET rerun_as = new, dead = false {pairs} WHERE id = old",  # noqa: S608
            olds,
            news,
        )


def purge_base(selection: Selection) -> str:
    """Return the condition for the calls that are deleted: see `match`."""
    return "dead" if selection.dead else "true"


async def purge_page(connection: Any, selection: Selection) -> tuple[Matches, int]:
    """Delete a page of finished calls.

    Args:
        connection: A connection in a transaction.
        selection: The calls.

    Returns:
        The page, and how many calls of it were deleted.

    Raises:
        RPCError: There are more calls than expected.
    """
    found = await match(connection, selection, purge_base(selection))
    check_expected(selection, len(found.ids), "deleted")
    done = await connection.execute("DELETE FROM finished WHERE id = ANY($1)", found.ids)
    return found, int(done.removeprefix("DELETE "))
