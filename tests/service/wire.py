"""A proxy between the service and an endpoint, for what happens on the wire.

It serves a listener on loopback in a thread of its own, and speaks just enough HTTP/1.1 to pass a
request on to the endpoint and to do something odd with the answer.
"""

import gzip
import http.client
import http.server
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the endpoint, or the one that the proxy makes of it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    closes: bool = False

    def bytes(self) -> bytes:
        """The answer as it is sent."""
        headers = {"content-length": str(len(self.body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} X", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


class Proxy:
    """The proxy; `url` is where it listens.

    Attributes:
        requests: The requests that came in.
        connections: Number of the connections that were made to it.
        close_on_next: Close a connection as its next request comes in, once for each connection
            that has had an answer: what happens when an idle connection is closed.
        alter: Makes another answer of an answer and the number of the request, from 1.
    """

    def __init__(self, target: str = "") -> None:
        self._target = target.removeprefix("http://")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[Request] = []
        self.connections = 0
        self.closed = 0
        self.close_on_next = False
        self.alter: Callable[[Answer, int], Answer] = lambda answer, _: answer
        self._silent: set[socket.socket] = set()
        self._open: set[socket.socket] = set()

    def fall_silent(self) -> None:
        """Neither answer on the connections of now any more nor close them; new ones work."""
        self._silent |= self._open

    def push(self, data: bytes) -> None:
        """Send bytes that nobody asked for on the connections of now."""
        for connection in list(self._open):
            connection.sendall(data)

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket) -> None:
        answered = 0
        with connection, connection.makefile("rb") as reader, suppress(OSError):
            while line := reader.readline():
                if connection in self._silent:
                    select.select([], [], [], 3600)
                if self.close_on_next and answered:
                    self.closed += 1
                    break
                path = line.split()[1].decode()
                parsed = http.client.parse_headers(reader)
                headers = {name.lower(): value for name, value in parsed.items()}
                body = reader.read(int(headers.get("content-length", 0)))
                self.requests.append(Request(path, headers, body))
                answer = self._forward(self.requests[-1]) if self._target else Answer()
                altered = self.alter(answer, len(self.requests))
                connection.sendall(altered.bytes())
                answered += 1
                if altered.closes:
                    break
        self._open.discard(connection)

    def _forward(self, request: Request) -> Answer:
        endpoint = http.client.HTTPConnection(self._target)
        try:
            endpoint.request("POST", request.path, request.body, request.headers)
            response = endpoint.getresponse()
            kind = response.headers["content-type"]
            return Answer(response.status, {"content-type": kind}, response.read())
        finally:
            endpoint.close()


@contextmanager
def proxy(target: str = "") -> Iterator[Proxy]:
    """Run a proxy; without a target it answers by itself."""
    one = Proxy(target)
    thread = threading.Thread(target=one.run, daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.end()
        thread.join(10)


class Forwarding(http.server.BaseHTTPRequestHandler):
    """A proxy as companies have it: it forwards http, tunnels https, and resolves the names."""

    def do_POST(self) -> None:
        """Forward a request to the real port behind the name."""
        asked = urlsplit(self.path)
        self.note()
        length = int(self.headers["content-length"])
        there = http.client.HTTPConnection("127.0.0.1", asked.port)
        there.request("POST", asked.path, self.rfile.read(length), dict(self.headers))
        answer = there.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        self.send_header("content-type", answer.headers["content-type"])
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        there.close()

    def do_CONNECT(self) -> None:
        """Connect the client with the real port behind the name."""
        self.note()
        if status := self.server.refuses:
            self.send_error(status)
            return
        there = socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2])))
        self.send_response(200)
        self.end_headers()
        ends = {self.connection: there, there: self.connection}
        with there, suppress(OSError):
            while all(data := [(one, one.recv(65536)) for one in select.select(ends, [], [])[0]]):
                for one, received in data:
                    if not received:
                        return
                    ends[one].sendall(received)

    def note(self) -> None:
        auth = self.headers.get("proxy-authorization", "")
        self.server.asked.append((self.command, self.path, auth))

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    server: "ForwardingProxy"
    protocol_version = "HTTP/1.1"


class ForwardingProxy(http.server.ThreadingHTTPServer):
    """Serves `Forwarding`.

    Attributes:
        asked: Method, target and proxy-authorization of each request.
        refuses: Status that refuses a CONNECT; 0 lets it pass.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Forwarding)
        self.asked: list[tuple[str, str, str]] = []
        self.refuses = 0
        self.port = self.server_address[1]


@contextmanager
def forwarding_proxy() -> Iterator[ForwardingProxy]:
    """Run a proxy that forwards."""
    with ForwardingProxy() as one:
        thread = threading.Thread(target=one.serve_forever, args=[0.05], daemon=True)
        thread.start()
        try:
            yield one
        finally:
            one.shutdown()
            thread.join(10)


def compressed(answer: Answer, _: int) -> Answer:
    """The same answer, compressed."""
    headers = answer.headers | {"content-encoding": "gzip"}
    return Answer(answer.status, headers, gzip.compress(answer.body))
