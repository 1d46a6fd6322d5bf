"""Pools of database connections, which end connections that have fallen silent and count use.

The module is private since asyncpg has no types: public classes would have unknown bases.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PoolUse:
    """The use of a pool.

    Attributes:
        name: Its name.
        used: Number of connections in use.
        idle: Number of open connections that nobody uses.
        most: Largest number of connections.
        waits: How often all of them were in use when another one was needed.
    """

    name: str
    used: int
    idle: int
    most: int
    waits: int


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that is cut off when it does not close in time.

    The pool closes those that have expired in the background, where an error would be logged.
    """

    async def close(self, *, timeout: float | None = None) -> None:
        """Close the connection."""
        with suppress(TimeoutError, OSError):
            await super().close(timeout=timeout or CLOSE_SECONDS)


class Pool(asyncpg.Pool):  # type: ignore[misc]  # asyncpg has no types
    """A pool that does not wait for ever for a connection that has fallen silent."""

    waits: int = 0

    def acquire(self, *, timeout: float | None = None) -> Any:
        """Take a connection; wait for one if all are in use."""
        if self.get_size() == self.get_max_size() and not self.get_idle_size():
            self.waits += 1
        return super().acquire(timeout=timeout)

    def use(self, name: str) -> PoolUse:
        """Return how it is used; `name` is its name."""
        idle = self.get_idle_size()
        return PoolUse(name, self.get_size() - idle, idle, self.get_max_size(), self.waits)

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:
        """Take a connection back; cut it off when it cannot be made ready in time."""
        # asyncpg shields this in the same way: if the caller is cancelled, nobody would see how
        # it ends.
        await asyncio.shield(self._release(connection, timeout or CLOSE_SECONDS))

    async def _release(self, connection: Any, timeout: float) -> None:
        with suppress(TimeoutError):
            await super().release(connection, timeout=timeout)
