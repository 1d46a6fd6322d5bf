"""A call with all that is known of it, and the calls that it made: for its page.

Every query is bounded: it must not hold up what calls need.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from dispatch_grpc.schema import CallInfo
from dispatch_grpc.service import reads

CHILDREN_COUNTED = 10_000
_SIZED = ", ".join(
    f"coalesce(octet_length({name}), 0) AS {name}_bytes, "
    f"CASE WHEN octet_length({name}) <= $2 THEN {name} END AS {name}"
    for name in ("input", "result", "last_error")
)


@dataclass(frozen=True, slots=True)
class Details:
    """All that is known of a call.

    Attributes:
        info: What everybody is told; without a result and an error that are too large.
        input: Its input, an Any; None when it is too large.
        input_bytes: Size of the input.
        result_bytes: Size of the result; 0 without one.
        last_error_bytes: Size of the last error that did not end the call; 0 without one.
        failures: How often in a row its run has failed.
        pickups: How often the run that is to be done has begun.
        generation: How often it began anew, or went on as another call.
        min_results: Number of results that it waits for, or waited for last.
        ready: Results that it has not been given.
        outstanding: Calls that it made and that have not finished.
    """

    info: CallInfo
    input: bytes | None
    input_bytes: int
    result_bytes: int
    last_error_bytes: int
    failures: int
    pickups: int
    generation: int
    min_results: int
    ready: int
    outstanding: int


async def details(connection: Any, id: UUID, most: int) -> Details | None:
    """All that is known of a call; without an input, a result and an error above `most` bytes."""
    row = await connection.fetchrow(
        f"""
        SELECT {reads.COLUMNS}, {_SIZED}, attempts, failures, pickups, generation,
            min_results, ready, outstanding
        FROM every_call WHERE id = $1
        """,  # noqa: S608
        id,
        most,
    )
    if row is None:
        return None
    return Details(
        info=reads.with_attempts(row),
        input=row["input"],
        input_bytes=row["input_bytes"],
        result_bytes=row["result_bytes"],
        last_error_bytes=row["last_error_bytes"],
        failures=row["failures"],
        pickups=row["pickups"],
        generation=row["generation"],
        min_results=row["min_results"],
        ready=row["ready"],
        outstanding=row["outstanding"],
    )


async def children_by_state(connection: Any, id: UUID) -> dict[tuple[int, int], int]:
    """How many calls a call made, by their state and status; of the first `CHILDREN_COUNTED`."""
    # In the order of the index, so that it is used.
    rows = await connection.fetch(
        """
        SELECT state, status, count(*) FROM (
            SELECT state, status FROM every_call WHERE parent_id = $1
            ORDER BY parent_id, parent_generation, finished_at, id LIMIT $2
        ) AS child
        GROUP BY state, status ORDER BY state, status
        """,
        id,
        CHILDREN_COUNTED,
    )
    return {(row["state"], row["status"]): row["count"] for row in rows}


async def children(connection: Any, ids: Sequence[UUID], limit: int) -> list[Any]:
    """Return the calls that some calls made, in the order in which they were made.

    With their last error, and their result if they failed, unless these are large.
    """
    rows: list[Any] = await connection.fetch(
        f"""
        SELECT id, parent_id, function, state, status, created_at, finished_at, {reads.SHORT_ERRORS}
        FROM every_call WHERE id IN (
            SELECT child.id FROM unnest($1::uuid[]) AS parent (id) CROSS JOIN LATERAL (
                -- By OFFSET, or the oldest of all calls would be searched for the children.
                SELECT id FROM (
                    SELECT id FROM every_call WHERE parent_id = parent.id OFFSET 0
                ) AS made ORDER BY id LIMIT $2
            ) AS child
        )
        ORDER BY id LIMIT $2
        """,  # noqa: S608
        ids,
        limit,
    )
    return rows
