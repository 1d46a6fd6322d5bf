"""Single dispatches: of 64 tasks at once, and of one alone.

They are compared with a service that records each request in a transaction of its own, and a client
that sends each call by a request of its own. Nothing runs the calls.
"""

import asyncio
from collections.abc import Awaitable
from statistics import median
from time import perf_counter
from typing import Any

import asyncpg

from dispatch_grpc import AsyncClient, new_call

TASKS, DISPATCHES, ALONE = 64, 16, 100
_CALL = new_call("http://127.0.0.1:1", "f", 1)


class Dispatches:
    """A client of a service whose calls do not begin. A side of a row: the time of a dispatch.

    Args:
        runner: Runs all sides, in turns.
        url: URL of the service.
        key: Its API key.
        database: URL of its database.
        coalesce: Whether the client sends dispatches together.
    """

    def __init__(
        self, runner: asyncio.Runner, url: str, key: str, database: str, *, coalesce: bool
    ) -> None:
        self._runner = runner
        self._client = AsyncClient(key, api_url=url, coalesce=coalesce)
        self._run(self._client.pause(everything=True))
        self._connection: Any = self._run(asyncpg.connect(database))

    def _run(self, act: Awaitable[Any]) -> Any:
        async def main() -> Any:
            return await act

        return self._runner.run(main())

    def at_once(self) -> float:
        """The time of a dispatch of tasks that each dispatch one call after the other."""

        async def task() -> None:
            for _ in range(DISPATCHES):
                await self._client.dispatch(_CALL)

        async def tasks() -> float:
            start = perf_counter()
            await asyncio.gather(*(task() for _ in range(TASKS)))
            return (perf_counter() - start) / (TASKS * DISPATCHES)

        return self._after(tasks())

    def alone(self) -> float:
        """The time of a dispatch while there is no other one."""

        async def one() -> float:
            times = []
            for _ in range(ALONE):
                start = perf_counter()
                await self._client.dispatch(_CALL)
                times.append(perf_counter() - start)
            return median(times)

        return self._after(one())

    def _after(self, measured: Awaitable[float]) -> float:
        """Measure, then delete the calls."""
        found: float = self._run(measured)
        tables = ("calls", "pgqueuer", "pgqueuer_log", "requests")
        names = ", ".join(f"dispatch_grpc.{table}" for table in tables)
        self._run(self._connection.execute(f"TRUNCATE {names}"))
        return found

    def close(self) -> None:
        self._run(self._connection.close())
        self._run(self._client.close())
