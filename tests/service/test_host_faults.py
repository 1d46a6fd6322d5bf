"""What hosts do to each other: nothing. They hang, are dead, refuse; the others go on."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from dispatch_grpc import CallError, Status, new_call
from tests.service.processes import Process, endpoint, service
from tests.service.test_database_faults import is_running, sql
from tests.service.test_faults import client, dispatch, results, runs
from tests.service.test_worker import full
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("hosted")


@contextmanager
def hung() -> Iterator[str]:
    """An endpoint that takes connections and never answers."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    taken.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in taken:
                one.close()


def noted(log: Path, name: str, id: str) -> bool:
    return log.exists() and f"{name} {id}" in log.read_text().splitlines()


def test_hosts_that_hang_leave_slots_for_others(tmp_path: Path, hosted: Process):
    with hung() as first, hung() as second, hung() as third:
        with service(tmp_path / "data", shutdown_seconds=0) as process, client(process) as c:
            for url in (first, second, third):
                ids = dispatch(c, [new_call(url, "f", n) for n in range(400)])
                until(lambda some=ids: any(is_running(c, id) for id in some))
            quick = [c.dispatch(new_call(hosted.url, "square", n)) for n in range(20)]
            assert results(c, quick) == [n * n for n in range(20)]


def test_a_function_that_is_slow_leaves_slots_for_the_others_of_its_host(
    tmp_path: Path, hosted: Process, log: Path
):
    with service(tmp_path / "data", shutdown_seconds=0) as process, client(process) as c:
        slow = dispatch(c, [new_call(hosted.url, "slow", 3600) for _ in range(300)])
        until(lambda: log.exists() and len(runs(log)) >= 64)
        quick = [c.dispatch(new_call(hosted.url, "square", n)) for n in range(20)]
        assert results(c, quick) == [n * n for n in range(20)]
        assert all(is_running(c, id) for id in list(runs(log))[:10] if id in slow)


def test_the_calls_of_a_dead_host_wait_without_an_attempt_each(
    tmp_path: Path, hosted: Process, log: Path
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    data = tmp_path / "data"
    with service(data) as process, client(process) as c:
        dead = dispatch(c, [new_call(f"http://127.0.0.1:{port}", "square", 2)] * 2000)
        resting = "SELECT failures FROM dispatch_grpc.resting_hosts"
        until(lambda: sql(data, resting) is not None)
        until(lambda: sql(data, resting) > 4)  # it was probed by now
        tried = "SELECT count(*) FROM dispatch_grpc.every_call WHERE runs > 0"
        assert sql(data, tried) <= 300
        assert results(c, [c.dispatch(new_call(hosted.url, "square", 3))]) == [9]
        with service(data) as other, client(other) as o:
            o.wait(o.dispatch(new_call(hosted.url, "square", 3)), timeout=None)
            with endpoint(tmp_path / "back", port):
                assert results(o, dead[:100] + dead[-100:]) == [4] * 200
                until(lambda: sql(data, "SELECT count(*) FROM dispatch_grpc.pgqueuer") == 0)
        assert sql(data, resting) is None


def test_a_call_that_is_cancelled_gives_back_its_slot(tmp_path: Path, hosted: Process, log: Path):
    """And its function is cancelled, for its connection is closed."""
    with service(tmp_path / "data", concurrency=1) as process, client(process) as c:
        id = c.dispatch(new_call(hosted.url, "stubborn"))
        until(lambda: noted(log, "stubborn", id))
        queued = c.dispatch(new_call(hosted.url, "square", 3))
        assert c.cancel(id) == 1
        assert results(c, [queued]) == [9]
        until(lambda: noted(log, "cancelled", id))


def test_a_call_that_is_cancelled_elsewhere_gives_back_its_slot(
    tmp_path: Path, hosted: Process, log: Path
):
    data = tmp_path / "data"
    with service(data, concurrency=1) as process, client(process) as c:
        id = c.dispatch(new_call(hosted.url, "stubborn"))
        until(lambda: noted(log, "stubborn", id))
        with service(data, concurrency=1) as other, client(other) as o:
            assert o.cancel(id) == 1
            until(lambda: noted(log, "cancelled", id))


def test_an_attempt_has_a_time_limit(tmp_path: Path, hosted: Process, log: Path):
    with service(tmp_path / "data", concurrency=1, run_seconds=1) as process, client(process) as c:
        id = c.dispatch(new_call(hosted.url, "stubborn"))
        until(lambda: noted(log, "cancelled", id) and c.get(id).runs >= 1)
        info = c.get(id)
        assert info.status is Status.TIMEOUT
        assert info.last_error is not None
        assert "the time limit of an attempt, 1 s, was over" in info.last_error.message
        c.cancel(id)


def test_a_call_expires_in_the_queue(tmp_path: Path, hosted: Process, log: Path):
    """On time, while its lane is full."""
    data = tmp_path / "data"
    with service(data, concurrency=1) as process, client(process) as c:
        id = c.dispatch(new_call(hosted.url, "stubborn"))
        until(lambda: noted(log, "stubborn", id))
        queued = c.dispatch(new_call(hosted.url, "square", 3, expiration=timedelta(seconds=1)))
        with pytest.raises(CallError, match="the call expired") as caught:
            c.wait(queued, timeout=None)
        assert caught.value.status is Status.TIMEOUT
        assert c.get(queued).runs <= 1
        assert is_running(c, id)
        jobs = "SELECT count(*) FROM dispatch_grpc.pgqueuer WHERE status = 'queued'"
        assert sql(data, jobs) == 0
        c.cancel(id)


def test_an_endpoint_that_limits_its_rate_is_called_at_that_rate(
    tmp_path: Path, hosted: Process, log: Path, record_property: Callable[[str, object], None]
):
    """It takes 50 a second; of them 90 % are used, and few refused, once its limit is found.

    For that, it has a third of the calls, 8 s.
    """
    with service(tmp_path / "data") as process, client(process) as c:
        ids = dispatch(c, [new_call(hosted.url, "limited") for _ in range(1200)])
        assert results(c, ids) == [1] * 1200
        infos = [c.get(id) for id in ids]
    taken = [line.startswith("limited") for line in log.read_text().splitlines()]
    begun = [at for at, is_taken in enumerate(taken) if is_taken][400]
    refused = taken[begun:].count(False) / len(taken[begun:])
    finished = sorted(info.finish_time for info in infos if info.finish_time is not None)
    used = 800 / 50 / (finished[-1] - finished[400]).total_seconds()
    record_property("part of the limit that was used", round(used, 3))
    record_property("part of the attempts that was refused", round(refused, 3))
    assert refused < 0.05
    assert used >= 0.9


def test_calls_that_were_loaded_and_never_sent_outlive_crashes(tmp_path: Path, log: Path):
    """An attempt counts when its request is about to be sent."""
    data = tmp_path / "data"
    ids: list[str] = []
    table = "dispatch_grpc.pgqueuer"
    mine = "status = 'picked' AND queue_manager_id NOT IN (SELECT id FROM crashed)"
    jobs = f"SELECT count(*) FROM {table} WHERE {mine}"
    with full() as port:
        for _ in range(3):
            with service(data, max_pickups=2) as process, client(process) as c:
                if not ids:
                    sql(data, "CREATE TABLE crashed (id uuid)")
                    calls = [new_call(f"http://127.0.0.1:{port}", "square", 2)] * 100
                    ids = dispatch(c, calls)
                until(lambda: sql(data, jobs) == 100)
                time.sleep(0.5)  # for the loads, which follow at once
                assert c.list(state="running", limit=1) == []  # as none runs
                sql(data, f"INSERT INTO crashed SELECT queue_manager_id FROM {table}")
                process.kill()
    with endpoint(log, port), service(data, max_pickups=2) as process, client(process) as c:
        assert results(c, ids) == [4] * 100
