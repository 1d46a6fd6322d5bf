"""HTTP/2: the bounds of a connection, and clients that ask for much or give up much."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import h2.connection
import h2.events
import pytest

from dispatch_grpc.testing import Server, serve_app

SECONDS = 60
"""A bound for what would otherwise hang."""

EMPTY = struct.pack(">?I", False, 0)
LARGE = 1_000_000
BOUND_OF_REQUESTS, BOUND_OF_RESETS = 4096, 256  # zttp's, after which it fails a connection


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers by gRPC; `/wait` when its request is given up, `/large` with many bytes."""
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if scope["path"] == "/later":
        await asyncio.sleep(1)
    headers = [(b"content-type", b"application/grpc")]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    body = EMPTY + b"x" * (LARGE if scope["path"] == "/large" else 0)
    await send({"type": "http.response.body", "body": body})
    await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]})


@pytest.fixture
def server() -> Iterator[Server]:
    with serve_app(app) as server:
        yield server


@contextlib.contextmanager
def connect(server: Server) -> Iterator[tuple[socket.socket, h2.connection.H2Connection]]:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), SECONDS) as plain:
        client = h2.connection.H2Connection()
        client.initiate_connection()
        yield plain, client


def begin(client: h2.connection.H2Connection, path: str, *, is_whole: bool = True) -> int:
    stream = client.get_next_available_stream_id()
    pairs = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "x")]
    client.send_headers(stream, [*pairs, ("te", "trailers")], end_stream=is_whole)
    return stream


def answer(plain: socket.socket, client: h2.connection.H2Connection, stream: int) -> bytes:
    """Read until a request is answered."""
    body = b""
    while True:
        data = plain.recv(65536)
        assert data, "the connection was closed"
        for event in client.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                body += event.data
                client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                return body
        plain.sendall(client.data_to_send())


def test_a_grpc_client_loses_no_request_when_its_connection_is_retired(server: Server):
    """Here nothing is sent again. gRPC itself sends what has not left when the server says so."""

    async def requests() -> int:
        target = urlsplit(server.url).netloc
        async with grpc.aio.insecure_channel(target) as channel:
            method: Any = channel.unary_unary("/x")
            numbers = iter(range(2 * BOUND_OF_REQUESTS + 500))

            async def task() -> int:
                return sum([1 for _ in numbers if await method(b"", timeout=SECONDS) == b""])

            return sum(await asyncio.gather(*(task() for _ in range(64))))

    assert asyncio.run(requests()) == 2 * BOUND_OF_REQUESTS + 500


def test_requests_that_are_given_up_do_not_harm_the_others(server: Server):
    async def requests() -> None:
        target = urlsplit(server.url).netloc
        async with grpc.aio.insecure_channel(target) as channel:
            others: Any = asyncio.gather(
                *(channel.unary_unary("/later")(b"", timeout=SECONDS) for _ in range(20))
            )
            for _ in range(2 * BOUND_OF_RESETS // 20):
                wait: Any = channel.unary_unary("/wait")
                calls = [wait(b"", timeout=SECONDS) for _ in range(20)]
                await channel.unary_unary("/x")(b"", timeout=SECONDS)  # by then they have begun
                for call in calls:
                    call.cancel()
            assert await others == 20 * [b""]

    asyncio.run(requests())


def test_more_requests_at_once_than_a_connection_takes_are_all_answered(server: Server):
    async def requests() -> list[bytes]:
        async with grpc.aio.insecure_channel(urlsplit(server.url).netloc) as channel:
            method: Any = channel.unary_unary("/later")
            return list(await asyncio.gather(*(method(b"", timeout=SECONDS) for _ in range(300))))

    assert asyncio.run(requests()) == 300 * [b""]


def test_a_request_without_a_body_is_answered(server: Server):
    with connect(server) as (plain, client):
        stream = begin(client, "/x")
        plain.sendall(client.data_to_send())
        assert answer(plain, client, stream) == EMPTY


def test_a_client_that_says_goodbye_gets_what_is_left_of_its_answer(server: Server):
    with connect(server) as (plain, client):
        stream = begin(client, "/large")
        plain.sendall(client.data_to_send())
        goaway = bytes([0, 0, 8, 7, 0, 0, 0, 0, 0]) + bytes(8)
        plain.sendall(goaway)
        assert answer(plain, client, stream) == EMPTY + b"x" * LARGE
        while plain.recv(65536):  # until the server closes the connection, too
            pass


def test_a_client_that_reads_nothing_cannot_fill_the_memory(server: Server):
    """Each ping has an answer. The server reads no more of them until the client reads those."""
    with connect(server) as (plain, client):
        plain.sendall(client.data_to_send())
        plain.settimeout(3)
        pings = (bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + b"12345678") * 10_000
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                plain.sendall(pings)


@pytest.mark.parametrize(
    "frame",
    [
        bytes([0, 0, 1, 6, 0, 0, 0, 0, 0, 0]),  # a ping of one byte
        bytes([0, 0, 0, 9, 4, 0, 0, 0, 1]),  # a continuation of nothing
        bytes([0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1]),  # 16 MB of data
    ],
)
def test_bytes_that_are_no_frame_end_the_connection(server: Server, frame: bytes):
    with connect(server) as (plain, client):
        plain.sendall(client.data_to_send() + frame)
        with contextlib.suppress(ConnectionError):
            while plain.recv(65536):
                pass
    test_a_request_without_a_body_is_answered(server)
