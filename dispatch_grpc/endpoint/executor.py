"""Running a function for a RunRequest: threads, the deadline, and the answer whatever happens."""

import asyncio
import contextvars
import queue
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from dispatch_grpc.calls import inside_function
from dispatch_grpc.errors import EndpointError
from dispatch_grpc.schema import RunRequest
from dispatch_grpc.workflow.operations import is_replaying

Outcome = tuple[Any, BaseException | None]
"""What a function returned, or what it raised."""


@dataclass(frozen=True, slots=True)
class CurrentCall:
    """The call for which a function runs.

    Attributes:
        dispatch_id: Id that the service gave to the call.
        parent_dispatch_id: Id of the call that dispatched it, empty for one of a client.
        root_dispatch_id: Id of the call of a client from which it descends.
        creation_time: When the call was recorded, in UTC; None if the service did not say.
        expiration_time: When the call expires, in UTC; None if the service did not say.
    """

    dispatch_id: str
    parent_dispatch_id: str
    root_dispatch_id: str
    creation_time: datetime | None
    expiration_time: datetime | None

    @property
    def replaying(self) -> bool:
        """True while a workflow runs code again that has run before."""
        return is_replaying()


_current: contextvars.ContextVar[CurrentCall] = contextvars.ContextVar("dispatch_grpc_call")


def current_call() -> CurrentCall:
    """Tell for which call the function runs that asks; also in the tasks that it starts.

    Raises:
        EndpointError: No function of an endpoint runs here.
    """
    try:
        return _current.get()
    except LookupError:
        raise EndpointError("current_call(): no function of an endpoint runs here") from None


def describe_call(request: RunRequest) -> CurrentCall:
    """What a request tells of its call."""
    return CurrentCall(
        request.dispatch_id,
        request.parent_dispatch_id,
        request.root_dispatch_id,
        _time(request.creation_time) if request.HasField("creation_time") else None,
        _time(request.expiration_time) if request.HasField("expiration_time") else None,
    )


def _time(timestamp: Timestamp) -> datetime | None:
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):  # outside of the years 1 to 9999
        return None


class Threads:
    """Threads for the sync functions of an endpoint, at most a number of them.

    They are daemons, unlike those of the standard library's executors: a function that never
    returns does not keep the process from ending.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._threads = self._idle = 0
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Have a function called in a thread, as soon as one is free.

        Raises:
            OSError: There is no thread, and the system does not give one.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads < self._limit:
                self._start()
        self._queue.put((future, function))
        return future

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="dispatch-function", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if not self._threads:
                raise OSError(f"no thread for the function: {error}") from error
        else:
            self._threads += 1

    def _work(self) -> None:
        while True:
            future, function = self._queue.get()
            result = function() if future.set_running_or_notify_cancel() else None
            with self._lock:
                self._idle += 1  # before anyone who waits for the result has more to run
            if not future.cancelled():
                future.set_result(result)
            del future, function, result  # or an idle thread would keep them


class Executor:
    """Runs functions so that there always is an outcome, and in time."""

    def __init__(self, max_concurrency: int) -> None:
        self._threads = Threads(max_concurrency)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(
        self, function: Callable[[], Any], call: CurrentCall, *, is_async: bool
    ) -> Outcome:
        """Call a function and return its outcome; a TimeoutError once the call has expired.

        The function is cancelled then. One of a thread cannot be, it goes on without being
        waited for.
        """
        seconds = None
        if call.expiration_time is not None:
            seconds = (call.expiration_time - datetime.now(UTC)).total_seconds()
            if seconds <= 0:
                return None, TimeoutError("the call has expired before it was run")
        context = contextvars.copy_context()
        context.run(_current.set, call)
        context.run(inside_function.set, True)
        loop = asyncio.get_running_loop()
        # Of the function or of the timer, whichever is first.
        outcome: asyncio.Future[Outcome] = loop.create_future()
        running: asyncio.Future[Any]
        if is_async:
            task = loop.create_task(_outcome(function, outcome), context=context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # It has none if it was cancelled before its start, by a function that cancels all.
            task.add_done_callback(lambda _: outcome.cancel())
            running = task
        else:
            try:
                submitted = self._threads.submit(lambda: context.run(_thread_outcome, function))
            except OSError as error:
                return None, error
            running = asyncio.wrap_future(submitted)
            running.add_done_callback(lambda done: _end(outcome, _result(done)))
        timer = None
        if seconds is not None:
            expired = TimeoutError(
                f"the call has expired: the function did not end by {call.expiration_time}"
            )
            timer = loop.call_later(seconds, _end, outcome, (None, expired))
        try:
            return await outcome
        finally:
            if timer is not None:
                timer.cancel()
            running.cancel()  # the call has expired, the service has gone away, the server ends


async def _outcome(
    function: Callable[[], Awaitable[Any]], outcome: asyncio.Future[Outcome]
) -> None:
    try:
        result: Outcome = await function(), None
    except BaseException as error:  # noqa: BLE001 (whatever it is, the call has failed by it)
        result = None, error
    _end(outcome, result)


def _result(done: asyncio.Future[Outcome]) -> Outcome:
    return (None, asyncio.CancelledError()) if done.cancelled() else done.result()


def _end(outcome: asyncio.Future[Outcome], result: Outcome) -> None:
    if not outcome.done():
        outcome.set_result(result)


def _thread_outcome(function: Callable[[], Any]) -> Outcome:
    try:
        return function(), None
    except BaseException as error:  # noqa: BLE001 (whatever it is, the call has failed by it)
        return None, error
