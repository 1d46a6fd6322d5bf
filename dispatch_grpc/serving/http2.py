"""A connection of HTTP/2: uvicorn's, by zttp."""

import asyncio
from collections.abc import Generator
from contextlib import suppress
from typing import Any, cast

from dispatch_grpc.errors import missing_extra

try:
    import zttp
    from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol
except ImportError as _error:
    raise missing_extra(_error, "serving", "endpoint") from _error

# zttp fails a connection, with its requests, at the 4,097th one and at the 257th that the client
# gives up. It is retired before: the client is asked to use another one, and what it sends until it
# has read that is answered. It has at most 128 requests open, and so begins 256 more at most.
_MAX_REQUESTS, _MAX_RESETS = 3500, 64
_ENOUGH_REQUESTS = 3000  # for a connection that is idle: some clients fail what is under way


class HTTP2(ZttpH2Protocol):
    """Retires in time, and ends when all requests are answered."""

    _requests = _resets = 0
    _is_retired = _is_ending = _is_ended = False

    def shutdown(self) -> None:
        """Close the connection once no request is under way."""
        self._is_ending = True
        self._end_if_idle()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        gathering = _Gathering(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", gathering))

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if not self._is_ended:
            super().data_received(data)
            self._end_if_idle()  # the end of an answer may have waited for the client

    def events(self) -> Generator[Any, None, None]:
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
        self._retire(self._requests >= _MAX_REQUESTS)

    def handle_rst_stream(self, event: zttp.RstStream) -> None:
        """End a request that the client has given up."""
        super().handle_rst_stream(event)
        self._resets += 1
        self._retire(self._resets >= _MAX_RESETS)

    def on_stream_closed(self) -> None:
        """Go on after a request."""
        super().on_stream_closed()
        self._retire(self._requests >= _ENOUGH_REQUESTS and not self.cycles)
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

    def _retire(self, is_due: bool) -> None:
        """Ask the client to use another connection, and answer what it still sends."""
        if is_due and not self._is_retired and not self.transport.is_closing():
            self._is_retired = True
            self.conn.close(0, 2**31 - 1)  # no error, and no request is refused
            self.flush()

    def _end_if_idle(self) -> None:
        is_busy = self.cycles or self.conn.has_pending_send() or self.transport.is_closing()
        if self._is_ending and not self._is_ended and not is_busy:
            self._is_ended = True
            self.conn.close()
            self.flush()
            # Bytes of the client that nobody reads would make a close a reset, which loses the
            # answers that the client has not read.
            with suppress(OSError, NotImplementedError):  # the client is gone; not by TLS
                self.transport.write_eof()
            self.loop.call_later(1, self.transport.close)


class _Gathering:
    """A transport that sends together what is written in one turn of the loop: it costs less."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)
        if len(data) > 16_384 or len(self._parts) > 100:
            self._send()  # it may have to tell the writer to pause

    def write_eof(self) -> None:
        self._send()
        self._transport.write_eof()

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
