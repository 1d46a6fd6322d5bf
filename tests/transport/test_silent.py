"""Connections that fall silent without a word: NAT, load balancers and crashed hosts do that."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import grpc
import pytest
from dispatch.sdk.v1 import dispatch_pb2_grpc

from dispatch_grpc import Batch, Endpoint, new_call
from dispatch_grpc.schema import DispatchResponse
from dispatch_grpc.server import dispatch_app
from dispatch_grpc.testing import CallRecorder, Server, serve_app
from tests import hostile
from tests.conftest import Driver, RunningService

TIMEOUT = timedelta(seconds=10)
THIRD = 10 / 3


@pytest.fixture
def proxy(dispatch_server: Server) -> Iterator[hostile.SilentProxy]:
    with hostile.silent_proxy(dispatch_server.url) as proxy:
        yield proxy


def at_once(driver: Driver, client: Any, count: int) -> list[Any]:
    """Dispatch calls at once, each by a request of its own."""
    calls = [new_call("http://example.com", "f", number) for number in range(count)]
    if not driver.is_async:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(client.dispatch, calls))

    async def together() -> list[Any]:
        return await asyncio.gather(*map(client.dispatch, calls))

    return list(driver.run(together))


def recorded(recorder: CallRecorder) -> Counter[str]:
    """The number of times that each call was recorded, by the key of its request."""
    return Counter(request.metadata["idempotency-key"] for request in recorder.requests)


@pytest.mark.parametrize("idle_seconds", [0, 1.5])
@pytest.mark.parametrize("count", [1, 50])
def test_calls_are_sent_again_on_a_new_connection(
    driver: Driver,
    count: int,
    idle_seconds: float,
    proxy: hostile.SilentProxy,
    dispatch_recorder: CallRecorder,
):
    client = driver.client(proxy.url, timeout=TIMEOUT)
    at_once(driver, client, count)
    at_once(driver, client, count)
    time.sleep(idle_seconds)  # pings of gRPC that are still on their way must not be what helps
    proxy.fall_silent()
    opened = proxy.connections
    start = time.monotonic()
    assert len(at_once(driver, client, count)) == count
    assert time.monotonic() - start < THIRD + 2
    assert len(recorded(dispatch_recorder)) == 3 * count
    if driver.protocol == "grpc":
        assert proxy.connections == opened + 1
    start = time.monotonic()
    at_once(driver, client, count)
    assert time.monotonic() - start < 2  # the next ones notice nothing


def test_a_call_without_a_deadline(driver: Driver, proxy: hostile.SilentProxy):
    client = driver.client(proxy.url, timeout=None)
    at_once(driver, client, 1)
    time.sleep(1.5)
    proxy.fall_silent()
    start = time.monotonic()
    at_once(driver, client, 1)
    assert time.monotonic() - start < 30


def test_a_batch_is_sent_again(
    driver: Driver, proxy: hostile.SilentProxy, dispatch_recorder: CallRecorder
):
    client = driver.client(proxy.url, timeout=TIMEOUT)
    for _ in range(2):
        batch: Batch = client.batch()
        batch.add(*(new_call("http://example.com", "f", number) for number in range(50)))
        assert len(driver.dispatch(batch)) == 50
        proxy.fall_silent()
    assert set(recorded(dispatch_recorder).values()) == {1}


def test_silence_in_the_middle_of_a_request(driver: Driver, dispatch_recorder: CallRecorder):
    """The first request of a connection is under way when it falls silent."""
    inner = dispatch_app(dispatch_recorder)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(0.5)
        await inner(scope, receive, send)

    with serve_app(slow) as server, hostile.silent_proxy(server.url) as proxy:
        client = driver.client(proxy.url, timeout=TIMEOUT)
        timer = threading.Timer(0.25, proxy.fall_silent)
        timer.start()
        driver.dispatch(client, new_call("http://example.com", "f"))
        timer.join()


@pytest.mark.parametrize("used", [True, False])
def test_a_slow_server_is_not_asked_three_times(
    driver: Driver, used: bool, dispatch_recorder: CallRecorder
):
    inner = dispatch_app(dispatch_recorder)
    asked = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            asked.append(scope["path"])
            if len(asked) > used:
                await asyncio.sleep(8)
        await inner(scope, receive, send)

    with serve_app(slow) as server:
        client = driver.client(server.url, timeout=TIMEOUT)
        for _ in range(1 + used):
            assert driver.dispatch(client, new_call("http://example.com", "f"))
        assert len(asked) - used <= (1 if driver.protocol == "grpc" else 2)
    assert len(recorded(dispatch_recorder)) == 1 + used


CTRL_C = """
    import sys, time
    from datetime import timedelta
    from dispatch_grpc import Client, new_call
    url, key, protocol = sys.argv[1:]
    client = Client(key, api_url=url, protocol=protocol, timeout=timedelta(seconds=60))
    call = client.dispatch(new_call("http://127.0.0.1:1", "f"))
    print("waiting", flush=True)
    try:
        client.wait(call)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize("protocol", ["grpc", "connect"])
def test_ctrl_c_ends_a_wait_at_once(protocol: str, service: RunningService):
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(CTRL_C),
        service.url,
        service.api_key,
        protocol,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        time.sleep(1)  # the request is under way
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - start < 3  # the wait itself takes 20 s


@pytest.mark.parametrize("count", [1, 50])
def test_waits_go_on(driver: Driver, count: int, service: RunningService):
    """Calls are dispatched and waited for through a proxy that falls silent twice."""
    endpoint = Endpoint(url="http://127.0.0.1:1", env={})

    @endpoint.function
    def double(number: int) -> int:
        time.sleep(1.5)
        return 2 * number

    with serve_app(endpoint.app) as server, hostile.silent_proxy(service.url) as proxy:
        client = driver.client(proxy.url, service.api_key, timeout=TIMEOUT)
        batch: Batch = client.batch()
        batch.add(*(new_call(server.url, "double", number) for number in range(count)))
        ids = driver.dispatch(batch)
        proxy.fall_silent()
        timer = threading.Timer(0.7, proxy.fall_silent)
        timer.start()
        if driver.is_async:

            async def together() -> list[Any]:
                return await asyncio.gather(*(client.wait(one, int) for one in ids))

            results = driver.run(together)
        else:
            with ThreadPoolExecutor(count) as pool:
                results = list(pool.map(lambda one: client.wait(one, int), ids))
        timer.join()
        assert results == [2 * number for number in range(count)]
        assert len(client_list(driver, client, server.url)) == count


def client_list(driver: Driver, client: Any, url: str) -> list[Any]:
    return list(driver.run(lambda: client.list(endpoint=url)))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_pings_of_grpc_are_kind(kind: str):
    """A server of grpc's defaults closes connections with more than two pings in five minutes."""
    asked: list[float] = []

    class Servicer(dispatch_pb2_grpc.DispatchServiceServicer):
        def Dispatch(self, request, context):  # noqa: N802
            asked.append(time.monotonic())
            time.sleep(5 if len(asked) == 1 else 0)
            return DispatchResponse(dispatch_ids=["id"])

    driver = Driver("grpc", is_async=kind == "async")
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        dispatch_pb2_grpc.add_DispatchServiceServicer_to_server(Servicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        client = driver.client(f"http://127.0.0.1:{port}", timeout=TIMEOUT, retry=None)
        for _ in range(2):
            driver.dispatch(client, new_call("http://example.com", "f"))
        driver.close()
        server.stop(None).wait(10)
    assert len(asked) == 2
