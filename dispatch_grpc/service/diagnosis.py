"""What is wrong with a database: for `dispatch-grpc doctor`, which changes nothing."""

from typing import Any

import asyncpg

from dispatch_grpc.database_url import normal_url, problem_of
from dispatch_grpc.service.schema import MIGRATIONS, SCHEMA


async def examine(url: str, seconds: float) -> tuple[bool, str]:
    """Look at a database.

    Args:
        url: URL of a PostgreSQL.
        seconds: Longest time to connect, and for each statement.

    Returns:
        Whether the service can use it, and what was found.
    """
    try:
        connection = await asyncpg.connect(
            normal_url(url), timeout=max(int(seconds), 1), command_timeout=seconds
        )
        try:
            return await _look(connection)
        finally:
            await connection.close(timeout=seconds)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        return False, problem_of(error, url)


async def _look(connection: Any) -> tuple[bool, str]:
    name, role = await connection.fetchrow("SELECT current_database(), current_user")
    place = f"database {name!r} as role {role!r}"
    exists = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = 'migrations')",
        SCHEMA,
    )
    if not exists:
        if await connection.fetchval("SELECT has_database_privilege(current_database(), 'CREATE')"):
            return True, f"{place}: it is reachable, and 'dispatch-grpc serve' makes its tables"
        return False, (
            f"{place}: it has no tables, and the role may not create them: run 'dispatch-grpc "
            f"migrate --grant {role}' with the role of the owner"
        )
    if not await connection.fetchval(
        "SELECT CASE WHEN has_schema_privilege($1, 'USAGE')"  # else the others are errors
        " THEN has_table_privilege($1 || '.migrations', 'SELECT')"
        " AND has_table_privilege($1 || '.calls', 'INSERT') ELSE false END",
        SCHEMA,
    ):
        return False, (
            f"{place}: the role may not use the tables: run 'dispatch-grpc migrate --grant "
            f"{role}' with the role of the owner"
        )
    done = await connection.fetchval(f"SELECT max(number) FROM {SCHEMA}.migrations") or 0  # noqa: S608
    if done < len(MIGRATIONS):
        return True, (
            f"{place}: its tables are of an older version ({done} of {len(MIGRATIONS)} "
            f"migrations), which 'dispatch-grpc serve' upgrades"
        )
    return True, f"{place}: its tables are up to date"
