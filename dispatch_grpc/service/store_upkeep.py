"""Give lost calls their jobs again, and delete what is past its retention."""

from datetime import timedelta
from typing import Any

from dispatch_grpc.service.store import Jobs


async def recover(connection: Any) -> set[str]:
    """Give a job to calls that lost theirs, which should never happen. Returns their lanes."""
    rows = await connection.fetch(
        """
        UPDATE calls SET state = 1, turn = turn + 1
        WHERE finished_at IS NULL AND state IN (1, 2) AND NOT EXISTS (
            SELECT FROM pgqueuer
            WHERE payload = uuid_send(calls.id) || int4send(calls.turn) AND status <> 'failed'
        )
        RETURNING id, turn, endpoint, function
        """
    )
    jobs = Jobs()
    for row in rows:
        jobs.add(row)
    await jobs.write(connection)
    return set(jobs.lanes)


async def prune(connection: Any, retention: timedelta, requests: timedelta) -> int:
    """Delete what is kept no longer. Returns the number of calls."""
    await connection.execute(
        "DELETE FROM requests WHERE created_at < now() - $1::interval", requests
    )
    await connection.execute("DELETE FROM pgqueuer_log")
    # A call is kept for as long as its parent may still ask for its result.
    row = await connection.fetchval(
        """
        WITH gone AS (
            DELETE FROM calls WHERE id IN (
                SELECT id FROM calls WHERE finished_at < now() - $1::interval
                    AND (parent_id IS NULL OR delivered OR NOT EXISTS (
                        SELECT FROM calls parent
                        WHERE parent.id = calls.parent_id AND parent.finished_at IS NULL))
                LIMIT 10000
            ) RETURNING 1
        )
        SELECT count(*) FROM gone
        """,
        retention,
    )
    return int(row)
