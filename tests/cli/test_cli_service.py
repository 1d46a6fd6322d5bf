"""`dispatch-grpc serve`, and the commands that need it: real processes, a real database."""

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
import trustme
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.timestamp_pb2 import Timestamp

import dispatch_grpc
from dispatch_grpc import (
    AsyncClient,
    AuthenticationError,
    Call,
    Client,
    Endpoint,
    Status,
    TLSCredentials,
    cli,
    marshal,
    new_call,
    unmarshal,
)
from dispatch_grpc.cli import output as cli_output
from dispatch_grpc.cli import serve as serve_module
from dispatch_grpc.cli import service_process
from dispatch_grpc.cli import tree as cli_tree
from dispatch_grpc.cli.commands import commands
from dispatch_grpc.cli.input import since
from dispatch_grpc.primitives import RunRequest, RunResponse, exit_
from dispatch_grpc.schema import CallInfo, CallState
from dispatch_grpc.service import ServiceSettings
from dispatch_grpc.service.api_keys import read_key_file
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.signature import new_key_pair
from dispatch_grpc.testing import serve_app
from tests.cli.test_cli import Done, says
from tests.conftest import RunningService
from tests.hostile import unused_port
from tests.nested import host_nested
from tests.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to be caught")

SECONDS = 60
PYTHON = [sys.executable, "-W", "error", "-P"]
COMMAND = [*PYTHON, "-m", "dispatch_grpc"]
# What is ended at once leaves its connections open.
ENDING = [*PYTHON, "-W", "ignore::ResourceWarning", "-m", "dispatch_grpc"]
KEY = "sk-test-0123456789"


def variables(**added: str) -> dict[str, str]:
    """The environment without what the commands read."""
    others = re.compile("_?DISPATCH_|PYTHONUNBUFFERED|NO_COLOR|COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not others.match(name)}
    return {**kept, **added}


def run(*arguments: str, stdin: str = "", **added: str) -> Done:
    """Run a command to its end, in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=variables(**added),
        input=stdin.encode(),
        capture_output=True,
        timeout=SECONDS,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def run_on(service: RunningService, *arguments: str) -> Done:
    """Run a command that uses a service."""
    added = {"DISPATCH_API_URL": service.url, "DISPATCH_API_KEY": service.api_key}
    return run(*arguments, **added)


class Serving:
    """A process of `dispatch-grpc serve`."""

    def __init__(
        self, folder: Path, *options: str, command: Sequence[str] = COMMAND, **added: str
    ) -> None:
        self.data = folder / "data"
        self._err = folder / f"err-{time.monotonic_ns()}"
        with self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*command, "serve", "--port", "0", "--data-dir", str(self.data), *options],
                env=variables(**added),
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )

    def read(self, *, keep: bool = True) -> "Serving":
        """Read what it prints once it has started; `keep` says whether a key is kept."""
        assert self.process.stdout
        self.lines = [self.process.stdout.readline() for _ in range(4)]
        assert all(self.lines), self.err
        self.url = self.lines[0].removeprefix("URL: ").strip()
        self.key = (self.data / "api-key").read_text().strip() if keep else ""
        return self

    @property
    def err(self) -> str:
        return self._err.read_text()

    def until(self, condition: Callable[[], Any]) -> None:
        def holds() -> Any:
            found = condition()
            assert found or self.process.poll() is None, self.err
            return found

        until(holds, SECONDS, problem=lambda: self.err)

    def stop(self, sign: int = signal.SIGTERM) -> int:
        """Stop it; returns its exit code. It prints no more."""
        self.process.send_signal(sign)
        code = self.process.wait(SECONDS)
        assert self.process.stdout
        assert self.process.stdout.read() == ""
        return code

    def __call__(self, *arguments: str, **added: str) -> Done:
        """Run a command that uses it."""
        return run(
            *arguments, **{"DISPATCH_API_URL": self.url, "DISPATCH_API_KEY": self.key, **added}
        )

    def client(self, key: str | None = None) -> Client:
        return Client(key or self.key, api_url=self.url, timeout=SECONDS, env={})

    def dispatch(self, *arguments: str) -> str:
        done = self("call", *arguments)
        assert done.code == 0, done
        return done.out.strip()

    @property
    def database_runs(self) -> bool:
        return (self.data / "postgres" / "postmaster.pid").exists()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


@contextmanager
def serve(folder: Path, *options: str, keep: bool = True, **added: Any) -> Iterator[Serving]:
    serving = Serving(folder, *options, **added)
    try:
        yield serving.read(keep=keep)
    finally:
        serving.close()


UNKNOWN = AnyProto(type_url="type.googleapis.com/un.known", value=b"\1\2")
OUTPUTS: dict[str, tuple[Any, Any]] = {
    "none": (None, None),
    "integral": (1.0, 1.0),
    "text": ("é\x9b\n", "é\x9b\n"),
    "bytes": (b"\1\2", "AQI="),
    "time": (datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00+00:00"),
    "duration": (timedelta(minutes=90), "PT5400S"),
    "nan": (float("nan"), "NaN"),
    "infinity": (float("-inf"), "-Infinity"),
    "nested": ({"a": [1, None, True]}, {"a": [1, None, True]}),
    "unknown": (UNKNOWN, {"@type": "type.googleapis.com/un.known", "value": "AQI="}),
    "message": (
        CallInfo(dispatch_id="x", creation_time=Timestamp(seconds=1)),
        {"dispatch_id": "x", "creation_time": "1970-01-01T00:00:01Z"},
    ),
    "message_with_unknown": (
        # A message whose JSON cannot be known.
        Call(input=UNKNOWN),
        {
            "@type": "type.googleapis.com/dispatch.sdk.v1.Call",
            "value": "IiIKHHR5cGUuZ29vZ2xlYXBpcy5jb20vdW4ua25vd24SAgEC",
        },
    ),
}


@pytest.fixture(scope="module")
def hosted() -> Iterator[str]:
    """URL of an endpoint with the functions of these tests."""
    endpoint = Endpoint("http://127.0.0.1:1", env={})  # the port is not known yet

    @endpoint.function
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    @endpoint.function
    def fails(message: str) -> None:
        error: Any = ValueError(message)
        error.status = Status.INVALID_ARGUMENT
        raise error

    host_nested(endpoint, fails)

    @endpoint.function
    def throttled(message: str) -> None:
        error: Any = RuntimeError(message)
        error.status = Status.THROTTLED
        raise error

    @endpoint.function
    async def slow(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    @endpoint.primitive
    def output(request: RunRequest) -> RunResponse:
        response = exit_(None)
        response.exit.result.output.CopyFrom(marshal(OUTPUTS[unmarshal(request.input)][0]))
        return response

    with serve_app(endpoint.app) as server:
        endpoint.url = server.url
        yield server.url


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a database.

    Not one of pytest's: where root runs the tests, the database is another user's, and a second
    pytest that begins meanwhile takes away from all others the right to read those.
    """
    with tempfile.TemporaryDirectory(prefix="dispatch-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    """One service for these tests, with a database and a key of its own."""
    with tempfile.TemporaryDirectory(prefix="dispatch-") as name, serve(Path(name)) as serving:
        yield serving
        assert serving.stop() == 0
        # The errors of functions that failed are in its log.
        assert not re.search("Traceback| ERROR | WARNING ", serving.err), serving.err
        assert not serving.database_runs


# What a service tells


def test_what_it_prints(serving: Serving, hosted: str):
    file = serving.data / "api-key"
    assert re.fullmatch(r"URL: http://127\.0\.0\.1:[0-9]+\n", serving.lines[0])
    assert serving.lines[1] == f"API key: from {file}\n"  # shown on a terminal only
    assert serving.key not in "".join(serving.lines) + serving.err
    assert len(serving.key) >= 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    tried = serving.lines[3].removeprefix("and call it from a third: ")
    assert tried.startswith(f"DISPATCH_API_URL={serving.url} DISPATCH_API_KEY=$(cat {file}) ")
    assert serving.key not in tried
    assert serving.key not in serving.err
    # Nothing of the libraries': no warning, no tale of the embedded database.
    lines = serving.err.splitlines()
    assert all(" INFO dispatch_grpc.service: " in line for line in lines), serving.err


def test_the_lines_to_try_work_as_they_stand(folder: Path, tmp_path: Path):
    """Copied literally, each into a terminal of its own, in other folders."""
    address = f"127.0.0.1:{unused_port()}"
    environment = variables(
        DISPATCH_ENDPOINT_ADDR=address,
        DISPATCH_ENDPOINT_URL=f"http://{address}",
        PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    )
    with serve(folder, DISPATCH_ENDPOINT_URL=f"http://{address}") as serving:
        endpoint, call = (line.partition(": ")[2] for line in serving.lines[2:])
        terminal: dict[str, Any] = {"env": environment, "cwd": tmp_path, "text": True}
        with subprocess.Popen(
            ["sh", "-c", f"exec {endpoint}"], stderr=subprocess.PIPE, **terminal
        ) as process:
            done = subprocess.run(
                ["sh", "-c", call], capture_output=True, timeout=SECONDS, **terminal
            )
            process.terminate()
            _, err = process.communicate(timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, '"World"\n'), (done, err)
    assert process.returncode == 0
    assert f"serving 1 function at http://{address} (echo)" in err


def test_the_endpoint_to_try_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DISPATCH_ENDPOINT_URL", raising=False)
    lines = service_process.announcement(ServiceSettings(), "http://127.0.0.1:1", "", None)
    assert " dispatch-grpc call http://127.0.0.1:8000 echo " in lines[3]
    key = Path(".dispatch/api-key").resolve()
    assert f" DISPATCH_API_KEY=$(cat {shlex.quote(str(key))}) " in lines[3]
    lines = service_process.announcement(ServiceSettings(), "http://x", "keys.txt", None)
    assert lines[1] == "API key: from keys.txt; set DISPATCH_API_KEY to it for clients"


# Calls


def test_call_and_wait(serving: Serving, hosted: str):
    done = serving("call", hosted, "greet", "--input", '"Ada"', "--wait")
    assert (done.code, done.out) == (0, '"Hello, Ada!"\n')
    (id,) = re.fullmatch("dispatch id: (.+)\n", done.err).groups()  # type: ignore[union-attr]
    assert serving("wait", id) == (0, '"Hello, Ada!"\n', "")
    wanted = {"dispatch_id": id, "status": "OK", "output": "Hello, Ada!"}
    done = serving("wait", id, "--json")
    assert (json.loads(done.out), done.code) == (wanted, 0)
    done = serving("call", hosted, "greet", "--input", '"Bob"', "--wait", "--json")
    found = json.loads(done.out)
    assert found == {**found, "status": "OK", "output": "Hello, Bob!"}
    assert done.err == f"dispatch id: {found['dispatch_id']}\n"


@pytest.mark.parametrize("protocol", ["grpc", "connect", "connect+json"])
def test_protocols(serving: Serving, hosted: str, protocol: str):
    options = ["--protocol", protocol]
    assert serving("call", hosted, "greet", "--input", '"A"', "--wait", *options).code == 0
    assert json.loads(serving("list", "--limit", "1", "--json", *options).out)


def test_a_call_that_fails(serving: Serving, hosted: str):
    arguments = ["call", hosted, "fails", "--input", '"no\\n\\u001b[31m"', "--wait"]
    message = "dispatch-grpc: the call failed: ValueError: no  [31m [INVALID_ARGUMENT]"
    done = serving(*arguments)
    assert (done.code, done.out) == (1, "")
    told, complaint = done.err.splitlines()
    assert complaint == message
    id = told.removeprefix("dispatch id: ")
    assert serving("wait", id) == (1, "", message + "\n")
    done = serving("wait", id, "--json")
    assert (done.code, done.err) == (1, message + "\n")
    found = json.loads(done.out)
    assert found["error"].pop("traceback").startswith("Traceback (most recent call last):\n")
    error = {"type": "ValueError", "message": "no\n\x1b[31m"}
    assert found == {"dispatch_id": id, "status": "INVALID_ARGUMENT", "error": error}
    assert json.loads(serving(*arguments, "--json").out)["status"] == "INVALID_ARGUMENT"


def test_a_call_that_does_not_finish_in_time(serving: Serving, hosted: str):
    slow = ["call", hosted, "slow", "--input", "60"]
    done = serving(*slow, "--wait", "--timeout", "1s")
    assert (done.code, done.out) == (1, "")
    told, complaint = done.err.splitlines()
    id = told.removeprefix("dispatch id: ")
    assert complaint.startswith(f"dispatch-grpc: the call {id} did not finish within ")
    assert complaint.endswith("[DEADLINE_EXCEEDED]")
    assert "idempotency" not in complaint
    done = serving("wait", id, "--timeout", "200ms", "--json")
    (complaint,) = done.err.splitlines()
    problem = rf"the call {id} did not finish within [0-9.]+ s: its first attempt is running"
    assert re.match(f"dispatch-grpc: {problem}", complaint)
    found = json.loads(done.out)
    assert (done.code, found["dispatch_id"], found["status"]) == (1, id, None)
    assert found["error"]["type"] == "DeadlineExceededError"
    assert re.match(problem, found["error"]["message"])
    assert serving("cancel", id) == (0, "cancelled 1 call\n", "")
    says(serving("wait", id), 1, "the call failed: CancelledError: the call was cancelled [PERM")
    says(serving("cancel", id), 1, f"the call {id} has finished already [FAILED_PRECONDITION]")
    other = serving.dispatch(*slow[1:])
    done = serving("cancel", other, "--json")
    assert json.loads(done.out) == {"dispatch_id": other, "cancelled": 1}


def test_waiting_for_several(serving: Serving, hosted: str):
    ids = [
        serving.dispatch(hosted, name, "--input", json.dumps(text))
        for name, text in (("slow", 1), ("fails", "no"), ("greet", "Ada"))
    ]
    missing = "01a205dd-56fd-74e0-ad8a-5903b5ee80d5"
    done = serving("wait", *ids, missing)
    assert (done.code, done.out) == (1, '"slept"\n"Hello, Ada!"\n')
    failed, unknown = done.err.splitlines()
    assert failed == (f"dispatch-grpc: the call {ids[1]} failed: ValueError: no [INVALID_ARGUMENT]")
    assert f"has no call '{missing}'" in unknown
    done = serving("wait", *ids, "--json")
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [one["dispatch_id"] for one in found] == ids
    assert [one["status"] for one in found] == ["OK", "INVALID_ARGUMENT", "OK"]
    assert done.code == 1
    assert serving("wait", ids[0], ids[2]).code == 0
    done = serving("wait", missing, ids[0], "--json")
    unknown, slept = map(json.loads, done.out.splitlines())
    assert (done.code, slept["output"]) == (1, "slept")
    assert (unknown["dispatch_id"], unknown["status"]) == (missing, None)
    assert unknown["error"]["type"] == "NotFoundError"


def test_waiting_for_the_calls_of_a_batch(serving: Serving, hosted: str, tmp_path: Path):
    """More ids than are waited for at once come from stdin, as either form of `batch` prints."""
    calls = [{"endpoint": hosted, "function": "greet", "input": str(n)} for n in range(150)]
    file = tmp_path / "calls.jsonl"
    file.write_text("\n".join(map(json.dumps, calls)))
    for options in ((), ("--json",)):
        ids = serving("batch", str(file), *options).out
        done = serving("wait", "-", *options, stdin=ids)
        assert (done.code, done.err) == (0, "")
        found = [json.loads(line) for line in done.out.splitlines()]
        outputs = [one["output"] for one in found] if options else found
        assert outputs == [f"Hello, {n}!" for n in range(150)]
    says(serving("wait", "-", stdin="\n"), 2, "<stdin>: there are no ids")
    says(serving("wait", "-", stdin='{"id": 1}'), 2, "<stdin>:1: an id or {", "is required; got")


@pytest.mark.parametrize("protocol", ["grpc", "connect", "connect+json"])
@pytest.mark.parametrize("later", [{}, {"delay": "1h"}])
def test_a_call_of_a_batch_that_the_service_refuses(
    serving: Serving, tmp_path: Path, protocol: str, later: dict[str, str]
):
    """The service names the call by its place in the request, the command by its line."""
    good = json.dumps({"endpoint": "http://example.com", "function": "f"})
    bad = json.dumps({"endpoint": "http://169.254.169.254", "function": "f", **later})
    lines = f"{good}\n" * 2 + f"\n \n{bad}\n{good}\n"
    place = "submissions[2].call" if later else "calls[2]"
    told = f"{serving.url} answered: {place}.endpoint: link-local and metadata addresses are not"
    file = tmp_path / "calls.jsonl"
    file.write_text(lines)
    done = serving("batch", str(file), "--protocol", protocol)
    says(done, 1, f"dispatch-grpc: {file}:5: {told}")
    done = serving("batch", "-", "--protocol", protocol, stdin=lines)
    says(done, 1, f"dispatch-grpc: <stdin>:5: {told}")


def test_a_batch_that_the_service_refuses_as_a_whole(serving: Serving):
    line = json.dumps({"endpoint": "http://example.com", "function": "f"})
    done = serving("batch", "-", stdin=f"{line}\n" * 10_001)
    says(
        done,
        1,
        f"dispatch-grpc: {serving.url} answered: calls: at most 10000",
    )


def test_a_wait_for_several_says_how_many_are_left(serving: Serving, hosted: str):
    ids = [serving.dispatch(hosted, "slow", "--input", str(seconds)) for seconds in (0, 60, 60)]
    done = serving("wait", *ids, "--timeout", "5s")
    assert (done.code, done.out) == (1, '"slept"\n')
    reports = [line for line in done.err.splitlines() if "waiting for" in line]
    assert reports == ["dispatch-grpc: waiting for 2 of 3 calls"]
    for id in ids[1:]:
        serving("cancel", id)


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs(serving: Serving, hosted: str, name: str):
    done = serving("call", hosted, "output", "--input", json.dumps(name), "--wait")
    assert json.loads(done.out) == OUTPUTS[name][1]
    assert len(done.out.splitlines()) == 1  # which \x9b and others would end
    assert done.out.rstrip("\n").isprintable()
    if name == "text":
        assert done.out == '"é\\u009b\\n"\n'
    id = done.err.removeprefix("dispatch id: ").strip()
    assert json.loads(serving("wait", id, "--json").out)["output"] == OUTPUTS[name][1]
    found = json.loads(serving("get", id, "--json").out)
    assert (found["dispatch_id"], found["state"], found["status"]) == (id, "finished", "OK")
    assert found["output"] == OUTPUTS[name][1]
    shown = serving("get", id).out
    assert json.loads(shown.split("\noutput")[1].splitlines()[0]) == OUTPUTS[name][1]


def test_output_of_another_encoding(serving: Serving, hosted: str):
    arguments = ["call", hosted, "greet", "--input", '"é"', "--wait"]
    assert serving(*arguments, PYTHONIOENCODING="ascii").out == '"Hello, \\u00e9!"\n'
    assert serving(*arguments).out == '"Hello, é!"\n'


def test_an_output_larger_than_a_request_may_be(serving: Serving, hosted: str, tmp_path: Path):
    (tmp_path / "large").write_text(json.dumps("x" * 4_194_200))
    id = serving.dispatch(hosted, "greet", "--input-file", str(tmp_path / "large"))
    assert len(serving("wait", id).out) > 4_194_200 + len("Hello, !")


def test_get(serving: Serving, hosted: str):
    id = serving.dispatch(hosted, "fails", "--input", '"no\\n\\u001b[31m"', "--version", "1.2")
    serving("wait", id)
    lines = serving("get", id).out.splitlines()
    texts = dict(re.split("  +", line, maxsplit=1) for line in lines[:11])  # type: ignore[misc]
    assert texts.pop("created").endswith(" ago)") or "(now)" in lines[7]
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d "
    assert re.fullmatch(when + r"\(in 59 min\)", texts.pop("expires"))
    assert re.fullmatch(when + r"\((now|\d+ s ago)\)", texts.pop("finished"))
    assert texts == {
        "id": id,
        "endpoint": hosted,
        "function": "fails",
        "version": "1.2",
        "state": "finished",
        "status": "INVALID_ARGUMENT",
        "runs": "1",
        "error": "ValueError: no  [31m",
    }
    assert lines[11:13] == ["traceback of the error:", "  Traceback (most recent call last):"]
    assert all(line.startswith("  ") for line in lines[12:])
    assert all(line.isprintable() for line in lines)
    assert lines[-1] == "   [31m"


def test_a_wait_says_what_it_waits_for(serving: Serving, hosted: str):
    """An unknown function is tried again for minutes, as a deploy may bring it."""
    done = serving("call", "--wait", "--timeout", "10s", hosted, "nope")
    assert done.code == 1
    first, *others = done.err.splitlines()
    id = first.removeprefix("dispatch id: ")
    reports = [line for line in others if line.startswith("dispatch-grpc: waiting for the call")]
    assert len(reports) == 1  # it waits for the same error all the time
    assert re.fullmatch(
        rf"dispatch-grpc: waiting for the call {id} of nope at {hosted}: it is (queued|running) "
        rf"after \d+ runs?; its last error was not_found: .*'nope'.*",
        reports[0],
    )
    again = serving("wait", "--timeout", "5s", id)
    assert f"waiting for the call {id} of nope" in again.err
    serving("cancel", id)


def test_calls_that_begin_later_and_have_labels(serving: Serving, tmp_path: Path):
    done = serving("call", "http://127.0.0.1:9", "f", "--delay", "10m", "--label", "a=1=2")
    texts = dict(
        re.split("  +", line, maxsplit=1)
        for line in serving("get", done.out.strip()).out.splitlines()
    )
    assert texts["labels"] == "a=1=2"
    assert texts["start"] == texts["next run"]
    assert texts["start"].endswith(("(in 9 min)", "(in 10 min)"))
    call = {"endpoint": "http://127.0.0.1:9", "function": "f", "labels": {"a": "b", "c": ""}}
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    (tmp_path / "calls").write_text(f"{json.dumps(call)}\n{json.dumps({**call, 'at': at})}")
    ids = serving("batch", str(tmp_path / "calls")).out.split()
    assert len(ids) == 2
    found = serving("list", "--label", "a=b", "--label", "c=", "--json").out.splitlines()
    starts = {one["dispatch_id"]: one["start_time"] for one in map(json.loads, found)}
    assert starts.keys() == set(ids)
    assert starts[ids[0]] is None
    assert datetime.fromisoformat(starts[ids[1]]) == datetime.fromisoformat(at)
    says(serving("list", "--label", "none=1"), 0, "no calls found")


def test_get_of_a_workflow(serving: Serving, hosted: str, monkeypatch: pytest.MonkeyPatch):
    """The calls that it made are a tree, with state, time and error."""
    id = serving.dispatch(hosted, "outer")
    serving("wait", id)
    lines = serving("get", id).out.splitlines()
    tree = lines[lines.index("calls that it made:") + 1 :]
    time = r"  [\d.]+ (ms|s)  [0-9a-f-]{36}"
    below = [
        rf"  ok  inner{time}",
        rf"    invalid_argument  fails{time}",
        "      ValueError: {}",
    ]
    wanted = [
        *(line.format("first") if "{}" in line else line for line in below),
        *(line.format("second") if "{}" in line else line for line in below),
    ]
    assert len(tree) == len(wanted)
    for line, pattern in zip(tree, wanted, strict=True):
        assert re.fullmatch(pattern, line), line
    assert "calls that it made" not in serving("get", tree[1].split()[-1]).out
    assert json.loads(serving("get", "--json", id).out)["dispatch_id"] == id

    async def bounded() -> tuple[list[cli_tree.Branch], bool]:
        async with AsyncClient(serving.key, api_url=serving.url, env={}) as client:
            return await cli_tree.fetch_tree(client, await client.get(id))

    monkeypatch.setattr(cli_tree, "MOST", 3)
    branches, more = asyncio.run(bounded())
    assert [branch.call.function for branch in branches] == ["inner", "fails", "inner"]
    assert more
    assert cli_tree.tree_lines(branches, more=more)[-1].startswith("  … and more")


def test_get_of_a_call_that_is_tried_again(serving: Serving, hosted: str):
    id = serving.dispatch(hosted, "throttled", "--input", '"later"')
    try:
        serving.until(lambda: "last error" in serving("get", id).out)
        shown = serving("get", id).out
        assert re.search(r"\nlast error +RuntimeError: later\n", shown)
        assert re.search(r"\nstatus +THROTTLED\n", shown)
        assert "\ntraceback of the last error:\n  Traceback (most" in shown
    finally:
        serving("cancel", id)


@pytest.mark.parametrize("name", ["get", "wait", "cancel"])
def test_calls_that_there_are_not(serving: Serving, name: str):
    id = "01a205dd-56fd-74e0-ad8a-5903b5ee80d5"
    says(serving(name, id), 1, f"{serving.url} has no call '{id}'", "[NOT_FOUND]")
    says(serving(name, "no id"), 1, "has no call 'no id'")
    says(serving(name, ""), 2, "dispatch_id: a non-empty str is required")
    says(serving(name), 2, "Missing argument 'ID", f"(see 'dispatch-grpc {name} --help')")


def test_a_service_without_calls(dispatch_server):
    added = {"DISPATCH_API_URL": dispatch_server.url, "DISPATCH_API_KEY": "any"}
    says(run("list", **added), 1, "does not have CallService.ListCalls", "dispatch-grpc serve")


def test_a_key_that_is_rejected(serving: Serving):
    done = serving("list", DISPATCH_API_KEY="sk-wrong-one")
    says(done, 1, "rejected the API key sk-******** (from DISPATCH_API_KEY)")
    assert "wrong" not in done.err


def test_ctrl_c_while_waiting(serving: Serving, hosted: str):
    id = serving.dispatch(hosted, "slow", "--input", "60")
    added = {"DISPATCH_API_URL": serving.url, "DISPATCH_API_KEY": serving.key}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*COMMAND, "wait", id], env=variables(**added), **pipes) as started:  # type: ignore[call-overload]
        time.sleep(2)
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=SECONDS)
    assert (started.returncode, out, err.strip()) == (130, b"", b"")
    serving("cancel", id)


# Lists


def ids_of(done: Done) -> list[str]:
    assert done.code == 0, done
    return [json.loads(line)["dispatch_id"] for line in done.out.splitlines()]


def test_filters(serving: Serving, hosted: str):
    before = datetime.now(UTC)
    ok = serving.dispatch(hosted, "greet", "--input", '"A"')
    bad = serving.dispatch(hosted, "fails", "--input", '"no"')
    serving("wait", ok, bad)
    slow = serving.dispatch(hosted, "slow", "--input", "60")
    serving.until(lambda: "running" in serving("get", slow).out)

    def listed(*options: str) -> list[str]:
        return ids_of(serving("list", "--json", "--since", before.isoformat(), *options))

    assert listed() == [slow, bad, ok]
    assert listed("--limit", "2") == [slow, bad]
    assert listed("--state", "running") == [slow]
    assert listed("--state", "FINISHED") == [bad, ok]
    assert listed("--status", "ok") == [ok]
    assert listed("--status", "INVALID_ARGUMENT") == [bad]
    assert listed("--function", "greet") == [ok]
    assert listed("--endpoint", hosted) == [slow, bad, ok]
    assert listed("--parent", ok) == []
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for nothing in (["--endpoint", "http://127.0.0.1:10"], ["--since", later]):
        assert serving("list", "--json", *nothing) == (
            0,
            "",
            "dispatch-grpc: no calls found\n",
        )
    assert ids_of(serving("list", "--json", "--since", "1h", "--limit", "3")) == [slow, bad, ok]
    assert serving("list", "--since", "0s").out == ""
    assert serving("cancel", slow).code == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["list", "--state", "done"], "'done' is not one of 'queued', 'running', 'waiting', 'fin"),
        (["list", "--status", "unspecified"], "'unspecified' is not one of 'ok', 'timeout', "),
        (["list", "--limit", "0"], "0 is not in the range x>=1"),
        (["list", "--since", "yesterday"], "a duration such as 1h30m, or a time such as 2026-"),
        (["list", "--since", "999999d"], "a duration such as 1h30m, or a time such as 2026-"),
        (
            ["wait", "x", "--timeout", "0s"],
            "a duration above zero and of at most 365d is required; got '0s",
        ),
        (["call", "http://x", "f", "--wait", "--timeout", "1"], "a duration is required"),
        (["get", "x", "y"], "Got unexpected extra argument (y)"),
    ],
)
def test_options_that_are_not_acceptable(capsys, arguments, problem):
    code = cli.main(arguments)
    says(Done(code, *capsys.readouterr()), 2, problem)


def test_since_is_local_time_unless_it_says(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert since("2026-01-31T12:00") == datetime(2026, 1, 31, 3, tzinfo=UTC)
        assert since("2026-01-31T12:00Z") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()


def info(**fields: Any) -> CallInfo:
    call = CallInfo(
        dispatch_id="01a205dd-56fd-74e0-ad8a-5903b5ee80d5",
        endpoint="http://127.0.0.1:8000",
        function="greet",
        state=CallState.CALL_STATE_FINISHED,
        status=Status.OK,  # type: ignore[arg-type]
        **fields,
    )
    call.creation_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=3, seconds=5))
    return call


@pytest.mark.parametrize("columns", [40, 80, 100, 120])
@pytest.mark.parametrize("function", ["f", "a_function_with_a_name_that_is_long"])
@pytest.mark.parametrize("endpoint", ["http://x", "https://" + "host." * 10 + "example.com/end"])
@pytest.mark.parametrize("status", [Status.OK, Status.PERMISSION_DENIED])
def test_columns_fit(monkeypatch, columns, function, endpoint, status):
    monkeypatch.setenv("COLUMNS", str(columns))
    calls = [info(), info()]
    calls[1].function, calls[1].endpoint, calls[1].status = function, endpoint, status
    heads, *rows = map(click.unstyle, cli_output.table(list(map(dispatch_grpc.CallInfo.of, calls))))
    assert all(len(row) <= max(columns, 80) for row in (heads, *rows))
    names = heads.split()
    assert names[:4] == ["ID", "STATE", "AGE", "FUNCTION"]
    begins = [heads.index(name) for name in names]
    for begin in begins[1:]:
        assert all(row[begin - 1] == " " != row[begin] for row in rows)
    assert rows[1].startswith(calls[1].dispatch_id)
    assert status.name.lower() in rows[1]
    assert " 3 min ago " in rows[1]
    if "ENDPOINT" in names:
        assert rows[1].endswith(endpoint[-4:])
        assert ("…" in rows[1][begins[-1] :]) == (len(endpoint) > 60)
    else:
        assert columns < 100
    if columns == 120:
        assert function in rows[1]
        assert "  http" in rows[1]


def test_without_a_terminal_there_are_120_columns(serving: Serving):
    endpoint = "http://127.0.0.1:9/" + "x" * 200
    id = serving.dispatch(endpoint, "never")
    try:
        _, row = serving("list", "--function", "never").out.splitlines()
        assert len(row) == 120
        assert row.startswith(id)
        _, row = serving("list", "--function", "never", COLUMNS="90").out.splitlines()
        assert len(row) == 90
        assert "\x1b" not in row
    finally:
        serving("cancel", id)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (1, "1 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (2 * 86400 - 1, "47 h ago"),
        (2 * 86400, "2 d ago"),
        (1000 * 86400, "1000 d ago"),
        (-90, "in 1 min"),
    ],
)
def test_ages(seconds, text):
    now = datetime.now(UTC)
    call = info()
    call.expiration_time.FromDatetime(now - timedelta(seconds=seconds))
    assert cli_output.relative(now - timedelta(seconds=seconds), now) == text


@pytest.mark.parametrize(
    ("state", "status", "error", "colour"),
    [
        ("FINISHED", Status.OK, False, 32),
        ("FINISHED", Status.TIMEOUT, False, 31),
        ("QUEUED", Status.UNSPECIFIED, False, 36),
        ("QUEUED", Status.THROTTLED, True, 33),
        ("WAITING", Status.OK, False, 36),
        ("RUNNING", Status.UNSPECIFIED, False, 34),
    ],
)
def test_colours(state, status, error, colour):
    call = info()
    call.state, call.status = getattr(CallState, f"CALL_STATE_{state}"), status
    if error:
        call.last_error.message = "no"
    shown = status.name.lower() if state == "FINISHED" else state.lower()
    found = dispatch_grpc.CallInfo.of(call)
    assert f"\x1b[{colour}m{shown}" in cli_output.table([found])[1]
    assert f"\x1b[{colour}m{state.lower()}\x1b[0m" in "".join(cli_output.details(found))


def test_what_a_later_version_of_the_schema_has():
    call = info()
    call.MergeFromString(b"\x38\x63\x40\x62")
    found = dispatch_grpc.CallInfo.of(call)
    assert (found.state, found.status) == ("unknown", Status.PERMANENT_ERROR)
    assert " unknown " in click.unstyle(cli_output.table([found])[1])
    assert re.search("status +PERMANENT", click.unstyle("\n".join(cli_output.details(found))))
    assert found.to_dict()["state"] == "unknown"
    assert found.to_dict()["status"] == "PERMANENT_ERROR"


def test_colours_on_a_terminal_only(serving: Serving, hosted: str):
    id = serving.dispatch(hosted, "greet", "--input", '"A"')
    serving("wait", id)
    assert "\x1b" not in serving("list").out + serving("get", id).out + serving("doctor").out
    for arguments in (["list"], ["get", id], ["doctor"]):
        for added, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)):
            ours, theirs = os.openpty()
            env = variables(
                DISPATCH_API_URL=serving.url, DISPATCH_API_KEY=serving.key, COLUMNS="90", **added
            )
            try:
                subprocess.run(
                    [*COMMAND, *arguments], env=env, stdout=theirs, check=True, timeout=SECONDS
                )
                shown = os.read(ours, 100_000).decode()
            finally:
                os.close(ours)
                os.close(theirs)
            assert ("\x1b[32m" in shown) == coloured


# Serving: settings


def settings(*arguments: str) -> ServiceSettings:
    """The settings that options come to."""
    # By way of its group, whose settings it keeps: `-h` is one.
    group = click.Context(commands, **commands.context_settings)
    context = serve_module.serve.make_context("serve", list(arguments), group)
    names = ("processes", "log_level", "log_format", "api_keys", "api_key_file")
    options = {name: value for name, value in context.params.items() if name not in names}
    return serve_module._settings((), **options)


def test_the_defaults_are_those_of_the_service(monkeypatch):
    monkeypatch.delenv("DISPATCH_DATABASE_URL", raising=False)
    monkeypatch.delenv("DISPATCH_SIGNING_KEY", raising=False)
    assert settings() == ServiceSettings()
    shown = click.Context(serve_module.serve)
    for option in serve_module.serve.params:
        if isinstance(option, click.Option) and option.help and "(default: " in option.help:
            default = option.get_default(shown)
            if isinstance(default, str | int) and not isinstance(default, bool):
                assert option.help.endswith(f"(default: {default})."), option.name


def test_the_options_arrive(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("DISPATCH_DATABASE_URL", " postgresql://env ")
    pair = new_key_pair()
    (tmp_path / "key").write_text(f"\n{pair.signing_key}\n")
    monkeypatch.setenv("DISPATCH_SIGNING_KEY", "not this one")
    found = settings(
        *("--host", "::1", "--port", "1", "--data-dir", "there", "--allow-plaintext"),
        *("--signing-key-file", str(tmp_path / "key"), "--allow-metadata-endpoints"),
        *("--concurrency", "10", "--host-concurrency", "3"),
        *("--default-expiration", "2h", "--max-expiration", "3h", "--retention", "1d"),
        *("--max-backlog", "5", "--max-request-bytes", "6", "--shutdown-timeout", "7s"),
        *("--key-retention", "12h", "--run-timeout", "8s", "--grace", "9s", "--max-calls", "11"),
        *("--max-schedules", "12", "--memory", "13"),
    )
    assert found == ServiceSettings(
        database="postgresql://env",
        host="::1",
        port=1,
        data_dir=Path("there"),
        allow_plaintext=True,
        signing_key=pair.signing_key,
        max_request_bytes=6,
        max_backlog=5,
        worker=Settings(
            concurrency=10,
            host_concurrency=3,
            batch_size=5,
            shutdown_timeout=timedelta(seconds=7),
            retention=timedelta(days=1),
            request_retention=timedelta(hours=12),
            run_timeout=timedelta(seconds=8),
            max_schedules=12,
            memory=13,
            allow_metadata=True,
            limits=Limits(
                default_expiration=timedelta(hours=2),
                max_expiration=timedelta(hours=3),
                grace=timedelta(seconds=9),
                max_calls=11,
            ),
        ),
    )
    monkeypatch.setenv("DISPATCH_SIGNING_KEY", pair.signing_key)
    found = settings("--database", "postgresql://option", "--concurrency", "1")
    assert (found.database, found.signing_key) == ("postgresql://option", pair.signing_key)
    assert found.worker.batch_size == 1


def test_the_faster_event_loop():
    factory: Any = service_process.loop_factory()
    assert factory.__module__ == "uvloop"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--port", "70000"], "70000 is not in the range 0<=x<=65535"),
        (["--concurrency", "0"], "0 is not in the range x>=1"),
        (
            ["--retention", "0s"],
            "a duration above zero and of at most 36500d is required; got '0s'",
        ),
        (["--max-expiration", "367d"], "a duration above zero and of at most 366d is required"),
        (["--shutdown-timeout", "30"], "a duration is required"),
        (["--log-format", "xml"], "'xml' is not one of 'text', 'json'"),
        (["--data-dir", "file"], "Directory 'file' is a file"),
        (["--certfile", "none.pem"], "File 'none.pem' does not exist"),
        (["--certfile", "file"], "--certfile and --keyfile go together; got one of them"),
        (["--certfile", "file", "--keyfile", "file"], "--keyfile file: not a certificate chain"),
        (["--api-key", "a\nsecret"], "the API key from --api-key contains control or non-ASCII"),
        (["--api-key-file", "empty"], "--api-key-file: there is no API key in empty: write one"),
        (
            ["--api-key-file", "bad"],
            "bad:3: the API key from this line contains control or non-ASCII",
        ),
        (["--signing-key-file", "file"], "signing key from --signing-key-file file cannot be read"),
        (["--host", "0.0.0.0"], "in clear text: give --certfile and --keyfile, or --allow"),
        (["--host", "192.0.2.1"], "host: '192.0.2.1' is no loopback address"),
        (["--database", "mysql://u:secret@127.0.0.1/x"], "the database cannot be used"),
        (["--database", "postgresql://u:secret@127.0.0.1:1/x"], "the database cannot be used"),
        (["--database", "postgresql://u:secret@no.invalid/x"], "the database cannot be used"),
    ],
)
def test_settings_that_are_not_acceptable(tmp_path: Path, arguments, problem):
    (tmp_path / "file").write_text("nothing")
    (tmp_path / "empty").write_text("# no key\n\n")
    (tmp_path / "bad").write_text("# keys\nsk-good\nsk-\x01secret\n")
    done = subprocess.run(
        [*COMMAND, "serve", *arguments],
        env=variables(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    says(Done(done.returncode, done.stdout, done.stderr), 2, problem)
    assert "secret" not in done.stderr
    assert not (tmp_path / ".dispatch" / "postgres").exists()


def test_an_encrypted_key_is_refused(tmp_path: Path):
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    certificate = trustme.CA().issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    (tmp_path / "key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    )
    done = run("serve", "--certfile", str(tmp_path / "cert"), "--keyfile", str(tmp_path / "key"))
    says(done, 2, "the key is encrypted and cannot be read")


def test_the_signing_key_of_the_environment(tmp_path: Path):
    done = run("serve", "--data-dir", str(tmp_path), DISPATCH_SIGNING_KEY="secret")
    says(done, 2, "the signing key from DISPATCH_SIGNING_KEY cannot be read")
    assert "secret" not in done.err


def test_where_keys_come_from(tmp_path: Path):
    (tmp_path / "keys").write_bytes(b"\xef\xbb\xbf# ours\n\n  sk-a \nci:sk-b#1\n#sk-c\n")
    environment = {"DISPATCH_API_KEY": "sk-env"}
    keys = serve_module._api_keys
    assert keys([], None, {}) == serve_module._Keys([], "")
    assert keys(["", " "], None, {"DISPATCH_API_KEY": " "}) == serve_module._Keys([], "")
    assert keys([""], None, environment) == serve_module._Keys(["sk-env"], "DISPATCH_API_KEY")
    assert keys(["sk-1", "sk-2"], None, environment) == serve_module._Keys(
        ["sk-1", "sk-2"], "--api-key"
    )
    file = tmp_path / "keys"
    assert keys([], file, environment) == serve_module._Keys([], str(file))
    found = keys(["sk-1"], file, environment)
    assert found == serve_module._Keys(["sk-1"], f"--api-key and {file}")
    assert read_key_file(file) == {"sk-a": "", "sk-b#1": "ci"}


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://0.0.0.0:1", "DISPATCH_API_URL=http://localhost:1 dispatch-grpc call "),
        ("http://[::]:1", "DISPATCH_API_URL=http://localhost:1 dispatch-grpc call "),
        ("https://0.0.0.0:1", "DISPATCH_API_URL=https://localhost:1 "),
        ("http://[::1]:1", " dispatch-grpc call http:"),
        ("http://192.0.2.1:1", " dispatch-grpc call --allow-plaintext http:"),
        ("https://192.0.2.1:1", " dispatch-grpc call http:"),
    ],
)
def test_the_line_to_try_for_other_addresses(url, line):
    lines = service_process.announcement(ServiceSettings(), url, "DISPATCH_API_KEY", "sk-secret")
    assert lines[:2] == [f"URL: {url}", "API key: from DISPATCH_API_KEY"]
    assert line in lines[3]
    assert "secret" not in "".join(lines)


# Logs


def test_json_logs(folder: Path):
    with serve(folder, "--log-format", "json") as serving:
        assert serving.stop() == 0
    lines = [json.loads(line) for line in serving.err.splitlines()]
    assert lines
    for line in lines:
        assert line.keys() == {"time", "level", "logger", "message"}
        assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
        assert (line["level"], line["logger"]) == ("INFO", "dispatch_grpc.service")
    assert [line["message"] for line in lines][-2:] == ["stopping", "stopped"]


def test_an_exception_in_the_logs():
    code = (
        "import logging; from dispatch_grpc.cli import service_process\n"
        "service_process.log('info', 'json')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logging.getLogger('a').exception('it %s', 'failed')\n"
        "logging.getLogger('a').debug('no')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (failed,) = map(json.loads, done.stderr.splitlines())
    assert failed["exception"].startswith("Traceback (most recent call last):\n")
    assert failed["exception"].endswith("ZeroDivisionError: division by zero")
    assert (failed["level"], failed["logger"], failed["message"]) == ("ERROR", "a", "it failed")


def test_the_level_of_logs(folder: Path):
    with serve(folder, "--log-level", "ERROR") as serving:
        assert serving.stop() == 0
    assert serving.err == ""


# Lives


def test_a_service_that_is_stopped_and_started_again(folder: Path, hosted: str):
    with serve(folder) as first:
        key = first.key
        id = first.dispatch(hosted, "slow", "--input", "2")
        first.until(lambda: "running" in first("get", id).out)
        assert first.stop() == 0  # after the call has finished
        assert re.search("INFO dispatch_grpc.service: stopped\n$", first.err)
        assert not first.database_runs
    with serve(folder) as second:
        assert second.lines[1] == f"API key: from {second.data / 'api-key'}\n"
        assert second.key == key
        assert re.search(r"\nstate +finished\nstatus +OK\nruns +1\n", second("get", id).out)
        assert second("wait", id).out == '"slept"\n'
        assert second.stop(signal.SIGINT) == 0
        assert not second.database_runs
    (folder / "keys").write_text("sk-a\nsk-b\n")
    options = ["--api-key", KEY, "--api-key-file", str(folder / "keys")]
    with serve(folder, *options, DISPATCH_API_KEY="sk-env") as third:
        source = f"--api-key and {folder / 'keys'}"
        assert third.lines[1] == f"API key: from {source}; set DISPATCH_API_KEY to it for clients\n"
        for one in (KEY, "sk-a", "sk-b"):
            assert third("wait", id, DISPATCH_API_KEY=one).code == 0
        for one in (key, "sk-env", "sk-c"):
            says(third("wait", id, DISPATCH_API_KEY=one), 1, "rejected the API key")
        assert not any(one in "".join(third.lines) for one in (KEY, key, "sk-a"))
    with serve(folder, DISPATCH_API_KEY="sk-env") as fourth:
        assert fourth.lines[1] == "API key: from DISPATCH_API_KEY\n"
        assert fourth("wait", id, DISPATCH_API_KEY="sk-env").code == 0
        with pytest.raises(AuthenticationError), fourth.client(key) as client:
            client.dispatch(new_call(hosted, "greet", "A"))


def test_calls_that_take_too_long_are_given_back(folder: Path, hosted: str):
    with serve(folder, "--shutdown-timeout", "500ms") as first:
        ids = [first.dispatch(hosted, "slow", "--input", "4") for _ in range(2)]
        first.until(lambda: first("list", "--state", "running", "--json").out.count("\n") == 2)
        assert first.stop() == 0
    with serve(folder) as second:
        assert second("wait", *ids)[:2] == (0, '"slept"\n' * 2)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(folder: Path, hosted: str, sign: int):
    with serve(folder, "--shutdown-timeout", "10m", command=ENDING) as serving:
        id = serving.dispatch(hosted, "slow", "--input", "600")
        serving.until(lambda: "running" in serving("get", id).out)
        serving.process.send_signal(sign)
        serving.until(lambda: "stopping" in serving.err)
        time.sleep(0.5)
        assert serving.process.poll() is None
        assert serving.stop(sign) == 128 + sign
        assert "Traceback" not in serving.err
        assert not serving.database_runs


def test_a_signal_while_it_starts(folder: Path):
    serving = Serving(folder)
    try:
        serving.until((serving.data / "postgres" / "base").exists)
        assert serving.stop() == 0
        assert "Traceback" not in serving.err
        assert not serving.database_runs
    finally:
        serving.close()


def test_two_services_on_one_database(serving: Serving, hosted: str, folder: Path):
    second = Serving(folder, "--data-dir", str(serving.data))
    second.data = serving.data
    try:
        second.read()
        assert second.lines[1] == f"API key: from {serving.data / 'api-key'}\n"
        assert second.key == serving.key
        assert second.url != serving.url
        id = second.dispatch(hosted, "greet", "--input", '"Ada"')
        assert serving("wait", id).out == second("wait", id).out == '"Hello, Ada!"\n'
        assert second.stop() == 0
    finally:
        second.close()
    assert serving.database_runs
    assert serving("call", hosted, "greet", "--input", '"Bob"', "--wait").code == 0


def test_two_services_that_start_at_once(folder: Path, hosted: str):
    both = [Serving(folder) for _ in range(2)]
    try:
        for one in both:
            one.read()
        assert both[0].lines[1] == both[1].lines[1]
        id = both[0].dispatch(hosted, "greet", "--input", '"Ada"')
        assert both[1]("wait", id).out == '"Hello, Ada!"\n'
        assert both[0].stop() == 0
        assert both[1]("call", hosted, "greet", "--input", '"Bob"', "--wait").code == 0
        assert both[1].stop() == 0
        assert not both[0].database_runs
    finally:
        for one in both:
            one.close()


def test_a_port_that_cannot_be_had(serving: Serving, hosted: str):
    port = serving.url.rpartition(":")[2]
    command = [*ENDING, "serve", "--port", port, "--data-dir", str(serving.data)]
    result = subprocess.run(
        [*command, "--log-level", "error"], env=variables(), capture_output=True, timeout=SECONDS
    )
    done = Done(result.returncode, result.stdout.decode(), result.stderr.decode())
    says(done, 2, f"cannot listen on 127.0.0.1:{port}: Address already in use")
    assert serving("call", hosted, "greet", "--input", '"Bob"', "--wait").code == 0


def test_no_room_for_what_it_prints(serving: Serving):
    reader, writer = os.pipe()
    os.close(reader)
    command = [*COMMAND, "serve", "--port", "0", "--data-dir", str(serving.data)]
    done = subprocess.run(
        command, env=variables(), stdout=writer, stderr=subprocess.PIPE, timeout=SECONDS
    )
    os.close(writer)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr


# Ways to it


def test_tls(folder: Path, hosted: str):
    ca = trustme.CA()
    certificate = ca.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key")
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(folder / "cert", append=number > 0)
    ca.cert_pem.write_to_path(folder / "ca")
    options = ["--certfile", str(folder / "cert"), "--keyfile", str(folder / "key")]
    with serve(folder, "--host", "0.0.0.0", *options) as serving:
        assert re.fullmatch("https://0.0.0.0:[0-9]+", serving.url)
        port = serving.url.rpartition(":")[2]
        assert f"DISPATCH_API_URL=https://localhost:{port} " in serving.lines[3]
        serving.url = f"https://127.0.0.1:{port}"
        call = ["call", hosted, "greet", "--input", '"Ada"', "--wait"]
        trusting = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(folder / "ca")}
        assert serving(*call, **trusting).out == '"Hello, Ada!"\n'
        done = serving("list", "--timeout", "2s")
        assert done.code == 1
        assert " the certificate of 127.0.0.1 is not trusted (issuer trustme" in done.err
        assert len(done.err.splitlines()) == 1
        for protocol in ("grpc", "connect"):
            with Client(
                serving.key,
                api_url=serving.url,
                protocol=protocol,
                credentials=TLSCredentials(root_certificates=ca.cert_pem.bytes()),
                env={},
            ) as client:
                assert client.list(function="greet")
        with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"200" not in plain.recv(1000)


def test_plaintext_when_allowed(folder: Path):
    with serve(folder, "--host", "0.0.0.0", "--allow-plaintext") as serving:
        port = serving.url.rpartition(":")[2]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.read() == b"ok\n"
        assert f"DISPATCH_API_URL=http://localhost:{port} " in serving.lines[3]


def test_signed_requests_and_bounds(folder: Path):
    pair = new_key_pair()
    (folder / "signing").write_text(pair.signing_key)
    endpoint = Endpoint("http://127.0.0.1:1", verification_key=pair.verification_key, env={})

    @endpoint.function
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    options = ["--max-request-bytes", "1000", "--default-expiration", "2h"]
    options += ["--max-expiration", "3h", "--signing-key-file", str(folder / "signing")]
    with serve_app(endpoint.app) as server, serve(folder, *options) as serving:
        endpoint.url = server.url
        call = ["call", server.url, "greet", "--input"]
        assert serving(*call, '"Ada"', "--wait").out == '"Hello, Ada!"\n'
        says(serving(*call, json.dumps("x" * 2000)), 1, "[RESOURCE_EXHAUSTED]")
        refused = serving(*call, '"Ada"', "--expiration", "9h")
        says(refused, 1, "expiration: at most 3:00:00 is allowed", "[INVALID_ARGUMENT]")
        for expiration, hours in ((None, 2), ("3h", 3)):
            more = [] if expiration is None else ["--expiration", expiration]
            id = serving.dispatch(*call[1:], '"Ada"', *more)
            found = json.loads(serving("get", id, "--json").out)
            created, expires = (
                datetime.fromisoformat(found[name]) for name in ("creation_time", "expiration_time")
            )
            assert expires - created == timedelta(hours=hours)
        done = serving("call", "http://169.254.169.254", "f")
        says(done, 1, "link-local and metadata addresses", "[INVALID_ARGUMENT]")
