"""Workflows of any shape, under everything that a service may do to them, beside a model.

The model runs the same code once, from its start to its end, on the bare loop: without a journal,
without replays, and with plain futures. The workflow is run anew for each activation, from the
journal of the last Poll that was recorded. Both are told of the same events in the same order.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatch_grpc import CallError, Status, marshal, new_call, unmarshal, workflow
from dispatch_grpc.schema import CallResult, Journal, Poll
from dispatch_grpc.workflow.activation import Activation
from dispatch_grpc.workflow.loop import WorkflowLoop
from tests.workflow.scheduler import START_US, begin, resume

SHAPES = st.recursive(
    st.sampled_from(["call", "risk", "step", "sleep", "short", "yield", "uuid", "now"]),
    lambda inner: st.tuples(
        st.sampled_from(["seq", "gather", "group", "first", "timeout", "shield", "race"]),
        st.lists(inner, min_size=1, max_size=4),
    ),
    max_leaves=12,
)
OUTCOMES = st.sampled_from(["done", "done", "failed", "CancelledError"])


class World(Protocol):
    """What the code asks for."""

    async def call(self, path: str) -> Any: ...
    async def step(self, path: str) -> Any: ...
    def uuid(self, path: str) -> str: ...
    def now(self) -> datetime: ...


async def act(world: World, shape: Any, path: str) -> Any:
    """The code: what a shape stands for."""
    match shape:
        case "call":
            try:
                return await world.call(path)
            except CallError as error:
                return error.type
        case "risk":
            return await world.call(path)
        case "step":
            try:
                return await world.step(path)
            except ValueError as error:
                return str(error)
        case "sleep":
            return await asyncio.sleep(100, path)
        case "short":
            return await asyncio.sleep(1.5, path)
        case "yield":
            return await asyncio.sleep(0, path)
        case "uuid":
            return world.uuid(path)
        case "now":
            return world.now().isoformat()
    kind, parts = shape
    begun = (act(world, part, f"{path}.{number}") for number, part in enumerate(parts))
    if kind in {"seq", "shield"}:
        return [await (part if kind == "seq" else asyncio.shield(part)) for part in begun]
    inner = list(begun)
    match kind:
        case "gather":
            return await asyncio.gather(*inner)
        case "group":
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(part) for part in inner]
            return [task.result() for task in tasks]
        case "timeout":
            try:
                async with asyncio.timeout(2):
                    return await asyncio.gather(*inner)
            except TimeoutError:
                return "late"
    tasks = [asyncio.ensure_future(part) for part in inner]
    if kind == "race":
        for soon in asyncio.as_completed(tasks):
            await soon
        return [task.result() for task in tasks]
    done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    return len(done) > 0


def told(error: BaseException | None) -> Any:
    """An exception, so that it can be compared."""
    if isinstance(error, BaseExceptionGroup):
        return [told(one) for one in error.exceptions]
    return error if error is None else (type(error).__name__, str(error))


def error_of(outcome: str) -> CallError:
    return CallError(f"{outcome}!", type=outcome, status=Status.PERMANENT_ERROR)


class Workflow:
    """The world of the workflow. Ids and steps are those of one place in it."""

    def __init__(self) -> None:
        self.uuids: dict[str, str] = {}

    async def call(self, path: str) -> Any:
        return await workflow.run(new_call("http://one.example.com", "work", path))

    async def step(self, path: str) -> Any:
        return await workflow.step(str.upper, path)

    def uuid(self, path: str) -> str:
        """Every run finds the same."""
        found = str(workflow.uuid4())
        assert self.uuids.setdefault(path, found) == found
        return "a uuid"

    def now(self) -> datetime:
        return workflow.now()


class Model:
    """The world of the model, and what drives it."""

    def __init__(self, shape: Any) -> None:
        self.open: dict[str, asyncio.Future[Any]] = {}
        self._loop: Any = WorkflowLoop()  # type: ignore[abstract]
        with self._loop.running():
            self.main = self._loop.create_task(act(self, shape, "0"))
            self._loop.drain()

    async def call(self, path: str) -> Any:
        self.open[path] = self._loop.create_future()
        return await self.open[path]

    step = call

    def uuid(self, path: str) -> str:
        return "a uuid"

    def now(self) -> datetime:
        return datetime.fromtimestamp(START_US / 1e6, UTC) + timedelta(seconds=self._loop.time())

    def end(self, path: str, value: Any, error: Exception | None, now_us: int) -> None:
        """Something ends that the code may wait for."""
        future = self.open.get(path)
        if self.main.done() or future is None or future.done():
            return
        with self._loop.running():
            self._loop.advance((now_us - START_US) / 1e6)
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
            self._loop.drain()

    def wake(self, now_us: int) -> None:
        """Time has passed."""
        when = self._loop.next_timer()
        if not self.main.done() and when is not None and when <= (now_us - START_US) / 1e6:
            with self._loop.running():
                self._loop.advance((now_us - START_US) / 1e6)
                self._loop.fire()

    def waits_for(self) -> set[str]:
        return {path for path, future in self.open.items() if not future.done()}

    def close(self) -> None:
        self._loop.discard()


@dataclass
class Recorded:
    """What the service knows."""

    poll: Poll
    calls: dict[int, str] = field(default_factory=dict)
    """Calls that it has recorded and whose results it has not delivered: ids and paths."""
    past: list[CallResult] = field(default_factory=list)
    """Results that it has delivered."""


class Machine(RuleBasedStateMachine):
    """A service, a workflow and its model."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = START_US
        self.world = Workflow()
        self.ended: tuple[Any, Any] | None = None
        self.recorded: Recorded | None = None
        self.model: Model | None = None
        self.journal = Journal()
        self.paths: dict[int, str] = {}  # of every call that was ever made

    def code(self) -> Any:
        return act(self.world, self.shape, "0")

    @initialize(shape=SHAPES)
    def make(self, shape: Any) -> None:
        self.shape = shape
        self.model = Model(shape)

    # What the service does.

    @precondition(lambda self: self.ended is None)
    @rule(data=st.data(), lost=st.booleans(), seconds=st.sampled_from([0, 0, 0.3, 1.5, 2, 120]))
    def go_on(self, data: Any, lost: bool, seconds: float) -> None:
        """Some time later: results of some calls, in any order, and others that are not awaited."""
        self.now_us += round(seconds * 1e6) + 1000
        known = self.recorded
        results: list[CallResult] = []
        if known is not None:
            paths = list(known.calls.items())
            some = data.draw(st.lists(st.sampled_from(paths), unique=True)) if paths else []
            for id, path in some:
                results.append(self.result(id, path, data.draw(OUTCOMES)))
            if known.past and data.draw(st.booleans()):  # once more
                results.append(data.draw(st.sampled_from(known.past)))
            if data.draw(st.booleans()):  # of a call that never was
                results.append(self.result(data.draw(st.integers(1, 2**64 - 1)), "?", "done"))
            results = data.draw(st.permutations(results))
        self.activate(results, data, lost=lost)

    @precondition(lambda self: self.ended is None and self.recorded is not None)
    @rule(data=st.data())
    def wait(self, data: Any) -> None:
        """The Poll's time is over."""
        assert self.recorded is not None
        self.now_us += self.recorded.poll.max_wait.ToMicroseconds()
        self.activate([], data, lost=False)

    @precondition(lambda self: bool(self.recorded or self.ended))
    @rule()
    def replay(self) -> None:
        """Another process looks at the journal: nothing new comes of it."""
        before = self.journal.SerializeToString(deterministic=True)
        copy = Journal()
        copy.CopyFrom(self.journal)
        activation = Activation(self.code, copy)
        activation.start()
        try:
            assert self.outcome(activation) == self.ended
            assert activation.journal.SerializeToString(deterministic=True) == before
            assert self.model is not None
            if self.ended is None:
                assert self.waits_for(activation) == self.model.waits_for()
        finally:
            activation.discard()

    def result(self, id: int, path: str, outcome: str) -> CallResult:
        result = CallResult(correlation_id=id, dispatch_id="x")
        if outcome == "done":
            result.output.CopyFrom(marshal(path))
        else:
            result.error.type, result.error.message = outcome, f"{outcome}!"
        return result

    def activate(self, results: list[CallResult], data: Any, *, lost: bool) -> None:
        """Run an activation; when its answer is lost, nothing of it has happened."""
        events: list[Callable[[Model], None]] = []
        known = self.recorded
        if known is None:
            activation = begin(self.code)
        else:
            activation = resume(self.code, known.poll)
            now_us = self.now_us
            activation.deliver(results, None, now_us)
            events += [self.ending(result, now_us) for result in results]
            events.append(partial(Model.wake, now_us=now_us))
        try:
            self.run_steps(activation, data, events)
            if lost:
                return
            assert self.model is not None
            for event in events:
                event(self.model)
            self.record(activation, results)
        finally:
            activation.discard()

    def ending(self, result: CallResult, now_us: int) -> Callable[[Model], None]:
        assert self.recorded is not None
        path = self.paths.get(result.correlation_id, "?")
        if result.HasField("error"):
            error = error_of(result.error.type)
            return lambda model: model.end(path, None, error, now_us)
        return lambda model: model.end(path, unmarshal(result.output), None, now_us)

    def run_steps(
        self, activation: Activation, data: Any, events: list[Callable[[Model], None]]
    ) -> None:
        """Run the steps of an activation, which end in any order, and fail or not."""
        steps = []
        while not activation.done:
            while (step := activation.next_step()) is not None:
                steps.append(step)
            if not steps:
                return
            step = steps.pop(data.draw(st.integers(0, len(steps) - 1)))
            (path,) = step.args
            error = ValueError(f"no {path}") if data.draw(st.booleans()) else None
            value = None if error else path.upper()
            self.now_us += data.draw(st.sampled_from([1000, 1_600_000]))
            activation.end_step(step.id, value, error, self.now_us)
            activation.wake(self.now_us)

            ends = partial(Model.end, path=path, value=value, error=error, now_us=self.now_us)
            events += [ends, partial(Model.wake, now_us=self.now_us)]

    def record(self, activation: Activation, results: list[CallResult]) -> None:
        """The service takes the answer; the model is where the workflow is."""
        assert self.model is not None
        self.ended = self.outcome(activation)
        assert (self.ended is not None) == self.model.main.done()
        if self.ended is None:
            assert self.waits_for(activation) == self.model.waits_for()
            poll = activation.poll(self.now_us)
            known = self.recorded or Recorded(poll)
            known.poll = poll
            for result in results:
                if known.calls.pop(result.correlation_id, None) is not None:
                    known.past.append(result)
            for call in poll.calls:
                assert call.correlation_id not in self.paths, "it was made twice"
                known.calls[call.correlation_id] = unmarshal(call.input)
                self.paths[call.correlation_id] = unmarshal(call.input)
            self.recorded = known
        self.journal.CopyFrom(activation.journal)

    def outcome(self, activation: Activation) -> tuple[Any, Any] | None:
        if not activation.done:
            return None
        result, error = activation.outcome
        return result, told(error)

    def waits_for(self, activation: Activation) -> set[str]:
        return {
            self.paths[id] if id in self.paths else unmarshal(activation._calls[id].input)
            for id, waiting in activation._waiting.items()
            if not waiting.future.done()
        }

    @invariant()
    def the_result_is_that_of_the_model(self) -> None:
        if self.ended is not None and self.model is not None:
            error = self.model.main.exception()
            result = None if error else self.model.main.result()
            assert self.ended == (result, told(error))

    def teardown(self) -> None:
        if self.model is not None:
            self.model.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
