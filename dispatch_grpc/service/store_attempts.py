"""Load the calls of jobs, with the results that they waited for, and begin their attempts.

Loading writes nothing. An attempt begins when its request is about to be sent: a call that was
loaded and never sent has not begun, however often the process that loaded it ends. `take` begins
attempts in the transaction that makes their jobs due, when nothing is to be waited for.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from dispatch_grpc.endpoint.answers import MAX_RESULTS
from dispatch_grpc.schema import CallResult, Error, Poll
from dispatch_grpc.service.machine import Running
from dispatch_grpc.service.memory import FREE_BYTES
from dispatch_grpc.service.queue import Claim
from dispatch_grpc.service.store import Job, Loaded, unsigned

# A request to an endpoint must not become larger than endpoints accept: 16 MB by default.
_MAX_DELIVERY_BYTES = 8_000_000
_NO_LIMIT = 2**31 - 1

# Those of a call that is loaded, but for `pickups`: how often it had begun before. The content is
# left out if it is larger than $1.
_COLUMNS = """
    id, turn, generation, parent_id, root_id, correlation_id, endpoint, function, created_at,
    expires_at, failures, runs, poll_error, last_error, uncounted, passing_since, scheduled_at,
    starts_at, trace, poll IS NOT NULL AS is_resumed, octet_length(coalesce(poll, input)) AS size,
    CASE WHEN octet_length(coalesce(poll, input)) <= $1 THEN coalesce(poll, input) END AS content
"""


async def load(connection: Any, jobs: Sequence[Job]) -> dict[Job, Loaded]:
    """Return the calls of jobs, without large contents: see `Loaded`. Stale jobs are left out."""
    return await _load(connection, jobs, FREE_BYTES, _MAX_DELIVERY_BYTES)


async def load_whole(connection: Any, loaded: Loaded) -> Loaded | None:
    """Return a call with its large contents; None when its job is stale.

    Args:
        connection: A connection.
        loaded: The call. Given the ids of the results that it is returned with.
    """
    job = Job(loaded.running.id, loaded.turn)
    whole = (await _load(connection, [job], _NO_LIMIT, loaded.size)).get(job)
    if whole is not None:
        loaded.result_ids[:] = whole.result_ids
    return whole


async def _load(
    connection: Any, jobs: Sequence[Job], most: int, deliverable: int
) -> dict[Job, Loaded]:
    """Load calls.

    Args:
        connection: A connection.
        jobs: Their jobs.
        most: Largest size of an input, a Poll or of results together that is not left out.
        deliverable: Largest size of a Poll and its results; one result is always among them.
    """
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS}, pickups
        FROM unnest($2::uuid[], $3::int[]) AS job (job_id, job_turn)
        JOIN calls ON id = job_id AND turn = job_turn AND state IN (1, 2)
        """,  # noqa: S608 (a fragment of this module)
        most,
        *_keys(jobs),
    )
    return await _with_results(connection, rows, most, deliverable)


async def _with_results(
    connection: Any, rows: Sequence[Any], most: int, deliverable: int
) -> dict[Job, Loaded]:
    loaded = {Job(row["id"], row["turn"]): _loaded(row) for row in rows}
    if resumed := {row["id"]: row["size"] for row in rows if row["is_resumed"]}:
        parents = [one for one in loaded.values() if one.running.id in resumed]
        left = [deliverable - resumed[one.running.id] for one in parents]
        omitted = await _load_results(connection, parents, most, left)
        for job, one in loaded.items():
            if size := omitted.get(job.id):
                loaded[job] = replace(one, size=resumed[job.id] + size)
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
        *_keys(jobs),
    )
    return {Job(row["id"], row["turn"]) for row in rows}


async def take(
    connection: Any,
    owner: UUID,
    lanes: Sequence[str],
    jobs: Sequence[Job],
    answering: Sequence[bool],
) -> list[tuple[Claim, Loaded]]:
    """Add jobs to the queue that a process takes, and begin and load their calls.

    The attempt of a call begins if its host answers, and if it waits for no memory, since it is
    small with all results that are ready. Stale jobs are left out.

    Args:
        connection: A connection in the transaction that makes the jobs due, and has locked their
            calls.
        owner: The process.
        lanes: The lane of each job.
        jobs: The jobs.
        answering: Whether the host of each job answers.
    """
    ready = """
        WHERE child.parent_id = calls.id AND child.parent_generation = calls.generation
            AND child.finished_at IS NOT NULL AND NOT child.delivered
    """
    rows = await connection.fetch(
        f"""
        WITH job AS MATERIALIZED (
            SELECT job_id, lane, payload, is_answering AND $1 >= octet_length(coalesce(poll, input))
                + CASE WHEN poll IS NULL THEN 0 ELSE (
                    SELECT coalesce(sum(octet_length(child.result)), 0) FROM calls AS child {ready}
                ) END AS begins
            FROM unnest($2::uuid[], $3::int[], $4::text[], $5::bytea[], $6::boolean[])
                AS job (job_id, job_turn, lane, payload, is_answering)
            JOIN calls ON id = job_id AND turn = job_turn AND state IN (1, 2)
        ), picked AS (
            INSERT INTO pgqueuer
                (priority, entrypoint, payload, execute_after, status, queue_manager_id, heartbeat)
            SELECT 0, lane, payload, now(), 'picked', $7, now() FROM job
            RETURNING id AS picked_id, payload AS picked_payload
        )
        UPDATE calls SET pickups = pickups + begins::int,
            state = CASE WHEN begins THEN 2 ELSE state END,
            next_at = CASE WHEN begins THEN NULL ELSE next_at END
        FROM job JOIN picked ON picked_payload = payload
        WHERE id = job_id
        RETURNING {_COLUMNS}, pickups - begins::int AS pickups, begins, picked_id, lane,
            CASE WHEN begins AND poll IS NOT NULL THEN ARRAY(
                SELECT ROW(child.id, child.result) FROM calls AS child {ready}
                ORDER BY child.finished_at, child.id
            ) END AS ready
        """,  # noqa: S608 (a fragment of this module)
        FREE_BYTES,
        *_keys(jobs),
        lanes,
        [job.pack() for job in jobs],
        answering,
        owner,
    )
    others = [row for row in rows if not row["begins"]]
    loaded = await _with_results(connection, others, FREE_BYTES, _MAX_DELIVERY_BYTES)
    taken = []
    for row in rows:
        job = Job(row["id"], row["turn"])
        claim = Claim(row["picked_id"], row["lane"], job.pack())
        taken.append((claim, _begun(row) if row["begins"] else loaded[job]))
    return taken


def _begun(row: Any) -> Loaded:
    """Return a call that has begun, and whose contents and results are small."""
    loaded = replace(_loaded(row), has_begun=True)
    if loaded.poll is not None:
        for id, result in row["ready"][: loaded.poll.max_results]:
            loaded.result_ids.append(id)
            loaded.results.append(CallResult.FromString(result))
    return loaded


def _keys(jobs: Sequence[Job]) -> tuple[list[UUID], list[int]]:
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
            uncounted=row["uncounted"],
        ),
        turn=row["turn"],
        generation=row["generation"],
        parent_id=row["parent_id"],
        root_id=row["root_id"],
        function=row["function"],
        input=None if row["is_resumed"] else row["content"],
        created_at=row["created_at"],
        poll=_parse(Poll, row["content"]) if row["is_resumed"] else None,
        poll_error=_parse(Error, row["poll_error"]),
        size=row["size"] if row["content"] is None else 0,
        scheduled_at=row["scheduled_at"],
        starts_at=row["starts_at"],
        trace=row["trace"],
    )


async def _load_results(
    connection: Any, parents: Sequence[Loaded], most: int, deliverable: Sequence[int]
) -> dict[UUID, int]:
    """Load the results of calls.

    Args:
        connection: A connection.
        parents: The calls.
        most: Largest size of the results of a call that are not left out.
        deliverable: Largest size of the results of each; one is always among them.

    Returns:
        The size of the results that were left out, by their parents.
    """
    rows = await connection.fetch(
        """
        SELECT parent_id, id, total, CASE WHEN total <= $5 THEN result END AS result FROM (
            SELECT result.*, sum(size) OVER (PARTITION BY result.parent_id) AS total
            FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[])
                AS parent (id, generation, max_results, deliverable)
            CROSS JOIN LATERAL (
                SELECT *, sum(size) OVER (ORDER BY finished_at, id) AS bytes,
                    row_number() OVER (ORDER BY finished_at, id) AS number
                FROM (
                    SELECT id, parent_id, result, octet_length(result) AS size, finished_at
                    FROM calls
                    WHERE parent_id = parent.id AND parent_generation = parent.generation
                        AND finished_at IS NOT NULL AND NOT delivered
                    ORDER BY finished_at, id LIMIT parent.max_results
                ) AS ready
            ) AS result
            WHERE bytes <= deliverable OR number = 1
        ) AS delivered
        ORDER BY finished_at, id
        """,
        [one.running.id for one in parents],
        [one.generation for one in parents],
        [one.poll.max_results if one.poll else MAX_RESULTS for one in parents],
        deliverable,
        most,
    )
    by_id = {one.running.id: one for one in parents}
    omitted: dict[UUID, int] = {}
    for row in rows:
        parent = by_id[row["parent_id"]]
        parent.result_ids.append(row["id"])
        if row["result"] is None:
            omitted[row["parent_id"]] = int(row["total"])
        else:
            parent.results.append(CallResult.FromString(row["result"]))
    return omitted


def _parse(cls: Any, data: bytes | None) -> Any:
    return None if data is None else cls.FromString(data)
