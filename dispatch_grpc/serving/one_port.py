"""Serving an ASGI application: HTTP/1.1 and HTTP/2, and so Connect and gRPC, on one port.

uvicorn serves both. The first bytes of a connection tell the version: HTTP/2 is in `http2`.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from email.utils import formatdate
from typing import Any, cast

from dispatch_grpc.errors import missing_extra

try:
    import httptools
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.server import ServerState
except ImportError as _error:
    raise missing_extra(_error, "serving", "endpoint") from _error

from dispatch_grpc.log import logger
from dispatch_grpc.serving import ASGIApplication
from dispatch_grpc.serving.certificate import Certificate
from dispatch_grpc.serving.http2 import HTTP2

_MAX_HEAD_BYTES = 64 * 1024
_HEAD_SECONDS = 10.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # how HTTP/2 begins: RFC 9113, section 3.4


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run the coroutine of a server, with uvloop if it is installed: it is faster."""
    loop: asyncio.AbstractEventLoop
    try:
        import uvloop

        loop = uvloop.new_event_loop()
    except ImportError:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main)
        # asyncio.Runner would wait forever for tasks that ignore their cancellation.
        if tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=1))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def serve(
    app: ASGIApplication,
    listener: socket.socket,
    *,
    until: Callable[[], Awaitable[Any]],
    certfile: str | None = None,
    keyfile: str | None = None,
    client_ca_file: str | None = None,
    certificate: Certificate | None = None,
    graceful_seconds: float = 5,
    max_connections: int | None = None,
) -> None:
    """Serve an application until `until` returns; closes the listening socket.

    Args:
        app: The application.
        listener: A socket of `listen`.
        until: Awaited while serving.
        certfile: File of the certificate chain (PEM), to serve `https` instead of `http`.
        keyfile: File of the certificate's key.
        client_ca_file: File of the authorities that must have issued the certificates of clients.
        certificate: Certificate to serve `https` with, instead of the three.
        max_connections: Largest number of open connections; more are closed immediately. None
            means half of the file descriptors that the process may open: the application
            needs the others for its own connections.
        graceful_seconds: Time for requests under way to finish, and for clients to read the
            answers.
    """
    config = _Settings(
        app,
        max_connections or _most_connections(),
        http=_Connection,
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
    )
    try:
        if certificate is None and certfile is not None:
            certificate = Certificate(certfile, keyfile, client_ca_file)
        await _serve(config, listener, until, certificate, graceful_seconds)
    finally:
        listener.close()


async def _serve(
    config: "_Settings",
    listener: socket.socket,
    until: Callable[[], Awaitable[Any]],
    certificate: Certificate | None,
    graceful_seconds: float,
) -> None:
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(config, state, {}),
        sock=listener,
        ssl=None if certificate is None else certificate.context,
        ssl_handshake_timeout=None if certificate is None else _HEAD_SECONDS,
        ssl_shutdown_timeout=None if certificate is None else 1,
        backlog=1024,
    )
    background = [asyncio.create_task(_keep_time(state))]
    if certificate is not None:
        background.append(asyncio.create_task(certificate.watch()))
    try:
        await until()
    finally:
        for task in background:
            task.cancel()
        config.is_ending = True
        # asyncio loses a connection that is between being accepted and being made when the
        # server closes: accept none, and let those be made, which closes them.
        with suppress(NotImplementedError):  # on Windows
            asyncio.get_running_loop().remove_reader(listener)
        for _ in range(3):
            await asyncio.sleep(0)
        server.close()
        for connection in list(state.connections):
            connection.shutdown()  # at once if it is idle, else after its answer
        await _finish(state, graceful_seconds)


def _most_connections() -> int:
    try:
        import resource
    except ImportError:  # on Windows
        return 2**31
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if most == resource.RLIM_INFINITY else max(most // 2, 1)


async def _keep_time(state: ServerState) -> None:
    """Keep the Date header of answers current (RFC 9110, section 6.6.1)."""
    while True:
        state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        await asyncio.sleep(1)


async def _finish(state: ServerState, seconds: float) -> None:
    """Wait until the requests under way are answered, and end those that take longer."""

    async def ended(seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # Also the connections: an answer may be sent long after its task has ended, and a
                # request that waits for another one of its connection has no task yet.
                while state.tasks or state.connections:
                    await asyncio.sleep(0.01)

    await ended(seconds)
    if state.tasks:
        logger.warning("not all requests were answered within %g s: they are cancelled", seconds)
    for connection in list(state.connections):
        connection.transport.abort()
    await asyncio.sleep(0)  # let the applications notice that their clients are gone
    for task in state.tasks:
        task.cancel()
    await ended(1)


class _Settings(uvicorn.Config):
    """The settings of uvicorn, and of this server."""

    def __init__(self, app: ASGIApplication, max_connections: int, **settings: Any) -> None:
        async def cancellable(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["http_version"] == "1.0":
                send = _Whole(send)
            with suppress(asyncio.CancelledError):  # which uvicorn would log as an error
                await app(scope, receive, send)

        super().__init__(cancellable, **settings)
        self.max_connections = max_connections
        self.is_ending = self._is_full = False

    def has_room(self, number: int) -> bool:
        """Return whether another connection may stay open, beside so many."""
        was_full, self._is_full = self._is_full, number >= self.max_connections
        if self._is_full and not was_full:
            logger.warning(
                "the limit of %d connections is reached: further ones are closed immediately",
                self.max_connections,
            )
        return not self._is_full


class _Whole:
    """Sends an answer in one piece, of known length: HTTP/1.0 has no chunks."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self._start: dict[str, Any] = {}
        self._body = bytearray()

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        headers = [pair for pair in self._start["headers"] if pair[0] != b"content-length"]
        headers.append((b"content-length", b"%d" % len(self._body)))
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": bytes(self._body)})


class _Connection(HttpToolsProtocol):
    """A connection of HTTP/1.1; it becomes one of HTTP/2 if its first bytes are the preface."""

    config: _Settings
    _received: bytes | None = b""
    _unparsed = 0  # bytes since the end of the last head or body
    _head_timer: asyncio.TimerHandle | None = None
    _is_in_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        has_room = self.config.has_room(len(self.connections))
        # asyncio does this only for sockets with an explicit protocol number.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(cast("asyncio.Transport", transport))
        if not has_room:
            self.transport.abort()
        elif self.config.is_ending:
            self.shutdown()
        else:
            self._await_head()

    def _await_head(self) -> None:
        """Close the connection unless the head of a request is complete in time."""
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._end_headless)

    def _end_headless(self) -> None:
        self._head_timer = None
        self.transport.abort()

    def _have_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._have_head()

    def data_received(self, data: bytes) -> None:
        if self._received is not None:
            data = self._received + data
            if _PREFACE.startswith(data[: len(_PREFACE)]):
                self._received = data
                if len(data) >= len(_PREFACE):
                    self._switch(data)
                return
            self._received = None
        self._unset_keepalive_if_required()
        before, self._unparsed = self._unparsed, self._unparsed + len(data)
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("The request is not valid HTTP.")
        else:
            if self._unparsed > before > _MAX_HEAD_BYTES:
                self.send_400_response("The head of the request is too large.")
            elif self._unparsed and not self._is_in_body:
                self._await_head()

    def _parse(self, data: bytes) -> bytes:
        """Parse bytes; return those to parse again after an upgrade was removed, else none."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._without_upgrade() + data[upgrade.args[0] :]
        return b""

    def on_headers_complete(self) -> None:
        self._unparsed = 0
        self._have_head()
        self._is_in_body = True
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_in_body = False
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _without_upgrade(self) -> bytes:
        """Return the head of a request without its wish to upgrade the protocol.

        A server may ignore the wish (RFC 9110, section 7.8), but the parser cannot: it treats the
        body as data of the other protocol. Java's client asks for HTTP/2 by default.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":  # always an upgrade
            raise httptools.HttpParserError
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(t for t in tokens if t.lower() != b"upgrade")  # noqa: PLW2901
            if name != b"upgrade":
                lines.append(b"%s: %s" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join([*lines, b"", b""])

    def _switch(self, data: bytes) -> None:
        """Go on by HTTP/2."""
        self._have_head()
        self.connections.discard(self)
        protocol = HTTP2(self.config, self.server_state, {})
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.data_received(data)
