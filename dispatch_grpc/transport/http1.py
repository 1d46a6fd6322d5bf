"""HTTP/1.1 for Connect: what the twins `http1_sync` and `http1_async` share.

A connection may have fallen silent without a word (NAT, load balancers, crashed hosts). HTTP/1.1
has no ping to find out. So a request that has no byte of an answer after its `patience` goes out
once more, on a new connection, while the first one goes on; the first answer wins. A slow server
is asked twice at most, and a silent connection costs no more than the patience.
"""

import socket
import ssl
import time
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import ProtocolError, RPCError, UnavailableError
from dispatch_grpc.transport import tls
from dispatch_grpc.transport.connecting import open_socket
from dispatch_grpc.transport.target import Target

_MAX_HEADER_BYTES = 256 * 1024
MAX_IDLE_SECONDS = 30.0  # below the idle timeouts of NAT and load balancers
MAX_IDLE_CONNECTIONS = 100


class ClosedError(ConnectionError):
    """The connection was closed before an answer had begun."""


class Request(NamedTuple):
    """A POST request: its path, the headers with `host` among them, and its body."""

    path: str
    headers: dict[str, str]
    body: bytes

    def data(self) -> bytes:
        """Return the bytes that go over the wire."""
        lines = "".join([f"{key}: {value}\r\n" for key, value in self.headers.items()])
        head = f"POST {self.path} HTTP/1.1\r\n{lines}content-length: {len(self.body)}\r\n\r\n"
        return head.encode("latin-1") + self.body


class Answer:
    """An answer as it arrives."""

    status: int
    body: bytearray
    begun: bool
    complete: bool
    keep_alive: bool

    def __init__(self, max_bytes: int) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.begun = self.complete = False
        self.keep_alive = False
        self._max_bytes = max_bytes
        self._header_bytes = 0
        self._headers_complete = False
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> bool:
        """Take bytes, none at the end of the connection. Returns whether the answer is complete.

        Raises:
            ClosedError: The connection was closed before an answer had begun.
            ConnectionError: It was closed in the middle.
            ProtocolError: The answer is too large.
            UnavailableError: The bytes are not HTTP.
        """
        if not data:
            self._end()
            return True
        self.begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                raise UnavailableError(
                    f"the answer is not HTTP/1.1 ({error})", code=Code.UNAVAILABLE
                ) from error
            self.keep_alive = False
        if not self._headers_complete:
            self._header_bytes += len(data)
        if len(self.body) > self._max_bytes or self._header_bytes > _MAX_HEADER_BYTES:
            raise ProtocolError(
                f"message is larger than configured max {self._max_bytes}", code=Code.INTERNAL
            )
        return self.complete

    def _end(self) -> None:
        if not self.begun:
            raise ClosedError("the server closed the connection without an answer")
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        if framed or not self._headers_complete:
            raise ConnectionError("the connection was closed in the middle of the answer")
        self.complete = True  # the end of the connection is the end of the answer

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """Take note of the status."""
        self.status = self._parser.get_status_code()
        self._headers_complete = True

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        if len(self.body) <= self._max_bytes:
            self.body += data

    def on_message_complete(self) -> None:
        """Take note of the end."""
        if self.status < 200:  # 100 Continue and the like: the answer is still to come
            self.headers.clear()
            self._headers_complete = False
        else:
            self.keep_alive = not self.complete and self._parser.should_keep_alive()
            self.complete = True


class Origin:
    """Where connections go, and what both twins do with their errors."""

    def __init__(
        self, target: Target, proxy: str | None, credentials: tls.TLSCredentials, max_bytes: int
    ) -> None:
        self.target = target
        self.proxy = proxy
        self.context: ssl.SSLContext | None = tls.context_of(credentials) if target.secure else None
        self.max_bytes = max_bytes

    def open(self, timeout: float | None) -> socket.socket:
        """Open a connection without TLS."""
        return open_socket(self.target, self.proxy, timeout)

    def explain(self, error: OSError, timeout: float | None) -> RPCError:
        """Return the error to raise for one of a socket. Connects anew to look at certificates."""
        if isinstance(error, ssl.SSLError):
            return tls.explain(error, lambda: self.open(timeout), self.target.host)
        if self.context is not None and isinstance(
            error, ClosedError | ConnectionResetError | BrokenPipeError
        ):
            found = tls.diagnose(lambda: self.open(timeout), self.target.host, self.context)
            if found is not None:
                return found
        if isinstance(error, socket.gaierror):
            host = urlsplit(self.proxy).hostname if self.proxy else self.target.host
            text = f"the host name {host} cannot be resolved"
        elif isinstance(error, ConnectionRefusedError):
            text = "connection refused"
        else:
            text = error.strerror or str(error) or type(error).__name__
        return UnavailableError(text, code=Code.UNAVAILABLE)


def time_left(deadline: float) -> float | None:
    """Return the seconds until a deadline."""
    if deadline == float("inf"):
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
