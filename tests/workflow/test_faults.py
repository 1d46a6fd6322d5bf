"""Failures, cancellation, steps, and code that does not do what it did before."""

import asyncio
import contextlib
import contextvars
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from dispatch_grpc import CallError, Endpoint, Status, current_call, marshal, new_call, workflow
from dispatch_grpc.schema import RunRequest
from dispatch_grpc.testing import Runner
from tests.workflow.scheduler import START_US, answer, begin, resume

URL = "http://one.example.com"


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(URL, env={})


def call(name: str, input: Any = None) -> Any:
    return workflow.run(new_call(URL, name, input))


def failed(endpoint: Endpoint, function: Any, *args: Any) -> CallError:
    with pytest.raises(CallError) as caught:
        Runner(endpoint, replay_every_step=True).run(function.call(*args))
    return caught.value


# What calls fail with.


class OutOfStockError(Exception):
    status = Status.PERMANENT_ERROR

    def __init__(self, item: str, left: int) -> None:
        super().__init__(item, left)
        self.item, self.left = item, left


def test_a_failed_call_raises_call_error(endpoint: Endpoint):
    @endpoint.function
    def refuse() -> None:
        raise OutOfStockError("tea", 0)

    @endpoint.workflow
    async def order() -> list[Any]:
        try:
            await refuse.run()
        except CallError as error:
            return [error.type.rpartition(".")[2], error.message, error.status.name]
        return []

    found = Runner(endpoint, replay_every_step=True).run(order.call())
    assert found == ["OutOfStockError", "('tea', 0)", "PERMANENT_ERROR"]


def test_a_registered_class_is_raised_as_itself(endpoint: Endpoint):
    endpoint.errors(OutOfStockError)

    @endpoint.function
    def refuse() -> None:
        raise OutOfStockError("tea", 3)

    @endpoint.workflow
    async def order() -> list[Any]:
        try:
            await refuse.run()
        except OutOfStockError as error:
            return [error.item, error.left]
        return []

    assert Runner(endpoint, replay_every_step=True).run(order.call()) == ["tea", 3]
    with pytest.raises(workflow.WorkflowError, match="classes of exceptions"):
        endpoint.errors("OutOfStockError")  # type: ignore[arg-type]


def test_a_remote_function(endpoint: Endpoint):
    @dataclass
    class Reservation:
        number: int

    class NoRoomError(Exception):
        status = Status.PERMANENT_ERROR

    other = Endpoint("http://two.example.com", env={})
    other.errors(NoRoomError)

    @other.function(name="reserve")
    def reserve_there(rooms: int) -> Reservation:
        if rooms > 2:
            raise NoRoomError(f"not {rooms}")
        return Reservation(rooms)

    reserve = endpoint.remote(
        "http://two.example.com", "reserve", returns=Reservation, raises=[NoRoomError]
    )

    @endpoint.workflow
    async def book() -> list[Any]:
        first = await reserve.run(2)
        assert isinstance(first, Reservation)
        try:
            await reserve.run(3)
        except NoRoomError as error:
            return [first.number, str(error)]
        return []

    assert Runner(endpoint, other).run(book.call()) == [2, "not 3"]
    assert reserve.call(2) == new_call("http://two.example.com", "reserve", 2)
    assert reserve.call(rooms=2) == new_call("http://two.example.com", "reserve", {"rooms": 2})
    with pytest.raises(TypeError, match="reserve: an input is one value"):
        reserve.call(1, 2)


def test_several_failures_are_a_group(endpoint: Endpoint):
    @endpoint.function
    def refuse(number: int) -> None:
        raise OutOfStockError("tea", number)

    @endpoint.workflow
    async def order() -> list[str]:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(refuse.run(number))
        except ExceptionGroup as errors:
            return [error.message for error in errors.exceptions if isinstance(error, CallError)]
        return []

    found = Runner(endpoint).run(order.call())
    assert found
    assert set(found) <= {f"('tea', {number})" for number in range(3)}


def test_an_output_of_another_type(endpoint: Endpoint):
    @endpoint.workflow
    async def order() -> str:
        try:
            await workflow.run(text.call(), int)
        except workflow.WorkflowError:
            return "workflow"
        except ValueError as error:
            return str(error)
        return ""

    @endpoint.function
    def text() -> str:
        return "text"

    assert "int" in Runner(endpoint, replay_every_step=True).run(order.call())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no"), Status.PERMANENT_ERROR),
        (ConnectionError("no"), Status.PERMANENT_ERROR),
        (CallError("no", type="X", status=Status.TIMEOUT), Status.PERMANENT_ERROR),
        (CallError("no", type="X", status=Status.NOT_FOUND), Status.NOT_FOUND),
        (SystemExit(3), Status.PERMANENT_ERROR),
        (KeyboardInterrupt(), Status.PERMANENT_ERROR),
        (asyncio.CancelledError(), Status.PERMANENT_ERROR),
        (BaseException("no"), Status.PERMANENT_ERROR),
        (ExceptionGroup("all", [ValueError("no")]), Status.PERMANENT_ERROR),
    ],
)
def test_what_a_workflow_raises_is_final(endpoint: Endpoint, error: BaseException, status: Status):
    @endpoint.function
    def nothing() -> None:
        pass

    @endpoint.workflow
    async def breaks() -> None:
        await nothing.run()
        raise error

    assert failed(endpoint, breaks).status is status


def test_a_poll_that_failed_fails_its_calls():
    async def code() -> list[str]:
        found = await asyncio.gather(call("a"), call("b"), return_exceptions=True)
        return [str(error) for error in found]

    activation = begin(code)
    poll = activation.poll(START_US)
    activation.discard()
    activation = resume(code, poll)
    from dispatch_grpc.schema import Error

    activation.deliver([], Error(type="INVALID_ARGUMENT", message="calls[0]: no"), START_US)
    result, error = activation.outcome
    assert error is None
    assert result == ["INVALID_ARGUMENT: calls[0]: no [INVALID_ARGUMENT]"] * 2
    activation.discard()


# Steps.


def test_steps(endpoint: Endpoint):
    done: list[str] = []

    def local(name: str, *, times: int = 1) -> tuple[str, int]:
        done.append(name)
        return name, times

    async def remote(seconds: float) -> timedelta:
        await asyncio.sleep(seconds)  # on the endpoint's own loop
        done.append("remote")
        return timedelta(seconds=1)

    @endpoint.function
    def pause() -> None:
        pass

    @endpoint.workflow
    async def steps() -> list[Any]:
        first = await workflow.step(local, "a", times=2)
        await pause.run()
        both = await asyncio.gather(
            workflow.step(remote, 0.05), workflow.step(partial(local, times=5), "b")
        )
        await pause.run()
        return [first, *both, isinstance(first, tuple)]

    found = Runner(endpoint, replay_every_step=True).run(steps.call())
    assert found == [["a", 2], "1s", ["b", 5], True] or found[1] == "PT1S"
    assert sorted(done) == ["a", "b", "remote"]


def test_steps_run_at_once(endpoint: Endpoint):
    async def wait(event: asyncio.Event, other: asyncio.Event) -> None:
        event.set()
        await asyncio.wait_for(other.wait(), 30)

    @endpoint.workflow
    async def meet() -> str:
        one, two = asyncio.Event(), asyncio.Event()
        await asyncio.gather(
            workflow.step(wait, one, two),
            workflow.step(wait, two, one),
        )
        return "met"

    assert Runner(endpoint).run(meet.call()) == "met"


def test_a_step_that_fails(endpoint: Endpoint):
    def breaks(kind: type[Exception]) -> None:
        raise kind("no", 1)

    @endpoint.workflow
    async def tries() -> list[str]:
        found = []
        for kind in (ValueError, KeyError, OutOfStockError):
            try:
                await workflow.step(breaks, kind)
            except ValueError as error:
                found.append(f"value {error.args}")
            except KeyError as error:
                found.append(f"key {error.args}")
            except CallError as error:
                found.append(error.type.rpartition(".")[2])
        return found

    found = Runner(endpoint, replay_every_step=True).run(tries.call())
    assert found == ["value ('no', 1)", "key ('no', 1)", "OutOfStockError"]


def test_a_result_of_a_step_that_has_no_representation(endpoint: Endpoint):
    @endpoint.workflow
    async def tries() -> None:
        await workflow.step(object)

    assert "no representation" in failed(endpoint, tries).message


def test_a_step_is_given_up_by_a_timeout(endpoint: Endpoint):
    release = Future[None]()

    @endpoint.workflow
    async def tries() -> str:
        try:
            async with asyncio.timeout(0.2):
                await workflow.step(release.result, 60)
        except TimeoutError:
            return "given up"
        return "done"

    try:
        assert Runner(endpoint).run(tries.call()) == "given up"
    finally:
        release.set_result(None)


# Cancellation, and what is left of a workflow that is suspended.


def test_a_cancelled_task_does_not_wait_for_its_call(endpoint: Endpoint):
    @endpoint.workflow
    async def never() -> None:
        await asyncio.sleep(10**6)

    @endpoint.workflow
    async def cancels() -> str:
        task = asyncio.create_task(never.run())
        await asyncio.sleep(10)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return "cancelled"
        return "done"

    assert Runner(endpoint, replay_every_step=True).run(cancels.call()) == "cancelled"


def test_suspension_throws_nothing_into_the_code(endpoint: Endpoint):
    caught: list[str] = []

    @endpoint.function
    def pause() -> None:
        pass

    @endpoint.workflow
    async def greedy() -> str:
        for _ in range(3):
            try:
                await pause.run()
            except BaseException as error:
                caught.append(type(error).__name__)
                raise
        return "done"

    assert Runner(endpoint).run(greedy.call()) == "done"
    assert set(caught) <= {"GeneratorExit"}


def test_a_finally_of_a_suspended_workflow_has_no_effect(endpoint: Endpoint):
    effects: list[str] = []

    @endpoint.function
    def effect(name: str) -> None:
        effects.append(name)

    @endpoint.workflow
    async def careful() -> None:
        try:
            await effect.run("work")
            await asyncio.sleep(100)
        finally:
            await effect.run("clean up")
            await workflow.step(effects.append, "step")

    Runner(endpoint, replay_every_step=True).run(careful.call())
    assert effects == ["work", "clean up", "step"]


def test_generators_context_managers_and_context_variables(endpoint: Endpoint):
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="none")

    @endpoint.function
    def double(number: int) -> int:
        return 2 * number

    async def doubles() -> AsyncIterator[int]:
        try:
            for number in range(10):
                yield await double.run(number)
        finally:
            await double.run(0)

    @asynccontextmanager
    async def acting(name: str) -> AsyncIterator[None]:
        token = user.set(name)
        try:
            yield
        finally:
            await double.run(1)
            user.reset(token)

    @endpoint.workflow
    async def works() -> list[Any]:
        found: list[Any] = []
        async with acting("ada"):
            async for number in doubles():
                found.append((number, user.get()))
                if number == 4:
                    break
            found.append(await asyncio.create_task(named()))
        return [*found, user.get()]

    async def named() -> str:
        await double.run(5)
        return user.get()

    found = Runner(endpoint, replay_every_step=True).run(works.call())
    assert found == [[0, "ada"], [2, "ada"], [4, "ada"], "ada", "none"]


# What a workflow cannot do.


def test_there_is_no_io_on_the_loop(endpoint: Endpoint):
    @endpoint.workflow
    async def reads() -> list[str]:
        loop = asyncio.get_running_loop()
        found = []
        for act in (
            lambda: asyncio.to_thread(len, ""),
            lambda: asyncio.open_connection("127.0.0.1", 1),
            lambda: loop.getaddrinfo("localhost", 1),
            lambda: loop.run_in_executor(None, len, ""),
            lambda: asyncio.create_subprocess_exec("true"),
        ):
            try:
                await act()  # type: ignore[no-untyped-call]
            except workflow.WorkflowError as error:
                found.append(str(error))
        return found

    found = Runner(endpoint).run(reads.call())
    assert len(found) == 5
    assert all("do it in a step" in text for text in found)


def test_what_never_comes(endpoint: Endpoint):
    @endpoint.workflow
    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    error = failed(endpoint, waits)
    assert "never comes" in error.message
    assert error.status is Status.PERMANENT_ERROR


def test_a_future_of_another_loop(endpoint: Endpoint):
    other = asyncio.new_event_loop()

    @endpoint.workflow
    async def waits() -> None:
        await other.create_future()

    try:
        assert "different loop" in failed(endpoint, waits).message
    finally:
        other.close()


def test_a_workflow_without_end(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dispatch_grpc.workflow.loop._MAX_TURNS", 10_000)

    @endpoint.workflow
    async def spins() -> None:
        while True:
            await asyncio.sleep(0)

    assert "without waiting" in failed(endpoint, spins).message


def test_a_workflow_that_blocks_its_thread(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("dispatch_grpc.workflow.driver._BLOCKED_SECONDS", 0.05)

    @endpoint.workflow
    async def blocks() -> str:
        while "does it block" not in caplog.text:
            time.sleep(0.01)
        return "warned"

    assert Runner(endpoint).run(blocks.call()) == "warned"


def test_a_server_that_ends_leaves_nothing_of_a_workflow(endpoint: Endpoint):
    asyncio.run(end_in_a_step(endpoint))


async def end_in_a_step(endpoint: Endpoint) -> None:
    effects: list[str] = []
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.sleep(60)

    @endpoint.workflow
    async def steps() -> None:
        try:
            await workflow.step(wait)
        finally:
            await workflow.step(effects.append, "cleaned up")

    running = asyncio.create_task(endpoint.run(RunRequest(function="steps", input=marshal(None))))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    gc.collect()
    assert effects == []


def test_a_call_that_expires_while_it_waits(endpoint: Endpoint):
    @endpoint.workflow
    async def never() -> None:
        await asyncio.sleep(20 * 24 * 3600)

    @endpoint.workflow(expiration=timedelta(days=3))
    async def waits() -> None:
        await never.run()

    assert failed(endpoint, waits).status is Status.TIMEOUT


def test_a_sleep_past_the_expiration(endpoint: Endpoint):
    @endpoint.workflow
    async def sleeps() -> None:
        async with asyncio.timeout(10**7):  # may be longer
            await asyncio.sleep(3600)
        await asyncio.sleep(31 * 24 * 3600)

    error = failed(endpoint, sleeps)
    assert "after the call expires" in error.message
    longer = sleeps.with_options(expiration=timedelta(days=40))
    Runner(endpoint).run(longer.call())


def test_a_workflow_is_an_async_function(endpoint: Endpoint):
    with pytest.raises(workflow.WorkflowError.__mro__[1], match="an async function is required"):

        @endpoint.workflow  # type: ignore[arg-type]
        def sync() -> None:
            pass


def test_outside_of_a_workflow(endpoint: Endpoint):
    @endpoint.function
    def pause() -> None:
        pass

    @endpoint.function
    async def tries() -> str:
        try:
            await pause.run()
        except workflow.WorkflowError as error:
            return str(error)
        return ""

    assert "in a workflow only" in Runner(endpoint).run(tries.call())
    for act in (workflow.now, workflow.random, workflow.uuid4, lambda: workflow.patched("x")):
        with pytest.raises(workflow.WorkflowError, match="in a workflow only"):
            act()
    assert not workflow.is_replaying()


def test_tasks_that_are_left(endpoint: Endpoint, caplog: pytest.LogCaptureFixture):
    @endpoint.function
    def pause() -> None:
        pass

    @endpoint.workflow
    async def leaves() -> str:
        task = asyncio.create_task(pause.run())
        await asyncio.sleep(0)
        return f"done {task.done()}"

    assert Runner(endpoint).run(leaves.call()) == "done False"
    assert "returned while 1 of its tasks were running" in caplog.text


def test_a_swallowed_cancellation_is_only_that(endpoint: Endpoint):
    @endpoint.function
    def pause() -> str:
        return "paused"

    @endpoint.workflow
    async def never() -> None:
        await asyncio.sleep(10**6)

    @endpoint.workflow
    async def stubborn() -> str:
        async def inner() -> str:
            with contextlib.suppress(asyncio.CancelledError):
                await never.run()
            return await pause.run()

        task = asyncio.create_task(inner())
        await asyncio.sleep(5)
        task.cancel()
        return await task

    assert Runner(endpoint, replay_every_step=True).run(stubborn.call()) == "paused"


# Time, random numbers, the call, logs.


def test_now_random_uuid_and_the_call(endpoint: Endpoint):
    seen: list[Any] = []
    replays: list[bool] = []

    @endpoint.function
    def pause() -> None:
        pass

    @endpoint.workflow
    async def looks() -> str:
        seen.append((workflow.now(), workflow.random().random(), workflow.uuid4()))
        replays.append(current_call().replaying)
        await pause.run()
        return current_call().dispatch_id

    assert Runner(endpoint).run(looks.call())
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert seen[0][2].version == 4
    assert replays == [False, True]


def test_logs_of_a_replay_are_dropped(endpoint: Endpoint, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)

    @endpoint.function
    def pause() -> None:
        pass

    @endpoint.workflow
    async def talks() -> None:
        workflow.logger.info("begin")
        await pause.run()
        await pause.run()
        workflow.logger.info("end")

    Runner(endpoint).run(talks.call())
    assert [record.message for record in caplog.records] == ["begin", "end"]


# Code that does not do what it did before.


def replayed(before: Callable[[], Any], after: Callable[[], Any]) -> str:
    """The error about new code that replays the journal of the old code, after one result."""
    activation = begin(before)
    poll = activation.poll(START_US)
    activation.discard()
    activation = resume(before, poll)
    activation.deliver([answer(call) for call in poll.calls], None, START_US)
    if not activation.done:
        poll = activation.poll(START_US)
    activation.discard()
    activation = resume(after, poll)
    _, error = activation.outcome
    activation.discard()
    assert error is None or isinstance(error, workflow.NondeterminismError)
    return str(error or "")


async def old() -> None:
    await call("a", 1)
    await call("b", 2)


async def other_input() -> None:
    await call("a", 3)
    await call("b", 2)


async def other_name() -> None:
    await call("a", 1)
    await call("c", 2)


async def one_more() -> None:
    await call("a", 1)
    await asyncio.gather(call("b", 2), call("d", 2))


async def one_less() -> None:
    await call("a", 1)


async def a_step_now() -> None:
    await call("a", 1)
    await workflow.step(len, "")


async def caught_all() -> None:
    for input in (7, 8):
        with contextlib.suppress(BaseException):
            await call("a", input)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (old, []),
        (other_input, ["the call of 'a' of its endpoint with input", "asked for the call of 'a'"]),
        (other_name, ["asks for the call of 'c'", "asked for the call of 'b'"]),
        (one_more, ["(command 1 of task 0.1)", "(command 2 of task 0)"]),
        (one_less, ["asks for nothing more", "asked for the call of 'b'"]),
        (a_step_now, ["asks for the step 'len'", "asked for the call of 'b'"]),
        (caught_all, ["the call of 'a'"]),
    ],
)
def test_other_code_is_told(new: Callable[[], Any], words: list[str]):
    text = replayed(old, new).replace(f"at {URL}", "of its endpoint")
    assert all(word in text for word in words)
    assert bool(text) == bool(words)


def test_code_that_is_patched():
    ways: list[bool] = []

    async def patched() -> None:
        await call("a", 1)
        ways.append(workflow.patched("check"))
        if workflow.patched("check"):
            await call("check")
        await call("b", 2)

    assert replayed(old, patched) == ""  # a call in flight goes on in the old way
    assert ways == [False]
    assert replayed(patched, patched) == ""  # a new one takes the new way
    assert ways == [False, True, True]
    assert "the call of 'check'" in replayed(patched, old)

    async def without_the_patch() -> None:
        await call("a", 1)
        await call("check")
        await call("b", 2)

    assert replayed(patched, without_the_patch) == ""


def test_nondeterminism_is_tried_again(endpoint: Endpoint):
    ticks: Iterator[int] = iter(range(100))

    @endpoint.function
    def pause(number: int) -> None:
        pass

    @endpoint.workflow
    async def ticking() -> None:
        await pause.run(next(ticks))
        await pause.run(0)

    with pytest.raises(CallError, match="asked for the call of 'pause'") as caught:
        Runner(endpoint).run(ticking.call())
    assert caught.value.status is Status.TEMPORARY_ERROR


@pytest.mark.parametrize(
    "source",
    [
        time.time,
        lambda: __import__("random").random(),
        lambda: [str(one) for one in {object() for _ in range(20)}],
    ],
)
def test_replay_every_step_finds_what_is_not_of_the_journal(endpoint: Endpoint, source: Any):
    @endpoint.workflow
    async def traps() -> Any:
        return source()

    error = failed(endpoint, traps)
    assert "NondeterminismError" in error.type
    assert error.status is Status.TEMPORARY_ERROR


def test_continue_as_new(endpoint: Endpoint):
    runs: list[int] = []

    @endpoint.function
    def note(left: int) -> None:
        runs.append(left)

    @endpoint.workflow
    async def countdown(left: int, word: str = "end") -> str:
        await note.run(left)
        if left:
            try:
                raise workflow.ContinueAsNew(left - 1, word="over")
            except Exception:
                pytest.fail("it is not an error")
        return word

    assert Runner(endpoint, replay_every_step=True).run(countdown.call(3)) == "over"
    assert runs == [3, 2, 1, 0]


def test_continue_as_new_with_wrong_arguments(endpoint: Endpoint):
    @endpoint.workflow
    async def again(left: int) -> None:
        raise workflow.ContinueAsNew(1, 2)

    assert failed(endpoint, again, 3).status is Status.PERMANENT_ERROR
