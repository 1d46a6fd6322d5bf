"""A deterministic event loop: asyncio's tasks, futures and timers, without I/O and without a clock.

It runs the callbacks that are ready, in order, and stops when none is. Time stands still until
`advance` moves it. Whoever drives it decides what happens next; asyncio's own gather, TaskGroup,
timeout, sleep, wait, Queue, Event and Lock work on it unchanged.

Every task has a lane: its parent's lane and its number among the tasks of its parent. What a task
asks for is known by its lane and a number within it, so that tasks that take turns in another
order ask for the same.
"""

import asyncio
import asyncio.events
import heapq
import sys
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import Any, NoReturn

from dispatch_grpc.log import logger
from dispatch_grpc.workflow.errors import WorkflowError

_MAX_TURNS = 5_000_000
_CLOSE_ATTEMPTS = 100


class LaneTask(asyncio.Task[Any]):
    """A task that knows its lane."""

    lane: str
    tasks = 0
    """Number of the tasks that it has started."""
    commands = 0
    """Number of the commands that it has made."""


class WorkflowLoop(asyncio.AbstractEventLoop):
    """The event loop of one activation of a workflow.

    Attributes:
        stopped: Set by whoever drives the loop, to run no callback any more.
        closed: Whether the loop is of the past: what its coroutines do has no effect.
        host: What the operations of a workflow find here.
        max_sleep_until: Time, as `time()` tells it, past which nothing may sleep; None for any.
    """

    def __init__(self, host: Any = None) -> None:
        self.host = host
        self.stopped: bool = False
        self.closed: bool = False
        self.max_sleep_until: float | None = None
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_count = self._root_tasks = 0
        self._callback_commands = 0
        self._tasks: list[LaneTask] = []
        self._prune_at = 1000
        self._generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()

    # Driving.

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make this the running loop of the thread."""
        previous, hooks = asyncio.events._get_running_loop(), sys.get_asyncgen_hooks()
        asyncio.events._set_running_loop(None)
        asyncio.events._set_running_loop(self)
        sys.set_asyncgen_hooks(self._generators.add, self._finalize)
        try:
            yield
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio.events._set_running_loop(previous)

    def drain(self) -> None:
        """Run callbacks until none is ready. The loop has to be `running`.

        Raises:
            WorkflowError: There is no end to it.
        """
        ready, turns = self._ready, 0
        while ready and not self.stopped:
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()
            turns += 1
            if turns > _MAX_TURNS:
                raise WorkflowError(
                    f"the workflow has run {_MAX_TURNS} callbacks without waiting for a call, a "
                    f"step or time: does it loop around asyncio.sleep(0)?"
                )

    def advance(self, now: float) -> None:
        """Move the time on, without firing timers: what else has happened goes first."""
        self._now = max(self._now, now)

    def fire(self) -> None:
        """Run the timers that are due, those of one time together."""
        while (when := self.next_timer()) is not None and when <= self._now and not self.stopped:
            while self._timers and self._timers[0][0] == when:
                self._ready.append(heapq.heappop(self._timers)[2])
            self.drain()

    def next_timer(self) -> float | None:
        """Return the time of the next timer; None when there is none."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def next_command(self) -> tuple[str, int]:
        """Return the lane of the running task, and the number of its next command."""
        task = asyncio.current_task(self)
        if isinstance(task, LaneTask):
            task.commands += 1
            return task.lane, task.commands
        self._callback_commands += 1  # a callback that runs outside of tasks
        return "callbacks", self._callback_commands

    def pending(self) -> list[LaneTask]:
        """Return the tasks that have not ended."""
        return [task for task in self._tasks if not task.done()]

    def discard(self) -> None:
        """Close what is left of the coroutines. What they do then has no effect outside."""
        self.closed = self.stopped = True
        with self.running():
            for task in sorted(self.pending(), key=lambda task: task.lane, reverse=True):
                _close(task.get_coro())
            for generator in list(self._generators):
                closing = generator.aclose()
                with suppress(BaseException):
                    closing.send(None)
                _close(closing)
        self._ready.clear()
        self._timers.clear()
        self._tasks.clear()

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self.closed:
            self.create_task(generator.aclose())

    # What asyncio's futures and tasks ask of a loop.

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback as soon as those before it have run."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback some seconds later."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a time."""
        limit = self.max_sleep_until
        if limit is not None and when > limit and _is_sleep(callback):
            raise WorkflowError(
                f"asyncio.sleep: the sleep would end {when - limit:.0f} s after the call expires: "
                f"call the workflow with a longer expiration, by with_options(expiration=...), "
                f"new_call(..., expiration=...) or 'dispatch-grpc call --expiration 30d'"
            )
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def time(self) -> float:
        """Return the seconds since the workflow began."""
        return self._now

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, **options: Any
    ) -> LaneTask:
        """Start a task, in a lane below that of the running one."""
        parent = asyncio.current_task(self)
        if isinstance(parent, LaneTask):
            parent.tasks += 1
            lane = f"{parent.lane}.{parent.tasks}"
        else:
            lane = str(self._root_tasks)
            self._root_tasks += 1
        task = LaneTask(coro, loop=self, name=name or f"task {lane}", **options)
        task.lane = lane
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks.append(task)
        if len(self._tasks) > self._prune_at:
            self._tasks = self.pending()
            self._prune_at = 2 * len(self._tasks) + 1000
        return task

    def get_debug(self) -> bool:
        """Return False: there is no debug mode."""
        return False

    def is_running(self) -> bool:
        """Return whether coroutines run."""
        return not self.closed

    def is_closed(self) -> bool:
        """Return whether the loop is of the past."""
        return self.closed

    def get_exception_handler(self) -> None:
        """Return None: errors are logged."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log an error that nobody awaits."""
        if not self.closed and not (self.host is not None and self.host.replaying):
            logger.error(
                "in a workflow: %s", context.get("message"), exc_info=context.get("exception")
            )

    default_exception_handler = call_exception_handler

    async def shutdown_asyncgens(self) -> None:
        """Do nothing: `discard` closes them."""

    def get_task_factory(self) -> None:
        """Return None: tasks are the loop's own."""


def _is_sleep(callback: Any) -> bool:
    """Tell asyncio.sleep from timeouts, which may well be longer than the call lives."""
    return getattr(callback, "__name__", "") == "_set_result_unless_cancelled"


def _close(coroutine: Any) -> None:
    """Close a coroutine, also one that waits again while it is closed."""
    for _ in range(_CLOSE_ATTEMPTS):
        try:
            coroutine.close()
        except BaseException:  # noqa: BLE001, S112  (of the user's code, and without effect)
            continue
        return


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refused(*_: Any, **__: Any) -> NoReturn:
        raise WorkflowError(
            f"{name}: there is no I/O, thread or process in a workflow: do it in a step "
            f"(workflow.step) or in a function that the workflow calls"
        )

    refused.__name__ = name
    refused.__doc__ = "Refuse: a workflow does this in a step."
    return refused


_REFUSED = (
    *("run_forever", "run_until_complete", "stop", "close", "shutdown_default_executor"),
    *("call_soon_threadsafe", "run_in_executor", "set_default_executor"),
    *("getaddrinfo", "getnameinfo", "create_connection", "create_server", "start_tls"),
    *("create_unix_connection", "create_unix_server", "connect_accepted_socket", "sendfile"),
    *("create_datagram_endpoint", "connect_read_pipe", "connect_write_pipe"),
    *("subprocess_shell", "subprocess_exec", "add_reader", "remove_reader", "add_writer"),
    *("remove_writer", "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"),
    *("sock_sendall", "sock_sendto", "sock_connect", "sock_accept", "sock_sendfile"),
    *("add_signal_handler", "remove_signal_handler", "set_task_factory"),
    *("set_exception_handler", "set_debug"),
)
for _name in _REFUSED:
    setattr(WorkflowLoop, _name, _refuse(_name))
