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
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    connection.set_tunnel(target.host, target.port, proxy_headers(proxy))
    try:
        connection.connect()
    except (OSError, HTTPException) as error:
        connection.close()
        raise OSError(f"the proxy did not open a connection: {error}") from error
    sock: socket.socket = connection.sock
    return sock


def proxy_headers(proxy: str) -> dict[str, str]:
    """Return the headers that a proxy needs: those for the credentials in its URL, if any."""
    userinfo, at, _ = urlsplit(proxy).netloc.rpartition("@")
    if not at:
        return {}
    return {"proxy-authorization": f"Basic {b64encode(unquote(userinfo).encode()).decode()}"}
