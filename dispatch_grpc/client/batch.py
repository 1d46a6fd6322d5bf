"""Batches: calls that are recorded together, all or none."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, TypeAlias

from dispatch_grpc.calls import fill_call, problem_of
from dispatch_grpc.client import settings
from dispatch_grpc.client.settings import NOT_GIVEN
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import DeadlineExceededError, InvalidCallError
from dispatch_grpc.schema import Call, DispatchRequest

DispatchID: TypeAlias = str
"""Opaque, globally unique id that the service gives to a call."""


Seconds = Callable[[Any], float | None]
"""Checks a timeout and returns it in seconds."""


class _Calls:
    """The calls of a batch: what `Batch` and `AsyncBatch` share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hold(DispatchRequest())
        # The key of a dispatch that failed, as long as the calls are still the same.
        self._key: str | None = None

    def add(self, *calls: Call) -> None:
        """Add calls; later changes to them do not reach the batch.

        Args:
            calls: Calls as `new_call` makes them, or made by hand.

        Raises:
            InvalidCallError: A call breaks a rule of the schema; then none is added.
        """
        with self._lock:
            for number, call in enumerate(calls):
                if problem := problem_of(call):
                    raise InvalidCallError(f"calls[{len(self._calls) + number}]{problem}")
            append = self._calls.append
            for call in calls:
                append(call)
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
            endpoint: As for `dispatch_grpc.new_call`, and so are all others.
            function: Name of the function.
            input: Argument of the function.
            expiration: Longest time that the function may take.
            version: Version of the application that the call is meant for.
            correlation_id: Number that comes back in the CallResult.

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

    def _hold(self, request: DispatchRequest) -> None:
        self._request = request
        self._calls = request.calls  # to get it anew for every call would take longer than adding

    def _take(self, key: str | None) -> tuple[DispatchRequest, str]:
        """Take the calls out to dispatch them, with the idempotency key to use."""
        if key is not None:
            settings.idempotency_key(key)
        with self._lock:
            taken = self._request, key or self._key or settings.new_idempotency_key()
            self._hold(DispatchRequest())
            self._key = None
            return taken

    def _put_back(self, request: DispatchRequest, key: str) -> None:
        """Keep the calls of a dispatch that failed, before those added meanwhile."""
        with self._lock:
            added = self._calls
            request.calls.extend(added)
            self._hold(request)
            self._key = None if added else key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} calls>"


class Batch(_Calls):
    """Calls to dispatch together; made by `Client.batch`.

    May be used from several threads: dispatches of one batch follow each other, and calls
    that are added while one is under way are kept for the next.
    """

    def __init__(self, send: Callable[..., list[DispatchID]], seconds: Seconds) -> None:
        super().__init__()
        self._send = send
        self._seconds = seconds
        self._dispatching = threading.Lock()

    def dispatch(
        self,
        *,
        timeout: timedelta | None = NOT_GIVEN,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> list[DispatchID]:
        """Dispatch all calls of the batch in one request: all are recorded, or none.

        Afterwards the batch is empty. If it fails, the batch still holds its calls;
        dispatching it again unchanged sends the same idempotency key again.

        Args:
            timeout: As for `Client.dispatch`.
            metadata: As for `Client.dispatch`.
            idempotency_key: As for `Client.dispatch`.

        Returns:
            One id for each call, in their order. An empty batch sends nothing and returns [].

        Raises:
            RequestTooLargeError: The calls have too many bytes for one request.
            RPCError: Others as for `Client.dispatch`.
        """
        seconds = self._seconds(timeout)
        patience = -1 if seconds is None else min(seconds, threading.TIMEOUT_MAX)
        if not self._dispatching.acquire(timeout=patience):
            raise _busy()
        try:
            request, key = self._take(idempotency_key)
            if not request.calls:
                return []
            try:
                return self._send(request, timeout, metadata, key)
            except BaseException:
                self._put_back(request, key)
                raise
        finally:
            self._dispatching.release()


class AsyncBatch(_Calls):
    """Calls to dispatch together; made by `AsyncClient.batch`.

    May be used from several tasks: dispatches of one batch follow each other, and calls
    that are added while one is under way are kept for the next.
    """

    def __init__(self, send: Callable[..., Awaitable[list[DispatchID]]], seconds: Seconds) -> None:
        super().__init__()
        self._send = send
        self._seconds = seconds
        self._dispatching = asyncio.Lock()

    async def dispatch(
        self,
        *,
        timeout: timedelta | None = NOT_GIVEN,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> list[DispatchID]:
        """Dispatch all calls of the batch in one request: all are recorded, or none.

        Afterwards the batch is empty. If it fails, the batch still holds its calls;
        dispatching it again unchanged sends the same idempotency key again.

        Args:
            timeout: As for `AsyncClient.dispatch`.
            metadata: As for `AsyncClient.dispatch`.
            idempotency_key: As for `AsyncClient.dispatch`.

        Returns:
            One id for each call, in their order. An empty batch sends nothing and returns [].

        Raises:
            RequestTooLargeError: The calls have too many bytes for one request.
            RPCError: Others as for `AsyncClient.dispatch`.
        """
        try:
            async with asyncio.timeout(self._seconds(timeout)):
                await self._dispatching.acquire()
        except TimeoutError:
            raise _busy() from None
        try:
            request, key = self._take(idempotency_key)
            if not request.calls:
                return []
            try:
                return await self._send(request, timeout, metadata, key)
            except BaseException:
                self._put_back(request, key)
                raise
        finally:
            self._dispatching.release()


def _busy() -> DeadlineExceededError:
    return DeadlineExceededError(
        "another dispatch of this batch did not end in time; nothing was sent",
        code=Code.DEADLINE_EXCEEDED,
    )
