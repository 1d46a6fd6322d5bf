"""An HTTP/1.1 client for calling endpoints.

The service needs three things that general clients do not offer. It must know whether a connection
was reused: when it closes before the first byte of the answer, the request is sent again. It must
connect to the very address that it has checked, since a name may lead elsewhere the next time. And
it bounds an answer also after decompression.
"""

import asyncio
import base64
import ipaddress
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import httptools

from dispatch_grpc.text import quoted

# Servers close connections that are idle: uvicorn after 5 s, load balancers after a minute. Others
# lose them without a word. A new connection costs less than the failures of a stale one.
_IDLE_SECONDS = 4.0
_MAX_IDLE_PER_HOST = 64
_MAX_HEAD_BYTES = 64 * 1024
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}


class ProtocolError(Exception):
    """The answer is not HTTP."""


class ClosedError(ConnectionError):
    """The connection closed before the answer was complete."""


class ConnectTimeoutError(TimeoutError):
    """No connection was established in time."""


class TooLargeError(Exception):
    """The answer is larger than the limit."""


class CodingError(Exception):
    """The answer is compressed in a way that cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a URL that a request needs.

    Attributes:
        scheme: `http` or `https`.
        host: Host name in ASCII, or an address.
        port: Port.
        head: The lines of a request's head that follow from the URL.
    """

    scheme: str
    host: str
    port: int
    head: bytes

    @property
    def key(self) -> tuple[str, str, int]:
        """What connections are shared by."""
        return self.scheme, self.host, self.port


@lru_cache(maxsize=1024)
def target_of(url: str) -> Target:
    """Parse a URL.

    Raises:
        ValueError: The URL cannot be called.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode()
    default = 443 if parts.scheme == "https" else 80
    port = parts.port or default
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == default else f"{shown}:{port}"
    lines = [f"POST {parts.path or '/'} HTTP/1.1", f"host: {authority}"]
    if parts.username is not None:
        userinfo = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"authorization: Basic {base64.b64encode(userinfo.encode()).decode()}")
    head = "\r\n".join([*lines, ""])
    if any(ord(character) <= 32 for line in lines for character in line.replace(" ", "")):
        raise ValueError("a control character in the URL")
    return Target(parts.scheme, host, port, head.encode("ascii"))


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    Attributes:
        status: HTTP status.
        headers: Headers by lower-case name; of several with one name, the last.
        body: Body, decompressed.
    """

    status: int
    headers: dict[str, str]
    body: bytes


async def nothing() -> None:
    """Do nothing."""


class Client:
    """Posts requests, and keeps connections for the next ones.

    Args:
        check: Raises an `OSError` for an address that must not be connected to.
        max_response_bytes: Largest answer to read.
        connect_seconds: Time for resolving a name, connecting and TLS.
    """

    def __init__(
        self,
        *,
        check: Callable[[str, str], None],
        max_response_bytes: int,
        connect_seconds: float,
    ) -> None:
        self._check = check
        self._limit = max_response_bytes
        self._connect_seconds = connect_seconds
        self._idle: dict[tuple[str, str, int], list[_Connection]] = {}
        self._lookups: dict[tuple[str, int], asyncio.Task[Sequence[str]]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None

    async def post(
        self,
        target: Target,
        headers: dict[str, str],
        body: bytes,
        before_sending: Callable[[], Awaitable[None]] = nothing,
    ) -> Response:
        """Post a request.

        Args:
            target: Where to.
            headers: The headers that do not follow from the target.
            body: The body.
            before_sending: Awaited once, when there is a connection to send the request by.

        Raises:
            socket.gaierror: The host is not known.
            ssl.SSLError: TLS failed; `SSLCertVerificationError` for the certificate.
            ConnectTimeoutError: No connection was established in time.
            ClosedError: The connection closed before the answer was complete.
            ProtocolError: The answer is not HTTP.
            TooLargeError: The answer is larger than the limit.
            CodingError: The answer cannot be decompressed.
            OSError: The connection failed, or its address is refused.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        data = b"%b%bcontent-length: %d\r\n\r\n%b" % (target.head, lines.encode(), len(body), body)
        kept = self._take(target)
        connection = kept or await self._connect(target)
        try:
            await before_sending()
        except BaseException:
            connection.abort()
            raise
        try:
            return await self._exchange(target, connection, data)
        except ClosedError:
            # It closed as the request went out: the endpoint most likely never saw it. This is no
            # failure of the endpoint. On a new connection it would be one.
            if kept is None or kept.answered:
                raise
        return await self._exchange(target, await self._connect(target), data)

    async def close(self) -> None:
        """Close the connections that are idle."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()

    async def peer_certificate(self, target: Target) -> bytes | None:
        """Return the certificate that a host shows (DER), trusted or not, to say why it is not."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            connection = await self._connect(target, context)
        except OSError:
            return None
        try:
            found = connection.transport.get_extra_info("ssl_object")
            return None if found is None else found.getpeercert(binary_form=True)
        finally:
            connection.abort()

    # Connections

    def _take(self, target: Target) -> "_Connection | None":
        """A connection that was used a moment ago, the last one first."""
        connections = self._idle.get(target.key)
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while connections:
            connection = connections.pop()
            if not connection.is_closed and connection.idle_since >= oldest:
                return connection
            connection.abort()
        return None

    async def _exchange(self, target: Target, connection: "_Connection", data: bytes) -> Response:
        response = await connection.exchange(data)
        if not connection.is_closed:
            connections = self._idle.setdefault(target.key, [])
            if len(connections) >= _MAX_IDLE_PER_HOST:
                connections.pop(0).abort()
            loop = asyncio.get_running_loop()
            connection.idle_since = loop.time()
            connections.append(connection)
            if self._sweeper is None:
                self._sweeper = loop.call_later(1, self._sweep)
        return response

    def _sweep(self) -> None:
        """Close the connections that are idle for too long."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - _IDLE_SECONDS
        for key, connections in list(self._idle.items()):
            kept = []
            for connection in connections:
                if connection.is_closed or connection.idle_since < oldest:
                    connection.abort()
                else:
                    kept.append(connection)
            if kept:
                connections[:] = kept
            else:
                del self._idle[key]
        self._sweeper = loop.call_later(1, self._sweep) if self._idle else None

    async def _connect(
        self, target: Target, context: ssl.SSLContext | None = None
    ) -> "_Connection":
        if target.scheme == "https" and context is None:
            context = self._tls = self._tls or _tls_context()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._connect_seconds
        errors: list[OSError] = []
        try:
            async with asyncio.timeout_at(end):
                addresses = await self._resolve(target)
        except TimeoutError as error:
            raise ConnectTimeoutError("the name was not resolved in time") from error
        for address in addresses:
            self._check(target.host, address)
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            # Each address has its share of the time: one that is silent must not take it all.
            share = (end - loop.time()) / left
            try:
                async with asyncio.timeout(share):
                    _, connection = await loop.create_connection(
                        lambda: _Connection(loop, self._limit),
                        address,
                        target.port,
                        ssl=context,
                        server_hostname=target.host if context else None,
                        ssl_shutdown_timeout=1 if context else None,
                    )
            except TimeoutError as error:
                errors.append(ConnectTimeoutError("no connection in time"))
                errors[-1].__cause__ = error
            except OSError as error:  # ssl.SSLError is one
                errors.append(error)
            else:
                return connection
        raise max(errors, key=_says)

    async def _resolve(self, target: Target) -> Sequence[str]:
        try:
            ipaddress.ip_address(target.host)
        except ValueError:
            pass
        else:
            return [target.host]
        key = target.host, target.port
        lookup = self._lookups.get(key)
        if lookup is None:
            # Shared by all that wait for it: a name server that is silent takes one thread.
            lookup = self._lookups[key] = asyncio.create_task(_lookup(*key))
            lookup.add_done_callback(lambda _: self._lookups.pop(key, None))
            lookup.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(lookup)


async def _lookup(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _says(error: OSError) -> int:
    """How much an error says: of several addresses, the one that says most is told."""
    order = (ssl.SSLCertVerificationError, ssl.SSLError, ConnectTimeoutError, OSError)
    return -next(index for index, kind in enumerate(order) if isinstance(error, kind))


class _Connection(asyncio.Protocol):
    """A connection to an endpoint: one request and its answer at a time."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self._loop = loop
        self._limit = limit
        self._parser: Any = httptools.HttpResponseParser(self)
        self._future: asyncio.Future[Response] | None = None
        self._error: Exception | None = None
        self.is_closed = False
        self.answered = False  # whether a byte of this answer has come
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._head_size = 0

    async def exchange(self, data: bytes) -> Response:
        """Send a request, and return its answer."""
        if self._error is not None:
            raise self._error
        if self.is_closed:
            raise ClosedError("the connection closed before the request was sent")
        self.answered = False
        self._begin()
        self._future = self._loop.create_future()
        self.transport.write(data)
        try:
            return await self._future
        except BaseException:  # also when nobody waits any more: the endpoint sees the close
            self.abort()
            raise
        finally:
            self._future = None

    def abort(self) -> None:
        """Close the connection at once."""
        self.is_closed = True
        self.transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        opened = transport.get_extra_info("socket")
        with suppress(OSError):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A host that has crashed, or a NAT that has forgotten, is found out by this.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE.items():
                if hasattr(socket, name):
                    opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def data_received(self, data: bytes) -> None:
        if self._future is None or self._future.done():
            self._error = ProtocolError("it sends bytes before a request")
            self.abort()
            return
        self.answered = True
        self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(ProtocolError("it switches to another protocol"))
        except httptools.HttpParserError as error:
            self._fail(ProtocolError(str(error) or type(error).__name__))
        if not self._status and self._head_size > _MAX_HEAD_BYTES:
            self._fail(ProtocolError("the head of its answer is too large"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        if self._future is None or self._future.done():
            return
        delimited = {"content-length", "transfer-encoding"} & self._headers.keys()
        if self._status and not delimited and exc is None:
            self._finish()  # the end of the connection is the end of the body
        else:
            text = "the connection closed before the answer was complete"
            if not self.answered:
                text = "the connection closed without an answer"
            self._fail(ClosedError(text))

    # What the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the status."""
        status = self._parser.get_status_code()
        if status < 200:  # only the final answer counts
            self._headers.clear()
            return
        self._status = status
        length = self._headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._limit:
            self._fail(TooLargeError())

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._size += len(body)
        if self._size > self._limit:
            self._fail(TooLargeError())
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand over the answer."""
        if self._status:
            # While a part of the request is still to be sent, the next one cannot follow.
            if not self._parser.should_keep_alive() or self.transport.get_write_buffer_size():
                self.is_closed = True
            self._finish()
            if self.is_closed:
                self.transport.close()

    def _finish(self) -> None:
        if self._future is None or self._future.done():
            return
        try:
            body = _decoded(
                b"".join(self._body), self._headers.get("content-encoding", ""), self._limit
            )
        except (TooLargeError, CodingError) as error:
            self._future.set_exception(error)
        else:
            self._future.set_result(Response(self._status, self._headers, body))

    def _fail(self, error: Exception) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_exception(error)
        self.is_closed = True
        self.transport.abort()


def _decoded(body: bytes, coding: str, limit: int) -> bytes:
    """Decompress a body, which proxies compress without being asked."""
    coding = coding.strip().lower()
    if coding in {"", "identity"} or not body:
        return body
    if coding not in {"gzip", "x-gzip"}:
        raise CodingError(f"its content-encoding is {quoted(coding)}; only gzip can be decoded")
    found = b""
    while body:
        decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            found += decoder.decompress(body, limit + 1 - len(found))
        except zlib.error as error:
            raise CodingError(f"its gzip content is malformed: {error}") from error
        if len(found) > limit:
            raise TooLargeError
        if not decoder.eof:
            raise CodingError("its gzip content is incomplete")
        body = decoder.unused_data
    return found
