"""Run a function for a RunRequest: threads, the deadline, and an outcome in every case."""

import asyncio
import contextvars
import inspect
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dispatch_grpc.calls import inside_function
from dispatch_grpc.endpoint.fork import renew_in_children
from dispatch_grpc.errors import EndpointError
from dispatch_grpc.schema import RunRequest, time_of
from dispatch_grpc.workflow.operations import is_replaying

Outcome = tuple[Any, BaseException | None]
"""The result of a function and None, or None and the exception that it raised."""


class NotRunError(Exception):
    """The function was not run; `cause` is the reason."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True, slots=True)
class CurrentCall:
    """The call for which a function runs.

    Attributes:
        dispatch_id: Id of the call.
        parent_dispatch_id: Id of the call that dispatched it; empty for a client's call.
        root_dispatch_id: Id of the client's call that led to it.
        creation_time: When the call was recorded, in UTC; None if the service did not send it.
        expiration_time: When the call expires, in UTC; None if the service did not send it.
        attempt: Number of this attempt, from 1; None if the service did not send it.
        scheduled_time: The tick of the schedule that dispatched the call, in UTC; None for other
            calls.
        function: Name of the function.
    """

    dispatch_id: str
    parent_dispatch_id: str
    root_dispatch_id: str
    creation_time: datetime | None
    expiration_time: datetime | None
    attempt: int | None = None
    scheduled_time: datetime | None = None
    function: str = ""

    @property
    def replaying(self) -> bool:
        """True while a workflow repeats code that has already run."""
        return is_replaying()


running_call: contextvars.ContextVar[CurrentCall] = contextvars.ContextVar("dispatch_grpc_call")
"""The call whose request is handled."""


def current_call() -> CurrentCall:
    """Return the call of the running function; tasks that it starts see it too.

    Raises:
        EndpointError: No function of an endpoint is running.
    """
    try:
        return running_call.get()
    except LookupError:
        raise EndpointError("current_call(): no function of an endpoint runs here") from None


def describe_call(
    request: RunRequest, attempt: int | None, scheduled_time: datetime | None
) -> CurrentCall:
    """Return the call of a request."""
    return CurrentCall(
        request.dispatch_id,
        request.parent_dispatch_id,
        request.root_dispatch_id,
        time_of(request, "creation_time"),
        time_of(request, "expiration_time"),
        attempt,
        scheduled_time,
        request.function,
    )


class Threads:
    """Threads for the sync functions of an endpoint, up to a limit.

    They are daemons, unlike those of the standard library's executors: a function that never
    returns does not keep the process from ending.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reset()
        renew_in_children(self._reset)

    def _reset(self) -> None:
        """Start without threads: a forked child has none of its parent's."""
        self._lock = threading.Lock()
        self._threads = self._idle = 0
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Call a function in the next free thread.

        Raises:
            OSError: The system cannot start a first thread.
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
                raise OSError(f"cannot start a thread for the function: {error}") from error
        else:
            self._threads += 1

    def _work(self) -> None:
        while True:
            future, function = self._queue.get()
            result = function() if future.set_running_or_notify_cancel() else None
            with self._lock:
                self._idle += 1  # before the result starts more work
            if not future.cancelled():
                future.set_result(result)
            del future, function, result  # or an idle thread would keep them


class Executor:
    """Runs functions, with an outcome in every case and before the deadline."""

    def __init__(self, max_concurrency: int) -> None:
        self._threads = Threads(max_concurrency)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(
        self, function: Callable[[], Any], call: CurrentCall, *, is_async: bool
    ) -> Outcome:
        """Call a function and return its outcome; a TimeoutError once the call has expired.

        A function that is sync but returns an awaitable, as a decorated async function does, is
        awaited on the event loop. When the call expires, an async function is cancelled; one in
        a thread goes on, and its outcome is ignored.

        Raises:
            NotRunError: The call has already expired, or the system cannot start a thread.
        """
        seconds = None
        if call.expiration_time is not None:
            seconds = (call.expiration_time - datetime.now(UTC)).total_seconds()
            if seconds <= 0:
                raise NotRunError(TimeoutError("the call expired before it ran"))
        context = contextvars.copy_context()
        context.run(inside_function.set, True)
        run = _Run(context, self._tasks)
        if is_async:
            run.start(function)
        else:
            try:
                submitted = self._threads.submit(lambda: context.run(outcome_of, function))
            except OSError as error:
                raise NotRunError(error) from error
            run.follow(submitted)
        timer = None
        if seconds is not None:
            expired = TimeoutError(
                f"the call has expired: the function did not end by {call.expiration_time}"
            )
            timer = run.loop.call_later(seconds, run.end, (None, expired))
        try:
            return await run.outcome
        finally:
            if timer is not None:
                timer.cancel()
            run.cancel()  # the call has expired, the service has gone away, the server ends


class _Run:
    """One run of a function: its end or its deadline, whichever is first, sets the outcome."""

    def __init__(self, context: contextvars.Context, tasks: set[asyncio.Task[None]]) -> None:
        self._context, self._tasks = context, tasks
        self.loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Outcome] = self.loop.create_future()
        self._running: asyncio.Future[Any] | None = None
        self._submitted: Future[Outcome] | None = None

    def start(self, function: Callable[[], Any]) -> None:
        """Call a function in a task, and await its result if it is awaitable."""
        task = self.loop.create_task(self._await(function), context=self._context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # There is no outcome if the task was cancelled before its start: by a function that
        # cancels all tasks, say.
        task.add_done_callback(lambda _: self.outcome.cancel())
        self._running = task

    async def _await(self, function: Callable[[], Any]) -> None:
        try:
            value = function()
            result: Outcome = (await value if inspect.isawaitable(value) else value), None
        except BaseException as error:  # noqa: BLE001 (any exception is a failure of the call)
            result = None, error
        self.end(result)

    def follow(self, submitted: Future[Outcome]) -> None:
        """Take the outcome of a thread."""
        self._submitted = submitted
        self._running = asyncio.wrap_future(submitted)
        self._running.add_done_callback(self._returned)

    def _returned(self, done: asyncio.Future[Outcome]) -> None:
        result = (None, asyncio.CancelledError()) if done.cancelled() else done.result()
        value = result[0]
        if not inspect.isawaitable(value):
            self._submitted = None
            self.end(result)
        elif not self.outcome.done():
            self._submitted = None
            self.start(lambda: value)

    def end(self, result: Outcome) -> None:
        """Set the outcome, unless there is one."""
        if not self.outcome.done():
            self.outcome.set_result(result)

    def cancel(self) -> None:
        """Cancel the task, or the function that waits for a thread."""
        if self._running is not None:
            self._running.cancel()
        if self._submitted is not None:
            self._submitted.add_done_callback(_close)


def _close(done: Future[Outcome]) -> None:
    """Close a coroutine that a function returned after its call had expired."""
    if not done.cancelled() and inspect.iscoroutine(value := done.result()[0]):
        value.close()


def outcome_of(function: Callable[[], Any]) -> Outcome:
    """Call a function, and return its outcome instead of raising."""
    try:
        return function(), None
    except BaseException as error:  # noqa: BLE001 (any exception is a failure of the call)
        return None, error
