"""Schedules in the database: they are recorded and changed. `store_firing` fires them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.schema import Schedule, ScheduleInfo
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.schedule_rules import ticks_of

_NEXT_TIMES = 5
_LOCK = 0x6469_7370_0010  # one schedule is created at a time, so that their number is known

_WITHOUT_INPUT = (
    "id, name, definition, paused, note, created_at, next_at, buffered_at, recent_ticks, "
    "recent_ids, fired, skipped, missed, now() AS now"
)
COLUMNS = f"{_WITHOUT_INPUT}, input"
# Whether a call of one of the last firings has not finished.
BUSY = "EXISTS (SELECT FROM calls WHERE calls.id = ANY(recent_ids) AND finished_at IS NULL)"


@dataclass(frozen=True, slots=True)
class Stored:
    """A schedule in the database.

    Attributes:
        id: Its id, by which it differs from a later one of the same name.
        schedule: What its user said, with all defaults.
        now: The time of the database when it was read.
        next_at: Its next tick that is not decided on; None when it is paused, or there is none.
        buffered_at: The tick that waits for a call to finish.
        recent: Ticks and calls of its last firings, the newest first.
    """

    id: UUID
    schedule: Schedule
    now: datetime
    paused: bool
    note: str
    created_at: datetime
    next_at: datetime | None
    buffered_at: datetime | None
    recent: Sequence[tuple[datetime, UUID]]
    fired: int
    skipped: int
    missed: int

    def info(self, next_times: int = _NEXT_TIMES) -> ScheduleInfo:
        """Return the message with up to so many of the next ticks."""
        found = ScheduleInfo(
            schedule=self.schedule,
            paused=self.paused,
            note=self.note,
            fired=self.fired,
            skipped=self.skipped,
            missed=self.missed,
        )
        found.creation_time.FromDatetime(self.created_at.astimezone(UTC))
        if self.buffered_at is not None:
            found.buffered_time.FromDatetime(self.buffered_at.astimezone(UTC))
        at = self.next_at
        with suppress(ValueError):  # its time zone is not known here
            while at is not None and len(found.next_times) < next_times:
                found.next_times.add().FromDatetime(at.astimezone(UTC))
                at = ticks_of(self.schedule).after(at) if next_times > 1 else None
        for tick, id in self.recent:
            firing = found.firings.add(dispatch_id=str(id))
            firing.scheduled_time.FromDatetime(tick.astimezone(UTC))
        return found


def stored_of(row: Any) -> Stored:
    """Return the schedule of a row of `COLUMNS`, or of those without the input."""
    schedule = Schedule.FromString(row["definition"])
    if "input" in row.keys():  # noqa: SIM118 (a row is no mapping)
        schedule.call.input.ParseFromString(row["input"])
    return Stored(
        id=row["id"],
        schedule=schedule,
        now=row["now"],
        paused=row["paused"],
        note=row["note"],
        created_at=row["created_at"],
        next_at=row["next_at"],
        buffered_at=row["buffered_at"],
        recent=list(zip(row["recent_ticks"], row["recent_ids"], strict=True)),
        fired=row["fired"],
        skipped=row["skipped"],
        missed=row["missed"],
    )


def _parts(schedule: Schedule) -> tuple[bytes, bytes]:
    """Return a definition without the input of its call, and the input."""
    rest = Schedule()
    rest.CopyFrom(schedule)
    rest.call.ClearField("input")
    return rest.SerializeToString(), schedule.call.input.SerializeToString()


# Look at them


async def get(connection: Any, name: str, *, lock: bool = False) -> Stored | None:
    """Return a schedule; locked, in a transaction, if it is to be changed."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM schedules WHERE name = $1 {'FOR UPDATE' if lock else ''}",  # noqa: S608
        name,
    )
    return None if row is None else stored_of(row)


async def find(connection: Any, after: str, limit: int) -> list[Stored]:
    """Return schedules after a name, by their names, without the inputs of their calls."""
    rows = await connection.fetch(
        f"SELECT {_WITHOUT_INPUT} FROM schedules WHERE name > $1 ORDER BY name LIMIT $2",  # noqa: S608
        after,
        limit,
    )
    return [stored_of(row) for row in rows]


async def next_due(connection: Any) -> float | None:
    """Return in how many seconds the next tick is due; None when there is none."""
    seconds: float | None = await connection.fetchval(
        """
        SELECT extract(epoch FROM min(next_at) - clock_timestamp())::float8 FROM schedules
        WHERE next_at IS NOT NULL
        """
    )
    return seconds


async def awaited(connection: Any) -> tuple[set[UUID], bool]:
    """Return the calls for which buffered ticks wait, and whether one waits for none any more."""
    rows = await connection.fetch(
        f"SELECT recent_ids, {BUSY} AS busy FROM schedules WHERE buffered_at IS NOT NULL"  # noqa: S608
    )
    ids = {id for row in rows for id in row["recent_ids"]}
    return ids, not all(row["busy"] for row in rows)


# Change them


async def create(connection: Any, schedule: Schedule, most: int) -> Stored | None:
    """Record a schedule, in a transaction; return the one of its name if there is one already.

    Returns:
        The schedule; None when there are too many.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    if (found := await get(connection, schedule.name)) is not None:
        return found
    number, now = await connection.fetchrow("SELECT count(*), now() FROM schedules")
    if number >= most:
        return None
    definition, input = _parts(schedule)
    await connection.execute(
        "INSERT INTO schedules (id, name, definition, input, next_at) VALUES ($1, $2, $3, $4, $5)",
        new_id(),
        schedule.name,
        definition,
        input,
        ticks_of(schedule).after(now),
    )
    return await get(connection, schedule.name)


async def define(
    connection: Any, stored: Stored, schedule: Schedule, next_at: datetime | None
) -> None:
    """Change what a schedule does, and its next tick."""
    definition, input = _parts(schedule)
    await connection.execute(
        "UPDATE schedules SET definition = $2, input = $3, next_at = $4 WHERE id = $1",
        stored.id,
        definition,
        input,
        next_at,
    )


async def pause(connection: Any, stored: Stored, note: str) -> None:
    """Pause a schedule; a tick that waits is skipped."""
    await connection.execute(
        """
        UPDATE schedules SET paused = true, note = $2, next_at = NULL, buffered_at = NULL,
            skipped = skipped + (buffered_at IS NOT NULL)::int
        WHERE id = $1
        """,
        stored.id,
        note,
    )


async def resume(connection: Any, stored: Stored) -> None:
    """Have a paused schedule go on with the first tick after now.

    Raises:
        ValueError: Its ticks are not known here: see `ticks_of`.
    """
    await connection.execute(
        "UPDATE schedules SET paused = false, note = '', next_at = $2 WHERE id = $1",
        stored.id,
        ticks_of(stored.schedule).after(stored.now),
    )


async def delete(connection: Any, name: str) -> bool:
    """Delete a schedule. Returns whether there was one."""
    done = await connection.execute("DELETE FROM schedules WHERE name = $1", name)
    return bool(done != "DELETE 0")
