"""What a client needs of a protocol: to send one request and get its answer."""

from typing import Protocol

from dispatch_grpc._proto import DispatchRequest, DispatchResponse

Metadata = tuple[tuple[str, str], ...]
"""Pairs of lower-case key and value."""


class Transport(Protocol):
    """A connection to the API. `send` raises nothing but what `errors` holds."""

    def send(
        self, request: DispatchRequest, metadata: Metadata, timeout: float | None
    ) -> DispatchResponse:
        """Send a request, in `timeout` seconds with all its retries."""
        ...

    def close(self) -> None:
        """Let go of what the transport opened itself."""
        ...


class AsyncTransport(Protocol):
    """The same by `await`. Cancelling the task cancels the request."""

    async def send(
        self, request: DispatchRequest, metadata: Metadata, timeout: float | None
    ) -> DispatchResponse:
        """Send a request, in `timeout` seconds with all its retries."""
        ...

    async def close(self) -> None:
        """Let go of what the transport opened itself."""
        ...
