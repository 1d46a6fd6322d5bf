"""Serving an ASGI application by hypercorn: HTTP/1.1 and HTTP/2 on one port."""

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

try:
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config
except ImportError as missing:
    raise ImportError("serving needs an extra: pip install 'dispatch-grpc[endpoint]'") from missing

ASGIApplication = Callable[[Any, Any, Any], Any]


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
) -> None:
    """Serve an application until `until` returns; closes the listening socket.

    Args:
        app: The application.
        listener: A socket of `listen`.
        until: Awaited while serving.
        certfile: File of the certificate chain (PEM), to serve `https` instead of `http`.
        keyfile: File of the certificate's key.
        client_ca_file: File of the authorities of which clients must have a certificate.
    """
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = logging.getLogger("dispatch_grpc.server")
    # The default closes a connection after 1000 requests, by which concurrent gRPC calls fail.
    config.keep_alive_max_requests = 2**62
    config.h2_max_concurrent_streams = 1000
    config.graceful_timeout = 5
    if certfile is not None:
        config.certfile, config.keyfile = certfile, keyfile
    if client_ca_file is not None:
        config.ca_certs, config.verify_mode = client_ca_file, ssl.CERT_REQUIRED
    await hypercorn_serve(app, config, shutdown_trigger=until)
