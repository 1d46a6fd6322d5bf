"""The JSON of messages: what the libraries of other languages can read."""

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, Parse

from dispatch_grpc import Endpoint, marshal, new_call
from dispatch_grpc.schema import CallInfo, DispatchRequest, RunRequest, RunResponse, to_json
from dispatch_grpc.testing import serve_app
from tests import hostile
from tests.conftest import Driver
from tests.serving.test_server import post

EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty", "value": {}}


def messages() -> list[Any]:
    run = RunRequest(function="f", input=marshal(None))
    run.creation_time.GetCurrentTime()
    resumed = RunRequest()
    for value in (None, 1, {"@type": EMPTY["@type"]}):
        resumed.poll_result.results.add().output.CopyFrom(marshal(value))
    call = new_call("http://x", "f")
    response = RunResponse()
    response.poll.calls.append(call)
    finished = CallInfo(dispatch_id="id")
    finished.result.output.CopyFrom(marshal(None))
    finished.last_error.message = "no"
    return [
        DispatchRequest(calls=[call, new_call("http://x", "f", 1)]),
        run,
        resumed,
        response,
        finished,
        RunResponse(),
    ]


@pytest.mark.parametrize("message", messages(), ids=lambda message: type(message).__name__)
def test_empty_has_a_value_in_json(message: Any):
    written = to_json(message)
    assert Parse(written, type(message)(), ignore_unknown_fields=True) == message
    empty = f'"@type": "{EMPTY["@type"]}"'
    assert written.count(f'{{{empty}, "value": {{}}}}') == (message != RunResponse())
    assert json.loads(written.replace(f'{empty}, "value": {{}}', empty)) == MessageToDict(message)


def test_an_any_without_a_type_is_written():
    message = DispatchRequest()
    message.calls.add(endpoint="http://x", function="f").input.SetInParent()
    assert Parse(to_json(message), DispatchRequest()) == message


def test_servers_write_it():
    endpoint = Endpoint("http://example.com", env={})

    @endpoint.function
    def nothing() -> None:
        pass

    body = {"function": "nothing", "input": EMPTY}
    with serve_app(endpoint.app) as server:
        path = "/dispatch.sdk.v1.FunctionService/Run"
        for given in (EMPTY, {"@type": EMPTY["@type"]}):
            request = json.dumps({**body, "input": given}).encode()
            response, content = post(server.url, request, "application/json", path)
            assert response.status == 200
            assert json.loads(content)["exit"]["result"]["output"] == EMPTY


@pytest.mark.parametrize("is_async", [False, True])
def test_clients_write_it(is_async: bool):
    bodies = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await hostile.lifespan(receive, send)
            return
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event["body"], event.get("more_body")
        bodies.append(json.loads(body))
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"dispatchIds": ["id"]}'})

    driver = Driver("connect+json", is_async=is_async)
    with hostile.serving(app) as server:
        client = driver.client(server.url)
        assert driver.dispatch(client, new_call("http://x", "f")) == "id"
        driver.close()
    assert bodies == [{"calls": [{"endpoint": "http://x", "function": "f", "input": EMPTY}]}]
