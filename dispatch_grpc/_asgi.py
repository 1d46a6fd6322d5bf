"""Serving an ASGI application: HTTP/1.1 and HTTP/2, and so Connect and gRPC, on one port.

Each connection is told by its first bytes: HTTP/1.1 is served by uvicorn, which is the faster by
far, HTTP/2 by hypercorn, which has what gRPC needs of it.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

try:
    import uvicorn
    from hypercorn.app_wrappers import ASGIWrapper
    from hypercorn.asyncio.tcp_server import TCPServer
    from hypercorn.asyncio.worker_context import WorkerContext
    from hypercorn.config import Config
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.server import ServerState
except ImportError as missing:
    raise ImportError("serving needs an extra: pip install 'dispatch-grpc[endpoint]'") from missing

ASGIApplication = Callable[[Any, Any, Any], Any]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # how HTTP/2 begins: RFC 9113, section 3.4


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Open a listening socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


async def serve(
    app: ASGIApplication,
    listener: socket.socket,
    *,
    until: Callable[[], Awaitable[Any]],
    certfile: str | None = None,
    keyfile: str | None = None,
    client_ca_file: str | None = None,
    graceful_seconds: float = 5,
) -> None:
    """Serve an application until `until` returns; closes the listening socket.

    Args:
        app: The application.
        listener: A socket of `listen`.
        until: Awaited while serving.
        certfile: File of the certificate chain (PEM), to serve `https` instead of `http`.
        keyfile: File of the certificate's key.
        client_ca_file: File of the authorities of which clients must have a certificate.
        graceful_seconds: How long requests that are under way at the end may take to finish.
    """
    config = _Settings(
        app,
        http=_Connection,
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
        ssl_ca_certs=client_ca_file,
        ssl_cert_reqs=ssl.CERT_NONE if client_ca_file is None else ssl.CERT_REQUIRED,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.set_alpn_protocols(["h2", "http/1.1"])
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(config, state, {}),
        sock=listener,
        ssl=config.ssl,
        ssl_shutdown_timeout=None if config.ssl is None else 1,
        backlog=1024,
    )
    clock = asyncio.create_task(_keep_time(state))
    try:
        await until()
    finally:
        clock.cancel()
        server.close()
        await config.context.terminated.set()
        for connection in list(state.connections):
            connection.shutdown()  # at once if it is idle, else after its answer
        await _finish(config, state, graceful_seconds)


async def _keep_time(state: ServerState) -> None:
    """Keep the Date header of answers current (RFC 9110, section 6.6.1)."""
    while True:
        state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        await asyncio.sleep(1)


async def _finish(config: "_Settings", state: ServerState, seconds: float) -> None:
    """Wait for the requests under way, end those that take longer, close the connections."""
    if state.tasks:
        await asyncio.wait(state.tasks, timeout=seconds)
    for task in state.tasks:
        task.cancel()
    connections = list(config.connections)
    for connection in connections:
        connection.transport.abort()
    if closing := [*state.tasks, *(connection.closed for connection in connections)]:
        await asyncio.wait(closing, timeout=1)


class _Settings(uvicorn.Config):
    """The settings of uvicorn and, beside them, those of hypercorn."""

    def __init__(self, app: ASGIApplication, **settings: Any) -> None:
        super().__init__(app, **settings)
        self.hypercorn_app = ASGIWrapper(app)
        self.context = WorkerContext(None)
        self.connections: set[_Connection] = set()  # also those that hypercorn serves
        self.hypercorn = Config()
        self.hypercorn.errorlog = logging.getLogger("dispatch_grpc.server")
        # The default closes a connection after 1000 requests, by which concurrent gRPC calls fail.
        self.hypercorn.keep_alive_max_requests = 2**62
        self.hypercorn.h2_max_concurrent_streams = 1000


class _Connection(HttpToolsProtocol):
    """A connection of HTTP/1.1, until its first bytes say otherwise."""

    config: _Settings
    _received: bytes | None = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.closed = self.loop.create_future()
        self.config.connections.add(self)
        # asyncio itself does it only for sockets that name their protocol, which ours do not.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._closed()

    def _closed(self) -> None:
        self.config.connections.discard(self)
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._received is not None:
            data = self._received + data
            if _PREFACE.startswith(data[: len(_PREFACE)]):
                self._received = data
                if len(data) >= len(_PREFACE):
                    self._switch(data)
                return
            self._received = None
        super().data_received(data)

    def _switch(self, data: bytes) -> None:
        """Hand the connection to hypercorn."""
        self.connections.discard(self)
        reader = asyncio.StreamReader(loop=self.loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self.loop)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        writer = asyncio.StreamWriter(self.transport, protocol, reader, self.loop)
        config = self.config
        server = TCPServer(
            config.hypercorn_app, self.loop, config.hypercorn, config.context, {}, reader, writer
        )
        protocol.data_received(data)
        task = self.loop.create_task(server.run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        task.add_done_callback(lambda _: self._closed())
