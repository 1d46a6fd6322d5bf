"""Open a connection, through a proxy if there is one."""

import socket
from base64 import b64encode
from http.client import HTTPConnection, HTTPException
from urllib.parse import unquote, urlsplit

from dispatch_grpc.transport.target import Target


def open_socket(target: Target, proxy: str | None, timeout: float) -> socket.socket:
    """Open a plain TCP connection to a server, for the diagnosis of its TLS.

    Raises:
        OSError: The connection could not be opened, or the proxy refused it.
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
    try:
        connection.connect()
    except (OSError, HTTPException) as error:
        connection.close()
        raise OSError(f"the proxy did not open a connection: {error}") from error
    sock: socket.socket = connection.sock
    return sock
