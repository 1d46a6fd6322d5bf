"""`dispatch-grpc doctor` against the real faults that it is to find."""

import asyncio
import contextlib
import io
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import trustme
from dispatch.calls.v1.calls_pb2 import ListCallsResponse

from dispatch_grpc import Endpoint, cli
from dispatch_grpc.endpoint.signature import new_key_pair
from dispatch_grpc.service.database import Database
from dispatch_grpc.testing import CallRecorder, serve, serve_app
from tests import hostile
from tests.cli.test_cli_service import run
from tests.conftest import RunningService, run_service
from tests.producers.conftest import execute, new_database
from tests.service.conftest import Bench, embedded  # noqa: F401 (a fixture)

KEY = "sk-test-0123456789"
NOTHING = {"key": True, "url": True, "tls": None, "clock": True, "database": None, "endpoint": None}


def examined(*options: str, **variables: str) -> tuple[dict[str, bool | None], dict[str, str]]:
    """Run the doctor; return what the checks say, and their messages."""
    shown = io.StringIO()
    kept = {name: value for name, value in os.environ.items() if "DISPATCH_" not in name}
    with (
        patch.dict(os.environ, {**kept, **variables}, clear=True),
        contextlib.redirect_stdout(shown),
    ):
        code = cli.main(["doctor", "--json", "--timeout", "2s", *options])
    findings = [json.loads(line) for line in shown.getvalue().splitlines()]
    found = {one["check"]: one["ok"] for one in findings}
    assert code == (1 if False in found.values() else 0)
    assert KEY not in shown.getvalue()
    return found, {one["check"]: one["message"] for one in findings}


def of(service: RunningService, **added: str) -> dict[str, str]:
    return {"DISPATCH_API_URL": service.url, "DISPATCH_API_KEY": service.api_key, **added}


@pytest.mark.parametrize("protocol", ["grpc", "connect", "connect+json"])
def test_all_is_well(service: RunningService, protocol: str):
    found, messages = examined(**of(service, DISPATCH_PROTOCOL=protocol))
    assert found == NOTHING
    assert messages["key"] == f"{service.api_key[:3]}******** from DISPATCH_API_KEY is accepted"


def test_a_process_prints_a_line_for_each_check(service: RunningService):
    for key, code in ((service.api_key, 0), ("sk-wrong-0123456789", 1)):
        variables = of(service, DISPATCH_API_KEY=key)
        findings = [
            json.loads(line) for line in run("doctor", "--json", **variables).out.splitlines()
        ]
        plain = run("doctor", **variables)
        assert (plain.code, plain.err) == (code, "")
        words = {True: "ok", False: "WRONG", None: "-"}
        for line, one in zip(plain.out.splitlines(), findings, strict=True):
            assert line.split(maxsplit=2) == [words[one["ok"]], one["check"], one["message"]]


# Key and URL


def test_without_a_key(service: RunningService):
    found, messages = examined(DISPATCH_API_URL=service.url)
    assert found == {**NOTHING, "key": False}
    assert messages["key"].startswith("an API key is required: set the environment variable DISP")


def test_a_wrong_key(service: RunningService):
    found, messages = examined(**of(service, DISPATCH_API_KEY="sk-wrong-0123456789"))
    assert found == {**NOTHING, "key": False}
    assert "rejected the API key sk-******** (from DISPATCH_API_KEY)" in messages["key"]
    assert "set DISPATCH_API_KEY to a key of this service" in messages["key"]


def test_a_url_that_is_none():
    found, messages = examined(DISPATCH_API_URL="ftp://x", DISPATCH_API_KEY=KEY)
    assert (found["url"], found["key"]) == (False, None)
    assert "'ftp://x' (from DISPATCH_API_URL) must begin with https://" in messages["url"]


def test_without_a_url():
    found, messages = examined(DISPATCH_API_KEY=KEY)
    assert (found["url"], found["key"]) == (False, None)
    assert messages["url"].startswith("set DISPATCH_API_URL to the URL of your service, as 'disp")


def test_the_key_of_this_folder_is_named(
    service: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".dispatch").mkdir()
    (tmp_path / ".dispatch" / "api-key").touch()
    monkeypatch.chdir(tmp_path)
    _, messages = examined(**of(service, DISPATCH_API_KEY="sk-wrong-0123456789"))
    assert messages["key"].endswith("has its key in .dispatch/api-key; set DISPATCH_API_KEY to it")


def test_a_service_that_is_not_there():
    url = f"http://127.0.0.1:{hostile.unused_port()}"
    found, messages = examined(DISPATCH_API_URL=url, DISPATCH_API_KEY=KEY)
    assert found == {**NOTHING, "key": None, "url": False, "clock": None}
    assert "nothing listens on port" in messages["url"]
    assert "start the service ('dispatch-grpc serve')" in messages["url"]


def test_a_name_that_is_unknown():
    found, messages = examined(DISPATCH_API_URL="https://dispatch.invalid", DISPATCH_API_KEY=KEY)
    assert found["url"] is False
    assert "the name dispatch.invalid is not known" in messages["url"]


def test_a_service_that_does_not_answer():
    with socket.create_server(("127.0.0.1", 0), backlog=5) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        found, messages = examined(DISPATCH_API_URL=url, DISPATCH_API_KEY=KEY)
    assert found["url"] is False
    assert f"no answer from {url} in time" in messages["url"]


def test_what_is_no_service():
    async def website(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"<html>"})

    with serve_app(website) as server:
        found, messages = examined(DISPATCH_API_URL=server.url, DISPATCH_API_KEY=KEY)
    assert found["url"] is False
    assert "did not answer like a Dispatch service" in messages["url"]
    assert "check the API URL" in messages["url"]


def test_an_endpoint_is_no_service():
    with serve_app(Endpoint("http://127.0.0.1:1", env={}).app) as server:
        found, messages = examined(DISPATCH_API_URL=server.url, DISPATCH_API_KEY=KEY)
    assert (found["url"], found["key"]) == (False, None)
    assert f"{server.url} answers, but is no Dispatch service" in messages["url"]
    assert "set DISPATCH_API_URL" in messages["url"]


def test_a_service_of_another_make(dispatch_recorder: CallRecorder):
    with serve(dispatch_recorder, KEY) as server:
        found, messages = examined(DISPATCH_API_URL=server.url, DISPATCH_API_KEY=KEY)
    assert found == {**NOTHING, "key": None}
    assert "does not have CallService" in messages["key"]


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def secured(ca: trustme.CA, folder: Path, **options: Any) -> Iterator[tuple[RunningService, str]]:
    """A service with a certificate; and the file of its authority."""
    certificate = ca.issue_cert("localhost", "127.0.0.1", **options)
    files = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}
    ca.cert_pem.write_to_path(str(files["ca"]))
    certificate.private_key_pem.write_to_path(str(files["key"]))
    certificate.cert_chain_pems[0].write_to_path(str(files["cert"]))
    with run_service(
        folder / "data", certfile=str(files["cert"]), keyfile=str(files["key"])
    ) as running:
        yield running, str(files["ca"])


@pytest.fixture
def folder() -> Iterator[Path]:
    from tests.conftest import data_dir

    with data_dir() as folder:
        folder.chmod(0o755)
        yield folder


def test_https_and_an_authority_that_is_not_trusted(authority: trustme.CA, folder: Path):
    with secured(authority, folder) as (service, ca):
        found, messages = examined("--cacert", ca, **of(service))
        assert found == {**NOTHING, "tls": True}
        found, messages = examined(**of(service))
        assert found == {**NOTHING, "key": None, "tls": False, "clock": None}
        assert "is not trusted (issuer trustme" in messages["tls"]
        assert "pass --cacert, or add the authority" in messages["tls"]
        # http:// where the service has https://
        plain = of(service, DISPATCH_API_URL=service.url.replace("https", "http"))
        found, messages = examined(**plain)
        assert (found["tls"], found["key"]) == (False, None)
        assert "serves TLS: use https:// instead of http://" in messages["tls"]


def test_a_certificate_that_has_expired(authority: trustme.CA, folder: Path):
    past = datetime.now(UTC) - timedelta(days=1)
    with secured(authority, folder, not_after=past) as (service, ca):
        found, messages = examined("--cacert", ca, **of(service))
    assert found["tls"] is False
    assert " expired on " in messages["tls"]
    assert "the server needs a new one" in messages["tls"]


def test_https_where_the_service_has_http(service: RunningService):
    url = service.url.replace("http", "https")
    found, messages = examined(**of(service, DISPATCH_API_URL=url))
    assert found["tls"] is False
    assert "answers without TLS: use http://" in messages["tls"]


def test_an_authority_that_is_not_pem(service: RunningService, tmp_path: Path):
    (tmp_path / "ca.pem").write_text("no PEM")
    found, messages = examined("--cacert", str(tmp_path / "ca.pem"), **of(service))
    assert found["url"] is False
    assert messages["url"] == "--cacert must be a file in PEM form; it has no '-----BEGIN' line"


# The clock


class _Skewed(BaseHTTPRequestHandler):
    """A service with no calls, whose clock is wrong."""

    seconds: float | None = 0

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        body = ListCallsResponse().SerializeToString()
        self.send_response_only(200)
        if self.seconds is not None:
            date = datetime.now(UTC) + timedelta(seconds=self.seconds)
            self.send_header("date", date.strftime("%a, %d %b %Y %H:%M:%S GMT"))
        self.send_header("content-type", "application/proto")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize(
    ("seconds", "ok", "problem"),
    [
        (0, True, "agree"),
        (4, True, "agree"),
        (600, False, " is 10 min ahead of this machine's, and signatures allow 5 s: set both by"),
        (-90, False, " s behind this machine's"),
        (None, None, "sends no Date"),
    ],
)
def test_a_clock_that_is_wrong(seconds: float | None, ok: bool | None, problem: str):
    handler = type("Handler", (_Skewed,), {"seconds": seconds})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            found, messages = examined(
                DISPATCH_API_URL=url, DISPATCH_API_KEY=KEY, DISPATCH_PROTOCOL="connect"
            )
        finally:
            server.shutdown()
            thread.join()
    assert found == {**NOTHING, "clock": ok}
    assert problem in messages["clock"]


# The database


@pytest.fixture(scope="module")
def database(embedded: Bench) -> Iterator[str]:  # noqa: F811
    yield from new_database(embedded, "examined")


def test_databases(service: RunningService, database: str, embedded: Bench):  # noqa: F811
    def checked(url: str) -> tuple[bool | None, str]:
        found, messages = examined(**of(service, DISPATCH_DATABASE_URL=url))
        assert {**found, "database": None} == NOTHING
        return found["database"], messages["database"]

    assert checked(database) == (
        True,
        "database 'examined' as role 'postgres': it is reachable, and 'dispatch-grpc serve' makes "
        "its tables",
    )
    asyncio.run(execute(database, "CREATE ROLE limited LOGIN"))
    limited = database.replace("postgres@", "limited@")
    ok, message = checked(limited)
    assert (ok, "it has no tables, and the role may not create" in message) == (False, True)
    assert "migrate --grant limited'" in message
    asyncio.run(Database(database, Path()).prepare())
    assert checked(database)[1].endswith("its tables are up to date")
    ok, message = checked(limited)
    assert (ok, "the role may not use the tables: run" in message) == (False, True)
    asyncio.run(Database(database, Path()).prepare("limited"))
    assert checked(limited)[0] is True
    asyncio.run(
        execute(
            database,
            "DELETE FROM dispatch_grpc.migrations WHERE number > 1",
        )
    )
    assert "of an older version (1 of " in checked(database)[1]
    ok, message = checked(embedded.url("absent"))
    assert (ok, "it does not exist; create it: CREATE DATABASE" in message) == (False, True)
    port = hostile.unused_port()
    ok, message = checked(f"postgresql://me:secret@127.0.0.1:{port}/d")
    assert (ok, "nothing listens there; check host and port" in message) == (False, True)
    assert "secret" not in message
    ok, message = checked("mysql://x")
    assert (ok, "must begin with postgresql://" in message) == (False, True)


# The endpoint


def endpoint_of(url: str, **added: str) -> tuple[dict[str, bool | None], dict[str, str]]:
    """Check an endpoint, without a service."""
    nowhere = f"http://127.0.0.1:{hostile.unused_port()}"
    return examined(
        DISPATCH_API_URL=nowhere, DISPATCH_API_KEY=KEY, DISPATCH_ENDPOINT_URL=url, **added
    )


def test_an_endpoint_that_is_not_there():
    found, messages = endpoint_of(f"http://127.0.0.1:{hostile.unused_port()}")
    assert (found["endpoint"], "signature" in found) == (False, False)
    assert "nothing listens on port" in messages["endpoint"]
    assert "start the endpoint ('dispatch-grpc run')" in messages["endpoint"]


@pytest.mark.parametrize(
    ("url", "ok", "problem"),
    [
        ("example.com", False, "a URI (RFC 3986) that begins with http://"),
        ("bridge://one", None, "is reached by the service only"),
        ("http://endpoint.invalid", False, "the name endpoint.invalid is not known"),
    ],
)
def test_urls_of_endpoints(url: str, ok: bool | None, problem: str):
    found, messages = endpoint_of(url)
    assert found["endpoint"] is ok
    assert problem in messages["endpoint"]


def test_what_is_no_endpoint():
    with serve_app(hostile.plain(404, b"nothing here", "text/plain")) as server:
        found, messages = endpoint_of(server.url)
    assert found["endpoint"] is False
    assert (
        "it answers with HTTP 404, not like an endpoint: check host, port" in messages["endpoint"]
    )
    with hostile.raw(b"SSH-2.0-OpenSSH\r\n") as (url, _):
        found, messages = endpoint_of(url)
    assert found["endpoint"] is False
    assert "it does not speak HTTP" in messages["endpoint"]


def test_an_endpoint_without_a_key():
    with serve_app(Endpoint("http://127.0.0.1:1", env={}).app) as server:
        found, messages = endpoint_of(server.url)
        assert (found["endpoint"], found["signature"]) == (True, None)
        assert "accepts unsigned requests" in messages["signature"]
        found, messages = endpoint_of(server.url, DISPATCH_SIGNING_KEY=new_key_pair().signing_key)
        assert (found["endpoint"], found["signature"]) == (True, False)
        assert "accepts requests that are not signed: set DISPATCH_VER" in messages["signature"]


def test_signatures():
    pair, other = new_key_pair(), new_key_pair()
    endpoint = Endpoint("http://127.0.0.1:1", verification_key=pair.verification_key, env={})
    with serve_app(endpoint.app) as server:
        for key, ok, problem in (
            ("", None, "set DISPATCH_SIGNING_KEY to make one"),
            (pair.signing_key, True, "accepts requests signed by this key only"),
            (other.signing_key, False, "it needs the DISPATCH_VERIFICATION_KEY of the same pair"),
            ("nonsense", False, "the signing key from DISPATCH_SIGNING_KEY cannot be read"),
        ):
            found, messages = endpoint_of(server.url, DISPATCH_SIGNING_KEY=key)
            assert (found["endpoint"], found["signature"]) == (True, ok)
            assert problem in messages["signature"]
            assert not key or key not in messages["signature"]


def test_endpoints_with_https(authority: trustme.CA, tmp_path: Path):
    with ExitStack() as stack:
        certificate = authority.issue_cert("localhost")
        ca, cert, key = (str(tmp_path / name) for name in ("ca", "cert", "key"))
        authority.cert_pem.write_to_path(ca)
        certificate.cert_chain_pems[0].write_to_path(cert)
        certificate.private_key_pem.write_to_path(key)
        endpoint = Endpoint("http://127.0.0.1:1", env={})
        server = stack.enter_context(serve_app(endpoint.app, certfile=cert, keyfile=key))
        found, messages = endpoint_of(server.url)
        assert found["endpoint"] is False
        assert "is not trusted (issuer trustme" in messages["endpoint"]
        found, _ = endpoint_of(server.url, SSL_CERT_FILE=ca)
        assert found["endpoint"] is True
