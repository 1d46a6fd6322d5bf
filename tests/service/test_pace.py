"""How fast a host is called that limits its rate: by simulation, and by examples. No clock runs."""

import heapq
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import NamedTuple, Protocol

import pytest

from dispatch_grpc.service.breaker import FORGET_SECONDS
from dispatch_grpc.service.pace import Pace

START = 0.37  # no whole second, since some limiters begin a window there
SLOTS = 128


class Limiter(Protocol):
    """Decides which calls an endpoint runs."""

    def takes(self, now: float) -> bool:
        """Return whether a call is run, or refused."""
        ...


class Bucket:
    """A bucket of tokens.

    Args:
        rate: Returns how many tokens are added a second.
        size: How many it holds.
    """

    def __init__(self, rate: Callable[[float], float], size: float) -> None:
        self._rate = rate
        self._size = self._tokens = size
        self._at = 0.0

    def takes(self, now: float) -> bool:
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._rate(now))
        self._at = now
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True


class Seconds:
    """So many calls in each second of the clock."""

    def __init__(self, number: int) -> None:
        self._number, self._taken, self._second = number, 0, 0

    def takes(self, now: float) -> bool:
        if int(now) > self._second:
            self._second, self._taken = int(now), 0
        self._taken += 1
        return self._taken <= self._number


class Process:
    """A process of the service with a deep queue and 128 slots."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.busy = 0
        self.is_waiting = False


class Attempt(NamedTuple):
    """When a call was begun, and whether it was run."""

    at: float
    taken: bool


def simulate(limiter: Limiter, latency: float, seconds: float, processes: int = 1) -> list[Attempt]:
    """Call as fast as is allowed.

    Args:
        limiter: What limits the endpoint.
        latency: Mean time until an answer comes, also until a refusal; from half to one and a half
            of it, at random.
        seconds: How long.
        processes: Number of the processes that share the endpoint.
    """
    chance = Random(1)
    running = [Process() for _ in range(processes)]
    attempts: list[Attempt] = []
    events: list[tuple[float, int, Process, Attempt | None]] = []
    number = 0

    def later(at: float, process: Process, ended: Attempt | None) -> None:
        nonlocal number
        number += 1
        heapq.heappush(events, (at, number, process, ended))

    for process in running:
        later(START + chance.random() * 0.1, process, None)
    while (event := heapq.heappop(events))[0] < START + seconds:
        now, _, process, ended = event
        pace = process.pace
        if ended is None:
            process.is_waiting = False
        else:
            process.busy -= 1
            if ended.taken:
                pace.accepted(now)
            else:
                pace.refused(now, ended.at)
        if process.is_waiting:
            continue
        allowed = pace.allowance(now)
        room = SLOTS - process.busy
        for _ in range(room if allowed is None else min(room, allowed)):
            pace.begun(now)
            process.busy += 1
            attempts.append(Attempt(now, limiter.takes(now)))
            later(now + latency * chance.uniform(0.5, 1.5), process, attempts[-1])
        if process.busy < SLOTS:
            process.is_waiting = True
            later(now + max(pace.seconds_to_next(now), 1e-6), process, None)
    return attempts


def figures(
    attempts: list[Attempt], limit: float, first: float, last: float
) -> tuple[float, float]:
    """Return the parts of the limit that was used, and of the attempts that was refused."""
    some = [one.taken for one in attempts if first <= one.at - START < last]
    return sum(some) / (limit * (last - first)), some.count(False) / len(some)


def limiter(kind: str, limit: int) -> Limiter:
    if kind == "seconds":
        return Seconds(limit)
    size = {"bucket of one": 1, "bucket of a tenth": limit / 10, "bucket of all": limit}[kind]
    return Bucket(lambda _: limit, max(size, 1))


BUCKETS = ["bucket of a tenth", "bucket of all", "seconds"]


def check(kind: str, limit: int, latency: float, processes: int) -> None:
    attempts = simulate(limiter(kind, limit), latency, 70, processes)
    possible = min(limit, processes * SLOTS / latency)
    used, refused = figures(attempts, possible, 10, 70)
    assert used >= 0.9
    assert refused < 0.05
    # From the start, but for the first calls, one for each slot: nothing is known of the limit yet.
    later = [one.taken for one in attempts[processes * SLOTS :]]
    assert later.count(False) / len(later) < 0.15


@pytest.mark.parametrize("latency", [0.001, 0.05, 0.5])
@pytest.mark.parametrize("limit", [5, 50, 500])
@pytest.mark.parametrize("kind", ["bucket of one", *BUCKETS])
def test_a_limit_is_found_and_kept_to(kind: str, limit: int, latency: float):
    if (kind, limit, latency) == ("bucket of one", 500, 0.5):
        limit = 200  # 128 slots are 256 calls a second, begun at random times: too close for it
    check(kind, limit, latency, 1)


@pytest.mark.parametrize("latency", [0.001, 0.5])
@pytest.mark.parametrize("limit", [5, 50, 500])
@pytest.mark.parametrize("kind", BUCKETS)
def test_processes_that_share_a_limit_keep_to_it(kind: str, limit: int, latency: float):
    """But for a bucket of one, which refuses calls of two processes at the same moment."""
    if (kind, limit) == ("bucket of a tenth", 5):
        limit = 20
    check(kind, limit, latency, 2)


@pytest.mark.parametrize("latency", [0.001, 0.5])
@pytest.mark.parametrize("size", [5, 50])
def test_a_limit_that_changes_is_found_again(size: int, latency: float):
    def limit(now: float) -> float:
        return 50 if now < 30 else 20 if now < 60 else 100

    attempts = simulate(Bucket(limit, size), latency, 120)
    for number, first, last in ((50, 10, 29), (20, 45, 59), (100, 95, 120)):
        used, refused = figures(attempts, number, first, last)
        assert used >= 0.9, number
        assert refused < 0.05, number


def test_a_limit_is_not_forgotten_while_use_is_made_of_it():
    """Even where few calls say how high it is."""
    attempts = simulate(Bucket(lambda _: 1, 1), 0.5, 2000)
    refused = [one.at for one in attempts if not one.taken]
    assert max(after - at for at, after in pairwise([*refused, 2000])) < FORGET_SECONDS


def test_late_refusals_of_earlier_calls_do_not_slow_down():
    pace = Pace()
    for _ in range(40):
        pace.accepted(100)
    for at in (100.1, 100.2, 100.3, 100.6):
        pace.refused(at, begun_at=100)
        assert pace.rate == 40
    pace.allowance(101.3)
    assert pace.rate == 40  # and none was begun
    pace.begun(101.4)
    pace.refused(101.6, begun_at=101.4)
    assert pace.rate < 40


def test_a_rate_at_most_doubles():
    """As a window of 100 calls takes a second at least, and all are accepted."""
    pace, now, rates = Pace(), 0.0, []
    pace.rate, pace._ceiling, pace._passed = 100.0, 100.0, 100.0
    for _ in range(20):
        now += 1
        pace.allowance(now)
        rates.append(pace.rate)
        pace._begun = round(pace.rate)
    assert all(rate <= after <= 2 * rate for rate, after in pairwise(rates))
    assert rates[-1] > 20 * rates[0]


def test_a_rate_that_is_not_made_use_of_stays():
    pace = Pace()
    pace.accepted(0)
    pace.refused(0.1, begun_at=0)
    for second in range(2, 20):
        assert pace.allowance(float(second)) == 1
    assert pace.rate == 1


def test_a_host_that_refuses_all_is_called_ever_more_slowly_up_to_a_bound():
    pace, now = Pace(), 0.0
    pace.refused(now, begun_at=now)
    for _ in range(100):
        now += max(pace.seconds_to_next(now), 0.01)
        if pace.allowance(now):
            pace.begun(now)
            pace.refused(now, begun_at=now)
    assert pace.rate == 0.1


def test_a_host_that_takes_nothing_is_left_alone_for_as_long_as_it_asks():
    pace = Pace()
    pace.refused(100, 100, 30)
    assert pace.allowance(129) == 0
    assert pace.allowance(131) == 1


def test_a_host_that_takes_some_is_not_stopped():
    pace = Pace()
    pace.accepted(100)
    pace.refused(100, 100, 30)
    assert pace.allowance(102) == 1


def test_a_host_that_took_some_long_ago_is_left_alone():
    pace = Pace()
    pace.accepted(100)
    pace.refused(103, 103, 30)
    assert pace.allowance(105) == 0
