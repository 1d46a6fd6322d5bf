"""The queue: pgqueuer's table, into which pgqueuer's own statement enqueues jobs.

The statements here dequeue them: pgqueuer's has one limit for all lanes, these have one for each
lane. The oldest due job comes first.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from dispatch_grpc.service.lanes import MAX_LANES


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this process has taken."""

    id: int
    lane: str
    payload: bytes


# By an array, since PostgreSQL expects a join to match a large part of the table.
CLAIM = """
WITH claimed AS MATERIALIZED (
    SELECT job.id FROM unnest($2::text[], $3::int[]) AS lane (name, wanted)
    CROSS JOIN LATERAL (
        SELECT id FROM pgqueuer
        WHERE entrypoint = lane.name AND status = 'queued' AND execute_after <= now()
        ORDER BY execute_after LIMIT lane.wanted FOR UPDATE SKIP LOCKED
    ) AS job
)
UPDATE pgqueuer
SET status = 'picked', updated = now(), heartbeat = now(), queue_manager_id = $1
WHERE id = ANY (ARRAY(SELECT id FROM claimed))
RETURNING id, entrypoint, payload
"""


async def claim(connection: Any, owner: UUID, wanted: Mapping[str, int]) -> list[Claim]:
    """Claim jobs that are due, the oldest first.

    Args:
        connection: A connection.
        owner: The process.
        wanted: Largest number of jobs, by lane.
    """
    rows = await connection.fetch(
        CLAIM,
        owner,
        list(wanted),
        list(wanted.values()),
    )
    return [Claim(row["id"], row["entrypoint"], row["payload"] or b"") for row in rows]


async def take(
    connection: Any, owner: UUID, payloads: Mapping[str, Sequence[bytes]]
) -> list[Claim]:
    """Take queued jobs that this transaction has added, and that nobody else can see yet.

    Args:
        connection: A connection in the transaction.
        owner: The process.
        payloads: Those of the jobs, by lane.
    """
    rows = await connection.fetch(
        """
        UPDATE pgqueuer
        SET status = 'picked', updated = now(), heartbeat = now(), queue_manager_id = $1
        WHERE entrypoint = ANY($2) AND payload = ANY($3) AND status = 'queued'
            AND execute_after = now()
        RETURNING id, entrypoint, payload
        """,
        owner,
        list(payloads),
        [payload for some in payloads.values() for payload in some],
    )
    return [Claim(row["id"], row["entrypoint"], row["payload"]) for row in rows]


async def done(connection: Any, owner: UUID, ids: Sequence[int]) -> None:
    """Delete finished jobs, unless another process has taken them over."""
    await connection.execute(
        "DELETE FROM pgqueuer WHERE id = ANY($2::bigint[]) AND queue_manager_id = $1",
        owner,
        ids,
    )


async def beat(connection: Any, owner: UUID, ids: Collection[int]) -> None:
    """Send a heartbeat for jobs that this process runs."""
    await connection.execute(
        "UPDATE pgqueuer SET heartbeat = now() "
        "WHERE id = ANY($2::bigint[]) AND queue_manager_id = $1",
        owner,
        list(ids),
    )


async def put_back(connection: Any, owner: UUID, id: int) -> timedelta | None:
    """Requeue a job with exponential backoff. Returns the wait."""
    delay: timedelta | None = await connection.fetchval(
        """
        UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL, attempts = attempts + 1,
            updated = now(), execute_after = now() + interval '1 s' * 2 ^ least(attempts, 6)
        WHERE id = $2 AND queue_manager_id = $1
        RETURNING execute_after - now()
        """,
        owner,
        id,
    )
    return delay


async def reclaim(connection: Any, owner: UUID, ids: Collection[int]) -> list[str]:
    """Requeue jobs that this process claimed without knowing it: the answer was lost.

    Args:
        connection: A connection.
        owner: The process.
        ids: The jobs that it knows of.

    Returns:
        The lanes of these jobs.
    """
    rows = await connection.fetch(
        """
        UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL, updated = now()
        WHERE queue_manager_id = $1 AND status = 'picked' AND NOT id = ANY($2::bigint[])
        RETURNING entrypoint
        """,
        owner,
        list(ids),
    )
    return [row["entrypoint"] for row in rows]


async def take_over(
    connection: Any, owner: UUID, heartbeat_timeout: timedelta, limit: int = 1000
) -> list[str]:
    """Requeue jobs whose process has sent no heartbeat for too long. Returns their lanes.

    Only by a process that has itself sent heartbeats for as long: after an outage of the database
    the others need time to show that they live.
    """
    rows = await connection.fetch(
        """
        WITH stale AS MATERIALIZED (
            SELECT id FROM pgqueuer
            WHERE status = 'picked' AND heartbeat < now() - $1::interval
                AND EXISTS (SELECT FROM processes WHERE id = $3 AND since < now() - $1::interval)
            ORDER BY heartbeat LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL, updated = now()
        WHERE id = ANY (ARRAY(SELECT id FROM stale))
        RETURNING entrypoint
        """,
        heartbeat_timeout,
        limit,
        owner,
    )
    return [row["entrypoint"] for row in rows]


async def lanes(
    connection: Any, after: str = "", limit: int = MAX_LANES
) -> tuple[dict[str, float], str]:
    """Return lanes that have jobs, found by steps from one to the next.

    Args:
        connection: A connection.
        after: The lane after which to begin.
        limit: Largest number of lanes.

    Returns:
        In how many seconds the first job of each lane is due; 0 or less: it is. And the lane after
        which to go on; empty at the end. So lanes that cannot be served, however many, do not hide
        others for ever.
    """
    rows = await connection.fetch(
        """
        WITH RECURSIVE step AS (
            (SELECT entrypoint FROM pgqueuer WHERE status = 'queued' AND entrypoint > $2
                ORDER BY entrypoint LIMIT 1)
            UNION ALL
            SELECT (SELECT entrypoint FROM pgqueuer
                WHERE status = 'queued' AND entrypoint > step.entrypoint
                ORDER BY entrypoint LIMIT 1)
            FROM step WHERE step.entrypoint IS NOT NULL
        )
        SELECT entrypoint, extract(epoch FROM (
            SELECT min(execute_after) FROM pgqueuer
            WHERE pgqueuer.entrypoint = step.entrypoint AND status = 'queued'
        ) - now())::float8 AS seconds
        FROM step WHERE entrypoint IS NOT NULL LIMIT $1
        """,
        limit,
        after,
    )
    return _due(rows), rows[-1]["entrypoint"] if len(rows) == limit else ""


async def due(connection: Any, some: Collection[str]) -> dict[str, float]:
    """Return what `lanes` does, of some lanes; those without a job are left out."""
    rows = await connection.fetch(
        """
        SELECT entrypoint, extract(epoch FROM (
            SELECT min(execute_after) FROM pgqueuer
            WHERE pgqueuer.entrypoint = lane.entrypoint AND status = 'queued'
        ) - now())::float8 AS seconds
        FROM unnest($1::text[]) AS lane (entrypoint)
        """,
        list(some),
    )
    return _due(rows)


def _due(rows: Sequence[Any]) -> dict[str, float]:
    return {row["entrypoint"]: row["seconds"] for row in rows if row["seconds"] is not None}


async def present(connection: Any, process: UUID, heartbeat_timeout: timedelta) -> bool:
    """Record that a process is alive, and since when; return whether no other one is."""
    is_alone: bool = await connection.fetchval(
        """
        INSERT INTO processes (id, seen_at, since) VALUES ($1, now(), now())
        ON CONFLICT (id) DO UPDATE SET seen_at = now(), since = CASE
            WHEN processes.seen_at < now() - $2::interval / 2 THEN now() ELSE processes.since END
        RETURNING NOT EXISTS (
            SELECT FROM processes WHERE id <> $1 AND seen_at > now() - $2::interval
        )
        """,
        process,
        heartbeat_timeout,
    )
    return is_alone
