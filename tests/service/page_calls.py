"""A service with calls of every kind, for the tests of the page, and requests to it."""

import contextlib
import http.client
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc import Client, Endpoint, Status, new_call
from dispatch_grpc.primitives import RunRequest, RunResponse, exit_, poll
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.page.requests import COOKIE
from dispatch_grpc.service.page.sessions import Sessions
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.testing import serve_app
from tests.conftest import run_service
from tests.waiting import until

KEY, OTHER_KEY, WRONG_KEY = "sk-page-0123456789", "sk-page-another-one", "sk-page-wrong-key"
EVIL = "</pre></td><script>document.title = 'owned'</script><img src=x onerror=alert(1)>"
EVIL_NAME = "evil<script>alert.name<b>"  # which the rules allow
NO_ID = "01a20000-0000-7000-8000-000000000000"
VALUES: dict[str, Any] = {
    "bytes": b"\x00\xff" * 40,
    "time": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
    "duration": timedelta(minutes=1, milliseconds=500),
    "lines": "two\nlines",
    "long": "x" * 30_000,
    "large": "x" * 200_000,
    "message": RunRequest(function="inner"),
}
CHILDREN = 55  # a page has 50
QUICK = 61


@dataclass
class Shown:
    """A service, its calls by name, and what it has logged."""

    url: str
    ids: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def get(self, path: str, method: str = "GET", **options: Any) -> "Answer":
        """Send a request as one who has signed in."""
        cookie = f"{COOKIE}={Sessions([KEY]).begin(KEY)}"
        return request(self.url, path, method, {"cookie": cookie}, **options)

    def call(self, name: str) -> "Answer":
        return self.get(f"/calls/{self.ids[name]}")


@dataclass
class Answer:
    """An answer of HTTP."""

    status: int
    headers: list[tuple[str, str]]
    text: str

    def __getitem__(self, name: str) -> str:
        (value,) = [value for key, value in self.headers if key.lower() == name]
        return value

    def has(self, name: str) -> bool:
        return any(key.lower() == name for key, _ in self.headers)


def request(
    url: str,
    path: str,
    method: str = "GET",
    headers: Mapping[str, Any] | None = None,
    form: str | None = None,
) -> Answer:
    """Send a request as it is, and follow no redirect."""
    headers = dict(headers or {})
    if form is not None:
        headers["content-type"] = "application/x-www-form-urlencoded"
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)) as http_:
        http_.request(method, path, form, headers)
        response = http_.getresponse()
        return Answer(response.status, response.getheaders(), response.read().decode())


class Functions:
    """An endpoint with functions that end in every way."""

    def __init__(self) -> None:
        self.endpoint = endpoint = Endpoint("http://127.0.0.1:1", env={})
        self.release = threading.Event()

        @endpoint.function
        def quick(number: int) -> int:
            return number

        @endpoint.function
        def describe(values: list[Any]) -> Any:
            return {"text": EVIL, "numbers": [1, 2.5, None], "values": values}

        @endpoint.function
        def greet(who: str, when: datetime) -> str:
            return f"{who} at {when}"

        @endpoint.function
        def fail(text: str) -> None:
            error: Any = ValueError(text)
            error.status = Status.INVALID_ARGUMENT
            raise error

        @endpoint.function
        def overload(text: str) -> None:
            raise ConnectionError(text)

        @endpoint.function
        def hold() -> str:
            self.release.wait(60)
            return "released"

        @endpoint.primitive
        def echo(request: RunRequest) -> RunResponse:
            return exit_(request.input)

        @endpoint.primitive
        def strange(_: RunRequest) -> RunResponse:
            any = AnyProto(type_url="type.googleapis.com/acme.Un<b>known", value=b"12345")
            return exit_(any, error=RuntimeError("with an output"), status=Status.PERMANENT_ERROR)

        @endpoint.primitive(name=EVIL_NAME)
        def evil(_: RunRequest) -> RunResponse:
            return exit_(EVIL)

        @endpoint.primitive
        def parent(request: RunRequest) -> RunResponse:
            if request.HasField("input"):
                calls = [quick.call(number) for number in range(CHILDREN - 2)]
                calls += [fail.call("no child of mine"), hold.call()]
                return poll(calls, min_results=CHILDREN)
            return exit_("all in")

    def call(self, name: str, *args: Any) -> Any:
        return self.endpoint.functions[name].call(*args)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A service with calls. It takes two keys; what is tried again is tried again much later."""
    never = timedelta(days=10_000)
    limits = Limits(first_backoff=never, max_backoff=never, grace=timedelta(0))
    worker = Settings(limits=limits)
    functions = Functions()
    with (
        serve_app(functions.endpoint.app) as server,
        run_service(
            tmp_path_factory.mktemp("page"), api_keys=[KEY, OTHER_KEY], worker=worker
        ) as service,
        logged() as log,
    ):
        functions.endpoint.url = server.url
        shown = Shown(service.url, log=log)
        try:
            with Client(KEY, api_url=service.url, protocol="connect", env={}) as client:
                dispatch_all(client, functions, shown)
            yield shown
        finally:
            functions.release.set()


def dispatch_all(client: Client, functions: Functions, shown: Shown) -> None:
    batch = client.batch()
    for number in range(QUICK):
        batch.add(functions.call("quick", number))
    for id in batch.dispatch():
        client.wait(id)
    calls = {
        "describe": functions.call("describe", ["a", {"b": 1}]),
        "fail": functions.call("fail", EVIL),
        "evil": functions.call(EVIL_NAME, EVIL),
        "overload": functions.call("overload", "come again"),
        "named": new_call(functions.endpoint.url, "n" * 300),
        "strange": functions.call("strange", None),
        "secret": new_call("http://user:passw0rd@127.0.0.1:1/a", "far"),
        "hold": functions.call("hold"),
        "parent": functions.call("parent", None),
        "named_arguments": functions.call("greet", "you", datetime(2026, 2, 3, tzinfo=UTC)),
        **{name: functions.call("echo", value) for name, value in VALUES.items()},
    }
    ends = {"overload": "TCP_ERROR", "hold": "running", "parent": "to come", "secret": "TCP"}
    for name, call in calls.items():
        shown.ids[name] = str(client.dispatch(call))
    for name in calls:
        until_shown(shown, name, ends.get(name, "Finished"))
    until_shown(shown, "parent", f"{CHILDREN - 1} in")
    labels = {"order": "o1", "note": "a, b = <c>"}
    quick = functions.call("quick", 1)
    shown.ids["labelled"] = str(client.dispatch(quick, labels=labels))
    client.wait(shown.ids["labelled"])
    for name in ("later", "cancelled"):
        shown.ids[name] = str(client.dispatch(quick, delay=3000, labels={"order": "o2"}))
    client.cancel(shown.ids["cancelled"])


def until_shown(shown: Shown, name: str, text: str) -> None:
    until(lambda: text in shown.call(name).text, problem=lambda: plain(shown.call(name).text))


def listed(text: str) -> list[str]:
    """The ids of the calls in a list."""
    return re.findall(r'<td><a class="id" href="/calls/([^"]+)" title', text)


def plain(text: str) -> str:
    """The text of a page, with one space between words."""
    return " ".join(re.sub(r"<[^>]*>", " ", text.partition("<main>")[2]).split())


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """What is logged in the meantime, by whomever."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.getMessage()} {record.__dict__}")

    root, handler = logging.getLogger(), Handler(logging.DEBUG)
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
