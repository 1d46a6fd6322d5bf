"""Results that come from outside, in the Runner, and with services that do not know of them."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from dispatch_grpc import (
    CallError,
    Endpoint,
    Pending,
    Status,
    UnmarshalError,
    current_call,
    marshal,
    unmarshal,
    workflow,
)
from dispatch_grpc.primitives import RunRequest, RunResponse, exit_, pending, poll
from dispatch_grpc.schema import CallResult, PollResult
from dispatch_grpc.testing import Runner
from tests.workflow.scheduler import Scheduler

URL = "http://one.example.com"


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(URL, env={})


def test_a_result_from_outside(endpoint: Endpoint):
    """Completed immediately, by a step, or a week later, by a function."""
    runner = Runner(endpoint, replay_every_step=True)

    @endpoint.function
    def answer(id: str) -> None:
        runner.complete(id, {"approved": True})

    @endpoint.workflow
    async def approve() -> list[Any]:
        first = await workflow.external(int)
        await workflow.step(runner.complete, first.id, 3)
        second = await workflow.external(dict[str, bool])
        assert repr(second) == f"<External {second.id}>"
        begin = workflow.now()
        asking = asyncio.ensure_future(second)
        await asyncio.sleep(7 * 24 * 3600)
        await answer.run(second.id)
        return [await first, await asking, (workflow.now() - begin).days]

    assert runner.run(approve.call()) == [3, {"approved": True}, 7]


def test_a_failure_from_outside(endpoint: Endpoint):
    endpoint.errors(LookupError)
    runner = Runner(endpoint)

    @endpoint.workflow
    async def approve() -> str:
        approval = await workflow.external()
        await workflow.step(runner.fail, approval.id, LookupError("nobody"))
        try:
            await approval
        except LookupError as error:
            return str(error)
        return ""

    assert runner.run(approve.call()) == "nobody"


def test_nobody_answers(endpoint: Endpoint):
    @endpoint.workflow
    async def waits(seconds: float | None) -> str:
        expiration = None if seconds is None else timedelta(seconds=seconds)
        approval = await workflow.external(bool, expiration=expiration)
        try:
            async with asyncio.timeout(3600):
                await approval
        except TimeoutError:
            return "late"
        except CallError as error:
            return error.message
        return "in time"

    runner = Runner(endpoint)
    assert runner.run(waits.call(None)) == "late"
    assert runner.run(waits.call(60)) == "the call is pending, and nobody completed it"


def test_a_pending_function(endpoint: Endpoint):
    runner = Runner(endpoint)

    @endpoint.function
    def review(answers: bool) -> str:
        if answers:
            runner.complete(current_call().dispatch_id, "fine")
        raise Pending

    @endpoint.primitive
    async def primitive(request: RunRequest) -> RunResponse:
        asyncio.get_running_loop().call_soon(runner.complete, request.dispatch_id, "fine")
        return pending()

    assert runner.run(review.call(True)) == "fine"
    assert runner.run(primitive.call()) == "fine"
    with pytest.raises(CallError, match="nobody completed it"):
        runner.run(review.call(False))


def test_a_pending_call_that_expired_is_not_run_again(endpoint: Endpoint):
    runs: list[str] = []

    @endpoint.function
    def review() -> None:
        runs.append(current_call().dispatch_id)
        raise Pending

    with pytest.raises(CallError, match="nobody completed it") as caught:
        Runner(endpoint, max_attempts=3).run(review.call())
    assert caught.value.status is Status.TIMEOUT
    assert len(runs) == 1


def test_pending_calls_of_one_correlation_id(endpoint: Endpoint):
    """A primitive need not number its calls."""
    runner = Runner(endpoint)
    ids: list[str] = []

    @endpoint.function
    async def review() -> str:
        ids.append(current_call().dispatch_id)
        if len(ids) == 2:
            await asyncio.sleep(0.1)  # the other one waits by now
            for id in ids:
                runner.complete(id, "fine")
        raise Pending

    @endpoint.primitive
    def both(request: RunRequest) -> RunResponse:
        if request.HasField("poll_result"):
            return exit_([unmarshal(one.output) for one in request.poll_result.results])
        return poll(calls=[review.call(), review.call()], min_results=2)

    assert runner.run(both.call()) == ["fine", "fine"]


def test_a_workflow_does_not_raise_pending(endpoint: Endpoint):
    @endpoint.workflow
    async def wrong(in_step: bool) -> None:
        def wait() -> None:
            raise Pending

        if in_step:
            await workflow.step(wait)
        raise Pending

    for in_step in (False, True):
        with pytest.raises(CallError, match=r"await workflow\.external\(\)"):
            Runner(endpoint).run(wrong.call(in_step))


@pytest.mark.parametrize("expiration", [60, timedelta(seconds=-1)])
def test_an_expiration_that_is_none(endpoint: Endpoint, expiration: Any):
    @endpoint.workflow
    async def approve() -> None:
        await workflow.external(expiration=expiration)

    with pytest.raises(CallError, match="expiration: a timedelta of zero or more is required"):
        Runner(endpoint).run(approve.call())


@pytest.mark.parametrize("shielded", [True, False])
def test_waiting_again_after_a_timeout(endpoint: Endpoint, shielded: bool):
    runner = Runner(endpoint, replay_every_step=True)

    @endpoint.workflow
    async def approve(shielded: bool) -> str:
        approval = await workflow.external(str)
        try:
            async with asyncio.timeout(3600):
                await (asyncio.shield(approval) if shielded else approval)
        except TimeoutError:
            await workflow.step(runner.complete, approval.id, "fine")
        return await approval

    if shielded:
        assert runner.run(approve.call(shielded)) == "fine"
    else:
        with pytest.raises(CallError, match=r"cannot be awaited again.*asyncio\.shield"):
            runner.run(approve.call(shielded))


def test_a_result_of_another_type(endpoint: Endpoint):
    """The workflow is told where it waits, and can ask again."""
    runner = Runner(endpoint)

    @endpoint.workflow
    async def approve() -> list[str | bool]:
        found: list[str | bool] = []
        for answer in ("yes", True):
            approval = await workflow.external(bool)
            await workflow.step(runner.complete, approval.id, answer)
            try:
                found.append(await approval)
            except UnmarshalError as error:
                found.append(str(error))
        return found

    wrong, right = runner.run(approve.call())
    assert "bool" in wrong
    assert right is True


def test_a_service_without_complete_call_is_told_of(endpoint: Endpoint):
    """It resumes the function after the Poll's time."""

    @endpoint.function
    def review() -> None:
        raise Pending

    @endpoint.workflow
    async def approve() -> None:
        await (await workflow.external())

    for name in ("review", "dispatch.external"):
        first = asyncio.run(endpoint.run(RunRequest(function=name, input=marshal(None))))
        assert (list(first.poll.calls), first.poll.max_wait.seconds) == ([], 1)
        state = first.poll.typed_coroutine_state
        again = RunRequest(function=name, poll_result=PollResult(typed_coroutine_state=state))
        response = asyncio.run(endpoint.run(again))
        assert Status(response.status) is Status.PERMANENT_ERROR
        assert "the service does not support CompleteCall" in response.exit.result.error.message


def test_the_id_is_known_once_the_call_is_recorded(endpoint: Endpoint):
    """Nothing is told of it in the activation that asks for it: its answer may be lost."""
    told: list[str] = []

    @endpoint.workflow
    async def approve() -> None:
        approval = await workflow.external()
        await workflow.step(told.append, approval.id)

    request = RunRequest(function="approve", input=marshal(None), dispatch_id="w")
    first, again = (asyncio.run(endpoint.run(request)).poll for _ in range(2))
    assert [call.function for call in first.calls] == ["dispatch.external", "dispatch.recorded"]
    assert first.calls[0].correlation_id != again.calls[0].correlation_id
    assert told == []
    done = CallResult(correlation_id=again.calls[1].correlation_id, output=marshal(None))
    resumed = PollResult(typed_coroutine_state=again.typed_coroutine_state, results=[done])
    for _ in range(2):
        request = RunRequest(function="approve", poll_result=resumed, dispatch_id="w")
        asyncio.run(endpoint.run(request))
    assert told == [f"w.{again.calls[0].correlation_id:016x}"] * 2


def test_a_service_that_does_not_accept_it(endpoint: Endpoint):
    @endpoint.workflow
    async def approve() -> str:
        try:
            await workflow.external()
        except CallError as error:
            return error.message
        return ""

    first = asyncio.run(endpoint.run(RunRequest(function="approve", input=marshal(None)))).poll
    refused = PollResult(typed_coroutine_state=first.typed_coroutine_state)
    refused.error.type, refused.error.message = "ResourceExhausted", "the queue is full"
    response = asyncio.run(endpoint.run(RunRequest(function="approve", poll_result=refused)))
    assert unmarshal(response.exit.result.output) == "the queue is full"


def test_a_workflow_that_is_cancelled_while_it_asks():
    """The call for the result is cancelled with it."""

    async def code() -> bool:
        asking = asyncio.ensure_future(workflow.external())
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        return asking.cancelled()

    assert Scheduler(code, random.Random(1)).run() is True


def test_outside_of_a_workflow():
    with pytest.raises(workflow.WorkflowError, match="external: this works in a workflow only"):
        asyncio.run(workflow.external())
