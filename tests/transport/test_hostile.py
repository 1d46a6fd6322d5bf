"""What answers is not a Dispatch service, or not a healthy one."""

import re
import time
from datetime import timedelta

import pytest

from dispatch_grpc import (
    AuthenticationError,
    Code,
    DeadlineExceededError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RequestTooLargeError,
    RPCError,
    UnavailableError,
    new_call,
)
from dispatch_grpc.testing import CallRecorder, Server
from tests import hostile
from tests.conftest import Driver

CALL = new_call("http://example.com", "f")
HTML = b"<!doctype html><title>hello</title>"


def attempt(driver: Driver, url: str, **settings: object) -> RPCError:
    """Dispatch a call, and return the error by which it must fail."""
    client = driver.client(url, **settings)
    with pytest.raises(RPCError) as caught:
        driver.dispatch(client, CALL)
    return caught.value


@pytest.mark.parametrize(
    "app",
    [
        hostile.plain(200, HTML, "text/html"),
        hostile.plain(200, b"[]", "text/plain"),
        hostile.message(b"\xff\xff\xff"),
    ],
    ids=["html", "text", "malformed"],
)
def test_an_answer_of_something_else(driver: Driver, app: hostile.App):
    with hostile.serving(app) as server:
        error = attempt(driver, server.url)
        assert isinstance(error, ProtocolError)
        assert error.code is Code.INTERNAL
        assert str(error).startswith(f"{server.url} did not answer like a Dispatch service (")
        assert "check the API URL" in str(error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(
    driver: Driver, status: int, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    app = hostile.plain(status, b"", "text/html", ("location", dispatch_server.url))
    with hostile.serving(app) as server:
        error = attempt(driver, server.url)
    assert isinstance(error, ProtocolError)
    assert f"HTTP {status}" in str(error)
    assert not dispatch_recorder.requests


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (413, RequestTooLargeError),
        (429, UnavailableError),
        (500, RPCError),
        (502, UnavailableError),
        (503, UnavailableError),
        (504, UnavailableError),
    ],
)
def test_the_errors_of_a_proxy(driver: Driver, status: int, kind: type[RPCError]):
    with hostile.serving(hostile.plain(status, HTML, "text/html")) as server:
        error = attempt(driver, server.url, retry=None)
        assert type(error) is kind
        assert f"HTTP {status}" in str(error)
        assert server.url in str(error)


def test_a_server_that_never_answers(driver: Driver):
    with hostile.serving(hostile.hangs) as server:
        client = driver.client(server.url, timeout=timedelta(milliseconds=300))
        start = time.monotonic()
        for options in ({}, {"timeout": timedelta(milliseconds=200)}):
            with pytest.raises(DeadlineExceededError, match=f"no answer from {server.url}") as one:
                driver.dispatch(client, CALL, **options)
            assert isinstance(one.value, TimeoutError)
        assert time.monotonic() - start < 20


def test_a_port_where_nothing_listens(driver: Driver):
    url = f"http://127.0.0.1:{hostile.unused_port()}"
    error = attempt(driver, url, retry=None)
    assert isinstance(error, UnavailableError)
    assert isinstance(error, ConnectionError)
    assert re.search(rf"^{re.escape(url)} is not available: .*refused", str(error))


def test_a_host_that_does_not_exist(driver: Driver):
    error = attempt(driver, "https://no-such-host.invalid", retry=None)
    assert isinstance(error, UnavailableError)
    assert "no-such-host.invalid" in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-length: 100\r\n\r\nabc",
        b"\0" * 100,
    ],
    ids=["closes at once", "closes in the middle", "binary garbage"],
)
def test_a_connection_that_breaks(driver: Driver, answer: bytes):
    with hostile.raw(answer) as (url, _):
        error = attempt(driver, url, retry=None)
        assert isinstance(error, UnavailableError)
        assert str(error).startswith(f"{url} is not available: ")


def test_an_answer_above_our_bound(driver: Driver):
    with hostile.serving(hostile.message(b"\x0a\x04abcd" * 1000)) as server:
        error = attempt(driver, server.url, max_message_bytes=1000, retry=None)
        assert type(error) is ProtocolError
        if driver.protocol != "connect+json":
            assert "1000" in str(error)
