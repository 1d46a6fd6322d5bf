"""Large messages in JSON do not hold up the event loop."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dispatch_grpc import Endpoint, new_call
from dispatch_grpc.primitives import RunRequest, RunResponse, poll
from dispatch_grpc.schema import DispatchRequest, DispatchResponse, to_json
from dispatch_grpc.server import dispatch_app
from dispatch_grpc.testing import CallRecorder

RUN = "/dispatch.sdk.v1.FunctionService/Run"
DISPATCH = "/dispatch.sdk.v1.DispatchService/Dispatch"
CALL = new_call("http://127.0.0.1:8000", "f", "x" * 100)
NUMBER = 10_000
MANY_TURNS = 30  # of the event loop; a request by itself takes about ten


class Loop:
    """An event loop whose turns are counted while an application answers one request."""

    def __init__(self, path: str, body: bytes) -> None:
        self.path, self.body = path, body
        self.turns = self.received = self.called = self.returned = self.answered = 0
        self.status, self.answer = 0, b""

    def run(self, app: Callable[..., Any]) -> None:
        asyncio.run(self._run(app))

    async def _run(self, app: Callable[..., Any]) -> None:
        counting = asyncio.create_task(self._count())
        headers = [(b"host", b"x"), (b"content-type", b"application/json")]
        headers.append((b"content-length", str(len(self.body)).encode()))
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": self.path,
            "root_path": "",
            "http_version": "1.1",
            "headers": headers,
            "query_string": b"",
        }
        bodies = [{"type": "http.request", "body": self.body, "more_body": False}]

        async def receive() -> Any:
            if not bodies:
                await asyncio.Event().wait()
            self.received = self.turns
            return bodies.pop()

        async def send(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.answered, self.status = self.turns, message["status"]
            self.answer += message.get("body", b"")

        await app(scope, receive, send)
        counting.cancel()

    async def _count(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


def test_an_endpoint_decodes_and_encodes_large_json_beside_the_event_loop():
    request = RunRequest(function="f")
    for _ in range(NUMBER):
        request.poll_result.results.add().output.CopyFrom(CALL.input)
    loop = Loop(RUN, to_json(request).encode())
    endpoint = Endpoint("http://127.0.0.1:8000", env={})

    @endpoint.primitive
    async def f(received: RunRequest) -> RunResponse:
        assert received == request
        loop.called = loop.turns
        response = poll([CALL], min_results=1, max_results=1)
        for _ in range(NUMBER):
            response.poll.calls.add().CopyFrom(CALL)
        loop.returned = loop.turns
        return response

    loop.run(endpoint.app)
    assert loop.status == 200, loop.answer
    assert len(json.loads(loop.answer)["poll"]["calls"]) == NUMBER + 1
    assert loop.called - loop.received > MANY_TURNS
    assert loop.answered - loop.returned > MANY_TURNS


def test_a_dispatch_service_decodes_large_json_beside_the_event_loop():
    request = DispatchRequest(calls=[CALL] * NUMBER)
    loop = Loop(DISPATCH, to_json(request).encode())

    class Handler:
        async def dispatch(
            self, received: DispatchRequest, metadata: Mapping[str, str]
        ) -> DispatchResponse:
            assert received == request
            loop.called = loop.turns
            return DispatchResponse(dispatch_ids=["id"] * NUMBER)

    loop.run(dispatch_app(Handler()))
    assert loop.status == 200, loop.answer
    assert loop.called - loop.received > MANY_TURNS


@pytest.mark.parametrize("padding", [0, 2**20], ids=["small", "large"])
@pytest.mark.parametrize(("path", "field"), [(RUN, "function"), (DISPATCH, "calls")])
def test_json_of_another_message_is_refused_in_any_size(path: str, field: str, padding: int):
    loop = Loop(path, f'{{"{field}": 1{" " * padding}}}'.encode())
    endpoint = Endpoint("http://127.0.0.1:8000", env={})
    loop.run(endpoint.app if path == RUN else dispatch_app(CallRecorder()))
    assert loop.status == 400
    error = json.loads(loop.answer)
    assert error["code"] == "invalid_argument"
    assert field in error["message"]
