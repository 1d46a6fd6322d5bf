"""Servers that end a busy connection: by GOAWAY, with requests on it recorded and unanswered."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dispatch_grpc import new_call
from tests import hostile
from tests.conftest import Driver, RunningService

CALLS = 400
AT_ONCE = 32
HEADERS, GOAWAY = 1, 7
ENHANCE_YOUR_CALM = 11


class Impatient:
    """A proxy for HTTP/2 that ends each connection with its 100th request.

    It passes that request on, withholds the next answer, and says ENHANCE_YOUR_CALM: so servers
    act that bound the requests of a connection, or its pings.

    Args:
        port: Port of the server.
        reason: What it says beside the code, which clients of gRPC heed.

    Attributes:
        url: Its URL.
        reason: As given.
        withheld: Number of answers that it withheld.
    """

    def __init__(self, port: int, reason: bytes) -> None:
        self._port = port
        self.reason = reason
        self.withheld = 0
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._connected, "127.0.0.1")
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _connected(self, *client: Any) -> None:
        reader, writer = client
        there, to_there = await asyncio.open_connection("127.0.0.1", self._port)
        last = requests = 0

        async def to_server() -> None:
            nonlocal last, requests
            to_there.write(await reader.readexactly(24))  # how HTTP/2 begins
            while True:
                head, frame = await read_frame(reader)
                if head[3] == HEADERS:
                    last, requests = stream_of(head), requests + 1
                to_there.write(frame)

        async def to_client() -> None:
            while True:
                head, frame = await read_frame(there)
                if requests >= 100 and head[3] == HEADERS:
                    self.withheld += 1
                    goaway = last.to_bytes(4) + ENHANCE_YOUR_CALM.to_bytes(4) + self.reason
                    writer.write(bytes([0, 0, len(goaway), GOAWAY, 0]) + bytes(4) + goaway)
                    return
                writer.write(frame)

        ways = [asyncio.create_task(to_server()), asyncio.create_task(to_client())]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, to_there):
            end.close()
        for end in (writer, to_there):
            with contextlib.suppress(OSError):
                await end.wait_closed()

    def close(self) -> None:
        """Stop."""

        async def end() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            if tasks:
                await asyncio.wait(tasks, timeout=10)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


async def read_frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read a frame; returns its head of nine bytes, and all of it."""
    head = await reader.readexactly(9)
    return head, head + await reader.readexactly(int.from_bytes(head[:3]))


def stream_of(head: bytes) -> int:
    return int.from_bytes(head[5:9]) & 0x7FFFFFFF


@pytest.fixture(params=["", "too_many_pings"], ids=["requests", "pings"])
def impatient(service: RunningService, request: pytest.FixtureRequest) -> Iterator[Impatient]:
    proxy = Impatient(int(service.url.rpartition(":")[2]), request.param.encode())
    yield proxy
    proxy.close()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_each_call_is_recorded_once_when_busy_connections_end(
    impatient: Impatient, service: RunningService, is_async: bool
):
    driver = Driver("grpc", is_async=is_async)
    function = f"of_goaway_{is_async}_{impatient.reason.decode()}"
    client = driver.client(impatient.url, service.api_key)
    call = new_call(f"http://127.0.0.1:{hostile.unused_port()}", function)
    try:
        if is_async:

            async def main() -> list[str]:
                room = asyncio.Semaphore(AT_ONCE)

                async def dispatch() -> str:
                    async with room:
                        return str(await client.dispatch(call))

                return await asyncio.gather(*(dispatch() for _ in range(CALLS)))

            ids = driver.run(main)
        else:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                ids = list(pool.map(lambda _: str(client.dispatch(call)), range(CALLS)))
        assert impatient.withheld >= 3
    finally:
        driver.close()
    recorded = recorded_ids(service, function)
    assert len(recorded) == CALLS
    assert set(recorded) == set(ids)


def recorded_ids(service: RunningService, function: str) -> list[str]:
    driver = Driver("connect", is_async=False)
    try:
        client = driver.client(service.url, service.api_key)
        return [str(info.dispatch_id) for info in client.list(function=function, limit=2 * CALLS)]
    finally:
        driver.close()
