"""The pauses in the database: of a function, of a host, of both together, or of everything.

A pause is a row. A function or a host that is empty stands for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

MAX_PAUSES = 1000


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause.

    Attributes:
        host: The host, as in lanes; empty for all.
        function: The function; empty for all.
        since: When it began.
        reason: Why, as the person wrote it.
    """

    host: str
    function: str
    since: datetime
    reason: str


async def pause(connection: Any, host: str, function: str, reason: str) -> Pause | None:
    """Pause; what is paused stays paused, for the new reason if one is given.

    Returns:
        The pause; None when there are too many.
    """
    row = await connection.fetchrow(
        """
        INSERT INTO pauses (host, function, reason)
        SELECT $1, $2, $3
        WHERE (SELECT count(*) FROM pauses) < $4
            OR EXISTS (SELECT FROM pauses WHERE host = $1 AND function = $2)
        ON CONFLICT (host, function) DO UPDATE SET
            reason = CASE excluded.reason WHEN '' THEN pauses.reason ELSE excluded.reason END
        RETURNING host, function, since, reason
        """,
        host,
        function,
        reason,
        MAX_PAUSES,
    )
    return None if row is None else Pause(**row)


async def resume(connection: Any, host: str, function: str) -> list[Pause]:
    """End a pause, and return it; end all when the host and the function are empty."""
    rows = await connection.fetch(
        """
        DELETE FROM pauses WHERE host = $1 AND function = $2 OR $1 = '' AND $2 = ''
        RETURNING host, function, since, reason
        """,
        host,
        function,
    )
    return _sorted(rows)


async def find(connection: Any) -> list[Pause]:
    """Return the pauses, the oldest first."""
    return _sorted(await connection.fetch("SELECT host, function, since, reason FROM pauses"))


def _sorted(rows: Sequence[Any]) -> list[Pause]:
    return sorted((Pause(**row) for row in rows), key=lambda pause: pause.since)
