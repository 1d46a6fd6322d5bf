"""A schedule as the service sees it: what the methods of `client.schedules` return."""

import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dispatch_grpc.client.as_json import fields_json
from dispatch_grpc.schema import Call, time_of

if TYPE_CHECKING:
    from dispatch_grpc import schema


class Overlap(enum.StrEnum):
    """What happens at a tick while the call of an earlier firing has not finished."""

    UNKNOWN = "unknown"
    """A rule that this version of the library does not know."""
    SKIP = "skip"
    """The tick is skipped."""
    BUFFER_ONE = "buffer_one"
    """One tick waits until the call has finished; more are skipped."""
    ALLOW = "allow"
    """The tick is fired."""


_OVERLAPS = tuple(Overlap)  # by their numbers in the schema


@dataclass(frozen=True)
class Firing:
    """One firing of a schedule.

    Attributes:
        scheduled_time: The tick, aware, in UTC; for a trigger, the time of the trigger.
        dispatch_id: The id of the call.
    """

    scheduled_time: datetime | None
    dispatch_id: str


@dataclass(frozen=True)
class ScheduleInfo:
    """A schedule as the service sees it. Times are aware, in UTC.

    Attributes:
        name: The name of the schedule.
        call: The call that it dispatches; `list` leaves out its input.
        cron: The cron expression; None if the schedule has an interval.
        time_zone: The IANA name of the expression's time zone; None if there is no expression.
        every: The interval; None if the schedule has a cron expression.
        start: The time from which the intervals are counted; None if there is no interval.
        overlap: What happens at a tick while the call of an earlier firing has not finished.
        catch_up: How late a tick may be fired after an outage.
        paused: Whether the schedule is paused.
        note: Why it is paused; empty if no reason was given.
        creation_time: When the schedule was created.
        next_times: The next ticks, up to five; `list` returns one. Empty while it is paused.
        buffered_time: The tick that waits for a call to finish, or None.
        firings: The last firings, the newest first, up to ten.
        fired: Number of ticks that were fired, and of triggers.
        skipped: Number of ticks that were skipped because a call had not finished.
        missed: Number of ticks that could not be fired within the catch-up window.
        message: The message `dispatch.calls.v1.ScheduleInfo`.
    """

    name: str
    call: Call = field(hash=False)
    cron: str | None
    time_zone: str | None
    every: timedelta | None
    start: datetime | None
    overlap: Overlap
    catch_up: timedelta
    paused: bool
    note: str
    creation_time: datetime | None
    next_times: tuple[datetime, ...]
    buffered_time: datetime | None
    firings: tuple[Firing, ...]
    fired: int
    skipped: int
    missed: int
    message: "schema.ScheduleInfo" = field(hash=False)

    @classmethod
    def of(cls, message: "schema.ScheduleInfo") -> "ScheduleInfo":
        """Make a ScheduleInfo from the message."""
        schedule = message.schedule
        is_cron = schedule.WhichOneof("ticks") == "cron"
        overlap = schedule.overlap
        return cls(
            name=schedule.name,
            call=schedule.call,
            cron=schedule.cron if is_cron else None,
            time_zone=schedule.time_zone if is_cron else None,
            every=None if is_cron else schedule.every.ToTimedelta(),
            start=time_of(schedule, "start_time"),
            overlap=_OVERLAPS[overlap] if overlap < len(_OVERLAPS) else Overlap.UNKNOWN,
            catch_up=schedule.catch_up.ToTimedelta(),
            paused=message.paused,
            note=message.note,
            creation_time=time_of(message, "creation_time"),
            next_times=tuple(time.ToDatetime(tzinfo=UTC) for time in message.next_times),
            buffered_time=time_of(message, "buffered_time"),
            firings=tuple(
                Firing(time_of(firing, "scheduled_time"), firing.dispatch_id)
                for firing in message.firings
            ),
            fired=message.fired,
            skipped=message.skipped,
            missed=message.missed,
            message=message,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the schedule as JSON, which `dispatch-grpc schedules get --json` prints.

        The keys are the attributes; durations are written like "1h30m", and `call` like a line of
        `dispatch-grpc batch`. An input of an unknown type appears as its bytes, in base64.
        """
        return fields_json(self)

    def __repr__(self) -> str:
        ticks = repr(self.cron) if self.cron is not None else f"every {self.every}"
        paused = ", paused" if self.paused else ""
        return f"<ScheduleInfo {self.name} of {self.call.function}: {ticks}{paused}>"
