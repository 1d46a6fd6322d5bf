"""The requests of `client.schedules`, and what is in their answers: everything but the I/O."""

import time
from datetime import datetime, timedelta
from typing import Any, Literal

from dispatch_grpc.calls import problem_of
from dispatch_grpc.client.following import check_text
from dispatch_grpc.client.schedule_info import Overlap, ScheduleInfo
from dispatch_grpc.client.settings import ClientSettings, Timeout, positive, timestamp
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import ConfigurationError, InvalidCallError, ProtocolError
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

_PAGE_SIZE = 100


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
    if not response.HasField("schedule"):
        raise ProtocolError(
            f"the answer of {client.target.url} has no schedule: check the API URL",
            code=Code.INTERNAL,
        )
    return ScheduleInfo.of(response.schedule)


def id_in(client: ClientSettings, response: Any) -> str:
    """Return the id of the call in an answer."""
    if not response.dispatch_id:
        raise ProtocolError(
            f"the answer of {client.target.url} has no id: check the API URL", code=Code.INTERNAL
        )
    return str(response.dispatch_id)


class Listing:
    """A list of schedules: the requests for its pages, and the schedules in them."""

    def __init__(self, client: ClientSettings, limit: int | None, timeout: Timeout) -> None:
        self._limit = None if limit is None else positive("limit", limit)
        seconds = client.seconds(timeout)
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._token: str | None = ""
        self.schedules: list[ScheduleInfo] = []

    def next(self) -> tuple[ListSchedulesRequest, float | None] | None:
        """Return the next request and its timeout in seconds; None when there is none to send."""
        size = _PAGE_SIZE
        if self._limit is not None:
            size = min(size, self._limit - len(self.schedules))
        if self._token is None or size <= 0:
            return None
        left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0)
        return ListSchedulesRequest(page_size=size, page_token=self._token), left

    def take(self, response: ListSchedulesResponse) -> None:
        """Add the schedules of a page."""
        left = None if self._limit is None else self._limit - len(self.schedules)
        self.schedules += [ScheduleInfo.of(one) for one in response.schedules[:left]]
        self._token = response.next_page_token or None
