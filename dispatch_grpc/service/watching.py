"""CallService: calls are looked at, waited for and cancelled."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC
from typing import Any, TypeVar
from uuid import UUID

from dispatch_grpc.calls import labels_problem
from dispatch_grpc.codes import Code, Status
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.schema import (
    CallInfo,
    CallState,
    CancelCallRequest,
    CancelCallResponse,
    GetCallRequest,
    GetCallResponse,
    ListCallsRequest,
    ListCallsResponse,
    WaitCallRequest,
    WaitCallResponse,
)
from dispatch_grpc.service import notices, reads, store_cancel
from dispatch_grpc.service.bodies import hold
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.events import is_set_within
from dispatch_grpc.service.ids import parse_id
from dispatch_grpc.service.memory import FREE_BYTES
from dispatch_grpc.service.notices import Notices
from dispatch_grpc.service.rates import Rates
from dispatch_grpc.text import quoted

_T = TypeVar("_T")
_MAX_WAIT_SECONDS = 30.0
_MAX_PAGE_SIZE = 1000
_PAGE_SIZE = 100


class Watching:
    """The implementation of CallService: get, list, wait for and cancel calls.

    Args:
        database: Where the calls are.
        notices_: Notices of the calls that finish, in whichever process they do.
        rates: Counts the calls that are cancelled.
    """

    def __init__(self, database: Database, notices_: Notices, rates: Rates) -> None:
        self._database = database
        self._rates = rates
        notices_.listen(notices.FINISHED, self._finished)
        self._waiters: dict[UUID, set[asyncio.Event]] = {}
        self._stopping = False

    def stop(self) -> None:
        """Answer those who wait with what there is: they ask again, elsewhere."""
        self._stopping = True
        for waiters in self._waiters.values():
            for event in waiters:
                event.set()

    def waited_for(self) -> Collection[UUID]:
        """Return the ids of the calls that clients wait for."""
        return self._waiters.keys()

    def _finished(self, ids: Sequence[str]) -> None:
        for id in ids:
            for event in self._waiters.get(UUID(hex=id), ()):
                event.set()

    async def get_call(self, request: GetCallRequest) -> GetCallResponse:
        """Return a call as it is now."""
        return GetCallResponse(call=await self._get(_id(request.dispatch_id)))

    async def _get(self, id: UUID) -> CallInfo:
        info = await _bounded(
            self._database.relaxed, lambda connection, most: reads.get(connection, id, most)
        )
        if info is None:
            raise rpc_error(Code.NOT_FOUND, f"there is no call {id}")
        return info

    async def wait_call(self, request: WaitCallRequest) -> WaitCallResponse:
        """Return a call as soon as it has finished, or as it is when the time is over."""
        id = _id(request.dispatch_id)
        seconds = _MAX_WAIT_SECONDS
        if request.HasField("max_wait"):
            seconds = request.max_wait.seconds + request.max_wait.nanos / 1e9
            if seconds < 0:
                raise rpc_error(Code.INVALID_ARGUMENT, "max_wait: must not be negative")
        deadline = asyncio.get_running_loop().time() + min(seconds, _MAX_WAIT_SECONDS)
        event = asyncio.Event()
        waiters = self._waiters.setdefault(id, set())
        waiters.add(event)
        try:
            while True:
                event.clear()
                info = await self._get(id)
                left = deadline - asyncio.get_running_loop().time()
                if info.state == CallState.CALL_STATE_FINISHED or left <= 0 or self._stopping:
                    return WaitCallResponse(call=info)
                # A notice may get lost with its connection: look again once in a while.
                await is_set_within(event, min(left, 5))
        finally:
            waiters.discard(event)
            if not waiters:
                self._waiters.pop(id, None)

    async def list_calls(self, request: ListCallsRequest) -> ListCallsResponse:
        """Return calls, the newest first."""
        size = request.page_size or _PAGE_SIZE
        if not 1 <= size <= _MAX_PAGE_SIZE:
            raise rpc_error(
                Code.INVALID_ARGUMENT,
                f"page_size: an int from 1 to {_MAX_PAGE_SIZE} is required; got {size}",
            )
        if request.state not in CallState.values():
            raise rpc_error(Code.INVALID_ARGUMENT, f"state: {request.state} is not a CallState")
        if not 0 <= request.status < 2**15:  # the column's range; later versions may add some
            raise rpc_error(Code.INVALID_ARGUMENT, f"status: {request.status} is not a Status")
        filters: dict[str, Any] = {
            name: getattr(request, name)
            for name in ("state", "status", "function", "endpoint", "schedule", "dead")
            if getattr(request, name)
        }
        for name in ("function", "endpoint", "schedule"):
            if "\0" in getattr(request, name):
                raise rpc_error(Code.INVALID_ARGUMENT, f"{name}: a text without NUL is required")
        for name in ("created_after", "created_before"):
            if request.HasField(name):
                try:
                    filters[name] = getattr(request, name).ToDatetime(tzinfo=UTC)
                except (ValueError, OverflowError) as error:
                    raise rpc_error(Code.INVALID_ARGUMENT, f"{name}: {error}") from error
        if request.labels:
            if problem := labels_problem(request.labels):
                raise rpc_error(Code.INVALID_ARGUMENT, problem)
            filters["labels"] = dict(request.labels)
        if request.parent_dispatch_id:
            filters["parent_id"] = _id(request.parent_dispatch_id, "parent_dispatch_id")
        if request.page_token:
            filters["before"] = _from_token(request.page_token)
        calls, place = await _bounded(
            self._database.looks,
            lambda connection, most: reads.find(connection, filters, size, most),
        )
        token = "" if place is None else _to_token(place)
        return ListCallsResponse(calls=calls, next_page_token=token)

    async def cancel_call(self, request: CancelCallRequest) -> CancelCallResponse:
        """Finish a call and those that it made."""
        id = _id(request.dispatch_id)
        number = await self.cancel(id)
        return CancelCallResponse(call=await self._get(id), cancelled=number)

    async def cancel(self, id: UUID) -> int:
        """Finish a call and those that it made. Returns how many were cancelled."""

        async def cancel(connection: Any) -> int | None:
            return await store_cancel.cancel(connection, id, self._database.clock.now())

        number = await self._database.write(cancel)
        if number is None:
            raise rpc_error(Code.NOT_FOUND, f"there is no call {id}")
        if number == 0:
            raise rpc_error(Code.FAILED_PRECONDITION, f"the call {id} has finished already")
        self._rates.add(Status.PERMANENT_ERROR.value, number)
        return number


async def _bounded(pool: Any, read: Callable[[Any, int], Awaitable[_T]]) -> _T:
    """Read something; what is large waits for memory first.

    Args:
        pool: Where to take a connection from.
        read: Reads it, given the connection and how large it may be.
    """
    try:
        async with pool.acquire() as connection:
            return await read(connection, FREE_BYTES)
    except reads.LargeError as error:
        await hold(error.size)
    async with pool.acquire() as connection:
        return await read(connection, reads.NO_LIMIT)


def _id(text: str, name: str = "dispatch_id") -> UUID:
    id = parse_id(text)
    if id is None:
        raise rpc_error(Code.NOT_FOUND, f"{name}: there is no call of the id {quoted(text)}")
    return id


def _to_token(place: UUID) -> str:
    return base64.urlsafe_b64encode(place.bytes).decode().rstrip("=")


def _from_token(token: str) -> UUID:
    try:
        return UUID(bytes=base64.urlsafe_b64decode(token + "=="))
    except (ValueError, binascii.Error) as error:
        raise rpc_error(
            Code.INVALID_ARGUMENT, f"page_token: not one of this service: {quoted(token)}"
        ) from error
