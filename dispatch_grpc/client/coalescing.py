"""Send the dispatches that are made while a request is under way together, as the next request.

`grouping` decides which leave together, and `AsyncClient._send` sends them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from math import inf
from typing import NamedTuple

from dispatch_grpc.client import explain, settings
from dispatch_grpc.client.grouping import Coalesce, GroupKey, Groups
from dispatch_grpc.client.settings import ClientSettings
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import (
    ClientStateError,
    DeadlineExceededError,
    RequestTooLargeError,
    RPCError,
)
from dispatch_grpc.schema import Call, DispatchRequest
from dispatch_grpc.transport.protocols import CLOSED

_SINGLES_AT_ONCE = 64
# So long at most do others wait for a request.
_PATIENCE_SECONDS = 1.0
# What a service answers when it refuses one of the calls, and has recorded none.
_REFUSALS = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.OUT_OF_RANGE,
        Code.FAILED_PRECONDITION,
        Code.NOT_FOUND,
        Code.PERMISSION_DENIED,
    }
)

Send = Callable[[DispatchRequest, float | None, None, str], Awaitable[list[str]]]
"""Sends a request, in so many seconds, without metadata, by a key; returns its ids."""


class _Sent(NamedTuple):
    """A request that is sent: its key, and the last deadline, which the transport observes."""

    key: str
    request: DispatchRequest
    deadline: float


class Dispatch:
    """A dispatch of one call: its caller waits for the answer.

    Attributes:
        call: Its call, serialized.
        deadline: When its time is over, by the clock of the event loop; infinite without a limit.
        answer: Its id.
        flight: The dispatches that it left with.
        sent: The request that it is sent by.
        place: Its place in that request.
    """

    __slots__ = ("answer", "call", "deadline", "flight", "place", "sent")

    def __init__(self, call: bytes, deadline: float, answer: "asyncio.Future[str]") -> None:
        self.call: bytes = call
        self.deadline: float = deadline
        self.answer: asyncio.Future[str] = answer
        self.flight: _Flight | None = None
        self.sent: _Sent | None = None
        self.place: int = 0

    @property
    def key(self) -> str | None:
        """The key by which it can be sent again; None if nothing was sent."""
        if self.sent is None:
            return None
        key, request, _ = self.sent
        return key if len(request.calls) == 1 else GroupKey(key, request, self.place)

    def fail(self, error: Exception) -> None:
        """Raise an error for its caller, unless it is answered."""
        if not self.answer.done():
            self.answer.set_exception(error)


class _Flight:
    """Dispatches that leave together, and the task that sends them.

    Attributes:
        group: The dispatches, once they have left.
        task: The task.
    """

    __slots__ = ("group", "task")

    def __init__(self) -> None:
        self.group: Sequence[Dispatch] = ()
        self.task: asyncio.Task[None]


class Coalescer:
    """The dispatches of a client that leave together; it belongs to one event loop.

    Args:
        rules: Which leave together.
        client: The settings of the client.
        send: Sends a request.
    """

    def __init__(self, rules: Coalesce, client: ClientSettings, send: Send) -> None:
        bound = min(rules.max_bytes, client.max_message_bytes)
        self._groups: Groups[Dispatch] = Groups(replace(rules, max_bytes=bound))
        self._client = client
        self._send = send
        self._flights: set[_Flight] = set()
        self._current: _Flight | None = None  # the one that others wait for
        self._added = asyncio.Event()
        # One timer for all: most never run out of time.
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = inf  # when it looks for those that did

    def add(self, call: Call, seconds: float | None) -> Dispatch:
        """Begin to dispatch a call, perhaps with others.

        Args:
            call: The call, which has been checked.
            seconds: The time that it may take.

        Returns:
            The dispatch: its caller awaits `answer`, and calls `give_up` if that raises.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        # Bytes are the cheapest copy: a message of its own for each call takes ten times as long.
        data = call.SerializeToString()
        deadline = inf if seconds is None else now + seconds
        one = Dispatch(data, deadline, loop.create_future())
        self._groups.add(one, _size_alone(data), now)
        if deadline < self._looks_at:
            self._look_at(deadline)
        self._added.set()
        if self._current is None:
            self._fly()
        return one

    def give_up(self, one: Dispatch) -> None:
        """Take note that a caller no longer waits, and gets no id."""
        self._groups.remove(one)
        if one.answer.done() and not one.answer.cancelled():
            one.answer.exception()  # its caller may have been cancelled at the same time
        flight = one.flight
        if flight is None or flight.task.done() or flight.task.cancelling():
            return
        if all(other.answer.done() for other in flight.group):
            flight.task.cancel()

    def _look_at(self, deadline: float) -> None:
        """Have expired dispatches looked for at a deadline, and no longer at a later one."""
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = deadline
        self._timer = asyncio.get_running_loop().call_at(deadline, self._look_for_expired)

    def _look_for_expired(self) -> None:
        """End the dispatches whose deadline has come, and look again at the next one."""
        now, coming = asyncio.get_running_loop().time(), inf
        for one in (*self._groups, *(one for flight in self._flights for one in flight.group)):
            if one.deadline > now:
                coming = min(coming, one.deadline)
            elif one.sent is None or one.deadline < one.sent.deadline:
                self._expire(one)
        self._timer, self._looks_at = None, inf
        if coming < inf:
            self._look_at(coming)

    def _expire(self, one: Dispatch) -> None:
        """End a dispatch at its deadline, unless it is answered."""
        if one.answer.done():
            return
        if one.sent is None:
            text = "the deadline passed before the client sent the call; nothing was sent"
            one.fail(DeadlineExceededError(text, code=Code.DEADLINE_EXCEEDED))
        else:
            text = "the deadline has passed"
            error = DeadlineExceededError(text, code=Code.DEADLINE_EXCEEDED)
            key = one.key or ""
            one.fail(explain.explain_dispatch(self._client, error, _request_of([one]), key))

    def _fly(self) -> None:
        """Have the next group leave."""
        self._current = flight = _Flight()
        self._flights.add(flight)
        # Before it begins, all that is ready in this turn of the event loop is added.
        flight.task = asyncio.get_running_loop().create_task(self._sent(flight))

    async def _sent(self, flight: _Flight) -> None:
        patience: asyncio.TimerHandle | None = None
        try:
            await self._lingered()
            # Of one that was cancelled just now, the caller has not run yet.
            flight.group = [one for one in self._groups.take() if not one.answer.done()]
            for one in flight.group:
                one.flight = flight
            if flight.group:
                loop = asyncio.get_running_loop()
                patience = loop.call_later(_PATIENCE_SECONDS, self._landed, flight)
                await self._request(flight.group)
        finally:
            if patience is not None:
                patience.cancel()
            for one in flight.group:
                if not one.answer.done():  # the task was cancelled
                    one.answer.cancel()
            flight.group = ()
            self._flights.discard(flight)
            self._landed(flight)

    async def _lingered(self) -> None:
        """Wait until the next group leaves by the rules."""
        loop = asyncio.get_running_loop()
        while (at := self._groups.leaves_at()) is not None and at > loop.time():
            self._added.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(at):
                    await self._added.wait()

    def _landed(self, flight: _Flight) -> None:
        """Let the next group leave, if it waits for this one: that ended, or takes long."""
        if self._current is flight:
            self._current = None
            if self._groups:
                self._fly()

    async def _request(self, group: Sequence[Dispatch]) -> None:
        """Send dispatches by one request, and answer those who wait for them."""
        last = max(one.deadline for one in group)
        sent = _Sent(settings.idempotency_key(None), _request_of(group), last)
        for place, one in enumerate(group):
            one.sent = sent
            one.place = place
        left = None if last == inf else max(last - asyncio.get_running_loop().time(), 0.001)
        try:
            ids = await self._send(sent.request, left, None, sent.key)
        except Exception as error:  # noqa: BLE001 (it is for those who wait)
            if len(group) > 1 and _is_refusal(error):
                await self._request_each(group)
                return
            for one in group:
                one.fail(_own(error, one.key) if len(group) > 1 else error)
        else:
            for one, id in zip(group, ids, strict=True):
                if not one.answer.done():
                    one.answer.set_result(id)

    async def _request_each(self, group: Sequence[Dispatch]) -> None:
        """Send dispatches by a request each: nothing of them is recorded."""
        gate = asyncio.Semaphore(_SINGLES_AT_ONCE)
        for one in group:
            one.sent = None

        async def request(one: Dispatch) -> None:
            async with gate:
                if not one.answer.done():  # or else it was cancelled, or its time is over
                    await self._request([one])

        await asyncio.gather(*map(request, group))

    async def close(self) -> None:
        """End all dispatches: those that are under way with their keys."""
        if self._timer is not None:
            self._timer.cancel()
        while group := self._groups.take():
            for one in group:
                one.fail(ClientStateError("the client was closed before the call was sent"))
        flights, self._current = list(self._flights), None
        for flight in flights:
            for one in flight.group:
                error = ClientStateError(CLOSED)
                error.idempotency_key = one.key
                one.fail(error)
            flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)


def _request_of(group: Sequence[Dispatch]) -> DispatchRequest:
    """Return a request with the calls of a group."""
    request = DispatchRequest()
    add = request.calls.add
    for one in group:
        add().MergeFromString(one.call)
    return request


def _size_alone(call: bytes) -> int:
    """Return the size of a request with this call alone: before it are a tag and its size."""
    return 1 + (len(call).bit_length() + 6) // 7 + len(call)


def _is_refusal(error: Exception) -> bool:
    """Whether the service recorded nothing, perhaps because of one of the calls."""
    # What was sent more than once may have been recorded before it was refused.
    return (
        isinstance(error, RPCError)
        and not error.resent
        and (isinstance(error, RequestTooLargeError) or error.code in _REFUSALS)
    )


def _own(error: Exception, key: str | None) -> Exception:
    """Return a copy of an error: each caller raises one of its own."""
    found = copy(error)
    found.__cause__ = error.__cause__
    if isinstance(found, RPCError | ClientStateError):
        found.idempotency_key = key
    return found
