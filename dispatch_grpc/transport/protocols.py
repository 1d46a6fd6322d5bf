"""What a client needs of a protocol: settings to connect by, and a way to send a request."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from google.protobuf.message import Message

from dispatch_grpc.transport.retry import RetryPolicy
from dispatch_grpc.transport.target import Target
from dispatch_grpc.transport.tls import TLSCredentials

Metadata = tuple[tuple[str, str], ...]
"""Pairs of lower-case key and value."""

CLOSED = "the client was closed while the request was under way"

Method = Literal[
    "Dispatch",
    "Submit",
    "GetCall",
    "ListCalls",
    "WaitCall",
    "CancelCall",
    "CompleteCall",
    "RerunCall",
    "RerunCalls",
    "PurgeCalls",
    "PauseCalls",
    "ResumeCalls",
    "ListPauses",
    "CreateSchedule",
    "GetSchedule",
    "ListSchedules",
    "UpdateSchedule",
    "PauseSchedule",
    "ResumeSchedule",
    "TriggerSchedule",
    "DeleteSchedule",
]
"""The methods of DispatchService, CallService and ScheduleService."""


def path_of(method: Method) -> str:
    """Return the path of a method."""
    service = "calls.v1.ScheduleService" if "Schedule" in method else "calls.v1.CallService"
    return f"/dispatch.{'sdk.v1.DispatchService' if method == 'Dispatch' else service}/{method}"


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How a transport reaches the API.

    Attributes:
        target: Address of the API.
        tls: Certificates for https, with the roots to trust.
        proxy: URL of the HTTP proxy to go through; None for a direct connection.
        retry: When a failed request is sent again.
        timeout: Seconds that a request takes by default; None is no limit.
        max_response_bytes: Largest answer to read.
        user_agent: Name and version of this library.
        json: Whether Connect sends JSON.
        load_balancing: gRPC's policy, by its name; None is its default.
    """

    target: Target
    tls: TLSCredentials
    proxy: str | None
    retry: RetryPolicy | None
    timeout: float | None
    max_response_bytes: int
    user_agent: str
    json: bool
    load_balancing: str | None = None


class Transport(Protocol):
    """A connection to the API. It raises only the exceptions of `dispatch_grpc.errors`."""

    def call(
        self, method: Method, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request, and return its answer, in `timeout` seconds with all retries."""
        ...

    def close(self) -> None:
        """Close what the transport opened itself; requests under way end in an error."""
        ...


class AsyncTransport(Protocol):
    """The same by `await`. Cancelling the task cancels the request."""

    async def call(
        self, method: Method, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request, and return its answer, in `timeout` seconds with all retries."""
        ...

    async def close(self) -> None:
        """Close what the transport opened itself; requests under way end in an error."""
        ...
