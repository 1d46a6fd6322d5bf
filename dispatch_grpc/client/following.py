"""What `Client` and `AsyncClient` do between the requests of wait, get, list and cancel. No I/O.

Imported when it is needed first, as most programs only dispatch.
"""

import random
import time
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal, get_args

from google.protobuf.timestamp_pb2 import Timestamp

from dispatch_grpc.calls import inside_function
from dispatch_grpc.client.settings import positive
from dispatch_grpc.client.shared import Core
from dispatch_grpc.codes import Code, Status
from dispatch_grpc.errors import (
    CallError,
    ConfigurationError,
    DeadlineExceededError,
    ProtocolError,
    RPCError,
    UnmarshalError,
)
from dispatch_grpc.log import logger
from dispatch_grpc.schema import (
    CallInfo,
    CallState,
    CancelCallRequest,
    GetCallRequest,
    ListCallsRequest,
    ListCallsResponse,
    WaitCallRequest,
)
from dispatch_grpc.values import unmarshal

State = Literal["queued", "running", "waiting", "finished"]
"""Where a call is on its way."""

_FINISHED = CallState.CALL_STATE_FINISHED

_MAX_WAIT_SECONDS = 20.0  # less than what proxies allow a request that does not move
_GRACE_SECONDS = 5.0  # after which an answer is taken for lost
_LAST_GRACE_SECONDS = 1.0  # for the answer that comes when the time is over
_LEAST_SECONDS = 0.01  # not worth another request
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.1, 2.0
_PAGE_SIZE = 100


def get_request(dispatch_id: str) -> GetCallRequest:
    """The request that gets a call."""
    return GetCallRequest(dispatch_id=_text("dispatch_id", dispatch_id))


def cancel_request(dispatch_id: str) -> CancelCallRequest:
    """The request that cancels a call."""
    return CancelCallRequest(dispatch_id=_text("dispatch_id", dispatch_id))


def call_of(core: Core, response: Any) -> CallInfo:
    """The call that an answer holds."""
    if not response.HasField("call"):
        raise ProtocolError(
            f"{core.target.url} answered without the call: is the API URL right?",
            code=Code.INTERNAL,
        )
    call: CallInfo = response.call
    return call


@cache  # once in a process
def _warn_of_held_slot() -> None:
    logger.warning(
        "a function of an endpoint waits for a call with a client: it holds one of the service's "
        "slots meanwhile, and when such functions hold all of them, no call can go on. Make the "
        "function a workflow (@endpoint.workflow) and await the call there"
    )


class Waiting:
    """A wait for a call: which requests it takes, and what comes of them."""

    def __init__(self, core: Core, dispatch_id: str, timeout: Any) -> None:
        self._core = core
        self._id = _text("dispatch_id", dispatch_id)
        self._timeout = core.seconds(timeout)
        self._started = self._asked = time.monotonic()
        self._max_wait: float | None = None
        self._call: CallInfo | None = None
        self._error: RPCError | None = None
        self._pauses = 0
        if inside_function.get():
            _warn_of_held_slot()

    def next(self) -> tuple[WaitCallRequest, float] | None:
        """The next request, and the seconds that it may take; None when there is none to send."""
        if self._call is not None and self._call.state == _FINISHED:
            return None
        wait, left = _MAX_WAIT_SECONDS, self._left()
        seconds = wait + _GRACE_SECONDS
        if left is not None:
            if left <= _LEAST_SECONDS and self._max_wait is not None:
                return None
            wait = max(min(wait, left), 0)
            seconds = min(seconds, left + _LAST_GRACE_SECONDS)
        self._asked, self._max_wait = time.monotonic(), wait
        request = WaitCallRequest(dispatch_id=self._id)
        request.max_wait.FromTimedelta(timedelta(seconds=wait))
        return request, seconds

    def take(self, response: Any) -> float:
        """Take an answer. Returns the seconds to pause before the next request."""
        self._call, self._error = call_of(self._core, response), None
        took = time.monotonic() - self._asked
        if self._call.state == _FINISHED or took >= (self._max_wait or 0) / 2:
            self._pauses = 0
            return 0
        return self._pause()  # the service did not wait: it stops, say

    def lost(self, error: RPCError) -> float:
        """Take note of a lost connection. Returns the seconds to pause before the next request."""
        left = self._left()
        if self._error is None and (left is None or left > 0):
            logger.warning("the wait for the call %s goes on, but: %s", self._id, error)
        self._error = error
        return self._pause()

    def output(self, T: Any) -> Any:
        """The output of the call, or the error that it has come to."""
        call = self._call
        if call is None or call.state != _FINISHED:
            raise DeadlineExceededError(
                f"the call {self._id} has not finished within {self._timeout:.9g} s: "
                f"{self._where()}",
                code=Code.DEADLINE_EXCEEDED,
            ) from self._error
        return output_of(call.result, _status(call.status), T)

    def _left(self) -> float | None:
        """Seconds that are left; None for ever."""
        if self._timeout is None:
            return None
        return self._started + self._timeout - time.monotonic()

    def _pause(self) -> float:
        bound = min(_FIRST_PAUSE_SECONDS * 2.0**self._pauses, _MAX_PAUSE_SECONDS)
        self._pauses = min(self._pauses + 1, 10)
        pause = random.uniform(bound / 2, bound)  # noqa: S311
        left = self._left()
        return pause if left is None else max(min(pause, left), 0)

    def _where(self) -> str:
        """Where the call is on its way, as far as it is known."""
        call, lost = self._call, f"; {self._error.message}" if self._error else ""
        if call is None:
            return f"where it is, is not known{lost}"
        state = CallState.Name(call.state).removeprefix("CALL_STATE_").lower()
        text = f"it is {state} after {call.runs} run{'' if call.runs == 1 else 's'}"
        if call.HasField("last_error"):
            text += f", its last error was {call.last_error.type}: {call.last_error.message:.200}"
        return text + lost


class Listing:
    """A list of calls: which requests it takes, page by page."""

    def __init__(
        self,
        core: Core,
        *,
        state: State | None,
        status: Status | None,
        function: str | None,
        endpoint: str | None,
        created_after: datetime | None,
        created_before: datetime | None,
        parent: str | None,
        limit: int,
        timeout: Any,
    ) -> None:
        self._limit = positive("limit", limit)
        seconds = core.seconds(timeout)
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._token: str | None = ""
        self.calls: list[CallInfo] = []
        request = self._request = ListCallsRequest()
        if state is not None:
            request.state = _state(state)
        if status is not None:
            if not isinstance(status, Status) or status is Status.UNSPECIFIED:
                raise ConfigurationError(
                    f"status: a Status other than UNSPECIFIED is required; got {status!r:.80}"
                )
            request.status = status  # type: ignore[assignment]  # its values are the schema's
        if function is not None:
            request.function = _text("function", function)
        if endpoint is not None:
            request.endpoint = _text("endpoint", endpoint)
        if created_after is not None:
            request.created_after.CopyFrom(_time("created_after", created_after))
        if created_before is not None:
            request.created_before.CopyFrom(_time("created_before", created_before))
        if parent is not None:
            request.parent_dispatch_id = _text("parent", parent)

    def next(self) -> tuple[ListCallsRequest, float | None] | None:
        """The next request, and the seconds that it may take; None when there is none to send."""
        room = self._limit - len(self.calls)
        if self._token is None or room <= 0:
            return None
        self._request.page_token = self._token
        self._request.page_size = min(room, _PAGE_SIZE)
        left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0)
        return self._request, left

    def take(self, response: ListCallsResponse) -> None:
        """Take a page."""
        self.calls += response.calls[: self._limit - len(self.calls)]
        self._token = response.next_page_token or None


def _state(name: State) -> Any:
    if name not in get_args(State):
        names = ", ".join(get_args(State))
        raise ConfigurationError(f"state: one of {names} is required; got {name!r:.80}")
    return CallState.Value(f"CALL_STATE_{name.upper()}")


def _text(name: str, value: str) -> str:
    """Check an id, or the value of a filter."""
    if isinstance(value, str) and value:
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise ConfigurationError(f"{name}: a str that is not empty is required; got {value!r:.80}")


def _time(name: str, value: datetime) -> Timestamp:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ConfigurationError(
            f"{name}: a datetime with a time zone is required; got {value!r:.80}"
        )
    timestamp = Timestamp()
    try:
        timestamp.FromDatetime(value)
    except (OverflowError, ValueError) as error:
        raise ConfigurationError(f"{name}: {value} is not in the years 1 to 9999") from error
    return timestamp


def _status(number: int) -> Status:
    try:
        return Status(number)
    except ValueError:  # of a later version of the schema
        return Status.PERMANENT_ERROR


def output_of(result: Any, status: Status, T: Any) -> Any:
    """What a call returned, or the error that it failed with: what its CallResult means.

    Raises:
        CallError: The call failed.
        UnmarshalError: The output is no `T`.
    """
    has_output = result.HasField("output")
    if status is Status.OK and not result.HasField("error"):
        return unmarshal(result.output, T) if has_output else None
    partial: Any = None
    if has_output:
        try:
            partial = unmarshal(result.output)
        except UnmarshalError:  # its failure is to be told, not this one
            partial = result.output
    raise CallError(
        result.error.message or f"the call has ended with {status.name}",
        type=result.error.type or status.name,
        status=status,
        traceback=result.error.traceback.decode(errors="replace"),
        output=partial,
    )
