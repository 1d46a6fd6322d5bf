"""HTTP/1.1 for threads, over blocking sockets, which signals interrupt."""

import contextlib
import selectors
import socket
import ssl
import time

from dispatch_grpc.errors import RPCError
from dispatch_grpc.transport.http1 import (
    MAX_IDLE_CONNECTIONS,
    MAX_IDLE_SECONDS,
    Answer,
    ClosedError,
    Origin,
    Request,
    time_left,
)


class Connection:
    """A connection for threads; one request at a time."""

    def __init__(self, sock: socket.socket, max_bytes: int) -> None:
        self._sock = sock
        self._max_bytes = max_bytes
        self.answer: Answer = Answer(max_bytes)
        self.idle_since: float = 0.0

    def start(self, data: bytes, deadline: float, patience: float | None) -> None:
        """Send a request; a TimeoutError says that nothing more could be sent."""
        self.answer = Answer(self._max_bytes)
        rest = memoryview(data)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # there may be an answer
            while rest:
                left = time_left(deadline)
                self._sock.settimeout(left if patience is None else min(left or patience, patience))
                rest = rest[self._sock.send(rest) :]

    def finish(self, deadline: float) -> Answer:
        """Read until the answer is complete; a TimeoutError leaves it as far as it has come."""
        while True:
            self._sock.settimeout(time_left(deadline))
            if self.answer.feed(self._sock.recv(65536)):
                return self.answer

    def advance(self) -> bool:
        """Read what has arrived. Returns whether the answer is complete."""
        self._sock.settimeout(0)
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            while not self.answer.feed(self._sock.recv(65536)):
                pass
        return self.answer.complete

    def fileno(self) -> int:
        """Return the number of the socket, for selectors."""
        return self._sock.fileno()

    def is_closed(self) -> bool:
        """Whether an idle connection was closed by the server, or is not in order."""
        self._sock.settimeout(0)
        try:
            self._sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            pass
        return True

    def shut(self) -> None:
        """End the connection, also under a thread that reads from it."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # SSLSocket's own is not for that

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


class HTTPClient:
    """Sends requests over connections that are kept; for threads."""

    def __init__(self, origin: Origin, *, repeat: bool) -> None:
        self._origin = origin
        self._repeat = repeat  # a request whose connection was closed before an answer had begun
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._closed = False

    def send(self, request: Request, deadline: float, patience: float | None) -> Answer:
        """Send a request and return its answer.

        Args:
            request: The request.
            deadline: Time by which the answer must be there.
            patience: Seconds after which a request without an answer is sent once more.

        Raises:
            TimeoutError: The deadline is over.
            OSError: The connection broke.
            RPCError: The answer is not acceptable.
        """
        data = request.data()
        used: list[Connection] = []
        try:
            if (first := self._reuse()) is not None:
                used.append(first)
                try:
                    return self._exchange(used, data, deadline, patience)
                except (ClosedError, ConnectionResetError, BrokenPipeError):
                    if first.answer.begun or not self._repeat:
                        raise
            used.append(self._open(deadline))
            return self._exchange(used, data, deadline, patience)
        finally:
            for connection in used:
                self._busy.discard(connection)
                answer = connection.answer
                if answer.complete and answer.keep_alive and len(self._idle) < MAX_IDLE_CONNECTIONS:
                    connection.idle_since = time.monotonic()
                    self._idle.append(connection)
                else:
                    connection.close()

    def _exchange(
        self, used: list[Connection], data: bytes, deadline: float, patience: float | None
    ) -> Answer:
        first = used[-1]
        try:
            first.start(data, deadline, patience)
            if patience is None:
                return first.finish(deadline)
            return first.finish(min(deadline, time.monotonic() + patience))
        except TimeoutError:
            self._close_idle()  # they may have fallen silent with this one
            if patience is None or time.monotonic() >= deadline:
                raise
        if first.answer.begun:
            return first.finish(deadline)
        try:
            used.append(self._open(deadline))
            used[-1].start(data, deadline, patience)
        except OSError:
            return first.finish(deadline)
        return _first(used[-2:], deadline)

    def _reuse(self) -> Connection | None:
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread was faster
                connection = self._idle.pop()
                late = time.monotonic() - connection.idle_since > MAX_IDLE_SECONDS
                if not late and not connection.is_closed():
                    self._busy.add(connection)
                    return connection
                connection.close()
        return None

    def _open(self, deadline: float) -> Connection:
        if self._closed:
            raise ClosedError("the client is closed")
        sock = self._origin.open(time_left(deadline))
        if self._origin.context is not None:
            sock.settimeout(time_left(deadline))
            sock = self._origin.context.wrap_socket(sock, server_hostname=self._origin.target.host)
        connection = Connection(sock, self._origin.max_bytes)
        self._busy.add(connection)
        return connection

    def _close_idle(self) -> None:
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()

    def close(self) -> None:
        """Close idle connections, and end the others under the threads that use them."""
        self._closed = True
        self._close_idle()
        for connection in list(self._busy):
            connection.shut()


def _first(connections: list[Connection], deadline: float) -> Answer:
    """Return the answer that is complete first."""
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ, connection)
        while True:
            for key, _ in selector.select(time_left(deadline)):
                try:
                    if key.data.advance():
                        answer: Answer = key.data.answer
                        return answer
                except (OSError, RPCError):
                    selector.unregister(key.fileobj)
                    if not selector.get_map():
                        raise
