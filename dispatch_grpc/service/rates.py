"""How many calls finish in each minute, by status, and how long they take: for the page.

Each process counts what it finishes, and adds its counts to the table `minutes` every two seconds:
a call costs no statement, and a chart reads one row for each minute and status, however many calls
there are. A process that ends loses the counts of its last two seconds.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from dispatch_grpc.service.database import Database
from dispatch_grpc.service.machine import Finish
from dispatch_grpc.service.store import CallDecision

SECONDS = 2.0
KEPT = timedelta(days=8)
BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600)
"""Upper bounds of the times in seconds that are counted together; there is one place more."""
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Minute:
    """The calls of one status that finished in a minute.

    Attributes:
        minute: When the minute began.
        status: The status.
        calls: Number of the calls.
        seconds: Number of those that took up to each of `BOUNDS`, from recorded to finished.
    """

    minute: datetime
    status: int
    calls: int
    seconds: Sequence[int]


class Rates:
    """What this process has counted and not written yet.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts: dict[tuple[datetime, int], list[int]] = {}

    def finished(self, items: Sequence[CallDecision], ids: Collection[UUID]) -> None:
        """Count calls that attempts have finished.

        Args:
            items: The outcomes, which were written.
            ids: The calls that have finished.
        """
        if not ids:
            return
        now, ended = self._database.clock.now(), set(ids)
        minute = now.replace(second=0, microsecond=0)
        for item in items:
            outcome, loaded = item.outcome, item.loaded
            if type(outcome) is Finish and loaded.running.id in ended:
                counts = self._counts_of(minute, int(outcome.status))
                counts[0] += 1
                took = (now - loaded.created_at).total_seconds()
                counts[1 + bisect_left(BOUNDS, took)] += 1

    def add(self, status: int, number: int = 1) -> None:
        """Count calls that ended without an attempt.

        Args:
            status: Their status.
            number: How many there are.
        """
        minute = self._database.clock.now().replace(second=0, microsecond=0)
        self._counts_of(minute, status)[0] += number

    def _counts_of(self, minute: datetime, status: int) -> list[int]:
        key = minute, status
        if (counts := self._counts.get(key)) is None:
            counts = self._counts[key] = [0] * (len(BOUNDS) + 2)
        return counts

    async def flush(self) -> None:
        """Add the counts to those in the database."""
        counts, self._counts = self._counts, {}
        if not counts:
            return
        rows = sorted(counts.items())  # always in the same order: processes add to the same rows
        try:
            async with self._database.relaxed.acquire() as connection:
                await connection.execute(
                    """
                    INSERT INTO minutes AS kept (minute, status, calls, seconds)
                    SELECT minute, status, calls, string_to_array(seconds, ' ')::bigint[]
                    FROM unnest($1::timestamptz[], $2::smallint[], $3::bigint[], $4::text[])
                        AS new (minute, status, calls, seconds)
                    ON CONFLICT (minute, status) DO UPDATE SET
                        calls = kept.calls + excluded.calls,
                        seconds = ARRAY(
                            SELECT one + other FROM unnest(kept.seconds, excluded.seconds)
                                WITH ORDINALITY AS both_ (one, other, place) ORDER BY place)
                    """,
                    [minute for (minute, _), _ in rows],
                    [status for (_, status), _ in rows],
                    [numbers[0] for _, numbers in rows],
                    [" ".join(map(str, numbers[1:])) for _, numbers in rows],
                )
        except BaseException:
            for key, numbers in counts.items():
                added = self._counts.get(key, [0] * len(numbers))
                self._counts[key] = [one + other for one, other in zip(numbers, added, strict=True)]
            raise


async def since(connection: Any, start: datetime) -> list[Minute]:
    """Return the counts of the minutes since a time, the oldest first."""
    rows = await connection.fetch(
        "SELECT minute, status, calls, seconds FROM minutes WHERE minute > $1 ORDER BY minute",
        start - _MINUTE,
    )
    return [
        Minute(row["minute"].astimezone(UTC), row["status"], row["calls"], row["seconds"])
        for row in rows
    ]


def quantile(seconds: Sequence[int], part: float) -> float | None:
    """Return the time within which a part of the calls finished, in seconds.

    Args:
        seconds: As in `Minute`, or the sums of several.
        part: The part, from 0 to 1.

    Returns:
        The time, by linear interpolation; None if nothing was counted.
    """
    left = sum(seconds) * part
    for place, number in enumerate(seconds):
        if number and number >= left:
            low = BOUNDS[place - 1] if place else 0.0
            high = BOUNDS[place] if place < len(BOUNDS) else 2 * low
            return low + (high - low) * left / number
        left -= number
    return None
