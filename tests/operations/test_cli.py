"""The commands of the second day, as a person and as a script run them."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dispatch_grpc import Client
from tests.cli.test_cli import Done, says
from tests.cli.test_cli_service import COMMAND, run_on, variables
from tests.conftest import RunningService
from tests.operations.conftest import Functions
from tests.operations.test_rerun import UNKNOWN, failed

PATIENCE = timedelta(seconds=60)
Command = Callable[..., Done]


@pytest.fixture
def command(service: RunningService) -> Command:
    """Run a command that uses the service."""
    return partial(run_on, service)


@pytest.fixture
def dead(client: Client, failing: Functions) -> list[str]:
    """Three dead letters, and no others; the function works again."""
    client.purge_calls(dead=True)
    ids = [failed(client, failing, "charge", number) for number in range(3)]
    failing.fails.clear()
    return ids


def test_calls_are_rerun_by_their_ids(command: Command, client: Client, dead: list[str]):
    done = command("rerun", *dead[:2])
    assert (done.code, done.err) == (0, "")
    new = done.out.split()
    assert [client.get(id).rerun_as for id in dead[:2]] == new
    assert client.wait_all(new, timeout=PATIENCE) == ["charged 0", "charged 1"]
    done = command("rerun", dead[2], "--json", "--idempotency-key", dead[2])
    assert json.loads(done.out) == {
        "dispatch_id": dead[2],
        "rerun_as": client.get(dead[2]).rerun_as,
    }
    assert command("rerun", dead[2], "--json", "--idempotency-key", dead[2]) == done
    shown = command("get", dead[2]).out
    assert f"rerun as  {client.get(dead[2]).rerun_as}" in " ".join(shown.split(" ")).replace(
        "   ", "  "
    )
    says(command("rerun", UNKNOWN), 1, f"has no call '{UNKNOWN}'", "[NOT_FOUND]")


def test_dead_letters_are_listed(command: Command, dead: list[str]):
    done = command("list", "--dead", "--json")
    assert [json.loads(line)["dispatch_id"] for line in done.out.splitlines()] == dead[::-1]


def test_calls_are_rerun_by_a_filter(command: Command, client: Client, dead: list[str]):
    assert command("rerun", "--dead", "--dry-run") == (0, "3 calls would be rerun\n", "")
    says(command("rerun", "--dead"), 2, "rerun 3 calls? There is no terminal to ask on: give --yes")
    assert all(client.get(id).rerun_as is None for id in dead)
    assert command("rerun", "--function", "charge", "--yes", "--since", "1h") == (
        0,
        "rerun 3 calls\n",
        "",
    )
    assert all(client.get(id).rerun_as for id in dead)
    says(command("rerun", "--dead", "--yes"), 0, "no finished calls found")
    says(
        command("purge", "--function", "none", "--yes"),
        0,
        "no finished calls found; 'dispatch-grpc cancel' ends calls that have not finished",
    )
    done = command("rerun", "--dead", "--status", "timeout", "--endpoint", "http://x", "--json")
    assert done == (0, '{"count": 0}\n', "")


def test_calls_are_deleted_by_a_filter(command: Command, client: Client, dead: list[str]):
    assert command("purge", "--dead", "--dry-run", "--json") == (0, '{"count": 3}\n', "")
    assert (
        command("purge", "--dead", "--before", "1d", "--dry-run", "--json").out == '{"count": 0}\n'
    )
    says(
        command("purge", "--dead"), 2, "delete 3 calls? There is no terminal to ask on: give --yes"
    )
    assert command("purge", "--dead", "--yes") == (0, "deleted 3 calls\n", "")
    assert client.list(dead=True) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["rerun"], "give IDs, or options that select calls, such as --dead"),
        (["rerun", UNKNOWN, "--dead"], "IDs cannot be combined with options that select calls"),
        (["rerun", UNKNOWN, "--dry-run"], "IDs cannot be combined with options that select calls"),
        (["rerun", UNKNOWN, UNKNOWN, "--idempotency-key", "k"], "--idempotency-key is for one ID"),
        (["rerun", "--dead", "--idempotency-key", "k"], "options select no call that was rerun"),
        (["pause"], "give --function, --host or both, or else --all"),
        (["resume", "--all", "--function", "f"], "give --function, --host or both, or else --all"),
        (["purge"], "give options that select calls, such as --function"),
        (["purge", "--since", "soon"], "a duration such as 1h30m, or a time such as"),
    ],
)
def test_what_makes_no_sense(command: Command, arguments: list[str], problem: str):
    says(command(*arguments), 2, problem)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_person_is_asked(service: RunningService, client: Client, dead: list[str], answer: str):
    controller, terminal = os.openpty()
    added = {"DISPATCH_API_URL": service.url, "DISPATCH_API_KEY": service.api_key, "TERM": "dumb"}
    process = subprocess.Popen(
        [*COMMAND, "rerun", "--dead"],
        env=variables(**added),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    try:
        while b"Rerun 3 calls? [y/N]" not in shown:
            shown += os.read(controller, 4096)
        os.write(controller, f"{answer}\n".encode())
        assert process.wait(60) == {"y": 0, "n": 130}[answer]
        with_rerun = [client.get(id).rerun_as is not None for id in dead]
        assert with_rerun == [answer == "y"] * 3
    finally:
        process.kill()
        os.close(controller)


def test_the_commands_of_the_guide(command: Command, client: Client, dead: list[str]):
    page = (Path(__file__).parents[2] / "docs/operating.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = "".join(code for language, code in blocks if not language).splitlines()
    assert len(lines) == 11
    try:
        for line in lines:
            program, name, *arguments = shlex.split(re.sub(r"[0-9a-f-]{36}", dead[0], line))
            asks = name in {"rerun", "purge"} and {"--dead", "--function"}.intersection(arguments)
            done = command(name, *arguments, *["--yes"] * bool(asks))
            assert (program, done.code) == ("dispatch-grpc", 0), done
    finally:
        client.resume(everything=True)
    assert all(client.get(id).rerun_as for id in dead)


def test_every_command_has_help(command: Command):
    names: Any = ["rerun", "purge", "pause", "resume", "pauses"]
    for name in names:
        done = command(name, "--help")
        assert done.code == 0
        assert "Usage: dispatch-grpc" in done.out


def test_pausing(command: Command, client: Client):
    says(command("pauses"), 0, "nothing is paused")
    done = command("pause", "--function", "charge", "--reason", "the bank is down")
    assert re.fullmatch(
        r"paused function charge \(since \d{4}-\d\d-\d\d \S+\): the bank is down\n", done.out
    ), done
    done = command("pause", "--host", "http://x/path", "--function", "f", "--json")
    found = json.loads(done.out)
    assert (found["host"], found["function"], found["reason"]) == ("http://x", "f", "")
    lines = command("pauses").out.splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        "function charge",
        "function f on host http://x",
    ]
    assert command("resume", "--function", "charge").out.startswith("resumed function charge (")
    says(command("resume", "--function", "charge"), 1, "the function charge is not paused")
    assert len(command("resume", "--all", "--json").out.splitlines()) == 1
    says(command("resume", "--all"), 0, "nothing is paused")
    assert command("pause", "--all").out.startswith("paused everything (")
    client.resume(everything=True)
