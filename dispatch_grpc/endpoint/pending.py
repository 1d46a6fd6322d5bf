"""Calls that are finished from outside: the answer "pending", and its refusal to be resumed."""

from typing import Any

from dispatch_grpc.codes import Status
from dispatch_grpc.endpoint.answers import refusal, respond
from dispatch_grpc.errors import EndpointError
from dispatch_grpc.schema import Pending as PendingState
from dispatch_grpc.schema import Poll, RunRequest, RunResponse

_MARK = f"/{PendingState.DESCRIPTOR.full_name}"


class Pending(BaseException):
    """Raise this in a function whose call is finished later, from outside.

        @endpoint.function
        def review(document: str) -> bool:
            send_to_reviewer(document, current_call().dispatch_id)
            raise Pending

    The call then waits, without being run again, until `Client.complete` or `Client.fail` finishes
    it, or it expires. It may also be finished before the function has raised this.
    """


def pending() -> RunResponse:
    """Return the answer of a primitive whose call is finished from outside: see `Pending`."""
    response = respond(Status.OK)
    response.poll.typed_coroutine_state.Pack(PendingState())
    response.poll.min_results = response.poll.max_results = 1
    response.poll.max_wait.seconds = 1  # a service that knows the state does not look at it
    return response


def is_pending(poll: Poll) -> bool:
    """Tell whether a Poll says that its call is finished from outside."""
    return not poll.calls and _is_mark(poll.typed_coroutine_state)


def refuse_to_resume(request: RunRequest) -> RunResponse | None:
    """Return the answer to the resumption of a pending call; None for other requests."""
    if not _is_mark(request.poll_result.typed_coroutine_state):
        return None
    error = EndpointError(
        f"{request.function} is pending, to be finished from outside, and was resumed: the service "
        f"does not support CompleteCall; the service that 'dispatch-grpc serve' runs does"
    )
    return refusal(request.function, error, Status.PERMANENT_ERROR)


def _is_mark(state: Any) -> bool:
    return str(state.type_url).endswith(_MARK)
