"""Schedules: `client.schedules` and its asyncio twin, and the requests of both.

The twins differ only in how they send a request, so each method is written once, in `_Schedules`:
its type variables say whether it returns the answer or a coroutine.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, TypeVar

from google.protobuf.message import Message

from dispatch_grpc.calls import problem_of
from dispatch_grpc.client import settings
from dispatch_grpc.client.following import check_text
from dispatch_grpc.client.schedule_info import Overlap, ScheduleInfo
from dispatch_grpc.client.settings import NOT_GIVEN, ClientSettings, Timeout, positive, timestamp
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import ConfigurationError, InvalidCallError, ProtocolError
from dispatch_grpc.schema import (
    Call,
    CreateScheduleRequest,
    DeleteScheduleRequest,
    GetScheduleRequest,
    ListSchedulesRequest,
    ListSchedulesResponse,
    PauseScheduleRequest,
    ResumeScheduleRequest,
    Schedule,
    TriggerScheduleRequest,
    UpdateScheduleRequest,
)
from dispatch_grpc.text import quoted
from dispatch_grpc.transport.protocols import Method
from dispatch_grpc.values import duration_parts

OverlapName = Overlap | Literal["skip", "buffer_one", "allow"]

_PAGE_SIZE = 100


# Requests


def _schedule(
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


def _create_request(name: str, call: Call, **options: Any) -> CreateScheduleRequest:
    if options["cron"] is None and options["every"] is None:
        raise ConfigurationError("one of cron and every is required; got none")
    return CreateScheduleRequest(schedule=_schedule(name, call, **options))


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


def _note(note: str) -> str:
    return check_text("note", note) if note != "" else ""


def _schedule_in(client: ClientSettings, response: Any) -> ScheduleInfo:
    if not response.HasField("schedule"):
        raise ProtocolError(
            f"the answer of {client.target.url} has no schedule: check the API URL",
            code=Code.INTERNAL,
        )
    return ScheduleInfo.of(response.schedule)


def _id_in(client: ClientSettings, response: Any) -> str:
    if not response.dispatch_id:
        raise ProtocolError(
            f"the answer of {client.target.url} has no id: check the API URL", code=Code.INTERNAL
        )
    return str(response.dispatch_id)


class _Listing:
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


# The twins


_One = TypeVar("_One")
_All = TypeVar("_All")
_ID = TypeVar("_ID")
_Nothing = TypeVar("_Nothing")


class _Schedules(ABC, Generic[_One, _All, _ID, _Nothing]):
    """The methods of both twins. They check arguments and make requests; the twins send them."""

    def __init__(self, call: Callable[..., Any], client: ClientSettings) -> None:
        self._call = call
        self._client = client

    @abstractmethod
    def _one(self, method: Method, request: Message, timeout: Timeout) -> _One:
        """Send a request; return the schedule in the answer."""

    @abstractmethod
    def _all(self, limit: int | None, timeout: Timeout) -> _All:
        """Send the requests of a list; return its schedules."""

    @abstractmethod
    def _trigger(self, request: TriggerScheduleRequest, timeout: Timeout) -> _ID:
        """Send a request; return the id in the answer."""

    @abstractmethod
    def _delete(self, request: DeleteScheduleRequest, timeout: Timeout) -> _Nothing:
        """Send a request."""

    def create(
        self,
        name: str,
        call: Call,
        *,
        cron: str | None = None,
        time_zone: str | None = None,
        every: timedelta | None = None,
        start: datetime | None = None,
        overlap: OverlapName | None = None,
        catch_up: timedelta | None = None,
        timeout: Timeout = NOT_GIVEN,
    ) -> _One:
        """Create a schedule, by which the service dispatches a call again and again.

        A schedule of this name that is equal is returned as it is. So a program may create its
        schedules whenever it starts. If it differs, `update` changes it.

        Args:
            name: The name of the schedule, unique in the service: up to 200 ASCII letters, digits
                and characters of `._:/-`.
            call: The call, as `new_call` or `Function.call` makes it.
            cron: A cron expression of five fields, or one of @yearly, @monthly, @weekly, @daily
                and @hourly.
            time_zone: The IANA name of the expression's time zone; by default UTC.
            every: Time between two ticks, at least a second, instead of a cron expression.
            start: A tick from which the others are counted by `every`, with none before it; by
                default the beginning of 1970 in UTC, so that an hour is a full hour of UTC.
            overlap: What happens at a tick while the call of an earlier firing has not finished:
                "skip" (the default), "buffer_one" or "allow".
            catch_up: How late a tick may be fired after an outage of the service, at least 10
                seconds; by default a day.
            timeout: Longest time for the request with all its retries, instead of the client's
                timeout; None means no limit.

        Returns:
            The schedule.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            InvalidCallError: The call breaks a rule of the schema; nothing was sent.
            InvalidArgumentError: The service does not accept an argument; the message names it.
            AlreadyExistsError: There is a schedule of this name that differs.
            NotFoundError: The service has no ScheduleService.
            RPCError: Other failures, as for `Client.dispatch`.
        """
        request = _create_request(
            name,
            call,
            cron=cron,
            time_zone=time_zone,
            every=every,
            start=start,
            overlap=overlap,
            catch_up=catch_up,
        )
        return self._one("CreateSchedule", request, timeout)

    def get(self, name: str, *, timeout: Timeout = NOT_GIVEN) -> _One:
        """Get a schedule as it is now.

        Args:
            name: The name of the schedule.
            timeout: As for `create`.

        Raises:
            NotFoundError: There is no such schedule, or the service has no ScheduleService.
            RPCError: Other failures, as for `Client.dispatch`.
        """
        request = GetScheduleRequest(name=check_text("name", name))
        return self._one("GetSchedule", request, timeout)

    def list(self, *, limit: int | None = None, timeout: Timeout = NOT_GIVEN) -> _All:
        """List schedules by their names, without the inputs of their calls.

        Args:
            limit: Largest number of schedules to return; None returns all.
            timeout: Longest time for all requests and their retries, as for `create`.

        Raises:
            ConfigurationError: The limit is invalid; nothing was sent.
            NotFoundError: The service has no ScheduleService.
            RPCError: Other failures, as for `Client.dispatch`.
        """
        return self._all(limit, timeout)

    def update(
        self,
        name: str,
        *,
        call: Call | None = None,
        cron: str | None = None,
        time_zone: str | None = None,
        every: timedelta | None = None,
        start: datetime | None = None,
        overlap: OverlapName | None = None,
        catch_up: timedelta | None = None,
        timeout: Timeout = NOT_GIVEN,
    ) -> _One:
        """Change a schedule from its next tick on. Arguments that are not given change nothing.

        Arguments and errors are those of `create`.

        Raises:
            NotFoundError: There is no such schedule, or the service has no ScheduleService.
        """
        schedule = _schedule(
            name,
            call,
            cron=cron,
            time_zone=time_zone,
            every=every,
            start=start,
            overlap=overlap,
            catch_up=catch_up,
        )
        request = UpdateScheduleRequest(schedule=schedule)
        return self._one("UpdateSchedule", request, timeout)

    def pause(self, name: str, *, note: str = "", timeout: Timeout = NOT_GIVEN) -> _One:
        """Keep a schedule from firing until `resume`. Its calls are not affected.

        Args:
            name: The name of the schedule.
            note: Why it is paused, for those who look at it.
            timeout: As for `create`.

        Raises:
            NotFoundError: There is no such schedule, or the service has no ScheduleService.
            RPCError: Other failures, as for `Client.dispatch`.
        """
        request = PauseScheduleRequest(name=check_text("name", name), note=_note(note))
        return self._one("PauseSchedule", request, timeout)

    def resume(self, name: str, *, timeout: Timeout = NOT_GIVEN) -> _One:
        """Have a paused schedule fire again, from the first tick after now on.

        Args:
            name: The name of the schedule.
            timeout: As for `create`.

        Raises:
            NotFoundError: There is no such schedule, or the service has no ScheduleService.
            RPCError: Other failures, as for `Client.dispatch`.
        """
        request = ResumeScheduleRequest(name=check_text("name", name))
        return self._one("ResumeSchedule", request, timeout)

    def trigger(
        self, name: str, *, timeout: Timeout = NOT_GIVEN, idempotency_key: str | None = None
    ) -> _ID:
        """Fire a schedule now, also when it is paused. Its ticks stay as they are.

        Args:
            name: The name of the schedule.
            timeout: As for `create`.
            idempotency_key: Key by which the service recognises a repeated request; by default a
                new one. All retries send the same key.

        Returns:
            The id of the call.

        Raises:
            NotFoundError: There is no such schedule, or the service has no ScheduleService.
            RPCError: With the code FAILED_PRECONDITION, the schedule does not allow overlaps, and
                the call of an earlier firing has not finished. Other failures are as for
                `Client.dispatch`.
        """
        key = settings.idempotency_key(idempotency_key)
        request = TriggerScheduleRequest(name=check_text("name", name), idempotency_key=key)
        return self._trigger(request, timeout)

    def delete(self, name: str, *, timeout: Timeout = NOT_GIVEN) -> _Nothing:
        """Delete a schedule. Its calls are not affected.

        Args:
            name: The name of the schedule.
            timeout: As for `create`.

        Raises:
            NotFoundError: There is no such schedule, perhaps because an earlier attempt of this
                request deleted it, or the service has no ScheduleService.
            RPCError: Other failures, as for `Client.dispatch`.
        """
        request = DeleteScheduleRequest(name=check_text("name", name))
        return self._delete(request, timeout)


class Schedules(_Schedules[ScheduleInfo, list[ScheduleInfo], str, None]):
    """The schedules of a service: `Client.schedules`."""

    def _send(self, method: Method, request: Message, timeout: Timeout) -> Any:
        return self._call(method, request, self._client.seconds(timeout))

    def _one(self, method: Method, request: Message, timeout: Timeout) -> ScheduleInfo:
        return _schedule_in(self._client, self._send(method, request, timeout))

    def _all(self, limit: int | None, timeout: Timeout) -> list[ScheduleInfo]:
        listing = _Listing(self._client, limit, timeout)
        while (step := listing.next()) is not None:
            listing.take(self._call("ListSchedules", *step))
        return listing.schedules

    def _trigger(self, request: TriggerScheduleRequest, timeout: Timeout) -> str:
        return _id_in(self._client, self._send("TriggerSchedule", request, timeout))

    def _delete(self, request: DeleteScheduleRequest, timeout: Timeout) -> None:
        self._send("DeleteSchedule", request, timeout)


class AsyncSchedules(
    _Schedules[
        Coroutine[Any, Any, ScheduleInfo],
        Coroutine[Any, Any, list[ScheduleInfo]],
        Coroutine[Any, Any, str],
        Coroutine[Any, Any, None],
    ]
):
    """The schedules of a service: `AsyncClient.schedules`."""

    def _send(self, method: Method, request: Message, timeout: Timeout) -> Awaitable[Any]:
        found: Awaitable[Any] = self._call(method, request, self._client.seconds(timeout))
        return found

    async def _one(self, method: Method, request: Message, timeout: Timeout) -> ScheduleInfo:
        return _schedule_in(self._client, await self._send(method, request, timeout))

    async def _all(self, limit: int | None, timeout: Timeout) -> list[ScheduleInfo]:
        listing = _Listing(self._client, limit, timeout)
        while (step := listing.next()) is not None:
            listing.take(await self._call("ListSchedules", *step))
        return listing.schedules

    async def _trigger(self, request: TriggerScheduleRequest, timeout: Timeout) -> str:
        return _id_in(self._client, await self._send("TriggerSchedule", request, timeout))

    async def _delete(self, request: DeleteScheduleRequest, timeout: Timeout) -> None:
        await self._send("DeleteSchedule", request, timeout)
