"""The first contact with a wrong address: one line with the cause and the remedy."""

import http.server
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dispatch_grpc import Endpoint, ProtocolError, RPCError, UnavailableError, new_call
from dispatch_grpc.testing import CallRecorder, Server, serve_app
from dispatch_grpc.version import __version__
from tests import hostile
from tests.conftest import KEY, Driver

CALL = new_call("http://example.com", "f")
RAW = r"SSL_|ssl_|TSI_|UNKNOWN:|ipv4:|ipv6:|Errno|failed to connect to all|http2|SETTINGS"


class Handler(http.server.BaseHTTPRequestHandler):
    """A web server that speaks HTTP/1.1 only."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.send_error(404)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def web_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def refused(driver: Driver, url: str) -> RPCError:
    with pytest.raises(RPCError) as caught:
        driver.dispatch(driver.client(url), CALL)
    assert not re.search(RAW, str(caught.value))
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_grpc_to_a_server_of_http_1_1(kind: str, web_server: str):
    driver = Driver("grpc", is_async=kind == "async")
    error = refused(driver, web_server)
    driver.close()
    assert isinstance(error, UnavailableError)
    assert "HTTP/1.1" in str(error)
    assert "protocol='connect'" in str(error)


def test_https_to_a_server_without_tls(driver: Driver, web_server: str, dispatch_server: Server):
    for url in (web_server, dispatch_server.url):
        error = refused(driver, url.replace("http://", "https://"))
        assert isinstance(error, UnavailableError)
        assert "127.0.0.1 answers without TLS: use http:// if" in str(error)


def test_the_url_of_an_endpoint(driver: Driver):
    endpoint = Endpoint(url="http://127.0.0.1:1", env={})
    with serve_app(endpoint.app) as server:
        error = refused(driver, server.url)
    assert "check the API URL" in str(error)
    assert type(error) is ProtocolError or error.code.name == "UNIMPLEMENTED"


def test_nothing_is_on_stderr_beside_the_error(web_server: str):
    code = """
        import sys
        from dispatch_grpc import Client, RPCError, new_call
        for url in (sys.argv[1], sys.argv[1].replace("http:", "https:"), "http://127.0.0.1:1"):
            with Client("key", api_url=url) as client:
                try:
                    client.dispatch(new_call("http://example.com", "f"))
                except RPCError as error:
                    print(error)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), web_server],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 3


def test_the_user_agent(driver: Driver):
    seen: list[bytes] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(dict(scope["headers"])[b"user-agent"])
        await hostile.plain(404, b"", "text/plain")(scope, receive, send)

    with serve_app(application) as server:
        with pytest.raises(RPCError):
            driver.dispatch(driver.client(server.url), CALL)
    assert seen[0].decode().startswith(f"dispatch-grpc/{__version__}")


def test_answers_have_a_bound_of_their_own(driver: Driver, dispatch_recorder: CallRecorder):
    """The ids of an answer: 5 MB are read by default, which is more than may be sent."""
    body = b"\x0a\x04abcd" * 900_000
    with hostile.serving(hostile.message(body)) as server:
        if driver.protocol != "connect+json":
            with pytest.raises(ProtocolError, match="returned 900000 ids for 1 call"):
                driver.dispatch(driver.client(server.url), CALL)
        client = driver.client(server.url, max_response_bytes=1000)
        with pytest.raises(ProtocolError):
            driver.dispatch(client, CALL)


def test_a_key_is_not_in_any_error(driver: Driver, web_server: str):
    error: BaseException | None = refused(driver, web_server)
    while error is not None:
        assert KEY not in str(error)
        error = error.__cause__
