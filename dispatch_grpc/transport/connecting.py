"""Open a connection, through a proxy if there is one."""

import socket
from base64 import b64encode
from urllib.parse import unquote, urlsplit

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import UnavailableError
from dispatch_grpc.text import shorten
from dispatch_grpc.transport.target import Target

_MAX_HEADER_BYTES = 65_536


def open_socket(target: Target, proxy: str | None, timeout: float | None) -> socket.socket:
    """Open a connection, through a proxy if there is one, without TLS.

    Raises:
        OSError: There is no connection.
        UnavailableError: The proxy refused, or the name is not known.
    """
    parts = urlsplit(proxy) if proxy else None
    host = (parts and parts.hostname) or target.host
    port = (parts and parts.port) or target.port
    sock = socket.create_connection((host, port), timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts is None:
        return sock
    request = f"CONNECT {target.authority} HTTP/1.1\r\nhost: {target.authority}\r\n"
    if parts.username is not None:
        userinfo = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request += f"proxy-authorization: Basic {b64encode(userinfo.encode()).decode()}\r\n"
    reply = b""
    try:
        sock.sendall(request.encode() + b"\r\n")
        while b"\r\n\r\n" not in reply and len(reply) < _MAX_HEADER_BYTES:
            if not (data := sock.recv(1)):  # no byte of what the tunnel itself carries
                break
            reply += data
    except BaseException:
        sock.close()
        raise
    words = reply.split(b" ", 2)
    if not (reply.startswith(b"HTTP/1.") and len(words) > 1 and words[1].startswith(b"2")):
        sock.close()
        status = words[1].decode("latin-1") if len(words) > 1 else "status missing"
        raise UnavailableError(
            f"the proxy {host}:{port} refused to connect to {target.authority}: "
            f"HTTP {shorten(status, 20)}",
            code=Code.UNAVAILABLE,
        )
    return sock
