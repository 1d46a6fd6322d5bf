"""Functions, hosts and everything are paused and resumed, for all processes, also over restarts."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3

from dispatch_grpc import (
    CallError,
    CallState,
    Client,
    ConfigurationError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    new_call,
)
from dispatch_grpc.service import store_pause
from dispatch_grpc.service.lanes import Lanes, lane_of
from tests.conftest import Driver, RunningService
from tests.operations.conftest import Functions
from tests.service.processes import KEY, endpoint, service
from tests.waiting import until

PATIENCE = timedelta(seconds=60)


@pytest.fixture(autouse=True)
def resumed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing stays paused after a test."""
    yield
    if "client" in request.fixturenames:
        client = request.getfixturevalue("client")
        client.resume(everything=True)
        settle(client)  # or the next test would take the pauses of this one for its own


def settle(*clients: Client) -> None:
    """Wait until the process of each client has seen the pauses that there are."""
    for client in clients:
        url, number = client._settings.target.url, len(client.pauses())
        until(lambda: f"dispatch_pauses {number}.0" in metrics_of(url))  # noqa: B023


def metrics_of(url: str) -> str:
    return urllib3.request("GET", f"{url}/metrics").data.decode()


def stays_queued(client: Client, id: str, seconds: float = 1.0) -> bool:
    """Whether a call waits all the time, without an attempt."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        call = client.get(id)
        if call.state is not CallState.QUEUED or call.runs:
            return False
        time.sleep(0.1)
    return True


def test_a_function_is_paused_and_resumed(
    driver: Driver, service: RunningService, functions: Functions, client: Client
):
    api = driver.client(service.url, service.api_key)
    before = datetime.now(UTC) - timedelta(minutes=1)
    pause = driver.run(lambda: api.pause(function="charge", reason="the bank is down"))
    assert (pause.function, pause.host, pause.reason) == ("charge", None, "the bank is down")
    assert before < pause.since
    assert driver.run(api.pauses) == [pause]
    settle(client)
    id = client.dispatch(functions.call("charge", 1))
    assert client.wait(client.dispatch(functions.call("other", 1)), timeout=PATIENCE) == 1
    assert stays_queued(client, id)
    assert driver.run(lambda: api.resume(function="charge")) == [pause]
    assert client.wait(id, timeout=PATIENCE) == "charged 1"
    assert driver.run(api.pauses) == []


@pytest.mark.parametrize("target", ["host", "host and function", "everything"])
def test_other_pauses(functions: Functions, client: Client, target: str):
    url = functions.endpoint.url
    options: Any = {
        "host": {"host": f"{url}/some/path"},
        "host and function": {"host": url, "function": "charge"},
        "everything": {"everything": True},
    }[target]
    pause = client.pause(**options)
    assert pause.host == (None if target == "everything" else url)
    settle(client)
    id = client.dispatch(functions.call("charge", 1))
    other = client.dispatch(functions.call("other", 1))
    if target == "host and function":
        client.wait(other, timeout=PATIENCE)
    assert stays_queued(client, id)
    client.resume(**options)
    client.wait_all([id, other], timeout=PATIENCE)


def test_another_host_is_not_paused(functions: Functions, client: Client):
    client.pause(host="http://elsewhere.example")
    client.pause(host="http://elsewhere.example", function="charge")
    settle(client)
    client.wait(client.dispatch(functions.call("charge", 1)), timeout=PATIENCE)


def test_a_function_that_runs_is_not_stopped(functions: Functions, client: Client):
    functions.release.clear()
    id = client.dispatch(functions.call("hold"))
    until(lambda: client.get(id).state is CallState.RUNNING)
    client.pause(function="hold")
    settle(client)
    functions.release.set()
    assert client.wait(id, timeout=PATIENCE) == "released"


def test_the_expiration_of_a_paused_call_goes_on(functions: Functions, client: Client):
    client.pause(everything=True)
    settle(client)
    id = client.dispatch(functions.call("charge", "late", expiration=timedelta(seconds=1)))
    with pytest.raises(CallError, match="expired"):
        client.wait(id, timeout=PATIENCE)
    assert "late" not in functions.runs


def test_children_of_a_workflow_wait_too(functions: Functions, client: Client):
    """Their jobs would be begun in the transaction that makes them."""
    client.pause(function="charge")
    settle(client)
    id = client.dispatch(functions.call("parent", None))
    until(lambda: client.get(id).state is CallState.WAITING)
    (child,) = client.list(parent=id)
    assert stays_queued(client, child.dispatch_id)
    client.resume(function="charge")
    client.wait(id, timeout=PATIENCE)


def test_pausing_again_keeps_the_time_and_may_change_the_reason(client: Client):
    first = client.pause(function="f", reason="one")
    assert client.pause(function="f") == first
    second = client.pause(function="f", reason="two")
    assert (second.since, second.reason) == (first.since, "two")
    third = client.pause(function="g")
    assert client.pauses() == [second, third]
    assert client.resume(everything=True) == [second, third]
    assert client.resume(everything=True) == []


def test_what_is_not_paused_is_not_resumed(client: Client):
    client.pause(function="f")
    for options, name in (
        ({"function": "g"}, "the function g is"),
        ({"host": "http://x"}, "the host http://x is"),
        ({"host": "http://x", "function": "f"}, "the function f on http://x is"),
    ):
        with pytest.raises(NotFoundError, match=f"{name} not paused"):
            client.resume(**options)


@pytest.mark.parametrize("options", [{}, {"everything": True, "function": "f"}])
def test_a_target_that_is_not_clear(client: Client, options: Any):
    for method in (client.pause, client.resume):
        with pytest.raises(ConfigurationError, match="give host, function or both, or else every"):
            method(**options)
    request_of = {"function": "f", "all": True} if options else {}
    from dispatch_grpc.schema import PauseCallsRequest

    with pytest.raises(InvalidArgumentError, match="all: give a host, a function or both, or else"):
        client._call("PauseCalls", PauseCallsRequest(**request_of), 10)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"function": "no name"}, "function: a name that matches"),
        ({"host": "example.com"}, "host: the URL of an endpoint is required, such as https://"),
        ({"host": "ftp://me:secret@h"}, r"such as https://\S+; got 'ftp://\*+@h'"),
        ({"host": "http://" + "x" * 3000}, "host: the URL of an endpoint is required"),
        ({"function": "f", "reason": "x" * 501}, "reason: a text of at most 500 characters"),
        ({"function": "f", "reason": "\0"}, "reason: a text of at most 500 characters"),
    ],
)
def test_a_target_that_breaks_a_rule(client: Client, options: Any, reason: str):
    with pytest.raises(InvalidArgumentError, match=reason):
        client.pause(**options)
    with pytest.raises(ConfigurationError, match="reason: a str is required; got 5"):
        client.pause(function="f", reason=5)


def test_the_number_of_pauses_is_bounded(client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_pause, "MAX_PAUSES", 2)
    client.pause(function="f")
    client.pause(function="g")
    with pytest.raises(ResourceExhaustedError, match="there are 2 pauses, and no more are possi"):
        client.pause(function="h")
    client.pause(function="g", reason="one that there is can be changed")


def test_the_metrics_tell_the_number_of_pauses(client: Client):
    client.pause(function="f")
    settle(client)
    client.resume(function="f")
    settle(client)


def test_lanes_that_are_paused_cost_nothing():
    paused: set[str] = set()
    lanes = Lanes(100, 50, is_paused=paused.__contains__)
    one, two = lane_of("http://a", "f"), lane_of("http://a", "g")
    lanes.has_jobs(one)
    lanes.has_jobs(two)
    paused.add(one)
    lanes.drop_paused()
    lanes.has_jobs(one)
    assert set(lanes.plan(10)) == {two}
    lanes.claimed()
    assert lanes.hosts() == set()
    assert lanes.take_spare({one: 1, two: 1}) == {two: 1}


def test_all_processes_pause_and_a_restart_ends_no_pause(folder: Path):
    """Two processes with one database: the pause is told to one, and both are killed."""
    with endpoint(folder / "log") as hosted:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(service(folder / "data"))
            second = stack.enter_context(service(folder / "data"))
            with (
                Client(KEY, api_url=first.url, env={}) as client,
                Client(KEY, api_url=second.url, env={}) as other,
            ):
                client.pause(function="square")
                settle(client, other)
                ids = [client.dispatch(new_call(hosted.url, "square", n)) for n in range(20)]
                assert all(stays_queued(client, id, 0.1) for id in ids)
            first.stop()
            second.stop()
        with service(folder / "data") as again, Client(KEY, api_url=again.url, env={}) as client:
            assert [one.function for one in client.pauses()] == ["square"]
            assert stays_queued(client, ids[0], 1.5)
            assert not (folder / "log").read_text()
            client.resume(function="square")
            assert client.wait_all(ids, timeout=PATIENCE) == [n * n for n in range(20)]
