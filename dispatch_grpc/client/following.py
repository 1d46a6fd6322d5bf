"""Wait for calls, get, list, cancel and complete them: everything but the I/O.

The clients import this module when they need it first, as most programs only dispatch.
"""

import random
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from dispatch_grpc.calls import inside_function
from dispatch_grpc.client.call_info import CallInfo, CallState, call_error
from dispatch_grpc.client.dispatch_id import result_type
from dispatch_grpc.client.settings import ClientSettings, Timeout, positive
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
    ListCallsRequest,
    ListCallsResponse,
    WaitCallRequest,
)
from dispatch_grpc.text import quoted, shorten
from dispatch_grpc.values import marshal, unmarshal

State = CallState | Literal["queued", "running", "waiting", "finished"]

WAITS_AT_ONCE = 64  # of `AsyncClient.wait_all`, below the usual bound of HTTP/2 streams

_MAX_WAIT_SECONDS = 20.0  # less than proxies allow an idle request
_GRACE_SECONDS = 5.0  # after the requested wait; then the answer counts as lost
_LAST_GRACE_SECONDS = 1.0  # for the answer that comes at the end of the timeout
_SHARE = 0.3  # of the timeout of a wait, for one request: a lost one costs a third at most
_LEAST_SECONDS = 0.01  # with less time left, another request is not worth it
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.1, 2.0
_PAGE_SIZE = 100


def get_request(dispatch_id: str) -> GetCallRequest:
    """Make the request that gets a call."""
    return GetCallRequest(dispatch_id=check_text("dispatch_id", dispatch_id))


def cancel_request(dispatch_id: str) -> CancelCallRequest:
    """Make the request that cancels a call."""
    return CancelCallRequest(dispatch_id=check_text("dispatch_id", dispatch_id))


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


def call_in(client: ClientSettings, response: Any) -> CallInfo:
    """Return the call in a response."""
    if not response.HasField("call"):
        raise ProtocolError(
            f"the answer of {client.target.url} has no call: check the API URL",
            code=Code.INTERNAL,
        )
    return CallInfo.of(response.call)


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
        call, lost = self._call, f"; {self._error.message}" if self._error else ""
        if call is None:
            return f"its state is unknown{lost}"
        if call.state is CallState.RUNNING and not call.runs:
            text = "its first attempt is running"
        else:
            text = f"it is {call.state} after {call.runs} run{'s'[: call.runs != 1]}"
        if error := call.last_error:
            text += f"; its last error was {error.type}: {shorten(error.message, 200)}"
        return text + lost


def waits_for(
    client: ClientSettings, dispatch_ids: Iterable[str], T: Any, timeout: Timeout
) -> list[Waiting]:
    """Make the waits for calls, with one timeout for all of them."""
    seconds = client.seconds(timeout)
    return [Waiting(client, dispatch_id, T, seconds) for dispatch_id in dispatch_ids]


class Listing:
    """A list of calls: the requests for its pages, and the calls in them."""

    def __init__(
        self,
        client: ClientSettings,
        *,
        state: State | None,
        status: Status | None,
        function: str | None,
        endpoint: str | None,
        created_after: datetime | None,
        created_before: datetime | None,
        parent: str | None,
        dead: bool,
        limit: int,
        timeout: Timeout,
    ) -> None:
        self._limit = positive("limit", limit)
        seconds = client.seconds(timeout)
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._token: str | None = ""
        self.calls: list[CallInfo] = []
        request = self._request = ListCallsRequest(dead=dead)
        if state is not None:
            request.state = _state(state)
        if status is not None:
            request.status = check_status(status)
        if function is not None:
            request.function = check_text("function", function)
        if endpoint is not None:
            request.endpoint = check_text("endpoint", endpoint)
        if created_after is not None:
            request.created_after.CopyFrom(check_timestamp("created_after", created_after))
        if created_before is not None:
            request.created_before.CopyFrom(check_timestamp("created_before", created_before))
        if parent is not None:
            request.parent_dispatch_id = check_text("parent", parent)

    def next(self) -> tuple[ListCallsRequest, float | None] | None:
        """Return the next request and its timeout in seconds; None when there is none to send."""
        room = self._limit - len(self.calls)
        if self._token is None or room <= 0:
            return None
        self._request.page_token = self._token
        self._request.page_size = min(room, _PAGE_SIZE)
        left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0)
        return self._request, left

    def take(self, response: ListCallsResponse) -> None:
        """Add the calls of a page."""
        page = response.calls[: self._limit - len(self.calls)]
        self.calls += [CallInfo.of(call) for call in page]
        self._token = response.next_page_token or None


def _state(state: State) -> Any:
    names = list(CallState)[1:]
    if state not in names:
        raise ConfigurationError(
            f"state: one of {', '.join(names)} is required; got {quoted(state)}"
        )
    return list(CallState).index(CallState(state))


def check_status(status: Status) -> Any:
    """Check the status of a filter."""
    if not isinstance(status, Status) or status is Status.UNSPECIFIED:
        raise ConfigurationError(
            f"status: a Status other than UNSPECIFIED is required; got {quoted(status)}"
        )
    return status  # its values are the schema's


def check_text(name: str, value: str) -> str:
    """Check an id or the value of a filter."""
    if isinstance(value, str) and value:
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise ConfigurationError(f"{name}: a non-empty str is required; got {quoted(value)}")


def check_timestamp(name: str, value: datetime) -> Timestamp:
    """Check the value of a filter by time."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ConfigurationError(
            f"{name}: a datetime with a time zone is required; got {quoted(value)}"
        )
    timestamp = Timestamp()
    try:
        timestamp.FromDatetime(value)
    except (OverflowError, ValueError) as error:
        raise ConfigurationError(f"{name}: {value} is not in the years 1 to 9999") from error
    return timestamp


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
