"""The rules for submissions: when a call starts and expires, and what labels it may have."""

from datetime import UTC, datetime, timedelta

from dispatch_grpc.calls import labels_problem
from dispatch_grpc.schema import Submission
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.store import NewCall
from dispatch_grpc.tracing import context_of


def new_of(
    submission: Submission, now: datetime, limits: Limits, trace: str | None = None
) -> NewCall | str:
    """Return the call to record, or the reason to reject the submission.

    Args:
        submission: A submission, whose call has been checked.
        now: The time.
        limits: The limits of calls.
        trace: The context of the request, for a submission that has none of its own.
    """
    if problem := labels_problem(submission.labels):
        return problem
    start = _start_of(submission, now)
    if isinstance(start, str):
        return start
    call, expires_at = submission.call, limits.expires_at(submission.call, now)
    if start is not None:
        field = submission.WhichOneof("start")
        if start - now > limits.max_expiration:
            return (
                f"{field}: a start within {limits.max_expiration} is required by this service; "
                f"got {start.isoformat()}, which is in {start - now}"
            )
        if not call.HasField("expiration"):
            expires_at = limits.expires_at(call, start)
        elif start >= expires_at:
            return (
                f"{field}: the call would start at {start.isoformat()}, after its expiration at "
                f"{expires_at.isoformat()} (call.expiration, which counts from now): a later "
                f"expiration or an earlier start is required"
            )
    return NewCall(
        new_id(),
        call,
        expires_at,
        starts_at=start,
        labels=dict(submission.labels) or None,
        trace=context_of(
            {"traceparent": submission.traceparent, "tracestate": submission.tracestate}
        )
        or trace,
    )


def _start_of(submission: Submission, now: datetime) -> datetime | str | None:
    """Return the start of a call, None for at once, or the reason to reject it."""
    field = submission.WhichOneof("start")
    if field == "delay":
        seconds, nanos = submission.delay.seconds, submission.delay.nanos
        if seconds < 0 or not 0 <= nanos < 1_000_000_000:
            return (
                f"delay: a duration of zero or more is required; got seconds={seconds}, "
                f"nanos={nanos}"
            )
        # Bounded, so that the sum does not overflow: 30 years are too long in any case.
        start = now + timedelta(seconds=min(seconds, 10**9), microseconds=nanos // 1000)
    elif field == "start_time":
        try:
            start = submission.start_time.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            given = submission.start_time
            return (
                f"start_time: a time of the years 1 to 9999 is required, with nanos from 0 to "
                f"999,999,999; got seconds={given.seconds}, nanos={given.nanos}"
            )
    else:
        return None
    return start if start > now else None
