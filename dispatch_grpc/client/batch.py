"""Batches: calls that are recorded together, all or none."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from dispatch_grpc.calls import fill_call, problem_of
from dispatch_grpc.client import settings
from dispatch_grpc.client.explain import Request
from dispatch_grpc.client.settings import NOT_GIVEN, Timeout
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import DeadlineExceededError, InvalidCallError
from dispatch_grpc.schema import Call, DispatchRequest
from dispatch_grpc.text import counted

if TYPE_CHECKING:
    from dispatch_grpc.client.later import Delay
    from dispatch_grpc.schema import Submission

Seconds = Callable[[Timeout], float | None]
"""Checks a timeout and returns it in seconds."""


class _Calls:
    """The calls of a batch: the part that `Batch` and `AsyncBatch` share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hold(DispatchRequest())
        # The idempotency key of a failed dispatch, until the calls change.
        self._key: str | None = None

    def add(
        self,
        *calls: Call,
        delay: "Delay | None" = None,
        at: datetime | None = None,
        labels: Mapping[str, str] | None = None,
        trace: str | None = None,
    ) -> None:
        """Add copies of calls.

        Args:
            calls: The calls, made by `new_call` or by hand.
            delay: When these calls begin, as for `Client.dispatch`.
            at: When these calls begin, as for `Client.dispatch`.
            labels: Labels of these calls, as for `Client.dispatch`.
            trace: The trace that these calls belong to, instead of that of the current span: a W3C
                traceparent and, after a space, its tracestate if there is one.

        Raises:
            InvalidCallError: A call breaks a rule of the schema; none is added.
            ConfigurationError: Another argument is invalid; none is added.
        """
        options = None
        if not (delay is None and at is None and labels is None and trace is None):
            from dispatch_grpc.client.later import options_of

            options = options_of(delay, at, labels, trace)
        with self._lock:
            for number, call in enumerate(calls):
                if problem := problem_of(call):
                    raise InvalidCallError(f"calls[{len(self._calls) + number}]{problem}")
            if options is not None:
                first = len(self._calls)
                self._options.update(dict.fromkeys(range(first, first + len(calls)), options))
            add = self._calls.add
            for call in calls:
                add().CopyFrom(call)  # faster than append
            self._key = None

    def new_call(
        self,
        endpoint: str,
        function: str,
        input: Any = None,
        *,
        expiration: timedelta | None = None,
        version: str = "",
        correlation_id: int = 0,
    ) -> None:
        """Make a call in the batch; faster than `add(new_call(...))`, which copies it.

        Args:
            endpoint: As for `dispatch_grpc.new_call`, like all other arguments.
            function: Name of the function.
            input: Argument of the function.
            expiration: Longest time that the function may take.
            version: Version of the application that the call is meant for.
            correlation_id: Number that the CallResult repeats.

        Raises:
            InvalidCallError: An argument breaks a rule of the schema; no call is added.
            MarshalError: The input has no representation; no call is added.
        """
        with self._lock:
            calls = self._calls
            call = calls.add()
            try:
                fill_call(call, endpoint, function, input, expiration, version, correlation_id)
            except BaseException:
                del calls[-1]
                raise
            self._key = None

    def clear(self) -> None:
        """Remove all calls."""
        with self._lock:
            self._hold(DispatchRequest())
            self._key = None

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        """Iterate over copies of the calls."""
        with self._lock:
            calls = list(self._calls)
        return (Call.FromString(call.SerializeToString()) for call in calls)

    def __contains__(self, call: object) -> bool:
        with self._lock:
            return call in self._calls

    def _hold(
        self, request: DispatchRequest, options: "dict[int, Submission] | None" = None
    ) -> None:
        self._request = request
        self._calls = request.calls  # kept, as the attribute is slower than adding a call
        self._options = {} if options is None else options

    def _take(self, key: str | None) -> "_Taken":
        """Take the calls out to dispatch them, with the idempotency key to use."""
        with self._lock:
            key = settings.idempotency_key(key if key is not None else self._key)
            taken = _Taken(self._request, self._options, key)
            self._hold(DispatchRequest())
            self._key = None
            return taken

    def _put_back(self, taken: "_Taken") -> None:
        """Put the calls of a failed dispatch back, before those added meanwhile."""
        with self._lock:
            calls, added = taken.calls.calls, self._calls
            options = {len(calls) + place: option for place, option in self._options.items()}
            self._key = None if added else taken.key
            calls.extend(added)
            self._hold(taken.calls, taken.options | options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {counted(len(self), 'call')}>"


class _Taken(NamedTuple):
    """The calls of a dispatch that is under way: their options by place, and its key."""

    calls: DispatchRequest
    options: "dict[int, Submission]"
    key: str

    def request(self) -> Request:
        """Return the request to send."""
        if not self.options:
            return self.calls
        from dispatch_grpc.client.later import submit_request

        return submit_request(self.calls.calls, self.options)


class Batch(_Calls):
    """Calls to dispatch together, all or none; made by `Client.batch`.

    Threads may share it: dispatches of one batch run one after the other, and calls added during
    a dispatch are kept for the next one. Iterating over a batch returns copies of its calls.
    """

    def __init__(self, send: Callable[..., list[str]], seconds: Seconds) -> None:
        super().__init__()
        self._send = send
        self._seconds = seconds
        self._dispatching = threading.Lock()

    def dispatch(
        self,
        *,
        timeout: Timeout = NOT_GIVEN,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> list[str]:
        """Dispatch all calls of the batch in one request: all are recorded, or none.

        Afterwards the batch is empty. If the dispatch fails, the batch still holds its calls, and
        dispatching it again unchanged sends the same idempotency key.

        Args:
            timeout: As for `Client.dispatch`; it includes the wait for another dispatch of
                this batch.
            metadata: As for `Client.dispatch`.
            idempotency_key: As for `Client.dispatch`.

        Returns:
            The ids of the calls, in their order. An empty batch sends nothing and returns [].

        Raises:
            RequestTooLargeError: The calls are too large for one request.
            RPCError: Other failures, as for `Client.dispatch`.
        """
        seconds, started = self._seconds(timeout), time.monotonic()
        patience = -1 if seconds is None else min(seconds, threading.TIMEOUT_MAX)
        if not self._dispatching.acquire(timeout=patience):
            raise _busy()
        try:
            left = _left(seconds, started)
            taken = self._take(idempotency_key)
            if not taken.calls.calls:
                return []
            try:
                return self._send(taken.request(), left, metadata, taken.key)
            except BaseException:
                self._put_back(taken)
                raise
        finally:
            self._dispatching.release()


class AsyncBatch(_Calls):
    """Calls to dispatch together, all or none; made by `AsyncClient.batch`.

    Tasks may share it: dispatches of one batch run one after the other, and calls added during
    a dispatch are kept for the next one. Iterating over a batch returns copies of its calls.
    """

    def __init__(self, send: Callable[..., Awaitable[list[str]]], seconds: Seconds) -> None:
        super().__init__()
        self._send = send
        self._seconds = seconds
        self._dispatching = asyncio.Lock()

    async def dispatch(
        self,
        *,
        timeout: Timeout = NOT_GIVEN,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> list[str]:
        """Dispatch all calls of the batch in one request: all are recorded, or none.

        Afterwards the batch is empty. If the dispatch fails, the batch still holds its calls, and
        dispatching it again unchanged sends the same idempotency key.

        Args:
            timeout: As for `AsyncClient.dispatch`; it includes the wait for another dispatch of
                this batch.
            metadata: As for `AsyncClient.dispatch`.
            idempotency_key: As for `AsyncClient.dispatch`.

        Returns:
            The ids of the calls, in their order. An empty batch sends nothing and returns [].

        Raises:
            RequestTooLargeError: The calls are too large for one request.
            RPCError: Other failures, as for `AsyncClient.dispatch`.
        """
        seconds, started = self._seconds(timeout), time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                await self._dispatching.acquire()
        except TimeoutError:
            raise _busy() from None
        try:
            left = _left(seconds, started)
            taken = self._take(idempotency_key)
            if not taken.calls.calls:
                return []
            try:
                return await self._send(taken.request(), left, metadata, taken.key)
            except BaseException:
                self._put_back(taken)
                raise
        finally:
            self._dispatching.release()


def _left(seconds: float | None, started: float) -> float | None:
    """Return the time that is left after the wait for another dispatch, in seconds."""
    if seconds is None:
        return None
    if (left := started + seconds - time.monotonic()) <= 0:
        raise _busy()
    return left


def _busy() -> DeadlineExceededError:
    return DeadlineExceededError(
        "another dispatch of this batch did not end in time; nothing was sent",
        code=Code.DEADLINE_EXCEEDED,
    )
