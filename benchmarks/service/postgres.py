"""The PostgreSQL that all share: the embedded one, with a database for each system."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from urllib.parse import quote

import asyncpg
import uvloop

from dispatch_grpc.service.embedded import Embedded


class Postgres:
    """The PostgreSQL that all share."""

    def __init__(self, folder: Path) -> None:
        self._socket = quote(str(folder / "postgres"))
        self._embedded = Embedded(folder)
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._runner.run(self._embedded.open())
        names = (
            "ours",
            "grouped",
            "single",
            "earlier",
            "dbos",
            "pgqueuer",
            "bare",
            "accepts",
            "trigger",
            "absurd",
        )
        for name in names:
            self._runner.run(self._execute("postgres", f"CREATE DATABASE {name}"))
        self._connection: Any = self._runner.run(asyncpg.connect(self.url("bare")))
        self._runner.run(self._connection.execute("CREATE TABLE calls (id uuid, input bytea)"))
        self.version = ".".join(map(str, self._connection.get_server_version()[:2]))

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._socket}"

    def watch_queue(self, database: str = "ours") -> Callable[[], bool]:
        """Whether the queue of a service is empty: what pgqueuer alone is measured by, too."""
        connection: Any = self._runner.run(asyncpg.connect(self.url(database)))
        statement = "SELECT NOT EXISTS (SELECT FROM dispatch_grpc.pgqueuer)"
        return lambda: bool(self._runner.run(connection.fetchval(statement)))

    async def _execute(self, database: str, statement: str) -> None:
        connection = await asyncpg.connect(self.url(database))
        await connection.execute(statement)
        await connection.close()

    def insert(self, count: int, pause: float) -> float:
        """The time of an INSERT that is a transaction of its own."""

        async def insert() -> float:
            statement = await self._connection.prepare(
                "INSERT INTO calls VALUES (gen_random_uuid(), $1)"
            )

            times = []
            for _ in range(count):
                start = perf_counter()
                await statement.fetch(b"input")
                times.append(perf_counter() - start)
                if pause:
                    await asyncio.sleep(pause)
            return median(times)

        return self._runner.run(insert())

    def close(self) -> None:
        self._runner.run(self._connection.close())
        self._runner.run(self._embedded.close())
        self._runner.close()


@contextmanager
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder))
        try:
            yield server
        finally:
            server.close()
