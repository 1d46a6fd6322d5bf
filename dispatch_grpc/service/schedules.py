"""ScheduleService, and the loop that fires schedules when they are due."""

import asyncio
import base64
import binascii
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from uuid import UUID

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import RPCError, rpc_error
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.schema import (
    CreateScheduleRequest,
    CreateScheduleResponse,
    DeleteScheduleRequest,
    DeleteScheduleResponse,
    GetScheduleRequest,
    GetScheduleResponse,
    ListSchedulesRequest,
    ListSchedulesResponse,
    PauseScheduleRequest,
    PauseScheduleResponse,
    ResumeScheduleRequest,
    ResumeScheduleResponse,
    Schedule,
    ScheduleInfo,
    TriggerScheduleRequest,
    TriggerScheduleResponse,
    UpdateScheduleRequest,
    UpdateScheduleResponse,
)
from dispatch_grpc.service import notices, store_firing, store_schedules
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.notices import Notices
from dispatch_grpc.service.schedule_rules import (
    check_name,
    check_note,
    completed,
    differences,
    have_same_ticks,
    merged,
    ticks_of,
)
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.store_schedules import Stored
from dispatch_grpc.text import quoted

_MAX_PAGE_SIZE = 1000
_PAGE_SIZE = 100

_LOOK_SECONDS = 5.0  # between two looks at when the next tick is due: notices may get lost
_BUFFERED_LOOK_SECONDS = 1.0  # while a tick waits for a call to finish
_LEAST_SECONDS = 0.001
_TAKEN_SECONDS = 0.05  # another process fires what is due
_MAX_BACKOFF_SECONDS = 2.0


class Schedules:
    """The implementation of ScheduleService, and what fires the schedules.

    Args:
        database: Where the schedules are.
        settings: Bounds of calls, and the number of schedules.
        metrics: Told what was fired, skipped and missed.
        notices_: Notices of schedules that change, and of calls that finish.
        expect: Told the lanes for which there are new jobs.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        metrics: Metrics,
        notices_: Notices,
        expect: Callable[[Iterable[str]], None],
    ) -> None:
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._notices = notices_
        self._expect = expect
        notices_.listen(notices.SCHEDULES, self._changed)
        notices_.listen(notices.FINISHED, self._finished)
        self._awaited: set[UUID] = set()
        self._wake = asyncio.Event()

    # The service

    async def create_schedule(self, request: CreateScheduleRequest) -> CreateScheduleResponse:
        """Record a schedule, unless there is an equal one."""
        schedule = self._completed(request.schedule)
        most = self._settings.max_schedules
        async with self._database.transaction() as connection:
            stored = await store_schedules.create(connection, schedule, most)
        if stored is None:
            raise rpc_error(
                Code.RESOURCE_EXHAUSTED, f"there are {most} schedules, and no more are allowed"
            )
        if different := differences(schedule, stored.schedule):
            raise rpc_error(
                Code.ALREADY_EXISTS,
                f"there is a schedule {schedule.name} with another {' and '.join(different)}: "
                f"update it instead",
            )
        self._tell(schedule.name)
        return CreateScheduleResponse(schedule=stored.info())

    async def get_schedule(self, request: GetScheduleRequest) -> GetScheduleResponse:
        """Return a schedule as it is now."""
        return GetScheduleResponse(schedule=await self._info(check_name(request.name)))

    async def list_schedules(self, request: ListSchedulesRequest) -> ListSchedulesResponse:
        """Return schedules, by their names."""
        size = request.page_size or _PAGE_SIZE
        if not 1 <= size <= _MAX_PAGE_SIZE:
            raise rpc_error(
                Code.INVALID_ARGUMENT,
                f"page_size: an int from 1 to {_MAX_PAGE_SIZE} is required; got {size}",
            )
        after = _from_token(request.page_token)
        async with self._database.looks.acquire() as connection:
            found = await store_schedules.find(connection, after, size + 1)
        token = _to_token(found[size - 1].schedule.name) if len(found) > size else ""
        return ListSchedulesResponse(
            schedules=[stored.info(1) for stored in found[:size]], next_page_token=token
        )

    async def update_schedule(self, request: UpdateScheduleRequest) -> UpdateScheduleResponse:
        """Change a schedule from its next tick on."""
        name = check_name(request.schedule.name, "schedule.name")
        async with self._database.transaction() as connection:
            stored = _found(await store_schedules.get(connection, name, lock=True), name)
            schedule = self._completed(merged(stored.schedule, request.schedule))
            next_at = stored.next_at
            if not stored.paused and not have_same_ticks(schedule, stored.schedule):
                next_at = ticks_of(schedule).after(stored.now)
            await store_schedules.define(connection, stored, schedule, next_at)
        return UpdateScheduleResponse(schedule=await self._told(name))

    async def pause_schedule(self, request: PauseScheduleRequest) -> PauseScheduleResponse:
        """Keep a schedule from firing."""
        name, note = check_name(request.name), check_note(request.note)
        async with self._database.transaction() as connection:
            stored = _found(await store_schedules.get(connection, name, lock=True), name)
            await store_schedules.pause(connection, stored, note)
        return PauseScheduleResponse(schedule=await self._told(name))

    async def resume_schedule(self, request: ResumeScheduleRequest) -> ResumeScheduleResponse:
        """Have a paused schedule fire again."""
        name = check_name(request.name)
        async with self._database.transaction() as connection:
            stored = _found(await store_schedules.get(connection, name, lock=True), name)
            if stored.paused:
                try:
                    await store_schedules.resume(connection, stored)
                except ValueError as error:
                    raise rpc_error(
                        Code.FAILED_PRECONDITION,
                        f"the schedule {name} cannot be resumed: {error}: update it first",
                    ) from error
        return ResumeScheduleResponse(schedule=await self._told(name))

    async def trigger_schedule(self, request: TriggerScheduleRequest) -> TriggerScheduleResponse:
        """Fire a schedule now."""
        name = check_name(request.name)
        key = request.idempotency_key or os.urandom(16).hex()
        async with self._database.transaction() as connection:
            stored = _found(await store_schedules.get(connection, name, lock=True), name)
            id, lanes = await store_firing.trigger(connection, stored, self._settings.limits, key)
        if id is None:
            raise rpc_error(
                Code.FAILED_PRECONDITION,
                f"the schedule {name} allows no overlap, and its call {stored.recent[0][1]} has "
                f"not finished: wait for it or cancel it",
            )
        if lanes:
            self._metrics.ticks.labels("fired").inc()
            self._expect(lanes)
        return TriggerScheduleResponse(dispatch_id=str(id))

    async def delete_schedule(self, request: DeleteScheduleRequest) -> DeleteScheduleResponse:
        """Delete a schedule."""
        name = check_name(request.name)
        async with self._database.transaction() as connection:
            if not await store_schedules.delete(connection, name):
                raise _not_found(name)
        return DeleteScheduleResponse()

    def _completed(self, schedule: Schedule) -> Schedule:
        settings = self._settings
        return completed(schedule, settings.limits, allow_metadata=settings.allow_metadata)

    async def _info(self, name: str) -> ScheduleInfo:
        async with self._database.relaxed.acquire() as connection:
            return _found(await store_schedules.get(connection, name), name).info()

    async def _told(self, name: str) -> ScheduleInfo:
        self._tell(name)
        return await self._info(name)

    def _tell(self, name: str) -> None:
        """Have all processes look when the next tick is due."""
        self._notices.tell(notices.SCHEDULES, [name])

    # The loop

    async def run(self) -> None:
        """Fire schedules until it is cancelled, also after outages of the database."""
        backoff = 0.1
        while True:
            self._wake.clear()
            try:
                seconds = await self._turn()
            except Exception as error:
                if not self._database.health.noted(error):
                    logger.exception("the schedules go on after an error of the service's own")
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF_SECONDS)
                continue
            backoff = 0.1
            with suppress(TimeoutError):
                async with asyncio.timeout(max(seconds, _LEAST_SECONDS)):
                    await self._wake.wait()

    async def _turn(self) -> float:
        """Fire what is due. Returns the seconds until there may be more."""
        async with self._database.relaxed.acquire() as connection:
            self._awaited, is_free = await store_schedules.awaited(connection)
            seconds = await store_schedules.next_due(connection)
        if seconds is None:
            seconds = _LOOK_SECONDS
        if seconds > 0 and not is_free:
            return min(seconds, _BUFFERED_LOOK_SECONDS if self._awaited else _LOOK_SECONDS)
        async with self._database.transaction() as connection:
            fired = await store_firing.fire(connection, self._settings.limits)
        self._expect(fired.lanes)
        self._metrics.ticks.labels("fired").inc(len(fired.late))
        self._metrics.ticks.labels("skipped").inc(fired.skipped)
        self._metrics.ticks.labels("missed").inc(fired.missed)
        for late in fired.late:
            self._metrics.lateness.observe(late.total_seconds())
        return 0 if fired.schedules else _TAKEN_SECONDS

    def _changed(self, _: Sequence[str]) -> None:
        self._wake.set()

    def _finished(self, ids: Sequence[str]) -> None:
        if self._awaited and not self._awaited.isdisjoint(UUID(hex=id) for id in ids):
            self._wake.set()


def _found(stored: Stored | None, name: str) -> Stored:
    if stored is None:
        raise _not_found(name)
    return stored


def _not_found(name: str) -> RPCError:
    return rpc_error(Code.NOT_FOUND, f"there is no schedule {name}")


def _to_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _from_token(token: str) -> str:
    try:
        return check_name(base64.urlsafe_b64decode(token + "==").decode()) if token else ""
    except (ValueError, binascii.Error, RPCError) as error:
        raise rpc_error(
            Code.INVALID_ARGUMENT, f"page_token: not one of this service: {quoted(token)}"
        ) from error
