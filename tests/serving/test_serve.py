"""`Endpoint.serve` as a process, and the server under it: signals, protocols, odd bytes."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import pytest
from dispatch.sdk.v1.function_connect import FunctionServiceClientSync
from dispatch.sdk.v1.function_pb2_grpc import FunctionServiceStub

from dispatch_grpc import ConfigurationError, Endpoint, Status, marshal, unmarshal
from dispatch_grpc.primitives import RunRequest, RunResponse
from dispatch_grpc.serving.one_port import serve
from dispatch_grpc.serving.sockets import listen
from dispatch_grpc.testing import CallRecorder, RecordedRequest, Server, serve_app

PATH = "/dispatch.sdk.v1.FunctionService/Run"
SECONDS = 30
"""A bound for what would otherwise hang."""

PROGRAM = """
import asyncio, logging, os, sys, time
from datetime import timedelta
from dispatch_grpc import Endpoint

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
endpoint = Endpoint("http://127.0.0.1:8000")

@endpoint.function
def greet(name: str) -> str:
    return f"Hello, {name}!"

@endpoint.function(name="sum.squares")
async def sum_squares(values: list[int]) -> int:
    return sum(v * v for v in values)

@endpoint.function
async def wait_async(seconds: float) -> str:
    print("running", flush=True)
    await asyncio.sleep(seconds)
    return "finished"

@endpoint.function
def wait_sync(seconds: float) -> str:
    print("running", flush=True)
    time.sleep(seconds)
    return "finished"

timeout = timedelta(seconds=float(os.environ.get("TIMEOUT", 20)))
endpoint.serve(*sys.argv[1:], shutdown_timeout=timeout)
print("after serve", flush=True)
"""


def request_of(function: str, value: Any) -> RunRequest:
    return RunRequest(function=function, input=marshal(value))


def output_of(response: RunResponse) -> Any:
    assert Status(response.status) is Status.OK, response
    return unmarshal(response.exit.result.output)


class Process:
    """A program that serves an endpoint."""

    def __init__(self, program: str, *arguments: str, **env: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = ""
        self.host, self.port = "", 0
        assert self._process.stderr
        for line in self._process.stderr:
            self.log += line
            if found := re.search(r"INFO serving .* at http://(\S+):(\d+) \(", line):
                self.host, self.port = found[1], int(found[2])
                break

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def until_running(self) -> None:
        """Wait until one of the functions that wait has begun."""
        assert self._process.stdout
        assert self._process.stdout.readline() == "running\n", self.log

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def until_refused(self) -> None:
        """Wait until no connection is taken any more."""
        with contextlib.suppress(OSError):
            while True:
                socket.create_connection((self.host.strip("[]"), self.port), SECONDS).close()
                time.sleep(0.01)

    def end(self) -> tuple[int, str]:
        """Wait for the end; returns the exit code and what was printed last."""
        out, log = self._process.communicate(timeout=SECONDS)
        self.log += log
        return self._process.returncode, out

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts programs, which are ended with the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, program: str = PROGRAM, **env: str) -> Process:
            process = Process(program, *(arguments or ("127.0.0.1:0",)), **env)
            stack.callback(process.close)
            return process

        yield start


def post(port: int, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"content-type": content_type})
        response = connection.getresponse()
        return response.status, response.read()


def run_connect(url: str, function: str, value: Any) -> Any:
    with FunctionServiceClientSync(url) as client:
        return output_of(client.run(request_of(function, value), timeout_ms=SECONDS * 1000))


def run_grpc(url: str, function: str, value: Any) -> Any:
    with grpc.insecure_channel(url.removeprefix("http://")) as channel:
        stub = FunctionServiceStub(channel)
        return output_of(stub.Run(request_of(function, value), timeout=SECONDS))


class Caller:
    """A call of a function in a thread."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._outcome: list[Any] = []
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            self._outcome.append(call())
        except BaseException as error:
            self._outcome.append(error)

    def result(self) -> Any:
        self._thread.join(SECONDS)
        return self._outcome[0]


# The process


def test_the_example_of_the_readme_runs(start: Start, dispatch_recorder: CallRecorder):
    program = """
import logging
from dispatch_grpc import Endpoint
logging.basicConfig(level=logging.INFO)

endpoint = Endpoint("http://127.0.0.1:8000")

@endpoint.function
def greet(name: str) -> str:
    return f"Hello, {name}!"

@endpoint.function(name="sum.squares")
async def sum_squares(values: list[int]) -> int:
    return sum(v * v for v in values)

client = endpoint.client()
dispatch_id = greet.dispatch("World")
print(dispatch_id, flush=True)
endpoint.serve()
"""
    from dispatch_grpc.testing import serve as serve_recorder

    with serve_recorder(dispatch_recorder, api_key="key") as server:
        process = start(
            program=program.replace("INFO)", 'INFO, format="%(levelname)s %(message)s")'),
            DISPATCH_API_KEY="key",
            DISPATCH_API_URL=server.url,
            DISPATCH_ENDPOINT_ADDR="127.0.0.1:0",
        )
    assert process.port, process.log
    assert "serving 2 functions" in process.log
    assert "(greet, sum.squares)" in process.log
    assert run_connect(process.url, "greet", "World") == "Hello, World!"
    process.send(signal.SIGTERM)
    code, out = process.end()
    assert code == 0
    request = dispatch_recorder.requests[0]
    assert out.split() == list(request.dispatch_ids)
    dispatch_recorder.assert_requests(RecordedRequest(request.calls))
    assert [(call.endpoint, call.function) for call in request.calls] == [
        ("http://127.0.0.1:8000", "greet")
    ]


def test_every_protocol_reaches_a_process(start: Start):
    process = start()
    assert run_connect(process.url, "sum.squares", [1, 2, 3]) == 14
    assert run_grpc(process.url, "sum.squares", [1, 2, 3]) == 14
    body = {
        "function": "greet",
        "input": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "curl"},
    }
    status, content = post(process.port, PATH, json.dumps(body).encode(), "application/json")
    assert status == 200
    answer = json.loads(content)
    assert answer["status"] == "STATUS_OK"
    assert answer["exit"]["result"]["output"]["value"] == "Hello, curl!"
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=SECONDS)
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"ok\n")
    connection.close()
    process.send(signal.SIGTERM)
    assert process.end() == (0, "after serve\n")
    assert process.log.endswith("INFO stopped\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_process_ends_at_once(start: Start, number: signal.Signals):
    process = start()
    with (
        socket.create_connection(("127.0.0.1", process.port)),  # and sends nothing
        socket.create_connection(("127.0.0.1", process.port)) as half,
        grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel,
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", process.port)) as kept,
    ):
        half.sendall(b"PRI * HTTP/2")
        FunctionServiceStub(channel).Run(request_of("greet", "grpc"), timeout=SECONDS)
        kept.request("GET", "/healthz")
        kept.getresponse().read()
        process.send(number)
        assert process.end() == (0, "after serve\n")
    assert "not all requests" not in process.log


@pytest.mark.parametrize("call", [run_connect, run_grpc])
@pytest.mark.parametrize("function", ["wait_async", "wait_sync"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_function_that_runs_at_the_end_finishes_and_its_caller_gets_the_answer(
    start: Start, call: Callable[[str, str, Any], Any], function: str, number: signal.Signals
):
    process = start()
    caller = Caller(lambda: call(process.url, function, 1.0))
    process.until_running()
    process.send(number)
    process.until_refused()
    assert caller.result() == "finished"
    assert process.end() == (0, "after serve\n")


def test_new_grpc_requests_are_refused_while_a_function_finishes(start: Start):
    process = start()
    with grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        stub = FunctionServiceStub(channel)
        first = stub.Run.future(request_of("wait_async", 2.0), timeout=SECONDS)
        process.until_running()
        process.send(signal.SIGTERM)
        process.until_refused()
        for body in ("small", "x" * 3_000_000):  # the second is refused before it has arrived
            with pytest.raises(grpc.RpcError) as caught:
                stub.Run(request_of("greet", body), timeout=SECONDS)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "503" in str(caught.value.details())
        assert output_of(first.result()) == "finished"
    assert process.end() == (0, "after serve\n")


def test_a_request_that_waits_for_another_one_of_its_connection_is_refused(start: Start):
    process = start()
    body = request_of("wait_async", 1.0).SerializeToString()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", process.port), SECONDS) as connection:
        connection.sendall(2 * (head.encode() + body))
        process.until_running()
        process.send(signal.SIGTERM)
        answer = everything(connection)
    first, second = answer.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200 ")
    assert b"finished" in first
    assert second.startswith(b"503 ")
    assert json.loads(second.partition(b"\r\n\r\n")[2]) == {
        "code": "unavailable",
        "message": "the endpoint is shutting down",
    }
    assert process.end() == (0, "after serve\n")


@pytest.mark.parametrize("call", [run_connect, run_grpc])
@pytest.mark.parametrize("function", ["wait_async", "wait_sync"])
def test_a_function_that_does_not_finish_in_time_is_ended(
    start: Start, function: str, call: Callable[[str, str, Any], Any]
):
    process = start(TIMEOUT="0.3")
    caller = Caller(lambda: call(process.url, function, 1000.0))
    process.until_running()
    process.send(signal.SIGTERM)
    assert process.end() == (0, "after serve\n")
    assert isinstance(caller.result(), Exception)
    assert "not all requests were answered within 0.3 s" in process.log
    assert "Traceback" not in process.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(start: Start, number: signal.Signals):
    process = start(TIMEOUT="1000")
    caller = Caller(lambda: run_connect(process.url, "wait_sync", 1000.0))
    process.until_running()
    process.send(number)
    process.until_refused()
    process.send(number)
    code, out = process.end()
    assert (code, out) == (-number, "")
    assert isinstance(caller.result(), Exception)


def test_the_address_comes_from_the_environment(start: Start):
    process = start(
        program=PROGRAM.replace("*sys.argv[1:], ", ""), DISPATCH_ENDPOINT_ADDR=" localhost:0 "
    )
    assert process.port, process.log
    assert run_connect(process.url, "greet", "you") == "Hello, you!"


def test_ipv6(start: Start):
    try:
        listen("::1").close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    process = start("[::1]:0")
    assert process.host == "[::1]"
    assert run_connect(process.url, "greet", "six") == "Hello, six!"
    assert run_grpc(process.url, "greet", "six") == "Hello, six!"


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint("http://127.0.0.1:8000", env={"DISPATCH_ENDPOINT_ADDR": "nowhere"})


@pytest.mark.parametrize(
    "address",
    ["8000", ":8000", "host", "host:", "1.2.3.4:99999", "h:-1", "h:8o", "[]:1", "h:123456", " "],
)
def test_an_address_that_is_none_is_refused(endpoint: Endpoint, address: str):
    with pytest.raises(ConfigurationError, match=r"HOST:PORT is required") as caught:
        endpoint.serve(address)
    source = "address" if address.strip() else "DISPATCH_ENDPOINT_ADDR"
    assert str(caught.value).startswith(source)
    assert repr(address.strip() or "nowhere") in str(caught.value)


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:80"])
def test_an_address_of_another_machine_is_refused(endpoint: Endpoint, address: str):
    with pytest.raises(ConfigurationError, match=f"^cannot listen on {re.escape(address)}: "):
        endpoint.serve(address)


def test_an_address_in_use_is_refused(endpoint: Endpoint):
    with listen() as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"cannot listen on .*:{port}: .*in use"):
            endpoint.serve(f"127.0.0.1:{port}")


# The server


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what was asked."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    answer = json.dumps([scope["method"], scope["path"], body.decode()]).encode()
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def server() -> Iterator[Server]:
    with serve_app(echo) as server:
        yield server


def connect(server: Server) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), SECONDS)


def everything(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    data = b""
    while received := connection.recv(65536):
        data += received
    return data


class Answers:
    """Reads the answers of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")

    def read(self) -> tuple[int, dict[str, str], bytes]:
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers, self._file.read(int(headers["content-length"]))

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def http1(server: Server) -> Iterator[tuple[socket.socket, Answers]]:
    with connect(server) as connection, contextlib.closing(Answers(connection)) as answers:
        yield connection, answers


class HTTP2:
    """A client of HTTP/2, byte by byte."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.goodbye = False

    def request(self, path: str, body: bytes | None = b"") -> int:
        """Begin a request; its body is left open if there is none. Sends nothing."""
        stream = self.h2.get_next_available_stream_id()
        pairs = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "x")]
        self.h2.send_headers(stream, pairs)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=True)
        return stream

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def read(self, *streams: int) -> dict[int, bytes]:
        """Read until these requests are answered."""
        found: dict[int, bytes] = {}
        ended: set[int] = set()
        while ended < set(streams):
            data = self.socket.recv(65536)
            assert data, "the connection was closed"
            for event in self.take(data):
                if isinstance(event, h2.events.DataReceived):
                    found[event.stream_id] = found.get(event.stream_id, b"") + event.data
                elif isinstance(event, h2.events.StreamEnded):
                    ended.add(event.stream_id)
            if not self.goodbye:
                self.flush()
        return found

    def take(self, data: bytes) -> list[h2.events.Event]:
        """What the server says by these bytes."""
        events = self.h2.receive_data(data) if data else []
        for event in events:
            if isinstance(event, h2.events.ConnectionTerminated):
                self.goodbye = event.error_code == 0
        return events

    def until_read(self) -> None:
        """Wait until the server has read all that was sent."""
        self.h2.ping(b"12345678")
        self.flush()
        while not any(
            isinstance(event, h2.events.PingAckReceived)
            for event in self.take(self.socket.recv(65536))
        ):
            pass


def in_order(server: Server, path: str = "/x") -> None:
    """The server answers a new client."""
    with http1(server) as (connection, answers):
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        assert answers.read()[2] == f'["GET", "{path}", ""]'.encode()


@pytest.mark.parametrize("position", range(1, 60))
def test_http2_is_told_wherever_its_first_bytes_are_split(server: Server, position: int):
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = HTTP2(connection)
        stream = client.request("/x", b"body")
        data = client.h2.data_to_send()
        connection.sendall(data[:position])
        in_order(server)  # by then the first part has been read
        connection.sendall(data[position:])
        assert client.read(stream) == {stream: b'["POST", "/x", "body"]'}


@pytest.mark.parametrize("http2", [True, False])
def test_a_request_that_arrives_byte_by_byte(server: Server, http2: bool):
    with http1(server) as (connection, answers):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = HTTP2(connection)
        stream = client.request("/x", b"body")
        data = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody"
        for byte in client.h2.data_to_send() if http2 else data:
            connection.sendall(bytes([byte]))
        if http2:
            assert client.read(stream) == {stream: b'["POST", "/x", "body"]'}
        else:
            assert answers.read()[2] == b'["POST", "/x", "body"]'


@pytest.mark.parametrize(
    "data",
    [
        b"PRINT / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nNO\r\n\r\n",
        b"PRI * HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\0\1\2\3\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # how TLS begins
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"CONNECT example.com:80 HTTP/1.1\r\nhost: example.com:80\r\n\r\n",
    ],
)
def test_bytes_that_are_no_request_get_400(server: Server, data: bytes):
    with connect(server) as connection:
        connection.sendall(data)
        assert everything(connection).startswith(b"HTTP/1.1 400 ")
    in_order(server)


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nhost: x\r\nx: ", b"\r\n"])
def test_a_head_that_never_ends_gets_400(server: Server, begin: bytes):
    """It is not kept in memory."""
    with connect(server) as connection, contextlib.suppress(ConnectionError):
        filler = b"\r\n" * 500 if begin == b"\r\n" else b"x" * 1000
        connection.sendall(begin)
        for _ in range(10_000):
            connection.sendall(filler)
        pytest.fail("the server has read 10 MB of it")
    in_order(server)


def test_a_long_head_is_taken(server: Server):
    with http1(server) as (connection, answers):
        for _ in range(3):
            connection.sendall(b"GET /x HTTP/1.1\r\nhost: x\r\nx: " + b"x" * 50_000 + b"\r\n\r\n")
            assert answers.read()[0] == 200


def test_a_long_body_is_taken_in_pieces(server: Server):
    with http1(server) as (connection, answers):
        for _ in range(3):
            connection.sendall(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n")
            connection.sendall(b"x" * 2_000_000)
            assert len(answers.read()[2]) == 2_000_000 + len('["POST", "/x", ""]')


@pytest.mark.parametrize(
    "upgrade",
    [
        b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\n",
        b"upgrade: h2c\r\nconnection: keep-alive, Upgrade\r\n",
    ],
)
def test_a_request_for_another_protocol_is_answered_by_this_one(server: Server, upgrade: bytes):
    """Java's client asks for HTTP/2 in every request. The body must not be lost."""
    head = b"POST /x HTTP/1.1\r\nhost: x\r\n" + upgrade
    with http1(server) as (connection, answers):
        for _ in range(3):
            connection.sendall(head + b"content-length: 4\r\n\r\nbody")
            status, _, body = answers.read()
            assert (status, body) == (200, b'["POST", "/x", "body"]')
        chunked = head + b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
        connection.sendall(chunked + head + b"content-length: 0\r\n\r\n")
        assert answers.read()[2] == b'["POST", "/x", "body"]'
        assert answers.read()[2] == b'["POST", "/x", ""]'
        for byte in head + b"content-length: 4\r\n\r\nbody":
            connection.sendall(bytes([byte]))
        assert answers.read()[2] == b'["POST", "/x", "body"]'


def test_many_requests_for_another_protocol_at_once(server: Server):
    head = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    with http1(server) as (connection, answers):
        connection.sendall(head * 2000)
        for _ in range(2000):
            assert answers.read()[2] == b'["GET", "/", ""]'


def test_requests_that_follow_each_other_without_waiting(server: Server):
    with http1(server) as (connection, answers):
        numbers = range(100)
        connection.sendall(
            b"".join(b"POST /%d HTTP/1.1\r\ncontent-length: 1\r\n\r\n." % n for n in numbers)
        )
        for number in numbers:
            assert answers.read()[2] == b'["POST", "/%d", "."]' % number


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_connection_lasts_for_thousands_of_requests(server: Server, version: str):
    with http1(server) as (connection, answers):
        client = HTTP2(connection)
        for _ in range(2500):
            if version == "1":
                connection.sendall(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n")
                status, headers, _ = answers.read()
                assert status == 200
                assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", headers["date"])
                assert "connection" not in headers
            else:
                stream = client.request("/x")
                client.flush()
                assert client.read(stream) == {stream: b'["POST", "/x", ""]'}


def test_a_connection_of_http_1_0_is_closed(server: Server):
    with connect(server) as connection:
        connection.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        assert everything(connection).endswith(b'\r\n\r\n["GET", "/x", ""]')


async def refuse_unread(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, without reading the request, but at `/slow`."""
    if scope["path"] == "/slow":
        await echo(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 403, "headers": []})
    await send({"type": "http.response.body", "body": b"no"})


def test_an_http2_request_that_is_refused_unread_does_not_harm_the_others():
    """Neither by its bytes that arrive after the answer, nor by those that nobody reads."""
    with serve_app(refuse_unread) as server, connect(server) as connection:
        client = HTTP2(connection)
        slow = client.request("/slow", None)
        for _ in range(5):
            stream = client.request("/", None)
            client.flush()
            assert client.read(stream) == {stream: b"no"}
            for _ in range(30):
                client.h2.send_data(stream, b"x" * 1000)
            client.flush()
        client.h2.send_data(slow, b"body", end_stream=True)
        client.flush()
        assert client.read(slow) == {slow: b'["POST", "/slow", "body"]'}


def test_a_grpc_request_that_is_too_large_does_not_harm_the_others():
    endpoint = Endpoint("bridge://x", max_request_bytes=100_000, env={})
    release = threading.Event()

    @endpoint.function
    def wait() -> str:
        release.wait(SECONDS)
        return "finished"

    @endpoint.function
    def size(data: bytes) -> int:
        return len(data)

    with serve_app(endpoint.app) as server:
        with grpc.insecure_channel(server.url.removeprefix("http://")) as channel:
            stub = FunctionServiceStub(channel)
            waiting = stub.Run.future(request_of("wait", None), timeout=SECONDS)
            for _ in range(3):
                with pytest.raises(grpc.RpcError) as caught:
                    stub.Run(request_of("size", b"x" * 5_000_000), timeout=SECONDS)
                assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert output_of(stub.Run(request_of("size", b"xy"), timeout=SECONDS)) == 2
            release.set()
            assert output_of(waiting.result()) == "finished"


# The end of the server


class Slow:
    """An application whose requests take until they are released, and a server of it."""

    def __init__(self, graceful_seconds: float) -> None:
        self._graceful_seconds = graceful_seconds
        self.begun = threading.Semaphore(0)
        self.cancelled: list[str] = []
        self.answer = b"finished"
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        assert self._ready.wait(SECONDS)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop, self._release = asyncio.Event(), asyncio.Event()
        listener = listen()
        self.server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}")
        self._ready.set()
        await serve(self, listener, until=self._stop.wait, graceful_seconds=self._graceful_seconds)
        self.left = asyncio.all_tasks() - {asyncio.current_task()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.release()
        try:
            await self._release.wait()
        except asyncio.CancelledError:
            self.cancelled.append(scope["path"])
            raise
        headers = [(b"content-length", str(len(self.answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.answer})

    def until_begun(self, number: int) -> None:
        for _ in range(number):
            assert self.begun.acquire(timeout=SECONDS)

    def stop(self) -> None:
        """Begin the end, and wait until no connection is taken any more."""
        self._loop.call_soon_threadsafe(self._stop.set)
        with contextlib.suppress(OSError):
            while True:
                connect(self.server).close()
                time.sleep(0.01)

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._release.set)

    def ended(self) -> bool:
        self._thread.join(SECONDS)
        return not self._thread.is_alive() and not self.left


def test_http2_requests_finish_when_the_server_ends():
    slow = Slow(SECONDS)
    with connect(slow.server) as connection, connect(slow.server) as idle:
        HTTP2(idle).flush()
        client = HTTP2(connection)
        streams = [client.request(f"/{number}") for number in range(50)]
        client.flush()
        slow.until_begun(50)
        slow.stop()
        late = client.request("/late")  # on a connection that is still open
        client.flush()
        slow.until_begun(1)
        slow.release()
        assert client.read(*streams, late) == dict.fromkeys([*streams, late], b"finished")
        assert slow.ended()
        client.take(everything(connection))
        assert client.goodbye
    assert not slow.cancelled


def test_http2_requests_that_take_too_long_are_cancelled():
    slow = Slow(0.2)
    with connect(slow.server) as connection:
        client = HTTP2(connection)
        for number in range(3):
            client.request(f"/{number}")
        client.flush()
        slow.until_begun(3)
        slow.stop()
        assert slow.ended()
        with contextlib.suppress(ConnectionError):
            everything(connection)
    assert sorted(slow.cancelled) == ["/0", "/1", "/2"]


def test_http1_requests_that_take_too_long_are_cancelled():
    slow = Slow(0.2)
    with connect(slow.server) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n")
        slow.until_begun(1)
        slow.stop()
        assert slow.ended()
        with contextlib.suppress(ConnectionError):
            assert everything(connection) == b""
    assert slow.cancelled == ["/x"]


def test_requests_that_wait_for_another_one_of_their_connection_finish_too():
    slow = Slow(SECONDS)
    with connect(slow.server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
        slow.until_begun(1)
        slow.stop()
        slow.release()
        assert everything(connection).count(b"\r\n\r\nfinished") == 3
    assert slow.ended()
    assert not slow.cancelled


def test_a_large_answer_is_not_cut_off_by_the_end():
    slow = Slow(SECONDS)
    slow.answer = b"x" * 20_000_000
    with connect(slow.server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        slow.until_begun(1)
        slow.release()
        connection.recv(1)
        slow.stop()
        assert everything(connection).endswith(b"\r\n\r\n" + slow.answer)
    assert slow.ended()


def test_clients_that_read_nothing_do_not_keep_the_server_from_ending():
    slow = Slow(0.2)
    slow.answer = b"x" * 20_000_000
    with connect(slow.server) as connection, connect(slow.server) as other:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        client = HTTP2(other)
        client.request("/")
        client.flush()
        slow.until_begun(2)
        slow.release()
        slow.stop()
        assert slow.ended()


@pytest.mark.parametrize("abrupt", [False, True])
def test_clients_that_go_away_leave_nothing_behind(abrupt: bool, caplog: pytest.LogCaptureFixture):
    """Their requests finish for nobody; neither they nor the connections stay."""
    slow = Slow(1000)
    for _ in range(3):
        with connect(slow.server) as connection:
            client = HTTP2(connection)
            for number in range(20):
                client.request(f"/{number}")
            client.flush()
            slow.until_begun(20)
            if abrupt:
                linger = struct.pack("ii", 1, 0)  # the end is a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    time.sleep(0.2)  # by then the server has read the ends
    slow.release()
    slow.stop()
    assert slow.ended()
    assert not caplog.records


class Patient(Slow):
    """An application that waits until its client goes away, and answers nothing."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.release()
        while (await receive())["type"] != "http.disconnect":
            pass


def test_a_connection_whose_client_has_given_up_its_request_is_idle():
    """At the end it is closed, and not waited for."""
    slow = Patient(1000)
    with connect(slow.server) as connection:
        client = HTTP2(connection)
        stream = client.request("/")
        client.flush()
        slow.until_begun(1)
        client.h2.reset_stream(stream)
        client.until_read()
        slow.stop()
        assert slow.ended()


def test_a_body_that_nobody_reads_does_not_stop_the_others_of_its_connection():
    slow = Slow(SECONDS)  # which reads none
    with connect(slow.server) as connection:
        client = HTTP2(connection)
        unread = client.request("/", None)
        for _ in range(50):
            client.h2.send_data(unread, b"x" * 1000)
        other = client.request("/")
        client.flush()
        slow.until_begun(2)
        slow.release()
        assert client.read(unread, other) == {unread: b"finished", other: b"finished"}
    slow.stop()
    assert slow.ended()


def test_the_listening_socket_is_closed_when_serving_cannot_begin(tmp_path):
    async def never() -> None:
        raise AssertionError

    listener = listen()
    with pytest.raises(OSError, match="No such file"):
        asyncio.run(serve(echo, listener, until=never, certfile=str(tmp_path / "none")))
    assert listener.fileno() == -1


def test_the_socket_is_closed_when_serving_ends():
    async def at_once() -> None: ...

    listener = listen()
    asyncio.run(serve(echo, listener, until=at_once))
    assert listener.fileno() == -1
