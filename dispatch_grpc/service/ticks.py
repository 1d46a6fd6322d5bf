"""The ticks of schedules: when they are, and what becomes of those that are due. Pure.

cronsim parses cron expressions, and finds the times of those that name hours and minutes as
Debian's cron does: a time in the hour that the clocks skip is fired when they have been put
forward, a time in the hour that they repeat is fired once. An expression whose minute or hour
begins with `*` is for intervals: it is fired whenever the clock on the wall shows such a time, so
twice in a repeated hour. For these cronsim loses times in zones whose clocks change by half an
hour. So it searches within spans of one offset here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from dispatch_grpc.text import quoted

_MAX_CRON = 200  # characters
_LOOKED_AT = 1_000  # ticks of a cron expression, at once
_FIRED_AT_ONCE = 100
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class Overlap(IntEnum):
    """What happens at a tick while a call of the schedule has not finished."""

    SKIP = 1
    BUFFER_ONE = 2
    ALLOW = 3


@dataclass(frozen=True, slots=True)
class Every:
    """Ticks at equal distances.

    Attributes:
        every: The distance.
        start: The first tick.
    """

    every: timedelta
    start: datetime

    def after(self, time: datetime) -> datetime | None:
        """Return the first tick after a time; None if there is none before the year 10000."""
        if time < self.start:
            return self.start
        try:
            return self.start + ((time - self.start) // self.every + 1) * self.every
        except OverflowError:
            return None

    def skip(self, tick: datetime, bound: datetime) -> tuple[int, datetime | None]:
        """Count the ticks from one of them to before a bound. Returns the tick to go on with."""
        number = max(-((tick - bound) // self.every), 0)
        return number, self.after(tick + (number - 1) * self.every) if number else tick


class Cron:
    """Ticks by a cron expression in a time zone.

    Args:
        expression: The expression.
        zone: The time zone.

    Raises:
        ValueError: The expression is not one, or never ticks; the message says why.
    """

    def __init__(self, expression: str, zone: ZoneInfo) -> None:
        text = _NICKNAMES.get(expression.strip().lower(), expression)
        if len(text) > _MAX_CRON:
            raise ValueError(f"at most {_MAX_CRON} characters are allowed; got {len(text)}")
        fields = text.split()
        if len(fields) != 5:
            raise ValueError(
                f"five fields are required (minute, hour, day of the month, month, day of the "
                f"week), or one of {', '.join(_NICKNAMES)}; got {quoted(expression)}"
            )
        self._text = text
        self._zone = zone
        # As cronsim and Debian's cron tell them apart.
        self._is_interval = fields[0].startswith("*") or fields[1].startswith("*")
        try:
            CronSim(text, datetime(2000, 1, 1))
        except CronSimError as error:
            field = str(error).removeprefix("Bad ")
            raise ValueError(f"the field {field} is not valid; got {quoted(expression)}") from error
        if self.after(datetime(2026, 1, 1, tzinfo=UTC)) is None:
            raise ValueError(f"it has no time within 50 years; got {quoted(expression)}")

    def after(self, time: datetime) -> datetime | None:
        """Return the first tick after a time; None if there is none within 50 years."""
        try:
            return self._interval(time) if self._is_interval else self._time_of_day(time)
        except (StopIteration, OverflowError):
            return None

    def skip(self, tick: datetime, bound: datetime) -> tuple[int, datetime | None]:
        """Count the ticks from one of them to before a bound, up to a number of them.

        Returns:
            How many were counted, and the tick to go on with.
        """
        number, at = 0, tick
        while at < bound and number < _LOOKED_AT:
            number += 1
            following = self.after(at)
            if following is None:
                return number, None
            at = following
        return number, at

    def _time_of_day(self, time: datetime) -> datetime:
        times = CronSim(self._text, time.astimezone(self._zone))
        while (found := next(times).astimezone(UTC)) <= time:
            pass  # of a repeated hour, the first
        return found

    def _interval(self, time: datetime) -> datetime:
        base = time.astimezone(UTC).replace(microsecond=0)
        offset = self._offset(base)
        local = (base + offset).replace(tzinfo=None)
        while True:
            found = next(CronSim(self._text, local)).replace(tzinfo=UTC) - offset
            change = self._change(base, found)
            if change is None:
                return found
            base, offset = change, self._offset(change)
            local = (base + offset - _SECOND).replace(tzinfo=None)

    def _offset(self, time: datetime) -> timedelta:
        return time.astimezone(self._zone).utcoffset() or timedelta(0)

    def _change(self, start: datetime, end: datetime) -> datetime | None:
        """Return when the offset changes first after a time and not after another."""
        offset, before = self._offset(start), start
        while before < end:
            after = min(before + _DAY, end)
            if self._offset(after) == offset:
                before = after
                continue
            while after - before > _SECOND:
                middle = before + (after - before) // (2 * _SECOND) * _SECOND
                if self._offset(middle) == offset:
                    before = middle
                else:
                    after = middle
            return after
        return None


Ticks = Every | Cron


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the ticks of a schedule.

    Attributes:
        fire: The ticks to fire, in their order.
        next_at: The next tick, which may be due as well: there was too much to decide at once.
        buffered: The tick that waits for a call to finish.
        skipped: Number of ticks that the rule for overlaps skips.
        missed: Number of ticks that are too old.
    """

    fire: Sequence[datetime]
    next_at: datetime | None
    buffered: datetime | None
    skipped: int = 0
    missed: int = 0


def decide(
    ticks: Ticks,
    next_at: datetime | None,
    buffered: datetime | None,
    now: datetime,
    *,
    overlap: Overlap,
    catch_up: timedelta,
    busy: bool,
) -> Decision:
    """Decide what becomes of the ticks that are due.

    Of several that came while the service was away, or while a call ran, the first is fired or
    buffered, and the others are skipped, unless overlaps are allowed.

    Args:
        ticks: The ticks of the schedule.
        next_at: The first of them that was not decided on; None when there is none.
        buffered: The tick that waits for a call to finish.
        now: The time.
        overlap: What happens at a tick while a call has not finished.
        catch_up: How old a tick may be.
        busy: Whether a call of an earlier firing has not finished.
    """
    fire: list[datetime] = []
    missed, at, oldest = 0, next_at, now - catch_up
    if buffered is not None and (overlap is Overlap.ALLOW or not busy):
        fire.append(buffered)
        buffered, busy = None, True
    if at is not None and at < oldest:
        missed, at = ticks.skip(at, oldest)
    if at is None or at < oldest:
        return Decision(fire, at, buffered, 0, missed)
    if overlap is Overlap.ALLOW:
        while at is not None and at <= now and len(fire) < _FIRED_AT_ONCE:
            fire.append(at)
            at = ticks.after(at)
        return Decision(fire, at, buffered, 0, missed)
    if at <= now and not busy:
        fire.append(at)
        at, busy = ticks.after(at), True
    if at is not None and at <= now and overlap is Overlap.BUFFER_ONE and buffered is None:
        buffered, at = at, ticks.after(at)
    skipped = 0
    if at is not None and at <= now:
        skipped, at = ticks.skip(at, now + timedelta(microseconds=1))
    return Decision(fire, at, buffered, skipped, missed)
