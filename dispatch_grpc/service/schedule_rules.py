"""The rules for schedules: what a user may say of one, what is meant by what is not said. Pure."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dispatch_grpc.calls import problem_of
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import RPCError, rpc_error
from dispatch_grpc.schema import Schedule, ScheduleOverlap
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.ticks import Cron, Every, Overlap, Ticks
from dispatch_grpc.service.urls import problem_of_call
from dispatch_grpc.text import quoted

_NAME = r"[a-zA-Z0-9._:/-]{1,200}"
_MAX_NOTE = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_EVERY = timedelta(seconds=1)
_MIN_CATCH_UP = timedelta(seconds=10)
_CATCH_UP = timedelta(days=1)
_MAX_TIME = timedelta(days=366)


def check_name(name: str, field: str = "name") -> str:
    """Check the name of a schedule.

    Raises:
        InvalidArgumentError: It is not one.
    """
    if re.fullmatch(_NAME, name):
        return name
    raise _invalid(
        f'{field}: from 1 to 200 ASCII letters, digits and characters of "._:/-" are required; '
        f"got {quoted(name)}"
    )


def check_note(note: str) -> str:
    """Check why a schedule is paused.

    Raises:
        InvalidArgumentError: The note is not acceptable.
    """
    if len(note) > _MAX_NOTE:
        raise _invalid(f"note: at most {_MAX_NOTE} characters are allowed; got {len(note)}")
    if "\0" in note:
        raise _invalid("note: a text without NUL is required")
    return note


def completed(given: Schedule, limits: Limits, *, allow_metadata: bool) -> Schedule:
    """Return a schedule with all that its user has left out.

    Raises:
        InvalidArgumentError: It breaks a rule; the message names the field.
    """
    schedule = Schedule()
    schedule.CopyFrom(given)
    check_name(schedule.name, "schedule.name")
    problem = (
        (problem_of(schedule.call) or "").removeprefix(".")
        or problem_of_call(schedule.call, allow_metadata=allow_metadata)
        or limits.problem_of(schedule.call)
    )
    if problem:
        raise _invalid(f"schedule.call.{problem}")
    if schedule.overlap == ScheduleOverlap.SCHEDULE_OVERLAP_UNSPECIFIED:
        schedule.overlap = ScheduleOverlap.SCHEDULE_OVERLAP_SKIP
    if schedule.overlap not in {one.value for one in Overlap}:
        raise _invalid(f"schedule.overlap: {schedule.overlap} is not a ScheduleOverlap")
    if not schedule.HasField("catch_up"):
        schedule.catch_up.FromTimedelta(_CATCH_UP)
    _duration(schedule, "catch_up", _MIN_CATCH_UP)
    _complete_ticks(schedule)
    return schedule


def _complete_ticks(schedule: Schedule) -> None:
    match schedule.WhichOneof("ticks"):
        case "every":
            _duration(schedule, "every", _MIN_EVERY)
            if schedule.time_zone:
                raise _invalid(
                    f"schedule.time_zone: it is for cron only; got {quoted(schedule.time_zone)} "
                    f"with every"
                )
            if not schedule.HasField("start_time"):
                schedule.start_time.FromDatetime(_EPOCH)
            try:
                schedule.start_time.ToDatetime(tzinfo=UTC)
            except (ValueError, OverflowError) as error:
                raise _invalid(f"schedule.start_time: {error}") from error
        case "cron":
            if schedule.HasField("start_time"):
                raise _invalid("schedule.start_time: it is for every only; got it with cron")
            schedule.time_zone = schedule.time_zone or "UTC"
            try:
                ticks_of(schedule)
            except ValueError as error:
                raise _invalid(f"schedule.{error}") from error
        case _:
            raise _invalid("schedule: one of cron and every is required; got none")


def merged(old: Schedule, changes: Schedule) -> Schedule:
    """Return a schedule with the fields of another that are set."""
    new = Schedule()
    new.CopyFrom(old)
    if (ticks := changes.WhichOneof("ticks")) is not None and ticks != old.WhichOneof("ticks"):
        new.ClearField("time_zone")
        new.ClearField("start_time")
    for descriptor, value in changes.ListFields():
        name = descriptor.name
        if descriptor.message_type is None:
            setattr(new, name, value)
        else:
            getattr(new, name).CopyFrom(value)
    return new


def have_same_ticks(one: Schedule, other: Schedule) -> bool:
    """Return whether two schedules tick at the same times."""
    names = ("cron", "every", "time_zone", "start_time")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def differences(one: Schedule, other: Schedule) -> list[str]:
    """Return the names of the fields by which two schedules differ."""
    names = [field.name for field in Schedule.DESCRIPTOR.fields]
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def ticks_of(schedule: Schedule) -> Ticks:
    """Return the ticks of a schedule that is complete.

    Raises:
        ValueError: Its time zone is not known here, or its cron expression is not valid; the
            message names the field.
    """
    if schedule.WhichOneof("ticks") == "cron":
        zone = _zone(schedule.time_zone)
        try:
            return _cron(schedule.cron, zone)
        except ValueError as error:
            raise ValueError(f"cron: {error}") from error
    return Every(schedule.every.ToTimedelta(), schedule.start_time.ToDatetime(tzinfo=UTC))


_cron = lru_cache(maxsize=1024)(Cron)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones
        raise ValueError(
            f"time_zone: the IANA name of a zone, such as Europe/Berlin, is required; "
            f"got {quoted(name)}"
        ) from error


def _duration(schedule: Schedule, name: str, least: timedelta) -> None:
    value: Any = getattr(schedule, name)
    given = value.seconds * 10**9 + value.nanos
    if not _nanos(least) <= given <= _nanos(_MAX_TIME) or given % 1000:
        raise _invalid(
            f"schedule.{name}: from {least.total_seconds():g} s to {_MAX_TIME.days} days are "
            f"allowed, in whole microseconds; got {value.seconds} s and {value.nanos} ns"
        )


def _nanos(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1) * 1000


def _invalid(message: str) -> RPCError:
    return rpc_error(Code.INVALID_ARGUMENT, message)
