"""Open a connection, through a proxy if there is one."""

import socket
from base64 import b64encode
from http.client import HTTPConnection
from urllib.parse import unquote, urlsplit

from dispatch_grpc.transport.target import Target


def open_socket(target: Target, proxy: str | None, timeout: float | None) -> socket.socket:
    """Open a connection to look at a server's TLS, without TLS.

    Raises:
        OSError: There is no connection, or the proxy refused it.
    """
    if proxy is None:
        return socket.create_connection((target.host, target.port), timeout)
    parts = urlsplit(proxy)
    headers = {}
    if parts.username is not None:
        userinfo = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["proxy-authorization"] = f"Basic {b64encode(userinfo.encode()).decode()}"
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    connection.set_tunnel(target.host, target.port, headers)
    connection.connect()
    sock: socket.socket = connection.sock
    return sock
