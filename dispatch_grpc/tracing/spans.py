"""Spans by OpenTelemetry, as its conventions for messaging have them.

    PRODUCER  dispatch greet    calls are made, by a client, a function or a schedule; the context
                                of the span goes with them
    CLIENT    attempt greet     the service makes an attempt
    CONSUMER  run greet         the endpoint runs the function

Each is a child of the one before, in the order above, and links to the PRODUCER. Import this module
only where `tracing.is_imported()`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dispatch_grpc.codes import Status
from dispatch_grpc.schema import Call, RunResponse
from dispatch_grpc.text import shorten
from dispatch_grpc.tracing import CREATION, context_of, headers_of
from dispatch_grpc.version import __version__

_W3C = TraceContextTextMapPropagator()
_MAX_MESSAGE = 200
_MAX_PRODUCERS = 32  # their contexts are in a header, and proxies take headers of 4 kB

_makers: ContextVar[dict[int, Span]] = ContextVar("dispatch_grpc_makers")
"""The spans in which a workflow makes calls, by the correlation ids of the calls."""


class Traced:
    """A span that has begun.

    Attributes:
        context: The context below which what it leads to belongs; None if there is no trace.
    """

    def __init__(self, span: Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(span))
        self.context: str | None = context_of(carrier)

    def dispatched(self, ids: Sequence[str]) -> None:
        """Note the id of a call that was dispatched alone."""
        if len(ids) == 1:
            self._span.set_attribute("messaging.message.id", ids[0])

    def answered(self, response: RunResponse) -> None:
        """Note how an attempt went."""
        try:
            status = Status(response.status).name
        except ValueError:  # of a later version of the schema
            status = str(response.status)
        self._span.set_attribute("messaging.dispatch.status", status)
        if response.status != Status.OK.value:
            error = response.exit.result.error
            self._span.set_attribute("error.type", error.type or status)
            self._span.set_status(StatusCode.ERROR, shorten(error.message, _MAX_MESSAGE))

    def cancelled(self) -> None:
        """Note that an attempt was given up."""
        self._span.set_attribute("error.type", "cancelled")
        self._span.set_status(StatusCode.ERROR, "the attempt was given up")


def is_set_up() -> bool:
    """Return whether the process has a provider of spans, such as that of the SDK."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def is_traced() -> bool:
    """Return whether a dispatch begins a span, or belongs to one that is under way."""
    return is_set_up() or trace.get_current_span().get_span_context().is_valid


def dispatching(functions: Collection[str], count: int, url: str) -> AbstractContextManager[Traced]:
    """Span the dispatch of some calls.

    Args:
        functions: The names of their functions.
        count: Number of the calls.
        url: URL of the service, if it is known.
    """
    function = next(iter(functions)) if len(functions) == 1 else ""
    attributes = _attributes("dispatch", "send", function, url)
    if count > 1:
        attributes["messaging.batch.message_count"] = count
    return _span("dispatch", function, SpanKind.PRODUCER, attributes)


def firing(function: str, id: str, schedule: str) -> AbstractContextManager[Traced]:
    """Span the firing of a schedule, which begins a trace.

    Args:
        function: Name of the function.
        id: Id of the call.
        schedule: Name of the schedule.
    """
    attributes = _attributes("dispatch", "send", function) | _attributes_of_call(id, "", None)
    attributes["messaging.dispatch.schedule"] = schedule
    return _span("dispatch", function, SpanKind.PRODUCER, attributes, parent=Context())


def attempting(
    function: str, id: str, root: str, attempt: int, *, url: str, context: str | None
) -> AbstractContextManager[Traced]:
    """Span an attempt of the service.

    Args:
        function: Name of the function.
        id: Id of the call.
        root: Id of the client's call that led to it.
        attempt: Number of the attempt.
        url: URL of the endpoint.
        context: The context of the call.
    """
    attributes = _attributes("attempt", "", function, url)
    attributes |= _attributes_of_call(id, root, attempt)
    # Not what happens to be the current span: the task may be a child of any other.
    parent = _parsed(context) if context else Context()
    return _span("attempt", function, SpanKind.CLIENT, attributes, parent=parent, creation=context)


def running(
    function: str, id: str, root: str, attempt: int | None, headers: Mapping[str, str]
) -> AbstractContextManager[Traced]:
    """Span the run of a function on an endpoint.

    Args:
        function: Name of the function.
        id: Id of the call.
        root: Id of the client's call that led to it.
        attempt: Number of the attempt, if it is known.
        headers: Headers of the request.
    """
    sent = context_of(headers)
    attributes = _attributes("run", "process", function)
    attributes |= _attributes_of_call(id, root, attempt)
    # An instrumentation of the server may have a span for the request, which then is the parent.
    inside = trace.get_current_span().get_span_context().is_valid
    parent = None if inside or sent is None else _parsed(sent)
    creation = context_of({"traceparent": headers.get(CREATION, "")}) or sent
    _makers.set({})
    return _span("run", function, SpanKind.CONSUMER, attributes, parent=parent, creation=creation)


def calling(correlation_id: int) -> None:
    """Remember that a workflow makes a call in the current span."""
    if (makers := _makers.get(None)) is not None:
        makers[correlation_id] = trace.get_current_span()


def called(calls: Sequence[Call]) -> list[str]:
    """Span the making of the calls of a Poll, inside `running`: each or, if they are many, all.

    Returns:
        The context of each span; none where the process has no provider of spans.
    """
    if not is_set_up():
        return []
    run = trace.get_current_span()
    groups = [calls] if len(calls) > _MAX_PRODUCERS else [[call] for call in calls]
    contexts = []
    for group in groups:
        maker = _makers.get({}).get(group[0].correlation_id) if len(group) == 1 else None
        # A span that replayed code has opened is not sampled.
        parent = maker if maker and maker.get_span_context().trace_flags.sampled else run
        functions = {call.function for call in group}
        with trace.use_span(parent), dispatching(functions, len(group), "") as span:
            contexts.append(span.context or "")
    return contexts


def hidden_while(is_replaying: Callable[[], bool]) -> AbstractContextManager[Span]:
    """Make spans below the current one only while nothing is replayed."""
    return _current(_Replayed(trace.get_current_span(), is_replaying))


@Span.register
class _Replayed(AbstractContextManager["_Replayed"]):
    """A span that is not sampled, and takes nothing, while code is replayed.

    Tasks keep the context in which they began, so that it has to be one span that changes.
    """

    def __init__(self, span: Span, is_replaying: Callable[[], bool]) -> None:
        own = span.get_span_context()
        self._span = span
        self._hidden = NonRecordingSpan(
            SpanContext(own.trace_id, own.span_id, own.is_remote, TraceFlags(), own.trace_state)
        )
        self._is_replaying = is_replaying

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hidden if self._is_replaying() else self._span, name)

    def end(self, end_time: int | None = None) -> None:
        """Leave it to whoever began the span."""

    def __exit__(self, *_: object) -> None:
        pass


def _current(span: Any) -> AbstractContextManager[Span]:
    """Have a span be the current one. What is raised is not its error."""
    return trace.use_span(span, record_exception=False, set_status_on_exception=False)


@contextmanager
def _span(
    operation: str,
    function: str,
    kind: SpanKind,
    attributes: dict[str, Any],
    *,
    parent: Context | None = None,
    creation: str | None = None,
) -> Iterator[Traced]:
    """Make a span, and have it be the current one.

    Args:
        operation: Name of the operation.
        function: Name of the function; empty for several.
        kind: Kind of the span.
        attributes: Its attributes.
        parent: Its parent; None for the current span.
        creation: The context in which the call was made, to link to.
    """
    if not is_set_up():  # some versions of the API would lose the parent
        with _current(trace.get_current_span(parent)) as span:
            yield Traced(span)
        return
    links = []
    if creation is not None:
        links = [trace.Link(trace.get_current_span(_parsed(creation)).get_span_context())]
    with _tracer().start_as_current_span(
        f"{operation} {function}".rstrip(), parent, kind, attributes, links
    ) as span:
        try:
            yield Traced(span)
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            raise


@cache
def _tracer() -> Tracer:
    return trace.get_tracer("dispatch_grpc", __version__)


def _parsed(context: str) -> Context:
    return _W3C.extract(headers_of(context), Context())


def _attributes(operation: str, kind: str, function: str, url: str = "") -> dict[str, Any]:
    # Written out: the package of the conventions has them as experimental ones.
    found: dict[str, Any] = {
        "messaging.system": "dispatch",
        "messaging.operation.name": operation,
    }
    if kind:
        found["messaging.operation.type"] = kind
    if function:
        found["messaging.destination.name"] = function
    if url:
        parts = urlsplit(url)
        found["server.address"] = parts.hostname or ""
        if parts.port is not None:
            found["server.port"] = parts.port
    return found


def _attributes_of_call(id: str, root: str, attempt: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {"messaging.message.id": id}
    if root:
        found["messaging.message.conversation_id"] = root
    if attempt is not None:
        found["messaging.dispatch.attempt"] = attempt
    return found
