"""What clients of other makes meet: HTTP/1.0, gRPC where it cannot work, idle connections."""

import base64
import http.client
import json
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc import Call, Code, new_call
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.schema import CallInfo, GetCallResponse, ListCallsResponse
from dispatch_grpc.server import dispatch_app
from dispatch_grpc.serving.codecs import LATE_CODECS
from dispatch_grpc.testing import Server, serve_app
from tests import hostile
from tests.conftest import RunningService
from tests.waiting import until

PATH = "/dispatch.sdk.v1.DispatchService/Dispatch"


class Refuses:
    """A handler with a text that has more than letters."""

    async def dispatch(self, request: object, metadata: object) -> Any:
        raise rpc_error(Code.NOT_FOUND, "calls[0].function: 'é' is not there; 100 %")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_app(dispatch_app(Refuses())) as server:
        yield server


def unary(url: str, path: str, body: bytes = b"") -> grpc.RpcError:
    """The error of a call by gRPC."""
    with grpc.insecure_channel(urlsplit(url).netloc) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(path)(body, timeout=20)
    return caught.value


@pytest.mark.parametrize("path", ["/grpc.health.v1.Health/Checks", f"{PATH}er", "/x"])
def test_an_unknown_method_is_unimplemented(server: Server, service: RunningService, path: str):
    for url in (server.url, service.url):
        error: Any = unary(url, path)
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert error.details() == f"there is no method {path}"


def test_an_unknown_method_of_the_second_service(service: RunningService):
    error: Any = unary(service.url, "/dispatch.calls.v1.CallService/Nothing")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("path", [PATH, "/dispatch.calls.v1.CallService/GetCall"])
def test_grpc_over_http_1_is_unimplemented(
    service: RunningService, path: str, caplog: pytest.LogCaptureFixture
):
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=20)
    connection.request("POST", path, b"", {"content-type": "application/grpc"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["grpc-status"] == "12"
    assert answer.headers["grpc-message"].startswith("gRPC needs HTTP/2;")
    connection.close()
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_error_texts_are_readable_to_clients_that_decode_little(server: Server):
    """By decodeURI, as grpc-js does; all others read the same text."""
    error: Any = unary(server.url, PATH)
    text = "calls[0].function: 'é' is not there; 100 %"
    assert error.details() == text
    raw = raw_message(server.url)
    assert raw == "calls[0].function: '%C3%A9' is not there; 100 %25"
    assert unquote(raw) == text


def raw_message(url: str) -> str:
    """The header grpc-message as it comes, by a client of HTTP/2 that decodes nothing."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import TrailersReceived

    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), 20) as plain:
        connection = H2Connection(H2Configuration(header_encoding="utf-8"))
        connection.initiate_connection()
        headers = [(":method", "POST"), (":path", PATH), (":scheme", "http")]
        headers += [(":authority", parts.netloc), ("content-type", "application/grpc")]
        headers += [("te", "trailers")]
        connection.send_headers(1, headers)
        connection.send_data(1, struct.pack(">?I", False, 0), end_stream=True)
        plain.sendall(connection.data_to_send())
        while True:
            for event in connection.receive_data(plain.recv(65536)):
                if isinstance(event, TrailersReceived):
                    found: Any = dict(event.headers)
                    return str(found["grpc-message"])
            plain.sendall(connection.data_to_send())


def exchange(url: str, data: bytes, seconds: float = 20) -> bytes:
    """Send bytes, and return all that comes until the connection ends."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), seconds) as plain:
        plain.sendall(data)
        found = b""
        while some := plain.recv(65536):
            found += some
        return found


def test_http_1_0_is_answered_without_chunks(service: RunningService):
    body = b"{}"
    head = f"POST /dispatch.calls.v1.CallService/ListCalls HTTP/1.0\r\ncontent-length: {len(body)}"
    head += f"\r\ncontent-type: application/json\r\nauthorization: Bearer {service.api_key}\r\n\r\n"
    answer = exchange(service.url, head.encode() + body)
    top, _, content = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in top.lower()
    assert f"content-length: {len(content)}".encode() in top.lower()
    json.loads(content)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"state": 70000}, "state: 70000 is not a CallState"),
        ({"state": 9}, "state: 9 is not a CallState"),
        ({"status": 70000}, "status: 70000 is not a Status"),
        ({"status": -1}, "status: -1 is not a Status"),
    ],
)
def test_a_state_that_there_is_not(service: RunningService, body: dict[str, int], text: str):
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=20)
    headers = {"content-type": "application/json", "authorization": f"Bearer {service.api_key}"}
    path = "/dispatch.calls.v1.CallService/ListCalls"
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    assert answer.status == 400
    content = json.loads(answer.read())
    connection.close()
    assert (content["code"], content["message"]) == ("invalid_argument", text)


# JSON of what the server does not know

UNKNOWN = AnyProto(type_url="type.googleapis.com/acme.v1.Foo", value=b"\1\2")
SHOWN = {"@type": UNKNOWN.type_url, "value": base64.b64encode(UNKNOWN.value).decode()}


def encoded(message: Any) -> Any:
    (codec,) = (codec for codec in LATE_CODECS if codec.name() == "json")
    return json.loads(codec.encode(message))


def test_values_of_unknown_types_are_shown_by_type_and_bytes():
    info = CallInfo(dispatch_id="x")
    info.result.output.CopyFrom(UNKNOWN)
    call = Call(input=UNKNOWN)
    found = encoded(GetCallResponse(call=info))["call"]
    assert found["dispatchId"] == "x"
    assert found["result"]["output"] == SHOWN
    both = encoded(ListCallsResponse(calls=[CallInfo(dispatch_id="y"), info]))["calls"]
    assert both[0] == {"dispatchId": "y"}
    assert both[1] == found
    # A known message that holds an unknown one is as unknown.
    info.result.output.Pack(call)
    held = encoded(GetCallResponse(call=info))["call"]["result"]["output"]
    assert held["@type"].endswith("dispatch.sdk.v1.Call")
    assert held["value"] == base64.b64encode(call.SerializeToString()).decode()


def test_known_values_are_shown_as_ever():
    info = CallInfo(dispatch_id="x")
    info.result.output.Pack(new_call("http://x.example", "f"))
    found = encoded(GetCallResponse(call=info))
    assert found["call"]["result"]["output"]["function"] == "f"


# Connections


@pytest.mark.parametrize(
    "begin",
    [b"", b"P", b"PRI * HTTP/2.0\r\n", b"POST / HTTP/1.1\r\nhost: x\r\n"],
    ids=["nothing", "a byte", "half of HTTP/2", "half of a head"],
)
def test_a_connection_without_a_complete_head_is_closed(
    begin: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("dispatch_grpc.serving.one_port._HEAD_SECONDS", 0.3)
    with serve_app(dispatch_app(Refuses())) as server:
        assert closes(lambda: exchange(server.url, begin))
        if not begin:
            return  # after an answer a connection may be idle for longer
        parts = urlsplit(server.url)
        with socket.create_connection((parts.hostname, parts.port), 20) as plain:
            plain.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            assert plain.recv(65536).startswith(b"HTTP/1.1 404")
            plain.sendall(begin)
            assert closes(partial(read_to_end, plain))


def read_to_end(plain: socket.socket) -> None:
    while plain.recv(65536):
        pass


def closes(act: Callable[[], object]) -> bool:
    try:
        act()
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def test_a_slow_body_is_no_slow_head(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dispatch_grpc.serving.one_port._HEAD_SECONDS", 0.3)
    with serve_app(hostile.plain(200, b"ok", "text/plain")) as server:
        parts = urlsplit(server.url)
        with socket.create_connection((parts.hostname, parts.port), 20) as plain:
            plain.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n")
            plain.sendall(b"content-length: 4\r\n\r\n")
            for byte in (b"a", b"b", b"c", b"d"):
                time.sleep(0.2)
                plain.sendall(byte)
            assert plain.recv(65536).startswith(b"HTTP/1.1 200")


def test_connections_over_the_limit_are_closed(caplog: pytest.LogCaptureFixture):
    app = hostile.plain(200, b"ok", "text/plain")
    request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: x\r\ncontent-length: 0\r\n\r\n"
    with serve_app(app, max_connections=3) as server:
        parts = urlsplit(server.url)
        address = (parts.hostname or "", parts.port or 0)
        kept = [socket.create_connection(address, 20) for _ in range(3)]
        for plain in kept:
            plain.sendall(request)
            assert plain.recv(65536).startswith(b"HTTP/1.1 200")
        for _ in range(3):
            with socket.create_connection(address, 20) as one:
                assert closes(partial(read_to_end, one))
        assert caplog.text.count("limit of 3 connections is reached") == 1
        for plain in kept:
            plain.close()

        def answered() -> bool:
            with socket.create_connection(address, 20) as one:
                try:
                    one.sendall(request)
                    return one.recv(65536).startswith(b"HTTP/1.1 200")
                except ConnectionError:
                    return False

        until(answered)
