"""Cancel calls, with their children."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.service import machine
from dispatch_grpc.service.lanes import lane_of
from dispatch_grpc.service.notices import FINISHED as FINISHED_CHANNEL
from dispatch_grpc.service.notices import LANES
from dispatch_grpc.service.store import FINISHED, Job, Jobs, unsigned
from dispatch_grpc.service.store_parents import wake_parents
from dispatch_grpc.service.urls import host_of


async def cancel(connection: Any, id: UUID, now: datetime) -> int | None:
    """Finish a call and its unfinished children, and theirs.

    Args:
        connection: A connection in a transaction.
        id: The call.
        now: The time.

    Returns:
        How many were cancelled; 0 when it had finished, None when there is no such call.
    """
    state = await connection.fetchval("SELECT state FROM calls WHERE id = $1 FOR UPDATE", id)
    if state is None:
        is_filed = await connection.fetchval("SELECT true FROM finished WHERE id = $1", id)
        return 0 if is_filed else None
    if state == FINISHED:
        return 0
    jobs = Jobs()
    ids: list[UUID] = []
    # Again and again: a child may have made calls that were not visible before it was locked.
    while rows := await _unfinished(connection, id):
        finishes = [machine.cancel(row["id"], unsigned(row["correlation_id"])) for row in rows]
        await connection.execute(
            """
            UPDATE calls SET state = 4, status = new_status, result = new_result,
                finished_at = $4, turn = turn + 1, poll = NULL, next_at = NULL
            FROM unnest($1::uuid[], $2::smallint[], $3::bytea[])
                AS ended (end_id, new_status, new_result)
            WHERE id = end_id
            """,
            [row["id"] for row in rows],
            [finish.status.value for finish in finishes],
            [finish.result.SerializeToString() for finish in finishes],
            now,
        )
        ids += [row["id"] for row in rows]
        await _delete_jobs(connection, [row for row in rows if row["next_at"] is not None])
        await wake_parents(connection, rows, jobs)
    await jobs.write(connection)
    await _tell(connection, FINISHED_CHANNEL, [id.hex for id in ids])
    await _tell(connection, LANES, sorted(set(jobs.lanes)), 1)  # of parents that go on
    return len(ids)


async def _unfinished(connection: Any, id: UUID) -> list[Any]:
    """Return the unfinished calls of a tree, locked."""
    rows: list[Any] = await connection.fetch(
        """
        WITH RECURSIVE tree AS (
            SELECT id FROM calls WHERE id = $1
            UNION ALL
            SELECT every_call.id FROM every_call JOIN tree ON parent_id = tree.id
        )
        SELECT calls.id, correlation_id, parent_id, parent_generation, turn, endpoint, function,
            next_at FROM calls
        WHERE id IN (SELECT id FROM tree) AND finished_at IS NULL
        ORDER BY id FOR UPDATE
        """,
        id,
    )
    return rows


async def _delete_jobs(connection: Any, rows: Sequence[Any]) -> None:
    """Delete the jobs of delayed calls: they would count as delayed until they are due.

    Others are found to be stale as soon as they are taken.
    """
    if rows:
        await connection.execute(
            """
            DELETE FROM pgqueuer USING unnest($1::text[], $2::bytea[], $3::timestamptz[])
                AS gone (lane, job, at)
            WHERE entrypoint = lane AND payload = job AND status = 'queued'
                AND execute_after BETWEEN at - interval '1 min' AND at + interval '1 min'
            """,
            [lane_of(host_of(row["endpoint"]), row["function"]) for row in rows],
            [Job(row["id"], row["turn"]).pack() for row in rows],
            [row["next_at"] for row in rows],
        )


_IDS_IN_A_NOTICE = 200
_MAX_BYTES = 7_900  # of a notice: PostgreSQL takes less than 8,000


async def _tell(
    connection: Any, channel: str, items: Sequence[str], at_once: int = _IDS_IN_A_NOTICE
) -> None:
    """Tell every process which calls have finished, or which lanes have jobs."""
    for start in range(0, len(items), at_once):
        # From no process, so that all take it, this one too.
        payload = "\n".join(["", *items[start : start + at_once]])
        if len(payload.encode()) < _MAX_BYTES:  # else the next scan of the queue finds the job
            await connection.execute("SELECT pg_notify($1, $2)", channel, payload)
