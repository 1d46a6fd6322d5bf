"""The wire between the service and endpoints: connections that close, fall silent or compress."""

import gzip
import re
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import pytest
import trustme

from dispatch_grpc import CallError, Client, Endpoint, Status, new_call
from dispatch_grpc.primitives import RunResponse
from dispatch_grpc.service import http1
from dispatch_grpc.testing import serve_app
from tests import hostile
from tests.conftest import KEY, data_dir
from tests.service.processes import Process, endpoint, service
from tests.service.wire import Answer, Proxy, compressed, forwarding_proxy, proxy
from tests.waiting import until


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "runs"


@pytest.fixture(scope="module")
def hosted(log: Path) -> Iterator[Process]:
    with endpoint(log) as process:
        yield process


@pytest.fixture(scope="module")
def running() -> Iterator[Process]:
    """A service for all tests of this module."""
    with data_dir() as folder, service(folder, max_response_bytes=1_000_000) as process:
        yield process


@pytest.fixture
def client(running: Process) -> Iterator[Client]:
    with Client(KEY, api_url=running.url) as client:
        yield client


@pytest.fixture
def between(hosted: Process) -> Iterator[Proxy]:
    """A proxy in front of the endpoint."""
    with proxy(hosted.url) as one:
        yield one


def finished(client: Client, between: Proxy, number: int, calls: int = 1) -> list[str]:
    """Run calls to their end; returns their ids."""
    batch = client.batch()
    batch.add(*(new_call(between.url, "square", number) for _ in range(calls)))
    ids = batch.dispatch()
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(partial(client.wait, timeout=timedelta(minutes=1)), ids))
    assert results == [number * number] * calls
    return ids


def last_error(client: Client, id: str) -> str:
    """The error of a call's last attempt, once one has failed; the call is cancelled."""
    until(lambda: client.get(id).runs > 0)
    info = client.get(id)
    assert info.error is None, info.error
    client.cancel(id)
    assert info.last_error is not None
    return info.last_error.message


@pytest.mark.parametrize("calls", [1, 50])
def test_a_kept_connection_that_closes_as_a_request_goes_out_costs_no_attempt(
    client: Client, between: Proxy, calls: int
):
    finished(client, between, 2, calls)
    between.close_on_next = True
    ids = finished(client, between, 3, calls)
    assert between.closed >= 1
    for id in ids:
        info = client.get(id)
        assert info.runs == 1
        assert info.last_error is None


def test_a_new_connection_that_closes_without_an_answer_is_a_failed_attempt(client: Client):
    """A function may have ended its endpoint: it must not be sent again for ever."""

    def closes(answer: Answer, number: int) -> Answer:
        raise OSError

    with proxy() as between:
        between.alter = closes
        id = client.dispatch(new_call(between.url, "square", 2))
        assert "closed without an answer" in last_error(client, id)


def test_an_answer_that_has_begun_on_a_kept_connection_is_not_asked_for_again(
    client: Client, between: Proxy
):
    class Cut(Answer):
        def bytes(self) -> bytes:
            return super().bytes()[: len("HTTP/1.1 200 X\r\ncontent")]

    finished(client, between, 2)
    between.alter = lambda answer, number: Cut(closes=True) if number == 2 else answer
    (id,) = finished(client, between, 3)
    assert client.get(id).runs == 2
    between.alter = lambda *_: Cut(closes=True)
    error = last_error(client, client.dispatch(new_call(between.url, "square", 1)))
    assert "closed before the answer was complete" in error


def test_bytes_that_nobody_asked_for_are_not_taken_for_an_answer(client: Client, between: Proxy):
    answers: list[bytes] = []

    def noted(answer: Answer, _: int) -> Answer:
        answers.append(answer.bytes())
        return answer

    between.alter = noted
    finished(client, between, 2)
    between.push(answers[0])
    time.sleep(0.2)  # until they are there
    (id,) = finished(client, between, 3)
    assert client.get(id).runs == 1
    assert between.connections == 2


@pytest.mark.parametrize("calls", [1, 50])
def test_a_silent_connection_that_was_idle_is_not_used_again(
    client: Client, between: Proxy, calls: int
):
    finished(client, between, 2, calls)
    between.fall_silent()
    time.sleep(http1._IDLE_SECONDS + 0.5)
    for id in finished(client, between, 3, calls):
        assert client.get(id).runs == 1


def test_connections_are_reused(client: Client, between: Proxy):
    for number in range(5):
        finished(client, between, number)
    assert between.connections == 1


def test_a_compressed_answer_is_decoded(client: Client, between: Proxy):
    between.alter = compressed
    (id,) = finished(client, between, 4)
    assert client.get(id).runs == 1
    assert {request.headers["accept-encoding"] for request in between.requests} == {"identity"}


def test_a_deflated_answer_is_decoded(client: Client, between: Proxy):
    headers = {"content-type": "application/proto", "content-encoding": "deflate"}
    between.alter = lambda answer, _: Answer(200, headers, zlib.compress(answer.body))
    (id,) = finished(client, between, 4)
    assert client.get(id).runs == 1


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity", "chunked"])
def test_a_bomb_is_refused(client: Client, between: Proxy, coding: str):
    class Chunked(Answer):
        def bytes(self) -> bytes:
            head = b"HTTP/1.1 200 X\r\ncontent-type: application/proto\r\n"
            chunk = b"%x\r\n%b\r\n" % (100_000, self.body[:100_000])
            return head + b"transfer-encoding: chunked\r\n\r\n" + chunk * 100

    def bomb(answer: Answer, _: int) -> Answer:
        body = answer.body + b"\0" * 100_000_000
        headers = answer.headers | {"content-encoding": coding}
        if coding == "chunked":
            return Chunked(body=body)
        if coding != "identity":
            body = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
        return Answer(200, headers, body)

    between.alter = bomb
    id = client.dispatch(new_call(between.url, "square", 4))
    with pytest.raises(CallError, match="larger than 1000000 bytes") as caught:
        client.wait(id, timeout=timedelta(minutes=1))
    assert caught.value.status is Status.INVALID_RESPONSE


ODD = {
    "another coding": (
        {"content-type": "application/proto", "content-encoding": "br"},
        b"....",
        "content-encoding is 'br'; only gzip and deflate can be decoded",
    ),
    "no gzip": (
        {"content-type": "application/proto", "content-encoding": "gzip"},
        b"....",
        "its gzip content is malformed",
    ),
    "half of a gzip": (
        {"content-type": "application/proto", "content-encoding": "gzip"},
        gzip.compress(b"." * 1000)[:20],
        "its gzip content is incomplete",
    ),
    "empty": ({"content-type": "application/proto"}, b"", "is empty: most often it is a proxy's"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_answer_that_a_proxy_has_spoiled_is_tried_again(
    client: Client, between: Proxy, name: str
):
    headers, body, text = ODD[name]
    errors = []

    def once(answer: Answer, number: int) -> Answer:
        return Answer(200, headers, body) if number <= 2 else answer

    between.alter = once
    (id,) = finished(client, between, 5)
    assert client.get(id).runs == 3
    between.alter = lambda *_: Answer(200, headers, body)
    errors.append(last_error(client, client.dispatch(new_call(between.url, "square", 1))))
    assert text in errors[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_says_where_it_leads(client: Client, between: Proxy, status: int):
    location = "https://user:secret@new.example/there/dispatch.sdk.v1.FunctionService/Run"
    between.alter = lambda *_: Answer(status, {"location": location})
    error = last_error(client, client.dispatch(new_call(between.url, "square", 1)))
    assert f"HTTP status {status}, a redirect to https://********@new.example/there:" in error
    assert "change the URL of the endpoint" in error


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("is_date", [False, True])
def test_retry_after_is_honoured(client: Client, between: Proxy, status: int, is_date: bool):
    times: list[float] = []

    def busy(answer: Answer, number: int) -> Answer:
        times.append(time.time())
        if number > 1:
            return answer
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
        return Answer(status, {"retry-after": later if is_date else "2"})

    between.alter = busy
    finished(client, between, 6)
    assert times[1] - times[0] >= 1.9


def test_the_number_of_the_attempt_is_sent(client: Client, between: Proxy):
    between.alter = lambda answer, number: answer if number > 2 else Answer(500)
    finished(client, between, 7)
    attempts = [request.headers["dispatch-attempt"] for request in between.requests]
    assert attempts == ["1", "2", "3"]


def test_an_answer_in_pieces_and_one_that_ends_with_its_connection(client: Client, between: Proxy):
    class Chunked(Answer):
        def bytes(self) -> bytes:
            head = b"HTTP/1.1 103 X\r\nlink: x\r\n\r\nHTTP/1.1 200 X\r\n"
            head += b"content-type: application/proto; charset=utf-8\r\n"
            pieces = [self.body[n : n + 7] for n in range(0, len(self.body), 7)]
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            return head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"

    between.alter = lambda answer, _: Chunked(body=answer.body)
    (id,) = finished(client, between, 8)
    assert client.get(id).runs == 1


class Certified:
    """Files of a certificate for a host of a private authority."""

    def __init__(self, folder: Path, host: str = "localhost", **validity: datetime) -> None:
        self.certfile, self.keyfile, self.cafile = (
            str(folder / name) for name in ("cert.pem", "key.pem", "ca.pem")
        )
        ca = trustme.CA(organization_name="Acme Authority")
        ca.cert_pem.write_to_path(self.cafile)
        pair = ca.issue_cert(host, **validity)
        pair.private_key_pem.write_to_path(self.keyfile)
        pair.cert_chain_pems[0].write_to_path(self.certfile)

    @property
    def files(self) -> dict[str, str]:
        return {"certfile": self.certfile, "keyfile": self.keyfile}


NOW = datetime.now(UTC)
AUTHORITIES: dict[str, tuple[str, dict[str, datetime], str]] = {
    "not trusted": (
        "localhost",
        {},
        "the certificate of localhost is not trusted \\(issuer .*Acme Authority.*\\): add the "
        "authority to the system's store, or name its file in SSL_CERT_FILE",
    ),
    "of another name": (
        "other.example",
        {},
        "the certificate of localhost is for another name: other.example",
    ),
    "expired": (
        "localhost",
        {"not_before": NOW - timedelta(days=9), "not_after": NOW - timedelta(days=2)},
        f"the certificate of localhost expired on {(NOW - timedelta(days=2)).date()}",
    ),
    "of the future": (
        "localhost",
        {"not_before": NOW + timedelta(days=2), "not_after": NOW + timedelta(days=9)},
        f"the certificate of localhost is not valid before {(NOW + timedelta(days=2)).date()}",
    ),
}


@pytest.mark.parametrize("name", AUTHORITIES)
def test_a_certificate_that_is_refused_is_told_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    host, validity, text = AUTHORITIES[name]
    certified = Certified(tmp_path, host, **validity)
    if name != "not trusted":
        monkeypatch.setenv("SSL_CERT_FILE", certified.cafile)
    with (
        data_dir() as folder,
        service(folder) as process,
        Client(KEY, api_url=process.url) as client,
        serve_app(hostile.plain(200, b"", "application/proto"), **certified.files) as server,
    ):
        error = last_error(client, client.dispatch(new_call(server.url, "f")))
        assert re.search(text, error), error


def test_an_authority_of_ssl_cert_file_is_trusted(
    tmp_path: Path, hosted: Process, monkeypatch: pytest.MonkeyPatch
):
    certified = Certified(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", certified.cafile)
    endpoint = Endpoint("https://localhost", env={})

    @endpoint.function
    def double(number: int) -> int:
        return number * 2

    with (
        data_dir() as folder,
        service(folder) as process,
        Client(KEY, api_url=process.url) as client,
        serve_app(endpoint.app, **certified.files) as server,
    ):
        id = client.dispatch(new_call(server.url, "double", 4))
        assert client.wait(id, timeout=timedelta(minutes=1)) == 8


def test_an_endpoint_that_does_not_speak_tls(client: Client, hosted: Process):
    url = hosted.url.replace("http://", "https://")
    error = last_error(client, client.dispatch(new_call(url, "square", 1)))
    assert "TLS failed: wrong version number; does it serve http://" in error


def not_found(message: str) -> RunResponse:
    """A response with the status NOT_FOUND, as dispatch-go's."""
    response = RunResponse(status=Status.NOT_FOUND.value)
    response.exit.result.error.type = "errorString"
    response.exit.result.error.message = message
    return response


PASSING = {
    "a proxy's 404": Answer(404, {"content-type": "text/html"}, b"<html>"),
    "a proxy's 400": Answer(400, {"content-type": "text/html"}, b"<html>"),
    "a proxy's 401": Answer(401),
    "a proxy's 403": Answer(403),
    "a page of another server": Answer(200, {"content-type": "text/html"}, b"<html>"),
    "an unknown function": Answer(
        404, {"content-type": "application/json"}, b'{"code": "not_found"}'
    ),
    "an unknown function of dispatch-go": Answer(
        200,
        {"content-type": "application/proto"},
        not_found('function "square" not found').SerializeToString(),
    ),
    "a key that is rotated": Answer(
        403, {"content-type": "application/json"}, b'{"code": "permission_denied"}'
    ),
    "a signature that is missing": Answer(
        401, {"content-type": "application/json"}, b'{"code": "unauthenticated"}'
    ),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_deploy_and_a_key_rotation_end_nothing(client: Client, between: Proxy, name: str):
    between.alter = lambda answer, number: PASSING[name] if number <= 2 else answer
    (id,) = finished(client, between, 9)
    assert client.get(id).runs == 3


def test_a_function_that_does_not_find_something_is_final(client: Client, between: Proxy):
    body = not_found("order 17 not found").SerializeToString()
    between.alter = lambda *_: Answer(200, {"content-type": "application/proto"}, body)
    id = client.dispatch(new_call(between.url, "square", 1))
    with pytest.raises(CallError, match="order 17 not found") as caught:
        client.wait(id)
    assert caught.value.status is Status.NOT_FOUND
    assert client.get(id).runs == 1


def test_a_request_that_the_endpoint_itself_refuses_is_final(client: Client, between: Proxy):
    body = b'{"code": "invalid_argument", "message": "no such input"}'
    between.alter = lambda *_: Answer(400, {"content-type": "application/json"}, body)
    with pytest.raises(CallError, match="no such input") as caught:
        client.wait(client.dispatch(new_call(between.url, "square", 1)))
    assert caught.value.status is Status.INVALID_ARGUMENT


def test_endpoints_are_called_through_a_proxy_that_is_asked_for(
    tmp_path: Path, hosted: Process, monkeypatch: pytest.MonkeyPatch
):
    certified = Certified(tmp_path, "endpoint.invalid")
    monkeypatch.setenv("SSL_CERT_FILE", certified.cafile)
    port = hosted.url.rpartition(":")[2]
    endpoint = Endpoint("https://endpoint.invalid", env={})

    @endpoint.function
    def double(number: int) -> int:
        return number * 2

    with (
        forwarding_proxy() as between,
        data_dir() as folder,
        service(folder, endpoint_proxy=f"http://me:pass@127.0.0.1:{between.port}") as process,
        Client(KEY, api_url=process.url) as client,
        serve_app(endpoint.app, **certified.files) as server,
    ):
        other = server.url.rpartition(":")[2]
        plain = client.dispatch(new_call(f"http://endpoint.invalid:{port}/", "square", 4))
        assert client.wait(plain, timeout=timedelta(minutes=1)) == 16
        secure = client.dispatch(new_call(f"https://endpoint.invalid:{other}", "double", 4))
        assert client.wait(secure, timeout=timedelta(minutes=1)) == 8
        path = "/dispatch.sdk.v1.FunctionService/Run"
        auth = "Basic bWU6cGFzcw=="
        assert between.asked == [
            ("POST", f"http://endpoint.invalid:{port}{path}", auth),
            ("CONNECT", f"endpoint.invalid:{other}", auth),
        ]
        monkeypatch.setattr(between, "refuses", 403)
        refused = client.dispatch(new_call("https://other.invalid", "double", 4))
        assert "the proxy answered with HTTP status 403" in last_error(client, refused)
        between.shutdown()
        between.server_close()
        refused = client.dispatch(new_call("https://third.invalid", "double", 4))
        assert "the proxy cannot be reached" in last_error(client, refused)


def test_the_proxies_of_the_environment_are_not_used(
    hosted: Process, monkeypatch: pytest.MonkeyPatch
):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with (
        data_dir() as folder,
        service(folder) as process,
        Client(KEY, api_url=process.url) as client,
    ):
        id = client.dispatch(new_call(hosted.url, "square", 4))
        assert client.wait(id, timeout=timedelta(minutes=1)) == 16
