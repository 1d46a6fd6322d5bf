"""The call that runs on log records: CallLogFilter."""

import asyncio
import contextvars
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatch_grpc import CallError, Client, Endpoint, new_call, workflow
from dispatch_grpc.endpoint import CallLogFilter
from dispatch_grpc.testing import serve_app
from tests.conftest import RunningService
from tests.hostile import unused_port
from tests.test_docs import ROOT, block
from tests.waiting import until

PATIENCE = 60
log = logging.getLogger("tests.a_library")


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.api_key, api_url=service.url, env={}) as client:
        yield client


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint("http://127.0.0.1:1", env={})

    @endpoint.function
    def sync(word: str) -> None:
        log.warning("in a thread: %s", word)

    @endpoint.function
    async def asynchronous() -> None:
        await asyncio.gather(say("in a task"), say("in another"))

    async def say(word: str) -> None:
        await asyncio.sleep(0)
        log.warning(word)

    @endpoint.workflow
    async def flow() -> None:
        workflow.logger.warning("before")
        await workflow.step(log.warning, "in a step")
        await workflow.step(say, "in an async step")
        await sync.run("of a workflow")
        workflow.logger.warning("after")

    @endpoint.function
    def forks() -> None:
        child = os.fork()
        if child == 0:
            log.warning("in a fork")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

    @endpoint.function
    def starts_a_thread() -> None:
        run = contextvars.copy_context().run
        thread = threading.Thread(target=run, args=(log.warning, "in a thread of its own"))
        thread.start()
        thread.join()

    attempts: list[int] = []

    @endpoint.function
    def unsteady() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError("not yet")
        log.warning("it works")

    with serve_app(endpoint.app) as server:
        endpoint.url = server.url
        yield endpoint


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Path]:
    """A file with a line for each record, an array in JSON."""
    path = tmp_path / "log"

    class Lines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            names = ("name", "dispatch_id", "function", "attempt")
            return json.dumps([*(vars(record)[name] for name in names), record.getMessage()])

    handler = logging.FileHandler(path)
    handler.addFilter(CallLogFilter())
    handler.setFormatter(Lines())
    root = logging.getLogger()
    root.addHandler(handler)
    yield path
    root.removeHandler(handler)
    handler.close()


def read(lines: Path) -> list[list[str | int]]:
    return [json.loads(line) for line in lines.read_text().splitlines()]


def of(lines: Path, id: str) -> list[tuple[str | int, ...]]:
    """Function, attempt and message of the lines of a call that are not the service's."""
    return [
        (line[2], line[3], line[4])
        for line in read(lines)
        if line[1] == id and line[0] != "dispatch_grpc.service"
    ]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("asynchronous", ["in a task", "in another"]),
        ("forks", ["in a fork"]),
        ("starts_a_thread", ["in a thread of its own"]),
        ("flow", ["before", "in a step", "in an async step", "after"]),
    ],
)
def test_what_runs_for_a_call_is_logged_with_it(
    client: Client, endpoint: Endpoint, lines: Path, name: str, messages: list[str]
):
    id = client.dispatch(new_call(endpoint.url, name))
    client.wait(id, timeout=PATIENCE)
    assert of(lines, id) == [(name, 1, message) for message in messages]


def test_each_call_has_its_own_lines(client: Client, endpoint: Endpoint, lines: Path):
    ids = [client.dispatch(new_call(endpoint.url, "sync", f"{n}")) for n in range(8)]
    client.wait_all(ids, timeout=PATIENCE)
    assert [of(lines, id) for id in ids] == [[("sync", 1, f"in a thread: {n}")] for n in range(8)]


def test_a_failure_and_the_attempt_after_it(client: Client, endpoint: Endpoint, lines: Path):
    id = client.dispatch(new_call(endpoint.url, "unsteady"))
    client.wait(id, timeout=PATIENCE)
    failed = "function unsteady failed with TCP_ERROR"
    assert of(lines, id) == [("unsteady", 1, failed), ("unsteady", 2, "it works")]


def test_what_the_endpoint_refuses_has_the_call_too(
    client: Client, endpoint: Endpoint, lines: Path
):
    """It is not logged from within the function."""
    id = client.dispatch(new_call(endpoint.url, "sync", 23))
    until(lambda: of(lines, id))
    ((function, attempt, message),) = of(lines, id)
    assert (function, attempt) == ("sync", 1)
    assert str(message).startswith("function sync failed with INVALID_ARGUMENT")


def test_outside_a_call_the_fields_are_empty(lines: Path):
    log.warning("nothing runs")
    log.warning("given", extra={"dispatch_id": "mine", "attempt": 7})
    assert read(lines) == [
        ["tests.a_library", "", "", 0, "nothing runs"],
        ["tests.a_library", "mine", "", 7, "given"],
    ]


@contextmanager
def serving(command: Sequence[str], folder: Path) -> Iterator[Path]:
    """Run the program of an endpoint with one function; the result is its log."""
    log = folder / "log"
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr, cwd=folder) as process:
        try:
            until(lambda: "serving 1 function" in log.read_text())
            yield log
        finally:
            process.terminate()
            process.wait(30)


def test_the_command_line_logs_the_call_of_each_line(client: Client, tmp_path: Path):
    address = f"127.0.0.1:{unused_port()}"
    (tmp_path / "app.py").write_text(
        "import logging\n"
        "from dispatch_grpc import Endpoint, PermanentError\n"
        f"endpoint = Endpoint('http://{address}')\n"
        "@endpoint.function\n"
        "def pack(name: str) -> None:\n"
        "    logging.getLogger('shop').info('packing for %s', name)\n"
        "    raise PermanentError('no boxes')\n"
    )
    command = [sys.executable, "-m", "dispatch_grpc", "run", "app:endpoint", "--address", address]
    with serving(command, tmp_path) as log:
        id = client.dispatch(new_call(f"http://{address}", "pack", "Ada"))
        with pytest.raises(CallError, match="no boxes"):
            client.wait(id, timeout=PATIENCE)
    logged = log.read_text()
    assert f" INFO shop: packing for Ada [{id}, attempt 1]\n" in logged
    failed = f"function pack failed with PERMANENT_ERROR [{id}, attempt 1]\nTraceback"
    assert f" WARNING dispatch_grpc: {failed}" in logged
    assert f"serving 1 function at http://{address} (pack)\n" in logged  # for no call


def test_an_endpoint_logs_as_the_guide_shows(client: Client, tmp_path: Path):
    page = (ROOT / "docs/hosting.md").read_text(encoding="utf-8")
    address = f"127.0.0.1:{unused_port()}"
    (tmp_path / "app.py").write_text(
        block(page, "Logging", "python")
        + "from dispatch_grpc import Endpoint\n"
        + f"endpoint = Endpoint('http://{address}')\n"
        + "@endpoint.function\n"
        + "def greet(name: str) -> str:\n"
        + "    logging.getLogger('shop').info('packing for %s', name)\n"
        + f"endpoint.serve('{address}')\n"
    )
    with serving([sys.executable, "app.py"], tmp_path) as log:
        id = client.dispatch(new_call(f"http://{address}", "greet", "Ada"))
        client.wait(id, timeout=PATIENCE)
    logged = log.read_text()
    assert f"INFO shop [{id} greet 1] packing for Ada\n" in logged
    assert "INFO dispatch_grpc [  0] " in logged
