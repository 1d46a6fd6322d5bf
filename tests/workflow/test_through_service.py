"""Workflows through the durable service, and through processes that are killed."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dispatch_grpc import CallError, CallState, Client, Endpoint, new_call
from dispatch_grpc.client.following import _warn_of_held_slot
from dispatch_grpc.endpoint.cancelling import cancel_calls
from dispatch_grpc.testing import Runner
from tests.conftest import data_dir
from tests.service.processes import KEY, Process, service
from tests.waiting import until


@contextmanager
def endpoint(
    log: Path, port: int = 0, *, env: dict[str, str] | None = None, stderr: Path | None = None
) -> Iterator[Process]:
    """A process of the endpoint in `hosted.py`."""
    command = (sys.executable, "-m", "tests.workflow.hosted", str(log), str(port))
    process = Process(*command, env=env, log=stderr)
    try:
        yield process
    finally:
        process.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "effects"


@pytest.fixture(scope="module")
def hosted(log: Path) -> Iterator[Process]:
    with endpoint(log) as process:
        yield process


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """URL of a service."""
    with data_dir() as folder, service(folder) as process:
        yield process.url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    with Client(KEY, api_url=url) as client:
        yield client


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder for a database, which is ended with the test."""
    with data_dir() as folder:
        yield folder
        for file in folder.glob("postgres/postmaster.pid"):
            with contextlib.suppress(OSError):  # it may have ended just now
                os.kill(int(file.read_text().split()[0]), signal.SIGQUIT)


@pytest.mark.parametrize(
    ("name", "input", "wanted"),
    [
        ("chain", 20, 20),
        ("chain", 0, 0),
        ("fan_out", 100, 100),
        ("countdown", 5, "end"),
        ("impatient", 2, "late"),
        ("careful", None, ["the door", 403]),
        (
            "alternate",
            "a",
            [f"{kind}-a-{number}" for number in range(5) for kind in ("call", "step")],
        ),
    ],
)
def test_a_workflow(client: Client, hosted: Process, name: str, input: Any, wanted: Any):
    assert client.wait(client.dispatch(new_call(hosted.url, name, input)), timeout=None) == wanted


@pytest.mark.parametrize(
    ("name", "input", "wanted"), [("impatient", 1, "late"), ("cancels", None, "done")]
)
def test_a_cancelled_call_is_cancelled_at_the_service(
    client: Client, url: str, tmp_path: Path, name: str, input: Any, wanted: str
):
    """By the client that the endpoint has; when the workflow ends, before it does."""
    env = {"DISPATCH_API_KEY": KEY, "DISPATCH_API_URL": url}
    with endpoint(tmp_path / "log", env=env) as hosted:
        id = client.dispatch(new_call(hosted.url, name, input))
        assert client.wait(id, timeout=None) == wanted
        (call,) = [one for one in client.list(parent=id) if one.function == "patient"]
        if name == "cancels":
            until(lambda: client.get(call.dispatch_id).state is CallState.FINISHED)
    error = client.get(call.dispatch_id).error
    assert error is not None
    assert error.type == "CancelledError"
    if name == "cancels":
        assert (tmp_path / "log").read_text().split() == ["call-made", "call-after"]


def test_calls_are_cancelled_by_a_sync_client_too(
    client: Client, hosted: Process, caplog: pytest.LogCaptureFixture
):
    """A call that has ended meanwhile is left alone; one that is not found is logged."""
    ours = Endpoint("http://127.0.0.1:1", client=client)
    id = client.dispatch(new_call(hosted.url, "impatient", 3600))
    until(lambda: bool(client.list(parent=id)))
    (child,) = client.list(parent=id)
    for _ in range(2):
        asyncio.run(cancel_calls(ours, id, {child.message.correlation_id}))
        assert client.get(child.dispatch_id).state is CallState.FINISHED
    assert "cannot cancel" not in caplog.text
    asyncio.run(cancel_calls(ours, id, {child.message.correlation_id, 17}))
    assert "cannot cancel 1 call of" in caplog.text
    assert "they are not among the latest 1000 calls" in caplog.text
    with pytest.raises(CallError, match="the call was cancelled"):
        client.wait(id)


def test_without_a_client_a_cancelled_call_goes_on(client: Client, tmp_path: Path):
    """The log says so, once."""
    stderr = tmp_path / "stderr"
    with endpoint(tmp_path / "log", env={"DISPATCH_API_KEY": ""}, stderr=stderr) as hosted:
        for _ in range(2):
            id = client.dispatch(new_call(hosted.url, "cancels"))
            assert client.wait(id, timeout=None) == "done"
            (call,) = [one for one in client.list(parent=id) if one.function == "patient"]
            assert call.state is not CallState.FINISHED
            client.cancel(call.dispatch_id)
    lines = [line for line in stderr.read_text().splitlines() if "cannot cancel" in line]
    assert len(lines) == 1, lines
    assert "the endpoint has no client" in lines[0]


def test_a_service_that_cannot_be_reached_cancels_nothing(client: Client, tmp_path: Path):
    """The workflow goes on, and the log says what was left."""
    env = {"DISPATCH_API_KEY": KEY, "DISPATCH_API_URL": "http://127.0.0.1:1"}
    with endpoint(tmp_path / "log", env=env, stderr=tmp_path / "stderr") as hosted:
        id = client.dispatch(new_call(hosted.url, "cancels"))
        assert client.wait(id, timeout=None) == "done"
        (call,) = [one for one in client.list(parent=id) if one.function == "patient"]
        until(lambda: "cannot cancel 1 call of" in (tmp_path / "stderr").read_text())
    assert call.state is not CallState.FINISHED
    client.cancel(call.dispatch_id)


def test_a_sleep_holds_nothing(client: Client, hosted: Process):
    """500 sleep at the same time, with far fewer slots, and wake in time."""
    batch = client.batch()
    batch.add(*(new_call(hosted.url, "patient", 3) for _ in range(500)))
    begin = time.monotonic()
    ids = batch.dispatch()
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(partial(client.wait, timeout=None), ids))
    assert all(3 <= seconds < 60 for seconds in found)
    assert time.monotonic() - begin < 100  # one after the other they take 25 minutes


def test_fan_out_of_more_than_a_poll_waits_for(client: Client, hosted: Process):
    assert client.wait(client.dispatch(new_call(hosted.url, "fan_out", 2000)), timeout=None) == 2000


def test_a_function_that_waits_with_a_client_is_warned_of(
    client: Client, hosted: Process, caplog: pytest.LogCaptureFixture
):
    _warn_of_held_slot.cache_clear()
    dispatch_id = client.dispatch(new_call(hosted.url, "chain", 1))
    client.wait(dispatch_id)
    assert "slots" not in caplog.text
    ours = Endpoint("http://127.0.0.1:1", env={})

    @ours.function
    def parent(times: int) -> list[int]:
        return [client.wait(dispatch_id, int) for _ in range(times)]

    assert Runner(ours).run(parent.call(2)) == [1, 1]
    assert caplog.text.count("Make the function a workflow (@endpoint.workflow)") == 1


def test_the_service_warns_of_functions_that_hold_all_slots(tmp_path: Path, data: Path):
    """Functions that wait with a client stand still until a person reads the log."""
    log = tmp_path / "log"
    with (
        service(data, log=log, concurrency=2, host_concurrency=2, batch_size=1) as process,
        Client(KEY, api_url=process.url) as client,
        endpoint(
            tmp_path / "effects", env={"DISPATCH_API_KEY": KEY, "DISPATCH_API_URL": process.url}
        ) as hosted,
    ):
        ids = [client.dispatch(new_call(hosted.url, "held", "x")) for _ in range(2)]
        until(lambda: "clients wait for 2 queued calls of effect" in log.read_text())
        assert log.read_text().count("make such functions workflows") == 1
        for id in ids:
            client.cancel(id)


def test_recursion_does_not_need_slots(data: Path, hosted: Process):
    with (
        service(data, concurrency=2, host_concurrency=2, batch_size=1) as process,
        Client(KEY, api_url=process.url) as client,
    ):
        assert client.wait(client.dispatch(new_call(hosted.url, "deep", 50)), timeout=None) == 50


def test_results_from_outside_survive_kills(tmp_path: Path, data: Path):
    """Service and endpoint are killed before and after each completion, which is sent again."""
    log = tmp_path / "effects"
    with endpoint(log) as first:
        port = int(first.url.rpartition(":")[2])
    ids: list[str] = []
    completed: set[str] = set()

    def noted() -> dict[str, str]:
        lines = log.read_text().split() if log.exists() else []
        return dict(line.split("=") for line in lines)

    for number in range(2):
        for complete in (False, True):
            with (
                service(data) as process,
                endpoint(log, port) as hosted,
                Client(KEY, api_url=process.url) as client,
            ):
                url = f"http://127.0.0.1:{port}"
                ids = ids or [
                    client.dispatch(new_call(url, "approved", str(key))) for key in range(20)
                ]
                wanted = [f"{key}-{number}" for key in range(20)]
                until(lambda keys=wanted: set(keys) <= noted().keys())
                for key in wanted if complete else wanted[:10]:
                    client.complete(noted()[key], True)
                    completed.add(key)
                process.kill()
                hosted.kill()
    assert len(completed) == 40
    with (
        service(data) as process,
        endpoint(log, port),
        Client(KEY, api_url=process.url) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        found = list(pool.map(partial(client.wait, timeout=None), ids))
    assert found == [[True, True]] * 20


def test_service_and_endpoint_are_killed_at_random(
    tmp_path: Path, data: Path, record_property: Any
):
    """Every call's effect is there, every result is right; repetitions are counted."""
    log, chance = tmp_path / "effects", random.Random(7)
    port = 0
    count = 200

    def effects() -> Counter[str]:
        return Counter(log.read_text().split()) if log.exists() else Counter()

    ids: list[str] = []
    with endpoint(log) as first:
        port = int(first.url.rpartition(":")[2])
        first.kill()
    kills = 0
    for _ in range(3):
        with (
            service(data, concurrency=64, batch_size=16) as process,
            endpoint(log, port) as hosted,
            Client(KEY, api_url=process.url) as client,
        ):
            if not ids:
                batch = client.batch()
                url = f"http://127.0.0.1:{port}"
                batch.add(*(new_call(url, "alternate", str(n)) for n in range(count)))
                ids = batch.dispatch()
            reached = len(effects()) + 200
            until(lambda r=reached: len(effects()) >= min(r, count * 10))
            time.sleep(chance.uniform(0, 0.3))
            for victim in chance.sample([process, hosted], 2):
                victim.kill()
                kills += 1
                time.sleep(chance.uniform(0, 0.2))
    assert len(effects()) < count * 10, "all had been done before the last kill"
    with (
        service(data) as process,
        endpoint(log, port),
        Client(KEY, api_url=process.url) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        found = list(pool.map(partial(client.wait, timeout=None), ids))
    wanted = [
        [f"{kind}-{n}-{number}" for number in range(5) for kind in ("call", "step")]
        for n in range(count)
    ]
    assert found == wanted
    times = effects()
    assert set(times) == {key for keys in wanted for key in keys}
    repeated = sum(number - 1 for number in times.values())
    record_property("effects repeated", f"{repeated} of {sum(times.values())} after {kills} kills")
