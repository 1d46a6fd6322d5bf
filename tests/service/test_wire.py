"""The wire between the service and endpoints: connections that close, fall silent or compress."""

import gzip
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import pytest
import trustme

from dispatch_grpc import CallError, Client, Endpoint, Status, new_call
from dispatch_grpc.service import http1
from dispatch_grpc.testing import serve_app
from tests import hostile
from tests.conftest import KEY
from tests.service.processes import Process, endpoint, service, until
from tests.service.wire import Answer, Proxy, compressed, proxy


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "runs"


@pytest.fixture(scope="module")
def hosted(log: Path) -> Iterator[Process]:
    with endpoint(log) as process:
        yield process


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service for all tests of this module."""
    with service(tmp_path_factory.mktemp("wire"), max_response_bytes=1_000_000) as process:
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
    assert not info.HasField("result"), info.result.error.message
    client.cancel(id)
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
        assert not info.HasField("last_error")


def test_a_new_connection_that_closes_without_an_answer_is_a_failed_attempt(client: Client):
    """A function may have ended its endpoint: it must not be sent again for ever."""

    def closes(answer: Answer, number: int) -> Answer:
        raise OSError

    with proxy() as between:
        between.alter = closes
        id = client.dispatch(new_call(between.url, "square", 2))
        assert "closed without an answer" in last_error(client, id)


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


def test_a_bomb_is_refused(client: Client, between: Proxy):
    def bomb(answer: Answer, _: int) -> Answer:
        body = gzip.compress(answer.body + b"\0" * 100_000_000)
        return Answer(200, answer.headers | {"content-encoding": "gzip"}, body)

    between.alter = bomb
    id = client.dispatch(new_call(between.url, "square", 4))
    with pytest.raises(CallError, match="more than 1000000 bytes") as caught:
        client.wait(id, timeout=timedelta(minutes=1))
    assert caught.value.status is Status.INVALID_RESPONSE


ODD = {
    "another coding": (
        {"content-type": "application/proto", "content-encoding": "br"},
        b"....",
        "content-encoding is 'br'; only gzip can be decoded",
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
        service(tmp_path / "data") as process,
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
        service(tmp_path / "data") as process,
        Client(KEY, api_url=process.url) as client,
        serve_app(endpoint.app, **certified.files) as server,
    ):
        id = client.dispatch(new_call(server.url, "double", 4))
        assert client.wait(id, timeout=timedelta(minutes=1)) == 8


def test_an_endpoint_that_does_not_speak_tls(client: Client, hosted: Process):
    url = hosted.url.replace("http://", "https://")
    error = last_error(client, client.dispatch(new_call(url, "square", 1)))
    assert "TLS failed: wrong version number; does it serve http://" in error


PASSING = {
    "a proxy's 404": Answer(404, {"content-type": "text/html"}, b"<html>"),
    "a proxy's 400": Answer(400, {"content-type": "text/html"}, b"<html>"),
    "a proxy's 401": Answer(401),
    "a proxy's 403": Answer(403),
    "a page of another server": Answer(200, {"content-type": "text/html"}, b"<html>"),
    "an unknown function": Answer(
        404, {"content-type": "application/json"}, b'{"code": "not_found"}'
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


def test_a_request_that_the_endpoint_itself_refuses_is_final(client: Client, between: Proxy):
    body = b'{"code": "invalid_argument", "message": "no such input"}'
    between.alter = lambda *_: Answer(400, {"content-type": "application/json"}, body)
    with pytest.raises(CallError, match="no such input") as caught:
        client.wait(client.dispatch(new_call(between.url, "square", 1)))
    assert caught.value.status is Status.INVALID_ARGUMENT
