"""Read and write policies, and what of their limits is in use: see `policy_rules`."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from dispatch_grpc.service.notices import POLICIES
from dispatch_grpc.service.policy_rules import SETTINGS, Policy, Scope, Use

_COLUMNS = f"host, function, {', '.join(SETTINGS)}"
_LOCKS = 0x6469_7371  # beside a number for each scope; idempotency keys have 0x6469_7370


async def read(connection: Any) -> list[Policy]:
    """Return all policies, the least specific first."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM policies ORDER BY host, function"  # noqa: S608
    )
    return [Policy(**row) for row in rows]


async def change(
    connection: Any, host: str, function: str, settings: Mapping[str, Any]
) -> Policy | None:
    """Change the settings of a policy, and tell the processes; None unsets one. In a transaction.

    Returns:
        The policy; None when it sets nothing any more, and is gone.
    """
    names = [name for name in SETTINGS if name in settings]
    columns = "".join(f", {name}" for name in names)
    values = "".join(f", ${number}" for number in range(3, 3 + len(names)))
    changes = ", ".join(f"{name} = excluded.{name}" for name in names)
    row = await connection.fetchrow(
        f"INSERT INTO policies (host, function{columns}) VALUES ($1, $2{values}) "  # noqa: S608
        f"ON CONFLICT (host, function) DO UPDATE SET {changes}, changed_at = now() "
        f"RETURNING {_COLUMNS}",
        host,
        function,
        *(settings[name] for name in names),
    )
    policy: Policy | None = Policy(**row)
    if all(getattr(policy, name) is None for name in SETTINGS):
        await connection.execute(
            "DELETE FROM policies WHERE host = $1 AND function = $2", host, function
        )
        policy = None
    await connection.execute("SELECT pg_notify($1, '')", POLICIES)
    return policy


async def replace(connection: Any, policies: Iterable[Policy]) -> list[tuple[Scope, Policy | None]]:
    """Have the policies be these, and no others. In a transaction.

    Returns:
        The scopes whose policy has changed, each with its policy; None for one that is gone.
    """
    await connection.execute("LOCK TABLE policies IN SHARE ROW EXCLUSIVE MODE")
    before = {one.scope: one for one in await read(connection)}
    after = {one.scope: one for one in policies}
    changed: list[tuple[Scope, Policy | None]] = []
    for scope in sorted({*before, *after}):
        policy = after.get(scope)
        if before.get(scope) != policy:
            settings = {name: getattr(policy, name, None) for name in SETTINGS}
            await change(connection, *scope, settings)
            changed.append((scope, policy))
    return changed


# Limits


async def lock(connection: Any, scopes: Sequence[Scope]) -> None:
    """Lock what policies limit, until the end of the transaction.

    By a statement of its own: those that follow see what the transaction before has committed.

    Raises:
        asyncpg.LockNotAvailableError: Another transaction has it for long.
    """
    keys = sorted({zlib.crc32("\0".join(scope).encode()) - 2**31 for scope in scopes})
    await connection.execute(
        """
        WITH bound AS MATERIALIZED (SELECT set_config('lock_timeout', '1s', true))
        SELECT pg_advisory_xact_lock($1, key) FROM bound, unnest($2::int[]) AS key
        """,
        _LOCKS,
        keys,
    )


async def uses(connection: Any, scopes: Sequence[Scope]) -> dict[Scope, Use]:
    """Return what policies allow, and what of that is in use; only of those that limit."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS},
            clock_timestamp() AS now, paid_until,
            CASE WHEN concurrency IS NULL THEN 0 ELSE (
                SELECT count(*) FROM pgqueuer WHERE status = 'picked'
                    AND (host = '' OR split_part(entrypoint, ' ', 1) = host)
                    AND (function = '' OR split_part(entrypoint, ' ', 2) = function)
            ) END AS running
        FROM unnest($1::text[], $2::text[]) AS scope (host, function)
            JOIN policies USING (host, function)
        """,  # noqa: S608
        [host for host, _ in scopes],
        [function for _, function in scopes],
    )
    found = {}
    for row in rows:
        settings = dict(row)
        now, running, paid_until = (settings.pop(name) for name in ("now", "running", "paid_until"))
        if (policy := Policy(**settings)).is_limit:
            found[policy.scope] = Use(policy, now, running, paid_until)
    return found


async def pay(connection: Any, paid: Mapping[Scope, datetime]) -> None:
    """Note up to when the calls that begin are paid for, of policies with a rate."""
    if paid:
        await connection.execute(
            """
            UPDATE policies SET paid_until = until
            FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS paid (of_host, of_func, until)
            WHERE host = of_host AND function = of_func
            """,
            [host for host, _ in paid],
            [function for _, function in paid],
            [*paid.values()],
        )
