"""Claim jobs within the limits of policies: exact, of all processes together.

What is counted are the jobs of the queue that processes have taken. The limits, the count and the
claim are in one transaction that holds a lock for each of the policies. So no two processes claim
by the same count, and the jobs of a process that was killed count until another takes them over.
A lane that no policy limits is never here.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from asyncpg import LockNotAvailableError

from dispatch_grpc.service import notices, queue, store_policies
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.notices import Notices
from dispatch_grpc.service.policies import SharedPolicies
from dispatch_grpc.service.policy_rules import Policies, Scope, grant
from dispatch_grpc.service.queue import Claim

_MIN_WAIT_SECONDS = 0.02  # the tokens of so long are claimed together
_BUSY_SECONDS = 2.0


class Limited:
    """The lanes that policies limit, and the policies that let no more calls begin now.

    Args:
        database: The database.
        policies: The policies.
        told: The notices of this process.
        changed: Called when calls may begin that could not.
    """

    def __init__(
        self,
        database: Database,
        policies: SharedPolicies,
        told: Notices,
        changed: Callable[[], None],
    ) -> None:
        self._database = database
        self._policies = policies
        self._notices = told
        self._changed = changed
        self._full: dict[Scope, float] = {}  # until when; infinity: until an attempt ends
        self._freed: set[Scope] = set()  # since the last claim began
        told.listen(notices.ROOM, self._told)

    def is_limited(self, lane: str) -> bool:
        """Whether a policy limits how many calls of a lane begin."""
        return bool(self._policies.current.limiting(lane))

    def is_full(self, lane: str) -> bool:
        """Whether a policy lets no call of a lane begin now."""
        if not self._full:
            return False
        return any(scope in self._full for scope in self._policies.current.limiting(lane))

    async def claim(self, owner: UUID, turns: Sequence[str]) -> tuple[list[Claim], Counter[str]]:
        """Claim jobs of lanes that policies limit.

        Args:
            owner: The process.
            turns: The lanes in the order in which they are served, each for one job.

        Returns:
            The claims, and how many jobs of each lane there was room for.
        """
        policies = self._policies.current
        scopes = sorted({scope for lane in turns for scope in policies.limiting(lane)})
        try:
            return await self._claim(owner, turns, policies, scopes)
        except LockNotAvailableError:  # a process was frozen as it had the lock
            self._full.update(dict.fromkeys(scopes, _now() + _BUSY_SECONDS))
            return [], Counter()

    async def _claim(
        self, owner: UUID, turns: Sequence[str], policies: Policies, scopes: Sequence[Scope]
    ) -> tuple[list[Claim], Counter[str]]:
        self._freed.clear()
        async with self._database.transaction() as connection:
            await store_policies.lock(connection, scopes)
            uses = await store_policies.uses(connection, scopes)
            granted = grant(turns, policies, uses)
            claims = []
            if granted.lanes:
                claims = await queue.claim(connection, owner, granted.lanes)
            begun = Counter(
                scope
                for claim in claims
                for scope in policies.limiting(claim.lane)
                if scope in uses
            )
            paid = {scope: uses[scope].paid_after(number) for scope, number in begun.items()}
            await store_policies.pay(
                connection, {scope: until for scope, until in paid.items() if until is not None}
            )
        now = _now()
        for scope, seconds in granted.full.items():
            if seconds is not None:
                self._full[scope] = now + max(seconds, _MIN_WAIT_SECONDS)
            elif scope not in self._freed:
                self._full[scope] = float("inf")
        return claims, granted.lanes

    def ended(self, lanes: Iterable[str]) -> None:
        """Note that jobs of lanes have ended, and tell the others if they may wait for that."""
        if some := sorted({lane for lane in lanes if self.is_limited(lane)}):
            self._notices.tell(notices.ROOM, some)

    def _told(self, lanes: Sequence[str]) -> None:
        scopes = {scope for lane in lanes for scope in self._policies.current.limiting(lane)}
        self._freed |= scopes
        waited_for = [scope for scope in scopes if self._full.get(scope) == float("inf")]
        for scope in waited_for:
            del self._full[scope]
        if waited_for:
            self._changed()

    def look_again(self) -> None:
        """Forget which policies are full: notices may get lost, and policies change."""
        self._full.clear()

    def come_free(self) -> None:
        """Note the policies that have room again since time has passed."""
        now = _now()
        for scope in [scope for scope, until in self._full.items() if until <= now]:
            del self._full[scope]

    def next_change(self) -> float | None:
        """Return in how many seconds a policy has room again by itself."""
        until = min(self._full.values(), default=float("inf"))
        return None if until == float("inf") else max(until - _now(), 0)


def _now() -> float:
    return asyncio.get_running_loop().time()
