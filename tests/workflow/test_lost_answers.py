"""An activation whose answer was lost runs again, and sees what its first run has caused."""

import asyncio
from typing import Any

from dispatch_grpc import CallError, Endpoint, Status, marshal, new_call, unmarshal, workflow
from dispatch_grpc.schema import Call, CallResult, PollResult, RunRequest, RunResponse

URL = "http://one.example.com"


def cancelled(call: Call) -> CallResult:
    """Return the result of a call that the first run has cancelled."""
    result = CallResult(correlation_id=call.correlation_id, dispatch_id="x")
    result.error.type, result.error.message = "CancelledError", "the call was cancelled"
    return result


def run_again(endpoint: Endpoint, first: RunResponse, results: list[CallResult]) -> Any:
    """Return the output of the second activation."""
    state = first.poll.typed_coroutine_state
    request = RunRequest(
        function="main", poll_result=PollResult(typed_coroutine_state=state, results=results)
    )
    response = asyncio.run(endpoint.run(request))
    assert Status(response.status) is Status.OK, response
    return unmarshal(response.exit.result.output)


def begin(endpoint: Endpoint) -> RunResponse:
    return asyncio.run(endpoint.run(RunRequest(function="main", input=marshal(None))))


def test_a_timeout_that_has_cancelled_its_call():
    endpoint = Endpoint(URL, env={})

    @endpoint.workflow
    async def main() -> str:
        try:
            async with asyncio.timeout(1.2):
                await workflow.run(new_call(URL, "slow"))
        except TimeoutError:
            return "late"
        return "in time"

    first = begin(endpoint)
    asyncio.run(asyncio.sleep(1.3))
    assert run_again(endpoint, first, [cancelled(one) for one in first.poll.calls]) == "late"


def test_a_step_that_fails_and_has_cancelled_a_call():
    endpoint = Endpoint(URL, env={})

    async def fail() -> None:
        await asyncio.sleep(0.1)
        raise ValueError("no stock")

    async def fail_after(name: str) -> None:
        await workflow.run(new_call(URL, name))
        await workflow.step(fail)

    @endpoint.workflow
    async def main() -> list[str]:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(workflow.run(new_call(URL, "slow")))
                group.create_task(fail_after("quick"))
        except ExceptionGroup as errors:
            return [str(error) for error in errors.exceptions]
        return []

    first = begin(endpoint)
    slow, quick = sorted(first.poll.calls, key=lambda call: call.function != "slow")
    done = CallResult(correlation_id=quick.correlation_id, dispatch_id="y", output=marshal(None))
    assert run_again(endpoint, first, [cancelled(slow), done]) == ["no stock"]


def test_a_call_that_somebody_else_cancelled():
    """The workflow waits for nothing else: it is told."""
    endpoint = Endpoint(URL, env={})

    @endpoint.workflow
    async def main() -> str:
        try:
            await workflow.run(new_call(URL, "slow"))
        except CallError as error:
            return error.type
        return ""

    first = begin(endpoint)
    assert run_again(endpoint, first, [cancelled(first.poll.calls[0])]) == "CancelledError"
