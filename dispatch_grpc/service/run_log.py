"""The log of attempts: a line for each that failed, was taken over, or was slow.

An attempt that succeeded in time has no line. The fields of a line are attributes of its record as
well, which JSON shows: `dispatch_id`, `function`, `host`, `attempt`, `status`, and
`trace_id` if the call has a trace.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.codes import Status
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.machine import Finish, Retry
from dispatch_grpc.service.store import CallDecision, Loaded
from dispatch_grpc.text import shorten
from dispatch_grpc.tracing import trace_id_of

SLOW_SECONDS = 30.0
_MAX_MESSAGE = 200


def outcomes(items: Sequence[CallDecision], finished: Collection[UUID], now: datetime) -> None:
    """Log the outcomes of attempts that failed.

    Args:
        items: The outcomes, which were written.
        finished: The calls that have finished.
        now: The time.
    """
    for item in items:
        match item.outcome:
            case Retry(status=status, error=error, at=at):
                seconds = max((at - now).total_seconds(), 0)
                _log(item.loaded, f"failed, and is tried again in {seconds:.1f} s", status, error)
            case Finish(status=status, result=result) if status is not Status.OK:
                if item.loaded.running.id in finished:
                    _log(item.loaded, "failed, and is not tried again", status, result.error)


def taken_over(loaded: Loaded) -> None:
    """Log that an attempt begins again, since the process that ran it was lost."""
    _log(loaded, "is taken over: the process that ran it was lost")


def slow(loaded: Loaded, seconds: float) -> None:
    """Log how long an attempt took, if it took long."""
    if seconds >= SLOW_SECONDS:
        _log(loaded, f"was slow: it took {seconds:.1f} s")


def refused(loaded: Loaded, error: Exception) -> None:
    """Log that the database does not take the outcome of an attempt."""
    fields = _fields(loaded)
    logger.error(
        "the outcome of the call %s cannot be written: %s",
        fields["dispatch_id"],
        error,
        extra=fields,
    )


def _fields(loaded: Loaded) -> dict[str, Any]:
    running = loaded.running
    fields = {
        "dispatch_id": str(running.id),
        "function": loaded.function,
        "host": loaded.host,
        "attempt": running.runs + 1,
    }
    if loaded.trace is not None:
        fields["trace_id"] = trace_id_of(loaded.trace)
    return fields


def _log(loaded: Loaded, what: str, status: Status | None = None, error: Any = None) -> None:
    fields = _fields(loaded)
    text = ""
    if status is not None:
        fields["status"] = status.name
        # The endpoint wrote them: each stays on the line.
        kind, message = (
            " ".join(shorten(part, _MAX_MESSAGE).split()) for part in (error.type, error.message)
        )
        # A failed connection has the status as its type.
        kind = "" if kind.upper() == status.name else f"{kind}: "
        text = f": {status.name}: {kind}{message}"
    logger.info(
        "attempt %d of the call %s (%s on %s) %s%s",
        fields["attempt"],
        fields["dispatch_id"],
        shorten(loaded.function, _MAX_MESSAGE),
        fields["host"],
        what,
        text,
        extra=fields,
    )
