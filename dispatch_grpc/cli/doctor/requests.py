"""The requests of the checks, over HTTP/1.1."""

import socket
import ssl
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPMessage
from urllib.parse import urlsplit

from dispatch_grpc.transport import Target

_MOST_BYTES = 64 * 1024


def ask(
    connect: Callable[[], socket.socket],
    target: Target,
    context: ssl.SSLContext | None,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> tuple[int, HTTPMessage, bytes]:
    """GET or POST over HTTP/1.1; return the status, the headers and the first bytes of the body."""
    sock = connect()
    connection = HTTPConnection(target.host, target.port)
    try:
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=target.host)
        connection.sock = sock
        named = {"host": urlsplit(target.url).netloc.rpartition("@")[2], **(headers or {})}
        connection.request("GET" if body is None else "POST", path, body, named)
        response = connection.getresponse()
        return response.status, response.headers, response.read(_MOST_BYTES)
    finally:
        connection.close()
        sock.close()


def serves_tls(connect: Callable[[], socket.socket], host: str) -> bool:
    """Return whether a server takes a TLS handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        context.wrap_socket(connect(), server_hostname=host).close()
    except OSError as error:
        # A server that requires a certificate of the client answers with an alert.
        return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")
    return True
