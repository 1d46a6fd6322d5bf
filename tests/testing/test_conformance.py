"""`dispatch-grpc conformance`: a good endpoint passes, and each check fails on a broken one."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import unwrap
from pathlib import Path
from typing import Any

import pytest
import trustme

from dispatch_grpc import Call, CallError, Endpoint, PermanentError, Status, cli, workflow
from dispatch_grpc.endpoint.keys import new_key_pair, parse_signing_key
from dispatch_grpc.errors import ConfigurationError, UnavailableError
from dispatch_grpc.testing import serve_app
from dispatch_grpc.testing.conformance import Outcome, Result, conformance
from dispatch_grpc.testing.conformance.checks import checks
from examples import conformance as example
from tests import hostile
from tests.testing.bare_endpoint import BareEndpoint, QuietServer

PAIR = new_key_pair()
KEY = parse_signing_key(PAIR.signing_key)
NAMES = [check.name for check in checks()]


def hosting(*, key: str | None = PAIR.verification_key, **changed: Any) -> Endpoint:
    """The endpoint of the example, with some of its functions changed, or (None) left out."""
    endpoint = Endpoint("http://127.0.0.1:1", verification_key=key, env={})
    own = ("echo", "fail", "crash", "relay")
    functions = {name: unwrap(getattr(example, name)) for name in own} | changed
    for name, function in functions.items():
        if function is not None:
            host = endpoint.workflow if name == "relay" else endpoint.function
            host(name=name)(function)
    return endpoint


# Endpoints whose HTTP or signatures are broken: functions around the application.


@dataclass
class Reply:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass
class Exchange:
    """A request, and the good endpoint that can answer it."""

    scope: dict[str, Any]
    body: bytes

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.scope["headers"])

    async def ask(self, app: Any, **changed: Any) -> Reply:
        sent: list[dict[str, Any]] = []
        scope = {**self.scope, **changed.get("scope", {})}
        body = changed.get("body", self.body)
        scope["headers"] = [
            (name, str(len(body)).encode() if name == b"content-length" else value)
            for name, value in scope["headers"]
        ]
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return given.pop() if given else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        return Reply(
            sent[0]["status"],
            list(sent[0]["headers"]),
            b"".join(message.get("body", b"") for message in sent[1:]),
        )


Break = Callable[[Exchange, Any], Awaitable[Reply | None]]
ERROR = Reply(500, [(b"content-type", b"text/plain")], b"oops")


def broken(endpoint: Endpoint, break_: Break) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await endpoint.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        exchange = Exchange(scope, body)
        reply = await break_(exchange, endpoint.app) or await exchange.ask(endpoint.app)
        await send(
            {"type": "http.response.start", "status": reply.status, "headers": reply.headers}
        )
        await send({"type": "http.response.body", "body": reply.body})

    return app


async def bad_http(exchange: Exchange, app: Any) -> Reply | None:
    headers, body = exchange.headers, exchange.body
    kind = headers[b"content-type"]
    if (
        exchange.scope["http_version"] == "1.0"
        or b"content-length" not in headers
        or len(body) > 1_000_000
        or kind == b"text/plain"
        or body.endswith(b"new")
        or body.startswith(b"\xff")
        or b"no_such_function" in body
    ):
        return ERROR
    if kind == b"application/json":
        return Reply(200, [(b"content-type", b"text/html")], b"<p>hello</p>")
    if not exchange.scope["path"].endswith("/Run"):
        return await exchange.ask(hosting(key=None).app, scope={"path": PATH, "raw_path": None})
    return None


def remembering() -> Break:
    seen = set()

    async def break_(exchange: Exchange, app: Any) -> Reply | None:
        if b"once" not in exchange.body:
            return None
        if exchange.body in seen:
            return Reply(409, [(b"content-type", b"text/plain")], b"I know you")
        seen.add(exchange.body)
        return None

    return break_


def one_at_a_time() -> Break:
    running: list[int] = []

    async def break_(exchange: Exchange, app: Any) -> Reply | None:
        if b"once" not in exchange.body:
            return None
        if running:
            return Reply(503, [(b"content-type", b"text/plain")], b"busy")
        running.append(1)
        await asyncio.sleep(0.3)
        running.pop()
        return None

    return break_


def lenient(*refusals: str) -> Break:
    """It accepts what a good endpoint refuses with such a message."""
    unchecked = hosting(key=None).app

    async def break_(exchange: Exchange, app: Any) -> Reply | None:
        reply = await exchange.ask(app)
        if reply.status in {401, 403}:
            message = json.loads(reply.body)["message"]
            if any(re.search(refusal, message) for refusal in refusals):
                return await exchange.ask(unchecked)
        return reply

    return break_


def picky(pattern: bytes, header: bytes = b"signature-input", status: int = 403) -> Break:
    """It refuses signatures that a good endpoint accepts."""

    async def break_(exchange: Exchange, app: Any) -> Reply | None:
        if re.search(pattern, exchange.headers.get(header, b"")):
            return Reply(status, [(b"content-type", b"application/json")], b'{"code": "internal"}')
        return None

    return break_


def impatient() -> Break:
    async def break_(exchange: Exchange, app: Any) -> Reply | None:
        created = re.search(rb"created=(\d+)", exchange.headers.get(b"signature-input", b""))
        old = created is not None and 60 < time.time() - int(created[1]) < 400
        return Reply(403, [(b"content-type", b"text/plain")], b"old") if old else None

    return break_


PATH = "/dispatch.sdk.v1.FunctionService/Run"


# Functions that do not keep their contract.


def fail_for_good(status: str) -> None:
    raise PermanentError("always so")


def fail_for_now(status: str) -> None:
    raise RuntimeError("always so")


def fail_with_anything(status: Any) -> None:
    raise example.FailedError(status)


def fail_without_message(status: str) -> None:
    raise type("Silent", (Exception,), {"status": Status[status]})


def lossy(input: Any) -> Any:
    return float(input) if type(input) is int else input


async def at_once(call: Call) -> str:
    return "grown up"


async def polls_another(call: Call) -> Any:
    call.input.Clear()
    return await workflow.run(call)


async def forgets_the_result(call: Call) -> str:
    await workflow.run(call)
    return "something else"


async def hides_failures(call: Call) -> Any:
    try:
        return await workflow.run(call)
    except CallError:
        return "all is well"


ECHO = r"values: |limits: (an input|HTTP|a body in|JSON|a field)|replays: |signatures: a right one"
BROKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "echo is another": (lambda: hosting(echo=lambda value: "wrong").app, ECHO),
    "echo is missing": (lambda: hosting(echo=None).app, "functions: echo"),
    "echo makes doubles of integers": (
        lambda: hosting(echo=lossy).app,
        r"values: (int beyond a double|int64 greatest|uint64 greatest)",
    ),
    "fail is missing": (lambda: hosting(fail=None).app, "functions: fail"),
    "fail is final": (
        lambda: hosting(fail=fail_for_good).app,
        "statuses: (?!PERMANENT_ERROR)",
    ),
    "fail is not final": (
        lambda: hosting(fail=fail_for_now).app,
        "statuses: (?!TEMPORARY_ERROR)",
    ),
    "fail has no message": (lambda: hosting(fail=fail_without_message).app, "statuses: "),
    "fail takes anything": (
        lambda: hosting(fail=fail_with_anything).app,
        "errors: an input of another type",
    ),
    "crash is missing": (lambda: hosting(crash=None).app, "functions: crash"),
    "crash is final": (lambda: hosting(crash=fail_for_good).app, "errors: a function that fails"),
    "HTTP": (
        lambda: broken(hosting(), bad_http),
        "errors: an unknown function|limits: ",
    ),
    "replays": (lambda: broken(hosting(), remembering()), "replays: "),
    "one at a time": (lambda: broken(hosting(), one_at_a_time()), "replays: .* at once"),
    "no poll": (lambda: hosting(relay=at_once).app, "polls: "),
    "another poll": (lambda: hosting(relay=polls_another).app, "polls: "),
    "another result": (lambda: hosting(relay=forgets_the_result).app, "polls: .* the result"),
    "hidden failures": (
        lambda: hosting(relay=hides_failures).app,
        "polls: the call (has failed|was not accepted)",
    ),
    "no verification": (lambda: hosting(key=None).app, "signatures: (?!a right one)"),
    "unsigned": (
        lambda: broken(hosting(), lenient("header signature-input is missing")),
        "signatures: none",
    ),
    "no signature": (
        lambda: broken(hosting(), lenient("header signature is missing", "is malformed")),
        "signatures: (only its input|a malformed one)",
    ),
    "no label": (
        lambda: broken(hosting(), lenient("no member")),
        "signatures: one of another label only",
    ),
    "no time": (
        lambda: broken(hosting(), lenient("no parameter created", "s old", "in the future")),
        "signatures: one (without a time|that is 10 minutes old|from 10 minutes ahead)",
    ),
    "no cryptography": (
        lambda: broken(hosting(), lenient("does not fit this request")),
        "signatures: (one by another key|a digest of another body|one of another path)",
    ),
    "no parameters": (
        lambda: broken(hosting(), lenient("parameter (keyid|alg) of the", "signature expired")),
        "signatures: one (of another keyid|of another algorithm|that has expired)",
    ),
    "no digest": (
        lambda: broken(hosting(), lenient("content-digest: ")),
        "signatures: one of another body",
    ),
    "not covered": (
        lambda: broken(hosting(), lenient("does not cover")),
        "signatures: one that does not cover",
    ),
    "one label only": (
        lambda: broken(hosting(), picky(rb"^sig1=.*dispatch=")),
        "signatures: a right one, beside",
    ),
    "one order only": (
        lambda: broken(hosting(), picky(rb"^dispatch=\([^)]*\);keyid=\S+;alg")),
        "signatures: a right one, with its parameters in another order",
    ),
    "alg is required": (
        lambda: broken(hosting(), picky(rb"^dispatch=\((\S+ ){4}\S+\);created=\d+;keyid=\S+t\"$")),
        "signatures: a right one, without",
    ),
    "impatient": (
        lambda: broken(hosting(), impatient()),
        "signatures: a right one, 4 minutes old",
    ),
}


def run(app: Any, *, signed: bool = True) -> dict[Result, dict[str, Outcome]]:
    with serve_app(app) as server:
        outcomes = list(conformance(server.url, signing_key=KEY if signed else None))
    assert [outcome.check for outcome in outcomes] == NAMES
    return {
        result: {outcome.check: outcome for outcome in outcomes if outcome.result is result}
        for result in Result
    }


def test_our_own_endpoint_passes():
    results = run(hosting().app)
    assert results[Result.FAILED] == {}
    assert results[Result.SKIPPED] == {}


def test_without_a_key_and_without_what_is_optional():
    results = run(hosting(key=None, relay=None).app, signed=False)
    assert results[Result.FAILED] == {}
    reasons = {name: outcome.reason for name, outcome in results[Result.SKIPPED].items()}
    for name in NAMES:
        if name.startswith("signatures: "):
            assert reasons.pop(name) == "there is no signing key to check it with"
        if name.startswith("polls: ") or name == "functions: relay":
            assert reasons.pop(name) == "there is no function 'relay', which is optional"
    assert reasons == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_endpoint_fails_the_checks_about_what_is_broken(name: str):
    make, pattern = BROKEN[name]
    failed = run(make())[Result.FAILED]
    assert list(failed) == [check for check in NAMES if re.match(pattern, check)], failed
    for outcome in failed.values():
        assert outcome.expected
        assert outcome.got


def test_every_check_is_seen_failing():
    patterns = [pattern for _, pattern in BROKEN.values()]
    never = [name for name in NAMES if not any(re.match(pattern, name) for pattern in patterns)]
    assert never == ["functions: relay"]  # it is optional


def test_optional_parts_of_http_may_be_refused():
    async def refusing(exchange: Exchange, app: Any) -> Reply | None:
        status = None
        if exchange.scope["http_version"] == "1.0":
            status = 505
        elif b"content-length" not in exchange.headers:
            status = 411
        elif exchange.headers[b"content-type"] == b"application/json":
            status = 415
        return None if status is None else Reply(status, [], b"")

    skipped = run(broken(hosting(), refusing))[Result.SKIPPED]
    assert list(skipped) == ["limits: HTTP/1.0", "limits: a body in chunks", "limits: JSON"]


def test_answers_that_are_not_of_the_protocol():
    """Each is described in the outcome."""
    kinds = {
        b"bytes": (200, b"application/proto", b"\xff\xff", "not a RunResponse"),
        b"html": (200, b"text/html", b"<p>", "HTTP 200 with text/html"),
        b"empty": (200, b"application/proto", b"", "breaks the protocol: status: one is required"),
        b"status": (200, b"application/proto", b"\x08\x01", "STATUS_OK without exit.result.output"),
        b"error": (502, b"text/html", b"<p>", "HTTP 502 (text/html, not an error of Connect)"),
    }
    answers = iter(kinds.values())
    got = []

    async def answer(exchange: Exchange, app: Any) -> Reply | None:
        if b"int " in exchange.body or not re.search(b"Int64Value", exchange.body):
            return None
        status, kind, body, described = next(answers, (0, b"", b"", ""))
        if not status:
            return None
        got.append(described)
        return Reply(status, [(b"content-type", kind)], body)

    failed = [outcome.got for outcome in run(broken(hosting(), answer))[Result.FAILED].values()]
    assert len(failed) == len(got) == len(kinds)
    for found, described in zip(failed, got, strict=True):
        assert described in found


def test_an_address_where_nothing_listens():
    with pytest.raises(UnavailableError, match=r"cannot reach the endpoint http://127\.0\.0\.1:"):
        list(conformance(f"http://127.0.0.1:{hostile.unused_port()}"))
    for url in ("bridge://x", "127.0.0.1:8000", "http://"):
        with pytest.raises(ConfigurationError, match="an http:// or https:// URL is required"):
            list(conformance(url))


def test_https(tmp_path: Path):
    authority = trustme.CA()
    file = str(tmp_path / "certificate.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(file)
    with serve_app(hosting(key=None).app, certfile=file, keyfile=file) as server:
        with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            list(conformance(server.url))
        roots = authority.cert_pem.bytes()
        for outcome in conformance(server.url, root_certificates=roots):
            assert outcome.result is not Result.FAILED, outcome


# The command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.delenv("DISPATCH_SIGNING_KEY", raising=False)

    def run(*arguments: str) -> tuple[int, list[str], str]:
        code = cli.main(["conformance", *arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return run


def test_the_command(command, monkeypatch: pytest.MonkeyPatch):
    with serve_app(hosting(crash=fail_for_good).app) as server:
        monkeypatch.setenv("DISPATCH_SIGNING_KEY", PAIR.signing_key)
        code, lines, _ = command(server.url)
        assert code == 1
        assert lines == [
            "failed  errors: a function that fails: expected a status that is retried, and the "
            "message 'the order ör-17 is lost'; got STATUS_PERMANENT_ERROR "
            "(dispatch_grpc.errors.PermanentError: always so)",
            f"{len(NAMES) - 1} passed, 1 failed, 0 skipped",
        ]


def test_the_command_as_json(command, tmp_path):
    file = tmp_path / "key"
    file.write_text(PAIR.signing_key)
    with serve_app(hosting(relay=None).app) as server:
        code, lines, _ = command(server.url, "--json", "--signing-key-file", str(file))
    found = [json.loads(line) for line in lines]
    assert code == 0
    assert [one["check"] for one in found] == NAMES
    assert found[0] == {"check": "functions: echo", "result": "passed"}
    assert found[-1] == {
        "check": "polls: the call was not accepted",
        "result": "skipped",
        "reason": "there is no function 'relay', which is optional",
    }


def test_mistakes_of_the_command(command, tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("")
    for arguments, message in (
        (["bridge://x"], "an http:// or https:// URL is required; got bridge://x"),
        (["http://127.0.0.1:1", "--signing-key-file", str(empty)], f"--signing-key-file {empty}"),
        (["https://127.0.0.1:1", "--cacert", str(empty)], "--cacert: "),
        (["http://127.0.0.1:1", "--timeout", "soon"], "a duration is required"),
    ):
        code, lines, error = command(*arguments)
        assert (code, lines) == (2, [])
        assert message in error
    code, _, error = command(f"http://127.0.0.1:{hostile.unused_port()}")
    assert code == 1
    assert "cannot reach the endpoint" in error


def test_what_a_bare_endpoint_fails():
    """One of `http.server`; docs/polyglot.md names these."""
    server = QuietServer(("127.0.0.1", 0), BareEndpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        outcomes = list(conformance(f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    failed = {one.check: one.got for one in outcomes if one.result is Result.FAILED}
    assert failed.pop("errors: an unknown function").startswith("HTTP 404 (text/html, not an error")
    assert failed.pop("limits: another path").startswith("STATUS_OK with Int64Value 1")
    closed = "no answer of HTTP: Remote end closed connection without response"
    assert failed == {
        "errors: an input of another type": closed,
        "limits: a malformed body": closed,
        "limits: another content type": closed,
        "limits: a body in chunks": closed,
        "limits: JSON": closed,
    }
