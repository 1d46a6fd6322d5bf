"""The command line: what it sends and prints, how it fails, and with which exit code."""

import base64
import importlib.metadata
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from dispatch_grpc import Code, __main__, cli, new_call
from dispatch_grpc.cli.commands import commands
from dispatch_grpc.schema import DispatchRequest, DispatchResponse
from dispatch_grpc.testing import CallRecorder, RecordedRequest, Server, serve
from dispatch_grpc.version import __version__
from tests import hostile
from tests.conftest import KEY

URL = "https://example.com"
NO_KEY = "an API key is required: set the environment variable DISPATCH_API_KEY or pass --api-key"


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def environment(dispatch_server: Server) -> dict[str, str]:
    """The variables of a user whose key is right."""
    others = re.compile("_?DISPATCH_|PYTHONUNBUFFERED")  # the latter hides what a flush does
    kept = {name: value for name, value in os.environ.items() if not others.match(name)}
    return {**kept, "DISPATCH_API_KEY": KEY, "DISPATCH_API_URL": dispatch_server.url}


@pytest.fixture
def command(environment, monkeypatch, capsys, tmp_path) -> Command:
    """Runs a command in this process, in an empty directory."""
    for name in set(os.environ) - set(environment):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        code = cli.main(arguments)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def process(environment, tmp_path) -> Callable[..., "subprocess.Popen[bytes]"]:
    """Starts a command in a process of its own, which does not find modules beside it."""

    def start(*arguments: str | bytes, **options: Any) -> "subprocess.Popen[bytes]":
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        python = [sys.executable, "-W", "error", "-P", "-m", "dispatch_grpc"]
        return subprocess.Popen(
            [*python, *arguments], **{**pipes, "env": environment, "cwd": tmp_path, **options}
        )

    return start


@pytest.fixture
def shell(process) -> Command:
    """Runs a command in a process of its own."""

    def run(*arguments: str | bytes, stdin: bytes = b"", **options: Any) -> Done:
        with process(*arguments, **options) as started:
            out, err = started.communicate(stdin, timeout=60)
        return Done(started.returncode, (out or b"").decode(), (err or b"").decode())

    return run


def says(done: Done, code: int, *parts: str) -> None:
    """Assert that a command failed with a code, and one line on stderr that has these parts."""
    assert (done.code, done.out) == (code, ""), done
    assert done.err.startswith("dispatch-grpc: "), done
    assert done.err.endswith("\n"), done
    assert len(done.err.splitlines()) == 1, done
    for part in parts:
        assert part in done.err


# Calls


@pytest.mark.parametrize("protocol", ["grpc", "connect", "connect+json", None])
def test_a_call_prints_its_id(command, protocol, dispatch_recorder: CallRecorder):
    options = [] if protocol is None else ["--protocol", protocol]
    done = command("call", URL, "greet", "--input", '{"name": "Ada"}', *options)
    (request,) = dispatch_recorder.requests
    assert done == (0, f"{request.dispatch_ids[0]}\n", "")
    dispatch_recorder.assert_requests(RecordedRequest([new_call(URL, "greet", {"name": "Ada"})]))
    agent = request.metadata["user-agent"]
    assert agent.startswith(f"dispatch-grpc/{__version__}")
    assert ("grpc-c" in agent) == (protocol in {"grpc", None})


def test_the_options_of_a_call_arrive(command, dispatch_recorder: CallRecorder):
    options = ["--expiration", "1h30m", "--version", "1.2", "--idempotency-key", "mine"]
    assert command("call", URL, "f", *options).code == 0
    wanted = new_call(URL, "f", expiration=timedelta(minutes=90), version="1.2")
    dispatch_recorder.assert_requests(RecordedRequest([wanted], {"idempotency-key": "mine"}))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--delay", "soon"], "Invalid value for '--delay': a duration is required"),
        (["--at", "soon"], "Invalid value for '--at': a time such as 2026-01-31T12:00:00+01:00"),
        (["--at", "2030-01-01", "--delay", "1s"], "--delay and --at cannot be used together"),
        (["--label", "a"], "Invalid value for '--label': KEY=VALUE is required; got 'a'"),
        (["--label", "a=1", "--label", "a=2"], "the key 'a' is given twice"),
        (["--label", "a b=1"], "Invalid value for '--label': a key of 1 to 63 letters"),
    ],
)
def test_a_start_or_a_label_that_is_wrong(
    command, options, reason, dispatch_recorder: CallRecorder
):
    says(command("call", URL, "f", *options), 2, reason)
    assert not dispatch_recorder.requests


def test_a_service_that_cannot_delay_calls(command, dispatch_recorder: CallRecorder):
    says(command("call", URL, "f", "--delay", "1s"), 1, "cannot delay or label calls")
    assert not dispatch_recorder.requests


def test_ids_as_json(command, dispatch_recorder: CallRecorder):
    done = command("call", URL, "f", "--json")
    assert json.loads(done.out) == {"dispatch_id": dispatch_recorder.requests[0].dispatch_ids[0]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (None, None),
        ("null", None),
        (" true\n", True),
        ("23", 23),
        ("18446744073709551615", 2**64 - 1),
        ("1.0", 1.0),
        ('"é\\u00e9"', "éé"),
        ("[1, 2.5, []]", [1, 2.5, []]),
        ('{"a": {"b": [null]}}', {"a": {"b": [None]}}),
    ],
)
def test_input(command, text, value, tmp_path: Path, dispatch_recorder: CallRecorder):
    given: list[list[str]] = [[]]
    if text is not None:
        (tmp_path / "plain").write_text(text)
        (tmp_path / "mark").write_bytes(b"\xef\xbb\xbf" + text.encode())  # as Windows likes it
        given = [["--input", text], ["--input-file", "plain"], ["--input-file", "mark"]]
    for options in given:
        assert command("call", URL, "f", *options).code == 0
    assert dispatch_recorder.calls == [new_call(URL, "f", value)] * len(given)


def test_input_from_stdin(shell, dispatch_recorder: CallRecorder):
    assert shell("call", URL, "f", "--input-file", "-", stdin=b'"from stdin"').code == 0
    assert dispatch_recorder.calls == [new_call(URL, "f", "from stdin")]


def test_a_word_as_input_is_told_how_to_be_a_string(shell, dispatch_recorder: CallRecorder):
    advice = """as a string it is '"Ada Lovelace"', with both kinds of quotes"""
    says(shell("call", URL, "f", "--input", "Ada Lovelace"), 2, "not valid JSON", advice)
    assert shell("call", URL, "f", "--input", '"Ada Lovelace"').code == 0
    assert "as a string" not in shell("call", URL, "f", "--input", "[1").err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not valid JSON: Expecting value (line 1, column 1)"),
        ("{'a': 1}", "(line 1, column 2)"),
        ("[1,\n 2", "not valid JSON: Expecting ',' delimiter (line 2, column 3)"),
        ('"a', "not valid JSON: Unterminated string starting at (line 1, column 1)"),
        ('"\\x"', "not valid JSON: Invalid \\escape (line 1, column 2)"),
        ("1 2", "not valid JSON: Extra data (line 1, column 3)"),
        ("NaN", "not valid JSON: NaN is not a JSON number"),
        ("[-Infinity]", "not valid JSON: -Infinity is not a JSON number"),
        ("1e999", "the number 1e999 is too large for a double"),
        ('{"a": {"b": 1, "c": 2, "b": 1}}', "the key 'b' occurs twice in one object"),
        (
            '{"a": [9007199254740993]}',
            "$.a[0]: an int inside a list or dict must fit a double exactly",
        ),
        ("18446744073709551616", "$: an int must be from -2**63 to 2**64 - 1"),
        ("9" * 5000, "4300 digits"),
        ('"\\ud800"', "$: a str must be valid Unicode"),
        ("[" * 100 + "]" * 100, "nested too deep"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_input_that_cannot_be_sent(
    command, text, problem, tmp_path: Path, dispatch_recorder: CallRecorder
):
    (tmp_path / "f.json").write_text(text)
    says(command("call", URL, "f", "--input", text), 2, "--input: ", problem)
    says(command("call", URL, "f", "--input-file", "f.json"), 2, "--input-file f.json: ", problem)
    assert not dispatch_recorder.requests


def test_input_that_is_not_utf8(command, shell, tmp_path: Path):
    (tmp_path / "f.json").write_bytes('{"ä": 1}'.encode("latin-1"))
    done = command("call", URL, "f", "--input-file", "f.json")
    says(done, 2, "--input-file f.json: not UTF-8: invalid continuation byte at byte 3")
    says(shell("call", URL, "f", "--input", b'"\xff"'), 2, "--input: not UTF-8: invalid start byte")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Missing argument 'URL'."),
        ([URL], "Missing argument 'FUNCTION'."),
        ([URL, "f", "g"], "Got unexpected extra argument (g)"),
        ([URL, "f", "--inptu", "1"], "--inptu"),
        (
            [URL, "f", "--input", "1", "--input-file", "-"],
            "--input and --input-file cannot be used together (see",
        ),
        ([URL, "f", "--input-file", "none.json"], "'none.json': No such file or directory"),
        ([URL, "f", "--input-file", "."], "'.': Is a directory"),
        ([URL, "f", "--protocol", "http"], "'http' is not one of 'grpc', 'connect', 'connect+"),
        ([URL, "f", "--max-request-bytes", "0"], "0 is not in the range 1<=x<=1073741823"),
    ],
)
def test_usage(command, arguments, problem, dispatch_recorder: CallRecorder):
    says(command("call", *arguments), 2, problem, "(see 'dispatch-grpc call --help')")
    assert not dispatch_recorder.requests


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["example.com", "f"],
            "dispatch-grpc: endpoint: a URI (RFC 3986) that begins with http://",
        ),
        ([URL, "no way"], "dispatch-grpc: function: a name that matches [a-zA-Z_][a-zA-Z0-9_"),
        (
            [URL, "f", "--expiration", "4000000d"],
            "dispatch-grpc: expiration: at most 315576000000 seconds",
        ),
        ([URL, "f", "--idempotency-key", "a b"], "--idempotency-key: 1 to 255 printable ASCII"),
        ([URL, "f", "--api-url", "ftp://x"], "'ftp://x' (from --api-url) must begin with https"),
        ([URL, "f", "--api-url", "http://example.com"], "or pass --allow-plaintext if"),
        ([URL, "f", "--api-key", "sk\n-secret"], "the API key from --api-key contains control or"),
    ],
)
def test_calls_and_settings_that_are_not_acceptable(
    command, arguments, problem, dispatch_recorder: CallRecorder
):
    done = command("call", *arguments)
    says(done, 2, problem)
    assert "secret" not in done.err
    assert not dispatch_recorder.requests


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0s", timedelta(0)),
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("250ms", timedelta(milliseconds=250)),
        ("2d", timedelta(days=2)),
        ("1d2h3m4s5ms6us", timedelta(1, 4, 6, 5, 3, 2)),
    ],
)
def test_durations(command, text, duration, dispatch_recorder: CallRecorder):
    assert command("call", URL, "f", "--expiration", text).code == 0
    assert dispatch_recorder.calls == [new_call(URL, "f", expiration=duration)]


@pytest.mark.parametrize(
    "text",
    ["", "30", "s", "1.5s", "-1s", "1 s", "1s1m", "1s\n", "1S", "\u0661s", "1w", "9" * 16 + "s"],
)
@pytest.mark.parametrize("option", ["--expiration", "--timeout"])
def test_durations_that_are_none(command, option, text, dispatch_recorder: CallRecorder):
    done = command("call", URL, "f", option, text)
    says(done, 2, f"'{option}'", "units d, h, m, s, ms and us", "30s, 1h30m or 250ms; got '")
    assert not dispatch_recorder.requests


@pytest.mark.parametrize(
    ("option", "text", "problem"),
    [
        ("--expiration", "999999999999999d", "at most 999999999d is allowed; got '9999"),
        ("--timeout", "0s", "a duration above zero and of at most 365d is required; got '0s'"),
        ("--timeout", "366d", "a duration above zero and of at most 365d is required; got '366d'"),
    ],
)
def test_durations_out_of_bounds(command, option, text, problem):
    says(command("call", URL, "f", option, text), 2, f"'{option}'", problem)


# Settings


def test_an_option_wins_over_the_environment(command, monkeypatch, dispatch_recorder):
    for name in ("KEY", "URL"):
        monkeypatch.setenv(f"DISPATCH_API_{name}", "")
    monkeypatch.setenv("DISPATCH_PROTOCOL", "wrong")
    says(command("call", URL, "f", "--protocol", "grpc"), 2, NO_KEY)
    with serve(dispatch_recorder, api_key="sk-option") as server:
        options = ["--api-url", server.url, "--protocol", "connect", "--api-key", "sk-option"]
        assert command("call", URL, "f", *options).code == 0
        monkeypatch.setenv("DISPATCH_API_KEY", "sk-option")
        assert command("call", URL, "f", *options[:4]).code == 0
        assert command("call", URL, "f", *options[:4], "--api-key", "").code == 0
    says(command("call", URL, "f", *options[:2]), 2, "DISPATCH_PROTOCOL must be one of grpc, ")
    assert len(dispatch_recorder.requests) == 3


@pytest.mark.parametrize("source", ["--api-key", "DISPATCH_API_KEY"])
def test_a_key_that_is_rejected(command, source, monkeypatch, dispatch_recorder: CallRecorder):
    monkeypatch.setenv("DISPATCH_API_KEY", "sk-wrong-one")
    with serve(dispatch_recorder, api_key="sk-right") as server:
        options = ["--api-key", "sk-wrong-one"] if source == "--api-key" else []
        done = command("call", URL, "f", "--api-url", server.url, *options)
    says(done, 1, f"rejected the API key sk-******** (from {source}): ", "[UNAUTHENTICATED]")
    assert "wrong" not in done.err


def test_plaintext_to_another_machine_when_allowed(command):
    options = ["--api-url", "http://dispatch.invalid", "--allow-plaintext", "--timeout", "1s"]
    says(command("call", URL, "f", *options), 1, "http://dispatch.invalid")


def test_the_largest_request(command, tmp_path: Path, dispatch_recorder: CallRecorder):
    (tmp_path / "large").write_text(json.dumps("x" * 5_000_000))
    (tmp_path / "small").write_text(json.dumps("x" * 500))
    large, small = (["call", URL, "f", "--input-file", name] for name in ("large", "small"))
    says(command(*large), 1, "the 4194304 bytes allowed by --max-request-bytes; a batch is")
    says(
        command(*small, "--max-request-bytes", "500"),
        1,
        "larger than the 500 bytes allowed by --max",
    )
    assert not dispatch_recorder.requests
    with serve(dispatch_recorder, max_request_bytes=6_000_000) as server:
        options = ["--api-url", server.url, "--max-request-bytes", "6000000"]
        assert command(*large, *options).code == 0
    assert len(dispatch_recorder.requests) == 1


# Refusals


def test_what_the_service_refuses_is_one_line(command, dispatch_recorder: CallRecorder):
    dispatch_recorder.fail_next(Code.INVALID_ARGUMENT, "no\nsuch\r\x1b[31m\x07thing")
    done = command("call", URL, "f")
    says(done, 1, "answered: no such  [31m thing [INVALID_ARGUMENT]")
    assert "--idempotency-key" not in done.err


def test_how_to_try_again_when_it_is_not_known(command, dispatch_recorder: CallRecorder):
    dispatch_recorder.fail_next(Code.UNAVAILABLE, times=5)
    done = command("call", URL, "f")
    says(done, 1, "told to fail [UNAVAILABLE]; the service may have recorded the calls: retry with")
    key = done.err.split(" --idempotency-key ")[1].split()[0]
    assert key == dispatch_recorder.refused[0].metadata["idempotency-key"]


def test_the_time_for_a_request(command):
    with hostile.serving(hostile.hangs) as server:
        options = ["--api-url", server.url, "--timeout", "200ms", "--idempotency-key", "mine"]
        done = command("call", URL, "f", *options)
    says(
        done,
        1,
        "no answer",
        "[DEADLINE_EXCEEDED]",
        "retry with --idempotency-key mine to avoid duplicates\n",
    )


def test_what_is_no_service(command):
    with hostile.serving(hostile.plain(200, b"<html>", "text/html")) as server:
        says(command("call", URL, "f", "--api-url", server.url), 1, "check the API URL")


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_a_file_that_cannot_be_read(command, dispatch_recorder: CallRecorder):
    unreadable = "/proc/self/mem"  # its first page
    says(command("call", URL, "f", "--input-file", unreadable), 1, "Input/output error")
    says(command("batch", unreadable), 1, "Input/output error")
    assert not dispatch_recorder.requests


# Batches


def line(name: str, **fields: Any) -> str:
    return json.dumps({"endpoint": URL, "function": name, **fields})


@pytest.fixture
def batch_file(tmp_path: Path) -> Callable[..., str]:
    """Writes calls.jsonl."""

    def write(text: str, **options: str) -> str:
        (tmp_path / "calls.jsonl").write_bytes(text.encode(**options))
        return "calls.jsonl"

    return write


def test_a_batch_is_one_request(command, batch_file, dispatch_recorder: CallRecorder):
    lines = [
        line("a", input={"n": 1}, expiration="30s", version="1.2"),
        line("b"),
        line("c", input=23),
    ]
    name = batch_file(f"\ufeff{lines[0]}\r\n \t\r\n\n{lines[1]}\n{lines[2]}")  # no \n at the end
    done = command("batch", name, "--idempotency-key", "mine")
    dispatch_recorder.assert_requests(
        RecordedRequest(
            [
                new_call(URL, "a", {"n": 1}, expiration=timedelta(seconds=30), version="1.2"),
                new_call(URL, "b"),
                new_call(URL, "c", 23),
            ],
            {"idempotency-key": "mine"},
        )
    )
    ids = dispatch_recorder.requests[0].dispatch_ids
    assert done == (0, "".join(f"{one}\n" for one in ids), "")


def test_a_batch_prints_json_lines(command, batch_file, dispatch_recorder: CallRecorder):
    done = command("batch", batch_file(f"{line('a')}\n{line('b')}\n"), "--json")
    ids = dispatch_recorder.requests[0].dispatch_ids
    assert [json.loads(text) for text in done.out.splitlines()] == [
        {"dispatch_id": one} for one in ids
    ]


def test_a_batch_from_stdin(shell, dispatch_recorder: CallRecorder):
    done = shell("batch", "-", stdin=f"{line('a')}\n{line('b')}\n".encode())
    assert done.code == 0
    assert [call.function for call in dispatch_recorder.calls] == ["a", "b"]
    done = shell("batch", "-", stdin=f"{line('a')}\n[]".encode())
    refuses(done, "<stdin>", (2, "an object is required, {…}; got a list"))
    assert len(dispatch_recorder.requests) == 1


@pytest.mark.parametrize("text", ["", "\n \r\n"])
def test_a_batch_without_calls(command, batch_file, text, dispatch_recorder: CallRecorder):
    done = command("batch", batch_file(text))
    says(done, 0, "calls.jsonl contains no calls; nothing was sent")
    assert not dispatch_recorder.requests


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("{", "not valid JSON: Expecting property name enclosed in double quotes (column 2)"),
        ('{"a": 1', "not valid JSON: Expecting ',' delimiter (column 8)"),
        ("[]", "an object is required, {…}; got a list"),
        ('"call"', 'an object is required, {…}; got "call"'),
        ('{"function": "f"}', "endpoint: a value is required; the key is missing"),
        ('{"endpoint": "http://x"}', "function: a value is required; the key is missing"),
        (line("f", inputs=1), "unknown key 'inputs'; the keys are endpoint, function, input, exp"),
        (line("f", version=None), "version: a string is required; got null"),
        (line("f", version=1.5), "version: a string is required; got 1.5"),
        (line("f", expiration=30), "expiration: a string is required; got 30"),
        (line("f", expiration="30"), "expiration: a duration is required: whole numbers with"),
        (line("f", delay=30), "delay: a string is required; got 30"),
        (line("f", delay="soon"), "delay: a duration is required: whole numbers with"),
        (line("f", at="soon"), "at: a time such as 2026-01-31T12:00:00+01:00 is required; got 's"),
        (line("f", at="2030-01-01", delay="1s"), "delay and at cannot be used together"),
        (line("f", labels=["a"]), "labels: a mapping of str to str is required; got list"),
        (line("f", labels={"a": 1}), "labels['a']: a text of up to 255 bytes"),
        (line("f", expiration="4000000d"), "expiration: at most 315576000000 seconds"),
        ('{"endpoint": ["http://x"], "function": "f"}', "endpoint: a string is required; got a l"),
        ('{"endpoint": "http://x", "function": {}}', "function: a string is required; got an obj"),
        (line("f").replace(URL, "example"), "endpoint: a URI (RFC 3986) that begins with"),
        (line("f g"), "function: a name that matches [a-zA-Z_][a-zA-Z0-9_<>.]* is required; got"),
        (
            line("f", input=[2**53 + 1]),
            "input: $[0]: an int inside a list or dict must fit a double exactly",
        ),
        (line("f", input=float("nan")), "not valid JSON: NaN is not a JSON number"),
        (line("f")[:-1] + ', "function": "g"}', "the key 'function' occurs twice in one object"),
    ],
)
def test_a_line_that_is_no_call(command, batch_file, bad, problem, dispatch_recorder: CallRecorder):
    name = batch_file(f"{line('a')}\n\n{bad}\n{line('b')}\n")
    refuses(command("batch", name, "--no-progress"), name, (3, problem))
    assert not dispatch_recorder.requests


def refuses(done: Done, file: str, *problems: tuple[int, str]) -> None:
    """Assert that a batch was refused, with a line on stderr for each line that is invalid."""
    assert (done.code, done.out) == (2, ""), done
    *found, summary = done.err.splitlines()
    for text, (number, problem) in zip(found, problems, strict=True):
        assert text.startswith(f"dispatch-grpc: {file}:{number}: {problem}")
    lines_are = "1 line is" if len(problems) == 1 else f"{len(problems):,} lines are"
    assert summary == f"dispatch-grpc: {file}: {lines_are} invalid; nothing was sent"


def test_all_lines_that_are_no_calls_are_reported(
    command, batch_file, dispatch_recorder: CallRecorder
):
    both = line("f", at="2030-01-01", delay="1s")
    lines = ["[", line("a"), "", both, line("b"), line("f g"), line("f", labels=[]), line("c")]
    done = command("batch", batch_file("\n".join(lines)))
    wanted = [
        (1, "not valid JSON"),
        (4, "delay and at cannot be used together"),
        (6, "function: a name that matches"),
        (7, "labels: a mapping of str to str is required"),
    ]
    refuses(done, "calls.jsonl", *wanted)
    assert not dispatch_recorder.requests
    done = command("batch", batch_file("[\n" * 1_500))
    assert done.err.splitlines()[-1].endswith(": 1,500 lines are invalid; nothing was sent")


def test_a_line_that_is_not_utf8(command, batch_file, dispatch_recorder: CallRecorder):
    name = batch_file(f'{line("a")}\n"é"', encoding="latin-1")
    refuses(command("batch", name), name, (2, "not UTF-8: invalid continuation byte at byte 2"))
    assert not dispatch_recorder.requests


def test_a_batch_needs_a_key_before_its_file_is_read(command, monkeypatch, batch_file):
    monkeypatch.delenv("DISPATCH_API_KEY")
    says(command("batch", batch_file("{")), 2, NO_KEY)
    says(command("batch", "none.jsonl"), 2, "'none.jsonl': No such file or directory")


# Progress


def rewritten(err: str) -> list[str]:
    """The texts of a line that was written over and over, and in the end removed."""
    *texts, last = err.split("\r")[1:]
    assert last == ""
    assert texts.pop() == " " * len(texts[-1].rstrip())
    for before, after in itertools.pairwise(texts):
        assert len(after) >= len(before.rstrip())
    return [text.rstrip() for text in texts]


@pytest.fixture
def large(batch_file) -> str:
    """A file of 2,000 calls and 1 MB."""
    return str(batch_file(f"{line('f', input='x' * 440)}\n" * 2000))


def test_progress(command, large):
    done = command("batch", large, "--progress")
    assert done.code == 0
    assert rewritten(done.err) == [
        "reading: 519 lines, 25 %",
        "reading: 1,038 lines, 51 %",
        "reading: 1,557 lines, 77 %",
        "sending 2,000 calls",
    ]
    assert len(done.out.splitlines()) == 2000
    assert command("batch", large).err == ""  # not a terminal


def test_progress_of_stdin(shell, large, tmp_path: Path):
    done = shell("batch", "-", "--progress", stdin=(tmp_path / large).read_bytes())
    assert rewritten(done.err)[0] == "reading: 519 lines, 0.3 MB"


def test_progress_is_removed_before_an_error(command, large, tmp_path: Path):
    with (tmp_path / large).open("a") as file:
        file.write("{")
    done = command("batch", large, "--progress")
    *shown, message = done.err.split("\r")
    assert rewritten("\r".join([*shown, ""]))
    assert message.startswith("dispatch-grpc: calls.jsonl:2001: not valid JSON")


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("quiet", [False, True])
def test_progress_on_a_terminal(shell, large, quiet):
    ours, theirs = os.openpty()
    try:
        done = shell("batch", large, *["--no-progress"] * quiet, stderr=theirs)
        assert done.code == 0
        os.write(theirs, b"end")
        shown = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert ("sending 2,000 calls" in shown) == (not quiet)


# Interruptions


class Waiting:
    """A handler that answers when it is told to."""

    def __init__(self) -> None:
        self.arrived = threading.Event()

    async def dispatch(
        self, request: DispatchRequest, metadata: Mapping[str, str]
    ) -> DispatchResponse:
        import asyncio

        self.arrived.set()
        await asyncio.sleep(60)
        return DispatchResponse()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
@pytest.mark.parametrize("protocol", ["grpc", "connect", "connect+json"])
def test_ctrl_c(process, protocol):
    handler = Waiting()
    with serve(handler) as server:
        options = ["--api-url", server.url, "--protocol", protocol, "--timeout", "50s"]
        with process("call", URL, "f", *options) as started:
            assert handler.arrived.wait(60)
            started.send_signal(signal.SIGINT)
            out, err = started.communicate(timeout=60)
    assert (started.returncode, out, err.strip()) == (130, b"", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_while_reading(process):
    with process("batch", "-", "--progress") as started:
        started.stdin.write(f"{line('f', input='x' * 440)}\n".encode() * 1000)
        started.stdin.flush()
        assert started.stderr.read(9) == b"\rreading:"
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=60)
    assert (started.returncode, out) == (130, b"")
    assert b"Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGPIPE")
@pytest.mark.parametrize("arguments", [["call", URL, "f"], ["keypair"], ["--help"]])
def test_a_broken_pipe_is_quiet(process, arguments, dispatch_recorder: CallRecorder):
    reader, writer = os.pipe()
    os.close(reader)
    with process(*arguments, stdout=writer) as started:
        os.close(writer)
        _, err = started.communicate(timeout=60)
    assert err.startswith(b"# Give") if arguments == ["keypair"] else err == b""
    assert started.returncode == (1 if arguments == ["--help"] else 141)
    assert len(dispatch_recorder.requests) == (arguments[0] == "call")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_output_that_cannot_be_written(shell):
    with open("/dev/full", "wb") as full:
        done = shell("call", URL, "f", stdout=full)
    says(done, 1, "done, but the output could not be written: ", "No space left on device")


# Keys


def test_a_pair_of_keys(command):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    done = command("keypair")
    assert done.code == 0
    pattern = "DISPATCH_SIGNING_KEY=([^\\s'\"$]+)\nDISPATCH_VERIFICATION_KEY=([^\\s'\"$]+)\n"
    match = re.fullmatch(pattern, done.out)
    assert match
    signing, verification = map(base64.b64decode, match.groups())
    private = Ed25519PrivateKey.from_private_bytes(signing)
    assert private.public_key().public_bytes_raw() == verification
    assert re.fullmatch("# Give DISPATCH_SIGNING_KEY.* DISPATCH_VERIFICATION_KEY.*\n", done.err)
    assert match[1] not in done.err
    assert command("keypair").out != done.out


# Serving


APP = """
    from dispatch_grpc.endpoint import Endpoint

    class Place:
        endpoint = Endpoint("http://127.0.0.1:9")

        @endpoint.function(name="greet")
        def greet(name):
            return "Hello, " + name

    endpoint = Place.endpoint
    text = "no endpoint"
"""


@pytest.fixture
def app(tmp_path: Path) -> Callable[[str], None]:
    """Writes the module `app` into the current directory of the command."""

    def write(code: str) -> None:
        import textwrap

        (tmp_path / "app.py").write_text(textwrap.dedent(code))

    return write


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to be caught")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", ["app:endpoint", "app:Place.endpoint"])
@pytest.mark.parametrize("by", ["option", "environment"])
def test_serving(process, app, environment, sign, name, by):
    from dispatch.sdk.v1.function_pb2 import RunRequest, RunResponse

    from dispatch_grpc import marshal, unmarshal

    app(APP)
    port = hostile.unused_port()
    address = f"127.0.0.1:{port}"
    options = ["--address", address] if by == "option" else []
    if by == "environment":
        environment["DISPATCH_ENDPOINT_ADDR"] = address
    with process("run", name, *options) as started:
        wait_for(port, started)
        request = urllib.request.Request(
            f"http://{address}/dispatch.sdk.v1.FunctionService/Run",
            RunRequest(function="greet", input=marshal("Ada")).SerializeToString(),
            {"content-type": "application/proto"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            response = RunResponse.FromString(answer.read())
        started.send_signal(sign)
        out, err = started.communicate(timeout=60)
    assert unmarshal(response.exit.result.output) == "Hello, Ada"
    assert (started.returncode, out) == (0, b"")
    first = err.decode().splitlines()[0]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) dispatch_grpc", first), (
        err
    )
    assert any(" INFO dispatch_grpc" in text for text in err.decode().splitlines())
    assert "Traceback" not in err.decode()


def wait_for(port: int, started: "subprocess.Popen[bytes]") -> None:
    """Wait until an endpoint answers; end its process if it does not."""
    deadline = time.monotonic() + 60
    while started.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    started.kill()
    raise AssertionError(started.communicate(timeout=60))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to be caught")
def test_the_level_of_logs(process, app):
    app(APP)
    port = hostile.unused_port()
    options = ["--address", f"127.0.0.1:{port}", "--log-level", "ERROR"]
    with process("run", "app:endpoint", *options) as started:
        wait_for(port, started)
        started.send_signal(signal.SIGTERM)
        assert started.communicate(timeout=60) == (b"", b"")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("app", "MODULE:ENDPOINT is required, such as app:endpoint; got 'app'"),
        ("app:", "MODULE:ENDPOINT is required"),
        (":endpoint", "MODULE:ENDPOINT is required"),
        (".app:endpoint", "MODULE:ENDPOINT is required"),
        ("./app.py:endpoint", "MODULE:ENDPOINT is required"),
        ("none:endpoint", "none:endpoint: there is no module 'none'"),
        ("none.app:endpoint", "none.app:endpoint: there is no module 'none'"),
        ("app.py:endpoint", "app.py:endpoint: there is no module 'app.py'"),
        ("app:none", "app:none: app has no 'none'"),
        ("app:Place.none", "app:Place.none: app.Place has no 'none'"),
        ("app:text", "app:text: an Endpoint (dispatch_grpc.Endpoint) is required; got str"),
    ],
)
def test_what_cannot_be_served(shell, app, name, problem):
    app(APP)
    says(shell("run", name), 2, problem)


@pytest.mark.parametrize(
    ("code", "name", "shown"),
    [
        ("1 / 0", "ZeroDivisionError", 'app.py", line 1, in <module>'),
        ("import of_no_such_name", "ModuleNotFoundError", 'app.py", line 1, in <module>'),
        ("import ap", "ModuleNotFoundError", 'app.py", line 1, in <module>'),
        ("import app.part", "ModuleNotFoundError", 'app.py", line 1, in <module>'),
        ("x = (", "SyntaxError", 'app.py", line 1'),
    ],
)
def test_a_module_that_fails_shows_its_traceback(shell, app, code, name, shown):
    app(code)
    done = shell("run", "app:endpoint")
    assert (done.code, done.out) == (2, "")
    *trace, last = done.err.splitlines()
    assert last == f"dispatch-grpc: app:endpoint: importing app raised {name}"
    assert trace[-1].startswith(f"{name}: ")
    assert shown in done.err
    assert "dispatch_grpc/" not in done.err
    assert "importlib" not in done.err


def test_the_current_directory_comes_first(shell, app, environment, tmp_path: Path):
    app("what = 'here'")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "app.py").write_text("what = 1")
    paths = [str(tmp_path / "elsewhere"), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    says(shell("run", "app:what"), 2, "got str")


def test_a_module_that_lacks_a_setting_says_so_in_one_line(shell, app):
    app("from dispatch_grpc.endpoint import Endpoint\nendpoint = Endpoint()")
    says(shell("run", "app:endpoint"), 2, "DISPATCH_ENDPOINT_URL")


def test_an_address_that_cannot_be_had(shell, app):
    app(APP)
    run = ["run", "app:endpoint", "--log-level", "error", "--address"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        says(shell(*run, address), 2, address, "Address already in use")
    says(shell(*run, "nowhere"), 2, "'nowhere'")


# The command as a whole


COMMANDS = [([], commands), *(([name], one) for name, one in commands.commands.items())]


@pytest.mark.parametrize(("path", "one"), COMMANDS)
def test_help(command, monkeypatch, path, one: click.Command):
    monkeypatch.setenv("COLUMNS", "80")
    done = command(*path, "--help")
    assert (done.code, done.err) == (0, "")
    assert all(len(text) <= 80 for text in done.out.splitlines())
    assert "\b" not in done.out
    assert "..." not in re.sub(
        r"(\[ARGS\]|ID|COMMAND)\.\.\.", "", done.out
    )  # no summary is cut short
    for option in one.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
    assert command(*path, "-h") == done


def every_command(group: click.Group = commands, *path: str) -> Iterator[str]:
    """The paths of the commands below a group."""
    for name, one in group.commands.items():
        if isinstance(one, click.Group):
            yield from every_command(one, *path, name)
        else:
            yield " ".join([*path, name])


# They serve, or use a database or an endpoint.
WITHOUT_A_SERVICE = {"dev", "run", "echo", "serve", "migrate", "keypair", "conformance"}
WITHOUT_A_SERVICE |= {"outbox list", "outbox sql", "outbox alembic", "outbox django"}
WITHOUT_A_SERVICE |= {"policy list", "policy set", "policy unset", "policy apply"}


@pytest.mark.parametrize("path", list(every_command()))
def test_every_command_that_uses_a_service_has_the_options_of_a_connection(path: str):
    one: Any = commands
    for name in path.split():
        one = one.commands[name]
    options = {name for option in one.params for name in option.opts}
    wanted = {"--api-key", "--api-url", "--protocol", "--cacert", "--cert", "--key"}
    assert path in WITHOUT_A_SERVICE or options >= wanted


def test_help_says_what_a_stranger_must_know(command):
    shown = " ".join(command("call", "--help").out.split())
    assert "DISPATCH_API_KEY: other users of this machine can read command lines" in shown
    shown = " ".join(command("--help").out.split())
    for code in (0, 1, 2, 130, 141):
        assert f" {code} " in shown


@pytest.mark.skipif(sys.platform == "win32", reason="no bash")
def test_the_completion_of_the_shell(environment, tmp_path: Path):
    """The line of the help, in a bash; then what bash asks when one presses the tab key."""
    (line,) = re.findall(r"eval .*", click.unstyle(commands.get_help(click.Context(commands))))
    bin = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([bin, environment["PATH"]])
    words = (
        "COMPREPLY=(); COMP_WORDS=(dispatch-grpc {}); COMP_CWORD={}\n"
        "_dispatch_grpc_completion dispatch-grpc\n"
        'echo "${{COMPREPLY[*]}}"\n'
    )
    script = f"set -e\n{line}\ncomplete -p dispatch-grpc\n"
    script += words.format("re", 1) + words.format("schedules t", 2) + words.format("list --sta", 2)
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    _, *found = done.stdout.splitlines()
    assert found == ["relay rerun resume", "trigger", "--state --status"]


def test_help_brings_only_what_it_needs(environment):
    code = (
        "import sys; from dispatch_grpc.__main__ import main\n"
        "sys.argv = ['x', 'run', '--help']\n"
        "assert main() == 0\n"
        "names = 'connectrpc pyqwest zttp uvicorn msgspec cryptography'.split()\n"
        "assert not set(names) & set(sys.modules)\n"
        "assert not {'dispatch_grpc.endpoint', 'dispatch_grpc.signature'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True)


def test_without_arguments_there_is_help(command):
    done = command()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: dispatch-grpc [OPTIONS] COMMAND")
    says(command("cal"), 2, "No such command 'cal'", "(see 'dispatch-grpc --help')")


def test_the_version(command):
    version = importlib.metadata.version("dispatch-grpc")
    assert command("--version") == (0, f"dispatch-grpc {version}\n", "")


def test_the_console_script():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="dispatch-grpc")
    assert script.load() is __main__.main


def test_the_process_ends_with_the_code(shell, dispatch_recorder: CallRecorder):
    dispatch_recorder.fail_next(Code.PERMISSION_DENIED)
    says(shell("call", URL, "f"), 1, "[PERMISSION_DENIED]")
    says(shell("call", URL), 2, "Missing argument 'FUNCTION'.")
    assert shell("call", URL, "f").code == 0


@pytest.mark.parametrize(
    ("missing", "arguments", "message"),
    [
        (
            "click",
            ["--help"],
            "the command line needs an extra (click is missing): "
            "pip install 'dispatch-grpc[cli]'\n",
        ),
        ("aiohttp", ["call", URL, "f", "--protocol", "connect"], "'dispatch-grpc[connect]'\n"),
        ("cryptography", ["keypair"], "pip install 'dispatch-grpc[endpoint]'\n"),
        ("zttp", ["run", "app:endpoint"], "pip install 'dispatch-grpc[endpoint]'\n"),
        (
            "asyncpg",
            ["serve"],
            "the service needs an extra (asyncpg is missing): pip install "
            "'dispatch-grpc[embedded]', or 'dispatch-grpc[service]' for a PostgreSQL of your own\n",
        ),
        (
            "pythonjsonlogger",
            ["serve", "--log-format", "json"],
            "extra (pythonjsonlogger is missing): pip install 'dispatch-grpc[embedded]', or "
            "'dispatch-grpc[service]' for a PostgreSQL of your own\n",
        ),
    ],
)
def test_a_missing_extra_is_named(environment, app, tmp_path, missing, arguments, message):
    app(APP)
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {arguments!r}\n"
        "from dispatch_grpc.__main__ import main\n"
        "sys.exit(main())"
    )
    python = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        python, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    *logs, last = done.stderr.splitlines(keepends=True)
    assert last.endswith(message)
    assert all(" WARNING dispatch_grpc: " in text for text in logs)  # of the endpoint


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("cryptography", ["keypair"], "endpoint"),
        ("zttp", ["run", "app:endpoint"], "endpoint"),
        ("pythonjsonlogger", ["serve", "--log-format", "json"], "embedded"),
    ],
)
def test_an_incompatible_dependency_is_no_missing_extra(
    environment, app, tmp_path, package, arguments, extra
):
    """It is there, but has not what is needed of it."""
    app(APP)
    (tmp_path / "old" / package).mkdir(parents=True)
    (tmp_path / "old" / package / "__init__.py").touch()
    code = "import sys; from dispatch_grpc.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**environment, "PYTHONPATH": f"{tmp_path}/old"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert f" needs another version of {package} (" in last
    assert f"): pip install --upgrade 'dispatch-grpc[{extra}]'" in last


def test_another_broken_import_is_no_missing_extra(environment):
    broken = "dispatch_grpc.cli.output"
    code = (
        f"import sys; sys.modules[{broken!r}] = None\n"
        "from dispatch_grpc.__main__ import main; main()"
    )
    python = [sys.executable, "-c", code]
    done = subprocess.run(python, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"import of {broken} halted" in done.stderr


def test_certificates(dispatch_recorder: CallRecorder, command: Command, tmp_path: Path):
    import trustme

    from dispatch_grpc.server import dispatch_app
    from dispatch_grpc.testing import serve_app

    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server, client = ca.issue_cert("localhost"), ca.issue_cert("me@example.com")
    for name, cert in (("server", server), ("client", client)):
        cert.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
        cert.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.pem"))
        cert.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / f"{name}-both.pem"))
    with serve_app(
        dispatch_app(dispatch_recorder),
        certfile=str(tmp_path / "server.pem"),
        keyfile=str(tmp_path / "server.key"),
        client_ca_file=str(tmp_path / "ca.pem"),
    ) as running:
        call = ("call", "http://example.com", "f", "--api-url", running.url)
        for protocol in ("grpc", "connect"):
            one = (*call, "--protocol", protocol, "--cacert", "ca.pem", "--cert")
            assert command(*one, "client.pem", "--key", "client.key").code == 0
            assert command(*one, "client-both.pem").code == 0
            done = command(*call, "--protocol", protocol)
            assert done.code == 1
            assert "the certificate of localhost is not trusted (issuer trustme" in done.err
            assert "pass --cacert, or add" in done.err
        done = command(*call, "--cacert", "absent.pem")
        assert (done.code, "absent.pem" in done.err) == (2, True)
    assert len(dispatch_recorder.requests) == 4


@pytest.mark.parametrize("text", [b"", b"no PEM"])
@pytest.mark.parametrize("option", ["--cacert", "--cert", "--key"])
def test_certificates_that_are_no_pem(command, tmp_path: Path, option: str, text: bytes):
    """An empty file, too, is an error: its option is not ignored."""
    (tmp_path / "file.pem").write_bytes(text)
    done = command("call", URL, "f", "--api-url", "https://127.0.0.1:9", option, "file.pem")
    says(done, 2, f"dispatch-grpc: {option} must be a file in PEM form; it has no '-----BEGIN'")


def test_a_key_without_its_certificate(command, tmp_path: Path):
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----")
    done = command("call", URL, "f", "--api-url", "https://127.0.0.1:9", "--key", "key.pem")
    says(done, 2, "dispatch-grpc: --key needs the certificate of --cert, too")
