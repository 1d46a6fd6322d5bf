"""The database: its connections, and who is to blame when it errs."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from dispatch_grpc.database_url import normal_url, problem_of
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service._connection_pool import CLOSE_SECONDS, Connection, Pool, PoolUse
from dispatch_grpc.service.embedded import Embedded
from dispatch_grpc.service.faults import Fault, Health, classify
from dispatch_grpc.service.schema import SCHEMA, prepare

_T = TypeVar("_T")
_MUCH_SECONDS = 5.0  # by which two clocks may differ

CONNECT_SECONDS = 10
COMMAND_SECONDS = 10.0  # a connection that does not answer for so long is given up


_CONFLICTS = 10  # of a transaction with others, in a row
_LOOKS = 4  # connections
_LOOK_TIMEOUT = "5s"

# Of each session. The server, too, finds connections whose other end is lost.
_SETTINGS = {
    "search_path": SCHEMA,
    "application_name": "dispatch-grpc",
    "default_transaction_isolation": "read committed",  # a role or a database may have another
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    # A process that is frozen or cut off in a transaction must not keep its locks.
    "idle_in_transaction_session_timeout": "5s",
}


# Plans are kept, also those that were made while the tables were small, when to read a whole table
# took less time than to use an index.
_INDEXES = {"enable_seqscan": "off"}


_CONNECT_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)


_CLOCK_SAMPLES = 4
_FAST_ANSWER = timedelta(milliseconds=2)


class Clock:
    """The time of the database: that of this machine, and what the two differ by."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)
        self._is_warned = False

    def now(self) -> datetime:
        """Return the time of the database."""
        return local_now() + self._ahead

    async def set(self, connection: Any) -> None:
        """Ask the database for its time: again after a slow answer, which says less."""
        fastest = timedelta.max
        for _ in range(_CLOCK_SAMPLES):
            before = local_now()
            there: datetime = await connection.fetchval("SELECT clock_timestamp()")
            took = local_now() - before
            if took < fastest:
                fastest, self._ahead = took, there - (before + took / 2)
            if took < _FAST_ANSWER:
                break
        if abs(self._ahead.total_seconds()) > _MUCH_SECONDS and not self._is_warned:
            self._is_warned = True
            logger.warning(
                "the clock of the database is %.0f s ahead of this machine's; that of the "
                "database counts",
                self._ahead.total_seconds(),
            )


def local_now() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


class Database:
    """A PostgreSQL with the tables of the service.

    Commits of `durable` are on disk when they return. Those of `relaxed` are not waited for: it is
    for work that is done again when it is lost. `looks` is for everything that only looks: its
    connections are few, and its statements end after some seconds.

    Args:
        url: URL of a PostgreSQL; None for the embedded one.
        data_dir: Folder of the embedded one.
        max_connections: Largest number of connections of each pool.
    """

    def __init__(self, url: str | None, data_dir: Path, *, max_connections: int = 10) -> None:
        self._url = url
        self._embedded = Embedded(data_dir) if url is None else None
        self._connect: dict[str, Any] = {}
        # Errors are told to the session; they need not fill the log of the embedded server.
        self._settings = _SETTINGS if url is not None else {**_SETTINGS, "log_min_messages": "log"}
        self._max_connections = max_connections
        self.durable: Any = None
        self.relaxed: Any = None
        self.looks: Any = None
        self._is_terminated = False
        self.health: Health = Health()
        self.clock: Clock = Clock()

    async def open(self) -> None:
        """Start the embedded database if it is that, connect, and bring the tables up to date.

        Raises:
            ConfigurationError: The database cannot be used.
            ImportError: It is the embedded one, whose extra is not installed.
        """
        async with self._started():
            await prepare(self._connect)
            durability = await _durability(self._connect)
            self.durable = await self._pool(self._max_connections, **_INDEXES, **durability)
            self.relaxed = await self._pool(
                self._max_connections, **_INDEXES, synchronous_commit="off"
            )
            self.looks = await self._pool(
                _LOOKS, statement_timeout=_LOOK_TIMEOUT, default_transaction_read_only="on"
            )
            async with self.looks.acquire() as connection:
                await self.clock.set(connection)
                await _check_pooler(connection)

    async def prepare(self, grant_to: str | None = None, producer: str | None = None) -> None:
        """Bring the tables up to date, and do no more.

        Args:
            grant_to: A role that gets the rights that the service needs to run.
            producer: A role that may call the SQL function `dispatch`, and do nothing else.

        Raises:
            ConfigurationError: The database cannot be used.
        """
        async with self._started():
            await prepare(self._connect, grant_to, producer)

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[None]:
        """Start the embedded database if it is that; close everything if the block fails."""
        if self._embedded is not None:
            self._connect = await self._embedded.open()
        try:
            if self._url is not None:
                self._connect = {"dsn": normal_url(self._url)}
            yield
        except BaseException as error:
            await self.close()
            if isinstance(error, _CONNECT_ERRORS):
                text = f"the embedded database cannot be used: {type(error).__name__}: {error}"
                if self._url is not None:
                    text = problem_of(error, self._url)
                raise ConfigurationError(text) from error
            raise

    async def _pool(self, size: int, **settings: str) -> Any:
        return await Pool(
            **self._connect,
            min_size=0,  # or asyncpg logs a traceback for each attempt to keep one open
            max_size=size,
            max_queries=50_000,
            max_inactive_connection_lifetime=300.0,
            max_cached_statement_lifetime=0,  # a connection prepares each statement once
            init=_keep_alive,
            reset=_reset,
            loop=None,
            connection_class=Connection,
            record_class=asyncpg.Record,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings={**self._settings, **settings},
        )

    def pools(self) -> list[PoolUse]:
        """Return the use of each pool; none before `open`."""
        pools = {"durable": self.durable, "relaxed": self.relaxed, "looks": self.looks}
        return [pool.use(name) for name, pool in pools.items() if pool is not None]

    async def connect(self) -> Any:
        """Return a connection of its own, which nobody else uses."""
        connection = await asyncpg.connect(
            **self._connect,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings=self._settings,
        )
        await _keep_alive(connection)
        return connection

    async def renew(self) -> None:
        """Replace the connections before they are used again: their other end may be lost."""
        for pool in (self.durable, self.relaxed, self.looks):
            await pool.expire_connections()

    async def persist(
        self, pool: Any, act: Callable[[Any], Awaitable[_T]], *, in_transaction: bool = True
    ) -> _T:
        """Do something, again and again until the database has done it.

        Args:
            pool: The pool to take a connection from.
            act: What to do, given the connection.
            in_transaction: Whether `act` needs a transaction. A single statement is one by itself,
                which saves two round trips to the database.

        Raises:
            Exception: `act` fails by its own fault, not by that of the database.
        """
        seconds = 0.05
        while True:
            try:
                async with (
                    pool.acquire() as connection,
                    connection.transaction() if in_transaction else nullcontext(),
                ):
                    result = await act(connection)
            except Exception as error:
                fault = classify(error)
                if fault is Fault.CONFLICT:
                    await asyncio.sleep(random.random() / 50)  # noqa: S311
                    continue
                if fault is not Fault.AWAY or self._is_terminated:
                    raise
                self.health.failed(error)
            else:
                self.health.worked()
                return result
            await asyncio.sleep(seconds)
            seconds = min(seconds * 2, 2)

    async def revive(self) -> None:
        """Start the embedded database again if it has died."""
        if self._embedded is not None:
            await self._embedded.revive()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection in a transaction, which is on disk once it is committed."""
        async with self.durable.acquire() as connection, connection.transaction():
            yield connection

    async def write(self, act: Callable[[Any], Awaitable[_T]]) -> _T:
        """Do something in a transaction, anew when it met others that lock the same rows.

        Args:
            act: What to do, given the connection.

        Raises:
            Exception: Whatever `act` raises; a conflict only if there was one each time.
        """
        attempt = 1
        while True:
            try:
                async with self.transaction() as connection:
                    return await act(connection)
            except Exception as error:
                if classify(error) is not Fault.CONFLICT or attempt == _CONFLICTS:
                    raise
            attempt += 1

    def terminate(self) -> None:
        """Cut off the connections, whatever they are used for; `persist` gives up."""
        self._is_terminated = True
        for pool in (self.durable, self.relaxed, self.looks):
            if pool is not None:
                pool.terminate()

    async def close(self) -> None:
        """Close the connections, and stop the embedded database if nobody else uses it."""
        try:
            for pool in (self.durable, self.relaxed, self.looks):
                if pool is not None:
                    with suppress(TimeoutError):  # after which its connections are cut off
                        async with asyncio.timeout(CLOSE_SECONDS):
                            await pool.close()
        finally:
            if self._embedded is not None:
                await self._embedded.close()


async def _keep_alive(connection: Any) -> None:
    """Have the system look whether the other end of an idle connection is still there."""
    transport = connection._transport
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _reset(connection: Any) -> None:
    """Make a connection ready for the next to use it: there is nothing to do.

    asyncpg itself ends an open transaction. Nothing here leaves anything else behind in a session,
    and to have the database look for it would take as long as a statement.
    """


async def _check_pooler(connection: Any) -> None:
    """Warn of a pooler, which gives other pids; refuse one that drops settings."""
    # By a setting that no statement sets: a pooler hands on what one has set.
    if await connection.fetchval("SHOW default_transaction_read_only") != "on":
        raise asyncpg.InterfaceError("the startup parameters were dropped on the way")
    if await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid():
        logger.warning(
            "the database is reached through a pooler: it must keep one connection for a session. "
            "Better use the URL of PostgreSQL itself"
        )


async def _durability(connect: dict[str, Any]) -> dict[str, str]:
    """Return the session settings that make commits durable; none by default."""
    connection = await asyncpg.connect(**connect, timeout=CONNECT_SECONDS)
    try:
        if await connection.fetchval("SHOW fsync") == "off":
            logger.warning("the database has fsync off: when its machine dies, calls may be lost")
        is_off = await connection.fetchval("SHOW synchronous_commit") == "off"
        return {"synchronous_commit": "on"} if is_off else {}
    finally:
        await connection.close()
