"""Connections that fall silent without a word: NAT, load balancers and crashed hosts do that."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import grpc
import pytest
from dispatch.calls.v1.calls_connect import CallService, CallServiceASGIApplication
from dispatch.sdk.v1 import dispatch_pb2_grpc

from dispatch_grpc import Batch, CallError, Client, Code, Endpoint, RPCError, new_call
from dispatch_grpc.schema import DispatchResponse, PurgeCallsResponse, RerunCallsResponse
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


def together(driver: Driver, requests: list[Callable[[], Any]]) -> list[Any]:
    """Do requests at once; return their answers."""
    if not driver.is_async:
        with ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(lambda request: request(), requests))

    async def main() -> list[Any]:
        return await asyncio.gather(*(request() for request in requests))

    return list(driver.run(main))


def at_once(driver: Driver, client: Any, count: int) -> list[Any]:
    """Dispatch calls at once, each by a request of its own."""
    calls = [new_call("http://example.com", "f", number) for number in range(count)]
    return together(driver, [partial(client.dispatch, call) for call in calls])


def wait_at_once(driver: Driver, client: Any, ids: list[str]) -> list[int]:
    """Wait for calls at once, each by requests of its own."""
    return together(driver, [partial(client.wait, one, int) for one in ids])


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


@pytest.mark.parametrize("protocol", ["grpc", "connect"])
@pytest.mark.parametrize("kind", ["dispatch", "batch"])
@pytest.mark.parametrize("count", [1, 50])
def test_calls_whose_answers_were_lost_are_recorded_once(
    driver: Driver, kind: str, count: int, service: RunningService
):
    function = f"lost_{driver.protocol}_{driver.is_async}_{kind}_{count}"
    calls = [new_call("http://127.0.0.1:1", function, number) for number in range(3)]

    def requests(client: Any) -> list[Callable[[], Any]]:
        if kind == "dispatch":
            return [partial(client.dispatch, calls[0])] * count
        batches: list[Batch] = [client.batch() for _ in range(count)]
        for batch in batches:
            batch.add(*calls)
        return [batch.dispatch for batch in batches]

    with hostile.silent_proxy(service.url) as proxy:
        client = driver.client(proxy.url, service.api_key, timeout=TIMEOUT)
        answers = together(driver, requests(client))
        proxy.lose_answers()
        answers += together(driver, requests(client))
    ids = answers if kind == "dispatch" else [id for answer in answers for id in answer]
    assert len(ids) == 2 * count * (1 if kind == "dispatch" else 3)
    with Client(service.api_key, api_url=service.url) as other:
        found = [info.dispatch_id for info in other.list(function=function, limit=1000)]
    assert sorted(found) == sorted(ids)


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


def test_reruns_and_purges_that_are_slow_are_asked_for_once(driver: Driver):
    """A second request would count only what the first has left."""

    class Slow(CallService):
        async def rerun_calls(self, request: Any, _: Any) -> RerunCallsResponse:
            if request.validate_only:
                return RerunCallsResponse(count=3)
            asked.append(request)
            await asyncio.sleep(2)
            return RerunCallsResponse(count=3 if len(asked) == 1 else 0)

        async def purge_calls(self, request: Any, context: Any) -> PurgeCallsResponse:
            found = await self.rerun_calls(request, context)
            return PurgeCallsResponse(count=found.count)

    asked: list[Any] = []

    with serve_app(CallServiceASGIApplication(Slow(), compressions=None)) as server:
        client = driver.client(server.url, timeout=TIMEOUT)
        assert driver.run(lambda: client.rerun_calls(function="f")) == 3
        asked.clear()
        assert driver.run(lambda: client.purge_calls(function="f")) == 3
    assert len(asked) == 1


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
    """The request that is under way would last three seconds more."""
    assert min(seconds_to_interrupt(service, protocol) for _ in range(3)) < 0.5


def seconds_to_interrupt(service: RunningService, protocol: str) -> float:
    """Return how long a process that waits for a call goes on after Ctrl-C."""
    command = [sys.executable, "-c", textwrap.dedent(CTRL_C)]
    command += [service.url, service.api_key, protocol]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        time.sleep(1)  # the request is under way
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        assert process.stdout.readline() == "interrupted\n"
        return time.monotonic() - start


@pytest.mark.parametrize("count", [1, 50])
def test_waits_go_on(driver: Driver, count: int, service: RunningService):
    """Calls are dispatched and waited for through a proxy that falls silent twice."""
    endpoint = Endpoint(url="http://127.0.0.1:1", env={})

    @endpoint.function
    def double(number: int) -> int:
        time.sleep(1.5)
        return 2 * number

    with serve_app(endpoint.app) as server, hostile.silent_proxy(service.url) as proxy:
        client = driver.client(proxy.url, service.api_key, timeout=3 * TIMEOUT)
        batch: Batch = client.batch()
        batch.add(*(new_call(server.url, "double", number) for number in range(count)))
        ids = driver.dispatch(batch)
        proxy.fall_silent()
        timer = threading.Timer(0.7, proxy.fall_silent)
        timer.start()
        results = wait_at_once(driver, client, ids)
        timer.join()
        assert results == [2 * number for number in range(count)]
        assert len(client_list(driver, client, server.url)) == count


@pytest.mark.parametrize("protocol", ["grpc", "connect"])
@pytest.mark.parametrize("count", [1, 50])
def test_silence_late_in_a_wait_is_found_within_seconds(
    driver: Driver, count: int, service: RunningService
):
    endpoint = Endpoint(url="http://127.0.0.1:1", env={})

    @endpoint.function
    async def later(number: int) -> int:
        await asyncio.sleep(8)
        return number

    with serve_app(endpoint.app) as server, hostile.silent_proxy(service.url) as proxy:
        client = driver.client(proxy.url, service.api_key, timeout=None)
        batch: Batch = client.batch()
        batch.add(*(new_call(server.url, "later", number) for number in range(count)))
        ids = driver.dispatch(batch)
        timer = threading.Timer(7, proxy.fall_silent)
        timer.start()
        start = time.monotonic()
        assert wait_at_once(driver, client, ids) == list(range(count))
        assert time.monotonic() - start < 18  # after 25 s, if a request waited for 20
        timer.join()


@pytest.mark.parametrize("protocol", ["grpc", "connect"])
@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_cancellation_is_sent_again(driver: Driver, lost: str, service: RunningService):
    """If the answer was lost, the second request finds that the call has finished."""
    with hostile.silent_proxy(service.url) as proxy:
        client = driver.client(proxy.url, service.api_key, timeout=TIMEOUT)
        call = driver.dispatch(client, new_call("http://127.0.0.1:1", "f"))
        if lost == "request":
            proxy.fall_silent()
        else:
            proxy.lose_answers()
        start = time.monotonic()
        assert driver.run(lambda: client.cancel(call)) == 1
        assert time.monotonic() - start < THIRD + 2
        with pytest.raises(CallError, match="CancelledError"):
            driver.run(lambda: client.wait(call))


@pytest.mark.parametrize("protocol", ["grpc", "connect"])
def test_a_cancellation_that_comes_too_late_is_refused(driver: Driver, service: RunningService):
    """It is sent again, and finds a call that has finished by itself."""
    endpoint = Endpoint(url="http://127.0.0.1:1", env={})

    @endpoint.function
    def short() -> int:
        return 1

    with serve_app(endpoint.app) as server, hostile.silent_proxy(service.url) as proxy:
        client = driver.client(proxy.url, service.api_key, timeout=TIMEOUT)
        call = driver.dispatch(client, new_call(server.url, "short"))
        assert driver.run(lambda: client.wait(call)) == 1
        proxy.fall_silent()
        with pytest.raises(RPCError, match="has finished already") as caught:
            driver.run(lambda: client.cancel(call))
        assert caught.value.code is Code.FAILED_PRECONDITION
        assert caught.value.resent


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
