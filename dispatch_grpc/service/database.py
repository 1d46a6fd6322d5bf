"""The database: embedded, started for you, or your own by its URL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from pgqueuer.domain.settings import Durability
from pgqueuer.queries import Queries

from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.embedded import Embedded
from dispatch_grpc.service.schema import FUNCTIONS, MIGRATIONS, SCHEMA

# One number for all processes that prepare the same database.
_LOCK = 0x6469_7370_6174_6368
# A role or a database may have others as its defaults.
_SESSION = {"application_name": "dispatch-grpc", "default_transaction_isolation": "read committed"}


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
        self._embedded = Embedded(data_dir) if url is None else None
        self._connect: dict[str, Any] = {"dsn": url}
        # What fails is told to the session, and need not fill the log of the embedded one.
        self._session = _SESSION if url is not None else {**_SESSION, "log_min_messages": "log"}
        self._max_connections = max_connections
        self.durable: Any = None
        self.relaxed: Any = None

    async def open(self) -> None:
        """Start the embedded database if it is that, connect, and bring the tables up to date.

        Raises:
            ConfigurationError: The database cannot be used.
            ImportError: It is the embedded one, whose extra is not installed.
        """
        if self._embedded is not None:
            self._connect = await self._embedded.open()
        try:
            durability = await self._prepare()
            self.durable = await self._pool(**durability)
            self.relaxed = await self._pool(synchronous_commit="off")
        except BaseException as error:
            await self.close()
            if isinstance(error, OSError | asyncpg.PostgresError | ValueError):
                raise ConfigurationError(
                    f"the database cannot be used: {type(error).__name__}: {error}"
                ) from error
            raise

    async def _pool(self, **settings: str) -> Any:
        return await asyncpg.create_pool(
            **self._connect,
            min_size=1,
            max_size=self._max_connections,
            server_settings={"search_path": SCHEMA, **self._session, **settings},
            reset=_reset,
        )

    async def _prepare(self) -> dict[str, str]:
        """Make the tables, or change those of an older version.

        Returns:
            The settings by which a session commits durably.
        """
        connection = await asyncpg.connect(**self._connect, server_settings=self._session)
        try:
            await _migrate(connection)
            return await _durability(connection)
        finally:
            await connection.close()  # which gives back the lock

    async def revive(self) -> None:
        """Start the embedded database again if it has died."""
        if self._embedded is not None:
            await self._embedded.revive()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection in a transaction, which is on disk once it is committed."""
        async with self.durable.acquire() as connection, connection.transaction():
            yield connection

    def terminate(self) -> None:
        """Cut off the connections, whatever they are used for."""
        for pool in (self.durable, self.relaxed):
            if pool is not None:
                pool.terminate()

    async def close(self) -> None:
        """Close the connections, and stop the embedded database if nobody else uses it."""
        try:
            for pool in (self.durable, self.relaxed):
                if pool is not None:
                    await pool.close()
        finally:
            if self._embedded is not None:
                await self._embedded.close()


async def _reset(connection: Any) -> None:
    """Make a connection ready for the next to use it: there is nothing to do.

    asyncpg itself ends an open transaction. Nothing here leaves anything else behind in a session,
    and to have the database look for it would take as long as a statement.
    """


async def _durability(connection: Any) -> dict[str, str]:
    """Return the settings that make commits durable; none, as PostgreSQL comes."""
    if await connection.fetchval("SHOW fsync") == "off":
        logger.warning("the database has fsync off: when its machine dies, calls may be lost")
    is_off = await connection.fetchval("SHOW synchronous_commit") == "off"
    return {"synchronous_commit": "on"} if is_off else {}


async def _migrate(connection: Any) -> None:
    """Make the tables, or change those of an older version. Safe for many processes at once."""
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
    await connection.execute(FUNCTIONS.format(enqueue=queries.qbq.build_enqueue_query().rstrip()))
