"""The finished calls that a filter selects, page by page: for reruns and purges.

A page ends after a number of calls that match, and after a number that was looked at, whichever
comes first: no index finds a status or a function. Its token says where the next page begins, and
the time of the first page: a call that finishes later is in none.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.schema import CallFilter, PurgeCallsRequest, RerunCallsRequest
from dispatch_grpc.service.ids import id_span
from dispatch_grpc.service.reads import FILTERED, HAS_LABEL, conditions_of, span_of
from dispatch_grpc.service.reads_counts import DEAD_COUNTED
from dispatch_grpc.text import quoted

MAX_PAGE_SIZE = 1000
LOOKED_AT = 50_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a request selects.

    Attributes:
        as_of: The calls finished before this time.
        after: The calls come after this id.
        conditions: Conditions of SQL, with a `{}` for the number of a parameter.
        values: Their parameters.
        span: The first id that may match, and the one after the last.
        validate_only: Whether the calls are only counted.
        expected: Largest number of calls to act on; None for a count.
        size: Largest number of calls in a page.
        status: The status; 0 for any.
        dead: Whether only dead letters are selected.
    """

    as_of: datetime
    after: UUID
    span: tuple[UUID, UUID]
    validate_only: bool
    expected: int | None
    size: int
    status: int
    dead: bool
    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, condition: str, *values: Any) -> None:
        """Add a condition."""
        self.conditions.append(condition)
        self.values.extend(values)


def selection_of(request: RerunCallsRequest | PurgeCallsRequest, now: datetime) -> Selection:
    """Return what a request selects.

    Raises:
        InvalidArgumentError: A field of the request is invalid.
    """
    filter = request.filter
    expected = request.expected_count if request.HasField("expected_count") else None
    if expected is None and not request.validate_only:
        raise _invalid("expected_count", "a number is required: count with validate_only first")
    if expected is not None and expected < 0:
        raise _invalid("expected_count", f"a number of 0 or more is required; got {expected}")
    size = request.page_size or MAX_PAGE_SIZE
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise _invalid(
            "page_size", f"an int from 1 to {MAX_PAGE_SIZE} is required; got {request.page_size}"
        )
    if not 0 <= filter.status < 2**15:
        raise _invalid("filter.status", f"{filter.status} is not a Status")
    times = {name: _time(filter, name) for name in _TIMES}
    as_of, after = times["finished_before"] or now, UUID(int=0)
    if request.page_token:
        as_of, after = _from_token(request.page_token)
    found = Selection(
        as_of,
        after,
        id_span(times["created_after"], times["created_before"]),
        request.validate_only,
        expected,
        LOOKED_AT if request.validate_only else size,
        filter.status,
        filter.dead,
    )
    found.add("finished_at < {}", as_of)
    if times["created_after"] is not None:
        found.add("created_at >= {}", times["created_after"])
    if times["created_before"] is not None:
        found.add("created_at < {}", times["created_before"])
    if filter.status:
        found.add("status = {}", filter.status)
    for name in ("function", "endpoint"):
        if text := getattr(filter, name):
            if "\0" in text:
                raise _invalid(f"filter.{name}", "a text without NUL is required")
            found.add(f"{name} = {{}}", text)
    return found


def dead_letters(filters: Mapping[str, Any], as_of: datetime, expected: int | None) -> Selection:
    """Return a selection of dead letters, for the page.

    Args:
        filters: As of `reads.find`.
        as_of: The calls finished before this time.
        expected: Largest number of calls to act on; None for a count.
    """
    size = DEAD_COUNTED if expected is None else MAX_PAGE_SIZE
    span, is_count = span_of(filters), expected is None
    found = Selection(as_of, UUID(int=0), span, is_count, expected, size, 0, dead=True)
    found.add("finished_at < {}", as_of)
    for condition, value in conditions_of(filters):
        found.add(condition, value)
    for key, value in filters.get("labels", {}).items():
        found.add(HAS_LABEL, f"{key}={value}")
    return found


_TIMES = ("created_after", "created_before", "finished_before")


def _time(filter: CallFilter, name: str) -> datetime | None:
    if not filter.HasField(name):
        return None
    try:
        found: datetime = getattr(filter, name).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise _invalid(f"filter.{name}", str(error)) from error
    return found


def _invalid(name: str, problem: str) -> Exception:
    return rpc_error(Code.INVALID_ARGUMENT, f"{name}: {problem}")


@dataclass(frozen=True, slots=True)
class Matches:
    """A page of the calls that are selected.

    Attributes:
        ids: Their ids, the oldest first.
        after: The id after which the next page begins; None at the end.
    """

    ids: list[UUID]
    after: UUID | None


async def match(
    connection: Any, selection: Selection, base: str, max_bytes: int | None = None
) -> Matches:
    """Return the next page.

    Args:
        connection: A connection.
        selection: What is selected.
        base: A condition without parameters, by which an index may find the calls.
        max_bytes: Largest total of their inputs, for a page of more than one call.
    """
    (low, high), after = selection.span, selection.after
    values: list[Any] = [after, low, high, LOOKED_AT, selection.size, *selection.values]
    conditions = [text.format(f"${n}") for n, text in enumerate(selection.conditions, 6)]
    rows = await connection.fetch(
        f"""
        WITH looked_at AS MATERIALIZED (
            SELECT {FILTERED}, octet_length(input) AS bytes
            FROM finished WHERE {base} AND id > $1 AND id >= $2 AND id < $3
            ORDER BY id LIMIT $4
        ), match AS MATERIALIZED (
            SELECT id, bytes FROM looked_at WHERE {" AND ".join(conditions)} ORDER BY id LIMIT $5
        )
        SELECT match.id, bytes, last.id AS last, last.number FROM
            (SELECT max(id::text)::uuid AS id, count(*) AS number FROM looked_at) AS last
            LEFT JOIN match ON true ORDER BY match.id
        """,  # noqa: S608 (conditions of this package)
        *values,
    )
    ids: list[UUID] = []
    total = 0
    for row in rows:
        if row["id"] is None:
            break
        total += row["bytes"]
        if ids and max_bytes is not None and total > max_bytes:
            return Matches(ids, ids[-1])
        ids.append(row["id"])
    if len(ids) == selection.size:
        return Matches(ids, ids[-1])
    return Matches(ids, rows[0]["last"] if rows[0]["number"] == LOOKED_AT else None)


def check_expected(selection: Selection, number: int, verb: str) -> None:
    """Raise if there are more calls than the request expects."""
    if selection.expected is not None and number > selection.expected:
        raise rpc_error(
            Code.FAILED_PRECONDITION,
            f"expected_count: more than {selection.expected} calls match now, and none of this "
            f"page were {verb}: count them again",
        )


def page_of(selection: Selection, found: Matches, count: int) -> dict[str, Any]:
    """Return the fields of the response for a page."""
    as_of = Timestamp()
    as_of.FromDatetime(selection.as_of)
    token = "" if found.after is None else _to_token(selection.as_of, found.after)
    return {"count": count, "next_page_token": token, "as_of_time": as_of}


def _to_token(as_of: datetime, after: UUID) -> str:
    data = ((as_of - _EPOCH) // _MICROSECOND).to_bytes(8, signed=True) + after.bytes
    return base64.urlsafe_b64encode(data).decode()


def _from_token(token: str) -> tuple[datetime, UUID]:
    try:
        data = base64.urlsafe_b64decode(token)
        as_of = _EPOCH + int.from_bytes(data[:8], signed=True) * _MICROSECOND
        return as_of, UUID(bytes=data[8:])
    except (ValueError, OverflowError, binascii.Error) as error:
        raise _invalid("page_token", f"not one of this service: {quoted(token)}") from error
