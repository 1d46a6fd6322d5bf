"""An activation whose answer is lost runs again, and nothing of the first run has happened.

What a first run cancelled is cancelled only once the service has recorded that it did: otherwise
the second run, which may take another way, would wait for a call that was cancelled.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dispatch_grpc import CallError, CallState, Client, Endpoint, Status, workflow
from dispatch_grpc.endpoint.cancelling import CANCEL
from dispatch_grpc.schema import CallResult, PollResult, RunRequest, RunResponse
from dispatch_grpc.testing import serve_app
from dispatch_grpc.values import marshal, unmarshal
from tests.conftest import data_dir, run_service
from tests.waiting import until

URL = "http://one.example.com"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        data_dir() as folder,
        run_service(folder) as service,
        Client(service.api_key, api_url=service.url) as client,
    ):
        yield client


class Lossy:
    """An endpoint whose next answer is lost when `lose_next` is set."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._app = endpoint.app
        self.lose_next = False
        self.lost = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def swallow(message: Any) -> None:
            if not self.lose_next:
                await send(message)
            elif message["type"] == "http.response.start":
                await send({**message, "status": 503, "headers": []})
            elif not message.get("more_body"):
                self.lose_next = False
                self.lost += 1
                await send({"type": "http.response.body", "body": b""})

        await self._app(scope, receive, swallow)


@contextmanager
def served(endpoint: Endpoint) -> Iterator[Lossy]:
    lossy = Lossy(endpoint)
    with serve_app(lossy) as server:
        endpoint.url = server.url
        yield lossy


def test_a_lost_answer_has_cancelled_nothing(client: Client):
    """The step fails in the first run only: the second one needs the call."""
    endpoint = Endpoint(URL, client=client)
    go_on, runs = asyncio.Event(), []

    @endpoint.function
    async def slow() -> str:
        await go_on.wait()
        return "slow"

    @endpoint.function
    def quick() -> None:
        pass

    async def check() -> None:
        runs.append(1)
        lossy.lose_next = len(runs) == 1
        if len(runs) == 1:
            raise ValueError("no stock")
        asyncio.get_running_loop().call_later(1, go_on.set)

    @endpoint.workflow
    async def main() -> str:
        async with asyncio.TaskGroup() as group:
            found = group.create_task(slow.run())
            await quick.run()
            await workflow.step(check)
        return found.result()

    with served(endpoint) as lossy:
        assert client.wait(client.dispatch(main.call()), timeout=90) == "slow"
    assert (len(runs), lossy.lost) == (2, 1)


def test_what_an_ended_workflow_cancelled_is_cancelled(client: Client):
    """Also when the answer that says so is lost."""
    endpoint = Endpoint(URL, client=client)
    ended: list[str] = []

    @endpoint.function
    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("slow")

    @endpoint.workflow
    async def main() -> str:
        lossy.lose_next = not lossy.lost
        try:
            async with asyncio.timeout(2):
                await slow.run()
        except TimeoutError:
            lossy.lose_next = lossy.lost == 1
            raise ValueError("late") from None
        return "in time"

    with served(endpoint) as lossy:
        id = client.dispatch(main.call())
        with pytest.raises(CallError, match="late"):
            client.wait(id, timeout=90)
        calls = {call.function: call for call in client.list(parent=id)}
        assert calls.keys() == {"slow", CANCEL}
        assert calls["slow"].state is CallState.FINISHED
        assert lossy.lost == 2
        until(lambda: ended == ["slow"])


def run(endpoint: Endpoint, request: RunRequest) -> RunResponse:
    return asyncio.run(endpoint.run(request))


@pytest.mark.parametrize("input", [None, ["x"], [1], "0"])
def test_what_is_no_list_of_calls_cancels_nothing(input: Any):
    response = run(Endpoint(URL, env={}), RunRequest(function=CANCEL, input=marshal(input)))
    assert Status(response.status) is Status.INVALID_ARGUMENT


def test_a_process_without_a_client_says_that_it_cancels_nothing(caplog: pytest.LogCaptureFixture):
    """Another process of the endpoint has one, and asked for it."""
    request = RunRequest(function=CANCEL, input=marshal(["1" * 16]), parent_dispatch_id="w")
    response = run(Endpoint(URL, env={}), request)
    assert Status(response.status) is Status.OK
    assert "cannot cancel 1 call of the workflow's call w, left to continue" in caplog.text
    assert "DISPATCH_API_KEY" in caplog.text


def test_a_cancellation_that_failed_is_logged(caplog: pytest.LogCaptureFixture):
    """It waited too long, or came to a process of an older version."""
    endpoint = Endpoint(URL, env={})

    @endpoint.workflow
    async def waits() -> None:
        await asyncio.sleep(60)

    first = run(endpoint, RunRequest(function="waits", input=marshal(None))).poll
    failed = CallResult()
    failed.error.type, failed.error.message = "TimeoutError", "the call expired"
    resumed = PollResult(typed_coroutine_state=first.typed_coroutine_state, results=[failed])
    request = RunRequest(function="waits", dispatch_id="w", poll_result=resumed)
    assert run(endpoint, request).HasField("poll")
    assert "cannot cancel calls of the workflow waits (call w)" in caplog.text
    assert "dispatch.cancel: TimeoutError: the call expired" in caplog.text


def test_only_the_call_that_made_it_has_its_calls_cancelled():
    """A call of a client has none, and no service is asked."""
    request = RunRequest(function=CANCEL, input=marshal(["0" * 16]))
    response = run(Endpoint(URL, env={}), request)
    assert Status(response.status) is Status.OK
    assert unmarshal(response.exit.result.output) is None
