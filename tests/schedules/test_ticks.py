"""When schedules tick, and what becomes of the ticks that are due."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatch_grpc.service.ticks import Cron, Decision, Every, Overlap, Ticks, decide

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
UTC_ZONE = ZoneInfo("UTC")
START = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",  # half an hour off
    "Australia/Lord_Howe",  # clocks change by half an hour
    "Pacific/Chatham",  # three quarters
    "Africa/Casablanca",  # twice around Ramadan
    "America/Santiago",  # at midnight
    "Asia/Kolkata",  # no changes
    "Antarctica/Troll",  # by two hours
    "UTC",
)


def following(ticks: Ticks, time: datetime, number: int) -> list[datetime]:
    found = []
    for _ in range(number):
        after = ticks.after(time)
        assert after is not None
        assert after > time
        found.append(after)
        time = after
    return found


def local(zone: str, year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(zone)).astimezone(UTC)


# Cron expressions


@pytest.mark.parametrize(
    ("expression", "after", "ticks"),
    [
        ("* * * * *", "2026-01-01T00:00:30", ["01-01T00:01", "01-01T00:02"]),
        ("*/15 * * * *", "2026-01-01T00:50", ["01-01T01:00", "01-01T01:15"]),
        ("0 3 * * *", "2026-01-01T03:00", ["01-02T03:00", "01-03T03:00"]),
        ("30 9 * * mon-fri", "2026-01-02T10:00", ["01-05T09:30", "01-06T09:30"]),
        ("0 0 1 * *", "2026-01-01T00:00", ["02-01T00:00", "03-01T00:00"]),
        ("0 12 13 * 5", "2026-01-01T00:00", ["01-02T12:00", "01-09T12:00"]),  # either day
        ("0 0 L * *", "2026-01-01T00:00", ["01-31T00:00", "02-28T00:00"]),
        ("0 8-10/2 * jan,feb 1", "2026-01-01T00:00", ["01-05T08:00", "01-05T10:00"]),
        ("0 0 * * 7", "2026-01-01T00:00", ["01-04T00:00", "01-11T00:00"]),
        ("@daily", "2026-01-01T00:00", ["01-02T00:00", "01-03T00:00"]),
        ("@Hourly", "2026-01-01T00:00", ["01-01T01:00", "01-01T02:00"]),
        ("@weekly", "2026-01-01T00:00", ["01-04T00:00", "01-11T00:00"]),
        (" 5  4 * * * ", "2026-01-01T00:00", ["01-01T04:05", "01-02T04:05"]),
    ],
)
def test_cron_expressions(expression: str, after: str, ticks: list[str]):
    time = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = following(Cron(expression, UTC_ZONE), time, len(ticks))
    assert [f"{one:%m-%dT%H:%M}" for one in found] == ticks
    assert all(one.second == one.microsecond == 0 for one in found)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "five fields are required"),
        ("* * * *", "five fields are required"),
        ("* * * * * *", "five fields are required"),
        ("@reboot", "five fields are required"),
        ("60 * * * *", "the field minute is not valid; got '60 "),
        ("* 24 * * *", "the field hour is not valid"),
        ("* * 0 * *", "the field day-of-month is not valid"),
        ("* * * 13 *", "the field month is not valid"),
        ("* * * * 8", "the field day-of-week is not valid"),
        ("*/0 * * * *", "the field minute is not valid"),
        ("5-1 * * * *", "the field minute is not valid"),
        ("0 0 30 2 *", "the field day-of-month is not valid"),
        ("* * */20 * 1L", "no time within 50 years"),
        (f"{','.join('1' for _ in range(101))} * * * *", "at most 200 characters"),
    ],
)
def test_what_is_no_cron_expression(expression: str, problem: str):
    with pytest.raises(ValueError, match=problem):
        Cron(expression, UTC_ZONE)


@given(st.text(alphabet="0123456789*,-/#LW@ adimnos?", max_size=30))
@example("1#2/3 * * * *")
@example("* * * * 1L/2")
@example("* * L/2 * *")
@settings(max_examples=300, deadline=None)
def test_any_text_is_an_expression_or_not(text: str):
    try:
        cron = Cron(text, UTC_ZONE)
    except ValueError:
        return
    assert cron.after(START) is not None


# Clock changes


def test_a_time_in_the_skipped_hour_is_fired_after_the_change():
    cron = Cron("30 2 * * *", ZoneInfo("Europe/Berlin"))
    assert following(cron, local("Europe/Berlin", 2026, 3, 28, 12), 2) == [
        local("Europe/Berlin", 2026, 3, 29, 3, 0),
        local("Europe/Berlin", 2026, 3, 30, 2, 30),
    ]


def test_a_time_in_the_repeated_hour_is_fired_once():
    cron = Cron("30 2 * * *", ZoneInfo("Europe/Berlin"))
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # in summer time
    next_day = datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert following(cron, local("Europe/Berlin", 2026, 10, 24, 12), 2) == [first, next_day]
    for minutes in range(1, 120):  # also when it is asked within that hour
        assert cron.after(first + minutes * MINUTE) == next_day


def test_an_interval_goes_on_through_both_changes():
    cron = Cron("*/30 * * * *", ZoneInfo("Europe/Berlin"))
    for day in (datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)):
        assert following(cron, day, 72) == [day + (n + 1) * 30 * MINUTE for n in range(72)]


def test_an_interval_has_no_ticks_in_the_skipped_hour_and_twice_those_of_the_repeated_one():
    zone = ZoneInfo("Europe/Berlin")
    cron = Cron("*/30 2 * * *", zone)
    assert following(cron, local("Europe/Berlin", 2026, 3, 28, 12), 1) == [
        local("Europe/Berlin", 2026, 3, 30, 2, 0)
    ]
    found = following(cron, local("Europe/Berlin", 2026, 10, 24, 12), 4)
    assert found == [datetime(2026, 10, 25, 0, 0, tzinfo=UTC) + n * 30 * MINUTE for n in range(4)]


# The field of an expression, and the values that it stands for.
MINUTES = [("*", range(60)), ("*/20", range(0, 60, 20)), ("5", [5]), ("0,30", [0, 30])]
MINUTES += [("10-50/20", [10, 30, 50])]
HOURS = [("*", range(24)), ("*/6", range(0, 24, 6)), ("0", [0]), ("1", [1]), ("2", [2])]
HOURS += [("3", [3]), ("1-3", [1, 2, 3]), ("2,14", [2, 14]), ("23", [23])]
CHANGES = st.sampled_from(ZONES).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(list(changes_of(name))))
)


def changes_of(name: str) -> Iterator[datetime]:
    """The days of a year on which the clocks of a zone change; some day when there is none."""
    zone, found = ZoneInfo(name), False
    for days in range(365):
        day = START + days * DAY
        if day.astimezone(zone).utcoffset() != (day + DAY).astimezone(zone).utcoffset():
            found = True
            yield day
    if not found:
        yield START


def wall_times(zone: ZoneInfo, start: datetime, minutes: int) -> list[datetime]:
    return [(start + n * MINUTE).astimezone(zone).replace(tzinfo=None) for n in range(minutes)]


def expected(
    zone: ZoneInfo, start: datetime, minutes: int, of_minutes: set[int], of_hours: set[int]
) -> list[datetime]:
    """The ticks by the arithmetic of zoneinfo alone: each minute of the clock on the wall once."""
    walls = wall_times(zone, start, minutes)
    shown = set(walls)
    found = set()
    one = walls[0]
    while one < walls[-1]:
        if one.minute in of_minutes and one.hour in of_hours:
            late = one
            while late not in shown:  # skipped: the first minute that is shown after it
                late += MINUTE
            found.add(walls.index(late))  # repeated: the first
        one += MINUTE
    return [start + n * MINUTE for n in sorted(found)]


@given(CHANGES, st.sampled_from(MINUTES), st.sampled_from(HOURS), st.integers(0, 1439))
@settings(max_examples=300, deadline=None)
def test_ticks_are_those_of_the_clock_on_the_wall(
    change: tuple[str, datetime],
    minutes: tuple[str, list[int]],
    hours: tuple[str, list[int]],
    begin: int,
):
    name, day = change
    zone = ZoneInfo(name)
    cron = Cron(f"{minutes[0]} {hours[0]} * * *", zone)
    start = day - DAY + begin * MINUTE
    length = 3 * 1440
    if minutes[0].startswith("*") or hours[0].startswith("*"):
        walls = wall_times(zone, start, length)
        wanted = [
            start + n * MINUTE
            for n, wall in enumerate(walls)
            if wall.minute in minutes[1] and wall.hour in hours[1]
        ]
    else:
        wanted = expected(zone, start, length, set(minutes[1]), set(hours[1]))
    found = []
    at = cron.after(start - timedelta(seconds=1))
    while at is not None and at < start + (length - 180) * MINUTE:
        found.append(at)
        at = cron.after(at)
    last = found[-1] if found else start
    assert found == [one for one in wanted if one <= last]
    assert not [one for one in wanted if last < one < start + (length - 180) * MINUTE]


# Intervals


@given(
    st.timedeltas(timedelta(seconds=1), timedelta(days=366)),
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.timedeltas(timedelta(0), timedelta(days=1000)),
)
def test_intervals(every: timedelta, start: datetime, time: datetime, ahead: timedelta):
    ticks = Every(every, start)
    after = ticks.after(time)
    assert after is not None
    assert after > time
    assert after == start or after - every <= time
    assert (after - start) % every == timedelta(0)
    bound = after + ahead
    number, at = ticks.skip(after, bound)
    assert at == after + number * every
    assert at is not None
    assert at >= bound
    assert number == 0 or at - every < bound


def test_the_end_of_time():
    end = datetime(9999, 12, 31, tzinfo=UTC)
    assert Every(366 * DAY, START).after(end) is None
    assert Cron("0 0 1 1 *", UTC_ZONE).after(end) is None
    assert Cron("* * 1 1 *", UTC_ZONE).after(end) is None
    assert Cron("0 0 31 12 *", UTC_ZONE).skip(end, end + HOUR) == (1, None)


# What becomes of ticks that are due

EVERY = Every(HOUR, START)


def at(hours: float) -> datetime:
    return START + hours * HOUR


def after(
    now: float,
    overlap: Overlap = Overlap.SKIP,
    *,
    next_at: float = 1,
    buffered: float | None = None,
    catch_up: float = 24,
    busy: bool = False,
) -> Decision:
    waiting = None if buffered is None else at(buffered)
    window = catch_up * HOUR
    return decide(EVERY, at(next_at), waiting, at(now), overlap=overlap, catch_up=window, busy=busy)


def test_nothing_is_due():
    assert after(0.5) == Decision([], at(1), None)


@pytest.mark.parametrize("overlap", Overlap)
def test_a_tick_is_fired(overlap: Overlap):
    assert after(1, overlap) == Decision([at(1)], at(2), None)


@pytest.mark.parametrize(
    ("overlap", "decision"),
    [
        (Overlap.SKIP, Decision([], at(2), None, skipped=1)),
        (Overlap.BUFFER_ONE, Decision([], at(2), at(1))),
        (Overlap.ALLOW, Decision([at(1)], at(2), None)),
    ],
)
def test_a_tick_meets_a_call(overlap: Overlap, decision: Decision):
    assert after(1.5, overlap, busy=True) == decision


def test_one_tick_waits_and_the_others_are_skipped():
    assert after(2, Overlap.BUFFER_ONE, next_at=2, buffered=1, busy=True) == Decision(
        [], at(3), at(1), skipped=1
    )


def test_the_tick_that_waits_is_fired_when_the_call_has_finished():
    assert after(1.5, Overlap.BUFFER_ONE, next_at=2, buffered=1) == Decision([at(1)], at(2), None)
    assert after(2, Overlap.BUFFER_ONE, next_at=2, buffered=1) == Decision([at(1)], at(3), at(2))


@pytest.mark.parametrize(
    ("overlap", "decision"),
    [
        (Overlap.SKIP, Decision([at(1)], at(6), None, skipped=4)),
        (Overlap.BUFFER_ONE, Decision([at(1)], at(6), at(2), skipped=3)),
        (Overlap.ALLOW, Decision([at(n) for n in range(1, 6)], at(6), None)),
    ],
)
def test_ticks_of_an_outage(overlap: Overlap, decision: Decision):
    assert after(5.5, overlap) == decision


@pytest.mark.parametrize(
    ("overlap", "decision"),
    [
        (Overlap.SKIP, Decision([at(98)], at(101), None, skipped=2, missed=97)),
        (Overlap.BUFFER_ONE, Decision([at(98)], at(101), at(99), skipped=1, missed=97)),
        (Overlap.ALLOW, Decision([at(98), at(99), at(100)], at(101), None, missed=97)),
    ],
)
def test_ticks_older_than_the_window_are_missed(overlap: Overlap, decision: Decision):
    assert after(100, overlap, catch_up=2) == decision


def test_a_tick_that_is_just_in_the_window_is_fired():
    assert after(3, catch_up=2).fire == [at(1)]


@given(
    st.sampled_from([EVERY, Cron("0 * * * *", UTC_ZONE)]),
    st.sampled_from(Overlap),
    st.integers(0, 3000),
    st.integers(1, 3000),
    st.booleans(),
    st.booleans(),
)
@settings(deadline=None)
def test_each_tick_is_decided_on_once(
    ticks: Ticks, overlap: Overlap, hours: int, window: int, busy: bool, waits: bool
):
    """However many turns it takes."""
    next_at: datetime | None = at(1)
    buffered = at(0) if waits else None
    fired: list[datetime] = []
    skipped = missed = 0
    now = at(hours)
    for _ in range(100):
        decision = decide(
            ticks, next_at, buffered, now, overlap=overlap, catch_up=window * HOUR, busy=busy
        )
        fired += decision.fire
        skipped += decision.skipped
        missed += decision.missed
        next_at, buffered = decision.next_at, decision.buffered
        busy = busy or bool(decision.fire)
        if next_at is None or next_at > now:
            break
    assert next_at == at(hours + 1)
    assert len(fired) + skipped + missed + (buffered is not None) == hours + waits
    assert fired == sorted(set(fired))
    assert missed == max(hours - window - 1, 0)
    if overlap is Overlap.ALLOW:
        assert skipped == 0
        assert buffered is None
    elif busy:
        assert len(fired) <= 1
