"""pgqueuer alone: empty jobs, set up as the service sets it up. Argument: database.

In the package's own virtual environment, so that both have the same pgqueuer.
"""

import asyncio
import json
import sys
from datetime import timedelta
from importlib.metadata import version
from time import perf_counter

import asyncpg
import uvloop
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.settings import Durability
from pgqueuer.models import Job
from pgqueuer.queries import Queries

BATCH = 1000
PAYLOAD = bytes(20)  # as large as those of the service


async def main(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1) as pool:
        queries = Queries.from_asyncpg_pool(pool)
        queries.qbe.settings.durability = Durability.balanced
        await queries.install()
        manager = QueueManager(queries)

        @manager.entrypoint("f")
        async def nothing(job: Job) -> None:
            pass

        async def jobs(count: int) -> float:
            start = perf_counter()
            for _ in range(count // BATCH):
                await queries.enqueue(["f"] * BATCH, [PAYLOAD] * BATCH, [0] * BATCH)
            while await pool.fetchval("SELECT EXISTS (SELECT FROM pgqueuer)"):
                await asyncio.sleep(0.01)
            return perf_counter() - start

        running = asyncio.create_task(
            manager.run(
                batch_size=100, max_concurrent_tasks=256, log_aggregation_interval=timedelta(0)
            )
        )
        print(json.dumps({"pgqueuer": version("pgqueuer")}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            _, count = json.loads(line)
            seconds = await jobs(count)
            print(json.dumps([seconds / count]), flush=True)
            await pool.execute("DELETE FROM pgqueuer_log")
        manager.shutdown.set()
        await running


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
