"""Fire schedules: record their calls when their ticks are due, or when they are triggered.

A firing is one transaction: it locks the schedule, records the call, and moves the next tick. So a
tick is fired once, whatever is killed: another process finds the schedule either as it was before
or with its next tick. The idempotency key of the call is made of the schedule and the tick, so that
a tick that a restored row has again is not fired twice.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service import run_traces, store_accept
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.schedule_rules import ticks_of
from dispatch_grpc.service.store import NewCall
from dispatch_grpc.service.store_schedules import BUSY, COLUMNS, Stored, pause, stored_of
from dispatch_grpc.service.ticks import Overlap, decide

_DUE_AT_ONCE = 100
_FIRED_AT_ONCE = 100  # at most twice as many: a schedule may fire that many ticks by itself
_RECENT = 10


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
        SELECT {COLUMNS} FROM schedules WHERE next_at <= now()
        ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED
        """,  # noqa: S608
        _DUE_AT_ONCE,
    )
    rows += await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM schedules WHERE buffered_at IS NOT NULL AND NOT {BUSY}
        LIMIT $1 FOR UPDATE SKIP LOCKED
        """,  # noqa: S608
        _DUE_AT_ONCE,
    )
    found = {row["id"]: stored_of(row) for row in rows}
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
    call = stored.schedule.call
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
