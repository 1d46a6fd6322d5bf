"""The client that calls endpoints: which addresses it connects to, and what it sends."""

import asyncio
from typing import Any

import pytest

from dispatch_grpc.service import http1
from dispatch_grpc.service.http1 import Client, Request, Target, target_of
from dispatch_grpc.service.memory import Memory
from dispatch_grpc.service.urls import ForbiddenAddressError
from tests import hostile


def client(check: Any = lambda *_: None) -> Client:
    return Client(check=check, max_response_bytes=1000, connect_seconds=10)


async def post(one: Client, target: Target, headers: dict[str, str], body: bytes) -> None:
    async def make() -> Request:
        return Request(headers, body)

    await one.post(target, make, Memory(1_000_000).share(str(target.url)))


def posted(check: Any, url: str) -> None:
    async def main() -> None:
        one = client(check)
        try:
            await post(one, target_of(url), {"content-type": "text/plain"}, b"body")
        finally:
            await one.close()

    asyncio.run(main())


def test_the_address_that_was_checked_is_the_one_that_is_connected_to():
    """Were a name resolved again for the connection, it could lead elsewhere."""
    checked: list[tuple[str, str]] = []

    def check(host: str, address: str) -> None:
        checked.append((host, address))
        if host == address:
            raise ForbiddenAddressError("not here")

    with hostile.raw(b"HTTP/1.1 204 X\r\n\r\n") as (url, connections):
        with pytest.raises(OSError, match="not here"):
            posted(check, url.replace("127.0.0.1", "localhost"))
    assert ("localhost", "127.0.0.1") in checked
    assert ("127.0.0.1", "127.0.0.1") in checked
    assert not connections


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "①②⑦.0.0.1"])
def test_an_address_in_a_url_is_checked_in_every_form(host: str):
    def check(_: str, address: str) -> None:
        if address == "127.0.0.1":
            raise ForbiddenAddressError("not here")

    with hostile.raw(b"HTTP/1.1 204 X\r\n\r\n") as (url, connections):
        with pytest.raises((OSError, ValueError)):
            posted(check, url.replace("127.0.0.1", host))
    assert not connections


def sent(url: str, body: bytes) -> bytes:
    """What a request looks like on the wire."""

    async def main() -> bytes:
        received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            received.set_result(head + await reader.readexactly(len(body)))
            writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            one = client()
            target: Target = target_of(url.format(port=port))
            headers = {"content-type": "application/proto", "X-Odd": "a,  b"}
            await post(one, target, headers, body)
            await one.close()
        text = await received
        return text.replace(str(port).encode(), b"PORT")

    return asyncio.run(main())


def test_a_request_is_sent_as_it_was_signed():
    """The path, the authority and the headers byte for byte, and nothing beside them."""
    assert sent("http://me:p%C3%A4@127.0.0.1:{port}/a%2fb/../~c;x=1", b"body") == (
        b"POST /a%2fb/../~c;x=1 HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n"
        b"Authorization: Basic bWU6cMOk\r\ncontent-type: application/proto\r\nX-Odd: a,  b\r\n"
        b"Content-Length: 4\r\n\r\nbody"
    )


def test_a_large_request_is_sent_whole():
    body = bytes(range(256)) * 50_000
    assert sent("http://127.0.0.1:{port}", body).partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize("head", ["content-length: 500000", "transfer-encoding: chunked"])
def test_a_large_answer_that_stalls_holds_no_memory(head: str, monkeypatch: pytest.MonkeyPatch):
    """Or else an endpoint that sends a part of it would have all others wait for an attempt."""
    monkeypatch.setattr(http1, "_STALL_SECONDS", 0.3)

    async def main() -> None:
        stalled = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            chunk = b"" if "length" in head else b"%x\r\n" % 200_000
            writer.write(f"HTTP/1.1 200 X\r\n{head}\r\n\r\n".encode() + chunk + bytes(100_000))
            await stalled.wait()
            writer.close()

        async def make() -> Request:
            return Request({}, b"")

        memory = Memory(1_000_000)
        one = Client(check=lambda *_: None, max_response_bytes=500_000, connect_seconds=10)
        share, other = memory.share("stalls"), memory.share("other")
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            target = target_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            attempt = asyncio.create_task(one.post(target, make, share))
            while not share.answer.size:
                await asyncio.sleep(0.01)
            waiting = asyncio.create_task(other.answer.take(500_000))
            with pytest.raises(ConnectionError, match=r"no more of the answer came within 0\.3 s"):
                await attempt
            assert not waiting.done()
            share.give_back()
            await waiting
            stalled.set()
            await one.close()

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("url", ["http://h/a b", "http://h/ä", "http://a..b/", "http://h\x01/"])
def test_a_url_that_cannot_be_called(url: str):
    with pytest.raises(ValueError, match=r"percent-encoded|label"):
        target_of(url)
