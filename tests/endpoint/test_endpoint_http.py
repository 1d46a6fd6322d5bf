"""Endpoints over the wire: every protocol, mounted anywhere, and requests that are none."""

import asyncio
import contextlib
import gzip
import http.client
import importlib
import json
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import grpc
import pydantic
import pytest
from connectrpc.code import Code as ConnectCode
from connectrpc.errors import ConnectError
from dispatch.sdk.v1.function_connect import FunctionServiceClient, FunctionServiceClientSync
from dispatch.sdk.v1.function_pb2_grpc import FunctionServiceStub
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from dispatch_grpc import Endpoint, Status, current_call, marshal, unmarshal
from dispatch_grpc.errors import ConfigurationError, EndpointError
from dispatch_grpc.schema import RunRequest, RunResponse
from dispatch_grpc.signature import new_key_pair, parse_signing_key, sign_request
from dispatch_grpc.testing import CallRecorder, Server, serve_app
from tests.serving.test_server import post

PATH = "/dispatch.sdk.v1.FunctionService/Run"
PROTO, JSON = "application/proto", "application/json"
LIMIT = 5000
KEYS = new_key_pair()
HELLO = RunRequest(function="greet", input=marshal("World")).SerializeToString()


def new_endpoint(**settings: Any) -> Endpoint:
    """An endpoint of one function, which does not need to be called from outside."""
    settings = {"max_request_bytes": LIMIT, "env": {}, **settings}
    endpoint = Endpoint("http://127.0.0.1:8000", **settings)

    @endpoint.function
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    return endpoint


@pytest.fixture
def endpoint() -> Endpoint:
    return new_endpoint()


@pytest.fixture
def url(endpoint: Endpoint) -> Iterator[str]:
    """URL of the endpoint, which is served."""
    with serve_app(endpoint.app) as server:
        yield server.url


@pytest.fixture(autouse=True)
def _no_errors_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def output(response: RunResponse) -> Any:
    assert Status(response.status) is Status.OK, response
    return unmarshal(response.exit.result.output)


def serves(url: str, **headers: str) -> bool:
    """Whether the endpoint runs a function."""
    response, content = post(url, HELLO, PROTO, urlsplit(url).path + PATH, **headers)
    assert response.status == 200, content
    return bool(output(RunResponse.FromString(content)) == "Hello, World!")


def refused(response: Any, content: bytes, status: int, code: str) -> str:
    """The message of an error as Connect writes it."""
    assert response.status == status, content
    assert response.getheader("content-type") == "application/json"
    error = json.loads(content)
    assert error["code"] == code
    return str(error["message"])


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    """A connection to speak HTTP by hand."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), 30) as connection:
        yield connection


def head(*headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {PATH} HTTP/1.1", "host: x", f"content-type: {PROTO}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


# The protocols


def test_the_generated_connect_client(url: str):
    with FunctionServiceClientSync(url) as client:
        assert output(client.run(RunRequest.FromString(HELLO))) == "Hello, World!"
        with pytest.raises(ConnectError, match="did you mean 'greet'") as caught:
            client.run(RunRequest(function="greeet", input=marshal("World")))
    assert caught.value.code is ConnectCode.NOT_FOUND


def test_the_generated_async_connect_client(endpoint: Endpoint, url: str):
    @endpoint.function
    async def wait() -> str:
        await asyncio.to_thread(together.wait, 30)
        return current_call().dispatch_id

    async def main() -> list[RunResponse]:
        async with FunctionServiceClient(url) as client:
            requests = [
                RunRequest(function="wait", input=marshal(None), dispatch_id=name) for name in "ab"
            ]
            return await asyncio.gather(*map(client.run, requests))

    together = threading.Barrier(2)
    assert [output(response) for response in asyncio.run(main())] == ["a", "b"]


def test_the_generated_grpc_stub(url: str):
    with grpc.insecure_channel(url.removeprefix("http://")) as channel:
        stub = FunctionServiceStub(channel)
        for _ in range(3):
            response = stub.Run(RunRequest.FromString(HELLO), timeout=30)
            assert output(response) == "Hello, World!"
        with pytest.raises(grpc.RpcError, match="did you mean 'greet'") as caught:
            stub.Run(RunRequest(function="greeet", input=marshal("World")), timeout=30)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.RpcError, match="directive: one of") as caught:
            stub.Run(RunRequest(function="greet"), timeout=30)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_grpc_web(url: str):
    frame = b"\0" + struct.pack(">I", len(HELLO)) + HELLO
    response, content = post(url, frame, "application/grpc-web+proto", PATH)
    assert response.status == 200
    size = struct.unpack(">I", content[1:5])[0]
    assert output(RunResponse.FromString(content[5 : 5 + size])) == "Hello, World!"
    assert b"grpc-status: 0" in content[5 + size :].lower()


def any_json(kind: str, value: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/google.protobuf.{kind}", "value": value}


JSON_REQUEST = {"function": "greet", "input": any_json("StringValue", "Wörld")}
JSON_RESPONSE = {
    "status": "STATUS_OK",
    "exit": {"result": {"output": any_json("StringValue", "Hello, Wörld!")}},
}


def test_json(url: str):
    response, content = post(url, json.dumps(JSON_REQUEST).encode(), JSON, PATH)
    assert response.status == 200
    assert response.getheader("content-type") == JSON
    assert json.loads(content) == JSON_RESPONSE


@pytest.mark.skipif(
    shutil.which("curl") is None and "CI" not in os.environ, reason="curl is not installed"
)
def test_curl(url: str):
    def curl(*arguments: str) -> str:
        command = ["curl", "--silent", "--show-error", "--max-time", "30", *arguments]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout

    where = ["-H", f"content-type: {JSON}", f"{url}{PATH}", "-d"]
    assert json.loads(curl(*where, json.dumps(JSON_REQUEST))) == JSON_RESPONSE
    unknown = curl("-w", " %{http_code}", *where, '{"function": "greeet", "input": {}}')
    error, _, status = unknown.rpartition(" ")
    assert (json.loads(error)["code"], status) == ("not_found", "404")


def test_a_request_may_be_compressed(url: str):
    response, content = post(url, gzip.compress(HELLO), PROTO, PATH, content_encoding="gzip")
    assert response.status == 200
    assert output(RunResponse.FromString(content)) == "Hello, World!"
    bomb = gzip.compress(bytes(1_000_000))
    assert len(bomb) < LIMIT
    response, content = post(url, bomb, PROTO, PATH, content_encoding="gzip")
    assert str(LIMIT) in refused(response, content, 429, "resource_exhausted")


@pytest.mark.parametrize(
    ("header", "attempt"),
    [("1", 1), ("17", 17), ("", None), ("0", None), ("-1", None), ("x", None), ("1" * 50, None)],
)
def test_a_function_knows_its_attempt(
    endpoint: Endpoint, url: str, header: str, attempt: int | None
):
    endpoint.function(name="f")(lambda: current_call().attempt)
    body = RunRequest(function="f", input=marshal(None)).SerializeToString()
    response, content = post(url, body, PROTO, PATH, dispatch_attempt=header)
    assert response.status == 200
    assert output(RunResponse.FromString(content)) == attempt


# Requests that are none


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code", "text"),
    [
        (RunRequest(function="f", input=marshal(1)), PROTO, 404, "not_found", "function 'f' at"),
        (RunRequest(function="greet"), PROTO, 400, "invalid_argument", "directive: one of input"),
        (b"\xff", PROTO, 400, "invalid_argument", ""),
        (HELLO[:-1], PROTO, 400, "invalid_argument", ""),
        (b"", PROTO, 404, "not_found", "there is no function ''"),
        (b"no json", JSON, 400, "invalid_argument", ""),
        (b'{"function": 5}', JSON, 400, "invalid_argument", ""),
        (b'{"function": "greet"', JSON, 400, "invalid_argument", ""),
        (b'{"input": {"@type": "x/no.such.Type"}}', JSON, 400, "invalid_argument", ""),
        (b"{}", JSON, 404, "not_found", "there is no function ''"),
    ],
)
def test_a_request_that_cannot_be_run_is_refused_with_a_reason(
    url: str, body: bytes | RunRequest, content_type: str, status: int, code: str, text: str
):
    data = body.SerializeToString() if isinstance(body, RunRequest) else body
    response, content = post(url, data, content_type, PATH)
    assert text in refused(response, content, status, code)
    assert serves(url)


@pytest.mark.parametrize(
    ("content_type", "path", "method", "status"),
    [
        ("text/html", PATH, "POST", 415),
        ("", PATH, "POST", 415),
        ("application/xml", PATH, "POST", 415),
        (PROTO, "/", "POST", 404),
        (PROTO, "/other", "POST", 404),
        (PROTO, f"{PATH}/", "POST", 404),
        (PROTO, PATH.replace("Run", "Walk"), "POST", 404),
        (PROTO, PATH, "GET", 405),
        (PROTO, PATH, "PUT", 405),
        (PROTO, PATH, "DELETE", 405),
    ],
)
def test_a_request_of_another_kind_is_refused_by_its_status(
    url: str, content_type: str, path: str, method: str, status: int
):
    response, content = post(url, HELLO, content_type, path, method)
    message = refused(response, content, status, "unimplemented")
    assert "application/proto" in message if status == 415 else PATH in message
    assert response.getheader("content-length") == str(len(content))
    assert serves(url)


@pytest.mark.parametrize("name", ['a"b', "a'b", "a\\b", "fünf", "\U0001f600", "a\nb", "\0"])
@pytest.mark.parametrize("protocol", ["proto", "json", "grpc"])
def test_quotes_and_other_alphabets_do_not_break_the_error(url: str, name: str, protocol: str):
    request = RunRequest(function=name, input=marshal(1))
    expected = f"there is no function {name!r} at http://127.0.0.1:8000"
    if protocol == "grpc":
        with grpc.insecure_channel(url.removeprefix("http://")) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                FunctionServiceStub(channel).Run(request, timeout=30)
        assert caught.value.details() == expected
        return
    body = request.SerializeToString()
    if protocol == "json":
        body = json.dumps({"function": name, "input": any_json("Int64Value", "1")}).encode()
    response, content = post(url, body, f"application/{protocol}", PATH)
    assert refused(response, content, 404, "not_found") == expected


def sized(size: int) -> bytes:
    """A request of so many bytes that is fine otherwise."""
    request = RunRequest(function="greet", input=marshal(""), dispatch_id="." * (size - 200))
    request.root_dispatch_id = "." * (size - request.ByteSize() - 3)
    assert request.ByteSize() == size
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("chunked", "key"),
    [(False, None), (True, None), (False, KEYS.verification_key)],
    ids=["whole", "chunked", "signed"],
)
def test_a_body_that_is_too_large_is_refused_with_both_sizes(chunked: bool, key: str | None):
    with serve_app(new_endpoint(verification_key=key).app) as server:
        for size in (LIMIT, LIMIT + 1):
            body, headers = sized(size), signed(server.url, sized(size)) if key else {}
            given: Any = iter([body[:10], body[10:]]) if chunked else body
            response, content = post(server.url, given, PROTO, PATH, **headers)
            if size == LIMIT:
                assert response.status == 200
                continue
            assert refused(response, content, 400, "invalid_argument") == (
                f"the request has {size} bytes or more; the endpoint accepts {LIMIT}"
            )
        assert serves(server.url, **(signed(server.url, HELLO) if key else {}))


def answered(connection: socket.socket) -> tuple[int, bytes]:
    """The status and the body of the next answer on a connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def test_a_body_that_is_too_large_is_not_read(url: str):
    with connected(url) as connection:
        connection.sendall(head(f"content-length: {10**12}"))
        status, answer = answered(connection)  # before any of the body is sent
        connection.sendall(b"." * 5_000_000)  # and that the rest is read away
    assert status == 400
    assert b"the request has 1000000000000 bytes or more" in answer
    assert serves(url)


def test_a_grpc_message_that_is_too_large_is_refused(url: str):
    with grpc.insecure_channel(url.removeprefix("http://")) as channel:
        stub = FunctionServiceStub(channel)
        with pytest.raises(grpc.RpcError, match=f"accepts {LIMIT}|max {LIMIT}") as caught:
            stub.Run(RunRequest.FromString(sized(LIMIT + 1)), timeout=30)
        codes = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert caught.value.code() in codes
        assert output(stub.Run(RunRequest.FromString(HELLO), timeout=30)) == "Hello, World!"


@pytest.mark.parametrize("length", ["abc", "-1", "1 2", "1" * 5000, "1" * 30])
def test_a_content_length_that_is_none_is_refused(url: str, length: str):
    with connected(url) as connection:
        connection.sendall(head(f"content-length: {length}") + HELLO)
        answer = connection.makefile("rb").read()
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert serves(url)


def ask(endpoint: Endpoint, headers: list[tuple[bytes, bytes]], **scope: Any) -> Any:
    """The status and the body that the application answers, for what no server lets through."""
    sent: list[Any] = []
    parts = [{"type": "http.request", "body": HELLO, "more_body": False}]

    async def receive() -> Any:
        return parts.pop() if parts else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": PATH,
        "root_path": "",
        "headers": [(b"content-type", PROTO.encode()), *headers],
        **scope,
    }
    asyncio.run(endpoint.app(scope, receive, send))
    start, body = sent
    return start["status"], body["body"]


@pytest.mark.parametrize("length", [b"", b"abc", b"-1", b"+1", b"1_0", b"\xb2", b"9" * 5000])
def test_a_content_length_is_checked_whatever_the_server_lets_through(
    endpoint: Endpoint, length: bytes
):
    status, body = ask(endpoint, [(b"content-length", length)])
    assert status == 400
    assert json.loads(body) == {
        "code": "invalid_argument",
        "message": "the Content-Length is not a number",
    }


@pytest.mark.parametrize("key", [None, KEYS.verification_key], ids=["open", "signed"])
@pytest.mark.parametrize("framing", [f"content-length: {LIMIT}", "transfer-encoding: chunked"])
def test_a_client_that_leaves_within_its_body_does_no_harm(
    key: str | None, framing: str, caplog: pytest.LogCaptureFixture
):
    with serve_app(new_endpoint(verification_key=key).app) as server:
        for sent in (b"", b"5\r\nabc"):
            with connected(server.url) as connection:
                connection.sendall(head(framing) + sent)
        assert serves(server.url, **(signed(server.url, HELLO) if key else {}))
    assert "refused a request" not in caplog.text  # half a body is not verified


@pytest.mark.parametrize("protocol", ["connect", "grpc"])
def test_a_client_that_leaves_while_it_waits_cancels_the_function(
    endpoint: Endpoint, url: str, protocol: str
):
    started, ended = threading.Event(), threading.Event()

    @endpoint.function
    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    request = RunRequest(function="wait", input=marshal(None))
    if protocol == "connect":
        body = request.SerializeToString()
        with connected(url) as connection:
            connection.sendall(head(f"content-length: {len(body)}") + body)
            assert started.wait(30)
    else:
        with grpc.insecure_channel(url.removeprefix("http://")) as channel:
            call = FunctionServiceStub(channel).Run.future(request)  # type: ignore[attr-defined]
            assert started.wait(30)
            call.cancel()
    assert ended.wait(30)
    assert serves(url)


def test_the_timeout_of_a_request_cancels_the_function(endpoint: Endpoint, url: str):
    started, ended = threading.Event(), threading.Event()

    @endpoint.function
    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with FunctionServiceClientSync(url) as client:
        for milliseconds in (100, 1_000, 10_000):  # until the function begins in that time
            with pytest.raises(ConnectError) as caught:
                request = RunRequest(function="wait", input=marshal(None))
                client.run(request, timeout_ms=milliseconds)
            assert caught.value.code is ConnectCode.DEADLINE_EXCEEDED
            if started.is_set():
                break
    assert ended.wait(30)
    assert serves(url)


def test_whatever_a_function_does_the_endpoint_goes_on(endpoint: Endpoint, url: str):
    release = threading.Event()
    endpoint.function(name="exits")(sys.exit)
    endpoint.function(name="never")(lambda: release.wait(60))
    endpoint.function(name="odd")(lambda: object())
    endpoint.function(name="large")(lambda: "." * LIMIT)
    expires = datetime.now(UTC) + timedelta(seconds=0.1)
    expected = {
        "exits": Status.TEMPORARY_ERROR,
        "never": Status.TIMEOUT,
        "odd": Status.INVALID_RESPONSE,
        "large": Status.INVALID_RESPONSE,
    }
    with FunctionServiceClientSync(url) as client:
        for name, status in expected.items():
            request = RunRequest(function=name, input=marshal(None))
            if name == "never":
                request.expiration_time.FromDatetime(expires)
            response = client.run(request)
            assert Status(response.status) is status, name
            assert response.exit.result.error.type
            assert serves(url)
    release.set()


# Signatures


def signed(url: str, body: bytes, **settings: Any) -> dict[str, str]:
    """The headers of a signature, as `post` takes them."""
    key = parse_signing_key(KEYS.signing_key)
    where = url + (PATH if not urlsplit(url).path else "")
    headers = sign_request("POST", where, {"content-type": PROTO}, body, key, **settings)
    return {name.replace("-", "_"): value for name, value in headers.items()}


@pytest.fixture
def verifying() -> Iterator[str]:
    """URL of an endpoint that verifies requests."""
    with serve_app(new_endpoint(verification_key=KEYS.verification_key).app) as server:
        yield server.url


def test_a_signed_request_is_run(verifying: str):
    assert serves(verifying, **signed(verifying, HELLO))


def test_a_signature_is_checked_before_anything_is_parsed(
    verifying: str, caplog: pytest.LogCaptureFixture
):
    for body, content_type in ((HELLO, PROTO), (b"\xff", PROTO), (b"", "text/html")):
        response, content = post(verifying, body, content_type, PATH)
        text = refused(response, content, 401, "unauthenticated")
        assert "the header signature-input is missing" in text
    good = signed(verifying, HELLO)
    for body, headers in (
        (HELLO + b"\0", good),
        (HELLO, signed(verifying, HELLO, created=datetime.now(UTC) - timedelta(minutes=6))),
        (HELLO, signed(f"{verifying}{PATH}x", HELLO)),
    ):
        response, content = post(verifying, body, PROTO, PATH, **headers)
        refused(response, content, 403, "permission_denied")
    assert caplog.text.count("refused a request: ") == 6
    assert serves(verifying, **good)


def test_a_grpc_request_without_signature_is_refused(verifying: str):
    with grpc.insecure_channel(verifying.removeprefix("http://")) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            FunctionServiceStub(channel).Run(RunRequest.FromString(HELLO), timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as caught:
            FunctionServiceStub(channel).Run(RunRequest.FromString(sized(LIMIT + 1)), timeout=30)
        assert caught.value.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


def test_a_signed_path_is_the_one_that_was_sent():
    endpoint = new_endpoint(verification_key=KEYS.verification_key)
    with serve_app(Starlette(routes=[Mount("/a b", endpoint.app)])) as server:
        path = f"/a%20b{PATH}"
        for query in ("", "?x=y"):
            headers = signed(f"{server.url}{path}", HELLO)
            response, content = post(server.url, HELLO, PROTO, path + query, **headers)
            assert response.status == 200, content


@pytest.mark.parametrize("hosts", [[], [b"x", b"x"]])
def test_a_signed_request_has_one_host(hosts: list[bytes]):
    endpoint = new_endpoint(verification_key=KEYS.verification_key)
    headers = [(b"content-length", str(len(HELLO)).encode())]
    status, body = ask(endpoint, [*headers, *((b"host", host) for host in hosts)])
    assert (status, json.loads(body)["message"]) == (400, f"one Host is required; got {len(hosts)}")


def test_a_server_that_leaves_out_what_asgi_lets_it():
    endpoint = new_endpoint(verification_key=KEYS.verification_key)
    body = HELLO
    headers = [
        (name.replace("_", "-").encode(), value.encode())
        for name, value in signed("http://x", body).items()
    ]
    headers += [(b"content-length", str(len(body)).encode()), (b"host", b"x")]
    for extra in ({}, {"raw_path": None}, {"raw_path": f"{PATH}?x=y".encode(), "scheme": "http"}):
        status, content = ask(endpoint, headers, **extra)
        assert status == 200, content


# Mounted in other applications


def test_the_fastapi_example(
    dispatch_recorder: CallRecorder, dispatch_server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DISPATCH_API_KEY", "key")
    monkeypatch.setenv("DISPATCH_API_URL", dispatch_server.url)
    example = importlib.import_module("examples.fastapi_app")
    with serve_app(example.app) as server:
        response, content = post(server.url, b"", "", "/signup/Ada")
        assert response.status == 200
        (call,) = dispatch_recorder.calls
        assert json.loads(content) == {"dispatch_id": dispatch_recorder.requests[0].dispatch_ids[0]}
        assert call == example.welcome.call("Ada")
        request = RunRequest(function=call.function, input=call.input)
        with FunctionServiceClientSync(server.url) as client:
            assert output(client.run(request)) == "Welcome, Ada!"
        with grpc.insecure_channel(server.url.removeprefix("http://")) as channel:
            assert output(FunctionServiceStub(channel).Run(request, timeout=30)) == "Welcome, Ada!"
    example.endpoint.client().close()


def test_the_asgi_example():
    example = importlib.import_module("examples.asgi_app")
    call = example.sum_squares.call([1, 2, 3])
    assert urlsplit(call.endpoint).path == "/dispatch"
    request = RunRequest(function=call.function, input=call.input)
    with serve_app(example.app) as server:
        assert post(server.url, b"", "", "/", "GET")[1] == b"The functions are below /dispatch.\n"
        with FunctionServiceClientSync(f"{server.url}/dispatch") as client:
            assert output(client.run(request)) == 14


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
@pytest.mark.parametrize("example", ["fastapi_app", "asgi_app"])
def test_the_examples_run_on_other_servers(server: str, example: str):
    prefix = "/dispatch" if example == "asgi_app" else ""
    module = importlib.import_module(f"examples.{example}")
    call = module.sum_squares.call([3]) if prefix else module.welcome.call("Ada")
    request = RunRequest(function=call.function, input=call.input)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        where = ["--fd", str(fd)] if server == "uvicorn" else ["--bind", f"fd://{fd}"]
        process = subprocess.Popen(
            [sys.executable, "-m", server, f"examples.{example}:app", *where],
            pass_fds=[fd],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            with FunctionServiceClientSync(f"http://127.0.0.1:{port}{prefix}") as client:
                expected = output(client.run(request, timeout_ms=60_000))
            assert expected == (9 if prefix else "Welcome, Ada!")
            if server == "hypercorn" and not prefix:
                with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                    response = FunctionServiceStub(channel).Run(request, timeout=30)
                    assert output(response) == expected
        finally:
            process.terminate()
            log = process.communicate(timeout=30)[0]
    assert "Error" not in log, log


def test_below_a_path_of_starlette_and_fastapi():
    inner, outer = FastAPI(), FastAPI()
    inner.mount("/dispatch", new_endpoint().app)
    outer.mount("/v1", inner)
    starlette = Starlette(routes=[Mount("/dispatch", new_endpoint().app)])
    for app, path in ((inner, "/dispatch"), (starlette, "/dispatch"), (outer, "/v1/dispatch")):
        with serve_app(app) as server:
            url = server.url + path
            endpoint = Endpoint(url, env={})
            call = endpoint.function(name="greet")(lambda name: name).call("World")
            assert call.endpoint == url
            assert serves(call.endpoint)
            assert post(server.url, HELLO, PROTO, PATH)[0].status == 404


def test_a_websocket_is_refused(endpoint: Endpoint):
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    outer = Starlette(routes=[Mount("/", endpoint.app)])
    scope = {"type": "websocket", "path": PATH, "root_path": "", "headers": []}
    asyncio.run(outer(scope, receive, send))
    assert sent == [{"type": "websocket.close"}]


# Endpoint.serve

SERVE = """
import logging, sys
from dispatch_grpc import Endpoint

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
endpoint = Endpoint("http://127.0.0.1:8000", env={"DISPATCH_ENDPOINT_ADDR": "127.0.0.1:0"})

@endpoint.function
def greet(name: str) -> str:
    if name == "slow":
        print("slow one runs", flush=True)
        sys.stdin.readline()
    return f"Hello, {name}!"

endpoint.serve()
print("served")
"""


@contextlib.contextmanager
def serving() -> Iterator[tuple[Any, str]]:
    """A process that serves an endpoint, and its URL."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert "has no verification key" in process.stdout.readline()
        line = process.stdout.readline()
        assert line.startswith("serving 1 function at http://127.0.0.1:")
        url, functions = line.split()[4:]
        assert functions == "(greet)"
        yield process, url
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def under_way(process: Any, url: str, number: signal.Signals) -> Iterator[Any]:
    """A call that runs when the process is told to end; new ones are refused by then."""
    slow = RunRequest(function="greet", input=marshal("slow"))
    with grpc.insecure_channel(url.removeprefix("http://")) as channel:
        stub = FunctionServiceStub(channel)
        call = stub.Run.future(slow, timeout=60)  # type: ignore[attr-defined]
        assert process.stdout.readline() == "slow one runs\n"
        os.kill(process.pid, number)
        with pytest.raises(grpc.RpcError) as caught:
            while True:
                stub.Run(RunRequest.FromString(HELLO), timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        yield call


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serving_ends_with_a_signal_after_what_is_under_way(number: signal.Signals):
    with serving() as (process, url):
        response, content = post(url, b"", "", "/healthz", "GET")
        assert (response.status, content) == (200, b"ok\n")
        assert serves(url)
        with under_way(process, url, number) as call:
            process.stdin.write("\n")
            process.stdin.flush()
            assert output(call.result()) == "Hello, slow!"
        assert process.wait(30) == 0
        assert process.stdout.read().splitlines() == ["stopped", "served"]


def test_json_may_hold_every_type_of_the_schema():
    pickled = {"@type": "type.googleapis.com/dispatch.sdk.python.v1.Pickled", "pickledValue": ""}
    with serving() as (_, url):  # where nothing else has imported the types
        body = json.dumps({"function": "greet", "input": pickled}).encode()
        response, content = post(url, body, JSON, PATH)
        assert response.status == 200, content
        assert json.loads(content)["status"] == "STATUS_INVALID_ARGUMENT"


def test_a_second_signal_ends_the_process_at_once():
    with serving() as (process, url), under_way(process, url, signal.SIGTERM) as call:
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM
        with pytest.raises(grpc.RpcError):
            call.result()


def test_an_address_that_is_taken_is_an_error(endpoint: Endpoint):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=f"cannot listen on {address}: "):
            endpoint.serve(address)
    with pytest.raises(ConfigurationError, match="address= HOST:PORT is required"):
        endpoint.serve("8000")


def test_serve_in_an_event_loop_says_what_to_do(endpoint: Endpoint):
    async def main() -> None:
        endpoint.serve("127.0.0.1:0")

    with pytest.raises(EndpointError, match=r"outside of asyncio.run\(\), or run endpoint.app"):
        asyncio.run(main())


@pytest.mark.parametrize("key", [None, KEYS.verification_key], ids=["open", "signed"])
def test_large_inputs_are_decoded_beside_the_event_loop(key: str | None):
    """A type that waits in its own code while it is decoded: the loop has to go on for it."""
    endpoint = new_endpoint(verification_key=key, max_request_bytes=16_000_000)
    going_on = threading.Event()

    class Document(pydantic.BaseModel):
        items: list[str]

        @pydantic.model_validator(mode="after")
        def wait(self) -> "Document":
            assert going_on.wait(60)
            return self

    @endpoint.function
    async def length(document: Document) -> int:
        return len(document.items)

    @endpoint.function
    async def go_on() -> None:
        going_on.set()

    def run(url: str, name: str, input: Any) -> Any:
        body = RunRequest(function=name, input=marshal(input)).SerializeToString()
        headers = signed(url, body) if key else {}
        response, content = post(url, body, PROTO, PATH, **headers)
        assert response.status == 200, content
        return output(RunResponse.FromString(content))

    with serve_app(endpoint.app) as server, ThreadPoolExecutor() as pool:
        large = pool.submit(run, server.url, "length", {"items": ["x" * 30] * 10_000})
        with pytest.raises(TimeoutError):
            large.result(0.2)
        run(server.url, "go_on", None)
        assert large.result(60) == 10_000
