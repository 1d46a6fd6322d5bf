"""The requests of `client.schedules`, and what is in their answers: everything but the I/O."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Literal

from dispatch_grpc.calls import problem_of
from dispatch_grpc.client.following import field_of
from dispatch_grpc.client.listing import Pages
from dispatch_grpc.client.schedule_info import Overlap, ScheduleInfo
from dispatch_grpc.client.settings import ClientSettings, Timeout, check_text, timestamp
from dispatch_grpc.errors import ConfigurationError, InvalidCallError
from dispatch_grpc.schema import (
    Call,
    CreateScheduleRequest,
    ListSchedulesRequest,
    ListSchedulesResponse,
    Schedule,
)
from dispatch_grpc.text import quoted
from dispatch_grpc.values import duration_parts

OverlapName = Overlap | Literal["skip", "buffer_one", "allow"]


def schedule_of(
    name: str,
    call: Call | None,
    *,
    cron: str | None,
    time_zone: str | None,
    every: timedelta | None,
    start: datetime | None,
    overlap: OverlapName | None,
    catch_up: timedelta | None,
) -> Schedule:
    """Make a schedule of the arguments that are given."""
    schedule = Schedule(name=check_text("name", name), overlap=_overlap(overlap))
    if call is not None:
        if problem := problem_of(call):
            raise InvalidCallError(f"call{problem}")
        schedule.call.CopyFrom(call)
    if cron is not None and every is not None:
        raise ConfigurationError("cron and every cannot be used together")
    if cron is not None:
        schedule.cron = check_text("cron", cron)
    if time_zone is not None:
        schedule.time_zone = check_text("time_zone", time_zone)
    if every is not None:
        _set_duration(schedule.every, "every", every)
    if start is not None:
        schedule.start_time.CopyFrom(timestamp("start", start))
    if catch_up is not None:
        _set_duration(schedule.catch_up, "catch_up", catch_up)
    return schedule


def create_request(name: str, call: Call, **options: Any) -> CreateScheduleRequest:
    """Make the request that creates a schedule; the options are those of `schedule_of`."""
    if options["cron"] is None and options["every"] is None:
        raise ConfigurationError("one of cron and every is required; got none")
    return CreateScheduleRequest(schedule=schedule_of(name, call, **options))


def _set_duration(field: Any, name: str, value: timedelta) -> None:
    if not isinstance(value, timedelta) or value <= timedelta(0):
        raise ConfigurationError(f"{name}: a timedelta above zero is required; got {quoted(value)}")
    field.seconds, field.nanos = duration_parts(value)


def _overlap(overlap: OverlapName | None) -> str | None:
    """Return the schema's name of a rule."""
    names = list(Overlap)[1:]
    if overlap is not None and overlap not in names:
        raise ConfigurationError(
            f"overlap: one of {', '.join(names)} is required; got {quoted(overlap)}"
        )
    return None if overlap is None else f"SCHEDULE_OVERLAP_{overlap.upper()}"


def check_note(note: str) -> str:
    """Check the note of a pause, which may be empty."""
    return check_text("note", note) if note != "" else ""


def schedule_in(client: ClientSettings, response: Any) -> ScheduleInfo:
    """Return the schedule in an answer."""
    return ScheduleInfo.of(field_of(client, response, "schedule"))


def pages(client: ClientSettings, limit: int | None, timeout: Timeout) -> Pages[ScheduleInfo]:
    """List schedules."""
    return Pages(client, ListSchedulesRequest(), _schedules_in, limit=limit, timeout=timeout)


def _schedules_in(response: ListSchedulesResponse) -> Iterable[ScheduleInfo]:
    return map(ScheduleInfo.of, response.schedules)
