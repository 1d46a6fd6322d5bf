"""End the calls that have expired, and resume those that have waited long enough."""

from datetime import datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.service.lanes import lane_of
from dispatch_grpc.service.machine import (
    Limits,
)
from dispatch_grpc.service.machine import expire as machine_expire
from dispatch_grpc.service.store import CallDecision, Due, Job, Jobs
from dispatch_grpc.service.store_attempts import load
from dispatch_grpc.service.store_outcomes import write
from dispatch_grpc.service.urls import host_of


async def expire(
    connection: Any, now: datetime, limits: Limits, limit: int
) -> tuple[list[CallDecision], Due, list[UUID]]:
    """End calls that have expired while they were in the queue, and delete their jobs.

    Those that run are ended by the process that runs them, unless it is away.

    Returns:
        What was written, and as `write`.
    """
    rows = await connection.fetch(
        """
        SELECT id, turn, endpoint, function FROM calls
        WHERE finished_at IS NULL AND expires_at <= now()
            AND (state = 1 OR state = 2 AND expires_at <= now() - interval '1 min')
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
        """,
        limit,
    )
    if not rows:
        return [], {}, []
    loaded = await load(connection, [Job(row["id"], row["turn"]) for row in rows])
    await connection.execute(
        """
        DELETE FROM pgqueuer USING unnest($1::text[], $2::bytea[]) AS gone (lane, job)
        WHERE entrypoint = lane AND payload = job AND status = 'queued'
        """,
        [lane_of(host_of(row["endpoint"]), row["function"]) for row in rows],
        [Job(row["id"], row["turn"]).pack() for row in rows],
    )
    items = [CallDecision(one, machine_expire(one.running)) for one in loaded.values()]
    return items, *await write(connection, items, now, limits)


async def wake(connection: Any, limit: int = 500) -> set[str]:
    """Resume calls that have waited long enough. Returns the lanes for which there are jobs."""
    rows = await connection.fetch(
        """
        WITH due AS (
            SELECT id FROM calls WHERE next_at <= now() AND poll IS NOT NULL AND state = 3
            ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED
        )
        UPDATE calls SET state = 1, turn = turn + 1, next_at = NULL
        FROM due WHERE calls.id = due.id
        RETURNING calls.id, turn, endpoint, function
        """,
        limit,
    )
    jobs = Jobs()
    for row in rows:
        jobs.add(row)
    await jobs.write(connection)
    return set(jobs.lanes)


async def next_wake(connection: Any) -> float | None:
    """Return in how many seconds `wake` has something to do; None when nothing waits."""
    seconds: float | None = await connection.fetchval(
        """
        SELECT extract(epoch FROM min(next_at) - now())::float8 FROM calls
        WHERE next_at IS NOT NULL AND poll IS NOT NULL AND state = 3
        """
    )
    return seconds
