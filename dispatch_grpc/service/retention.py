"""Delete finished calls whose policy keeps them for a shorter time than the service keeps all.

The service drops whole days of finished calls, past its own retention: a policy cannot keep any
longer. Calls that a policy keeps for a shorter time are deleted one by one instead. No index finds
them by function; so each policy has a place up to which its calls are deleted, and goes on from
there each minute. Once a day it begins again: a call may be filed as finished long after it did,
when its parent takes its result.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service import store_upkeep
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.policy_rules import Policies, Policy, Scope
from dispatch_grpc.service.urls import host_of

if TYPE_CHECKING:
    from uuid import UUID

SECONDS = 60.0
_LOCK = 0x6469_7370_0006  # see `chores`
_AGAIN_SECONDS = 86_400.0
_SLICE_PAUSE_SECONDS = 0.05  # others are to have a part of the database


class Retention:
    """Deletes finished calls by the retention of policies.

    Args:
        database: The database.
        policies: Returns the policies.
        longest: How long the service keeps finished calls.
        at_once: Number of calls to look at in a transaction.
    """

    def __init__(
        self,
        database: Database,
        policies: Callable[[], Policies],
        longest: timedelta,
        *,
        at_once: int = 5_000,
    ) -> None:
        self._database = database
        self._policies = policies
        self._longest = longest
        self._at_once = at_once
        self._known = Policies()
        self._places: dict[Scope, tuple[datetime, UUID]] = {}
        self._again_at = 0.0

    async def prune(self) -> None:
        """Delete what is past the retention of its policy, unless another process does."""
        policies, now = self._policies(), asyncio.get_running_loop().time()
        is_changed = policies is not self._known
        if is_changed:
            for policy in policies.setting("retention"):
                self._warn(policy)
        if is_changed or now >= self._again_at:
            self._known, self._again_at, self._places = policies, now + _AGAIN_SECONDS, {}
        for policy in policies.setting("retention"):
            while await self._prune_some(policies, policy):
                await asyncio.sleep(_SLICE_PAUSE_SECONDS)

    async def _prune_some(self, policies: Policies, policy: Policy) -> bool:
        """Look at some calls. Returns whether there may be more."""
        retention = policy.retention
        if retention is None or retention >= self._longest:
            return False

        def is_of_policy(endpoint: str, function: str) -> bool:
            host = host_of(endpoint)
            return policies.is_most_specific("retention", policy.scope, host, function)

        async with self._database.transaction() as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                return False
            place, is_more = await store_upkeep.prune_finished(
                connection,
                retention,
                is_of_policy,
                self._places.get(policy.scope, store_upkeep.FIRST_PLACE),
                self._at_once,
            )
        self._places[policy.scope] = place
        return is_more

    def _warn(self, policy: Policy) -> None:
        if policy.retention is not None and policy.retention > self._longest:
            logger.warning(
                "a policy keeps finished calls for %s (host %r, function %r), but this service "
                "keeps none for longer than %s: raise --retention",
                policy.retention,
                policy.host,
                policy.function,
                self._longest,
            )
