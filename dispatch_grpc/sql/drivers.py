"""Execute a statement on a connection of any supported driver, in the transaction that it is in.

No driver is imported: a connection is known by the modules of its classes. All parameters are text,
and so is the result, since drivers treat every other type in ways of their own.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from dispatch_grpc.errors import ConfigurationError

_T = TypeVar("_T")


class AsyncpgConnection(Protocol):
    """A connection of asyncpg, also one of a pool."""

    def fetchval(self, query: str, /, *args: Any) -> Awaitable[Any]:
        """Fetch one value."""
        ...


class AsyncExecutor(Protocol):
    """An AsyncConnection of psycopg 3, an AsyncSession or AsyncConnection of SQLAlchemy."""

    def execute(self, statement: Any, params: Any = ..., /) -> Awaitable[Any]:
        """Execute a statement."""
        ...


class Result(Protocol):
    """The result of a statement."""

    def fetchone(self) -> Any:
        """Fetch the next row."""
        ...


class Executor(Protocol):
    """A Connection of psycopg 3, a Session or Connection of SQLAlchemy."""

    def execute(self, statement: Any, params: Any = ..., /) -> Result:
        """Execute a statement."""
        ...


class DjangoConnection(Protocol):
    """A connection of Django: `django.db.connection`, or one of `django.db.connections`."""

    def ensure_connection(self) -> Any:
        """Connect, unless it is connected."""
        ...

    def cursor(self) -> Any:
        """Make a cursor."""
        ...


AsyncConnection = AsyncpgConnection | AsyncExecutor
"""Connections whose statements are awaited."""

SyncConnection = Executor | DjangoConnection
"""Connections whose statements are not awaited."""


def execute(
    connection: Any, statement: str, values: Sequence[str | None], read: Callable[[Any], _T]
) -> "_T | Awaitable[_T]":
    """Execute a statement that returns one value.

    Args:
        connection: A connection, or a session.
        statement: The statement, with {} for each parameter.
        values: The parameters.
        read: Reads the result from the value.

    Returns:
        The result; an awaitable of it if the driver is an async one.

    Raises:
        ConfigurationError: The connection is of no supported driver.
    """
    names = {
        (cls.__module__.partition(".")[0], cls.__module__, cls.__name__)
        for cls in type(connection).__mro__
    }
    packages = {package for package, _, _ in names}
    numbers = range(1, len(values) + 1)
    if "asyncpg" in packages and hasattr(connection, "is_in_transaction"):
        numbered = statement.format(*(f"${number}" for number in numbers))
        return _awaited(connection.fetchval(numbered, *values), read)
    if "sqlalchemy" in packages and hasattr(connection, "execute"):
        from sqlalchemy import text

        named = text(statement.format(*(f":v{number}" for number in numbers)))
        params = {f"v{number}": value for number, value in zip(numbers, values, strict=True)}
        result = connection.execute(named, params)
        if inspect.isawaitable(result):
            return _awaited(result, lambda found: read(found.scalar_one()))
        return read(result.scalar_one())
    positional = statement.format(*("%s" for _ in values))
    if "psycopg" in packages and hasattr(connection, "execute"):
        from psycopg.rows import tuple_row

        cursor = connection.cursor(row_factory=tuple_row)
        if inspect.iscoroutinefunction(cursor.execute):
            return _by_cursor(cursor, positional, values, read)
        with cursor:
            return read(cursor.execute(positional, values).fetchone()[0])
    if "django" in packages and hasattr(connection, "ensure_connection"):
        with connection.cursor() as cursor:
            cursor.execute(positional, values)
            return read(cursor.fetchone()[0])
    cls = type(connection)
    raise ConfigurationError(
        f"connection: a connection or session of asyncpg, psycopg 3, SQLAlchemy or Django is "
        f"required; got {cls.__module__}.{cls.__qualname__}"
    )


async def _awaited(result: Awaitable[Any], read: Callable[[Any], _T]) -> _T:
    return read(await result)


async def _by_cursor(
    cursor: Any, statement: str, values: Sequence[str | None], read: Callable[[Any], _T]
) -> _T:
    async with cursor:
        await cursor.execute(statement, values)
        return read((await cursor.fetchone())[0])
