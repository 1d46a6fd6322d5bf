"""What clients ask of the service."""

import asyncio
import http.client
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter
from urllib.parse import urlsplit

import uvloop

from benchmarks.processes import ROOT
from benchmarks.service.table import timed
from dispatch_grpc import AsyncClient, Call, Client, new_call
from dispatch_grpc.client.settings import Protocol

PEER_PYTHON = ROOT / ".venv-service-peer" / "bin" / "python"
KEY = "benchmark-key"
CALLS, DBOS_CALLS, BATCH = 3000, 300, 1000
SINGLES, ALONE, BATCHES = 50, 12, 3
CHILDREN = 500
SINGLE_CALLS, SINGLE_TASKS = 1000, 64

PROTOCOLS: dict[Protocol, str] = {"grpc": "gRPC", "connect": "Connect"}


class Load:
    """What clients ask of the service; all that they do, so that calls can be counted."""

    def __init__(self, url: str, endpoint: str, queue_is_empty: Callable[[], bool]) -> None:
        self._url = url
        self._endpoint = endpoint
        self._queue_is_empty = queue_is_empty
        self._clients = {
            protocol: Client(KEY, api_url=url, protocol=protocol) for protocol in PROTOCOLS
        }
        self._scraping = http.client.HTTPConnection(urlsplit(url).netloc)
        self._expected = self._finished()

    def call(self, number: int, function: str = "f") -> Call:
        return new_call(self._endpoint, function, number)

    def _finished(self) -> int:
        """The number of calls that have finished, by the metrics."""
        self._scraping.request("GET", "/metrics")
        text = self._scraping.getresponse().read().decode()
        lines = [line.rpartition(" ") for line in text.splitlines()]
        finished = {
            name: float(value)
            for name, _, value in lines
            if name.startswith("dispatch_calls_finished_total")
        }
        assert all('"OK"' in name for name in finished), finished
        return round(sum(finished.values()))

    def left(self) -> int:
        left = self._expected - self._finished()
        assert left >= 0, "more calls have finished than were dispatched"
        return left

    def expect(self, number: int) -> None:
        """Count calls that others dispatch."""
        self._expected += number

    def skip(self) -> None:
        """Leave what others have dispatched, and what has finished, out of the count."""
        self._expected = self._finished()

    def settle(self, left: int = 0, seconds: float = 0.01) -> None:
        """Wait until no more calls than these have yet to finish; look now and then."""
        while self.left() > left:
            time.sleep(seconds)

    def batch(self, size: int, protocol: Protocol = "grpc", function: str = "f") -> float:
        """The time to dispatch a batch that is ready."""
        batch = self._clients[protocol].batch()
        for number in range(size):
            batch.add(self.call(number, function))
        self._expected += size
        start = perf_counter()
        batch.dispatch()
        return perf_counter() - start

    def complete(self) -> float:
        """The time of a call, from the first that is dispatched to the last that has finished."""
        start = perf_counter()
        for _ in range(CALLS // BATCH):
            self.batch(BATCH)
        while not self._queue_is_empty():
            time.sleep(0.01)
        took = (perf_counter() - start) / CALLS
        assert self.left() == 0, "the queue is empty, and not all calls have finished"
        return took

    def single(self, protocol: Protocol, *, alone: bool) -> float:
        """The time to dispatch one call: when those before it are gone, or while they run."""
        times = []
        for number in range(ALONE if alone else SINGLES):
            call = self.call(number)
            self._expected += 1
            times.append(timed(partial(self._clients[protocol].dispatch, call)))
            while alone and not self._queue_is_empty():
                time.sleep(0.01)
        self.settle()
        return median(times)

    def singles(
        self, protocol: Protocol, count: int = SINGLE_CALLS, tasks: int = SINGLE_TASKS
    ) -> float:
        """The time of a call, as `complete`, of tasks that each dispatch one call at a time."""

        async def dispatch() -> None:
            calls = iter([self.call(number) for number in range(count)])
            async with AsyncClient(KEY, api_url=self._url, protocol=protocol) as client:

                async def task() -> None:
                    for call in calls:
                        await client.dispatch(call)

                await asyncio.gather(*(task() for _ in range(tasks)))

        self._expected += count
        start = perf_counter()
        uvloop.run(dispatch())
        while not self._queue_is_empty():
            time.sleep(0.01)
        took = (perf_counter() - start) / count
        self.settle()
        return took

    def batches(self, protocol: Protocol) -> float:
        """The time for one call of a batch."""
        times = []
        for _ in range(BATCHES):
            times.append(self.batch(BATCH, protocol) / BATCH)
            self.settle()
        return median(times)

    def roots(self) -> float:
        took = self.batch(CHILDREN)
        return took + timed(self.settle)

    def poll(self) -> float:
        start = perf_counter()
        self._expected += CHILDREN + 1
        self._clients["grpc"].dispatch(self.call(CHILDREN, "poll"))
        self.settle()
        return perf_counter() - start


def dispatching(url: str, protocol: Protocol) -> Callable[[int, float], float]:
    """The time to dispatch one call to something that does not run it."""
    client = Client(KEY, api_url=url, protocol=protocol)

    def single(count: int, pause: float) -> float:
        times = []
        for number in range(count):
            call = new_call("http://127.0.0.1:1", "f", number)
            times.append(timed(partial(client.dispatch, call)))
            if pause:
                time.sleep(pause)
        return median(times)

    return single
