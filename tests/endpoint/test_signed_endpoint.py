"""An endpoint with a verification key, over HTTP: what runs, and what is refused unread."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from dispatch.sdk.v1.function_pb2_grpc import FunctionServiceStub
from starlette.applications import Starlette
from starlette.routing import Mount

from dispatch_grpc import Endpoint, Status, marshal, unmarshal
from dispatch_grpc.primitives import RunRequest, RunResponse
from dispatch_grpc.signature import new_key_pair, parse_signing_key, sign_request
from dispatch_grpc.testing import serve_app

PATH = "/dispatch.sdk.v1.FunctionService/Run"
LIMIT = 10_000
SECONDS = 30
PAIR, OTHER = new_key_pair(), new_key_pair()
KEY = parse_signing_key(PAIR.signing_key)
PROTO, JSON = "application/proto", "application/json"
BODY = RunRequest(function="greet", input=marshal("World")).SerializeToString()
JSON_BODY = json.dumps(
    {
        "function": "greet",
        "input": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "World"},
    }
).encode()

Headers = list[tuple[str, str]]


class Hosted:
    """A served endpoint that verifies signatures, and the requests to it."""

    def __init__(self, url: str, calls: list[str]) -> None:
        self.authority = url.removeprefix("http://")
        self.calls = calls

    def signed(
        self, body: bytes = BODY, content_type: str = PROTO, path: str = PATH, **options: Any
    ) -> Headers:
        """The headers of a request, with its signature."""
        options = {"authority": self.authority, "key": KEY, "created": None, **options}
        url = f"http://{options['authority']}{path}"
        headers = {"content-type": content_type}
        signature = sign_request(
            "POST", url, headers, body, options["key"], created=options["created"]
        )
        return [
            ("host", options["authority"]),
            ("content-length", str(len(body))),
            *headers.items(),
            *signature.items(),
        ]

    def send(
        self, headers: Headers, body: bytes = BODY, path: str = PATH, method: str = "POST"
    ) -> tuple[int, bytes]:
        """Send exactly these bytes, and return the status and the body of the answer."""
        host, port = self.authority.split(":")
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        data = "\r\n".join([*lines, "connection: close", "", ""]).encode("latin-1") + body
        with socket.create_connection((host, int(port)), SECONDS) as connection:
            connection.sendall(data)
            answer = b""
            while received := connection.recv(65536):
                answer += received
        head, _, content = answer.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head:
            whole, rest = b"", content
            while size := int(rest.partition(b"\r\n")[0], 16):
                rest = rest.partition(b"\r\n")[2]
                whole, rest = whole + rest[:size], rest[size + 2 :]
            content = whole
        return int(head.split()[1]), content

    def runs(self) -> None:
        """A request that is as it should be is answered."""
        before = len(self.calls)
        status, content = self.send(self.signed())
        assert (status, output_of(RunResponse.FromString(content))) == (200, "Hello, World!")
        assert len(self.calls) == before + 1

    def refuses(self, expected: int, *args: Any, **options: Any) -> str:
        """A request is refused by a Connect error, nothing runs, and the next one is answered."""
        before = len(self.calls)
        status, content = self.send(*args, **options)
        assert status == expected, content
        error = json.loads(content)
        assert set(error) == {"code", "message"}
        assert error["code"] == CODES[expected]
        assert len(self.calls) == before
        self.runs()
        return str(error["message"])


CODES = {400: "invalid_argument", 401: "unauthenticated", 403: "permission_denied"}


def output_of(response: RunResponse) -> Any:
    assert Status(response.status) is Status.OK, response
    return unmarshal(response.exit.result.output)


def make() -> tuple[Endpoint, list[str]]:
    endpoint = Endpoint(
        "http://127.0.0.1:8000",
        verification_key=PAIR.verification_key,
        max_request_bytes=LIMIT,
        env={},
    )
    calls: list[str] = []

    @endpoint.function
    async def greet(name: str) -> str:
        calls.append(name)
        return f"Hello, {name}!"

    return endpoint, calls


@pytest.fixture
def hosted() -> Iterator[Hosted]:
    endpoint, calls = make()
    with serve_app(endpoint.app) as server:
        yield Hosted(server.url, calls)


def without(headers: Headers, *names: str) -> Headers:
    return [(name, value) for name, value in headers if name not in names]


def with_(headers: Headers, name: str, value: str) -> Headers:
    """The headers with another value of one of them."""
    return [(key, value if key == name else old) for key, old in headers]


@pytest.mark.parametrize(("body", "content_type"), [(BODY, PROTO), (JSON_BODY, JSON)])
def test_a_signed_request_runs(hosted: Hosted, body: bytes, content_type: str):
    status, content = hosted.send(hosted.signed(body, content_type), body)
    assert status == 200
    if content_type == JSON:
        assert json.loads(content)["exit"]["result"]["output"]["value"] == "Hello, World!"
    else:
        assert output_of(RunResponse.FromString(content)) == "Hello, World!"
    assert hosted.calls == ["World"]


@pytest.mark.parametrize("authority", ["example.com", "example.com:8443", "[::1]:8000", "EX.com"])
def test_the_host_that_is_signed_is_that_of_the_request(hosted: Hosted, authority: str):
    """Behind a proxy it is not that of the server."""
    assert hosted.send(hosted.signed(authority=authority))[0] == 200


@pytest.mark.parametrize("prefix", ["/deep/below", "/caf%C3%A9", "/a%20b"])
def test_the_whole_path_is_signed_below_a_prefix(prefix: str):
    from urllib.parse import unquote

    endpoint, calls = make()
    app = Starlette(routes=[Mount(unquote(prefix), endpoint.app), Mount("/other", endpoint.app)])
    with serve_app(app) as server:
        hosted = Hosted(server.url, calls)
        path = prefix + PATH
        assert hosted.send(hosted.signed(path=path), path=path)[0] == 200
        assert hosted.send(hosted.signed(path=PATH), path=path)[0] == 403
        assert hosted.send(hosted.signed(path="/other" + PATH), path=path)[0] == 403
        assert len(calls) == 1


def test_a_part_of_the_path_cannot_hide_in_the_host():
    """Signed for one tenant's endpoint, sent to another's on the same port."""
    endpoint, calls = make()
    mounts = Starlette(routes=[Mount("/tenant", endpoint.app), Mount("/", endpoint.app)])
    with serve_app(mounts) as server:
        hosted = Hosted(server.url, calls)
        headers = hosted.signed(path=f"/tenant{PATH}")
        hidden = [("host", f"{hosted.authority}/tenant"), *headers[1:]]
        assert "is not valid" in hosted.refuses(400, hidden)


def test_the_query_is_not_signed(hosted: Hosted):
    assert hosted.send(hosted.signed(), path=PATH + "?x=1")[0] == 200


@pytest.mark.parametrize("missing", ["signature", "signature-input"])
def test_a_request_without_a_signature_is_401(hosted: Hosted, missing: str):
    message = hosted.refuses(401, without(hosted.signed(), missing))
    assert f"the header {missing} is missing" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("signature", "dispatch=:no base64:"),
        ("signature", "dispatch"),
        ("signature", "other=:AAAA:"),
        ("signature", '"quotes"\xff{}'),
        ("signature-input", "dispatch"),
        ("signature-input", "dispatch=("),
        ("signature-input", 'dispatch=("@method");keyid="default"'),
        ("signature-input", ""),
    ],
)
def test_a_malformed_signature_is_401(hosted: Hosted, name: str, value: str):
    hosted.refuses(401, with_(hosted.signed(), name, value))


def test_a_signature_of_another_key_is_403(hosted: Hosted):
    key = parse_signing_key(OTHER.signing_key)
    hosted.refuses(403, hosted.signed(key=key))


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"path": PATH + "/"},
        {"path": PATH.replace("Run", "Ran")},
        {"path": "/x" + PATH},
        {"path": PATH.replace("F", "%46", 1)},
        {"host": "example.com"},
        {"host": "127.0.0.1"},
        {"content-type": JSON},
        {"content-type": PROTO + "; charset=utf-8"},
        {"content-digest": "sha-512=:" + "A" * 86 + "==:"},
        {"body": BODY.replace(b"World", b"Mars!")},
        {"body": BODY + b"\0"},
    ],
    ids=repr,
)
def test_what_is_signed_must_not_change(hosted: Hosted, change: dict[str, Any]):
    headers = hosted.signed()
    body = change.pop("body", BODY)
    headers = with_(headers, "content-length", str(len(body)))
    route = {name: change.pop(name) for name in ("method", "path") if name in change}
    for name, value in change.items():
        headers = with_(headers, name, value)
    hosted.refuses(403, headers, body, **route)


@pytest.mark.parametrize("at", [timedelta(minutes=-6), timedelta(minutes=1)])
def test_an_old_signature_and_one_of_the_future_are_403(hosted: Hosted, at: timedelta):
    hosted.refuses(403, hosted.signed(created=datetime.now(UTC) + at))


def test_a_signature_may_be_some_minutes_old(hosted: Hosted):
    created = datetime.now(UTC) - timedelta(minutes=4)
    assert hosted.send(hosted.signed(created=created))[0] == 200


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"\xff\xff no protobuf", PROTO), (b"no json", JSON), (b"", PROTO), (BODY, "text/html")],
)
def test_nothing_is_parsed_before_it_is_verified(hosted: Hosted, body: bytes, content_type: str):
    key = parse_signing_key(OTHER.signing_key)
    hosted.refuses(403, hosted.signed(body, content_type, key=key), body)
    hosted.refuses(401, without(hosted.signed(body, content_type), "signature"), body)
    status, _ = hosted.send(hosted.signed(body, content_type), body)
    assert status in {400, 404, 415}
    hosted.runs()


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", [PATH, "/", "/healthz"])
def test_nothing_is_told_to_who_has_no_key(hosted: Hosted, method: str, path: str):
    headers = [("host", hosted.authority), ("content-length", "0")]
    hosted.refuses(401, headers, b"", path, method)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(hosted: Hosted):
    """It is never sent here, so that waiting for it would be for ever."""
    headers = with_(hosted.signed(), "content-length", str(LIMIT + 1))
    assert str(LIMIT) in hosted.refuses(400, headers, b"")


def test_a_body_of_the_largest_size_is_read(hosted: Hosted):
    name = "x" * (LIMIT - 100)
    while True:
        body = RunRequest(function="greet", input=marshal(name)).SerializeToString()
        if len(body) == LIMIT:
            break
        name += "x"
    # What is too large now is the answer: the request was run.
    status, content = hosted.send(hosted.signed(body), body)
    assert status == 200
    assert Status(RunResponse.FromString(content).status) is Status.INVALID_RESPONSE
    assert hosted.calls == [name]


def chunked(body: bytes) -> bytes:
    """A body as a proxy sends it on that does not wait for its end."""
    chunks = [body[:10], body[10:]]
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def test_a_chunked_request_runs_if_it_is_signed(hosted: Hosted):
    headers = [
        *without(hosted.signed(), "content-length"),
        ("transfer-encoding", "chunked"),
    ]
    assert hosted.send(headers, chunked(BODY))[0] == 200
    assert hosted.calls == ["World"]
    hosted.refuses(403, headers, chunked(BODY + b"\0"))
    hosted.refuses(401, without(headers, "signature"), chunked(BODY))
    large = chunked(bytes(LIMIT + 1))
    assert str(LIMIT) in hosted.refuses(400, headers, large)


def test_a_request_without_a_length_has_no_body(hosted: Hosted):
    hosted.refuses(403, without(hosted.signed(), "content-length"), b"")


def test_a_length_that_is_less_than_the_body(hosted: Hosted):
    headers = with_(hosted.signed(), "content-length", str(len(BODY) - 1))
    hosted.refuses(403, headers)


def test_a_length_that_is_more_than_the_body(hosted: Hosted):
    """The client goes away before the body is there: nothing runs."""
    headers = with_(hosted.signed(), "content-length", str(len(BODY) + 1))
    host, port = hosted.authority.split(":")
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    for half in (True, False):
        with socket.create_connection((host, int(port)), SECONDS) as connection:
            connection.sendall("\r\n".join(lines).encode() + BODY)
            if half:
                connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    assert b" 200 " not in connection.recv(65536)
    hosted.runs()
    assert hosted.calls == ["World"]


@pytest.mark.parametrize("hosts", [[], ["evil.example.com"]])
def test_there_has_to_be_one_host(hosted: Hosted, hosts: list[str]):
    headers = hosted.signed() if hosts else without(hosted.signed(), "host")
    headers += [("host", host) for host in hosts]
    assert "one Host" in hosted.refuses(400, headers)


@pytest.mark.parametrize("name", ["signature", "signature-input", "content-digest", "content-type"])
def test_a_header_that_is_signed_must_not_be_repeated(hosted: Hosted, name: str):
    headers = hosted.signed()
    value = dict(headers)[name]
    hosted.refuses(403, [*headers, (name, value)])


@pytest.mark.parametrize("host", ["[::1", "a b", "x:y:z", "\xff", "", "%zz", "example.com:x"])
def test_a_host_that_is_none_is_refused(hosted: Hosted, host: str):
    headers = with_(hosted.signed(), "host", host)
    before = len(hosted.calls)
    assert hosted.send(headers)[0] in {400, 403}
    assert len(hosted.calls) == before
    hosted.runs()


# gRPC


def framed(body: bytes) -> bytes:
    """A message as gRPC sends it, which is what is signed."""
    return b"\0" + len(body).to_bytes(4, "big") + body


@pytest.fixture
def stub(hosted: Hosted) -> Iterator[Callable[..., Any]]:
    with grpc.insecure_channel(hosted.authority) as channel:
        yield FunctionServiceStub(channel).Run


def metadata(hosted: Hosted, body: bytes) -> Headers:
    headers = hosted.signed(framed(body), "application/grpc")
    return without(headers, "host", "content-length", "content-type")


def test_a_signed_grpc_request_runs(hosted: Hosted, stub: Callable[..., Any]):
    request = RunRequest.FromString(BODY)
    for _ in range(2):
        response = stub(request, metadata=metadata(hosted, BODY), timeout=SECONDS)
        assert output_of(response) == "Hello, World!"
    assert hosted.calls == ["World"] * 2


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda hosted: [], grpc.StatusCode.UNAUTHENTICATED),
        (lambda hosted: metadata(hosted, BODY)[:-1], grpc.StatusCode.UNAUTHENTICATED),
        (lambda hosted: metadata(hosted, BODY + b"\0"), grpc.StatusCode.PERMISSION_DENIED),
    ],
)
def test_a_grpc_request_that_is_not_signed_is_refused(
    hosted: Hosted,
    stub: Callable[..., Any],
    change: Callable[[Hosted], Headers],
    code: grpc.StatusCode,
):
    request = RunRequest.FromString(BODY)
    with pytest.raises(grpc.RpcError) as caught:
        stub(request, metadata=change(hosted), timeout=SECONDS)
    error: Any = caught.value
    assert error.code() is code
    assert not hosted.calls
    hosted.runs()
    assert output_of(stub(request, metadata=metadata(hosted, BODY), timeout=SECONDS))


def test_a_grpc_request_that_is_too_large_is_refused(hosted: Hosted, stub: Callable[..., Any]):
    request = RunRequest(function="greet", input=marshal("x" * 1_000_000))
    with pytest.raises(grpc.RpcError) as caught:
        stub(request, metadata=metadata(hosted, request.SerializeToString()), timeout=SECONDS)
    error: Any = caught.value
    assert "400" in error.details()  # of HTTP: it is refused while it is read, not after it
    request = RunRequest.FromString(BODY)
    assert output_of(stub(request, metadata=metadata(hosted, BODY), timeout=SECONDS))
    assert hosted.calls == ["World"]
