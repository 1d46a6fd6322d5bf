"""The checks of an endpoint, but for those of signatures and polls, and the list of all."""

import json
from functools import partial
from importlib import resources
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc.codes import Status
from dispatch_grpc.testing.conformance import polls, signatures
from dispatch_grpc.testing.conformance.reading import (
    connect_error,
    described,
    failed,
    is_not_found,
    require_same,
)
from dispatch_grpc.testing.conformance.subject import (
    RUN,
    Answer,
    Check,
    Inapplicable,
    Request,
    Steps,
    Subject,
    Unmet,
)
from dispatch_grpc.values import marshal

OPTIONAL = frozenset({"relay"})

_LARGE_INPUT_BYTES = 4_000_000
_CRASH = "the order ör-17 is lost"


def _hosts(function: str, input: Any, subject: Subject) -> Steps:
    (answer,) = yield [subject.request(subject.run(function, input))]
    if not answer.status or is_not_found(answer):
        raise Unmet(f"a function named {function!r}", described(answer))


def _echo(value: AnyProto, subject: Subject) -> Steps:
    (answer,) = yield [subject.request(subject.run("echo", value))]
    require_same(answer, value)


def _status(status: Status, subject: Subject) -> Steps:
    (answer,) = yield [subject.request(subject.run("fail", status.name))]
    expected = f"HTTP 200 with STATUS_{status.name}"
    if failed(answer, expected).status != status.value:
        raise Unmet(expected, described(answer))


def _crash(subject: Subject) -> Steps:
    (answer,) = yield [subject.request(subject.run("crash", _CRASH))]
    expected = f"a status that is retried, and the message {_CRASH!r}"
    response = failed(answer, expected)
    message = response.exit.result.error.message
    if not Status(response.status).retryable or _CRASH not in message:
        raise Unmet(expected, described(answer))


def _other_type(subject: Subject) -> Steps:
    (answer,) = yield [subject.request(subject.run("fail", 23))]
    expected = "STATUS_INVALID_ARGUMENT for a number instead of a text"
    if answer.status == 400 and connect_error(answer)[0]:
        return
    if failed(answer, expected).status != Status.INVALID_ARGUMENT.value:
        raise Unmet(expected, described(answer))


def _unknown_function(subject: Subject) -> Steps:
    (answer,) = yield [subject.request(subject.run("no_such_function", None))]
    if answer.status == 404 and connect_error(answer)[0] == "not_found":
        return
    if answer.status != 200 or not is_not_found(answer):
        raise Unmet(
            "HTTP 404 with the JSON error 'not_found', or STATUS_NOT_FOUND", described(answer)
        )


def _junk(subject: Subject) -> Steps:
    (answer,) = yield [subject.request(b"\xff" * 64)]
    if answer.status != 400 or not connect_error(answer)[0]:
        raise Unmet("HTTP 400 with a JSON error for a malformed body", described(answer))


def _content_type(subject: Subject) -> Steps:
    (answer,) = yield [subject.request(b"hello", content_type="text/plain")]
    _refuse(answer, set(range(400, 500)), "HTTP 415, or another 4xx, for text/plain")


def _path(subject: Subject) -> Steps:
    request = subject.request(subject.run("echo", 1))
    path = RUN.replace("/Run", "/NoSuchMethod")
    headers = dict(request.headers)
    if subject.key is not None:
        headers |= subject.signed(headers, request.body, subject.key, path=path)
    (answer,) = yield [Request(path, headers, request.body)]
    _refuse(answer, {404}, f"HTTP 404 for {path}")


def _refuse(answer: Answer, statuses: set[int], expected: str) -> None:
    """Require a refusal with one of these statuses of HTTP."""
    if answer.status not in statuses:
        raise Unmet(expected, described(answer))


def _http_1_0(subject: Subject) -> Steps:
    request, value = subject.request(subject.run("echo", 1)), marshal(1)
    (answer,) = yield [Request(request.path, request.headers, request.body, version="1.0")]
    if answer.status in {426, 505}:
        raise Inapplicable(f"the endpoint refuses HTTP/1.0 by {answer.status}")
    require_same(answer, value)


def _chunked(subject: Subject) -> Steps:
    request, value = subject.request(subject.run("echo", 1)), marshal(1)
    (answer,) = yield [Request(request.path, request.headers, request.body, is_chunked=True)]
    if answer.status == 411:
        raise Inapplicable("the endpoint requires a Content-Length")
    require_same(answer, value)


def _json(subject: Subject) -> Steps:
    body = json.dumps({"function": "echo", "input": _JSON_INPUT, "dispatchId": subject.dispatch_id})
    (answer,) = yield [subject.request(body.encode(), content_type="application/json")]
    if answer.status == 415:
        raise Inapplicable("the endpoint does not speak JSON")
    try:
        found: Any = json.loads(answer.body)
        output = found["exit"]["result"]["output"]
    except (ValueError, KeyError, TypeError):
        output = None
    if answer.content_type != "application/json" or output != _JSON_INPUT:
        got = f"{answer.content_type}: {answer.body[:100].decode(errors='replace')}"
        raise Unmet("JSON with the same output", got if answer.status == 200 else described(answer))


_JSON_INPUT = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "ö"}


def _unknown_field(subject: Subject) -> Steps:
    body = subject.run("echo", "x").SerializeToString() + b"\xc2\x3e\x03new"  # field 1000
    (answer,) = yield [subject.request(body)]
    require_same(answer, marshal("x"))


def _again(subject: Subject) -> Steps:
    request, value = subject.request(subject.run("echo", "once")), marshal("once")
    for _ in range(2):
        (answer,) = yield [request]
        require_same(answer, value)


def _at_once(subject: Subject) -> Steps:
    for answer in (yield [subject.request(subject.run("echo", "once"))] * 8):
        require_same(answer, marshal("once"))


def checks() -> list[Check]:
    """Return all checks, in the order in which they run."""
    text = resources.files("dispatch_grpc.testing").joinpath("values.json").read_text("utf-8")
    values = {
        str(vector["name"]): AnyProto(
            type_url=vector["type_url"], value=bytes.fromhex(vector["value"])
        )
        for vector in json.loads(text)
    }
    inputs = [("echo", None), ("fail", "TIMEOUT"), ("crash", _CRASH), ("relay", polls.CHILD)]
    large = marshal(bytes(_LARGE_INPUT_BYTES))
    others: list[tuple[str, Any, str | None]] = [
        ("errors: a function that fails", _crash, "crash"),
        ("errors: an input of another type", _other_type, "fail"),
        ("errors: an unknown function", _unknown_function, None),
        ("limits: an input of 4 MB", partial(_echo, large), "echo"),
        ("limits: a malformed body", _junk, None),
        ("limits: another content type", _content_type, None),
        ("limits: another path", _path, None),
        ("limits: HTTP/1.0", _http_1_0, "echo"),
        ("limits: a body in chunks", _chunked, "echo"),
        ("limits: JSON", _json, "echo"),
        ("limits: a field that is not known", _unknown_field, "echo"),
        ("replays: the same request again", _again, "echo"),
        ("replays: the same request 8 times at once", _at_once, "echo"),
    ]
    return [
        *(Check(f"functions: {name}", partial(_hosts, name, input)) for name, input in inputs),
        *(Check(f"values: {name}", partial(_echo, any), "echo") for name, any in values.items()),
        *(
            Check(f"statuses: {status.name}", partial(_status, status), "fail")
            for status in Status
            if status not in {Status.UNSPECIFIED, Status.OK}
        ),
        *(Check(name, steps, needs) for name, steps, needs in others),
        *signatures.checks(),
        *polls.checks(),
    ]
