"""Serving a connection by HTTP/2, with uvicorn and zttp."""

from collections.abc import Callable, Iterator
from typing import Any

from dispatch_grpc.errors import missing_extra

try:
    import uvicorn
    import zttp
    from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol
    from uvicorn.server import ServerState
except ImportError as _error:
    raise missing_extra(_error, "serving", "endpoint") from _error

# zttp fails a connection, with the requests under way on it, at its 4,097th request and at the
# 257th that the client gives up. The server retires it before: it asks the client to use another
# one, and answers what is sent until the client has read that. A client has at most 128 requests
# open, so that it begins 256 more at most.
_MAX_REQUESTS, _MAX_RESETS = 3500, 64
_ENOUGH_REQUESTS = 3000  # for a connection that is idle: some clients fail what is under way
_LAST_STREAM = 2**31 - 1  # the highest there is: no request is refused
_LINGER_SECONDS = 1.0


class HTTP2(ZttpH2Protocol):
    """A connection of HTTP/2: uvicorn's, which retires in time, and ends when all is answered.

    Args:
        config: The settings of the server.
        state: The state of the server.
        closed: Called when the connection is closed.
    """

    def __init__(
        self, config: uvicorn.Config, state: ServerState, *, closed: Callable[[], None]
    ) -> None:
        super().__init__(config, state, {})
        self._closed = closed
        self._requests = self._resets = 0
        self._is_retired = self._is_ending = self._is_ended = False

    def shutdown(self) -> None:
        """Close the connection once no request is under way."""
        self._is_ending = True
        self._end_if_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._closed()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if not self._is_ended:
            super().data_received(data)
            self._end_if_idle()  # the end of an answer may have waited for the client

    def events(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield what the client says."""
        for event in super().events():
            if isinstance(event, zttp.GoAway):
                self._is_ending = True  # uvicorn would refuse requests, and cut answers off
            else:
                yield event

    def handle_request(self, event: zttp.Request) -> None:
        """Begin to answer a request."""
        super().handle_request(event)
        if event.end_stream:  # it has no body, and uvicorn would wait for one
            cycle = self.cycles[event.stream_id]
            cycle.more_body = False
            cycle.message_event.set()
        self._requests += 1
        if self._requests >= _MAX_REQUESTS:
            self._retire()

    def handle_rst_stream(self, event: zttp.RstStream) -> None:
        """End a request that the client has given up."""
        super().handle_rst_stream(event)
        self._resets += 1
        if self._resets >= _MAX_RESETS:
            self._retire()

    def on_stream_closed(self) -> None:
        """Go on after a request."""
        super().on_stream_closed()
        if self._requests >= _ENOUGH_REQUESTS and not self.cycles:
            self._retire()
        self._end_if_idle()

    def pause_writing(self) -> None:
        """Read no more from a client that reads nothing: each of its pings has an answer."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """Read from the client again, which has read."""
        super().resume_writing()
        self.resume_reading_if_idle()

    def resume_reading_if_idle(self) -> None:
        """Read on, unless the client has to read first."""
        if not self.flow.write_paused:
            super().resume_reading_if_idle()

    def _retire(self) -> None:
        """Ask the client to use another connection, and answer what it still sends."""
        if not self._is_retired and not self.transport.is_closing():
            self._is_retired = True
            self.conn.close(zttp.H2ErrorCode.NO_ERROR, _LAST_STREAM)
            self.flush()

    def _end_if_idle(self) -> None:
        if (
            self._is_ending
            and not self._is_ended
            and not self.cycles
            and not self.conn.has_pending_send()
            and not self.transport.is_closing()
        ):
            self._is_ended = True
            self.conn.close()
            self.flush()
            # Bytes of the client that nobody reads would make a close a reset, which loses the
            # answers that the client has not read.
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.loop.call_later(_LINGER_SECONDS, self.transport.close)
