"""The answers of primitives: finish, wait for calls, or be replaced. See `Endpoint.primitive`.

    @endpoint.primitive
    def total(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            calls = [price.call(item) for item in unmarshal(request.input)]
            return poll(calls, min_results=len(calls))
        results = request.poll_result.results
        return exit_(sum(unmarshal(result.output) for result in results))

The answers keep the rules in the comments of `exit.proto` and `poll.proto`.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc.calls import problem_of
from dispatch_grpc.codes import Status
from dispatch_grpc.endpoint.answers import (
    MAX_RESULTS,
    describe,
    problem_of_response,
    respond,
    status_of,
)
from dispatch_grpc.endpoint.pending import pending
from dispatch_grpc.errors import EndpointError, InvalidCallError, MarshalError
from dispatch_grpc.schema import Call, RunRequest, RunResponse
from dispatch_grpc.text import quoted
from dispatch_grpc.values import DURATION_MAX_SECONDS, encode

__all__ = ["RunRequest", "RunResponse", "exit_", "pending", "poll", "tail_call"]

_MIN_WAIT, _MAX_WAIT = timedelta(seconds=1), timedelta(seconds=DURATION_MAX_SECONDS)


def exit_(
    output: Any = None, *, error: BaseException | None = None, status: Status | None = None
) -> RunResponse:
    """Finish the call.

    Args:
        output: Result, any value that `marshal` accepts; with an error, a partial result.
        error: Exception that the function failed with, if it failed.
        status: Status of the call; else OK, or `Status.of` the error.

    Raises:
        EndpointError: The error is not an exception, or the status does not go with it: OK needs
            no error, every other status needs one.
        MarshalError: The output has no representation.
    """
    if not (error is None or isinstance(error, BaseException)):
        raise EndpointError(f"error: an exception or None is required; got {quoted(error)}")
    if not (status is None or isinstance(status, Status)) or status is Status.UNSPECIFIED:
        raise EndpointError(f"status: a Status other than UNSPECIFIED is required; got {status!r}")
    if status is None:
        status = Status.OK if error is None else status_of(error)
    if (status is Status.OK) != (error is None):
        raise EndpointError(
            f"status: OK needs no error, and every other status needs one; got {status!r} and "
            f"{quoted(error, 200)}"
        )
    response = respond(status)
    result = response.exit.result
    result.SetInParent()
    if output is not None or error is None:
        _encode("output", output, result.output)
    if error is not None:
        result.error.CopyFrom(describe(error))
    return response


def tail_call(call: Call) -> RunResponse:
    """Replace the running call by another one, under the same dispatch id.

    Args:
        call: The other call; an empty endpoint means this endpoint.

    Raises:
        InvalidCallError: The call breaks a rule of the schema.
    """
    if problem := problem_of(call, nested=True):
        raise InvalidCallError(f"tail_call{problem}")
    response = respond(Status.OK)
    response.exit.result.SetInParent()
    response.exit.tail_call.CopyFrom(call)
    return response


def poll(
    calls: Iterable[Call] = (),
    *,
    state: Any = b"",
    min_results: int = 1,
    max_results: int = MAX_RESULTS,
    max_wait: timedelta = timedelta(minutes=5),
) -> RunResponse:
    """Wait for the results of calls.

    The function is run again with a `poll_result` as soon as there are `min_results` results,
    all calls have finished, or `max_wait` has passed.

    Args:
        calls: Calls to dispatch; an empty endpoint means this endpoint. Their correlation ids
            come back in the results.
        state: State that comes back unchanged: bytes as `coroutine_state`, every other value
            marshalled as `typed_coroutine_state`.
        min_results: Number of results to wait for, from 1 to 1000.
        max_results: Largest number of results to deliver together, from `min_results` to 1000.
        max_wait: Longest time to wait, one second or more.

    Raises:
        EndpointError: An argument is not within its bounds.
        InvalidCallError: A call breaks a rule of the schema.
        MarshalError: The state has no representation.
    """
    if not (isinstance(max_wait, timedelta) and _MIN_WAIT <= max_wait <= _MAX_WAIT):
        raise EndpointError(
            f"max_wait: a timedelta from 1 second to {_MAX_WAIT.days} days is required; "
            f"got {quoted(max_wait)}"
        )
    response = respond(Status.OK)
    message = response.poll
    message.max_wait.FromTimedelta(max_wait)
    for name, value in (("min_results", min_results), ("max_results", max_results)):
        try:
            setattr(message, name, value)
        except (TypeError, ValueError) as error:
            raise EndpointError(
                f"{name}: an int from 1 to {MAX_RESULTS} is required; got {quoted(value)}"
            ) from error
    if isinstance(state, bytes):
        message.coroutine_state = state
    else:
        _encode("state", state, message.typed_coroutine_state)
    for index, call in enumerate(calls):
        if problem := problem_of(call, nested=True):
            raise InvalidCallError(f"calls[{index}]{problem}")
        message.calls.add().CopyFrom(call)
    if problem := problem_of_response(response):
        raise EndpointError(problem)
    return response


def _encode(name: str, value: Any, into: AnyProto) -> None:
    if isinstance(value, AnyProto):  # `encode` would wrap it in another Any
        into.CopyFrom(value)
        return
    try:
        into.type_url, into.value = encode(value)
    except MarshalError as error:
        raise MarshalError(f"{name}: {error}") from error
