"""A call's start, its labels and a trace of its own: the options that need CallService.Submit."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from dispatch_grpc.calls import labels_problem
from dispatch_grpc.client.settings import timestamp
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.schema import Call, Submission, SubmitRequest
from dispatch_grpc.text import quoted
from dispatch_grpc.tracing import context_of, headers_of
from dispatch_grpc.values import DURATION_MAX_SECONDS, duration_parts

Delay = timedelta | float
"""A duration, or a number of seconds."""


def options_of(
    delay: Delay | None,
    at: datetime | None,
    labels: Mapping[str, str] | None,
    trace: str | None = None,
) -> Submission:
    """Return a submission without a call that holds the options of a dispatch.

    Raises:
        ConfigurationError: An option is invalid.
    """
    options = Submission()
    if delay is not None and at is not None:
        raise ConfigurationError("delay and at cannot be used together: both say when to start")
    if delay is not None:
        options.delay.CopyFrom(_duration(delay))
    if at is not None:
        options.start_time.CopyFrom(timestamp("at", at))
    if labels is not None:
        if problem := labels_problem(labels):
            raise ConfigurationError(problem)
        options.labels.update(labels)
    if trace is not None:
        headers = headers_of(trace)
        if context_of(headers) != trace:
            raise ConfigurationError(
                f"trace: a W3C traceparent such as "
                f"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 is required; "
                f"got {quoted(trace)}"
            )
        options.traceparent, options.tracestate = (
            headers["traceparent"],
            headers.get("tracestate", ""),
        )
    return options


def _duration(delay: Delay) -> Duration:
    try:
        found = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
        seconds, nanos = duration_parts(found)
        if isinstance(delay, bool) or found < timedelta(0) or seconds > DURATION_MAX_SECONDS:
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:  # nan and inf too
        raise ConfigurationError(
            f"delay: a timedelta or a number of seconds, zero or more, is required; "
            f"got {quoted(delay)}"
        ) from error
    return Duration(seconds=seconds, nanos=nanos)


def submit_request(calls: Sequence[Call], options: Mapping[int, Submission]) -> SubmitRequest:
    """Make the request that submits calls.

    Args:
        calls: The calls.
        options: The options of those that have some, by their place.
    """
    request = SubmitRequest()
    for place, call in enumerate(calls):
        submission = request.submissions.add()
        if place in options:
            submission.CopyFrom(options[place])
        submission.call.CopyFrom(call)
    return request
