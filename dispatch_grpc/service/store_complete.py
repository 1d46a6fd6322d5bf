"""Finish a call with a result from outside."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.schema import CallResult
from dispatch_grpc.service.machine import Finish
from dispatch_grpc.service.store import FINISHED, Jobs, signed, unsigned
from dispatch_grpc.service.store_parents import wake_parents


@dataclass(frozen=True, slots=True)
class Completed:
    """What became of a call.

    Attributes:
        result: The result that it has.
        lanes: Lanes of new jobs.
        is_new: Whether it finished just now.
    """

    result: CallResult
    lanes: Collection[str] = ()
    is_new: bool = False


async def child_of(connection: Any, parent: UUID, correlation_id: int) -> UUID | None:
    """Return the id of the call that another one made with a correlation id, the latest such."""
    found: UUID | None = await connection.fetchval(
        """
        SELECT id FROM every_call WHERE parent_id = $1 AND correlation_id = $2
        ORDER BY parent_generation DESC, id DESC LIMIT 1
        """,
        parent,
        signed(correlation_id),
    )
    return found


async def complete(connection: Any, id: UUID, finish: Finish, now: datetime) -> Completed | None:
    """Finish a call, unless it has finished; None when there is no such call. In a transaction.

    Args:
        connection: A connection in a transaction.
        id: The call.
        finish: Its end, but for its ids.
        now: The time.
    """
    row = await connection.fetchrow(
        """
        SELECT id, correlation_id, parent_id, parent_generation, state, result FROM calls
        WHERE id = $1 FOR UPDATE
        """,
        id,
    )
    if row is None:
        filed = await connection.fetchval("SELECT result FROM finished WHERE id = $1", id)
        return None if filed is None else Completed(CallResult.FromString(filed))
    if row["state"] == FINISHED:
        return Completed(CallResult.FromString(row["result"]))
    result = CallResult()
    result.CopyFrom(finish.result)
    result.dispatch_id, result.correlation_id = str(id), unsigned(row["correlation_id"])
    await connection.execute(
        """
        UPDATE calls SET state = 4, status = $2, result = $3, finished_at = $4, turn = turn + 1,
            poll = NULL, poll_error = NULL, next_at = NULL,
            dead = parent_id IS NULL AND $2::smallint <> 1
        WHERE id = $1
        """,
        id,
        finish.status.value,
        result.SerializeToString(),
        now,
    )
    jobs = Jobs()
    await wake_parents(connection, [row], jobs)
    await jobs.write(connection)
    return Completed(result, set(jobs.lanes), is_new=True)
