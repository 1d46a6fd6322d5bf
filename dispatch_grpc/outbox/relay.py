"""The relay: it dispatches the calls of an outbox, and deletes those that are recorded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from google.protobuf.message import DecodeError

from dispatch_grpc.client import AsyncClient
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import (
    AlreadyExistsError,
    ConfigurationError,
    DispatchError,
    InvalidArgumentError,
    InvalidCallError,
    RequestTooLargeError,
    RPCError,
    missing_extra,
)
from dispatch_grpc.log import logger
from dispatch_grpc.outbox import store
from dispatch_grpc.outbox.store import Batch, Refused, Store
from dispatch_grpc.outbox.table import DEFAULT_TABLE, check_table
from dispatch_grpc.schema import Call
from dispatch_grpc.text import rounded

KEY_RETENTION = timedelta(days=1)
"""How long a service remembers idempotency keys by default."""

_CONNECT_SECONDS = 10
_COMMAND_SECONDS = 10
_STOP_SECONDS = 5
_FIRST_BACKOFF, _MAX_BACKOFF = 0.1, 10.0
_MAX_BYTES = 3_000_000  # of the calls of a batch: services take requests of up to 4 MiB
_FINAL = (
    AlreadyExistsError,
    ConfigurationError,  # of labels
    DecodeError,
    InvalidArgumentError,
    InvalidCallError,
    RequestTooLargeError,
)


class Relay:
    """Dispatches the calls of an outbox while it is open, as an async context manager.

    Several relays may share an outbox. A call is recorded once: the service recognises a batch that
    is sent again by its idempotency key, as long as it remembers the key. Rows that the service
    refuses, and those of a batch that is too old to be sent again, stay in the table with an error.

    Args:
        database: URL of the PostgreSQL that has the outbox.
        client: Client to dispatch with; by default one with the settings of the environment.
        table: Name of the table, perhaps with its schema.
        batch_size: Largest number of calls in a request.
        poll_interval: Longest time between two looks at the table; notices make it shorter.
        key_retention: How long the service remembers idempotency keys, at least.
        lease: How long a batch is left alone whose relay is silent; longer than two requests.

    Raises:
        ConfigurationError: An argument is invalid.
        ImportError: asyncpg is not installed.
    """

    def __init__(
        self,
        database: str,
        client: AsyncClient | None = None,
        *,
        table: str = DEFAULT_TABLE,
        batch_size: int = 1000,
        poll_interval: timedelta = timedelta(seconds=5),
        key_retention: timedelta = KEY_RETENTION,
        lease: timedelta = timedelta(minutes=1),
    ) -> None:
        self._channel = check_table(table)
        if batch_size < 1:
            raise ConfigurationError(f"batch_size: 1 or more is required; got {batch_size}")
        for name, value in (("poll_interval", poll_interval), ("lease", lease)):
            if value <= timedelta(0):
                raise ConfigurationError(f"{name}: more than zero is required; got {value}")
        if key_retention <= lease:
            raise ConfigurationError(
                f"key_retention: more than the lease ({lease}) is required; got {key_retention}"
            )
        self._database = _Database(database)
        self._own_client = client is None
        self._client = AsyncClient() if client is None else client
        self._store = Store(table, uuid4(), lease)
        self._table = table
        self._batch_size = batch_size
        self._poll_seconds = poll_interval.total_seconds()
        self._key_retention = key_retention
        self._lease = lease
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._wake.set()
        tasks = [] if self._task is None else [self._task]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        finally:
            for task in tasks:
                task.cancel()  # a batch that is under way is sent again by another relay
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._own_client:
                await self._client.close()

    async def _run(self) -> None:
        """Relay until it is stopped, also after outages of the database."""
        import asyncpg

        backoff = _FIRST_BACKOFF
        while not self._stopping.is_set():
            try:
                async with self._connection() as connection:
                    while not self._stopping.is_set():
                        await self._turn(connection)
                        backoff = _FIRST_BACKOFF
                    await self._store.release(connection)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._failed(self._database.problem_of(error))
                await self._pause(backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF)
            except Exception:
                logger.exception("the relay of %s goes on after an error of its own", self._table)
                await self._pause(_MAX_BACKOFF)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """A connection that wakes the relay by notices, and when it is lost."""
        async with self._database.connection() as connection:
            # A batch must be on disk before it is sent.
            await connection.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
            connection.add_termination_listener(lambda _: self._wake.set())
            await connection.add_listener(self._channel, lambda *_: self._wake.set())
            yield connection

    async def _turn(self, connection: Any) -> None:
        """Send a batch, or wait for one."""
        self._wake.clear()
        batch = await self._store.claim(connection, self._batch_size, _MAX_BYTES)
        if batch is not None:
            await self._send(connection, batch)
        elif not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()

    async def _send(self, connection: Any, batch: Batch) -> None:
        """Send a batch until it is recorded or refused, or belongs to another relay."""
        age: timedelta | None = batch.age
        backoff = _FIRST_BACKOFF
        while age is not None:
            if age > self._key_retention - self._lease:
                await self._refuse(connection, batch, _too_old(batch, self._key_retention))
                return
            try:
                await self._dispatch(batch)
            except (DispatchError, DecodeError) as error:
                if _is_final(error, batch):
                    await self._refused(connection, batch, error)
                    return
                self._failed(f"the service does not take calls: {error}")
                asked = error.retry_after if isinstance(error, RPCError) else None
                await self._pause(max(backoff, min(asked or 0, _MAX_BACKOFF)))
                backoff = min(backoff * 2, _MAX_BACKOFF)
                if self._stopping.is_set():
                    return
                age = await self._store.renew(connection, batch)
            else:
                await self._store.delete(connection, batch)
                if self._is_failing:
                    self._is_failing = False
                    logger.warning("the relay of %s works again", self._table)
                return

    async def _dispatch(self, batch: Batch) -> None:
        has_traces = any(row.trace for row in batch.rows)
        try:
            await self._dispatch_as(batch, has_traces=has_traces)
        except RPCError as error:
            if not (has_traces and error.code is Code.UNIMPLEMENTED):
                raise
            await self._dispatch_as(batch, has_traces=False)

    async def _dispatch_as(self, batch: Batch, *, has_traces: bool) -> None:
        calls = self._client.batch()
        for row in batch.rows:
            trace = row.trace if has_traces else None
            call = Call.FromString(row.call)
            calls.add(call, at=row.start_time, labels=row.labels, trace=trace)
        # Shorter than the lease: so no other relay sends it at the same time.
        await calls.dispatch(idempotency_key=str(batch.id), timeout=self._lease / 2)

    async def _refused(self, connection: Any, batch: Batch, error: Exception) -> None:
        # If the service knows the key, it may have recorded some of the rows: none gets a new key.
        if len(batch.rows) == 1 or isinstance(error, AlreadyExistsError):
            await self._refuse(connection, batch, f"{type(error).__name__}: {error}")
            return
        # One row must not hold up the others.
        for one in await self._store.split(connection, batch):
            if self._stopping.is_set() or await self._store.renew(connection, one) is None:
                return
            await self._send(connection, one)

    async def _refuse(self, connection: Any, batch: Batch, error: str) -> None:
        await self._store.refuse(connection, batch, error)
        ids = [row.id for row in batch.rows]
        logger.error(
            "%s: %s, and kept with the error: %s",
            self._table,
            f"row {ids[0]} is not sent"
            if len(ids) == 1
            else f"{len(ids)} rows from {ids[0]} to {ids[-1]} are not sent",
            error,
        )

    def _failed(self, text: str) -> None:
        """Log an outage once."""
        if not self._is_failing:
            self._is_failing = True
            logger.warning("the relay of %s tries again: %s", self._table, text)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


class _Database:
    """A PostgreSQL, by its URL."""

    def __init__(self, url: str) -> None:
        try:
            from dispatch_grpc.database_url import normal_url, problem_of
        except ImportError as error:
            raise missing_extra(error, "the outbox", "relay") from error
        try:
            self._dsn = normal_url(url)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        self._url = url
        self._problem_of = problem_of

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Connect."""
        import asyncpg

        connection = await asyncpg.connect(
            self._dsn,
            timeout=_CONNECT_SECONDS,
            command_timeout=_COMMAND_SECONDS,
            server_settings={
                "application_name": "dispatch-grpc relay",
                "default_transaction_isolation": "read committed",
            },
        )
        try:
            yield connection
        finally:
            connection.terminate()

    def problem_of(self, error: Exception) -> str:
        """Return what is wrong with the database, and what to do."""
        text = self._problem_of(error, self._url)
        if type(error).__name__ == "UndefinedTableError":
            text += "; make it by 'dispatch-grpc outbox sql'"
        return text


async def refused_rows(database: str, table: str, limit: int) -> list[Refused]:
    """Return rows that are kept with an error, the oldest first.

    Args:
        database: URL of the PostgreSQL that has the outbox.
        table: Name of the table.
        limit: Largest number of rows.

    Raises:
        ConfigurationError: The database cannot be used.
    """
    check_table(table)
    place = _Database(database)
    import asyncpg

    try:
        async with place.connection() as connection:
            return await store.refused(connection, table, limit)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ConfigurationError(place.problem_of(error)) from error


def _is_final(error: Exception, batch: Batch) -> bool:
    """Whether sending the batch again would give the same error."""
    # Without Submit, a service cannot start calls later. It takes those that begin at once.
    lacks_submit = isinstance(error, RPCError) and error.code is Code.UNIMPLEMENTED
    return isinstance(error, _FINAL) or (
        lacks_submit and any(row.has_options for row in batch.rows)
    )


def _too_old(batch: Batch, key_retention: timedelta) -> str:
    return (
        f"it was sent first at {batch.since.isoformat(' ', 'seconds')}, and no answer came; the "
        f"service remembers idempotency keys for {rounded(key_retention)} only, so that its calls "
        f"could be recorded twice; look whether they are recorded, then delete the row, or set "
        f"batch_id and error to NULL to send it"
    )
