"""The attempts of a call that are kept with it: the last ones that have ended.

Every attempt that does not end its call is appended to a column of the call, by the statement that
writes its outcome. The attempt that ends a call is known from the call itself, so that a call whose
first attempt succeeds costs nothing.
"""

from datetime import UTC, datetime
from typing import Any

from dispatch_grpc.codes import Status
from dispatch_grpc.schema import Attempt, Error
from dispatch_grpc.service.machine import Retry, was_cancelled
from dispatch_grpc.service.store import CallDecision
from dispatch_grpc.service.urls import host_of
from dispatch_grpc.text import shorten

KEPT = 20
"""Number of attempts that are kept."""
_MAX_TYPE, _MAX_MESSAGE = 100, 500


def appended(attempt: str) -> str:
    """Return the assignment of SQL that appends an attempt, and drops the oldest of too many."""
    last = f"attempts[greatest(cardinality(attempts) - {KEPT - 2}, 1):]"
    return f"attempts = array_append({last}, {attempt})"


def packed(item: CallDecision, now: datetime) -> bytes:
    """Return the attempt of an outcome that does not end the call, as it is kept."""
    status, error = Status.OK, None
    if isinstance(item.outcome, Retry):
        status, error = item.outcome.status, item.outcome.error
    running = item.loaded.running
    return _attempt(
        running.runs + 1, now, running.endpoint, status.value, error
    ).SerializeToString()


def attempts_of(row: Any, result_error: Error | None) -> list[Attempt]:
    """Return the attempts of a call, the oldest first.

    Args:
        row: The call, with its column `attempts`.
        result_error: The error that it ended with.
    """
    found = [Attempt.FromString(data) for data in row["attempts"] or ()]
    kept = found[-1].run if found else 0
    # A call that was cancelled has ended without an attempt.
    has_ended = row["finished_at"] is not None and not was_cancelled(result_error or Error())
    if has_ended and row["runs"] > kept:
        last = _attempt(
            row["runs"], row["finished_at"], row["endpoint"], row["status"], result_error
        )
        found = [*found, last][-KEPT:]
    return found


def _attempt(run: int, end: datetime, endpoint: str, status: Any, error: Error | None) -> Attempt:
    attempt = Attempt(run=run, host=host_of(endpoint), status=status)
    attempt.end_time.FromDatetime(end.astimezone(UTC))
    if error is not None:
        attempt.error.type = shorten(error.type, _MAX_TYPE)
        attempt.error.message = shorten(error.message, _MAX_MESSAGE)
    return attempt
