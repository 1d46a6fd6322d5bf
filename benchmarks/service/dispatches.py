"""Single dispatches: of 64 tasks at once, and of one alone.

They are compared with a service that records each request in a transaction of its own, and a client
that sends each call by a request of its own. Nothing runs the calls.
"""

import asyncio
import sys
from collections.abc import Awaitable, Sequence
from contextlib import ExitStack
from statistics import median
from time import perf_counter
from typing import Any

import asyncpg
import uvloop

from benchmarks.processes import Start
from benchmarks.service.load import KEY
from benchmarks.service.postgres import Postgres
from benchmarks.service.table import measure, milliseconds, rate, row
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
        can_pause: Whether the service can be paused. Otherwise it tries to run the calls, whose
            endpoint refuses connections.
    """

    def __init__(
        self,
        runner: asyncio.Runner,
        url: str,
        key: str,
        database: str,
        *,
        coalesce: bool = False,
        can_pause: bool = True,
    ) -> None:
        self._runner = runner
        self._client = AsyncClient(key, api_url=url, coalesce=coalesce)
        if can_pause:
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


def report_dispatches(server: Postgres, start: Start) -> None:
    """Print the rows about single dispatches. What they are compared with was the code before."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, ExitStack() as stack:

        def side(database: str, *how: str, coalesce: Sequence[bool]) -> list[Dispatches]:
            url = start(sys.executable, "service.process", server.url(database), KEY, *how).hello[
                "url"
            ]
            found = [
                Dispatches(runner, url, KEY, server.url(database), coalesce=one) for one in coalesce
            ]
            for one in found:
                stack.callback(one.close)
            return found

        together, each = side("grouped", coalesce=(True, False))
        (before,) = side("single", "ungrouped", coalesce=(False,))
        clients = {"together": together, "each": each, "before": before}
        samples = measure(11, {name: one.at_once for name, one in clients.items()})
        title = f"{TASKS} single dispatches at once, {{}} / a request and a transaction each"
        for name, what, target in (("together", "coalesced", 3), ("each", "a request each", 1)):
            times = samples[name], samples["before"]
            row(title.format(what), *times, target, rate, at_most=False)
        samples = measure(15, {name: one.alone for name, one in clients.items()})
        title = "one dispatch alone, p50{} / a request and a transaction each"
        for name, what in (("together", ", coalesced"), ("each", "")):
            times = samples[name], samples["before"]
            row(title.format(what), *times, 1.05, milliseconds, at_most=True)
