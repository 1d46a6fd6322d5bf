"""The policies of the database, as far as a process knows: see `policy_rules`."""

import asyncio
from collections.abc import Callable, Sequence

from dispatch_grpc.service import notices, store_policies
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.notices import Notices
from dispatch_grpc.service.policy_rules import Policies, Policy
from dispatch_grpc.service.refreshing import refresh

_READ_SECONDS = 5.0  # since a notice may get lost


class SharedPolicies:
    """The policies of the database, as far as this process knows.

    Args:
        database: The database.
        told: The notices of this process.
        changed: Called when they have changed.

    Attributes:
        current: The policies; another object once they have changed.
        are_known: Whether they have been read.
    """

    def __init__(self, database: Database, told: Notices, changed: Callable[[], None]) -> None:
        self._database = database
        self._changed = changed
        self._sooner = asyncio.Event()
        self._found: list[Policy] = []
        self.current: Policies = Policies()
        self.are_known: bool = False
        told.listen(notices.POLICIES, self._told)

    def _told(self, _: Sequence[str]) -> None:
        self._sooner.set()

    def priority(self) -> Callable[[str], int] | None:
        """Return what gives the priority of a lane; None if no policy sets one."""
        return self.current.priority if self.current.has_priorities else None

    async def read(self) -> None:
        """Read the policies."""
        async with self._database.relaxed.acquire() as connection:
            found = await store_policies.read(connection)
        self.are_known = True
        if found != self._found:
            self._found, self.current = found, Policies(found)
            self._changed()

    async def run(self) -> None:
        """Read them again when they change, until it is cancelled."""
        health = self._database.health
        await refresh(self.read, self._sooner, _READ_SECONDS, health=health, what="policies")
