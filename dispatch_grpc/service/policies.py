"""Policies: how calls of a host, of a function or of both are run, the same in all processes.

A policy is a row of the table `policies`: a host and a function, of which each may be empty for
any, and the settings that it sets. For a call, each setting comes from the most specific policy
that sets it: that of the host and the function, of the host, of the function, of everything.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service import notices, store_policies
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.faults import classify
from dispatch_grpc.service.notices import Notices
from dispatch_grpc.service.store_policies import Policy

_READ_SECONDS = 5.0  # since a notice may get lost


class Policies:
    """The policies as they were read. Pure.

    Args:
        policies: The policies.
    """

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        self._policies = {(one.host, one.function): one for one in policies}

    def run_timeout(self, host: str, function: str) -> timedelta | None:
        """Return how long an attempt of a function may take; None if no policy says."""
        for key in ((host, function), (host, ""), ("", function), ("", "")):
            policy = self._policies.get(key)
            if policy is not None and policy.run_timeout is not None:
                return policy.run_timeout
        return None


class SharedPolicies:
    """The policies of the database, as far as this process knows.

    Args:
        database: The database.
        told: The notices of this process.

    Attributes:
        current: The policies.
        are_known: Whether they have been read.
    """

    def __init__(self, database: Database, told: Notices) -> None:
        self._database = database
        self._sooner = asyncio.Event()
        self.current: Policies = Policies()
        self.are_known: bool = False
        told.listen(notices.POLICIES, self._told)

    def _told(self, _: Sequence[str]) -> None:
        self._sooner.set()

    def run_timeout(self, host: str, function: str) -> timedelta | None:
        """Return how long an attempt of a function may take; None if no policy says."""
        return self.current.run_timeout(host, function)

    async def read(self) -> None:
        """Read the policies."""
        async with self._database.relaxed.acquire() as connection:
            self.current = Policies(await store_policies.read(connection))
        self.are_known = True

    async def run(self) -> None:
        """Read them again when they change, until it is cancelled."""
        while True:
            self._sooner.clear()
            try:
                await self.read()
            except Exception as error:
                if classify(error) is None:
                    logger.exception("policies cannot be read, and are again later")
                else:
                    self._database.health.failed(error)
                await asyncio.sleep(1)
            with suppress(TimeoutError):
                async with asyncio.timeout(_READ_SECONDS):
                    await self._sooner.wait()
