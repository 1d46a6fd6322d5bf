"""The calls in the database: what only looks at them.

For CallService and for the page. `reads_counts` counts them, `reads_lanes` looks at the queue.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any
from uuid import UUID

from dispatch_grpc.schema import CallInfo, CallState
from dispatch_grpc.service.attempts import attempts_of
from dispatch_grpc.service.ids import id_span
from dispatch_grpc.service.store import unsigned

COLUMNS = (
    "id, parent_id, root_id, endpoint, function, version, state, status, runs, created_at, "
    "expires_at, next_at, finished_at, correlation_id, schedule, scheduled_at, starts_at, labels, "
    "rerun_of, rerun_as, trace"
)
# The errors of a page may be large together: see `find`.
_ERROR_BYTES = "coalesce(sum(octet_length(last_error)) OVER (), 0)"
_BOUNDED = (
    f"{COLUMNS}, {_ERROR_BYTES} AS size, "
    f"CASE WHEN {_ERROR_BYTES} <= {{}} THEN last_error END AS last_error"
)
# The errors of which the page shows the first lines, without those that are large.
SHORT_ERRORS = """
    CASE WHEN octet_length(last_error) < 100000 THEN last_error END AS last_error,
    CASE WHEN status <> 1 AND octet_length(result) < 100000 THEN result END AS result"""
_LISTED = f"{COLUMNS}, {SHORT_ERRORS}"

FILTERED = "id, state, status, function, endpoint, created_at, finished_at, next_at, schedule, dead"
_FILTERS = {
    "state": "state = {}",
    "delayed": "coalesce(next_at > now(), false) = {}",
    "status": "status = {}",
    "function": "function = {}",
    "function_part": "strpos(lower(function), lower({})) > 0",
    "endpoint": "endpoint = {}",
    "endpoint_part": "strpos(lower(endpoint), lower({})) > 0",
    "id_part": "strpos(id::text, {}) > 0",
    "created_after": "created_at >= {}",
    "created_before": "created_at < {}",
    "finished_after": "finished_at >= {}",
    "schedule": "schedule = {}",
    "dead": "dead = {}",
}

HAS_LABEL = "EXISTS (SELECT FROM labels WHERE label = {} AND id = looked_at.id)"
LOOKED_AT = 20_000
NO_LIMIT = 2**31 - 1


class LargeError(Exception):
    """What is asked for is larger than it may be without memory of its own."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


async def get(connection: Any, id: UUID, most: int = NO_LIMIT) -> CallInfo | None:
    """A call as it is now, with its result.

    Raises:
        LargeError: The result has more than `most` bytes.
    """
    row = await connection.fetchrow(
        f"SELECT {COLUMNS}, last_error, attempts, octet_length(result) AS size, "  # noqa: S608
        f"CASE WHEN octet_length(result) <= $2 THEN result END AS result "
        f"FROM every_call WHERE id = $1",
        id,
        most,
    )
    if row is not None and (row["size"] or 0) > most:
        raise LargeError(row["size"])
    return None if row is None else with_attempts(row)


async def find(
    connection: Any,
    filters: Mapping[str, Any],
    limit: int,
    most: int = NO_LIMIT,
) -> tuple[list[CallInfo], UUID | None]:
    """Return calls, the newest first, without their results.

    No index finds a state, a function or an endpoint, so at most `LOOKED_AT` calls are looked at;
    of several labels, one is found by an index. An id begins with the time at which it was made:
    this narrows a search by time.

    Args:
        connection: A connection.
        filters: Those of ListCalls, those of the page, and `before`: the id before which to begin.
        limit: Largest number of calls.
        most: Largest size of their errors together.

    Returns:
        The calls, and before which one to go on; None at the end. There may be fewer than asked
        for, none even, and still more to come.

    Raises:
        LargeError: Their errors are larger.
    """
    statement, values = listing(filters, limit, _BOUNDED.format(most))
    rows = await connection.fetch(statement, *values)
    if (rows[0]["size"] or 0) > most:
        raise LargeError(int(rows[0]["size"]))
    return _page(rows, limit, with_result=False)


async def recent(
    connection: Any, filters: Mapping[str, Any], limit: int
) -> tuple[list[CallInfo], UUID | None]:
    """Return what `find` does, and how calls failed, without what may be large."""
    statement, values = listing(filters, limit, _LISTED)
    return _page(await connection.fetch(statement, *values), limit, with_result=True)


def _page(
    rows: Sequence[Any], limit: int, *, with_result: bool
) -> tuple[list[CallInfo], UUID | None]:
    """Return the calls of the rows of a `listing`, and before which one to go on."""
    found = [_info(row, with_result=with_result) for row in rows[:limit] if row["id"] is not None]
    if len(rows) > limit:
        return found, rows[limit - 1]["id"]
    return found, rows[0]["last_id"] if rows[0]["is_more"] else None


def listing(filters: Mapping[str, Any], limit: int, columns: str) -> tuple[str, Sequence[Any]]:
    """Return a statement that finds calls as `find` does, and its parameters.

    Args:
        filters: As of `find`.
        limit: Largest number of calls; one more is found if there is one.
        columns: What to read of each.
    """
    low, high = span_of(filters)
    values: list[Any] = [low, high, LOOKED_AT, limit + 1]
    conditions = []
    for condition, value in conditions_of(filters):
        values.append(value)
        conditions.append(condition.format(f"${len(values)}"))
    looked_at = f"SELECT {FILTERED} FROM every_call WHERE id >= $1 AND id < $2"  # noqa: S608
    labels = [f"{key}={value}" for key, value in sorted(filters.get("labels", {}).items())]
    if labels and "parent_id" not in filters and not filters.get("dead"):
        values.append(labels.pop())
        # Calls that were deleted may have labels left.
        conditions.append("created_at IS NOT NULL")
        label = f"label = ${len(values)} AND id >= $1 AND id < $2"
        looked_at = (
            f"WITH labelled AS MATERIALIZED "  # noqa: S608
            f"(SELECT id FROM labels WHERE {label} ORDER BY id DESC LIMIT $3) "
            f"SELECT {FILTERED} FROM labelled LEFT JOIN every_call USING (id)"
        )
    for label in labels:
        values.append(label)
        conditions.append(HAS_LABEL.format(f"${len(values)}"))
    if filters.get("dead"):
        looked_at = f"SELECT {FILTERED} FROM finished WHERE dead AND id >= $1 AND id < $2"  # noqa: S608
    if "parent_id" in filters:
        # Materialized, or the newest of all calls would be searched for the children.
        values.append(filters["parent_id"])
        child = f"parent_id = ${len(values)} AND id >= $1 AND id < $2"
        looked_at = (
            f"WITH child AS MATERIALIZED (SELECT id FROM every_call WHERE {child}) "  # noqa: S608
            f"SELECT {FILTERED} FROM every_call JOIN child USING (id)"
        )
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = f"""
        WITH looked_at AS MATERIALIZED ({looked_at} ORDER BY id DESC LIMIT $3),
        match AS MATERIALIZED (SELECT id FROM looked_at {where} ORDER BY id DESC LIMIT $4)
        SELECT found.*, last.id AS last_id, last.number = $3
            AND EXISTS (SELECT FROM every_call WHERE id >= $1 AND id < last.id) AS is_more FROM
            (SELECT min(id::text)::uuid AS id, count(*) AS number FROM looked_at) AS last
            LEFT JOIN (SELECT {columns} FROM every_call JOIN match USING (id)) AS found ON true
        ORDER BY found.id DESC
        """  # noqa: S608
    return statement, values


def conditions_of(filters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the conditions of filters other than labels, each with a `{}` for its parameter."""
    return [(_FILTERS[name], value) for name, value in filters.items() if name in _FILTERS]


def span_of(filters: Mapping[str, Any]) -> tuple[UUID, UUID]:
    """Return the first id that is looked at, and the one after the last."""
    low, high = id_span(filters.get("created_after"), filters.get("created_before"))
    return low, min(high, filters.get("before", high))


def _info(row: Any, *, with_result: bool = True) -> CallInfo:
    info = CallInfo(
        dispatch_id=str(row["id"]),
        parent_dispatch_id=str(row["parent_id"] or ""),
        root_dispatch_id=str(row["root_id"]),
        endpoint=row["endpoint"],
        function=row["function"],
        version=row["version"],
        state=CallState.Name(row["state"]),
        runs=row["runs"],
        correlation_id=unsigned(row["correlation_id"]),
        schedule=row["schedule"] or "",
        rerun_of_dispatch_id=str(row["rerun_of"] or ""),
        rerun_as_dispatch_id=str(row["rerun_as"] or ""),
        traceparent=(row["trace"] or "").partition(" ")[0],
    )
    info.status = row["status"]
    for field_name, column in (
        ("creation_time", "created_at"),
        ("expiration_time", "expires_at"),
        ("next_time", "next_at"),
        ("finish_time", "finished_at"),
        ("scheduled_time", "scheduled_at"),
        ("start_time", "starts_at"),
    ):
        if row[column] is not None:
            getattr(info, field_name).FromDatetime(row[column].astimezone(UTC))
    if row["labels"] is not None:
        info.labels.update(json.loads(row["labels"]))
    if row["last_error"] is not None:
        info.last_error.ParseFromString(row["last_error"])
        if not with_result:
            info.last_error.ClearField("traceback")  # a page would be too large
    if with_result and row["result"] is not None:
        info.result.ParseFromString(row["result"])
    return info


def with_attempts(row: Any) -> CallInfo:
    """Return a call with its result and its attempts."""
    info = _info(row)
    info.attempts.extend(
        attempts_of(row, info.result.error if info.result.HasField("error") else None)
    )
    return info


async def queued_by_function(connection: Any, ids: Sequence[UUID]) -> list[Any]:
    """Return the endpoints and functions of those of some calls that could run now; how many."""
    rows: list[Any] = await connection.fetch(
        """
        SELECT endpoint, function, count(*) FROM calls
        WHERE id = ANY($1) AND state = 1 AND (next_at IS NULL OR next_at <= now())
        GROUP BY endpoint, function
        """,
        ids,
    )
    return rows
