"""Load the calls of jobs, with the results that they waited for, and begin their attempts.

Loading writes nothing. An attempt begins when its request is about to be sent: a call that was
loaded and never sent has not begun, however often the process that loaded it ends.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from dispatch_grpc.schema import CallResult, Error, Poll
from dispatch_grpc.service.machine import (
    Running,
)
from dispatch_grpc.service.store import Job, Loaded, unsigned

# A request to an endpoint must not become larger than endpoints accept: 16 MB by default.
_MAX_DELIVERY_BYTES = 8_000_000


async def load(connection: Any, jobs: Sequence[Job]) -> dict[Job, Loaded]:
    """Return the calls of jobs; stale jobs are left out."""
    rows = await connection.fetch(
        """
        SELECT id, turn, generation, parent_id, root_id, correlation_id, endpoint, function,
            input, created_at, expires_at, failures, pickups, runs, poll, poll_error, last_error,
            passing_since, scheduled_at
        FROM unnest($1::uuid[], $2::int[]) AS job (job_id, job_turn)
        JOIN calls ON id = job_id AND turn = job_turn AND state IN (1, 2)
        """,
        *_columns(jobs),
    )
    loaded = {Job(row["id"], row["turn"]): _loaded(row) for row in rows}
    resumed = [one for one in loaded.values() if one.poll is not None]
    if resumed:
        await _load_results(connection, resumed)
    return loaded


async def begin(connection: Any, jobs: Sequence[Job]) -> set[Job]:
    """Note that the attempts of loaded calls begin. Returns their jobs, without the stale ones."""
    rows = await connection.fetch(
        """
        UPDATE calls SET state = 2, pickups = pickups + 1, next_at = NULL
        FROM unnest($1::uuid[], $2::int[]) AS job (job_id, job_turn)
        WHERE id = job_id AND turn = job_turn AND state IN (1, 2)
        RETURNING id, turn
        """,
        *_columns(jobs),
    )
    return {Job(row["id"], row["turn"]) for row in rows}


def _columns(jobs: Sequence[Job]) -> tuple[list[UUID], list[int]]:
    return [job.id for job in jobs], [job.turn for job in jobs]


def _loaded(row: Any) -> Loaded:
    return Loaded(
        running=Running(
            id=row["id"],
            endpoint=row["endpoint"],
            correlation_id=unsigned(row["correlation_id"]),
            expires_at=row["expires_at"],
            failures=row["failures"],
            pickups=row["pickups"] + 1,
            last_error=_parse(Error, row["last_error"]),
            runs=row["runs"],
            passing_since=row["passing_since"],
        ),
        turn=row["turn"],
        generation=row["generation"],
        parent_id=row["parent_id"],
        root_id=row["root_id"],
        function=row["function"],
        input=row["input"],
        created_at=row["created_at"],
        poll=_parse(Poll, row["poll"]),
        poll_error=_parse(Error, row["poll_error"]),
        scheduled_at=row["scheduled_at"],
    )


async def _load_results(connection: Any, resumed: Sequence[Loaded]) -> None:
    rows = await connection.fetch(
        """
        SELECT result.parent_id, result.id, result.result
        FROM unnest($1::uuid[], $2::int[], $3::int[]) AS parent (id, generation, max_results)
        CROSS JOIN LATERAL (
            SELECT *, sum(octet_length(result)) OVER (ORDER BY finished_at, id) AS bytes,
                row_number() OVER (ORDER BY finished_at, id) AS number
            FROM (
                SELECT id, parent_id, result, finished_at FROM calls
                WHERE parent_id = parent.id AND parent_generation = parent.generation
                    AND finished_at IS NOT NULL AND NOT delivered
                ORDER BY finished_at, id LIMIT parent.max_results
            ) AS ready
        ) AS result
        WHERE bytes <= $4 OR number = 1
        ORDER BY result.finished_at, result.id
        """,
        [one.running.id for one in resumed],
        [one.generation for one in resumed],
        [one.poll.max_results if one.poll else 0 for one in resumed],
        _MAX_DELIVERY_BYTES,
    )
    by_id = {one.running.id: one for one in resumed}
    for row in rows:
        parent = by_id[row["parent_id"]]
        parent.results.append(CallResult.FromString(row["result"]))
        parent.result_ids.append(row["id"])


def _parse(cls: Any, data: bytes | None) -> Any:
    return None if data is None else cls.FromString(data)
