"""Schedules in the database: they are recorded, changed, and fired.

A firing is one transaction: it locks the schedule, records the call, and moves the next tick. So a
tick is fired once, whatever is killed: another process finds the schedule either as it was before
or with its next tick. The idempotency key of the call is made of the schedule and the tick, so that
a tick that a restored row has again is not fired twice.
"""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.schema import Call, Schedule, ScheduleInfo
from dispatch_grpc.service import run_traces, store_accept
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.schedule_rules import ticks_of
from dispatch_grpc.service.store import NewCall
from dispatch_grpc.service.ticks import Overlap, decide

_DUE_AT_ONCE = 100
_FIRED_AT_ONCE = 100  # at most twice as many: a schedule may fire that many ticks by itself
_RECENT = 10
_NEXT_TIMES = 5
_LOCK = 0x6469_7370_0010  # one schedule is created at a time, so that their number is known

_WITHOUT_INPUT = (
    "id, name, definition, paused, note, created_at, next_at, buffered_at, recent_ticks, "
    "recent_ids, fired, skipped, missed, now() AS now"
)
_COLUMNS = f"{_WITHOUT_INPUT}, input"
# Whether a call of one of the last firings has not finished.
_BUSY = "EXISTS (SELECT FROM calls WHERE calls.id = ANY(recent_ids) AND finished_at IS NULL)"


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


def _stored(row: Any) -> Stored:
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
        f"SELECT {_COLUMNS} FROM schedules WHERE name = $1 {'FOR UPDATE' if lock else ''}",  # noqa: S608
        name,
    )
    return None if row is None else _stored(row)


async def find(connection: Any, after: str, limit: int) -> list[Stored]:
    """Return schedules after a name, by their names, without the inputs of their calls."""
    rows = await connection.fetch(
        f"SELECT {_WITHOUT_INPUT} FROM schedules WHERE name > $1 ORDER BY name LIMIT $2",  # noqa: S608
        after,
        limit,
    )
    return [_stored(row) for row in rows]


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
        f"SELECT recent_ids, {_BUSY} AS busy FROM schedules WHERE buffered_at IS NOT NULL"  # noqa: S608
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


# Fire them


@dataclass(slots=True)
class Fired:
    """What a transaction has fired.

    Attributes:
        lanes: The lanes of the calls.
        late: For each call, how late it is.
        skipped: Number of ticks that were skipped.
        missed: Number of ticks that were missed.
        schedules: Number of schedules that were changed.
    """

    lanes: list[str] = field(default_factory=list)
    late: list[timedelta] = field(default_factory=list)
    skipped: int = 0
    missed: int = 0
    schedules: int = 0


async def fire(connection: Any, limits: Limits) -> Fired:
    """Fire the ticks that are due, in a transaction, but for schedules that others fire now."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM schedules WHERE next_at <= now()
        ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED
        """,  # noqa: S608
        _DUE_AT_ONCE,
    )
    rows += await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM schedules WHERE buffered_at IS NOT NULL AND NOT {_BUSY}
        LIMIT $1 FOR UPDATE SKIP LOCKED
        """,  # noqa: S608
        _DUE_AT_ONCE,
    )
    found = {row["id"]: _stored(row) for row in rows}
    running = await _unfinished(connection, found.values())
    fired = Fired()
    for stored in found.values():
        if len(fired.late) >= _FIRED_AT_ONCE:
            break
        await _fire(connection, stored, limits, fired, running)
        fired.schedules += 1
    return fired


async def _unfinished(connection: Any, schedules: Iterable[Stored]) -> set[UUID]:
    """Return the calls of the last firings that have not finished."""
    rows = await connection.fetch(
        "SELECT id FROM calls WHERE id = ANY($1) AND finished_at IS NULL",
        [id for stored in schedules for _, id in stored.recent],
    )
    return {row["id"] for row in rows}


async def _fire(
    connection: Any, stored: Stored, limits: Limits, fired: Fired, running: set[UUID]
) -> None:
    schedule, now = stored.schedule, stored.now
    try:
        ticks = ticks_of(schedule)
    except ValueError as error:
        # Others are to go on. It was right when it was recorded, with the time zones of then.
        logger.error("the schedule %s is paused: %s", schedule.name, error)  # noqa: TRY400
        await pause(connection, stored, f"paused by the service: {error}")
        return
    decision = decide(
        ticks,
        stored.next_at,
        stored.buffered_at,
        now,
        overlap=Overlap(schedule.overlap),
        catch_up=schedule.catch_up.ToTimedelta(),
        busy=any(id in running for _, id in stored.recent),
    )
    recent = list(stored.recent)
    for tick in decision.fire:
        key = f"{stored.id}\0{tick.astimezone(UTC).isoformat()}"
        id, lanes = await _record(connection, stored, tick, limits, key)
        recent.insert(0, (tick, id))
        fired.lanes += lanes
        fired.late.append(now - tick)
    fired.skipped += decision.skipped
    fired.missed += decision.missed
    if decision.missed:
        logger.warning(
            "the schedule %s missed %d ticks, which are older than its catch-up window of %s",
            schedule.name,
            decision.missed,
            schedule.catch_up.ToTimedelta(),
        )
    await connection.execute(
        """
        UPDATE schedules SET next_at = $2, buffered_at = $3, recent_ticks = $4, recent_ids = $5,
            fired = fired + $6, skipped = skipped + $7, missed = missed + $8
        WHERE id = $1
        """,
        stored.id,
        decision.next_at,
        decision.buffered,
        [tick for tick, _ in recent[:_RECENT]],
        [id for _, id in recent[:_RECENT]],
        len(decision.fire),
        decision.skipped,
        decision.missed,
    )


async def _record(
    connection: Any, stored: Stored, tick: datetime, limits: Limits, key: str
) -> tuple[UUID, list[str]]:
    """Record the call of a firing. Returns its id, and the lanes that have jobs now."""
    call: Call = stored.schedule.call
    id, name, now = new_id(), stored.schedule.name, stored.now
    # No client's key begins with NUL.
    digest = hashlib.sha256(f"\0schedule\0{key}".encode()).digest()
    with run_traces.firing(call.function, id, name) as span:
        trace = None if span is None else span.context
        new = NewCall(id, call, limits.expires_at(call, now), trace=trace)
        ids, lanes = await store_accept.accept(connection, [new], now, key=digest)
    if lanes:
        await connection.execute(
            "UPDATE calls SET schedule = $2, scheduled_at = $3 WHERE id = $1", id, name, tick
        )
    return ids[0], lanes


async def trigger(
    connection: Any, stored: Stored, limits: Limits, key: str
) -> tuple[UUID | None, list[str]]:
    """Fire a schedule that is locked, unless its overlaps are not allowed and a call runs.

    Returns:
        The id of the call, and the lanes that have jobs now. When the key was used before, the id
        is that of then. None when a call runs.
    """
    key = f"{stored.id}\0trigger\0{key}"
    running = await _unfinished(connection, [stored])
    if running and Overlap(stored.schedule.overlap) is not Overlap.ALLOW:
        digest = hashlib.sha256(f"\0schedule\0{key}".encode()).digest()
        ids = await connection.fetchval("SELECT ids FROM requests WHERE key = $1", digest)
        return (ids[0] if ids else None), []
    id, lanes = await _record(connection, stored, stored.now, limits, key)
    if lanes:
        await connection.execute(
            """
            UPDATE schedules SET fired = fired + 1,
                recent_ticks = (array_prepend($2::timestamptz, recent_ticks))[:$4],
                recent_ids = (array_prepend($3::uuid, recent_ids))[:$4]
            WHERE id = $1
            """,
            stored.id,
            stored.now,
            id,
            _RECENT,
        )
    return id, lanes
