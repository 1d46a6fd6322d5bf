"""HTTP/1.1 as servers write it, and connections that they close while they are kept."""

import asyncio
import contextlib
import gc
import gzip
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dispatch_grpc import (
    AsyncClient,
    ClientStateError,
    DeadlineExceededError,
    ProtocolError,
    RetryPolicy,
    RPCError,
    UnavailableError,
    new_call,
)
from tests import hostile
from tests.conftest import Driver

CALL = new_call("http://example.com", "f")
OK = b'{"dispatchIds":["id"]}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
LENGTH = HEAD + b"content-length: 22\r\n\r\n" + OK
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n" + OK[:5] + b"\r\n11\r\n" + OK[5:]
CHUNKED += b"\r\n0\r\n\r\n"
UNTIL_CLOSED = HEAD + b"connection: close\r\n\r\n" + OK
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH
SILENCE = b""


class Server:
    """Answers each connection by its number and that of the request on it.

    None closes the connection, SILENCE does not even read the request.
    """

    def __init__(self, answers: list[list[bytes | None]]) -> None:
        self.requests = 0
        self.heads: list[bytes] = []
        self.later = b""  # what follows each answer a moment later
        self.seconds = 0.0  # before each answer
        self.piece = 1_000_000  # bytes that are sent at once
        self._silent: list[socket.socket] = []
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
                        if answer == SILENCE:
                            self._silent.append(connection.dup())
                            break
                        data = b""
                        while not data.endswith(b"}"):
                            data += connection.recv(65536)
                        self.requests += 1
                        self.heads.append(data.partition(b"\r\n\r\n")[0])
                        if answer is None:
                            break
                        time.sleep(self.seconds)
                        for start in range(0, len(answer), self.piece):
                            connection.sendall(answer[start : start + self.piece])
                        if self.later:
                            time.sleep(0.1)
                            connection.sendall(self.later)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        for connection in self._silent:
            connection.close()


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


@pytest.mark.parametrize("wire", [LENGTH, CHUNKED, UNTIL_CLOSED, CONTINUE])
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


@pytest.mark.parametrize("piece", [1, 7, 60])
@pytest.mark.parametrize("wire", [LENGTH, CHUNKED, UNTIL_CLOSED, CONTINUE])
def test_an_answer_in_pieces(json_driver: Driver, wire: bytes, piece: int):
    with serving([wire]) as server:
        server.piece = piece
        assert dispatch(json_driver, json_driver.client(server.url, retry=None)) == "id"


@pytest.mark.parametrize("data", [b"\0", b"HTTP/1.1", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n" * 50])
def test_bytes_that_are_not_http(json_driver: Driver, data: bytes):
    with serving([data]) as server:
        with pytest.raises(RPCError) as caught:
            dispatch(json_driver, json_driver.client(server.url, retry=None))
        assert isinstance(caught.value, UnavailableError | ProtocolError)


@pytest.mark.parametrize("chunked", [True, False])
def test_an_answer_is_bounded(json_driver: Driver, chunked: bool):
    body = b" " * 2_000_000 + OK
    head = b"transfer-encoding: chunked\r\n\r\n%x\r\n" if chunked else b"content-length: %d\r\n\r\n"
    wire = HEAD + head % len(body) + body + (b"\r\n0\r\n\r\n" if chunked else b"")
    with serving([wire]) as server:
        client = json_driver.client(server.url, max_response_bytes=100_000, retry=None)
        with pytest.raises(ProtocolError, match="larger than configured max 100000"):
            dispatch(json_driver, client)


def test_headers_are_bounded(json_driver: Driver):
    wire = HEAD + b"".join(b"x-%d: %s\r\n" % (number, b"y" * 8000) for number in range(300))
    with serving([wire + b"\r\n"]) as server:
        with pytest.raises(UnavailableError, match="the answer is not HTTP"):
            dispatch(json_driver, json_driver.client(server.url, retry=None))


def test_a_large_request_on_a_silent_connection(json_driver: Driver):
    """It fills the buffers, and then nothing moves: it is sent again before the time is over."""
    call = new_call("http://example.com", "f", b"x" * 12_000_000)
    with serving([LENGTH, SILENCE], [LENGTH]) as server:
        client = json_driver.client(server.url, max_message_bytes=2**25)
        assert dispatch(json_driver, client) == "id"
        assert json_driver.dispatch(client, call) == "id"
        assert server.requests == 2


def test_a_large_request_is_given_time(json_driver: Driver):
    """A server decodes and records it before it answers: it is not sent again in the meantime."""
    call = new_call("http://example.com", "f", b"x" * 3_000_000)
    with serving([LENGTH], [LENGTH]) as server:
        server.seconds = 2.5
        client = json_driver.client(server.url, max_message_bytes=2**25)
        assert json_driver.dispatch(client, call) == "id"
        assert server.requests == 1


def test_a_server_is_sent_the_path_alone(json_driver: Driver):
    """A whole URL in the first line is for proxies (RFC 9112, 3.2)."""
    with serving([LENGTH]) as server:
        dispatch(json_driver, json_driver.client(server.url))
        assert server.heads[0].startswith(
            b"POST /dispatch.sdk.v1.DispatchService/Dispatch HTTP/1.1"
        )


def test_bytes_on_an_idle_connection_are_no_answer(json_driver: Driver):
    with serving([LENGTH, SILENCE], [LENGTH]) as server:
        server.later = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"
        client = json_driver.client(server.url, retry=None)
        dispatch(json_driver, client)
        json_driver.run(lambda: asyncio.sleep(0.3)) if json_driver.is_async else time.sleep(0.3)
        assert dispatch(json_driver, client) == "id"


def test_silence_after_the_head_of_an_answer_ends_at_the_deadline(json_driver: Driver):
    """The wait for the body does not begin anew."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def answer() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                time.sleep(3)
                connection.sendall(HEAD + b"content-length: 22\r\n\r\n")
                connection.settimeout(20)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        client = json_driver.client(url, retry=None)
        start = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            json_driver.dispatch(client, CALL, timeout=4)
        assert time.monotonic() - start < 6  # 7 if it did
        json_driver.run(client.close)
        thread.join(30)


@pytest.mark.parametrize("part", ["head", "body", "head of a proxy"])
@pytest.mark.parametrize("retry", [RetryPolicy(), None])
def test_an_answer_that_drips_ends_at_the_deadline(
    json_driver: Driver, part: str, retry: RetryPolicy | None
):
    """The wait does not begin anew with each byte."""
    begin = HEAD + b"content-length: 999\r\n\r\n" if part == "body" else HEAD + b"x-name: "
    with hostile.raw(begin, drip=True) as (url, _):
        target, proxy = ("https://service.example.com:1", url) if "proxy" in part else (url, None)
        client = json_driver.client(target, proxy=proxy, retry=retry)
        start = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            json_driver.dispatch(client, CALL, timeout=1.5)
        assert time.monotonic() - start < 6  # 10 if it did


def test_a_server_that_reads_slowly_does_not_outlast_the_deadline(json_driver: Driver):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        over = threading.Event()

        def read() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                while connection.recv(16384) and not over.wait(0.1):
                    pass

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        client = json_driver.client(url, retry=None, max_message_bytes=2**25)
        call = new_call("http://example.com", "f", b"x" * 15_000_000)
        start = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            json_driver.dispatch(client, call, timeout=2)
        assert time.monotonic() - start < 20  # it would take minutes
        over.set()
        thread.join(30)


def test_closing_between_two_attempts(json_driver: Driver):
    """The dispatch ends with its key, instead of beginning another attempt."""
    away = b"HTTP/1.1 503 Away\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n"
    with serving([away], [LENGTH]) as server, ThreadPoolExecutor(1) as pool:
        client = json_driver.client(server.url, timeout=20)

        async def main() -> None:
            task = asyncio.create_task(client.dispatch(CALL, idempotency_key="key"))
            await asyncio.sleep(0.5)
            await client.close()
            await task

        def close_later() -> None:
            time.sleep(0.5)
            client.close()

        with pytest.raises(ClientStateError) as caught:
            if json_driver.is_async:
                json_driver.run(main)
            else:
                pool.submit(close_later)
                client.dispatch(CALL, idempotency_key="key")
        assert server.requests == 1
    assert caught.value.idempotency_key == "key"
