"""Whose turn it is: lanes by their priorities, so that each is served in time. Pure.

A slot goes to the lanes of the highest priority that wait, in turn. Of the slots for which lanes of
several priorities wait, one in four, by chance, goes to the lanes below the highest instead, these
in turn whatever their priorities. So lanes of a high priority cannot keep the others waiting for
ever: of n lanes below, each gets one slot of 4n on average.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count

LOWER_PART = 0.25


class Turns:
    """The lanes that wait for slots.

    Args:
        lanes: The lanes, in turn.
        priority: Returns the priority of a lane; None if all have the same.
        chance: Returns a number from 0 to 1.
    """

    def __init__(
        self,
        lanes: Iterable[str],
        priority: Callable[[str], int] | None,
        chance: Callable[[], float],
    ) -> None:
        self._priority = priority
        self._chance = chance
        self._numbers = count()
        self._first: Iterator[str] = iter(lanes if priority is None else ())
        self._again: deque[str] = deque()
        self._levels: dict[int, deque[tuple[int, str]]] = {}
        if priority is not None:
            for lane in lanes:
                self.again(lane)

    def again(self, lane: str) -> None:
        """Have a lane wait for another slot, after the others."""
        if self._priority is None:
            self._again.append(lane)
        else:
            level = self._levels.setdefault(self._priority(lane), deque())
            level.append((next(self._numbers), lane))

    def next(self) -> str | None:
        """Return the lane to which the next slot is offered; None if none waits."""
        if self._priority is None:
            lane = next(self._first, None)
            return lane if lane is not None or not self._again else self._again.popleft()
        if not self._levels:
            return None
        level = max(self._levels)
        if len(self._levels) > 1 and self._chance() < LOWER_PART:
            lower = (one for one in self._levels if one != level)
            level = min(lower, key=lambda one: self._levels[one][0])
        _, lane = self._levels[level].popleft()
        if not self._levels[level]:
            del self._levels[level]
        return lane
