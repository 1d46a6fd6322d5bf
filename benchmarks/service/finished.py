"""What finished calls cost those that run: `python -m benchmarks.service.finished 0 2`.

The arguments are millions of finished calls, in growing order. The rows are made by the database,
spread over the last seven days; then everything is measured by the functions that the service uses,
on one connection. Nothing calls an endpoint.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from dispatch_grpc import Status, new_call
from dispatch_grpc.schema import CallResult
from dispatch_grpc.service import (
    reads,
    store,
    store_accept,
    store_attempts,
    store_outcomes,
    store_upkeep,
)
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.machine import Finish, Limits
from dispatch_grpc.service.store import CallDecision, Job, NewCall

_CALL = new_call("http://127.0.0.1:1", "f", "x" * 200)
_BATCH, _SINGLES, _ROUNDS = 500, 200, 20
_WEEK = timedelta(days=7)

# Ids of version 7, of the time at which the call was made.
_FILL = """
INSERT INTO finished (id, parent_generation, root_id, correlation_id, endpoint, function, version,
    input, state, status, turn, generation, runs, pickups, failures, created_at, expires_at,
    finished_at, min_results, ready, outstanding, delivered, result)
SELECT id, 0, id, n, 'http://127.0.0.1:1', 'f', '', $3, 4, 1, 1, 0, 1, 1, 0, at, at, at, 0, 0, 0,
    false, $4
FROM (
    SELECT n, at, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
        || '7000' || '8' || lpad(to_hex(n), 15, '0'))::uuid AS id
    FROM (
        SELECT n, now() - interval '7 days' * (1 - n::float8 / $5) AS at
        FROM generate_series($1::bigint, $2::bigint) AS n
    ) AS time
) AS row
"""


async def p50(number: int, act: Callable[[], Awaitable[object]]) -> float:
    """Return the median time of an act, in milliseconds."""
    times = []
    for _ in range(number):
        start = perf_counter()
        await act()
        times.append((perf_counter() - start) * 1000)
    return median(times)


def some_calls(number: int) -> list[NewCall]:
    """Make calls to record."""
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    return [NewCall(new_id(), _CALL, expires_at) for _ in range(number)]


class Growing:
    """A database with more and more finished calls."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._result = CallResult(output=_CALL.input).SerializeToString()
        self._filled = 0

    async def fill(self, number: int) -> None:
        """Have so many finished calls."""
        if self._filled == 0:  # the partitions of these days are made for calls that need them
            (one,) = some_calls(1)
            await store_accept.accept(self._connection, [one], datetime.now(UTC))
            week_ago = "UPDATE calls SET state = 4, finished_at = now() - interval '7 days'"
            await self._connection.execute(week_ago)
            await self._connection.execute("DELETE FROM pgqueuer")
            await store_upkeep.prune(self._connection, 2 * _WEEK, _WEEK)
            await store_upkeep.file(self._connection)
        step = 500_000
        for start in range(self._filled, number, step):
            await self._connection.execute(
                _FILL,
                start + 1,
                min(start + step, number),
                _CALL.input.SerializeToString(),
                self._result,
                number,
                timeout=600,
            )
        self._filled = number
        await self._connection.execute("VACUUM ANALYZE", timeout=600)
        await self._connection.execute("CHECKPOINT", timeout=600)

    async def run(self) -> None:
        """Record calls, and have them load, begin, finish and leave the queue."""
        calls, now = some_calls(_BATCH), datetime.now(UTC)
        jobs = [Job(one.id, 0) for one in calls]
        await store_accept.accept(self._connection, calls, now)
        loaded = await store_attempts.load(self._connection, jobs)
        await store_attempts.begin(self._connection, jobs)
        end = Finish(Status.OK, CallResult(output=_CALL.input))
        items = [CallDecision(one, end) for one in loaded.values()]
        async with self._connection.transaction():
            await store_outcomes.write(self._connection, items, now, Limits())
        await self._connection.execute("DELETE FROM pgqueuer")

    async def measure(self) -> dict[str, float]:
        """Return what there is to say, by its name."""
        connection = self._connection

        async def accept() -> None:
            await store_accept.accept(connection, some_calls(1), datetime.now(UTC))

        await self.run()
        found = {"accept, ms": await p50(_SINGLES, accept)}
        await connection.execute("DELETE FROM pgqueuer")
        before = await self._written()
        runs = await p50(_ROUNDS, self.run)
        found["accept, run and finish in batches, ms a call"] = runs / _BATCH
        found["WAL a call, bytes"] = (await self._written() - before) / (_ROUNDS * _BATCH)
        rare = {"status": Status.THROTTLED.value}
        by_state = {"state": store.FINISHED}
        found["get, ms"] = await p50(50, lambda: reads.get(connection, new_id()))
        found["list the newest 100, ms"] = await p50(20, lambda: reads.find(connection, {}, 100))
        found["list a state, ms"] = await p50(10, lambda: reads.find(connection, by_state, 100))
        found["list a rare status, ms"] = await p50(10, lambda: reads.find(connection, rare, 100))
        found["recover, ms"] = await p50(5, lambda: store_upkeep.recover(connection))
        size = "SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint FROM "
        found["disk, MB"] = await connection.fetchval(f"{size} pg_partition_tree('finished')") / 1e6
        return found

    async def drop_a_day(self) -> float:
        """Return the time to drop the oldest day, in milliseconds."""
        retention = timedelta(days=5, hours=12)
        return await p50(1, lambda: store_upkeep.prune(self._connection, retention, _WEEK))

    async def _written(self) -> float:
        written = "SELECT pg_current_wal_insert_lsn() - '0/0'"
        return float(await self._connection.fetchval(written))


async def main(millions: list[float]) -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(None, Path(folder))
        await database.open()
        columns = []
        async with database.durable.acquire() as connection:
            growing = Growing(connection)
            for number in millions:
                await growing.fill(round(number * 1_000_000))
                columns.append(await growing.measure())
            columns[-1]["drop the days past retention, ms"] = await growing.drop_a_day()
        await database.close()
    sys.stdout.write(f"| finished calls | {' | '.join(f'{m:g} M' for m in millions)} |\n")
    sys.stdout.write(f"|---|{'--:|' * len(millions)}\n")
    for name in columns[-1]:
        values = [f"{column[name]:,.3g}" if name in column else "" for column in columns]
        sys.stdout.write(f"| {name} | {' | '.join(values)} |\n")


if __name__ == "__main__":
    asyncio.run(main([float(argument) for argument in sys.argv[1:] or ("0", "2")]))
