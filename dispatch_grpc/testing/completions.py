"""The calls that are finished from outside while a Runner runs."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dispatch_grpc.codes import Status
from dispatch_grpc.schema import CallResult


class Completions:
    """Results from outside, by the names of calls. They may come from any thread, and early."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: dict[str, tuple[Status, CallResult]] = {}
        self._waiting: list[tuple[Sequence[str], Callable[[], object]]] = []

    def add(self, name: str, status: Status, result: CallResult) -> None:
        """Keep the first result of a call, and wake the run that waits for it."""
        with self._lock:
            self._results.setdefault(name, (status, result))
            wakes = [wake for names, wake in self._waiting if name in names]
        for wake in wakes:
            wake()

    def find(self, names: Sequence[str]) -> tuple[Status, CallResult] | None:
        """Return the status and the result of a call, if it was completed."""
        with self._lock:
            return next((self._results[name] for name in names if name in self._results), None)

    @contextmanager
    def waiting(self, names: Sequence[str], wake: Callable[[], object]) -> Iterator[None]:
        """Call `wake` on this event loop when the call is completed."""
        loop = asyncio.get_running_loop()
        waiting = names, lambda: loop.call_soon_threadsafe(wake)
        with self._lock:
            self._waiting.append(waiting)
        try:
            yield
        finally:
            with self._lock:
                self._waiting.remove(waiting)
