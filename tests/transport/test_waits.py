"""Many waits on one client: they hold up neither its dispatches nor each other.

Services and proxies limit the requests of an HTTP/2 connection that run at the same time; ours to
128. Further ones wait in the client.
"""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_grpc import Batch, ClientStateError, Endpoint, new_call
from dispatch_grpc.testing import Server, serve_app
from dispatch_grpc.transport.wait_places import (
    CHANNEL_WAITS,
    FIRST_CHANNEL_WAITS,
    MAX_CHANNELS,
    WaitPlaces,
)
from tests import hostile
from tests.conftest import Driver, RunningService
from tests.transport.test_processes import python
from tests.waiting import until

WAITS = 300
over_both = pytest.mark.parametrize("protocol", ["grpc", "connect"])
over_grpc = pytest.mark.parametrize("protocol", ["grpc"])


@pytest.fixture
def functions() -> Iterator[Server]:
    """An endpoint with a function that doubles a number."""
    endpoint = Endpoint(url="http://127.0.0.1:1", env={})

    @endpoint.function
    async def double(number: int) -> int:
        return 2 * number

    with serve_app(endpoint.app) as server:
        yield server


def later(driver: Driver, client: Any, url: str, count: int, seconds: float) -> list[str]:
    """Dispatch calls that begin later."""
    batch: Batch = client.batch()
    batch.add(*(new_call(url, "double", number) for number in range(count)), delay=seconds)
    return list(driver.dispatch(batch))


def meanwhile(
    driver: Driver,
    client: Any,
    ids: list[str],
    act: Callable[[], Any] | None = None,
    acts: int = 1,
    *,
    return_exceptions: bool = False,
) -> list[Any]:
    """Wait for calls, each by itself, and do something meanwhile, several times at once."""
    if not driver.is_async:
        with ThreadPoolExecutor(len(ids) + acts) as pool:
            waits = [pool.submit(client.wait, one, int, timeout=60) for one in ids]
            time.sleep(1)  # they are under way
            for done in [pool.submit(act) for _ in range(acts) if act is not None]:
                done.result()
            if return_exceptions:
                return [wait.exception() or wait.result() for wait in waits]
            return [wait.result() for wait in waits]

    async def main() -> list[Any]:
        waits = [asyncio.ensure_future(client.wait(one, int, timeout=60)) for one in ids]
        await asyncio.sleep(1)
        await asyncio.gather(*(act() for _ in range(acts) if act is not None))
        return await asyncio.gather(*waits, return_exceptions=return_exceptions)

    return list(driver.run(main))


@over_both
def test_dispatches_do_not_wait_behind_them(
    driver: Driver, service: RunningService, functions: Server, caplog: pytest.LogCaptureFixture
):
    """A request of `wait` takes 4 seconds: what waits behind two rounds of 128 begins after 8."""
    client = driver.client(service.url, service.api_key)
    call = new_call(functions.url, "double", 21)

    def act() -> Any:
        return client.wait(client.dispatch(call, timeout=5), int, timeout=5)

    async def async_act() -> Any:
        return await client.wait(await client.dispatch(call, timeout=5), int, timeout=5)

    ids = later(driver, client, functions.url, WAITS, 9)
    started = time.monotonic()
    found = meanwhile(driver, client, ids, async_act if driver.is_async else act, 20)
    assert time.monotonic() - started < 20
    assert not [one for one in caplog.messages if "pool is full" in one]  # of urllib3
    assert found == [2 * number for number in range(WAITS)]


@over_grpc
@pytest.mark.parametrize(
    ("count", "connections"),
    [(FIRST_CHANNEL_WAITS, 1), (FIRST_CHANNEL_WAITS + 1, 2), (FIRST_CHANNEL_WAITS + 101, 3)],
)
def test_connections_are_opened_when_they_are_needed(
    driver: Driver, count: int, connections: int, service: RunningService, functions: Server
):
    with hostile.silent_proxy(service.url) as proxy:
        client = driver.client(proxy.url, service.api_key)
        for _ in range(2):  # the second time, there are all of them
            ids = later(driver, client, functions.url, count, 2)
            assert meanwhile(driver, client, ids) == [2 * number for number in range(count)]
            assert proxy.connections == connections


@over_grpc
def test_a_channel_of_the_caller_carries_them_all(
    driver: Driver, service: RunningService, functions: Server
):
    with hostile.silent_proxy(service.url) as proxy:
        address = proxy.url.removeprefix("http://")

        def open_channel() -> Any:
            return (grpc.aio if driver.is_async else grpc).insecure_channel(address)

        async def async_open_channel() -> Any:
            return open_channel()

        channel = driver.run(async_open_channel if driver.is_async else open_channel)
        client = driver.client(proxy.url, service.api_key, channel=channel)
        ids = later(driver, client, functions.url, 100, 2)
        assert meanwhile(driver, client, ids) == [2 * number for number in range(100)]
        assert proxy.connections == 1
        driver.run(client.close)
        driver.run(channel.close)


@over_both
def test_they_go_on_when_connections_fall_silent(
    driver: Driver, service: RunningService, functions: Server
):
    with hostile.silent_proxy(service.url) as proxy:
        client = driver.client(proxy.url, service.api_key)
        ids = later(driver, client, functions.url, 150, 3)
        timer = threading.Timer(1.5, proxy.fall_silent)
        timer.start()
        assert meanwhile(driver, client, ids) == [2 * number for number in range(150)]
        timer.join()


@over_both
def test_closing_the_client_ends_them_all(driver: Driver, service: RunningService):
    with hostile.silent_proxy(service.url) as proxy:
        client = driver.client(proxy.url, service.api_key)
        ids = later(driver, client, "http://127.0.0.1:1", 200, 3600)
        transport = client._transport  # so that a channel that was forgotten stays open
        found = meanwhile(driver, client, ids, client.close, 1, return_exceptions=True)
        assert {type(one) for one in found} == {ClientStateError}
        del found
        gc.collect()  # grpc.aio keeps a connection for the requests in the tracebacks
        until(lambda: proxy.ended == proxy.connections > 2, 20)
        del transport
    with pytest.raises(ClientStateError, match="the client is closed"):
        driver.run(lambda: client.wait(ids[0]))


def test_a_forked_child_opens_its_own_connections(service: RunningService, functions: Server):
    """A child of a client that has several can wait, and so can its parent."""
    code = """
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about fork and threads
        from concurrent.futures import ThreadPoolExecutor
        from dispatch_grpc import Client, new_call
        url, key, endpoint = sys.argv[1:]
        client = Client(key, api_url=url)
        def wait():
            batch = client.batch()
            batch.add(*(new_call(endpoint, "double", number) for number in range(100)), delay=1)
            ids = batch.dispatch()
            with ThreadPoolExecutor(100) as pool:
                assert sum(pool.map(client.wait, ids)) == 9900
        wait()
        pid = os.fork()
        if pid == 0:
            try:
                wait()
                client.close()
                os._exit(0)
            finally:
                os._exit(1)
        wait()
        assert os.waitpid(pid, 0)[1] == 0
        wait()
        client.close()
    """
    python(code, service.url, service.api_key, functions.url)


@given(st.lists(st.integers(-50, 400), max_size=40))
def test_places(steps: list[int]):
    """Each step takes so many places, or gives some back."""
    places, taken = WaitPlaces(), [0] * MAX_CHANNELS
    limits = [FIRST_CHANNEL_WAITS] + [CHANNEL_WAITS] * (MAX_CHANNELS - 1)
    opened = 1
    for step in steps:
        for _ in range(step):
            number = places.take()
            room = [one for one in range(MAX_CHANNELS) if taken[one] < limits[one]]
            if room:
                assert number == room[0]  # no further channel without need
                assert number <= opened  # which is opened after the ones before it
            else:
                assert number > 0  # other requests keep their share of the first channel
                assert taken[number] == min(taken[1:])
            taken[number] += 1
            opened = max(opened, number + 1)
        for _ in range(min(-step, sum(taken))):
            number = (step * 7 + sum(taken)) % MAX_CHANNELS
            while not taken[number]:
                number = (number + 1) % MAX_CHANNELS
            places.release(number)
            taken[number] -= 1
