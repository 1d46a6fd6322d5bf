"""One activation of a workflow: replay its journal, feed it what is new, answer.

It has no I/O and no clock: its driver passes the time, runs the steps, and sends the answer. A new
entry is first appended to the journal, and then handled by the same code as a replayed one.

It is long because the driver's methods and those for the workflow's code share a few fields. Other
parts have modules of their own: the comparison with the journal (`replay`), outcomes (`outcomes`),
the Poll (`suspension`), the loop (`loop`).
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dispatch_grpc import tracing
from dispatch_grpc.schema import Call, CallResult, Error, Journal, JournalEntry, Poll
from dispatch_grpc.workflow import commands
from dispatch_grpc.workflow import journal as journals
from dispatch_grpc.workflow.errors import SuspendedError, WorkflowError
from dispatch_grpc.workflow.loop import LaneTask, WorkflowLoop
from dispatch_grpc.workflow.outcomes import Step, Waiting, set_result, set_returned
from dispatch_grpc.workflow.replay import Replay
from dispatch_grpc.workflow.suspension import make_poll


async def run_call(call: Call, wanted: Any, errors: Mapping[str, type[Exception]]) -> Any:
    """Make a call and wait for its result: nothing else, see `make_poll`."""
    _, future = current("run").call(call, wanted, errors)
    return await future


def current(operation: str) -> "Activation":
    """Return the activation that runs here.

    Raises:
        WorkflowError: No workflow runs here.
        SuspendedError: The workflow is suspended, and its code is being cleaned up.
    """
    loop = asyncio._get_running_loop()
    if not isinstance(loop, WorkflowLoop):
        raise WorkflowError(f"{operation}: this works in a workflow only (@endpoint.workflow)")
    if loop.closed:
        raise SuspendedError("the workflow is suspended")
    activation: Activation = loop.host
    return activation


class Activation:
    """One activation of a workflow.

    Args:
        function: Starts the coroutine of the workflow.
        journal: Its journal, which is added to.
        endpoint: URL of the endpoint that runs it; calls of its own functions name none.
        dispatch_id: Id of its call.
        errors: Classes of exceptions to make again, by their names.
        expires_us: When the call expires, in microseconds since 1970; None if never.
        max_journal_bytes: Bound of the journal.

    Attributes:
        driven: Whether a thread runs the workflow's code right now.
    """

    def __init__(
        self,
        function: Callable[[], Coroutine[Any, Any, Any]],
        journal: Journal,
        *,
        endpoint: str = "",
        dispatch_id: str = "",
        errors: Mapping[str, type[Exception]] | None = None,
        expires_us: int | None = None,
        max_journal_bytes: int = journals.MAX_BYTES,
    ) -> None:
        self.journal = journal
        self._replay = Replay(journal, max_journal_bytes)
        self.driven = False
        self._steps: dict[int, Step] = {}
        self.loop: WorkflowLoop = WorkflowLoop(self)  # type: ignore[abstract]  # the rest is set below its class
        self.endpoint: str = endpoint
        self.dispatch_id: str = dispatch_id
        self.errors: Mapping[str, type[Exception]] = errors or {}
        self._function = function
        self._start_us = journal.start_time.ToMicroseconds()
        if expires_us is not None:
            self.loop.max_sleep_until = (expires_us - self._start_us) / 1e6
        self._waiting: dict[int, Waiting] = {}
        self._unsent = dict.fromkeys(journal.unsent)
        self._calls: dict[int, Call] = {}
        self._cancelled: set[int] = set()  # before this activation
        self._patches: dict[str, bool] = {}
        self._randoms: dict[str, random.Random] = {}
        self._problem: Exception | None = None
        self._main: LaneTask | None = None
        self._outcome: tuple[Any, BaseException | None] | None = None

    # Driving.

    def start(self, *, fresh: bool = False) -> None:
        """Run the workflow from its start, through all that its journal holds.

        Args:
            fresh: Whether it has not run before, so that there is nothing to compare with.
        """
        entries = self.journal.entries
        total = len(entries)  # the code of a fresh one adds to them
        self._replay.active = not fresh
        with self.loop.running():
            position = self._replay.expect(0)
            self._main = self.loop.create_task(self._function(), name="workflow")
            self._drain()
            while position < total and self._problem is None:
                self._stop_if(self._replay.end_of_segment())
                entry = entries[position]
                position = self._replay.expect(position + 1)
                self._feed(entry)
            self._stop_if(self._replay.end_of_segment())
        self._cancelled.update(self.cancelled_calls())
        self._replay.active = False

    def deliver(self, results: Iterable[CallResult], error: Error | None, now_us: int) -> None:
        """Feed the results of calls, in the order in which they came.

        Results that nobody waits for are ignored: duplicates, late ones, those of calls of an
        earlier run of the workflow.

        Args:
            results: The results.
            error: Why the calls of the last Poll were not dispatched; None if they were.
            now_us: The time, in microseconds since 1970.
        """
        for result in results:
            self.take(result, now_us)
        with self.loop.running():
            if error is not None:
                for id in list(self.journal.polled):
                    entry = self._entry(id, now_us)
                    set_result(entry, CallResult(error=error))
                    self._record(entry)
            self.journal.ClearField("polled")
            self._wake(now_us)

    def take(self, result: CallResult, now_us: int) -> None:
        """Feed one result, and leave the timers alone."""
        entry = self._entry(result.correlation_id, now_us)
        set_result(entry, result)
        with self.loop.running():
            self._record(entry)

    def wake(self, now_us: int) -> None:
        """Move the time on, and fire the timers that are due."""
        with self.loop.running():
            self._wake(now_us)

    def end_step(self, id: int, result: Any, error: BaseException | None, now_us: int) -> None:
        """Feed what a step returned, or the exception that it raised."""
        entry = self._entry(id, now_us)
        set_returned(entry, result, error)
        with self.loop.running():
            self._record(entry)

    def abandon(self) -> None:
        """Stop as soon as possible, and clean up: now, or in the thread that drives this."""
        self.loop.closed = self.loop.stopped = True
        if not self.driven:
            self.discard()

    def discard(self) -> None:
        """Clean up. Nothing that the workflow's code does then has an effect."""
        self.loop.discard()

    # The state of affairs.

    @property
    def replaying(self) -> bool:
        """Whether what runs has run before."""
        return self._replay.active

    @property
    def journal_bytes(self) -> int:
        """Size of the journal."""
        return self._replay.size

    @property
    def done(self) -> bool:
        """Whether the workflow has come to its end, or cannot go on."""
        return self._problem is not None or (self._main is not None and self._main.done())

    @property
    def outcome(self) -> tuple[Any, BaseException | None]:
        """What the workflow returned, and what it raised or cannot go on for."""
        if self._problem is None and self._outcome is None and self.done and self._main:
            try:
                self._outcome = self._main.result(), None  # once: it drops the traceback
            except BaseException as error:  # noqa: BLE001  (whatever the user's code raised)
                self._outcome = None, error
        return self._outcome or (None, self._problem)

    def next_step(self) -> Step | None:
        """Take a step that is to be begun; None when there is none."""
        while self._steps:
            step = self._steps.pop(next(iter(self._steps)))
            if not self._waiting[step.id].future.done():  # or its task was cancelled
                return step
        return None

    @property
    def running_steps(self) -> int:
        """Number of the steps that have not ended."""
        return sum(
            waiting.kind == commands.STEP and not waiting.future.done()
            for waiting in self._waiting.values()
        )

    @property
    def has_unsent(self) -> bool:
        """Whether there are calls to dispatch."""
        return any(not self._is_cancelled(id) for id in self._unsent)

    def cancelled_calls(self) -> set[int]:
        """Return the ids of dispatched calls whose tasks this activation has cancelled.

        There are none if the workflow cannot continue.
        """
        if self._problem is not None:
            return set()
        return {
            id
            for id, waiting in self._waiting.items()
            if waiting.kind == commands.CALL
            and waiting.future.cancelled()
            and id not in self._unsent
            and id not in self._cancelled
        }

    def _is_cancelled(self, id: int) -> bool:
        waiting = self._waiting.get(id)
        return waiting is not None and waiting.future.cancelled()

    @property
    def left(self) -> list[str]:
        """Names of the tasks that still run."""
        return [task.get_name() for task in self.loop.pending() if task is not self._main]

    def next_wake_us(self) -> int | None:
        """Return when the next timer is due, in microseconds since 1970; None without one."""
        when = self.loop.next_timer()
        if when is None or when > 1e11:
            return None
        elapsed_us = -int(-when * 1e6 // 1)
        while elapsed_us / 1e6 < when:  # rounded down, where a float is coarse
            elapsed_us += 1
        return self._start_us + elapsed_us

    def poll(self, now_us: int, cancellation: Call | None = None) -> Poll:
        """Make the Poll that suspends the workflow.

        Args:
            now_us: The time, in microseconds since 1970.
            cancellation: A call that cancels others, and whose result the workflow does not see.
                A workflow that has ended waits for it alone.

        Raises:
            WorkflowError: It waits for nothing that could ever come.
        """
        for id in [id for id in self._unsent if self._is_cancelled(id)]:
            del self._unsent[id]
        next_us = None if self.done else self.next_wake_us()
        return make_poll(
            self.journal,
            {} if self.done else self._unsent,
            self._calls,
            [waiting for waiting in self._waiting.values() if not waiting.future.done()],
            wait_us=None if next_us is None else next_us - now_us,
            code=run_call.__code__,
            cancellation=cancellation,
        )

    # What the code of a workflow asks for.

    def call(
        self, call: Call, wanted: Any, errors: Mapping[str, type[Exception]]
    ) -> tuple[int, asyncio.Future[Any]]:
        """Make a call. Returns its correlation id, and the future of its result."""
        endpoint = "" if call.endpoint == self.endpoint else call.endpoint
        lane, number = self.loop.next_command()
        id = self._replay.id_of(lane, number)
        if not self.replaying:
            self._unsent[id] = None
            if tracing.is_imported():
                from dispatch_grpc.tracing import spans

                spans.calling(id)
        if id in self._unsent:
            own = self._calls[id] = Call()
            own.CopyFrom(call)
            own.correlation_id = id
            own.endpoint = endpoint
        fields = (commands.CALL, call.function, endpoint, commands.digest(call.input), lane, number)
        return id, self._command(id, fields, wanted, errors)

    def step(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        wanted: Any,
    ) -> Any:
        """Ask for a step; returns the future of its result."""
        lane, number = self.loop.next_command()
        id = self._replay.id_of(lane, number)
        fields = (commands.STEP, commands.name_of(function), "", 0, lane, number)
        future = self._command(id, fields, wanted, {})
        self._steps[id] = Step(id, function, args, kwargs)
        return future

    def patched(self, name: str) -> bool:
        """Tell whether the code is to take the new way."""
        if name not in self._patches:
            id = self._replay.id_of(f"patch {name}", 0)
            self._patches[name], problem = self._replay.patch(id, name)
            self._stop_if(problem)
        return self._patches[name]

    def now(self) -> datetime:
        """Return the time."""
        return datetime.fromtimestamp(0, UTC) + timedelta(
            microseconds=self._start_us + round(self.loop.time() * 1e6)
        )

    def time_left(self) -> timedelta | None:
        """Return the time until the call expires; None if it never does."""
        until = self.loop.max_sleep_until
        return None if until is None else timedelta(seconds=max(until - self.loop.time(), 0))

    def random(self) -> random.Random:
        """Return the random numbers of the running task."""
        task = asyncio.current_task(self.loop)
        lane = task.lane if isinstance(task, LaneTask) else "callbacks"
        if lane not in self._randoms:
            seed = self._replay.id_of(f"random {lane}", 0)
            self._randoms[lane] = random.Random(seed)  # noqa: S311
        return self._randoms[lane]

    # Within.

    def _command(
        self, id: int, fields: commands.Fields, wanted: Any, errors: Mapping[str, type[Exception]]
    ) -> asyncio.Future[Any]:
        future = self.loop.create_future()
        if (problem := self._replay.make(id, fields)) is not None:
            self._stop(problem)
            if self.replaying:
                return future
        task = asyncio.current_task(self.loop)
        self._waiting[id] = Waiting(future, wanted, fields[0], errors, task)
        return future

    def _stop_if(self, problem: Exception | None) -> None:
        if problem is not None:
            self._stop(problem)

    def _stop(self, problem: Exception) -> None:
        if self._problem is None:
            self._problem = problem
        self.loop.stopped = True

    def _entry(self, id: int, now_us: int) -> JournalEntry:
        elapsed = max(now_us - self._start_us, round(self.loop.time() * 1e6), 0)
        return JournalEntry(command_id=id, elapsed_us=elapsed)

    def _record(self, entry: JournalEntry) -> None:
        """Write down what happened, and feed it; what nobody waits for is dropped."""
        waiting = self._waiting.get(entry.command_id)
        if entry.HasField("outcome") and (waiting is None or waiting.future.done()):
            return
        if self.done:
            return
        self._stop_if(self._replay.append(entry))
        self._feed(entry)

    def _feed(self, entry: JournalEntry) -> None:
        self.loop.advance(entry.elapsed_us / 1e6)
        if entry.HasField("wake"):
            self._guard(self.loop.fire)
            return
        waiting = self._waiting.pop(entry.command_id, None)
        self._steps.pop(entry.command_id, None)
        if waiting is None or waiting.future.done():
            return
        waiting.end(entry, self.errors)
        self._guard(self.loop.drain)

    def _wake(self, now_us: int) -> None:
        when = self.loop.next_timer()
        if when is not None and when <= (now_us - self._start_us) / 1e6:
            entry = self._entry(0, now_us)
            entry.wake.SetInParent()
            self._record(entry)

    def _drain(self) -> None:
        self._guard(self.loop.drain)

    def _guard(self, drive: Callable[[], None]) -> None:
        try:
            drive()
        except WorkflowError as problem:
            self._stop(problem)
        except BaseException as error:  # noqa: BLE001  (SystemExit and KeyboardInterrupt get here)
            if self._main is None or not self._main.done():
                self._stop(WorkflowError(f"the workflow raised {type(error).__name__}: {error}"))
