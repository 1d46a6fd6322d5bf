"""An endpoint without this library, as in any other language: it is unavailable at first."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dispatch_grpc import marshal
from dispatch_grpc.primitives import RunRequest, RunResponse, exit_


class Bare:
    """The endpoint.

    Attributes:
        url: Its URL.
        headers: The headers of each request, by lower-case name.
        answers: What it answers, in turn, and in the end an exit; None stands for HTTP 503.
        tells: The headers about traces of its answers.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.headers: list[dict[str, str]] = []
        self.answers: list[RunResponse | None] = []
        self.tells: dict[str, str] = {}

    def answer(self, headers: dict[str, str]) -> RunResponse | None:
        self.headers.append(headers)
        return self.answers.pop(0) if self.answers else exit_(marshal("paid"))


@contextmanager
def bare_endpoint() -> Iterator[Bare]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = RunRequest.FromString(body)
            response = bare.answer({**headers, "function": request.function})
            content = b"" if response is None else response.SerializeToString()
            self.send_response(503 if response is None else 200)
            self.send_header("content-type", "application/proto")
            self.send_header("content-length", str(len(content)))
            for name, value in bare.tells.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        bare = Bare(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield bare
        finally:
            server.shutdown()
            thread.join()
