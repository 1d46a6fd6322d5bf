"""Give lost calls their jobs again, file finished calls, delete what is past its retention.

All of it in slices: a statement that takes as long as a connection may be silent is cut off.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from dispatch_grpc.service import rates
from dispatch_grpc.service.ids import id_at
from dispatch_grpc.service.store import Jobs

FIRST_ID = UUID(int=0)
FIRST_PLACE = datetime(1970, 1, 1, tzinfo=UTC), FIRST_ID


async def recover(
    connection: Any, after: UUID = FIRST_ID, limit: int = 50_000
) -> tuple[set[str], UUID | None]:
    """Give a job to calls that lost theirs, which should never happen.

    Args:
        connection: A connection in a transaction.
        after: The id after which to begin.
        limit: Number of calls to look at.

    Returns:
        The lanes of new jobs, and the id after which to go on; None at the end.
    """
    last, number = await connection.fetchrow(
        """
        SELECT max(id::text)::uuid, count(*) FROM (
            SELECT id FROM calls WHERE id > $1 ORDER BY id LIMIT $2
        ) AS looked_at
        """,
        after,
        limit,
    )
    rows = await connection.fetch(
        """
        WITH lost AS MATERIALIZED (
            SELECT id, turn FROM calls
            WHERE id > $1 AND id <= $2 AND finished_at IS NULL AND state IN (1, 2)
                AND NOT EXISTS (
                    SELECT FROM pgqueuer
                    WHERE payload = uuid_send(calls.id) || int4send(calls.turn)
                        AND status <> 'failed'
                )
        )
        UPDATE calls SET state = 1, turn = calls.turn + 1 FROM lost
        WHERE calls.id = lost.id AND calls.turn = lost.turn
        RETURNING calls.id, calls.turn, endpoint, function
        """,
        after,
        last,
    )
    jobs = Jobs()
    for row in rows:
        jobs.add(row)
    await jobs.write(connection)
    return set(jobs.lanes), last if number == limit else None


async def file(
    connection: Any, after: tuple[datetime, UUID] = FIRST_PLACE, limit: int = 5_000
) -> tuple[datetime, UUID] | None:
    """Move finished calls to `finished` whose results nobody waits for any more.

    Calls without a parent are filed as they finish, and the others as their results are delivered.
    What is left is cancelled, or its parent ended first, or an older version has finished it.

    Args:
        connection: A connection in a transaction.
        after: Time and id of the finished call after which to begin.
        limit: Number of calls to look at.

    Returns:
        Where to go on; None at the end.
    """
    row = await connection.fetchrow(
        """
        WITH looked_at AS MATERIALIZED (
            SELECT id, parent_id, parent_generation, delivered, finished_at FROM calls
            WHERE finished_at IS NOT NULL AND (finished_at, id) > ($1, $2)
            ORDER BY finished_at, id LIMIT $3
        ), gone AS (
            DELETE FROM calls WHERE id = ANY (ARRAY(
                SELECT id FROM looked_at
                WHERE parent_id IS NULL OR delivered OR NOT EXISTS (
                    SELECT FROM calls AS parent
                    WHERE parent.id = looked_at.parent_id AND parent.finished_at IS NULL
                        AND parent.generation = looked_at.parent_generation
                )
            ))
            RETURNING *
        ), filed AS (
            INSERT INTO finished SELECT * FROM gone
        )
        SELECT finished_at, id, (SELECT count(*) FROM looked_at) AS number FROM looked_at
        ORDER BY finished_at DESC, id DESC LIMIT 1
        """,
        *after,
        limit,
    )
    if row is None or row["number"] < limit:
        return None
    return row["finished_at"], row["id"]


async def tend_partitions(connection: Any, retention: timedelta, requests: timedelta) -> None:
    """Make the partitions of the next days, and drop those past their retention.

    In a transaction of its own: it locks the tables.
    """
    await connection.execute("SELECT tend_partitions($1, $2)", retention, requests)


async def prune(
    connection: Any, retention: timedelta, requests: timedelta, limit: int = 10_000
) -> bool:
    """Delete what is past its retention and in no partition that could be dropped.

    Args:
        connection: A connection.
        retention: How long a finished call is kept at least; up to a day more.
        requests: The same of an idempotency key.
        limit: Number of rows to delete of each table.

    Returns:
        Whether there may be more to delete.
    """
    more = False
    for table, column, kept in (
        ("finished_other", "finished_at", retention),
        ("requests_other", "created_at", requests),
        ("pgqueuer_log", "created", timedelta(0)),
        ("minutes", "minute", rates.KEPT),
    ):
        done = await connection.execute(
            f"DELETE FROM {table} WHERE ctid = ANY (ARRAY("  # noqa: S608 (names from above)
            f"SELECT ctid FROM {table} WHERE {column} <= now() - $1::interval LIMIT $2))",
            kept,
            limit,
        )
        more = more or done == f"DELETE {limit}"
    return more


async def prune_finished(
    connection: Any,
    retention: timedelta,
    is_wanted: Callable[[str, str], bool],
    after: tuple[datetime, UUID],
    limit: int,
) -> tuple[tuple[datetime, UUID], bool]:
    """Delete some of the finished calls, before their partition is dropped.

    Args:
        connection: A connection in a transaction.
        retention: How long they are kept.
        is_wanted: Whether to delete the calls of an endpoint and a function.
        after: Time and id of the finished call after which to begin.
        limit: Number of calls to look at.

    Returns:
        Where to go on, and whether there may be more now.
    """
    rows = await connection.fetch(
        """
        SELECT id, finished_at, endpoint, function FROM finished
        WHERE (finished_at, id) > ($1, $2) AND finished_at <= now() - $3::interval
        ORDER BY finished_at, id LIMIT $4
        """,
        *after,
        retention,
        limit,
    )
    if not rows:
        return after, False
    if ids := [row["id"] for row in rows if is_wanted(row["endpoint"], row["function"])]:
        await connection.execute(
            "DELETE FROM finished WHERE id = ANY($1) AND finished_at BETWEEN $2 AND $3",
            ids,
            rows[0]["finished_at"],
            rows[-1]["finished_at"],
        )
    return (rows[-1]["finished_at"], rows[-1]["id"]), len(rows) == limit


_COUNT_SECONDS = 5.0  # between two counts
_MAX_COUNT_SECONDS = 30.0
_COUNT_PART = 20  # counting may take one part of so many of the time


async def claim_count(connection: Any, timeout: timedelta) -> bool:
    """Whether this process is to count the calls now; if it fails to, another one does later.

    Args:
        connection: A connection.
        timeout: The time that it has.
    """
    claimed: bool | None = await connection.fetchval(
        "UPDATE backlog SET next_at = now() + $1::interval WHERE next_at <= now() RETURNING true",
        timeout,
    )
    return claimed is not None


async def note_count(connection: Any, numbers: Mapping[str, int], took: timedelta) -> None:
    """Note the counts for all processes.

    Args:
        connection: A connection.
        numbers: The counts, by state.
        took: How long it took: the longer, the later it is done again.
    """
    pause = min(max(_COUNT_PART * took.total_seconds(), _COUNT_SECONDS), _MAX_COUNT_SECONDS)
    await connection.execute(
        """
        UPDATE backlog SET queued = $1, delayed = $2, running = $3, waiting = $4,
            counted_at = now() - $5::interval, next_at = now() + $6::interval
        """,
        *(numbers[state] for state in ("queued", "delayed", "running", "waiting")),
        took,
        timedelta(seconds=pause),
    )


async def prune_labels(
    connection: Any, retention: timedelta, after: UUID = FIRST_ID, limit: int = 10_000
) -> UUID | None:
    """Delete the labels of calls that were deleted.

    Args:
        connection: A connection.
        retention: How long a finished call is kept: what was made since then is still there.
        after: The id after which to begin.
        limit: Number of labels to look at.

    Returns:
        The id after which to go on; None at the end.
    """
    row = await connection.fetchrow(
        """
        WITH looked_at AS MATERIALIZED (
            SELECT id, label FROM labels WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3
        ), gone AS (
            DELETE FROM labels USING looked_at
            WHERE labels.id = looked_at.id AND labels.label = looked_at.label
                AND NOT EXISTS (SELECT FROM every_call WHERE every_call.id = looked_at.id)
        )
        SELECT max(id::text)::uuid AS last, count(*) AS number FROM looked_at
        """,
        after,
        id_at(datetime.now(UTC) - retention),
        limit,
    )
    last: UUID = row["last"]
    return last if row["number"] == limit else None
