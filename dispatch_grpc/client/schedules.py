"""Schedules: `client.schedules` and its asyncio twin; their requests are in `schedule_requests`.

The twins differ only in how they send a request, so each method is written once, in `_Schedules`:
its type variables say whether it returns the answer or a coroutine.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from dispatch_grpc.client import settings
from dispatch_grpc.client.following import id_in
from dispatch_grpc.client.schedule_info import ScheduleInfo
from dispatch_grpc.client.schedule_requests import (
    OverlapName,
    check_note,
    create_request,
    pages,
    schedule_in,
    schedule_of,
)
from dispatch_grpc.client.settings import NOT_GIVEN, ClientSettings, Timeout, check_text
from dispatch_grpc.schema import (
    Call,
    DeleteScheduleRequest,
    GetScheduleRequest,
    PauseScheduleRequest,
    ResumeScheduleRequest,
    TriggerScheduleRequest,
    UpdateScheduleRequest,
)
from dispatch_grpc.transport.protocols import Method

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
        request = create_request(
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
        schedule = schedule_of(
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
        request = PauseScheduleRequest(name=check_text("name", name), note=check_note(note))
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
        return schedule_in(self._client, self._send(method, request, timeout))

    def _all(self, limit: int | None, timeout: Timeout) -> list[ScheduleInfo]:
        found = pages(self._client, limit, timeout)
        while (step := found.next()) is not None:
            found.take(self._call("ListSchedules", *step))
        return found.items

    def _trigger(self, request: TriggerScheduleRequest, timeout: Timeout) -> str:
        return id_in(self._client, self._send("TriggerSchedule", request, timeout))

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
        return schedule_in(self._client, await self._send(method, request, timeout))

    async def _all(self, limit: int | None, timeout: Timeout) -> list[ScheduleInfo]:
        found = pages(self._client, limit, timeout)
        while (step := found.next()) is not None:
            found.take(await self._call("ListSchedules", *step))
        return found.items

    async def _trigger(self, request: TriggerScheduleRequest, timeout: Timeout) -> str:
        return id_in(self._client, await self._send("TriggerSchedule", request, timeout))

    async def _delete(self, request: DeleteScheduleRequest, timeout: Timeout) -> None:
        await self._send("DeleteSchedule", request, timeout)
