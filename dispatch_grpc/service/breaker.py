"""Which hosts rest, and how fast the others are called: what a process learns of hosts. Pure.

A host that cannot be reached rests, and its calls wait without an attempt. When the rest is over,
one call probes it. A host that refuses calls since there are too many has a pace.

Times are seconds of any clock that does not go back.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeVar

from dispatch_grpc.service.pace import MAX_ASKED_REST, Pace

FAILURES = 3  # in a row, until a host rests
FIRST_REST = 1.0
MAX_REST = 10.0
PROBE_SECONDS = 11.0  # longer than it takes to connect, or to fail to

FORGET_SECONDS = 300.0  # longer than a host refuses nothing that is called as fast as it allows
_MAX_HOSTS = 10_000


def rest_of(failures: int) -> float:
    """Return how long a host rests that has failed so often in a row."""
    return min(FIRST_REST * 2.0 ** min(max(failures - FAILURES, 0), 32), MAX_REST)


class Breaker:
    """Whether a host may be called.

    Attributes:
        failures: Number of failures in a row.
        until: When its rest is over; None while it does not rest.
    """

    def __init__(self) -> None:
        self.failures: int = 0
        self.until: float | None = None
        self._may_probe = False
        self._probing_since: float | None = None

    def allowance(self, now: float) -> int | None:
        """Return how many calls may be begun now; None when that is not limited."""
        if self.until is None:
            return None
        if self._probing_since is not None and now - self._probing_since >= PROBE_SECONDS:
            self.succeeded()  # it has connected, and works on the call
            return None
        return int(self._may_probe and self._probing_since is None)

    def wants_probe(self, now: float) -> bool:
        """Whether the rest is over, and no call probes the host."""
        return (
            self.until is not None
            and self.until <= now
            and not self._may_probe
            and self._probing_since is None
        )

    def grant_probe(self) -> None:
        """Let one call probe the host."""
        self._may_probe = True

    def begun(self, now: float) -> None:
        """Note that a call was begun."""
        if self._may_probe:
            self._may_probe, self._probing_since = False, now

    def ended(self) -> None:
        """Note that a call ended about which nothing else is known."""
        if self._probing_since is not None:
            self._may_probe, self._probing_since = True, None

    def succeeded(self) -> bool:
        """Note that the host has answered. Returns whether it rested."""
        rested = self.until is not None
        self.failures, self.until = 0, None
        self._may_probe, self._probing_since = False, None
        return rested

    def failed(self, now: float, asked: float = 0) -> bool:
        """Note that the host could not be reached.

        Args:
            now: The time.
            asked: For how long the host asks to be left alone.

        Returns:
            Whether it rests from now on, or longer than before.
        """
        if self.until is not None and self._probing_since is None:
            return False  # begun before the rest
        self.failures += 1
        if self.failures < FAILURES and not asked:
            return False
        self._may_probe, self._probing_since = False, None
        self.failures = max(self.failures, FAILURES)
        self.until = now + max(rest_of(self.failures), min(asked, MAX_ASKED_REST))
        return True

    def learn(self, failures: int, until: float) -> None:
        """Learn from another process that the host rests."""
        if self._probing_since is None and not self._may_probe:
            self.failures = failures
            self.until = until


_State = TypeVar("_State", Breaker, Pace)


class Hosts:
    """What a process knows of the hosts that it calls, as far as it matters."""

    def __init__(self) -> None:
        self._breakers: dict[str, Breaker] = {}
        self._paces: dict[str, Pace] = {}
        self._held: set[str] = set()  # hosts with a pace that were allowed no call when last asked

    def allowance(self, host: str, now: float) -> int | None:
        """Return how many calls of a host may be begun now; None when that is not limited."""
        states = (self._breakers.get(host), self._paces.get(host))
        allowed = [None if state is None else state.allowance(now) for state in states]
        found = min((one for one in allowed if one is not None), default=None)
        if found == 0 and host in self._paces:
            self._held.add(host)
        else:
            self._held.discard(host)
        return found

    def begun(self, host: str, now: float) -> None:
        """Note that a call was begun."""
        if breaker := self._breakers.get(host):
            breaker.begun(now)
        if pace := self._paces.get(host):
            pace.begun(now)

    def ended(self, host: str) -> None:
        """Note that a call ended about which nothing else is known."""
        if breaker := self._breakers.get(host):
            breaker.ended()

    def answered(self, host: str, now: float) -> bool:
        """Note that a host has answered. Returns whether it rested."""
        _of(self._paces, host, Pace).accepted(now)
        breaker = self._breakers.pop(host, None)
        return breaker is not None and breaker.succeeded()

    def refused(self, host: str, now: float, asked: float, begun_at: float) -> bool:
        """Note that a host refused a call since there are too many; as `answered`."""
        _of(self._paces, host, Pace).refused(now, begun_at, asked)
        breaker = self._breakers.pop(host, None)
        return breaker is not None and breaker.succeeded()

    def failed(self, host: str, now: float, asked: float) -> bool:
        """Note that a host could not be reached. Returns whether others should know."""
        return _of(self._breakers, host, Breaker).failed(now, asked)

    def resting(self, host: str) -> Breaker | None:
        """Return the breaker of a host that rests."""
        breaker = self._breakers.get(host)
        return breaker if breaker is not None and breaker.until is not None else None

    def all_resting(self) -> list[str]:
        """Return the hosts that rest."""
        return [host for host, one in self._breakers.items() if one.until is not None]

    def to_probe(self, now: float) -> list[str]:
        """Return the hosts whose rest is over."""
        return [host for host, one in self._breakers.items() if one.wants_probe(now)]

    def grant_probes(self, asked: Iterable[str], granted: set[str], now: float) -> None:
        """Let one call probe each host for which that was granted; others are probed elsewhere."""
        for host in asked:
            breaker = self._breakers.get(host)
            if breaker is not None and host in granted:
                breaker.grant_probe()
            elif breaker is not None:
                breaker.until = now + FIRST_REST

    def learn(self, resting: Mapping[str, tuple[int, float]], newer: Collection[str]) -> None:
        """Learn which hosts rest, of all processes: their failures, and until when.

        Args:
            resting: The hosts that rest.
            newer: Hosts of which this process knows something newer.
        """
        for host, (failures, until) in resting.items():
            if host not in newer:
                _of(self._breakers, host, Breaker).learn(failures, until)
        for host in [*self._breakers]:
            if host not in resting and host not in newer and self.resting(host):
                del self._breakers[host]

    def next_change(self, now: float) -> float | None:
        """Return in how many seconds an allowance changes by itself.

        0: a call was not allowed when that was last asked, and is now. That is told once.
        """
        return min(self._changes(now), default=None)

    def _changes(self, now: float) -> Iterator[float]:
        for breaker in self._breakers.values():
            if breaker.until is not None and breaker.until > now:
                yield breaker.until - now
        for host, pace in self._paces.items():
            if wait := pace.seconds_to_next(now):
                yield wait
            elif host in self._held:
                self._held.discard(host)
                yield 0.0

    def forget(self, now: float) -> None:
        """Forget the hosts that have refused nothing for a while."""
        for host, pace in [*self._paces.items()]:
            if now - pace.refused_at > FORGET_SECONDS:
                del self._paces[host]
        self._held &= self._paces.keys()


def _of(known: dict[str, _State], host: str, make: type[_State]) -> _State:
    if host not in known:
        while len(known) >= _MAX_HOSTS:
            del known[next(iter(known))]
        known[host] = make()
    return known[host]
