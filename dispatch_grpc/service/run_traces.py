"""The spans of attempts and of schedules, where the process has a provider of spans."""

from typing import TYPE_CHECKING
from uuid import UUID

from dispatch_grpc import tracing
from dispatch_grpc.service.machine import Answer
from dispatch_grpc.service.store import Loaded

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dispatch_grpc.tracing.spans import Traced


def firing(function: str, id: UUID, schedule: str) -> "AbstractContextManager[Traced | None]":
    """Span the firing of a schedule, which begins a trace; without a provider there is no span."""
    if not _has_provider():
        return tracing.NO_SPAN
    from dispatch_grpc.tracing import spans

    return spans.firing(function, str(id), schedule)


def attempt(loaded: Loaded) -> "AbstractContextManager[Traced | None]":
    """Span an attempt; without a provider there is no span."""
    if not _has_provider():
        return tracing.NO_SPAN
    from dispatch_grpc.tracing import spans

    running = loaded.running
    return spans.attempting(
        loaded.function,
        str(running.id),
        str(loaded.root_id),
        running.attempt,
        url=running.endpoint,
        context=loaded.trace,
    )


def _has_provider() -> bool:
    if not tracing.is_imported():
        return False
    from dispatch_grpc.tracing import spans

    return spans.is_set_up()


def note(span: "Traced | None", answer: Answer | None) -> None:
    """Note how an attempt went; None: it was ended from here."""
    if span is None:
        return
    if answer is None:
        span.cancelled()
    else:
        span.answered(answer.response)
