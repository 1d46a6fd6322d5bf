"""How many calls there are that have not finished, and how many dead letters.

For the metrics, the page, and the bound of the backlog.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

DEAD_COUNTED = 10_000


async def count(connection: Any) -> dict[str, int]:
    """Count the calls that have not finished: queued, delayed, running, waiting.

    This reads the whole queue, so that one process does it for all: see `counted`.
    """
    row = await connection.fetchrow(
        """
        SELECT
            count(*) FILTER (WHERE status = 'queued' AND execute_after <= now()) AS queued,
            count(*) FILTER (WHERE status = 'queued' AND execute_after > now()) AS delayed,
            count(*) FILTER (WHERE status = 'picked') AS running,
            (SELECT count(*) FROM calls
                WHERE next_at IS NOT NULL AND poll IS NOT NULL AND state = 3) AS waiting
        FROM pgqueuer
        """
    )
    return dict(row)


@dataclass(frozen=True, slots=True)
class Counted:
    """The calls that have not finished, as a process counted them.

    Attributes:
        numbers: How many there were, by state.
        age: How long ago that was.
    """

    numbers: dict[str, int]
    age: timedelta


async def counted(connection: Any) -> Counted | None:
    """Return what `count` returned last, in whichever process; None before it did."""
    row = await connection.fetchrow(
        """
        SELECT queued, delayed, running, waiting, now() - counted_at AS age FROM backlog
        WHERE counted_at IS NOT NULL
        """
    )
    if row is None:
        return None
    numbers = dict(row)
    return Counted(numbers, numbers.pop("age"))


async def count_dead(connection: Any) -> int:
    """Return the number of dead letters, up to `DEAD_COUNTED`."""
    number: int = await connection.fetchval(
        "SELECT count(*) FROM (SELECT FROM finished WHERE dead LIMIT $1) AS dead", DEAD_COUNTED
    )
    return number
