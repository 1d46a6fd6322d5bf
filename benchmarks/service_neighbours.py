"""Single calls of an endpoint that is well, beside endpoints that are dead or hang.

The time of a call is that from its dispatch until its result is there.
"""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import perf_counter

from dispatch_grpc import Client, new_call

CALLS = 200
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
