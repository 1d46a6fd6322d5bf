"""Decide which jobs are claimed next: lanes are served in turn, and hosts share slots. Pure.

A lane is a host and a function. A backlog delays its own lane only, since lanes with jobs get one
slot each in turn. No host can take all slots: it gets another one only while it holds fewer than
are free. So a host alone holds up to half of them, two hosts a third each, and some stay free for
a host that comes later. The functions of a host share its part in the same way, with four times
what is free. If there are few slots, none are kept free. Lanes with priorities: see `turns`.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping

from dispatch_grpc.service.turns import Turns

MAX_LANES = 10_000  # known to have jobs; later scans find the others
_FEW = 16
_HOST_SHARE = 1
_FUNCTION_SHARE = 4


def lane_of(host: str, function: str) -> str:
    """Return the lane of a function: a host has no space, and a function neither."""
    return f"{host} {function}"


def host_of_lane(lane: str) -> str:
    """Return the host of a lane."""
    return lane.partition(" ")[0]


def parts_of_lane(lane: str) -> tuple[str, str]:
    """Return the host and the function of a lane."""
    host, _, function = lane.partition(" ")
    return host, function


class Lanes:
    """The lanes that have jobs, and the slots that are taken.

    Args:
        total: Number of slots.
        per_host: Largest number of slots of one host.
        allowance: How many more calls may be begun on a host now; None when nothing limits it.
        is_paused: Whether no job of a lane is to be taken.
        is_limited: Whether a policy limits how many jobs of a lane are taken.
        is_full: Whether a policy lets no job of a lane be taken now.
        priority: Returns what gives the priority of a lane; None if all have the same.
        chance: Returns a number from 0 to 1.
    """

    def __init__(
        self,
        total: int,
        per_host: int,
        allowance: Callable[[str], int | None] = lambda _: None,
        is_paused: Callable[[str], bool] = lambda _: False,
        *,
        is_limited: Callable[[str], bool] = lambda _: False,
        is_full: Callable[[str], bool] = lambda _: False,
        priority: Callable[[], Callable[[str], int] | None] = lambda: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._total = total
        self._per_host = per_host
        self._allowance = allowance
        self._is_paused = is_paused
        self._is_limited = is_limited
        self._is_full = is_full
        self._priority = priority
        self._chance = chance
        self._ready: dict[str, None] = {}  # in the order in which they are served
        self._lanes: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._taken = 0
        self._asked: set[str] = set()  # hosts whose jobs are being claimed
        self._moved: set[str] = set()  # hosts that gave back a slot since `stalled`

    @property
    def taken(self) -> int:
        """Number of slots that are taken."""
        return self._taken

    def has_jobs(self, lane: str) -> None:
        """Note that a lane has jobs."""
        if self._is_paused(lane):
            return
        if len(self._ready) >= MAX_LANES and lane not in self._ready:
            # The first has waited for longest: if it cannot be served, it makes way.
            first = next(iter(self._ready))
            if not self._is_full(first) and self._allowance(host_of_lane(first)) != 0:
                return
            del self._ready[first]
        self._ready.setdefault(lane)

    def drop_paused(self) -> None:
        """Forget the jobs of lanes that are paused now: a scan finds them again later."""
        for lane in [lane for lane in self._ready if self._is_paused(lane)]:
            del self._ready[lane]

    def plan(self, most: int) -> dict[str, int]:
        """Return the number of jobs to take, by lane: see `turns`."""
        return dict(Counter(self.turns(most)))

    def turns(self, most: int) -> list[str]:
        """Share free slots among the lanes that have jobs, one each in turn.

        The lanes are then no longer known to have jobs: those whose jobs were as many as their
        slots are to be named again.

        Args:
            most: Largest number of slots to share.

        Returns:
            The lanes in the order in which they got slots, each for one job.
        """
        free = self._total - self._taken
        left = min(most, free)
        granted: Counter[str] = Counter()
        hosts: Counter[str] = Counter()
        allowed: dict[str, int | None] = {}
        found: list[str] = []
        waiting = (lane for lane in self._ready if not self._is_full(lane))
        turns = Turns(waiting, self._priority(), self._chance)
        while left > 0 and (lane := turns.next()) is not None:
            host = host_of_lane(lane)
            if host not in allowed:
                allowed[host] = self._allowance(host)
            limit = allowed[host]
            has_room = limit is None or hosts[host] < limit
            of_lane, of_host = (self._lanes[lane] + granted[lane], self._hosts[host] + hosts[host])
            if has_room and self._may_grow(of_lane, of_host, free):
                granted[lane] += 1
                hosts[host] += 1
                left, free = left - 1, free - 1
                found.append(lane)
                turns.again(lane)
        for lane in granted:
            del self._ready[lane]
        self._asked = set(hosts)
        return found

    def claimed(self) -> None:
        """Note that the jobs of `turns` are claimed, and lanes with more of them named again."""
        self._asked.clear()

    def take_spare(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Take slots for jobs that need not wait for their turn, since nothing waits for a slot.

        That is while more than half of the slots are free, and no other job of the host waits.

        Args:
            wanted: Number of the jobs, by lane.

        Returns:
            The number of slots that were taken, by lane.
        """
        waiting = self.hosts() | self._asked
        taken: Counter[str] = Counter()
        for lane, number in wanted.items():
            host = host_of_lane(lane)
            if host in waiting or self._is_paused(lane) or self._is_limited(lane):
                continue
            allowed = self._allowance(host)
            most = number if allowed is None else min(number, allowed)
            while taken[lane] < most:
                free = self._total - self._taken
                if 2 * free <= self._total or not self._may_grow(
                    self._lanes[lane], self._hosts[host], free
                ):
                    break
                self.take(lane)
                taken[lane] += 1
        return dict(+taken)

    def _may_grow(self, of_lane: int, of_host: int, free: int) -> bool:
        bound = self._per_host
        if self._total > _FEW:
            bound = min(bound, _HOST_SHARE * free)
        return of_host < bound and of_lane < _FUNCTION_SHARE * (bound - of_host)

    def hosts(self) -> set[str]:
        """Return the hosts that have jobs, but for those whose policies are full."""
        return {host_of_lane(lane) for lane in self._ready if not self._is_full(lane)}

    def take(self, lane: str) -> None:
        """Take a slot."""
        self._taken += 1
        self._lanes[lane] += 1
        self._hosts[host_of_lane(lane)] += 1

    def give_back(self, lane: str) -> None:
        """Give back a slot."""
        self._taken -= 1
        host = host_of_lane(lane)
        self._moved.add(host)
        for counter, key in ((self._lanes, lane), (self._hosts, host)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]

    def stalled(self) -> set[str]:
        """Return the hosts whose jobs wait and that gave back no slot since this was asked last."""
        found = {host for host in self.hosts() - self._moved if self._hosts[host]}
        self._moved.clear()
        return found

    def of_host(self, host: str) -> int:
        """Return the number of slots that a host has."""
        return self._hosts[host]
