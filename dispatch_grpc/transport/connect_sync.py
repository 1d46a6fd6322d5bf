"""Connect for threads, by urllib3: blocking sockets, so that signals interrupt a request."""

import contextlib
import http.client
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from io import BufferedReader, BytesIO, RawIOBase
from typing import Any
from weakref import WeakSet

from google.protobuf.message import Message

from dispatch_grpc.errors import missing_extra

try:
    import urllib3
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.exceptions import HTTPError
except ImportError as _error:
    raise missing_extra(_error, "the Connect protocol", "connect") from _error

from dispatch_grpc.text import shorten
from dispatch_grpc.transport import tls
from dispatch_grpc.transport.connect import (
    CHUNK_BYTES,
    MAX_IDLE_CONNECTIONS,
    MAX_IDLE_SECONDS,
    Answer,
    BrokenError,
    ClosedError,
    Connect,
    ConnectMethod,
    Exchange,
)
from dispatch_grpc.transport.connecting import proxy_headers
from dispatch_grpc.transport.protocols import ConnectionSettings, Metadata
from dispatch_grpc.transport.retry import sender


class _Body(BytesIO):
    """The body of a request, which goes out in pieces until the deadline."""

    def __init__(self, data: bytes, exchange: Exchange) -> None:
        super().__init__(data)
        self._exchange = exchange

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next piece."""
        self._exchange.seconds()
        return super().read(size)


class _Incoming(RawIOBase):
    """What a connection receives: each piece is waited for in the time of its exchange.

    The timeout of a socket alone would begin anew with each byte.
    """

    def __init__(self, raw: Any, sock: socket.socket, exchange: Exchange) -> None:
        self._raw, self._sock, self._exchange = raw, sock, exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._exchange.seconds())
        size: int | None = self._raw.readinto(buffer)
        self._exchange.sent = 0
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer, read in the time of its exchange."""

    def __init__(self, exchange: Exchange, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self.fp = BufferedReader(_Incoming(self.fp.detach(), sock, exchange))


class ConnectTransport(Connect):
    """Sends requests by HTTP POST, each over a connection of a pool."""

    def __init__(self, settings: ConnectionSettings) -> None:
        super().__init__(settings, sender)
        self._local = threading.local()  # the exchange of each thread
        self._open: WeakSet[HTTPConnection] = WeakSet()
        self._lock = threading.Lock()  # of `_open`
        # A proxy that forwards needs the whole URL, a server the path alone (RFC 9112, 3.2).
        self._is_forwarded = settings.proxy is not None and not settings.target.secure
        self._used_at = time.monotonic()
        self._pool = self._new_pool()

    def _attempt(
        self, method: ConnectMethod, message: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        headers, body = method.request(message, metadata, timeout)
        exchange = method.exchange(timeout)
        if time.monotonic() - self._used_at > MAX_IDLE_SECONDS:
            self._renew(self._pool)
        while True:
            pool = self._pool
            try:
                url = method.url if self._is_forwarded else method.path
                answer = self._post(pool, url, headers, body, exchange)
                break
            except (HTTPError, TimeoutError) as error:
                self._renew(pool)  # its other connections are probably broken, too
                cause = self._cause(error)
                if not self._is_sent_again(cause, exchange):
                    raise self._failure(cause, exchange.deadline) from error
            exchange = exchange.again()
        return method.message(answer, exchange)

    def _post(
        self, pool: Any, url: str, headers: dict[str, str], body: bytes, exchange: Exchange
    ) -> Answer:
        self._local.exchange = exchange
        limits = urllib3.Timeout(total=exchange.left(), connect=exchange.seconds())
        exchange.sent = len(body)
        response = pool.urlopen(
            "POST",
            url,
            _Body(body, exchange),
            {**headers, "content-length": str(len(body))},
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=limits,
            preload_content=False,
            decode_content=False,
        )
        exchange.begun = True
        whole = bytearray()
        try:
            while data := response.read1(CHUNK_BYTES):
                self._read(whole, data)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        self._used_at = time.monotonic()
        return Answer(response.status, response.headers, bytes(whole))

    def _new_pool(self) -> Any:
        target, proxy = self._settings.target, self._settings.proxy
        options: dict[str, Any] = {"maxsize": MAX_IDLE_CONNECTIONS}
        if self._context is not None:
            options["ssl_context"] = self._context
        if proxy is None:
            manager = urllib3.PoolManager(**options)
        else:
            headers = proxy_headers(proxy)
            manager = urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
        pool = manager.connection_from_url(target.url)
        pool.ConnectionCls = _connection_class(
            HTTPSConnection if target.secure else HTTPConnection, self._local, self._connect
        )
        return pool

    def _renew(self, pool: Any) -> None:
        if self._pool is pool:
            self._pool = self._new_pool()  # the old one closes its connections when unused

    def _connect(self, connection: HTTPConnection, connect: Callable[[], None]) -> None:
        """Connect in another thread: the lookup of a name has no timeout."""
        exchange = self._local.exchange
        exchange.reused = False
        done: Future[None] = Future()

        def run() -> None:
            self._local.exchange = exchange  # for the answer of a proxy
            try:
                connect()
                done.set_result(None)
            except BaseException as error:  # noqa: BLE001 (raised below)
                done.set_exception(error)

        threading.Thread(target=run, name="dispatch-connect", daemon=True).start()
        try:
            done.result(exchange.seconds())
            with self._lock:
                self._open.add(connection)
            if self._closed:
                raise ClosedError
        except BaseException:
            done.add_done_callback(lambda _: connection.close())
            raise

    def _cause(self, error: BaseException) -> OSError:
        """Return the error of a socket that made urllib3 fail."""
        inner: BaseException | None = error
        while isinstance(inner, HTTPError):
            error = inner
            inner = error.__cause__ or next(
                (a for a in error.args if isinstance(a, Exception)), None
            )
        error = inner or error
        if isinstance(error, http.client.RemoteDisconnected) or tls.is_end(error):
            return ClosedError()
        if isinstance(error, http.client.IncompleteRead):
            return BrokenError()
        if not isinstance(error, OSError):
            return OSError(f"the answer is not HTTP/1.1 ({shorten(str(error))})")
        found = re.match(r"Tunnel connection failed: (.*)", str(error))
        return self._refused(found[1].strip()) if found else error

    def close(self) -> None:
        """Close the connections; requests under way end in a ClientStateError."""
        self._closed = True
        self._pool.close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                if (sock := connection.sock) is not None:
                    socket.socket.shutdown(
                        sock, socket.SHUT_RDWR
                    )  # SSLSocket's would send close_notify


def _connection_class(
    base: Any, local: Any, connect: Callable[[Any, Callable[[], None]], None]
) -> Any:
    class Connection(base):  # type: ignore[misc]  # the base is known at run time
        def connect(self) -> None:
            connect(self, super().connect)

        @property
        def response_class(self) -> Any:
            return partial(_Response, local.exchange)

    return Connection
