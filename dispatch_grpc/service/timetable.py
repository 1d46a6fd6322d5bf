"""When there is something to dequeue: now, when a job comes due, or with the next scan."""

import asyncio
from collections.abc import Collection, Iterable, Mapping

from dispatch_grpc.service.events import is_set_within


class Timetable:
    """What wakes the loop that dequeues.

    Attributes:
        look_at: When the whole queue is scanned next, by the time of the event loop.
    """

    def __init__(self) -> None:
        self.look_at: float = 0.0
        self._due: dict[str, float] = {}  # when jobs of lanes are due next
        self._later: set[str] = set()  # lanes whose jobs came due, of which there may be more
        self._wake = asyncio.Event()

    def wake_up(self) -> None:
        """End the wait that is under way, or the next one."""
        self._wake.set()

    def begin(self) -> None:
        """Note that the loop looks at everything: what wakes it from now on is news."""
        self._wake.clear()

    async def wait(self, seconds: float) -> None:
        """Wait until it is woken, but no longer than some seconds."""
        await is_set_within(self._wake, seconds)

    def look_again(self) -> None:
        """Have the whole queue scanned at once."""
        self.look_at = 0.0
        self._wake.set()

    def expect(self, lane: str, seconds: float) -> None:
        """Note that a lane has a job that is due in some seconds."""
        self._due[lane] = min(self._due.get(lane, float("inf")), now() + seconds)
        self._wake.set()

    def note(self, lanes: Mapping[str, float], asked: Collection[str] = ()) -> list[str]:
        """Note when jobs are due.

        Args:
            lanes: In how many seconds the first job of each lane is due; 0 or less: it is.
            asked: The lanes of `may_have_later` for which this is the answer.

        Returns:
            The lanes that have jobs now.
        """
        self._later.difference_update(asked)
        at, found = now(), []
        for lane, seconds in lanes.items():
            if seconds <= 0:
                self._later.add(lane)
                found.append(lane)
            else:
                self._due[lane] = at + seconds
        return found

    def come_due(self) -> Collection[str]:
        """Return the lanes whose jobs have come due."""
        until = now()
        found = [lane for lane, at in self._due.items() if at <= until]
        for lane in found:
            del self._due[lane]
        self._later.update(found)
        return found

    def may_have_later(self, lanes: Iterable[str]) -> list[str]:
        """Return those of some lanes that may have jobs that are due later, besides those now."""
        return [lane for lane in lanes if lane in self._later]

    def seconds_left(self) -> float:
        """Return in how many seconds there is something to dequeue, or to scan the queue for."""
        soonest = min(self._due.values(), default=self.look_at)
        return max(min(soonest, self.look_at) - now(), 0)


def now() -> float:
    """Return the time of the event loop."""
    return asyncio.get_running_loop().time()
