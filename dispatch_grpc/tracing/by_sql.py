"""The trace of calls that a statement of SQL records."""

from collections.abc import Sequence

from dispatch_grpc import tracing
from dispatch_grpc.schema import Call


def dispatched(calls: Sequence[Call]) -> str | None:
    """Span the dispatch of calls, where OpenTelemetry is used.

    The span ends before the statement does, since no driver tells when it is executed.

    Args:
        calls: The calls.

    Returns:
        The context of the calls, if they have a trace.
    """
    if not tracing.is_imported():
        return None
    from dispatch_grpc.tracing import spans

    with spans.dispatching({call.function for call in calls}, len(calls), "") as span:
        return span.context
