"""Sockets that listen on a port, which others may share."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from dispatch_grpc.errors import ConfigurationError


def listen(host: str = "127.0.0.1", port: int = 0, *, share: bool = False) -> socket.socket:
    """Open a listening socket; port 0 chooses a free port.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        share: Whether other sockets of the same user may listen on the port, too; for Linux.

    Raises:
        ConfigurationError: It is not possible to listen on the address.
    """
    with _explained(host, port):
        return socket.create_server(
            (host, port), family=_family(host), backlog=1024, reuse_port=share
        )


@contextmanager
def reserve(host: str, port: int) -> Iterator[socket.socket]:
    """Hold a port for sockets that share it, until the end of the block; 0 chooses a free one.

    Raises:
        ConfigurationError: Another socket listens on the port, or it cannot be used.
    """
    with listen(host, port) as alone:  # fails when others have it, whether they share it or not
        port = alone.getsockname()[1]
    with socket.socket(_family(host)) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with _explained(host, port):
            held.bind((host, port))
        yield held


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@contextmanager
def _explained(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Python appends the address.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise ConfigurationError(f"cannot listen on {host}:{port}: {reason}") from error
