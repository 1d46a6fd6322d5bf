"""Prepare a database: migrate its tables, and make the functions that have changed anew."""

import asyncio
import hashlib
from importlib.metadata import version
from typing import Any

import asyncpg
from pgqueuer.domain.settings import Durability
from pgqueuer.queries import Queries

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.schema import dispatch_functions
from dispatch_grpc.service.schema.functions import FUNCTIONS
from dispatch_grpc.service.schema.migrations import MIGRATIONS

SCHEMA = "dispatch_grpc"


def _stamp_of(functions: str, queue_version: str) -> str:
    """Return a text that says which version of everything a database has."""
    digest = hashlib.sha256(functions.encode()).hexdigest()[:16]
    return f"migration {len(MIGRATIONS)}, pgqueuer {queue_version}, functions {digest}"


async def _stamped(connection: Any) -> str | None:
    """Return the stamp of a database; None where there is none, or no tables."""
    found = await connection.fetchval(
        f"SELECT obj_description(to_regclass('{SCHEMA}.migrations'), 'pg_class')"
    )
    return None if found is None else str(found)


# One number for all processes that prepare the same database.
_LOCK = 0x6469_7370_6174_6368


async def prepare(
    connect: dict[str, Any], grant_to: str | None = None, producer: str | None = None
) -> None:
    """Make the tables, or change those of an older version. Safe for many processes at once.

    A database that is up to date is left alone, so that no rights to change it are needed.

    Args:
        connect: Arguments of `asyncpg.connect`.
        grant_to: A role that gets the rights that the service needs to run.
        producer: A role that may call the SQL function `dispatch`, and do nothing else.
    """
    connection = await asyncpg.connect(**connect, timeout=10)
    try:
        queries = Queries.from_asyncpg_connection(connection)
        enqueue = queries.qbq.build_enqueue_query().rstrip()
        functions = FUNCTIONS.format(enqueue=enqueue, schema=SCHEMA)
        functions += dispatch_functions.FUNCTIONS
        stamp = _stamp_of(functions, version("pgqueuer"))
        if await _stamped(connection) != stamp and not await _is_newer(connection):
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            if await _stamped(connection) != stamp:  # another process may have been quicker
                await _migrate(connection, queries, functions, stamp)
                # It waits for all transactions, those that wait for the lock as well.
                await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
                await _index_partitions(connection)
        if grant_to is not None:
            await connection.execute(_GRANTS.format(role=_quoted(grant_to)))
        if producer is not None:
            await dispatch_functions.grant(connection, producer)
    finally:
        await connection.close()  # which gives back the lock


async def _is_newer(connection: asyncpg.Connection) -> bool:
    """Whether the database belongs to a later version, and is to be left as it is."""
    if await connection.fetchval(f"SELECT to_regclass('{SCHEMA}.migrations')") is None:
        return False
    done = await connection.fetchval(f"SELECT max(number) FROM {SCHEMA}.migrations") or 0  # noqa: S608
    if done <= len(MIGRATIONS):
        return False
    logger.warning(
        "the database belongs to a later version of this package: it has migration %d, this "
        "version knows %d. This process goes on, and leaves the tables as they are",
        done,
        len(MIGRATIONS),
    )
    return True


async def _migrate(
    connection: asyncpg.Connection, queries: Queries, functions: str, stamp: str
) -> None:
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    await connection.execute(f"SET search_path TO {SCHEMA}")
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (number int PRIMARY KEY, at timestamptz)"
    )
    done = int(await connection.fetchval("SELECT max(number) FROM migrations") or 0)
    queries.qbe.settings.durability = Durability.balanced  # its log may be lost
    if await queries.schema_is_installed():
        await queries.upgrade()
    else:
        await queries.install()
    while True:
        try:
            async with connection.transaction():
                # Who waits for a lock on a table has all others wait: give up soon, and try again.
                await connection.execute("SET LOCAL lock_timeout = '1s'")
                for number, statements in enumerate(MIGRATIONS[done:], done + 1):
                    await connection.execute(statements)
                    await connection.execute("INSERT INTO migrations VALUES ($1, now())", number)
                await connection.execute(functions)
                await connection.execute(f"COMMENT ON TABLE migrations IS '{stamp}'")
        except asyncpg.LockNotAvailableError:
            logger.info("the migration waits for transactions that use the tables")
            await asyncio.sleep(1)
        else:
            break
    if done < len(MIGRATIONS):
        logger.info("the database has migration %d now", len(MIGRATIONS))


async def _index_partitions(connection: asyncpg.Connection) -> None:
    """Make the indexes that partitions lack, without holding up those who use them."""
    partitions = await connection.fetch(
        """
        SELECT inhrelid::regclass::text AS name, inhrelid::regclass || '_dead' AS index
        FROM pg_index AS whole JOIN pg_inherits ON inhparent = whole.indrelid
        WHERE whole.indexrelid = to_regclass('finished_dead') AND NOT EXISTS (
            SELECT FROM pg_index AS own JOIN pg_inherits AS index ON index.inhrelid = own.indexrelid
            WHERE own.indrelid = pg_inherits.inhrelid AND index.inhparent = whole.indexrelid
        )
        """
    )
    await connection.execute("SET lock_timeout = '10s'")
    for name, index in partitions:
        await connection.execute(f"DROP INDEX IF EXISTS {index}")  # of an attempt that was ended
        try:
            await connection.execute(f"CREATE INDEX CONCURRENTLY {index} ON {name} (id) WHERE dead")
            await connection.execute(f"ALTER INDEX finished_dead ATTACH PARTITION {index}")
        except (
            asyncpg.LockNotAvailableError,
            asyncpg.DeadlockDetectedError,
        ):  # a transaction has been open all the time
            await connection.execute(f"DROP INDEX {index}")
            logger.warning("the table %s gets no index of its dead letters: it is in use", name)


_GRANTS = f"""
GRANT USAGE ON SCHEMA {SCHEMA} TO {{role}};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {{role}};
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {{role}};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {SCHEMA} TO {{role}};
"""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
