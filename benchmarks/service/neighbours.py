"""Single calls of an endpoint that is well, beside endpoints that are dead or hang.

The time of a call is that from its dispatch until its result is there.
"""

import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from statistics import median
from time import perf_counter

from benchmarks.processes import Start
from benchmarks.service.load import KEY
from benchmarks.service.postgres import Postgres
from benchmarks.service.table import milliseconds
from dispatch_grpc import Client, new_call

CALLS = 200
CALLS_P50, CALLS_P99 = CALLS // 2, CALLS * 99 // 100
ROUNDS = 3
DEAD_CALLS, BATCH = 200_000, 1000
HANGING_HOSTS, HANGING_CALLS = 5, 400


class Neighbours:
    """Measures the times of calls.

    Args:
        url: URL of the service.
        key: Its API key.
        endpoint: URL of the endpoint that is well.
    """

    def __init__(self, url: str, key: str, endpoint: str) -> None:
        self._client = Client(key, api_url=url)
        self._endpoint = endpoint

    def times(self) -> Sequence[float]:
        """The times of single calls, one after the other, the shortest first."""
        found = []
        for number in range(CALLS):
            call = new_call(self._endpoint, "f", number)
            start = perf_counter()
            self._client.wait(self._client.dispatch(call), timeout=None)
            found.append(perf_counter() - start)
        return sorted(found)

    def add(self, endpoint: str, number: int) -> None:
        """Dispatch calls of another endpoint, which expire in an hour."""
        for start in range(0, number, BATCH):
            batch = self._client.batch()
            for one in range(start, min(start + BATCH, number)):
                batch.add(new_call(endpoint, "f", one, expiration=timedelta(hours=1)))
            batch.dispatch()


def dead() -> str:
    """The URL of an endpoint that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def hanging() -> Iterator[str]:
    """An endpoint that takes connections and never answers."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    taken.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for one in taken:
            one.close()


def neighbours(server: Postgres, start: Start) -> None:
    """Measure single calls beside endpoints that are dead or hang; each beside an idle service."""
    port = start(sys.executable, "service.endpoint").hello
    url = start(sys.executable, "service.process", server.url("ours"), KEY).hello["url"]
    measured = Neighbours(url, KEY, f"http://127.0.0.1:{port}")
    measured.times()  # does not count

    def middle() -> Sequence[float]:
        """The p50 and the p99: the medians of some rounds, since others use the machine too."""
        rounds = [measured.times() for _ in range(ROUNDS)]
        return [median(times[place] for times in rounds) for place in (CALLS_P50, CALLS_P99)]

    idle = middle()
    print("| single calls, beside | p50 | p99 | to idle, p50 | to idle, p99 | target | |")
    print("|---|--:|--:|--:|--:|--:|---|", flush=True)

    def report(name: str) -> None:
        times = middle()
        ratios = [one / other for one, other in zip(times, idle, strict=True)]
        shown = [milliseconds(one) for one in times]
        shown += [f"{ratio:.2f}" for ratio in ratios]
        mark = "pass" if max(ratios) <= 3 else "**miss**"
        print(f"| {' | '.join((name, *shown, '≤ 3', mark))} |", flush=True)

    report("nothing")
    with ExitStack() as stack:
        for _ in range(HANGING_HOSTS):
            measured.add(stack.enter_context(hanging()), HANGING_CALLS)
        report(f"{HANGING_HOSTS} hosts that hang, with {HANGING_CALLS} calls each")
    measured.add(dead(), DEAD_CALLS)
    report(f"{DEAD_CALLS:,} calls of a dead host")
