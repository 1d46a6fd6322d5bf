"""One activation of a workflow: replay its journal, feed it what is new, answer.

No I/O and no clock: whoever drives it says the time, runs the steps, and sends the answer. What is
new goes through the same code as what is replayed, after it was written down.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc.errors import MarshalError
from dispatch_grpc.schema import (
    Call,
    CallResult,
    Command,
    Error,
    Failure,
    Journal,
    JournalEntry,
    Poll,
)
from dispatch_grpc.values import encode, unmarshal
from dispatch_grpc.workflow import commands
from dispatch_grpc.workflow import journal as journals
from dispatch_grpc.workflow.errors import (
    NondeterminismError,
    SuspendedError,
    WorkflowError,
    error_of,
    failure_of,
    failure_of_result,
)
from dispatch_grpc.workflow.loop import LaneTask, WorkflowLoop

MAX_RESULTS = 1000
MAX_WAIT_SECONDS = 24 * 3600
"""Longest time that a Poll waits; a workflow that is woken with nothing to do polls again."""
MAX_POLL_BYTES = 3_000_000
"""Most bytes of calls in one Poll, unless a single call has more."""


@dataclass(frozen=True, slots=True)
class Step:
    """A function that is to be run in this process."""

    id: int
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(slots=True)
class _Waiting:
    """A command that has not ended."""

    future: asyncio.Future[Any]
    wanted: Any
    kind: int
    errors: Mapping[str, type[Exception]]
    task: asyncio.Task[Any] | None


async def run_call(call: Call, wanted: Any, errors: Mapping[str, type[Exception]]) -> Any:
    """Make a call and wait for its result: nothing else, see `_waits_for_all`."""
    return await current("run").call(call, wanted, errors)


def current(operation: str) -> "Activation":
    """Return the activation that runs here.

    Raises:
        WorkflowError: No workflow runs here.
        SuspendedError: The workflow is of the past.
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
        errors: Classes of exceptions to make again, by their names.
        expires_us: When the call expires, in microseconds since 1970; None if never.
        max_journal_bytes: Bound of the journal.

    Attributes:
        replaying: Whether what runs has run before.
        journal_bytes: Size of the journal.
        driven: Whether a thread runs the workflow's code right now.
    """

    def __init__(
        self,
        function: Callable[[], Coroutine[Any, Any, Any]],
        journal: Journal,
        *,
        endpoint: str = "",
        errors: Mapping[str, type[Exception]] | None = None,
        expires_us: int | None = None,
        max_journal_bytes: int = journals.MAX_BYTES,
    ) -> None:
        self.journal = journal
        self.replaying: bool = True
        self.driven = False
        self._steps: dict[int, Step] = {}
        self.loop: WorkflowLoop = WorkflowLoop(self)  # type: ignore[abstract]  # the rest is set below its class
        self.endpoint = endpoint
        self.errors: Mapping[str, type[Exception]] = errors or {}
        self._function = function
        self._start_us = journal.start_time.ToMicroseconds()
        if expires_us is not None:
            self.loop.max_sleep_until = (expires_us - self._start_us) / 1e6
        self._max_journal_bytes = max_journal_bytes
        self.journal_bytes: int = journal.ByteSize()
        self._hash = hashlib.blake2b(key=journal.nonce, digest_size=8)
        self._expected: dict[int, Command] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._unsent = dict.fromkeys(journal.unsent)
        self._calls: dict[int, Call] = {}
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
        self.replaying = not fresh
        with self.loop.running():
            position = self._expect(entries, 0)
            self._main = self.loop.create_task(self._function(), name="workflow")
            self._drain()
            while position < total and self._problem is None:
                self._end_of_segment()
                entry = entries[position]
                position = self._expect(entries, position + 1)
                self._feed(entry)
            self._end_of_segment()
        self.replaying = False

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
                failure = failure_of_result(CallResult(error=error))
                for id in list(self.journal.polled):
                    entry = self._entry(id, now_us)
                    entry.outcome.failure.CopyFrom(failure)
                    self._record(entry)
            self.journal.ClearField("polled")
            self._wake(now_us)

    def take(self, result: CallResult, now_us: int) -> None:
        """Feed one result, and leave the timers alone."""
        entry = self._entry(result.correlation_id, now_us)
        if result.HasField("error"):
            entry.outcome.failure.CopyFrom(failure_of_result(result))
        else:
            entry.outcome.output.CopyFrom(result.output)
        with self.loop.running():
            self._record(entry)

    def wake(self, now_us: int) -> None:
        """Move the time on, and fire the timers that are due."""
        with self.loop.running():
            self._wake(now_us)

    def end_step(self, id: int, result: Any, error: BaseException | None, now_us: int) -> None:
        """Feed what a step returned, or the exception that it raised."""
        entry = self._entry(id, now_us)
        if error is None:
            try:
                output = entry.outcome.output
                output.type_url, output.value = _encode(result)
            except MarshalError as problem:
                error = MarshalError(f"the result of a step: {problem}")
        if error is not None:
            entry.outcome.failure.CopyFrom(failure_of(error))
        with self.loop.running():
            self._record(entry)

    def abandon(self) -> None:
        """Stop as soon as possible, and clean up: at once, or in the thread that drives this."""
        self.loop.closed = self.loop.stopped = True
        if not self.driven:
            self.discard()

    def discard(self) -> None:
        """Clean up. Nothing that the workflow's code does then has an effect."""
        self.loop.discard()

    # The state of affairs.

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
        return bool(self._unsent)

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

    def poll(self, now_us: int) -> Poll:
        """Make the Poll that suspends the workflow.

        Raises:
            WorkflowError: It waits for nothing that could ever come, or its journal is too large.
        """
        sent: list[int] = []
        size = 0
        for id in self._unsent:
            size += self._calls[id].ByteSize() + 8
            if sent and size > MAX_POLL_BYTES:
                break
            sent.append(id)
        poll = Poll(calls=[self._calls[id] for id in sent])
        for id in sent:
            del self._unsent[id]
        self.journal.ClearField("unsent")
        self.journal.unsent.extend(self._unsent)
        self.journal.ClearField("polled")
        self.journal.polled.extend(sent)
        open_ = [waiting for waiting in self._waiting.values() if not waiting.future.done()]
        next_us = self.next_wake_us()
        if not open_ and next_us is None:
            raise WorkflowError(
                "the workflow waits for something that never comes: only calls, steps and time "
                "wake a workflow, not futures of threads or of other event loops"
            )
        poll.min_results = min(max(len(open_), 1), MAX_RESULTS)
        if self._unsent or not (len(open_) == 1 or all(map(_waits_for_all, open_))):
            poll.min_results = 1
        poll.max_results = MAX_RESULTS
        wait_us = MAX_WAIT_SECONDS * 10**6
        if next_us is not None:
            wait_us = min(wait_us, next_us - now_us)
        if self._unsent:
            wait_us = 0
        poll.max_wait.FromMicroseconds(max(wait_us, 10**6))
        poll.typed_coroutine_state.CopyFrom(journals.encode(self.journal))
        return poll

    # What the code of a workflow asks for.

    def call(self, call: Call, wanted: Any, errors: Mapping[str, type[Exception]]) -> Any:
        """Make a call; returns the future of its result."""
        endpoint = "" if call.endpoint == self.endpoint else call.endpoint
        lane, number = self.loop.next_command()
        id = self._id(lane, number)
        if not self.replaying:
            self._unsent[id] = None
        if id in self._unsent:
            own = self._calls[id] = Call()
            own.CopyFrom(call)
            own.correlation_id = id
            own.endpoint = endpoint
        fields = (commands.CALL, call.function, endpoint, commands.digest(call.input), lane, number)
        return self._command(id, fields, wanted, errors)

    def step(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        wanted: Any,
    ) -> Any:
        """Ask for a step; returns the future of its result."""
        lane, number = self.loop.next_command()
        id = self._id(lane, number)
        fields = (commands.STEP, commands.name_of(function), "", 0, lane, number)
        future = self._command(id, fields, wanted, {})
        self._steps[id] = Step(id, function, args, kwargs)
        return future

    def patched(self, name: str) -> bool:
        """Tell whether the code is to take the new way."""
        if name not in self._patches:
            id = self._id(f"patch {name}", 0)
            if self.replaying:
                self._patches[name] = self._expected.pop(id, None) is not None
            else:
                self._patches[name] = True
                self._write(id, Command(kind=commands.PATCH, name=name))
        return self._patches[name]

    def now(self) -> datetime:
        """Return the time."""
        return datetime.fromtimestamp(0, UTC) + timedelta(
            microseconds=self._start_us + round(self.loop.time() * 1e6)
        )

    def random(self) -> random.Random:
        """Return the random numbers of the running task."""
        task = asyncio.current_task(self.loop)
        lane = task.lane if isinstance(task, LaneTask) else "callbacks"
        if lane not in self._randoms:
            seed = self._id(f"random {lane}", 0)
            self._randoms[lane] = random.Random(seed)  # noqa: S311
        return self._randoms[lane]

    # Within.

    def _id(self, lane: str, number: int) -> int:
        digest = self._hash.copy()
        digest.update(b"%b/%d" % (lane.encode(errors="backslashreplace"), number))
        return int.from_bytes(digest.digest(), "big") or 1

    def _command(
        self, id: int, fields: commands.Fields, wanted: Any, errors: Mapping[str, type[Exception]]
    ) -> asyncio.Future[Any]:
        future = self.loop.create_future()
        if self.replaying:
            before = self._expected.pop(id, None)
            if before is None or commands.fields_of(before) != fields:
                self._differs(before, commands.make(fields))
                return future
        else:
            self._write(id, commands.make(fields))
        task = asyncio.current_task(self.loop)
        self._waiting[id] = _Waiting(future, wanted, fields[0], errors, task)
        return future

    def _write(self, id: int, command: Command) -> None:
        self._append(JournalEntry(command_id=id, command=command))

    def _append(self, entry: JournalEntry) -> None:
        """Write an entry down, within the bound of the journal."""
        self.journal.entries.append(entry)
        self.journal_bytes += entry.ByteSize() + 3
        if self.journal_bytes > self._max_journal_bytes:
            self._stop(
                WorkflowError(
                    f"the journal of the workflow has grown over {self._max_journal_bytes} bytes "
                    f"(max_journal_bytes): end the run before by 'raise workflow.ContinueAsNew("
                    f"...)', or have functions keep large values and return where they are"
                )
            )

    def _differs(self, before: Command | None, now: Command | None) -> None:
        """Take note that the code does something else than before, and stop it."""
        if before is None:  # which of those that are still to come does it stand for?
            before = next((c for c in self._expected.values() if c.kind != commands.PATCH), None)
        version = self.journal.code_version
        self._stop(
            NondeterminismError(
                f"the workflow asks for {commands.describe(now)}, and its journal says that it "
                f"asked for {commands.describe(before)} at this place"
                f"{f' (begun by version {version!r} of the code)' if version else ''}: put the old "
                f"code back, or tell the old way from the new one by workflow.patched(); time, "
                f"random numbers, the order of sets and global state have to come from the journal"
            )
        )

    def _stop(self, problem: Exception) -> None:
        if self._problem is None:
            self._problem = problem
        self.loop.stopped = True

    def _expect(self, entries: Sequence[JournalEntry], position: int) -> int:
        """Collect the commands that the code makes next; returns where they end."""
        while position < len(entries) and entries[position].HasField("command"):
            entry = entries[position]
            self._expected[entry.command_id] = entry.command
            position += 1
        return position

    def _end_of_segment(self) -> None:
        """Check that the code has made all commands that it made before."""
        if self._expected and self._problem is None:
            missing = [c for c in self._expected.values() if c.kind != commands.PATCH]
            if missing:
                self._differs(missing[0], None)
            self._expected.clear()

    def _entry(self, id: int, now_us: int) -> JournalEntry:
        elapsed = max(now_us - self._start_us, round(self.loop.time() * 1e6), 0)
        return JournalEntry(command_id=id, elapsed_us=elapsed)

    def _record(self, entry: JournalEntry) -> None:
        """Write down what happened, and feed it; what nobody waits for is dropped."""
        waiting = self._waiting.get(entry.command_id)
        if entry.HasField("outcome") and (waiting is None or waiting.future.done()):
            return
        self._append(entry)
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
        outcome = entry.outcome
        if outcome.HasField("failure"):
            waiting.future.set_exception(self._error(outcome.failure, waiting))
        else:
            try:
                waiting.future.set_result(_decode(outcome.output, waiting.wanted))
            except Exception as error:  # noqa: BLE001  (types may decode themselves)
                waiting.future.set_exception(error)
        self._guard(self.loop.drain)

    def _error(self, failure: Failure, waiting: _Waiting) -> Exception:
        errors = {**self.errors, **waiting.errors} if waiting.errors else self.errors
        return error_of(failure, errors, is_step=waiting.kind == commands.STEP)

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


def _encode(value: Any) -> tuple[str, bytes]:
    return (value.type_url, value.value) if isinstance(value, AnyProto) else encode(value)


def _decode(value: AnyProto, wanted: Any) -> Any:
    if not value.type_url:
        return None
    return unmarshal(value) if wanted is None or wanted is Any else unmarshal(value, wanted)


def _waits_for_all(waiting: _Waiting) -> bool:
    """Tell whether the result of one call alone lets nothing go on.

    That is so for a task that does nothing but wait for the call, and for which gather or a
    TaskGroup waits together with others.
    """
    task: Any = waiting.task
    if task is None or getattr(task.get_coro(), "cr_code", None) is not run_call.__code__:
        return False
    callbacks = [getattr(callback, "__qualname__", "") for callback, _ in task._callbacks or ()]
    return bool(callbacks) and _BARRIERS.issuperset(callbacks)


_BARRIERS = frozenset({"gather.<locals>._done_callback", "TaskGroup._on_task_done"})
