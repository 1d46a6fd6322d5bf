"""Wait for calls, get, cancel and complete them: everything but the I/O.

The clients import this module when they need it first, as most programs only dispatch.
"""

import random
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import Any

from dispatch_grpc.calls import inside_function
from dispatch_grpc.client.call_info import CallInfo, CallState, call_error
from dispatch_grpc.client.dispatch_id import result_type
from dispatch_grpc.client.settings import ClientSettings, Timeout, check_text
from dispatch_grpc.codes import Code, Status
from dispatch_grpc.errors import (
    ConfigurationError,
    DeadlineExceededError,
    ProtocolError,
    RequestTooLargeError,
    RPCError,
    UnmarshalError,
)
from dispatch_grpc.log import logger
from dispatch_grpc.schema import (
    CancelCallRequest,
    CompleteCallRequest,
    GetCallRequest,
    WaitCallRequest,
)
from dispatch_grpc.text import counted, quoted, shorten
from dispatch_grpc.values import marshal, unmarshal

WAITS_AT_ONCE = 64  # of `AsyncClient.wait_all`, below the usual bound of HTTP/2 streams

# Silence that the transport does not notice shows when a request ends without an answer.
_MAX_WAIT_SECONDS = 4.0
_GRACE_SECONDS = 2.0  # after the requested wait; then the answer counts as lost
_LAST_GRACE_SECONDS = 1.0  # for the answer that comes at the end of the timeout
_SHARE = 0.3  # of the timeout of a wait, for one request: a lost one costs a third at most
_LEAST_SECONDS = 0.01  # with less time left, another request is not worth it
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.1, 2.0


def get_request(dispatch_id: str) -> GetCallRequest:
    """Make the request that gets a call."""
    return GetCallRequest(dispatch_id=check_text("dispatch_id", dispatch_id))


def complete_request(client: ClientSettings, dispatch_id: str, output: Any) -> CompleteCallRequest:
    """Make the request that finishes a call with an output."""
    request = CompleteCallRequest(dispatch_id=check_text("dispatch_id", dispatch_id))
    request.output.CopyFrom(marshal(output))
    return _bounded(client, request)


def fail_request(
    client: ClientSettings, dispatch_id: str, error: BaseException | str, type: str | None
) -> CompleteCallRequest:
    """Make the request that finishes a call with an error."""
    if isinstance(error, BaseException):
        kind = error.__class__
        name = kind.__qualname__
        if kind.__module__ not in {"builtins", "__main__"}:
            name = f"{kind.__module__}.{name}"
    elif isinstance(error, str):
        name = "Error"
    else:
        raise ConfigurationError(f"error: an exception or a str is required; got {quoted(error)}")
    request = CompleteCallRequest(dispatch_id=check_text("dispatch_id", dispatch_id))
    request.error.type = name if type is None else check_text("type", type)
    request.error.message = str(error).encode(errors="backslashreplace").decode()
    return _bounded(client, request)


def _bounded(client: ClientSettings, request: CompleteCallRequest) -> CompleteCallRequest:
    size, limit = request.ByteSize(), client.max_message_bytes
    if size > limit:
        raise RequestTooLargeError(
            f"the request that finishes the call {request.dispatch_id} has {size} bytes, more than "
            f"the {limit} bytes allowed by max_message_bytes=: store the value elsewhere, and pass "
            f"its place",
            code=Code.RESOURCE_EXHAUSTED,
        )
    return request


def field_of(client: ClientSettings, response: Any, name: str) -> Any:
    """Return a field that a response must have."""
    if all(field.name != name for field, _ in response.ListFields()):
        raise ProtocolError(
            f"the answer of {client.target.url} has no {name.removeprefix('dispatch_')}: "
            f"check the API URL",
            code=Code.INTERNAL,
        )
    return getattr(response, name)


def call_in(client: ClientSettings, response: Any) -> CallInfo:
    """Return the call in a response."""
    return CallInfo.of(field_of(client, response, "call"))


def id_in(client: ClientSettings, response: Any) -> str:
    """Return the id of a new call in a response."""
    return str(field_of(client, response, "dispatch_id"))


@cache  # once in a process
def _warn_of_held_slot() -> None:
    logger.warning(
        "a function of an endpoint waits for a call with a client: it holds one of the service's "
        "slots while it waits, and once such functions hold all slots, no call can run. Make the "
        "function a workflow (@endpoint.workflow) and await the call there"
    )


class Waiting:
    """The wait for a call: its requests, and their results."""

    def __init__(
        self, client: ClientSettings, dispatch_id: str, T: Any, seconds: float | None
    ) -> None:
        self._client = client
        self._id = check_text("dispatch_id", dispatch_id)
        self._type = result_type(dispatch_id) if T is None else T
        self._seconds = seconds
        self._started = self._asked = time.monotonic()
        self._max_wait: float | None = None
        self._call: CallInfo | None = None
        self._error: RPCError | None = None
        self._pauses = 0
        if inside_function.get():
            _warn_of_held_slot()

    def next(self) -> tuple[WaitCallRequest, float] | None:
        """Return the next request and its timeout in seconds; None when there is none to send."""
        if self._call is not None and self._call.state is CallState.FINISHED:
            return None
        wait, left = _MAX_WAIT_SECONDS, self._left()
        seconds = wait + _GRACE_SECONDS
        if left is not None:
            if left <= _LEAST_SECONDS and (
                self._max_wait is not None or left <= -_LAST_GRACE_SECONDS
            ):
                return None
            wait = max(min(wait, left), 0)
            seconds = min(seconds, left + _LAST_GRACE_SECONDS)
            share = _SHARE * (self._seconds or 0) - _LAST_GRACE_SECONDS
            if self._client.protocol != "grpc" and share < wait:
                # HTTP/1.1 has no pings: silence shows when a request ends without an answer.
                wait = min(wait, max(share, _SHARE))
                seconds = min(seconds, wait + _LAST_GRACE_SECONDS)
        self._asked, self._max_wait = time.monotonic(), wait
        request = WaitCallRequest(dispatch_id=self._id)
        request.max_wait.FromTimedelta(timedelta(seconds=wait))
        return request, seconds

    def take(self, response: Any) -> float:
        """Process a response; return the seconds to pause before the next request."""
        self._call, self._error = call_in(self._client, response), None
        took = time.monotonic() - self._asked
        if self._call.state is CallState.FINISHED or took >= (self._max_wait or 0) / 2:
            self._pauses = 0
            return 0
        return self._pause()  # the service did not wait, perhaps because it stops

    def lost(self, error: RPCError) -> float:
        """Note a lost connection; return the seconds to pause before the next request."""
        left = self._left()
        if self._error is None and (left is None or left > 0):
            logger.warning("still waiting for the call %s after an error: %s", self._id, error)
        self._error = error
        return self._pause()

    def output(self) -> Any:
        """Return the output of the call, or raise the error that it ended with."""
        call = self._call
        if call is None or call.state is not CallState.FINISHED:
            raise DeadlineExceededError(
                f"the call {self._id} did not finish within {round(self._seconds or 0, 3):.9g} s: "
                f"{self._progress()}",
                code=Code.DEADLINE_EXCEEDED,
            ) from self._error
        return output_of(call.message.result, call.status, self._type)

    def _left(self) -> float | None:
        """Return the seconds until the deadline; None if there is none."""
        return None if self._seconds is None else self._started + self._seconds - time.monotonic()

    def _pause(self) -> float:
        bound = min(_FIRST_PAUSE_SECONDS * 2.0**self._pauses, _MAX_PAUSE_SECONDS)
        self._pauses = min(self._pauses + 1, 10)
        pause = random.uniform(bound / 2, bound)  # noqa: S311
        left = self._left()
        return pause if left is None else max(min(pause, left), 0)

    def _progress(self) -> str:
        """Describe the state of the call, as far as it is known."""
        text = progress_of(self._call) if self._call else "its state is unknown"
        return f"{text}; {self._error.message}" if self._error else text


def progress_of(call: CallInfo) -> str:
    """Describe the state of a call that has not finished, and its last error."""
    if call.state is CallState.RUNNING and not call.runs:
        text = "its first attempt is running"
    else:
        text = f"it is {call.state} after {counted(call.runs, 'run')}"
    if error := call.last_error:
        text += f"; its last error was {error.type}: {shorten(error.message, 200)}"
    return text


def waits_for(
    client: ClientSettings, dispatch_ids: Iterable[str], T: Any, timeout: Timeout
) -> list[Waiting]:
    """Make the waits for calls, with one timeout for all of them."""
    seconds = client.seconds(timeout)
    return [Waiting(client, dispatch_id, T, seconds) for dispatch_id in dispatch_ids]


class Cancelling:
    """The cancellation of a call.

    Attributes:
        request: The request that cancels it.
    """

    def __init__(self, client: ClientSettings, dispatch_id: str, timeout: Timeout) -> None:
        self.request: CancelCallRequest = CancelCallRequest(
            dispatch_id=check_text("dispatch_id", dispatch_id)
        )
        self._client = client
        self._seconds = client.seconds(timeout)
        self._started = time.monotonic()

    def left(self) -> float | None:
        """Return the seconds until the deadline; None if there is none."""
        if self._seconds is None:
            return None
        return max(self._started + self._seconds - time.monotonic(), 0)

    def is_in_doubt(self, error: RPCError) -> bool:
        """Return whether an earlier attempt of the request may have cancelled the call."""
        return error.resent and error.code is Code.FAILED_PRECONDITION

    def is_done(self, response: Any) -> bool:
        """Return whether the call in a response was cancelled."""
        call = call_in(self._client, response)
        return call.error is not None and call.error.type == "CancelledError"


def output_of(result: Any, status: Status, T: Any) -> Any:
    """Return the output in a CallResult.

    Args:
        result: The result of the call.
        status: The status of the call.
        T: Type to decode the output into, as for `unmarshal`. A result without an output is
            decoded like None.

    Raises:
        CallError: The call failed.
        UnmarshalError: The output is not a `T`.
    """
    output = result.output if result.HasField("output") else marshal(None)
    if status is Status.OK and not result.HasField("error"):
        return unmarshal(output, T)
    partial: Any = output
    with suppress(UnmarshalError):  # the failure of the call matters more
        partial = unmarshal(output)
    raise call_error(result.error, status, partial)
