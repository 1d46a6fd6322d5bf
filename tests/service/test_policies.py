"""Policies: the most specific one counts, in all processes, within seconds."""

import json
import re
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatch_grpc import CallError, Status, new_call
from dispatch_grpc.cli.input import MistakeError
from dispatch_grpc.cli.policy_fields import FIELDS, read_file
from dispatch_grpc.service import store_policies
from dispatch_grpc.service.policy_rules import SETTINGS, Policy
from tests.cli.test_cli import Done
from tests.cli.test_cli_service import run
from tests.service.conftest import Bench
from tests.service.processes import Process, endpoint, service
from tests.service.test_faults import client, dispatch
from tests.waiting import until

HOST = "http://h:80"


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_policies_are_changed_and_go_when_they_set_nothing(bench: Bench):
    bench.run(lambda c: c.execute("TRUNCATE policies"))

    def change(function: str, value: timedelta | None) -> Policy | None:
        settings = {"run_timeout": value}
        found: Policy | None = bench.run(
            lambda c: store_policies.change(c, HOST, function, settings)
        )
        return found

    assert change("f", seconds(1)) == Policy(HOST, "f", seconds(1))
    assert change("f", seconds(2)) == Policy(HOST, "f", seconds(2))
    assert change("", seconds(3)) == Policy(HOST, "", seconds(3))
    assert bench.run(store_policies.read) == [
        Policy(HOST, "", seconds(3)),
        Policy(HOST, "f", seconds(2)),
    ]
    assert change("f", None) is None
    assert change("f", None) is None
    assert bench.run(store_policies.read) == [Policy(HOST, "", seconds(3))]
    bench.run(lambda c: c.execute("TRUNCATE policies"))


def policy(data: Path, *args: str) -> Done:
    return run("policy", *args, "--data-dir", str(data))


def test_a_policy_holds_in_all_processes_without_a_restart(tmp_path: Path, hosted: Process):
    data = tmp_path / "data"
    with service(data) as first, service(data) as second:
        done = policy(data, "set", "--function", "stubborn", "--run-timeout", "1s")
        assert done.out == "function stubborn: run timeout 1s\n"
        for process in (first, second):
            with client(process) as c:
                (call,) = dispatch(c, [new_call(hosted.url, "stubborn")])
                until(lambda c=c, call=call: c.get(call).runs > 0)
                error = c.get(call).last_error
                assert "the time limit of an attempt, 1 s, was over" in str(error)
                c.cancel(call)


def test_the_commands(tmp_path: Path):
    data = tmp_path / "data"
    with service(data):
        for options in ((), ("--json",)):
            done = policy(data, "list", *options)
            assert (done.out, done.err) == ("", "dispatch-grpc: no policies found\n")
        host = ("--host", "HTTPS://Example.com:8443/")
        assert policy(data, "set", *host, "--run-timeout", "90s").out == (
            "host https://example.com:8443: run timeout 90s\n"
        )
        policy(data, "set", "--run-timeout", "20m")
        assert policy(data, "list").out == (
            "everything: run timeout 1200s\nhost https://example.com:8443: run timeout 90s\n"
        )
        lines = policy(data, "list", "--json").out.splitlines()
        found: list[Any] = [json.loads(line) for line in lines]
        assert found == [
            {"run_timeout": "20m"},
            {"host": "https://example.com:8443", "run_timeout": "1m30s"},
        ]
        assert policy(data, "unset", *host).out == "no policy is left for it\n"
        assert policy(data, "list").out == "everything: run timeout 1200s\n"


SETTINGS_GIVEN = {
    "run_timeout": ("30s", "30s", "run timeout 30s"),
    "concurrency": ("10", 10, "concurrency 10"),
    "rate": ("2.5", 2.5, "rate 2.5/s"),
    "priority": ("-5", -5, "priority -5"),
    "max_attempts": ("3", 3, "max attempts 3"),
    "first_backoff": ("250ms", "250ms", "first backoff 0.25s"),
    "max_backoff": ("1m", "1m", "max backoff 60s"),
    "retention": ("1h", "1h", "retention 3600s"),
}


def test_each_setting_is_set_listed_and_unset(tmp_path: Path):
    assert [*SETTINGS_GIVEN] == [*FIELDS] == [*SETTINGS]
    data = tmp_path / "data"
    with service(data):
        for name, (text, _, _) in SETTINGS_GIVEN.items():
            policy(data, "set", "--function", "f", f"--{name.replace('_', '-')}", text)
        texts = [text for _, _, text in SETTINGS_GIVEN.values()]
        assert policy(data, "list").out == f"function f: {', '.join(texts)}\n"
        assert json.loads(policy(data, "list", "--json").out) == {
            "function": "f",
            **{name: value for name, (_, value, _) in SETTINGS_GIVEN.items()},
        }
        left = policy(data, "unset", "--function", "f", "--rate", "--priority").out
        texts = [text for text in texts if not text.startswith(("rate", "priority"))]
        assert left == f"function f: {', '.join(texts)}\n"
        assert policy(data, "unset", "--function", "f").out == "no policy is left for it\n"


def test_the_commands_and_the_file_of_the_guide(tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs/policies.md").read_text(encoding="utf-8")
    commands, file = re.findall(r"```(?:toml)?\n(.*?)```", page, re.DOTALL)
    data = tmp_path / "data"
    with service(data):
        for line in commands.splitlines():
            done = policy(data, *line.removeprefix("dispatch-grpc policy ").split())
            assert (done.code, done.err) == (0, "")
        (tmp_path / "policies.toml").write_text(file)
        policy(data, "apply", str(tmp_path / "policies.toml"))
        assert policy(data, "list").out.splitlines() == [
            "function charge: run timeout 30s, concurrency 10, rate 50/s",
            "host https://bank.example.com: concurrency 20",
        ]


TOML = """
[[policy]]
function = "charge"
concurrency = 10
run_timeout = "30s"
max_attempts = 3

[[policy]]
host = "HTTPS://bank.example.com/"
rate = 2.5
"""


def test_a_file_is_applied_whole(tmp_path: Path):
    data, file = tmp_path / "data", tmp_path / "policies.toml"
    file.write_text(TOML)
    with service(data):
        policy(data, "set", "--function", "old", "--priority", "1")
        lines = (
            "removed: function old",
            "set: function charge: run timeout 30s, concurrency 10, max attempts 3",
            "set: host https://bank.example.com: rate 2.5/s",
        )
        tried = policy(data, "apply", str(file), "--dry-run")
        assert sorted(tried.out.splitlines()) == [f"would be {line}" for line in lines]
        assert policy(data, "list").out == "function old: priority 1\n"
        assert sorted(policy(data, "apply", str(file)).out.splitlines()) == [*lines]
        again = policy(data, "apply", str(file))
        assert again.err == "dispatch-grpc: the policies are those of the file already\n"
        listed = policy(data, "list").out.splitlines()
        assert sorted(listed) == [line.removeprefix("set: ") for line in lines[1:]]
        file.write_text(TOML.replace("concurrency = 10\n", "").replace("2.5", "0"))
        done = policy(data, "apply", str(file))
        assert done.code == 2
        assert "policy 2: rate: a number from 0.001 to 100000 is required; got 0" in done.err
        assert policy(data, "list").out.splitlines() == listed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[policy]\n", "line 1"),
        ("\xff", "utf-8"),
        ("policy = 1", "'policy': only tables [[policy]] are allowed"),
        ("policy = [1]", "policy 1: a table is required; got 1"),
        ("x = 1", "'x': only tables [[policy]] are allowed"),
        ("[[policies]]\nrate = 1", "'policies': only tables [[policy]] are allowed"),
        ("[[policy]]\nfunction = 'f'", "policy 1: sets nothing; the settings are run_timeout, "),
        ("[[policy]]\nspeed = 1", "policy 1: 'speed' is not a field; the fields are host, "),
        ("[[policy]]\nhost = 'h'\nrate = 1", "policy 1: host: a scheme, host and port"),
        ("[[policy]]\nhost = 1\nrate = 1", "policy 1: host: a scheme, host and port"),
        ("[[policy]]\nfunction = 'a b'\nrate = 1", "policy 1: function: "),
        ("[[policy]]\nfunction = 3\nrate = 1", "policy 1: function: the name of a function"),
        ("[[policy]]\nconcurrency = 0", "concurrency: a whole number from 1 to 1000000"),
        ("[[policy]]\nconcurrency = 1.5", "concurrency: a whole number from 1 to 1000000"),
        ("[[policy]]\nconcurrency = true", "concurrency: a whole number from 1 to 1000000"),
        ("[[policy]]\nrate = nan", "rate: a number from 0.001 to 100000 is required; got nan"),
        ("[[policy]]\nrate = true", "rate: a number from"),
        ("[[policy]]\nrate = []", "rate: a number from"),
        ("[[policy]]\npriority = 101", "priority: a whole number from -100 to 100 is required"),
        ("[[policy]]\nrun_timeout = 30", "run_timeout: a duration as a string, such as "),
        ("[[policy]]\nretention = '0s'", "retention: a duration above zero"),
        ("[[policy]]\nmax_backoff = 'soon'", "max_backoff: a duration is required"),
        ("[[policy]]\nrate = 1\n[[policy]]\nrate = 2", "policy 2: the host and the function are"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path: Path, text: str, message: str):
    file = tmp_path / "policies.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(MistakeError) as caught:
        read_file(file)
    assert caught.value.message.startswith(f"{file}: ")
    assert message in caught.value.message


def test_a_call_ends_after_the_attempts_of_its_policy(tmp_path: Path, log: Path):
    """Attempts whose request was not sent do not count."""
    data = tmp_path / "data"
    data.mkdir()
    policy(data, "set", "--function", "flaky", "--max-attempts", "3")
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    with service(data) as process, client(process) as c:
        (id,) = dispatch(c, [new_call(f"http://127.0.0.1:{port}", "flaky", 1000)])
        until(lambda: c.get(id).runs >= 2)
        with endpoint(log, port):
            with pytest.raises(CallError) as caught:
                c.wait(id)
            assert caught.value.status is Status.TCP_ERROR
    assert len(log.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("set",), "nothing to set: give one of --run-timeout, --concurrency, --rate, "),
        (("set", "--run-timeout", "0s"), "a duration above zero"),
        (("set", "--concurrency", "x"), "a whole number from 1 to 1000000 is required; got 'x'"),
        (("set", "--rate", "x"), "a number from 0.001 to 100000 is required; got 'x'"),
        (("set", "--run-timeout", "1s", "--host", "example.com"), "a scheme, host and port"),
        (("set", "--run-timeout", "1s", "--host", "http://h:0"), "a scheme, host and port"),
        (("set", "--run-timeout", "1s", "--host", "http://h:x"), "a scheme, host and port"),
        (("set", "--run-timeout", "1s", "--function", "no name"), "function"),
        (("list",), "there is no embedded database"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, args: tuple[str, ...], message: str):
    done = policy(tmp_path / "none", *args)
    assert done.code == 2
    assert message in done.err
