"""A clock that skips the time in which nothing runs."""

import asyncio
import time
from datetime import UTC, datetime


class Clock:
    """The time of one run of the Runner: real time plus the time that was skipped.

    The clock counts the active parts of the run. When all of them wait, it skips to the earliest
    time that one of them waits for.
    """

    def __init__(self) -> None:
        self._skipped = 0.0
        self._active = 1
        self._waiting: dict[asyncio.Future[None], float] = {}

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        return time.time() + self._skipped

    def now_us(self) -> int:
        """Return the time, in microseconds since 1970."""
        return time.time_ns() // 1000 + round(self._skipped * 1e6)

    def datetime(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)

    def begin(self) -> None:
        """Count one more active part."""
        self._active += 1

    def end(self) -> None:
        """Count one active part less."""
        self._active -= 1
        self._skip()

    async def sleep(self, seconds: float) -> None:
        """Wait for some seconds."""
        await self.wait(asyncio.get_running_loop().create_future(), self.now() + seconds)

    async def wait(self, waiter: asyncio.Future[None], until: float) -> None:
        """Wait until `wake` is called with the waiter, or until a time in seconds since 1970."""
        loop = asyncio.get_running_loop()
        self._waiting[waiter] = until
        timer = loop.call_later(max(until - self.now(), 0), self.wake, waiter)
        self.end()
        try:
            await waiter
        finally:
            timer.cancel()
            if self._waiting.pop(waiter, None) is not None:  # cancelled
                self._active += 1

    def wake(self, waiter: asyncio.Future[None]) -> None:
        """Resume a waiting part."""
        if self._waiting.pop(waiter, None) is not None:
            self._active += 1
            if not waiter.done():
                waiter.set_result(None)

    def _skip(self) -> None:
        if self._active == 0 and self._waiting:
            waiter = min(self._waiting, key=self._waiting.__getitem__)
            self._skipped += max(self._waiting[waiter] - self.now(), 0)
            self.wake(waiter)
