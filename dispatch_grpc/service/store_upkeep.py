"""The calls in the database: everything that is written, in SQL. `reads` has the rest.

Whatever is written together is one transaction, the jobs of the queue included: a call has a job
for as long as there is something to do for it. A job says which call, and which of its turns: a
job whose turn has passed is stale, and does nothing.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pgqueuer.queries import Queries

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.schema import Call, CallResult, Error, Poll
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.lanes import lane_of
from dispatch_grpc.service.machine import (
    Finish,
    Limits,
    Outcome,
    Replace,
    Resume,
    Retry,
    Running,
    Suspend,
)
from dispatch_grpc.service.machine import expire as machine_expire
from dispatch_grpc.service.notices import FINISHED as FINISHED_CHANNEL
from dispatch_grpc.service.urls import host_of

QUEUED, RUNNING, WAITING, FINISHED = 1, 2, 3, 4
_JOB = struct.Struct(">16si")
# A request to an endpoint must not become larger than endpoints accept: 16 MB by default.
_MAX_DELIVERY_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class Job:
    """What a job of the queue says: a call, and its turn."""

    id: UUID
    turn: int

    def pack(self) -> bytes:
        """The payload of a job in the queue."""
        return _JOB.pack(self.id.bytes, self.turn)

    @classmethod
    def unpack(cls, payload: bytes) -> "Job":
        """Read the payload of a job."""
        id, turn = _JOB.unpack(payload)
        return cls(UUID(bytes=id), turn)


@dataclass(frozen=True, slots=True)
class New:
    """A call that is recorded."""

    id: UUID
    call: Call
    expires_at: datetime
    parent_id: UUID | None = None
    parent_generation: int = 0
    root_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A call that begins to run, with all that its run needs."""

    running: Running
    turn: int
    generation: int
    parent_id: UUID | None
    root_id: UUID
    function: str
    input: bytes
    created_at: datetime
    poll: Poll | None
    poll_error: Error | None
    results: list[CallResult] = field(default_factory=list)
    result_ids: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Release:
    """The call is given back, to be run by another process."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a run, to be written."""

    loaded: Loaded
    outcome: Outcome | Release


@dataclass(slots=True)
class _Jobs:
    """Jobs to add to the queue."""

    lanes: list[str] = field(default_factory=list)
    payloads: list[bytes | None] = field(default_factory=list)
    delays: list[timedelta | None] = field(default_factory=list)

    def add(self, row: Any, delay: timedelta | None = None) -> None:
        """Add the job of a call, given its id, turn, endpoint and function."""
        self.lanes.append(lane_of(host_of(row["endpoint"]), row["function"]))
        self.payloads.append(Job(row["id"], row["turn"]).pack())
        self.delays.append(delay)

    @property
    def due_lanes(self) -> set[str]:
        """The lanes of those that are due now."""
        pairs = zip(self.lanes, self.delays, strict=True)
        return {lane for lane, delay in pairs if not delay}

    async def write(self, connection: Any) -> None:
        """Add them."""
        if self.lanes:
            queries = Queries.from_asyncpg_connection(connection)
            await queries.enqueue(self.lanes, self.payloads, [0] * len(self.lanes), self.delays)


async def accept(
    connection: Any,
    calls: Sequence[New],
    now: datetime,
    *,
    key: bytes | None = None,
    body: bytes = b"",
) -> tuple[Sequence[UUID], list[str]]:
    """Record calls and their jobs, all or none.

    Args:
        connection: A connection.
        calls: The calls of a request.
        now: The time.
        key: The idempotency key of the request.
        body: What the request is told from others by.

    Returns:
        The ids to answer with, and the lanes for which there are jobs now. When the key was used
        before, the ids are those of that request, and there is nothing new.

    Raises:
        AlreadyExistsError: The key was used for another request.
    """
    for _ in range(3):
        if await _record(connection, calls, now, key, body):
            return [new.id for new in calls], _lanes(calls)
        row = await connection.fetchrow("SELECT body, ids FROM requests WHERE key = $1", key)
        if row is None:
            continue  # pruned in between
        if row["body"] != body:
            raise rpc_error(
                Code.ALREADY_EXISTS, "the idempotency key was used for other calls before"
            )
        return row["ids"], []
    raise rpc_error(
        Code.UNAVAILABLE, "the idempotency key was forgotten while it was looked up: try again"
    )


def _lanes(calls: Sequence[New]) -> list[str]:
    return [lane_of(host_of(new.call.endpoint), new.call.function) for new in calls]


async def _record(
    connection: Any,
    calls: Sequence[New],
    now: datetime,
    key: bytes | None = None,
    body: bytes = b"",
) -> bool:
    recorded: bool = await connection.fetchval(
        "SELECT record($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        key,
        body,
        [new.id for new in calls],
        [new.parent_id for new in calls],
        [new.parent_generation for new in calls],
        [new.root_id or new.id for new in calls],
        [_signed(new.call.correlation_id) for new in calls],
        [new.call.endpoint for new in calls],
        [new.call.function for new in calls],
        [new.call.version for new in calls],
        [new.call.input.SerializeToString() for new in calls],
        [new.expires_at for new in calls],
        now,
        _lanes(calls),
        [Job(new.id, 0).pack() for new in calls],
    )
    return recorded


async def load(connection: Any, jobs: Sequence[Job]) -> dict[Job, Loaded]:
    """Begin the runs of jobs; those that are stale are left out."""
    rows = await connection.fetch(
        """
        UPDATE calls SET state = 2, pickups = pickups + 1, next_at = NULL
        FROM unnest($1::uuid[], $2::int[]) AS job (job_id, job_turn)
        WHERE id = job_id AND turn = job_turn AND state IN (1, 2)
        RETURNING id, turn, generation, parent_id, root_id, correlation_id, endpoint, function,
            input, created_at, expires_at, failures, pickups, runs, poll, poll_error, last_error,
            passing_since
        """,
        [job.id for job in jobs],
        [job.turn for job in jobs],
    )
    loaded = {Job(row["id"], row["turn"]): _loaded(row) for row in rows}
    resumed = [one for one in loaded.values() if one.poll is not None]
    if resumed:
        await _load_results(connection, resumed)
    return loaded


def _loaded(row: Any) -> Loaded:
    return Loaded(
        running=Running(
            id=row["id"],
            endpoint=row["endpoint"],
            correlation_id=unsigned(row["correlation_id"]),
            expires_at=row["expires_at"],
            failures=row["failures"],
            pickups=row["pickups"],
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


async def write(
    connection: Any, items: Sequence[Written], now: datetime, limits: Limits
) -> tuple[set[str], list[UUID]]:
    """Write what became of runs, and the jobs that follow from it. In a transaction.

    A call that another process was quicker with, or that was cancelled, has another turn by
    then, and stays as it is. Its state does not matter: that it runs may be forgotten, when the
    database was.

    Returns:
        The lanes for which there are new jobs, and the ids of the calls that have finished.
    """
    jobs = _Jobs()
    by_kind: dict[type, list[Any]] = {}
    for item in items:
        by_kind.setdefault(type(item.outcome), []).append(item)
    finished: list[UUID] = []
    if found := by_kind.get(Finish):
        finished = await _finish(connection, found, now, jobs)
    if found := by_kind.get(Retry):
        await _retry(connection, found, now, jobs)
    if found := by_kind.get(Release):
        await _release(connection, found, jobs)
    lanes: set[str] = set()
    if found := by_kind.get(Suspend):
        lanes = await _suspend(connection, found, now, limits, jobs)
    for item in by_kind.get(Resume, ()):
        await _resume(connection, item, jobs)
    for item in by_kind.get(Replace, ()):
        await _replace(connection, item, now, limits, jobs)
    await jobs.write(connection)
    return lanes.union(jobs.due_lanes), finished


async def _finish(
    connection: Any, items: Sequence[Written], now: datetime, jobs: _Jobs
) -> list[UUID]:
    outcomes = [item.outcome for item in items if isinstance(item.outcome, Finish)]
    rows = await connection.fetch(
        """
        UPDATE calls SET state = 4, status = new_status, result = new_result, finished_at = $5,
            turn = turn + 1, runs = runs + 1, poll = NULL, poll_error = NULL
        FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::bytea[])
            AS run (run_id, run_turn, new_status, new_result)
        WHERE id = run_id AND turn = run_turn
        RETURNING id, parent_id, parent_generation
        """,
        *_keys(items),
        [outcome.status.value for outcome in outcomes],
        [outcome.result.SerializeToString() for outcome in outcomes],
        now,
    )
    await _wake_parents(connection, rows, jobs)
    return [row["id"] for row in rows]


async def _wake_parents(connection: Any, rows: Iterable[Any], jobs: _Jobs) -> None:
    """Count results for the parents of calls that have finished, and resume who waited for them."""
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


async def _retry(connection: Any, items: Sequence[Written], now: datetime, jobs: _Jobs) -> None:
    outcomes = [item.outcome for item in items if isinstance(item.outcome, Retry)]
    rows = await connection.fetch(
        """
        UPDATE calls SET state = 1, status = new_status, last_error = new_error, next_at = at,
            turn = turn + 1, runs = runs + 1, pickups = 0, failures = failures + 1,
            generation = generation + restart::int,
            poll = CASE WHEN restart THEN NULL ELSE poll END,
            poll_error = CASE WHEN restart THEN NULL ELSE poll_error END,
            ready = CASE WHEN restart THEN 0 ELSE ready END,
            outstanding = CASE WHEN restart THEN 0 ELSE outstanding END,
            passing_since = CASE WHEN passing THEN coalesce(passing_since, $8) END
        FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::bytea[], $5::timestamptz[],
            $6::boolean[], $7::boolean[])
            AS run (run_id, run_turn, new_status, new_error, at, restart, passing)
        WHERE id = run_id AND turn = run_turn
        RETURNING id, turn, endpoint, function, next_at
        """,
        *_keys(items),
        [outcome.status.value for outcome in outcomes],
        [outcome.error.SerializeToString() for outcome in outcomes],
        [outcome.at for outcome in outcomes],
        [outcome.restart for outcome in outcomes],
        [outcome.passing for outcome in outcomes],
        now,
    )
    for row in rows:
        delay = max(row["next_at"] - now, timedelta(0))
        jobs.add(row, delay)


async def _release(connection: Any, items: Sequence[Written], jobs: _Jobs) -> None:
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
    connection: Any, items: Sequence[Written], now: datetime, limits: Limits, jobs: _Jobs
) -> set[str]:
    """Have calls wait for those that they make. Returns the lanes of these."""
    outcomes = [item.outcome for item in items if isinstance(item.outcome, Suspend)]
    # It goes on at once when enough results are ready, or all that there will be. With none to
    # come it sleeps.
    rows = await connection.fetch(
        """
        UPDATE calls SET poll = new_poll, poll_error = NULL, min_results = minimum,
            ready = ready - taken, outstanding = outstanding + children,
            turn = turn + 1, runs = runs + 1, pickups = 0, failures = 0, last_error = NULL,
            passing_since = NULL, status = 1,
            state = CASE WHEN ready - taken >= minimum
                    OR ready - taken > 0 AND outstanding + children = 0
                THEN 1 ELSE 3 END,
            next_at = CASE WHEN ready - taken >= minimum
                    OR ready - taken > 0 AND outstanding + children = 0
                THEN NULL WHEN outstanding + children = 0 THEN idle_at ELSE wake_at END
        FROM unnest($1::uuid[], $2::int[], $3::bytea[], $4::int[], $5::int[], $6::int[],
            $7::timestamptz[], $8::timestamptz[])
            AS run (run_id, run_turn, new_poll, minimum, taken, children, wake_at, idle_at)
        WHERE id = run_id AND turn = run_turn
        RETURNING id, turn, endpoint, function, state
        """,
        *_keys(items),
        [outcome.poll.SerializeToString() for outcome in outcomes],
        [outcome.poll.min_results for outcome in outcomes],
        [len(item.loaded.result_ids) for item in items],
        [len(outcome.calls) for outcome in outcomes],
        [outcome.wake_at for outcome in outcomes],
        [outcome.idle_at for outcome in outcomes],
    )
    suspended = set()
    for row in rows:
        suspended.add(row["id"])
        if row["state"] == QUEUED:
            jobs.add(row)
    await _deliver(connection, [item for item in items if item.loaded.running.id in suspended])
    children = [
        New(
            new_id(),
            call,
            limits.expires_at(call, now),
            parent_id=item.loaded.running.id,
            parent_generation=item.loaded.generation,
            root_id=item.loaded.root_id,
        )
        for item, outcome in zip(items, outcomes, strict=True)
        if item.loaded.running.id in suspended
        for call in outcome.calls
    ]
    if children:
        await _record(connection, children, now)
    return set(_lanes(children))


async def _deliver(connection: Any, items: Sequence[Written]) -> None:
    """Mark the results that attempts were given and have used.

    Only after the fenced update of the parent, and only when it changed the row: a process that
    was frozen must not take the results from the attempts that came after.
    """
    if ids := [id for item in items for id in item.loaded.result_ids]:
        await connection.execute("UPDATE calls SET delivered = true WHERE id = ANY($1)", ids)


async def _resume(connection: Any, item: Written, jobs: _Jobs) -> None:
    assert isinstance(item.outcome, Resume)  # noqa: S101
    row = await connection.fetchrow(
        """
        UPDATE calls SET state = 1, poll = $3, poll_error = $4, ready = ready - $5, status = 1,
            turn = turn + 1, runs = runs + 1, pickups = 0, failures = 0, last_error = NULL,
            passing_since = NULL
        WHERE id = $1 AND turn = $2
        RETURNING id, turn, endpoint, function
        """,
        item.loaded.running.id,
        item.loaded.turn,
        item.outcome.poll.SerializeToString(),
        item.outcome.error.SerializeToString(),
        len(item.loaded.result_ids),
    )
    if row is not None:
        await _deliver(connection, [item])
        jobs.add(row)


async def _replace(
    connection: Any, item: Written, now: datetime, limits: Limits, jobs: _Jobs
) -> None:
    assert isinstance(item.outcome, Replace)  # noqa: S101
    call = item.outcome.call
    expires_at = item.loaded.running.expires_at
    if call.HasField("expiration"):
        expires_at = limits.expires_at(call, now)
    row = await connection.fetchrow(
        """
        UPDATE calls SET state = 1, endpoint = $3, function = $4, version = $5, input = $6,
            expires_at = $7, generation = generation + 1, poll = NULL, poll_error = NULL,
            ready = 0, outstanding = 0, status = 1, turn = turn + 1, runs = runs + 1,
            pickups = 0, failures = 0, last_error = NULL, passing_since = NULL
        WHERE id = $1 AND turn = $2
        RETURNING id, turn, endpoint, function
        """,
        item.loaded.running.id,
        item.loaded.turn,
        call.endpoint,
        call.function,
        call.version,
        call.input.SerializeToString(),
        expires_at,
    )
    if row is not None:
        jobs.add(row)


def _keys(items: Sequence[Written]) -> tuple[list[UUID], list[int]]:
    return [item.loaded.running.id for item in items], [item.loaded.turn for item in items]


async def expire(
    connection: Any, now: datetime, limits: Limits, limit: int
) -> tuple[list[Written], set[str], list[UUID]]:
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
        return [], set(), []
    loaded = await load(connection, [Job(row["id"], row["turn"]) for row in rows])
    await connection.execute(
        """
        DELETE FROM pgqueuer USING unnest($1::text[], $2::bytea[]) AS gone (lane, job)
        WHERE entrypoint = lane AND payload = job AND status = 'queued'
        """,
        [lane_of(host_of(row["endpoint"]), row["function"]) for row in rows],
        [Job(row["id"], row["turn"]).pack() for row in rows],
    )
    items = [Written(one, machine_expire(one.running)) for one in loaded.values()]
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
    jobs = _Jobs()
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


async def recover(connection: Any) -> set[str]:
    """Give a job to calls that have none, as should never happen. Returns their lanes."""
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
    jobs = _Jobs()
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


async def cancel(connection: Any, id: UUID, results: Any, now: datetime) -> int | None:
    """Finish a call and its unfinished children, and theirs.

    Args:
        connection: A connection in a transaction.
        id: The call.
        now: The time.
        results: Makes the result of a cancelled call, from its id and correlation id.

    Returns:
        How many were cancelled; 0 when it had finished, None when there is no such call.
    """
    state = await connection.fetchval("SELECT state FROM calls WHERE id = $1 FOR UPDATE", id)
    if state is None:
        return None
    if state == FINISHED:
        return 0
    jobs = _Jobs()
    ids: list[UUID] = []
    # Again and again: a child may have made calls that could not be seen before it was locked.
    while rows := await _unfinished(connection, id):
        finishes: list[Finish] = [
            results(row["id"], unsigned(row["correlation_id"])) for row in rows
        ]
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
        await _wake_parents(connection, rows, jobs)
    await jobs.write(connection)
    await _tell(connection, ids)
    return len(ids)


async def _unfinished(connection: Any, id: UUID) -> list[Any]:
    """A call and those that it made, and they, that have not finished; all locked."""
    rows: list[Any] = await connection.fetch(
        """
        WITH RECURSIVE tree AS (
            SELECT id FROM calls WHERE id = $1
            UNION ALL
            SELECT calls.id FROM calls JOIN tree ON parent_id = tree.id
        )
        SELECT calls.id, correlation_id, parent_id, parent_generation FROM calls
        WHERE id IN (SELECT id FROM tree) AND finished_at IS NULL
        ORDER BY id FOR UPDATE
        """,
        id,
    )
    return rows


_IDS_IN_A_NOTICE = 200  # a notice has 8,000 bytes at most


async def _tell(connection: Any, ids: Sequence[UUID]) -> None:
    """Tell every process which calls have finished."""
    for start in range(0, len(ids), _IDS_IN_A_NOTICE):
        some = ids[start : start + _IDS_IN_A_NOTICE]
        # Of no process, so that each listens: that of the one that cancels, too.
        payload = "\n".join(["", *(id.hex for id in some)])
        await connection.execute("SELECT pg_notify($1, $2)", FINISHED_CHANNEL, payload)


def _parse(cls: Any, data: bytes | None) -> Any:
    return None if data is None else cls.FromString(data)


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def unsigned(number: int) -> int:
    """A correlation id, from the signed number that the database has for it."""
    return number + 2**64 if number < 0 else number
