"""Write the outcomes of attempts, and what follows from them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from dispatch_grpc.service import queue
from dispatch_grpc.service.attempts import appended, packed
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.machine import Finish, Limits, Replace, Resume, Retry, Suspend
from dispatch_grpc.service.store import QUEUED, CallDecision, Due, Jobs, NewCall, Release
from dispatch_grpc.service.store_accept import InQueue
from dispatch_grpc.service.store_parents import wake_parents

_IN_QUEUE = InQueue()


def is_one_statement(items: Sequence[CallDecision]) -> bool:
    """Return whether `write` needs only one statement, which is a transaction by itself."""
    return all(isinstance(item.outcome, Finish) and item.loaded.parent_id is None for item in items)


async def write(
    connection: Any,
    items: Sequence[CallDecision],
    now: datetime,
    limits: Limits,
    owner: UUID | None = None,
    *,
    follow_ups: InQueue = _IN_QUEUE,
) -> tuple[Due, list[UUID]]:
    """Write the outcomes of attempts and the jobs that follow, and delete the jobs that are done.

    In a transaction, unless `is_one_statement`.

    A call that was cancelled, or whose outcome another process has written, has another turn by
    then and stays as it is. Its state is not compared: after a crash the database may have
    forgotten that the call runs. A job that another process has taken over stays, too.

    Args:
        connection: A connection.
        items: The attempts.
        now: The time.
        limits: Bounds of what calls may ask for.
        owner: The process that has the jobs of the attempts.
        follow_ups: Writes the new jobs.

    Returns:
        The new jobs that are left in the queue and due now, and the ids of the calls that have
        finished.
    """
    jobs = Jobs()
    by_kind: dict[type, list[Any]] = {}
    for item in items:
        by_kind.setdefault(type(item.outcome), []).append(item)
    finished: list[UUID] = []
    if found := by_kind.get(Finish):
        finished = await _finish(connection, found, now, jobs, owner)
    if found := by_kind.get(Retry):
        await _retry(connection, found, now, jobs)
    if found := by_kind.get(Release):
        await _release(connection, found, jobs)
    due: Due = {}
    if found := by_kind.get(Suspend):
        rows = await _suspend(connection, found, now, owner)
        for row in rows:
            if row["state"] == QUEUED:
                jobs.add(row)
        suspended = {row["id"] for row in rows}
        parents = [item for item in found if item.loaded.running.id in suspended]
        if children := _children(parents, now, limits):
            due = await follow_ups.record(connection, children, now)
    for item in by_kind.get(Resume, ()):
        await _resume(connection, item, now, jobs)
    for item in by_kind.get(Replace, ()):
        await _replace(connection, item, now, limits, jobs)
    if jobs.lanes:
        for lane, payloads in (await follow_ups.enqueue(connection, jobs)).items():
            due.setdefault(lane, []).extend(payloads)
    others = [item for item in items if not isinstance(item.outcome, Finish | Suspend)]
    done = [item.job for item in others if item.job is not None]
    if done and owner is not None:
        await queue.done(connection, owner, done)
    return due, finished


async def _finish(
    connection: Any,
    items: Sequence[CallDecision],
    now: datetime,
    jobs: Jobs,
    owner: UUID | None,
) -> list[UUID]:
    """Finish calls. Those that no parent waits for are filed at once: see `schema`."""
    outcomes = [item.outcome for item in items if isinstance(item.outcome, Finish)]
    rows = await connection.fetch(
        """
        WITH run AS MATERIALIZED (
            SELECT * FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::bytea[])
                AS run (run_id, run_turn, new_status, new_result)
        ), ended AS (
            DELETE FROM calls USING run
            WHERE id = run_id AND turn = run_turn AND parent_id IS NULL
            RETURNING *
        ), filed AS (
            INSERT INTO finished (id, parent_id, parent_generation, root_id, correlation_id,
                endpoint, function, version, input, state, status, turn, generation, runs, pickups,
                failures, created_at, expires_at, finished_at, min_results, ready, outstanding,
                delivered, last_error, result, passing_since, schedule, scheduled_at, starts_at,
                labels, rerun_of, rerun_as, attempts, dead, trace, uncounted)
            SELECT id, parent_id, parent_generation, root_id, correlation_id,
                endpoint, function, version, input, 4, new_status, turn + 1, generation, runs + 1,
                pickups, failures, created_at, expires_at, $5, min_results, ready, outstanding,
                delivered, last_error, new_result, passing_since, schedule, scheduled_at, starts_at,
                labels, rerun_of, rerun_as, attempts, new_status <> 1, trace, uncounted
            FROM ended
        ), kept AS (
            UPDATE calls SET state = 4, status = new_status, result = new_result, finished_at = $5,
                turn = turn + 1, runs = runs + 1, poll = NULL, poll_error = NULL, next_at = NULL
            FROM run WHERE id = run_id AND turn = run_turn AND parent_id IS NOT NULL
            RETURNING id, parent_id, parent_generation
        ), done AS (
            DELETE FROM pgqueuer WHERE id = ANY($6::bigint[]) AND queue_manager_id = $7
        )
        SELECT id, parent_id, parent_generation FROM ended
        UNION ALL SELECT id, parent_id, parent_generation FROM kept
        """,
        *_keys(items),
        [outcome.status.value for outcome in outcomes],
        [outcome.result.SerializeToString() for outcome in outcomes],
        now,
        [item.job for item in items if item.job is not None],
        owner,
    )
    await wake_parents(connection, rows, jobs)
    return [row["id"] for row in rows]


async def _retry(connection: Any, items: Sequence[CallDecision], now: datetime, jobs: Jobs) -> None:
    outcomes = [item.outcome for item in items if isinstance(item.outcome, Retry)]
    rows = await connection.fetch(
        f"""
        UPDATE calls SET {appended("attempt")},
            state = 1, status = new_status, last_error = new_error, next_at = at,
            turn = turn + 1, runs = runs + 1, pickups = 0, failures = failures + 1,
            generation = generation + restart::int,
            poll = CASE WHEN restart THEN NULL ELSE poll END,
            poll_error = CASE WHEN restart THEN NULL ELSE poll_error END,
            ready = CASE WHEN restart THEN 0 ELSE ready END,
            outstanding = CASE WHEN restart THEN 0 ELSE outstanding END,
            passing_since = CASE WHEN passing THEN coalesce(passing_since, $8) END,
            uncounted = uncounted + (NOT counts)::int
        FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::bytea[], $5::timestamptz[],
            $6::boolean[], $7::boolean[], $9::boolean[], $10::bytea[])
            AS run (run_id, run_turn, new_status, new_error, at, restart, passing, counts, attempt)
        WHERE id = run_id AND turn = run_turn
        RETURNING id, turn, endpoint, function, next_at
        """,  # noqa: S608 (a fragment of this package)
        *_keys(items),
        [outcome.status.value for outcome in outcomes],
        [outcome.error.SerializeToString() for outcome in outcomes],
        [outcome.at for outcome in outcomes],
        [outcome.restart for outcome in outcomes],
        [outcome.passing for outcome in outcomes],
        now,
        [outcome.counts for outcome in outcomes],
        [packed(item, now) for item in items],
    )
    for row in rows:
        delay = max(row["next_at"] - now, timedelta(0))
        jobs.add(row, delay)


async def _release(connection: Any, items: Sequence[CallDecision], jobs: Jobs) -> None:
    rows = await connection.fetch(
        """
        UPDATE calls SET state = 1, turn = turn + 1, pickups = 0
        FROM unnest($1::uuid[], $2::int[]) AS run (run_id, run_turn)
        WHERE id = run_id AND turn = run_turn
        RETURNING id, turn, endpoint, function
        """,
        *_keys(items),
    )
    for row in rows:
        jobs.add(row)


async def _suspend(
    connection: Any, items: Sequence[CallDecision], now: datetime, owner: UUID | None
) -> list[Any]:
    """Have calls wait, file the results that they have used, and delete their jobs.

    A result is filed only if the fenced update has changed the row of the parent: a process that
    was frozen must not take the results from the attempts that came after.

    Returns:
        The rows of the calls that were changed.
    """
    outcomes = [item.outcome for item in items if isinstance(item.outcome, Suspend)]
    used = [(item.loaded.running.id, id) for item in items for id in item.loaded.result_ids]
    # A call goes on at once when enough results are ready, or all that will come. When none will
    # come it sleeps.
    rows: list[Any] = await connection.fetch(
        f"""
        WITH suspended AS (
            UPDATE calls SET {appended("attempt")},
                poll = new_poll, poll_error = NULL, min_results = minimum,
                ready = ready - taken, outstanding = outstanding + children,
                turn = turn + 1, runs = runs + 1, pickups = 0, failures = 0, uncounted = 0,
                last_error = NULL, passing_since = NULL, status = 1,
                state = CASE WHEN ready - taken >= minimum
                        OR ready - taken > 0 AND outstanding + children = 0
                    THEN 1 ELSE 3 END,
                next_at = CASE WHEN ready - taken >= minimum
                        OR ready - taken > 0 AND outstanding + children = 0
                    THEN NULL WHEN outstanding + children = 0 THEN idle_at ELSE wake_at END
            FROM unnest($1::uuid[], $2::int[], $3::bytea[], $4::int[], $5::int[], $6::int[],
                $7::timestamptz[], $8::timestamptz[], $9::bytea[])
                AS run (run_id, run_turn, new_poll, minimum, taken, children, wake_at, idle_at,
                    attempt)
            WHERE id = run_id AND turn = run_turn
            RETURNING id, turn, endpoint, function, state
        ), gone AS (
            DELETE FROM calls USING suspended JOIN unnest($10::uuid[], $11::uuid[])
                AS used (used_by, used_id) ON used_by = suspended.id
            WHERE calls.id = used_id AND finished_at IS NOT NULL
            RETURNING calls.*
        ), filed AS (
            INSERT INTO finished SELECT * FROM gone
        ), done AS (
            DELETE FROM pgqueuer WHERE id = ANY($12::bigint[]) AND queue_manager_id = $13
        )
        SELECT * FROM suspended
        """,  # noqa: S608 (a fragment of this package)
        *_keys(items),
        [outcome.poll.SerializeToString() for outcome in outcomes],
        [outcome.poll.min_results for outcome in outcomes],
        [len(item.loaded.result_ids) for item in items],
        [len(outcome.calls) for outcome in outcomes],
        [outcome.wake_at for outcome in outcomes],
        [outcome.idle_at for outcome in outcomes],
        [packed(item, now) for item in items],
        [parent for parent, _ in used],
        [id for _, id in used],
        [item.job for item in items if item.job is not None],
        owner,
    )
    return rows


def _children(items: Sequence[CallDecision], now: datetime, limits: Limits) -> list[NewCall]:
    """Return the calls that Polls make."""
    return [
        NewCall(
            new_id(),
            call,
            limits.expires_at(call, now),
            parent_id=item.loaded.running.id,
            parent_generation=item.loaded.generation,
            root_id=item.loaded.root_id,
            trace=trace,
        )
        for item in items
        if isinstance(item.outcome, Suspend)
        for call, trace in zip(
            item.outcome.calls, _traces(item, len(item.outcome.calls)), strict=True
        )
    ]


def _traces(item: CallDecision, calls: int) -> Sequence[str | None]:
    """Return the context of each call that an attempt makes."""
    if len(item.traces) == calls:
        return item.traces
    return [item.traces[0] if item.traces else item.loaded.trace] * calls


async def _resume(connection: Any, item: CallDecision, now: datetime, jobs: Jobs) -> None:
    assert isinstance(item.outcome, Resume)  # noqa: S101
    row = await connection.fetchrow(
        f"""
        WITH resumed AS (
            UPDATE calls SET {appended("$6::bytea")},
                state = 1, poll = $3, poll_error = $4, ready = ready - $5, status = 1,
                turn = turn + 1, runs = runs + 1, pickups = 0, failures = 0, uncounted = 0,
                last_error = NULL, passing_since = NULL
            WHERE id = $1 AND turn = $2
            RETURNING id, turn, endpoint, function
        ), gone AS (
            DELETE FROM calls USING resumed WHERE calls.id = ANY($7) AND finished_at IS NOT NULL
            RETURNING calls.*
        ), filed AS (
            INSERT INTO finished SELECT * FROM gone
        )
        SELECT * FROM resumed
        """,  # noqa: S608 (a fragment of this package)
        item.loaded.running.id,
        item.loaded.turn,
        item.outcome.poll.SerializeToString(),
        item.outcome.error.SerializeToString(),
        len(item.loaded.result_ids),
        packed(item, now),
        item.loaded.result_ids,
    )
    if row is not None:
        jobs.add(row)


async def _replace(
    connection: Any, item: CallDecision, now: datetime, limits: Limits, jobs: Jobs
) -> None:
    assert isinstance(item.outcome, Replace)  # noqa: S101
    call = item.outcome.call
    expires_at = item.loaded.running.expires_at
    if call.HasField("expiration"):
        expires_at = limits.expires_at(call, now)
    row = await connection.fetchrow(
        f"""
        UPDATE calls SET {appended("$8::bytea")},
            state = 1, endpoint = $3, function = $4, version = $5, input = $6,
            expires_at = $7, generation = generation + 1, poll = NULL, poll_error = NULL,
            ready = 0, outstanding = 0, status = 1, turn = turn + 1, runs = runs + 1,
            pickups = 0, failures = 0, uncounted = 0, last_error = NULL, passing_since = NULL
        WHERE id = $1 AND turn = $2
        RETURNING id, turn, endpoint, function
        """,  # noqa: S608 (a fragment of this package)
        item.loaded.running.id,
        item.loaded.turn,
        call.endpoint,
        call.function,
        call.version,
        call.input.SerializeToString(),
        expires_at,
        packed(item, now),
    )
    if row is not None:
        jobs.add(row)


def _keys(items: Sequence[CallDecision]) -> tuple[list[UUID], list[int]]:
    return [item.loaded.running.id for item in items], [item.loaded.turn for item in items]
