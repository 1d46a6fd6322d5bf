"""Policies: how the calls of a host, of a function or of both are run. Pure.

A policy has a scope: a host and a function, of which each may be empty for any.

- Of the limits (`concurrency`, `rate`), each holds for all calls of its scope together. A call
  begins when every policy of its scope has room.
- Of the other settings, each comes from the most specific policy that sets it: that of the host and
  the function, of the host, of the function, of everything.

A rate is a bucket of tokens, kept as the time up to which the calls that began are paid for. It
falls behind the clock while nothing begins, but by no more than BURST_SECONDS and one call. So in
any T seconds at most `rate * (T + BURST_SECONDS) + 1` calls begin, of all processes together.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from dispatch_grpc.service.lanes import parts_of_lane
from dispatch_grpc.service.machine import Limits

BURST_SECONDS = 0.1  # a process that is late by so much loses nothing

Scope = tuple[str, str]
"""A host and a function, of which each may be empty for any."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How the calls of a host, of a function or of both are run; None leaves a setting to others.

    Attributes:
        host: The host with scheme and port, such as `https://example.com`; empty for any.
        function: Name of the function; empty for any.
        run_timeout: How long an attempt may take.
        concurrency: Number of attempts that run at the same time, of all processes together.
        rate: Number of attempts that begin in a second, of all processes together.
        priority: Which calls begin first when slots are few; 0 if no policy says.
        max_attempts: Number of failed attempts in a row after which a call ends.
        first_backoff: Longest wait before the second attempt; doubles with each.
        max_backoff: Longest wait before any attempt.
        retention: How long finished calls are kept, if not as long as others.
    """

    host: str = ""
    function: str = ""
    run_timeout: timedelta | None = None
    concurrency: int | None = None
    rate: float | None = None
    priority: int | None = None
    max_attempts: int | None = None
    first_backoff: timedelta | None = None
    max_backoff: timedelta | None = None
    retention: timedelta | None = None

    @property
    def scope(self) -> Scope:
        """The host and the function."""
        return self.host, self.function

    @property
    def is_limit(self) -> bool:
        """Whether it limits how many calls begin."""
        return self.concurrency is not None or self.rate is not None


SETTINGS = tuple(name for name in Policy.__dataclass_fields__ if name not in {"host", "function"})
"""The attributes of a policy that set something."""


class Policies:
    """The policies as they were read.

    Args:
        policies: The policies.
    """

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        self._policies = {one.scope: one for one in policies}
        self._limits = {scope for scope, one in self._policies.items() if one.is_limit}
        self.has_priorities: bool = any(one.priority is not None for one in self._policies.values())

    def get(self, name: str, host: str, function: str) -> Any:
        """Return the value of a setting for a function of a host; None if no policy sets it."""
        if self._policies:
            for scope in _scopes(host, function):
                policy = self._policies.get(scope)
                if policy is not None and (value := getattr(policy, name)) is not None:
                    return value
        return None

    def priority(self, lane: str) -> int:
        """Return the priority of a lane."""
        return self.get("priority", *parts_of_lane(lane)) or 0

    def limits(self, base: Limits, host: str, function: str) -> Limits:
        """Return the limits of a call.

        Args:
            base: Those that hold if no policy says something else.
            host: The host of its endpoint.
            function: Its function.
        """
        names = ("max_attempts", "first_backoff", "max_backoff")
        found = {name: self.get(name, host, function) for name in names} if self._policies else {}
        changes: dict[str, Any] = {
            name: value for name, value in found.items() if value is not None
        }
        return replace(base, **changes) if changes else base

    def limiting(self, lane: str) -> list[Scope]:
        """Return the scopes of the policies that limit how many calls of a lane begin."""
        if not self._limits:
            return []
        return [scope for scope in _scopes(*parts_of_lane(lane)) if scope in self._limits]

    def is_most_specific(self, name: str, scope: Scope, host: str, function: str) -> bool:
        """Whether a setting of a function of a host comes from the policy of a scope."""
        for one in _scopes(host, function):
            policy = self._policies.get(one)
            if policy is not None and getattr(policy, name) is not None:
                return one == scope
        return False

    def setting(self, name: str) -> list[Policy]:
        """Return the policies that set something."""
        return [one for one in self._policies.values() if getattr(one, name) is not None]


def _scopes(host: str, function: str) -> tuple[Scope, ...]:
    """Return the scopes that a function of a host is in, the most specific first."""
    return (host, function), (host, ""), ("", function), ("", "")


# Limits


@dataclass(frozen=True, slots=True)
class Use:
    """What a policy allows, and what of that is in use.

    Attributes:
        policy: The policy.
        now: The time.
        running: Number of its attempts that run.
        paid_until: Up to when the calls that began are paid for; None: none ever began.
    """

    policy: Policy
    now: datetime
    running: int = 0
    paid_until: datetime | None = None

    @property
    def tokens(self) -> float:
        """The number of calls that may begin now by the rate; infinity if there is none."""
        rate = self.policy.rate
        if rate is None:
            return math.inf
        most = 1 + rate * BURST_SECONDS
        if self.paid_until is None:
            return most
        return min((self.now - self.paid_until).total_seconds() * rate, most)

    def paid_after(self, taken: int) -> datetime | None:
        """Return up to when calls are paid for once some more begin; None without a rate."""
        rate = self.policy.rate
        return None if rate is None else self.now - timedelta(seconds=(self.tokens - taken) / rate)

    @property
    def room(self) -> float:
        """The number of calls that may begin now."""
        found = math.floor(self.tokens + 1e-6) if self.policy.rate is not None else math.inf
        if self.policy.concurrency is not None:
            found = min(found, self.policy.concurrency - self.running)
        return max(found, 0)

    def seconds_to_room(self, taken: int) -> float | None:
        """Return in how many seconds there is room again; None: not before an attempt ends.

        Args:
            taken: Number of calls that begin now.
        """
        concurrency, rate = self.policy.concurrency, self.policy.rate
        if concurrency is not None and self.running + taken >= concurrency:
            return None
        return 0.0 if rate is None else max(1 - (self.tokens - taken), 0) / rate


@dataclass(frozen=True, slots=True)
class Granted:
    """How many calls may begin.

    Attributes:
        lanes: Their number, by lane.
        full: The policies that let no more begin; in how many seconds they do again, or None: not
            before an attempt ends.
    """

    lanes: Counter[str] = field(default_factory=Counter)
    full: dict[Scope, float | None] = field(default_factory=dict)


def grant(turns: Sequence[str], policies: Policies, uses: Mapping[Scope, Use]) -> Granted:
    """Let calls begin, in turn, as far as their policies have room.

    Args:
        turns: Lanes in the order in which they are served, each for one call.
        policies: The policies.
        uses: What the policies allow; one that is missing allows everything.
    """
    granted = Granted()
    taken: Counter[Scope] = Counter()
    for lane in turns:
        scopes = [scope for scope in policies.limiting(lane) if scope in uses]
        full = [scope for scope in scopes if taken[scope] >= uses[scope].room]
        if full:
            granted.full.update(dict.fromkeys(full))
            continue
        taken.update(scopes)
        granted.lanes[lane] += 1
    for scope in granted.full:
        granted.full[scope] = uses[scope].seconds_to_room(taken[scope])
    return granted
