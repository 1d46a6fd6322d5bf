"""Count the results of finished calls for their parents, and resume those that waited."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dispatch_grpc.service.store import Jobs

if TYPE_CHECKING:
    from uuid import UUID


async def wake_parents(connection: Any, rows: Iterable[Any], jobs: Jobs) -> None:
    """Count the results for the parents of finished calls, and resume those that waited."""
    counts: dict[tuple[UUID, int], int] = {}
    for row in rows:
        if row["parent_id"] is not None:
            parent = row["parent_id"], row["parent_generation"]
            counts[parent] = counts.get(parent, 0) + 1
    if not counts:
        return
    parents = sorted(counts)  # always locked in the same order
    woken = await connection.fetch(
        """
        WITH child AS (
            SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[]) AS child (pid, pgen, n)
        ), locked AS MATERIALIZED (
            SELECT id, state AS before FROM calls WHERE id = ANY($1) ORDER BY id FOR UPDATE
        ), counted AS (
            UPDATE calls SET
                ready = ready + n,
                outstanding = outstanding - n,
                turn = turn + (state = 3 AND (ready + n >= min_results OR outstanding <= n))::int,
                state = CASE WHEN state = 3 AND (ready + n >= min_results OR outstanding <= n)
                    THEN 1 ELSE state END
            FROM child, locked
            WHERE calls.id = locked.id AND calls.id = pid AND generation = pgen AND state < 4
            RETURNING calls.id, turn, endpoint, function, before, state AS after
        )
        SELECT id, turn, endpoint, function FROM counted WHERE before = 3 AND after = 1
        """,
        [parent for parent, _ in parents],
        [generation for _, generation in parents],
        [counts[parent] for parent in parents],
    )
    for row in woken:
        jobs.add(row)
