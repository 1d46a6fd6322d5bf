"""What a client needs of a protocol: to send one request and get its answer."""

from typing import Any, Literal, Protocol

from google.protobuf.message import Message

from dispatch_grpc.schema import DispatchRequest, DispatchResponse

Metadata = tuple[tuple[str, str], ...]
"""Pairs of lower-case key and value."""

Method = Literal["GetCall", "ListCalls", "WaitCall", "CancelCall"]
"""The methods of CallService."""


class Transport(Protocol):
    """A connection to the API. It raises nothing but what `errors` holds."""

    def send(
        self, request: DispatchRequest, metadata: Metadata, timeout: float | None
    ) -> DispatchResponse:
        """Dispatch calls, in `timeout` seconds with all retries."""
        ...

    def call(
        self, method: Method, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request of CallService, and return its answer, like `send`."""
        ...

    def close(self) -> None:
        """Let go of what the transport opened itself."""
        ...


class AsyncTransport(Protocol):
    """The same by `await`. Cancelling the task cancels the request."""

    async def send(
        self, request: DispatchRequest, metadata: Metadata, timeout: float | None
    ) -> DispatchResponse:
        """Dispatch calls, in `timeout` seconds with all retries."""
        ...

    async def call(
        self, method: Method, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request of CallService, and return its answer, like `send`."""
        ...

    async def close(self) -> None:
        """Let go of what the transport opened itself."""
        ...
