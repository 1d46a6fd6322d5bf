"""What the service tells Prometheus: each metric through a real service, its labels bounded."""

import asyncio
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from dispatch_grpc import CallError, Client, ConfigurationError, new_call
from dispatch_grpc.service.lanes import MAX_LANES as SCANNED_LANES
from dispatch_grpc.service.machine import Running
from dispatch_grpc.service.metrics import MAX_FUNCTIONS, Metrics
from dispatch_grpc.service.metrics_shared import MAX_HOSTS, MAX_LANES, OTHER
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.store import Loaded
from dispatch_grpc.service.worker import Worker
from tests.cli.test_cli_service import run, serve
from tests.conftest import RunningService, run_service
from tests.hostile import unused_port
from tests.operations.conftest import Functions
from tests.operations.scrapes import families, labels_of, total, value
from tests.service.conftest import Bench
from tests.service.processes import KEY, endpoint
from tests.service.processes import service as service_process
from tests.waiting import until

PAGE = (Path(__file__).parents[2] / "docs/observing.md").read_text(encoding="utf-8")
ROW = r"^\| `(dispatch_\w+)` \| (\w+) \| ([\w, ]*) \| (.+) \|$"
DOCUMENTED = {name: tuple(rest) for name, *rest in re.findall(ROW, PAGE, re.MULTILINE)}
PATIENCE = timedelta(seconds=60)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def away(client: Client) -> Iterator[str]:
    """An endpoint that does not answer, with a call that was tried in vain."""
    url = f"http://127.0.0.1:{unused_port()}"
    id = client.dispatch(new_call(url, "f"))
    yield url
    client.cancel(id)


# The docs


def test_the_docs_list_each_metric_that_a_service_tells(service: RunningService):
    told = {
        name: (family.type, family.documentation) for name, family in families(service.url).items()
    }
    assert told == {name: (kind, text) for name, (kind, _, text) in DOCUMENTED.items()}


def test_the_labels_are_those_of_the_docs(
    client: Client, failing: Functions, away: str, service: RunningService
):
    client.pause(function="other")
    paused = client.dispatch(failing.call("other", 1))
    with pytest.raises(CallError):
        client.wait(client.dispatch(failing.call("charge", 1)), timeout=PATIENCE)
    until(lambda: labels_of(service.url, "dispatch_breaker_open"))
    until(lambda: labels_of(service.url, "dispatch_queue_age_seconds"))
    for name, family in families(service.url).items():
        names = {label for sample in family.samples for label in sample.labels} - {"le"}
        if family.samples:
            assert names == set(filter(None, DOCUMENTED[name][1].split(", "))), name
    client.cancel(paused)
    client.resume(everything=True)


# Calls


def test_each_call_is_timed_from_its_acceptance(
    client: Client, functions: Functions, service: RunningService
):
    def counts() -> list[float]:
        found = families(service.url).values()
        return [
            total(found, f"dispatch_accept_to_{what}_seconds_count") for what in ("start", "finish")
        ]

    before = counts()
    ids = [client.dispatch(functions.call("charge", number)) for number in range(3)]
    ids.append(client.dispatch(functions.call("parent")))  # which makes a call of its own
    client.wait_all(ids, timeout=PATIENCE)
    # A client may learn of the end of a call before it is counted.
    until(lambda: [after - one for after, one in zip(counts(), before, strict=True)] == [5, 5])


def test_a_call_that_is_completed_from_outside_is_timed_too(
    client: Client, service: RunningService
):
    before = value(service.url, "dispatch_accept_to_finish_seconds_count")
    id = client.dispatch(new_call("http://example.com", "f"), delay=1800)
    client.complete(id, "done")
    assert value(service.url, "dispatch_accept_to_finish_seconds_count") == before + 1
    # Its start has not come yet, and no time is negative.
    assert value(service.url, "dispatch_accept_to_finish_seconds_sum") >= 0


def loaded(*, starts_at: datetime | None, **fields: int) -> Loaded:
    id = uuid4()
    running = Running(id, "http://example.com", 0, NOW, **fields)
    return Loaded(running, 1, 0, None, id, "f", b"", NOW, None, None, starts_at=starts_at)


@pytest.mark.parametrize(
    ("starts_at", "fields", "sum"),
    [
        (None, {}, 90),
        (NOW + timedelta(seconds=60), {}, 30),
        (NOW + timedelta(seconds=100), {}, 0),  # by another clock
        (None, {"runs": 1}, None),
        (None, {"pickups": 2}, None),
    ],
)
def test_a_first_attempt_is_timed_from_the_start_of_its_call(
    starts_at: datetime | None, fields: dict[str, int], sum: float | None
):
    metrics = Metrics()
    metrics.started(loaded(starts_at=starts_at, **fields), NOW + timedelta(seconds=90))
    text = metrics.render().decode()
    assert f"dispatch_accept_to_start_seconds_count {int(sum is not None)}.0\n" in text
    assert f"dispatch_accept_to_start_seconds_sum {float(sum or 0)}\n" in text


def test_attempts_and_failures_are_counted_by_function(
    client: Client, failing: Functions, service: RunningService
):
    def counts() -> list[float]:
        found = families(service.url).values()
        labels = {"function": "charge"}
        return [
            total(found, "dispatch_attempts_total", **labels),
            total(found, "dispatch_attempt_failures_total", **labels, status="PERMANENT_ERROR"),
            total(found, "dispatch_calls_finished_total", status="PERMANENT_ERROR"),
            total(found, "dispatch_calls_finished_total", status="OK"),
        ]

    before = counts()
    with pytest.raises(CallError):
        client.wait(client.dispatch(failing.call("charge", 1)), timeout=PATIENCE)
    failing.fails.clear()
    client.wait(client.dispatch(failing.call("charge", 2)), timeout=PATIENCE)
    expected = [2, 1, 1, 1]
    until(lambda: [after - one for after, one in zip(counts(), before, strict=True)] == expected)


# Labels are bounded


def test_the_functions_with_labels_of_their_own_are_bounded(
    client: Client, functions: Functions, service: RunningService
):
    url = functions.endpoint.url
    names = [f"no_function_{number}" for number in range(MAX_FUNCTIONS + 20)]
    batch = client.batch()
    batch.add(*(new_call(url, name) for name in names))
    ids = batch.dispatch()
    until(lambda: value(service.url, "dispatch_attempt_failures_total", status="NOT_FOUND") >= 120)
    for name in ("dispatch_attempts_total", "dispatch_attempt_failures_total"):
        found = {labels["function"] for labels in labels_of(service.url, name)}
        assert OTHER in found
        assert len(found) <= MAX_FUNCTIONS + 1
    for id in ids:
        client.cancel(id)


def test_the_ages_of_few_lanes_are_told(
    client: Client, functions: Functions, service: RunningService
):
    url, number = functions.endpoint.url, MAX_LANES + 5
    client.pause(everything=True)
    batch = client.batch()
    batch.add(*(new_call(url, f"lane_{number}") for number in range(number)))
    ids = batch.dispatch()

    def told() -> list[dict[str, str]] | None:  # once the lanes of tests before are gone
        found = labels_of(service.url, "dispatch_queue_age_seconds")
        mine = [labels for labels in found if labels["function"].startswith("lane_")]
        return found if len(mine) == MAX_LANES else None

    found = until(told)
    assert {"host": OTHER, "function": OTHER} in found
    assert {labels["host"] for labels in found} == {url, OTHER}
    ages = families(service.url)["dispatch_queue_age_seconds"].samples
    assert all(0 <= sample.value < 3600 for sample in ages)
    client.resume(everything=True)
    for id in ids:
        client.cancel(id)
    until(lambda: not labels_of(service.url, "dispatch_queue_age_seconds"))


def test_the_oldest_lanes_are_those_of_the_whole_queue(bench: Bench):
    """Also where it has more lanes than a scan finds: the next one goes on from there."""
    oldest = "http://h:1 f00007"
    many = """
        INSERT INTO pgqueuer (priority, status, entrypoint, payload, execute_after)
        SELECT 0, 'queued', 'http://h:1 f' || lpad(n::text, 5, '0'), '',
            now() - CASE n WHEN 7 THEN interval '5 h' ELSE interval '1 min' END
        FROM generate_series(1, $1) AS n
    """
    bench.run(lambda c: c.execute(many, SCANNED_LANES + MAX_LANES + 5))
    metrics = Metrics()
    worker = Worker(bench.database, None, Settings(), metrics)  # it calls no endpoint

    def ages() -> dict[str, float]:
        row = r'^dispatch_queue_age_seconds\{function="(.+)",host="(.+)"\} (.+)$'
        found = re.findall(row, metrics.render().decode(), re.MULTILINE)
        return {f"{host} {function}": float(age) for function, host, age in found}

    for scan in range(1, 6):
        bench.runner.run(worker._dequeue._look())
        if scan >= 2:  # the queue has been scanned to its end
            assert len(ages()) == MAX_LANES + 1
            assert ages().pop(oldest) > 4 * 3600
            assert 60 <= ages()[f"{OTHER} {OTHER}"] < 3600


def test_the_hosts_of_open_breakers_are_bounded():
    metrics, hosts = Metrics(), [f"http://{number:03}.example" for number in range(MAX_HOSTS + 7)]
    metrics.shared.resting = lambda: hosts
    found = re.findall(r'^dispatch_breaker_open\{host="(.+)"\} (.+)$', metrics.render().decode(), 8)
    assert len(found) == MAX_HOSTS + 1
    assert found[0] == ("http://000.example", "1.0")
    assert found[-1] == (OTHER, "7.0")


def test_names_are_cut_and_stay_different_samples():
    metrics = Metrics()
    metrics.shared.queued(
        {f"http://a {'f' * 500}{number}": -float(number) for number in range(3)}, is_end=True
    )
    metrics.shared.resting = lambda: ["http://" + "a" * 500 + "1", "http://" + "a" * 500 + "2"]
    text = metrics.render().decode()
    assert len(re.findall(r"^dispatch_queue_age_seconds\{.* 2.0$", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^dispatch_breaker_open\{", text, re.MULTILINE)) == 1
    assert max(map(len, text.splitlines())) < 400


# Hosts and processes


def test_an_open_breaker_is_told_until_the_host_answers(
    client: Client, service: RunningService, tmp_path: Path
):
    port = unused_port()
    id = client.dispatch(new_call(f"http://127.0.0.1:{port}", "square", 3))
    labels = {"host": f"http://127.0.0.1:{port}"}
    until(lambda: labels in labels_of(service.url, "dispatch_breaker_open"))
    with endpoint(tmp_path / "runs", port):
        assert client.wait(id, timeout=PATIENCE) == 9
        until(lambda: labels not in labels_of(service.url, "dispatch_breaker_open"))


@pytest.mark.slow
def test_takeovers_are_counted(folder: Path):
    with endpoint(folder / "runs") as hosted, service_process(folder / "data") as first:
        with Client(KEY, api_url=first.url, env={}) as client:
            client.dispatch(new_call(hosted.url, "slow", 300.0))
            until(lambda: "slow" in (folder / "runs").read_text())
        with service_process(folder / "data") as second:
            assert value(second.url, "dispatch_takeovers_total") == 0
            first.kill()
            until(lambda: value(second.url, "dispatch_takeovers_total") == 1)


def test_the_last_dequeue_is_told(service: RunningService):
    def age() -> float:
        return time.time() - value(service.url, "dispatch_last_dequeue_timestamp_seconds")

    assert age() < 60
    before = value(service.url, "dispatch_last_dequeue_timestamp_seconds")
    until(lambda: value(service.url, "dispatch_last_dequeue_timestamp_seconds") > before)


def test_the_event_loop_is_sampled(service: RunningService):
    before = value(service.url, "dispatch_event_loop_lag_seconds_count")
    until(lambda: value(service.url, "dispatch_event_loop_lag_seconds_count") > before)


def test_a_blocked_event_loop_is_late(bench: Bench):
    metrics = Metrics()

    async def main() -> None:
        sampling = asyncio.create_task(metrics.sample(bench.database))
        await asyncio.sleep(0.01)
        time.sleep(0.4)
        await sampling

    bench.runner.run(main())
    text = metrics.render().decode()
    assert 'dispatch_event_loop_lag_seconds_bucket{le="0.25"} 0.0\n' in text
    assert "dispatch_event_loop_lag_seconds_count 1.0\n" in text


def test_the_use_of_the_pools_is_told(bench: Bench):
    metrics, pool = Metrics(), bench.database.looks

    async def main() -> None:
        held = [await pool.acquire() for _ in range(pool.get_max_size())]
        await metrics.sample(bench.database)
        waiting = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0)
        await pool.release(held.pop())
        held.append(await waiting)
        for connection in held[1:]:
            await pool.release(connection)
        await metrics.sample(bench.database)
        await pool.release(held[0])

    def told(name: str, **labels: str) -> float:
        from prometheus_client.parser import text_string_to_metric_families

        return total(text_string_to_metric_families(metrics.render().decode()), name, **labels)

    def waits() -> list[float]:
        name = "dispatch_database_connection_waits_total"
        return [told(name, pool=one) for one in ("looks", "durable")]

    bench.runner.run(metrics.sample(bench.database))
    before = waits()  # of other tests
    bench.runner.run(main())
    most = pool.get_max_size()
    assert told("dispatch_database_connections", pool="looks", state="used") == 1
    assert told("dispatch_database_connections", pool="looks", state="idle") == most - 1
    assert told("dispatch_database_connections_max", pool="looks") == most
    assert waits() == [before[0] + 1, before[1]]


# Several processes


@pytest.mark.slow
def test_one_address_tells_the_metrics_of_all_processes(folder: Path, functions: Functions):
    port, url = unused_port(), functions.endpoint.url
    with serve(folder, "--processes", "2", "--api-key", KEY, keep=False) as serving:
        for number in range(20):  # each by a connection of its own
            with serving.client(KEY) as client:
                client.wait(client.dispatch(new_call(url, "charge", number)), timeout=PATIENCE)
        with serving.client(KEY) as client:
            client.pause(function="held", reason="test")
            ids = [client.dispatch(new_call(url, "held"))]
            ids.append(client.dispatch(new_call(f"http://127.0.0.1:{port}", "f")))

            def told() -> bool:
                found = families(serving.url)
                return bool(found["dispatch_breaker_open"].samples) and bool(
                    found["dispatch_queue_age_seconds"].samples
                )

            until(told)
            # The other process learns of both within seconds.
            until(lambda: all(told() for _ in range(10)))
            found = families(serving.url)
            assert found.keys() <= DOCUMENTED.keys()
            for name, family in found.items():
                names = {label for sample in family.samples for label in sample.labels} - {"le"}
                if family.samples:
                    assert names == set(filter(None, DOCUMENTED[name][1].split(", "))), name
            until(lambda: value(serving.url, "dispatch_attempts_total", function="charge") == 20)
            until(lambda: value(serving.url, "dispatch_calls_finished_total", status="OK") == 20)
            for what in ("accept_to_start_seconds", "accept_to_finish_seconds"):
                assert value(serving.url, f"dispatch_{what}_count") >= 20
            until(lambda: value(serving.url, "dispatch_database_connections_max") == 2 * 24)
            assert time.time() - 60 < value(serving.url, "dispatch_last_dequeue_timestamp_seconds")
            assert value(serving.url, "dispatch_pauses") == 1
            for id in ids:
                client.cancel(id)


@pytest.mark.parametrize("name", ["", "missing"])
def test_a_folder_for_several_processes_that_is_not_there(folder: Path, name: str):
    shared = str(folder / name) if name else ""
    done = run(
        "serve", "--port", "0", "--data-dir", str(folder / "data"), PROMETHEUS_MULTIPROC_DIR=shared
    )
    assert done.code == 2
    assert done.err == (
        f"dispatch-grpc: PROMETHEUS_MULTIPROC_DIR: a folder that this process may write to is "
        f"required; got {shared!r}. Make it, or unset the variable: 'dispatch-grpc serve "
        f"--processes' sets it by itself\n"
    )


def test_the_folder_is_checked_before_anything_is_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder / "missing"))
    with pytest.raises(ConfigurationError, match="PROMETHEUS_MULTIPROC_DIR"):
        with run_service(folder / "data"):
            pass
    assert not (folder / "data").exists()
