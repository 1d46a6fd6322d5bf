"""Servers that are no good: what a client meets when the URL, the proxy or the service is wrong."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dispatch_grpc.testing import serve_app

App = Callable[[Any, Any, Any], Any]


def app(answer: Callable[[Any, bool], Any]) -> App:
    """An ASGI application that reads the request and then does `await answer(send, is_grpc)`."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        while (await receive()).get("more_body"):
            pass
        headers = dict(scope["headers"])
        await answer(send, headers[b"content-type"].startswith(b"application/grpc"))

    return application


async def hangs(scope: Any, receive: Any, send: Any) -> None:
    """Never answers, and waits until the client goes away."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    while (await receive())["type"] != "http.disconnect":
        pass


async def lifespan(receive: Any, send: Any) -> None:
    """The part of ASGI that starts and stops an application."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def plain(status: int, body: bytes, content_type: str, *headers: tuple[str, str]) -> App:
    """Answers like a web server, whatever is asked."""
    pairs = [("content-type", content_type), *headers]

    async def answer(send: Any, is_grpc: bool) -> None:
        encoded = [(key.encode(), value.encode()) for key, value in pairs]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": body})

    return app(answer)


def message(body: bytes) -> App:
    """Answers well, by either protocol, with any bytes where the message should be."""

    async def answer(send: Any, is_grpc: bool) -> None:
        start = {"type": "http.response.start", "status": 200}
        if not is_grpc:
            await send({**start, "headers": [(b"content-type", b"application/proto")]})
            await send({"type": "http.response.body", "body": body})
            return
        headers = [(b"content-type", b"application/grpc")]
        await send({**start, "headers": headers, "trailers": True})
        frame = b"\0" + len(body).to_bytes(4, "big") + body
        await send({"type": "http.response.body", "body": frame})
        await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]})

    return app(answer)


serving = serve_app


@contextlib.contextmanager
def raw(
    answer: bytes, *, after: int = 1, drip: bool = False
) -> Iterator[tuple[str, Sequence[None]]]:
    """A TCP server that waits for some bytes, answers with others, and closes the connection.

    With `drip` it adds a byte every 50 ms first, for ten seconds at most.

    Yields:
        Its URL, and a list that has one element for each connection so far.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[None] = []

    def run() -> None:
        with contextlib.suppress(OSError):  # the listener is closed in the end
            while True:
                connection, _ = listener.accept()
                connections.append(None)
                with connection:
                    connection.settimeout(5)
                    with contextlib.suppress(OSError):
                        connection.recv(after)
                        connection.sendall(answer)
                        for _ in range(200 if drip else 0):
                            time.sleep(0.05)
                            connection.send(b"x")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


class SilentProxy:
    """A TCP proxy whose connections can fall silent without a word, as those of NAT do.

    Attributes:
        url: Its URL.
        connections: Number of connections so far.
        ended: Number of those that the client has closed.
    """

    def __init__(self, target: str) -> None:
        self._target = ("127.0.0.1", int(target.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self._other: dict[socket.socket, socket.socket] = {}
        self._silent: set[socket.socket] = set()
        self._servers: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._stop = threading.Event()
        self.connections = self.ended = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def fall_silent(self) -> None:
        """Pass on nothing more on the connections that there are; new ones work."""
        self._silent |= set(self._other)

    def lose_answers(self) -> None:
        """Pass on requests and no answers on the connections that there are; new ones work."""
        self._silent |= self._servers

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.02):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._pass_on(key.fileobj)

    def _accept(self) -> None:
        self.connections += 1
        here = self._listener.accept()[0]
        there = socket.create_connection(self._target)
        self._servers.add(there)
        for one, other in ((here, there), (there, here)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._other[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: Any) -> None:
        data, other = b"", self._other[one]
        with contextlib.suppress(OSError):
            data = one.recv(65536)
        if not data:
            self._selector.unregister(one)
            self.ended += one not in self._servers
        if one not in self._silent:
            with contextlib.suppress(OSError):
                if data:
                    other.sendall(data)
                else:
                    other.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join(10)
        self._selector.close()
        for one in (self._listener, *self._other):
            one.close()


@contextlib.contextmanager
def silent_proxy(target: str) -> Iterator[SilentProxy]:
    """A proxy in front of a server on this machine."""
    proxy = SilentProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()


def unused_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
