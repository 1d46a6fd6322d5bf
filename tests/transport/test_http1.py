"""HTTP/1.1 as servers write it, and connections that they close while they are kept."""

import asyncio
import contextlib
import gc
import gzip
import itertools
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_grpc import (
    AsyncClient,
    DeadlineExceededError,
    ProtocolError,
    RetryPolicy,
    UnavailableError,
    new_call,
)
from dispatch_grpc.transport.http1 import Answer, ClosedError
from tests.conftest import Driver

CALL = new_call("http://example.com", "f")
OK = b'{"dispatchIds":["id"]}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
LENGTH = HEAD + b"content-length: 22\r\n\r\n" + OK
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n" + OK[:5] + b"\r\n11\r\n" + OK[5:]
CHUNKED += b"\r\n0\r\n\r\n"
UNTIL_CLOSED = HEAD + b"connection: close\r\n\r\n" + OK
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + LENGTH


@given(
    wire=st.sampled_from([LENGTH, CHUNKED, UNTIL_CLOSED, HINTS]),
    cuts=st.lists(st.integers(1, 200), max_size=30),
)
def test_an_answer_in_any_pieces(wire: bytes, cuts: list[int]):
    answer = Answer(1000)
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    for start, end in itertools.pairwise(places):
        assert not answer.complete
        answer.feed(wire[start:end])
    if wire is UNTIL_CLOSED:
        assert answer.feed(b"")
    assert answer.complete
    assert (answer.status, bytes(answer.body)) == (200, OK)
    assert answer.headers["content-type"] == "application/json"
    assert answer.keep_alive == (wire is not UNTIL_CLOSED)


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_an_answer_or_a_clear_error(data: bytes):
    answer = Answer(100)
    with contextlib.suppress(UnavailableError, ProtocolError):
        answer.feed(data)
        with contextlib.suppress(ConnectionError):
            answer.feed(b"")


def test_bounds_and_ends():
    with pytest.raises(ProtocolError, match="larger than configured max 10"):
        Answer(10).feed(LENGTH)
    with pytest.raises(ProtocolError):
        answer = Answer(10)
        for _ in range(300):
            answer.feed(
                b"HTTP/1.1 200 OK\r\n" if not answer.begun else b"x: " + b"y" * 2000 + b"\r\n"
            )
    with pytest.raises(ClosedError):
        Answer(10).feed(b"")
    answer = Answer(100)
    answer.feed(LENGTH[:-1])
    with pytest.raises(ConnectionError, match="in the middle"):
        answer.feed(b"")


class Server:
    """Answers each connection by its number and that of the request on it; None closes it."""

    def __init__(self, answers: list[list[bytes | None]]) -> None:
        self.requests = 0
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            for answers in self._answers:
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(10)
                    for answer in answers:
                        data = b""
                        while not data.endswith(b"}"):
                            data += connection.recv(65536)
                        self.requests += 1
                        if answer is None:
                            break
                        connection.sendall(answer)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@contextlib.contextmanager
def serving(*answers: list[bytes | None]) -> Iterator[Server]:
    server = Server(list(answers))
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(params=["sync", "async"])
def json_driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    driver = Driver("connect+json", is_async=request.param == "async")
    yield driver
    driver.close()


def dispatch(driver: Driver, client: Any) -> str:
    return str(driver.dispatch(client, CALL))


@pytest.mark.parametrize("wire", [LENGTH, CHUNKED, UNTIL_CLOSED, HINTS])
def test_connections_are_kept_when_they_can_be(json_driver: Driver, wire: bytes):
    second = [[LENGTH]] if wire is UNTIL_CLOSED else []
    first: list[bytes | None] = [wire] if second else [wire, LENGTH]
    with serving(first, *second) as server:
        client = json_driver.client(server.url)
        assert [dispatch(json_driver, client) for _ in range(2)] == ["id", "id"]


def test_a_kept_connection_that_closes_as_a_request_goes_out(json_driver: Driver):
    """The request is sent again at once, which is not an attempt of the policy."""
    with serving([LENGTH, None], [LENGTH]) as server:
        client = json_driver.client(server.url, retry=RetryPolicy(max_attempts=2))
        assert [dispatch(json_driver, client) for _ in range(2)] == ["id", "id"]
        assert server.requests == 3


def test_it_is_not_sent_again_without_retries(json_driver: Driver):
    with serving([LENGTH, None], [LENGTH]) as server:
        client = json_driver.client(server.url, retry=None)
        assert dispatch(json_driver, client) == "id"
        with pytest.raises(UnavailableError, match="closed the connection without an answer"):
            dispatch(json_driver, client)
        assert server.requests == 2


def test_an_answer_that_a_proxy_compressed_is_told(json_driver: Driver):
    body = gzip.compress(OK)
    head = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    with serving([head + body]) as server:
        with pytest.raises(ProtocolError, match="content-encoding gzip is unknown"):
            dispatch(json_driver, json_driver.client(server.url, retry=None))


def test_a_request_that_is_answered_on_neither_connection_leaves_nothing_unheard():
    """Both fail at the deadline: asyncio would log the error that nobody looked at."""
    problems: list[Any] = []

    async def main(url: str) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, found: problems.append(found))
        async with AsyncClient("key", api_url=url, protocol="connect", env={}) as client:
            for _ in range(3):
                with pytest.raises(DeadlineExceededError):
                    await client.dispatch(CALL, timeout=0.3)
        gc.collect()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(main(f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert problems == []
