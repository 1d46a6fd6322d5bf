"""The memory that large values may take at one time, shared by all calls of a process.

A value is large from when it is read until nobody holds it any more: a request until it has been
sent, an answer until what became of it is in the database. Those who wait for memory are not read
from meanwhile, so that it is their endpoints that wait.

- A value of up to `FREE_BYTES` waits for nothing. What is larger than `_MEDIUM_BYTES` cannot have
  the last quarter, so that the others do not wait for it.
- Requests have one half and answers the other. Who holds memory for an answer waits for none, so
  that nothing waits in a circle.
- Hosts take turns. A host gets more only while it holds no more than is free: one whose endpoints
  do not read leaves memory to the others.
- A value that is larger than the whole passes alone.
"""

import asyncio
from collections import Counter, deque
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FREE_BYTES = 64 * 1024
"""The size up to which a value takes no memory of the budget."""
_MEDIUM_BYTES = 1024 * 1024


class Part:
    """A number of bytes, and those who wait for some. It belongs to one event loop.

    Args:
        total: The number of bytes.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held: Counter[str] = Counter()
        self._in_use = 0
        self._waiting: dict[
            str, deque[tuple[int, asyncio.Future[None]]]
        ] = {}  # by whose turn it is

    async def take(self, host: str, size: int) -> None:
        """Take bytes for a value of a host; wait until there are enough."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(host, deque()).append((size, future))
        self._grant()
        try:
            await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._leave(host, future)
            else:
                self.give_back(host, size)
            raise

    def give_back(self, host: str, size: int) -> None:
        """Give bytes back."""
        self._in_use -= size
        self._held[host] -= size
        if not self._held[host]:
            del self._held[host]
        self._grant()

    def _leave(self, host: str, future: "asyncio.Future[None]") -> None:
        left = deque(one for one in self._waiting.get(host, ()) if one[1] is not future)
        if left:
            self._waiting[host] = left
        else:
            self._waiting.pop(host, None)
        self._grant()

    def _grant(self) -> None:
        """Let those begin for whom there are enough bytes."""
        while (host := self._next()) is not None:
            waiting = self._waiting.pop(host)
            size, future = waiting.popleft()
            if waiting:
                self._waiting[host] = waiting  # its turn comes after the others'
            if not future.done():  # it may be cancelled, and not have left yet
                self._in_use += size
                self._held[host] += size
                future.set_result(None)

    def _next(self) -> str | None:
        free = self._total - self._in_use
        for host, waiting in self._waiting.items():
            size, _ = waiting[0]
            if self._held[host] > free:
                continue
            # Nobody overtakes the one whose turn it is, or a large value would wait for ever.
            return host if size <= free or not self._in_use else None
        return None


class Memory:
    """The budget of a process.

    Args:
        total: Number of bytes.
    """

    def __init__(self, total: int) -> None:
        self._requests = _parts(total // 2)
        self._answers = _parts(total // 2)

    def share(self, host: str) -> "Share":
        """Return what a call of a host holds: nothing yet."""
        return Share(host, self._requests, self._answers)


def _parts(total: int) -> tuple[Part, Part]:
    """Return the parts for values of medium size, and for larger ones."""
    return Part(total // 4), Part(total - total // 4)


class Share:
    """What an attempt holds of the budget: for its request, and for its answer.

    Args:
        host: The host of its endpoint.
        requests: The parts for requests.
        answers: The parts for answers.

    Attributes:
        request: What the request holds.
        answer: What the answer holds.
    """

    def __init__(self, host: str, requests: tuple[Part, Part], answers: tuple[Part, Part]) -> None:
        self.request: Held = Held(host, requests)
        self.answer: Held = Held(host, answers)

    def give_back(self) -> None:
        """Give back all that is held."""
        self.request.give_back()
        self.answer.give_back()


class Held:
    """The memory of one value.

    Attributes:
        waiting: Makes the context in which it waits for memory.
        size: Number of bytes that it holds.
    """

    def __init__(self, host: str, parts: tuple[Part, Part]) -> None:
        self.waiting: Callable[[], AbstractContextManager[None]] = nullcontext
        self._host = host
        self._medium, self._large = parts
        self._part: Part | None = None
        self.size: int = 0

    async def take(self, size: int) -> None:
        """Have so many bytes at least; wait until there are enough."""
        if size <= max(self.size, FREE_BYTES):
            return
        self.give_back()  # who waits holds nothing
        part = self._medium if size <= _MEDIUM_BYTES else self._large
        with self.waiting():
            await part.take(self._host, size)
        self._part, self.size = part, size

    def keep(self, size: int) -> None:
        """Give back what is more than the value has."""
        if self._part is not None and size < self.size:
            self._part.give_back(self._host, self.size - size)
            self.size = size

    def give_back(self) -> None:
        """Give back all that is held."""
        if self._part is not None:
            self._part.give_back(self._host, self.size)
        self._part, self.size = None, 0
