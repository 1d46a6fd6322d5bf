"""Read and write policies: see `policies`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from dispatch_grpc.service.notices import POLICIES


@dataclass(frozen=True, slots=True)
class Policy:
    """How the calls of a host, of a function or of both are run.

    Attributes:
        host: The host with scheme and port, such as `https://example.com`; empty for any.
        function: Name of the function; empty for any.
        run_timeout: How long an attempt may take; None leaves it to a less specific policy.
    """

    host: str = ""
    function: str = ""
    run_timeout: timedelta | None = None


SETTINGS = ("run_timeout",)
"""The attributes of a policy that set something, and their columns."""


async def read(connection: Any) -> list[Policy]:
    """Return all policies, the least specific first."""
    rows = await connection.fetch(
        f"SELECT host, function, {', '.join(SETTINGS)} FROM policies ORDER BY host, function"  # noqa: S608
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
        f"RETURNING host, function, {', '.join(SETTINGS)}",
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
