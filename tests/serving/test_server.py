"""DispatchService as an ASGI application: keys, checks, what a handler may do, every protocol."""

import http.client
import json
import struct
import subprocess
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from dispatch.sdk.v1.dispatch_pb2_grpc import DispatchServiceStub

from dispatch_grpc import Call, Client, Code, RPCError, marshal, new_call
from dispatch_grpc.schema import DispatchRequest, DispatchResponse
from dispatch_grpc.testing import CallRecorder, Server, serve
from tests.conftest import Driver

PATH = "/dispatch.sdk.v1.DispatchService/Dispatch"
CALL = new_call("http://example.com", "f", 23)


def post(
    url: str, body: bytes, content_type: str, path: str = PATH, method: str = "POST", **headers
):
    """Send a request as no client of ours does."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    names = {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(method, path, body, {"content-type": content_type, **names})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def test_json_as_curl_sends_it(dispatch_recorder: CallRecorder, dispatch_server: Server):
    body = {
        "calls": [
            {
                "endpoint": "http://example.com",
                "function": "f",
                "input": {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": "23"},
            }
        ]
    }
    response, content = post(dispatch_server.url, json.dumps(body).encode(), "application/json")
    assert response.status == 200
    assert json.loads(content) == {"dispatchIds": dispatch_recorder.requests[0].dispatch_ids}
    assert dispatch_recorder.calls == [CALL]


def test_grpc_web(dispatch_recorder: CallRecorder, dispatch_server: Server):
    data = DispatchRequest(calls=[CALL]).SerializeToString()
    frame = b"\0" + struct.pack(">I", len(data)) + data
    response, content = post(dispatch_server.url, frame, "application/grpc-web+proto")
    assert response.status == 200
    size = struct.unpack(">I", content[1:5])[0]
    answer = DispatchResponse.FromString(content[5 : 5 + size])
    assert answer.dispatch_ids == dispatch_recorder.requests[0].dispatch_ids
    assert b"grpc-status: 0" in content[5 + size :].lower()
    assert dispatch_recorder.calls == [CALL]


def test_the_generated_stub(dispatch_recorder: CallRecorder, dispatch_server: Server):
    with grpc.insecure_channel(dispatch_server.url.removeprefix("http://")) as channel:
        for number in range(3):
            request = DispatchRequest(calls=[CALL] * number)
            answer = DispatchServiceStub(channel).Dispatch(request, timeout=10)
            assert len(answer.dispatch_ids) == number


def test_an_open_connection_lasts_for_thousands_of_requests(
    dispatch_recorder: CallRecorder, dispatch_server: Server
):
    with Client("key", api_url=dispatch_server.url, retry=None) as client:
        for _ in range(2500):
            client.dispatch(CALL)
    assert len(dispatch_recorder.requests) == 2500


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"authorization": "right"},
        {"authorization": "Bearer x"},
        {"authorization": "Bearer RIGHT"},
        {"authorization": "Bearerright"},
        {"authorization": "Basic right"},
    ],
)
def test_keys_are_checked(header: dict[str, str], dispatch_recorder: CallRecorder):
    with serve(dispatch_recorder, api_key="right") as server:
        response, content = post(server.url, b"{}", "application/json", **header)
        assert response.status == 401
        assert json.loads(content)["code"] == "unauthenticated"
        # The key is checked before the body is even looked at.
        response, _ = post(server.url, b"no json", "application/json", **header)
        assert response.status == 401
        for right in ("Bearer right", "bearer right", "BEARER  right"):
            response, _ = post(server.url, b"{}", "application/json", authorization=right)
            assert response.status == 200


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (Call(endpoint="http://x"), "calls[1].function: a name"),
        (Call(function="f"), "calls[1].endpoint: a URI"),
        (Call(function="f", endpoint="ftp://x"), "calls[1].endpoint: a URI"),
    ],
)
def test_calls_are_checked(call: Call, message: str, dispatch_recorder, dispatch_server):
    body = DispatchRequest(calls=[CALL, call]).SerializeToString()
    response, content = post(dispatch_server.url, body, "application/proto")
    assert response.status == 400
    error = json.loads(content)
    assert error["code"] == "invalid_argument"
    assert error["message"].startswith(message)
    assert not dispatch_recorder.requests


@pytest.mark.parametrize(
    ("body", "content_type", "path", "method", "status"),
    [
        (b"\xff", "application/proto", PATH, "POST", 400),
        (b"no json", "application/json", PATH, "POST", 400),
        (b'{"calls": 1}', "application/json", PATH, "POST", 400),
        (b"", "text/html", PATH, "POST", 415),
        (b"", "application/proto", "/other", "POST", 404),
        (b"", "application/proto", PATH, "PUT", 405),
        (b"." * 5_000_000, "application/proto", PATH, "POST", 429),
    ],
)
def test_requests_that_are_none(
    body: bytes, content_type: str, path: str, method: str, status: int, dispatch_server
):
    response, _ = post(dispatch_server.url, body, content_type, path, method)
    assert response.status == status
    assert post(dispatch_server.url, b"", "application/proto")[0].status == 200


class Failing:
    """A handler that raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def dispatch(self, request: DispatchRequest, metadata: Mapping[str, str]):
        raise self.error


@pytest.mark.parametrize("code", list(Code))
def test_a_handler_chooses_the_error(driver: Driver, code: Code):
    with serve(Failing(RPCError('"why"', code=code))) as server:
        with pytest.raises(RPCError, match='"why"') as caught:
            driver.dispatch(driver.client(server.url, retry=None), CALL)
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("code", "status"), [(Code.RESOURCE_EXHAUSTED, 429), (Code.UNAVAILABLE, 503)]
)
def test_a_handler_that_takes_no_more_calls_says_when_to_try_again(code: Code, status: int):
    with serve(Failing(RPCError("enough", code=code))) as server:
        response, _ = post(server.url, b"", "application/proto")
        assert (response.status, response.headers["retry-after"]) == (status, "1")
        with grpc.insecure_channel(server.url.removeprefix("http://")) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                DispatchServiceStub(channel).Dispatch(DispatchRequest(), timeout=10)
        error: Any = caught.value
        trailers = {key: value for key, value in error.trailing_metadata()}  # noqa: C416
        assert trailers["grpc-retry-pushback-ms"] == "1000"
    with serve(Failing(RPCError("no", code=Code.ABORTED))) as server:
        response, _ = post(server.url, b"", "application/proto")
        assert "retry-after" not in response.headers


def test_a_handler_that_breaks_tells_the_log_and_not_the_client(
    driver: Driver, caplog: pytest.LogCaptureFixture
):
    with serve(Failing(RuntimeError("secret of the database"))) as server:
        with pytest.raises(RPCError, match="internal error") as caught:
            driver.dispatch(driver.client(server.url), CALL)
    assert caught.value.code is Code.INTERNAL
    assert "secret" not in str(caught.value)
    assert "secret of the database" in caplog.text


def test_without_the_test_kit():
    """The application by itself, on a server that the program starts."""
    code = """
import asyncio
from dispatch_grpc import AsyncClient, new_call
from dispatch_grpc.serving import one_port, sockets
from dispatch_grpc.server import dispatch_app
from dispatch_grpc.schema import DispatchResponse

class Handler:
    async def dispatch(self, request, metadata):
        return DispatchResponse(dispatch_ids=[call.function for call in request.calls])

async def main():
    listener = sockets.listen()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop = asyncio.Event()
    app = dispatch_app(Handler(), api_keys=["old", "new"])
    serving = asyncio.create_task(one_port.serve(app, listener, until=stop.wait))
    for key in ("old", "new"):
        async with AsyncClient(key, api_url=url) as client:
            print(await client.dispatch(new_call("http://example.com", "f" + key)))
    stop.set()
    await serving

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["fold", "fnew"]


def test_the_input_arrives_byte_by_byte(dispatch_recorder: CallRecorder, dispatch_server: Server):
    body = DispatchRequest(calls=[Call(endpoint="http://x", function="f", input=marshal([1, 2]))])
    response, _ = post(dispatch_server.url, body.SerializeToString(), "application/proto")
    assert response.status == 200
    assert dispatch_recorder.calls[0].input == marshal([1, 2])
