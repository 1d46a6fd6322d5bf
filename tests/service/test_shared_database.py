"""A database that the service shares with an application's own pgqueuer: neither sees the other."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from pgqueuer.core.qm import QueueManager
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from dispatch_grpc import new_call
from tests.service.conftest import Bench
from tests.service.processes import Process, service
from tests.service.test_faults import client, dispatch, results

NUMBER = 200


@pytest.fixture
def url(embedded: Bench) -> Iterator[str]:
    """A database of its own."""

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(embedded.url())
        await connection.execute(statement)
        await connection.close()

    embedded.runner.run(execute("CREATE DATABASE shared"))
    yield embedded.url("shared")
    embedded.runner.run(execute("DROP DATABASE shared WITH (FORCE)"))


class App:
    """An application with pgqueuer's tables, channel and manager as they are by default."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.queries = Queries.from_asyncpg_pool(pool)
        self.manager = QueueManager(self.queries)
        self.done: list[bytes | None] = []

        @self.manager.entrypoint("mail")
        async def mail(job: Job) -> None:
            self.done.append(job.payload)

    async def enqueue(self, payloads: list[bytes]) -> None:
        number = len(payloads)
        await self.queries.enqueue(["mail"] * number, payloads, [0] * number)

    async def left(self) -> int:
        return int(await self.pool.fetchval("SELECT count(*) FROM public.pgqueuer"))


@pytest.mark.parametrize("first", ["application", "service"])
def test_both_work_side_by_side(url: str, tmp_path: Path, hosted: Process, first: str):
    calls = [new_call(hosted.url, "square", number) for number in range(NUMBER)]
    squares = [number * number for number in range(NUMBER)]
    payloads = [str(number).encode() for number in range(NUMBER)]

    async def work(pool: asyncpg.Pool) -> None:
        app = App(pool)
        if first == "application":
            await app.queries.install()
        with service(tmp_path / "data", database=url) as process, client(process) as c:
            if first == "service":
                await app.queries.install()
            await app.queries.upgrade()
            # Jobs of each wait while only the other one runs.
            await app.enqueue(payloads[::2])
            ids = await asyncio.to_thread(dispatch, c, calls[::2])
            assert await asyncio.to_thread(results, c, ids) == squares[::2]
            assert await app.left() == NUMBER // 2
            running = asyncio.create_task(app.manager.run(dequeue_timeout=timedelta(seconds=1)))
            ids = await asyncio.to_thread(dispatch, c, calls[1::2])
            await app.enqueue(payloads[1::2])
            assert await asyncio.to_thread(results, c, ids) == squares[1::2]
            while await app.left():
                await asyncio.sleep(0.01)
            app.manager.shutdown.set()
            await running
            assert sorted(app.done, key=bytes) == sorted(payloads)
            # The application goes, and the service stays.
            await app.queries.uninstall()
            ids = await asyncio.to_thread(dispatch, c, calls[:10])
            assert await asyncio.to_thread(results, c, ids) == squares[:10]

    async def main() -> None:
        async with asyncpg.create_pool(url, min_size=1, max_size=4) as pool, asyncio.timeout(120):
            await work(pool)

    asyncio.run(main())
