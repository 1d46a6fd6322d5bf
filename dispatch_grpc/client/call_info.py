"""A call as the service sees it: what `get` and `list` return."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dispatch_grpc.calls import mask_url
from dispatch_grpc.client.as_json import fields_json, output_json
from dispatch_grpc.codes import Status
from dispatch_grpc.errors import CallError
from dispatch_grpc.schema import time_of
from dispatch_grpc.tracing import trace_id_of

if TYPE_CHECKING:
    from dispatch_grpc import schema


class CallState(enum.StrEnum):
    """The state of a call."""

    UNKNOWN = "unknown"
    """A state that this version of the library does not know."""
    QUEUED = "queued"
    """The call waits for its first or next attempt."""
    RUNNING = "running"
    """The call's function is running."""
    WAITING = "waiting"
    """The call's function is suspended until calls that it made finish."""
    FINISHED = "finished"
    """The call has succeeded or failed: see its status."""


_STATES = tuple(CallState)  # by their numbers in the schema


@dataclass(frozen=True)
class Attempt:
    """A run of a call's function that has ended.

    Attributes:
        run: The number of the run, from 1; resumptions count.
        end_time: When it ended.
        host: Scheme, name and port of the endpoint that ran it.
        status: How it went; OK for a run that made calls, or went on as another call.
        error: What it failed with, without the traceback, its message cut after 500 characters; or
            None.
    """

    run: int
    end_time: datetime | None
    host: str
    status: Status
    error: CallError | None = field(compare=False)

    @classmethod
    def of(cls, message: "schema.Attempt") -> "Attempt":
        """Make an Attempt from the message."""
        status = status_of(message.status)
        error = call_error(message.error, status) if message.HasField("error") else None
        return cls(message.run, time_of(message, "end_time"), message.host, status, error)


@dataclass(frozen=True)
class CallInfo:
    """A call as the service sees it.

    Attributes:
        dispatch_id: The id of the call.
        parent_dispatch_id: The id of the call that made this one; None for a client's call.
        root_dispatch_id: The id of the client's call that led to this one.
        endpoint: The URL of the endpoint.
        function: The name of the function; after a tail call, that of the function called last.
        version: The version of the application; empty if none was given.
        state: The state of the call.
        status: Status of the call if it has finished, else of its last run; UNSPECIFIED before
            the first run has ended.
        runs: Number of runs of the function, including resumptions.
        creation_time: When the service recorded the call. Times are aware, in UTC.
        expiration_time: When the call expires unless it has finished.
        next_time: Earliest start of the next attempt; None if it is not delayed.
        finish_time: When the call finished; None before that.
        rerun_of: The id of the call of which this one is a rerun; None if it is none.
        rerun_as: The id of the last rerun of this call; None if there is none.
        error: The error that the call ended with, or None. `list` leaves it out.
        last_error: The error of the last run that failed without ending the call, or None.
        start_time: When the call was to begin at the earliest; None if it was to begin
            immediately.
        labels: The labels of the call.
        message: The message `dispatch.calls.v1.CallInfo`, which holds the result as well.
        schedule: The name of the schedule that dispatched the call; None for other calls.
        scheduled_time: The tick of the schedule; None for other calls.
        trace_id: The id of the trace that the call belongs to, 32 hexadecimal digits; None if there
            is none.
        attempts: The last 20 attempts that have ended, the oldest first. `list` leaves them out.
    """

    dispatch_id: str
    parent_dispatch_id: str | None
    root_dispatch_id: str
    endpoint: str
    function: str
    version: str
    state: CallState
    status: Status
    runs: int
    creation_time: datetime | None
    expiration_time: datetime | None
    next_time: datetime | None
    finish_time: datetime | None
    rerun_of: str | None
    rerun_as: str | None
    error: CallError | None = field(compare=False)
    last_error: CallError | None = field(compare=False)
    message: "schema.CallInfo" = field(hash=False)
    start_time: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    schedule: str | None = None
    scheduled_time: datetime | None = None
    trace_id: str | None = None
    attempts: tuple[Attempt, ...] = ()

    @classmethod
    def of(cls, message: "schema.CallInfo") -> "CallInfo":
        """Make a CallInfo from the message."""
        status, result = status_of(message.status), message.result
        return cls(
            message.dispatch_id,
            message.parent_dispatch_id or None,
            message.root_dispatch_id,
            message.endpoint,
            message.function,
            message.version,
            _STATES[message.state] if message.state < len(_STATES) else CallState.UNKNOWN,
            status,
            message.runs,
            time_of(message, "creation_time"),
            time_of(message, "expiration_time"),
            time_of(message, "next_time"),
            time_of(message, "finish_time"),
            message.rerun_of_dispatch_id or None,
            message.rerun_as_dispatch_id or None,
            call_error(result.error, status) if result.HasField("error") else None,
            call_error(message.last_error, status) if message.HasField("last_error") else None,
            message,
            time_of(message, "start_time"),
            dict(message.labels),
            message.schedule or None,
            time_of(message, "scheduled_time"),
            trace_id_of(message.traceparent) or None,
            tuple(map(Attempt.of, message.attempts)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the call as JSON, which `dispatch-grpc get --json` prints.

        The keys are the attributes; `output` is added once the call has a result with one. A
        status is its name, a time ISO 8601. An output of an unknown type appears as its bytes, in
        base64. For protobuf's JSON, pass `message` to `google.protobuf.json_format`.
        """
        found, result = fields_json(self), self.message.result
        if result.HasField("output"):
            found["output"] = output_json(result.output)
        return found

    def __repr__(self) -> str:
        return (
            f"<CallInfo {self.dispatch_id} of {self.function} at {mask_url(self.endpoint)}: "
            f"{self.state}, {self.status.name}>"
        )


def status_of(number: int) -> Status:
    """Return a status of the schema; one of a later version is PERMANENT_ERROR."""
    try:
        return Status(number)
    except ValueError:
        return Status.PERMANENT_ERROR


def call_error(error: "schema.Error", status: Status, output: Any = None) -> CallError:
    """Make the exception of an error in a call's result."""
    return CallError(
        error.message or f"the call has ended with {status.name}",
        type=error.type or status.name,
        status=status,
        traceback=error.traceback.decode(errors="replace"),
        output=output,
    )
