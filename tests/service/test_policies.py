"""Policies: the most specific one counts, in all processes, within seconds."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatch_grpc import new_call
from dispatch_grpc.service import store_policies
from dispatch_grpc.service.policies import Policies
from dispatch_grpc.service.store_policies import Policy
from tests.cli.test_cli import Done
from tests.cli.test_cli_service import run
from tests.service.conftest import Bench
from tests.service.processes import Process, service
from tests.service.test_faults import client, dispatch
from tests.waiting import until

HOST = "http://h:80"


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_the_most_specific_policy_that_sets_something_counts():
    policies = [
        Policy(run_timeout=seconds(1)),
        Policy(function="f", run_timeout=seconds(2)),
        Policy(host=HOST, run_timeout=seconds(3)),
        Policy(host=HOST, function="f", run_timeout=seconds(4)),
        Policy(host=HOST, function="g"),
        Policy(function="g", run_timeout=seconds(5)),
    ]
    found = Policies(policies)
    assert found.run_timeout(HOST, "f") == seconds(4)
    assert found.run_timeout(HOST, "g") == seconds(3)  # a host goes before a function
    assert found.run_timeout(HOST, "h") == seconds(3)
    assert found.run_timeout("http://other", "f") == seconds(2)
    assert found.run_timeout("http://other", "g") == seconds(5)
    assert found.run_timeout("http://other", "h") == seconds(1)
    assert Policies().run_timeout(HOST, "f") is None


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


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("set",), "nothing to set: give --run-timeout"),
        (("set", "--run-timeout", "0s"), "a duration above zero"),
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
