"""What must not lose a call: processes killed, a database away, endpoints that misbehave."""

import http.server
import os
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dispatch_grpc import Call, CallError, Client, RPCError, Status, new_call
from tests.service.processes import KEY, Process, endpoint, service
from tests.waiting import until


def client(process: Process) -> Client:
    return Client(KEY, api_url=process.url)


def dispatch(client: Client, calls: list[Call]) -> list[str]:
    batch = client.batch()
    batch.add(*calls)
    return batch.dispatch()


def runs(log: Path) -> Counter[str]:
    """How often each call was run."""
    return Counter(line.split()[1] for line in log.read_text().splitlines())


def results(client: Client, ids: list[str]) -> list[Any]:
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(partial(client.wait, timeout=300), ids))  # or it would hang


def test_a_service_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, hosted: Process, log: Path, record_property: Any
):
    calls = [new_call(hosted.url, "slow", 0.2) for _ in range(500)]
    with service(tmp_path / "data", concurrency=64, batch_size=16) as first, client(first) as c:
        ids = dispatch(c, calls)
        until(lambda: log.exists() and len(runs(log)) > 50)
        first.kill()
    before = len(runs(log))
    assert before < 500, "all were run before the service was killed"
    with service(tmp_path / "data") as second, client(second) as c:
        assert results(c, ids) == [0.2] * 500
    found = runs(log)
    assert set(found) == set(ids)
    twice = sum(1 for number in found.values() if number > 1)
    assert max(found.values()) <= 2
    assert twice <= 64 + 16  # no more than what was under way
    record_property("calls run twice after SIGKILL", twice)


def test_the_other_process_finishes_what_a_killed_one_began(
    tmp_path: Path, hosted: Process, log: Path
):
    calls = [new_call(hosted.url, "slow", 0.1) for _ in range(500)]
    with service(tmp_path / "data") as first, service(tmp_path / "data") as second:
        with client(first) as c:
            ids = dispatch(c, calls)
        until(lambda: log.exists() and len(runs(log)) > 50)
        first.kill()
        with client(second) as c:
            assert results(c, ids) == [0.1] * 500
            assert second.stop() == 0
    assert set(runs(log)) == set(ids)


def test_a_graceful_stop_gives_back_what_does_not_finish(
    tmp_path: Path, hosted: Process, log: Path
):
    with service(tmp_path / "data", shutdown_seconds=1) as first, client(first) as c:
        quick = dispatch(c, [new_call(hosted.url, "slow", 0.5)])
        long = dispatch(c, [new_call(hosted.url, "slow", 5)])
        until(lambda: log.exists() and len(runs(log)) == 2)
        assert first.stop() == 0
    with service(tmp_path / "data") as second, client(second) as c:
        assert results(c, quick + long) == [0.5, 5]
        assert c.get(quick[0]).runs == 1
    assert runs(log) == {quick[0]: 1, long[0]: 2}


def test_a_call_that_kills_its_service_is_parked(tmp_path: Path, hosted: Process, log: Path):
    """Each service is killed while it runs the call."""
    ids: list[str] = []
    for number in range(3):
        with service(tmp_path / "data", max_pickups=3) as process, client(process) as c:
            ids = ids or dispatch(c, [new_call(hosted.url, "slow", 3600)])
            until(lambda n=number: log.exists() and sum(runs(log).values()) == n + 1)
            process.kill()
    with service(tmp_path / "data", max_pickups=3) as process, client(process) as c:
        with pytest.raises(CallError, match="begun 3 times") as caught:
            c.wait(ids[0], timeout=None)
        assert caught.value.status is Status.PERMANENT_ERROR
    assert sum(runs(log).values()) == 3


def postgres_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def test_the_database_ends_and_comes_back_under_load(tmp_path: Path, hosted: Process, log: Path):
    logged = tmp_path / "log"
    with (
        service(tmp_path / "data", log=logged, concurrency=64, batch_size=16) as process,
        client(process) as c,
    ):
        ids = dispatch(c, [new_call(hosted.url, "slow", 0.05) for _ in range(1000)])
        until(lambda: log.exists() and len(runs(log)) > 100)
        os.kill(postgres_pid(tmp_path / "data"), signal.SIGQUIT)  # as a crash: no shutdown
        accepted = []
        refused = 0
        for _ in range(20):
            try:
                accepted.append(c.dispatch(new_call(hosted.url, "square", 3)))
            except RPCError:
                refused += 1
        assert results(c, ids) == [0.05] * 1000
        assert results(c, accepted) == [9] * len(accepted)
    assert set(ids) <= set(runs(log))
    assert "Traceback" not in logged.read_text()


def test_an_endpoint_that_is_dead_for_a_while(tmp_path: Path, log: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with service(tmp_path / "data") as process, client(process) as c:
        ids = dispatch(c, [new_call(f"http://127.0.0.1:{port}", "square", n) for n in range(50)])
        until(lambda: all(c.get(id).runs > 0 for id in ids))
        assert {Status(c.get(id).status) for id in ids} == {Status.TCP_ERROR}
        with endpoint(log, port):
            assert results(c, ids) == [n * n for n in range(50)]


def test_a_slow_endpoint_does_not_stop_the_others(tmp_path: Path, hosted: Process, log: Path):
    with endpoint(tmp_path / "other") as other:
        with (
            service(
                tmp_path / "data", concurrency=64, host_concurrency=16, batch_size=8
            ) as process,
            client(process) as c,
        ):
            slow = dispatch(c, [new_call(other.url, "slow", 3600) for _ in range(300)])
            until(lambda: (tmp_path / "other").exists())
            quick = dispatch(c, [new_call(hosted.url, "square", n) for n in range(100)])
            assert results(c, quick) == [n * n for n in range(100)]
            running = c.list(state="running", limit=400)
            assert {call.dispatch_id for call in running} <= set(slow)


def test_an_endpoint_that_dies_in_the_middle_of_its_answer(tmp_path: Path, log: Path):
    with endpoint(log) as first:
        port = int(first.url.rpartition(":")[2])
        with service(tmp_path / "data") as process, client(process) as c:
            (id,) = dispatch(c, [new_call(first.url, "dies")])
            until(lambda: first.process.poll() is not None)
            with endpoint(log, port) as second:
                until(lambda: second.process.poll() is not None)
                info = c.get(id)
                assert info.runs >= 1
                assert c.cancel(id) == 1


GARBAGE = {
    "/html": (200, "text/html", b"<html>", "text/html, not application/proto"),
    "/garbage": (200, "application/proto", b"\xff\xff", "malformed"),
    "/empty": (200, "application/proto", b"", "is empty"),
    "/moved": (302, "text/plain", b"", "HTTP status 302"),
    "/gone": (410, "text/plain", b"", "HTTP status 410"),
    "/teapot": (418, "application/json", b'{"code": "teapot"}', "HTTP status 418"),
    "/refused": (403, "application/json", b'{"code": "permission_denied", "message": "no"}', "no"),
    "/unknown": (404, "application/json", b'{"code": "not_found", "message": "no f"}', "no f"),
    "/busy": (
        429,
        "application/json",
        b'{"code": "resource_exhausted", "message": "later"}',
        "later",
    ),
    "/large": (200, "application/proto", b"." * 20_000_000, "larger than 16000000 bytes"),
    "/flood": (200, "application/proto", b"." * 20_000_000, "larger than 16000000 bytes"),
}

# A deploy or a key rotation may cause them.
WITH_GRACE = {"/refused", "/unknown"}


class Garbage(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        path = self.path.removesuffix("/dispatch.sdk.v1.FunctionService/Run")
        status, kind, body, _ = GARBAGE[path]
        self.send_response(status)
        self.send_header("content-type", kind)
        if path != "/flood":  # which ends with its connection
            self.send_header("content-length", str(len(body)))
        self.send_header("location", "http://169.254.169.254/")
        self.end_headers()
        with suppress(OSError):  # the client may have seen enough
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service for the tests that do not end it."""
    with service(tmp_path_factory.mktemp("shared")) as process:
        yield process


@pytest.mark.parametrize("path", sorted(GARBAGE))
def test_an_endpoint_that_answers_garbage(path: str, shared: Process):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Garbage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with client(shared) as c:
            id = c.dispatch(new_call(f"http://127.0.0.1:{server.server_port}{path}", "f"))
            until(lambda: c.get(id).runs > 0)
            info = c.get(id)
            error = info.error or info.last_error
            assert GARBAGE[path][3] in ((error and error.message) or "")
            if not info.error:
                assert info.status.retryable or path in WITH_GRACE
                c.cancel(id)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_requests_with_one_key_at_once(shared: Process, hosted: Process, log: Path):
    call = new_call(hosted.url, "square", 5)
    clients = [client(shared) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda c: c.dispatch(call, idempotency_key="the-same"), clients))
    assert len(set(ids)) == 1
    assert results(clients[0], ids) == [25] * 8
    with pytest.raises(RPCError, match="other calls"):
        clients[0].dispatch(new_call(hosted.url, "square", 6), idempotency_key="the-same")
    for one in clients:
        one.close()
    assert runs(log) == {ids[0]: 1}


def test_a_poll_with_500_children(shared: Process, hosted: Process):
    with client(shared) as c:
        id = c.dispatch(new_call(hosted.url, "total", 500))
        assert c.wait(id, timeout=None) == sum(n * n for n in range(500))


def test_polls_that_are_nested_need_no_slots(tmp_path: Path, hosted: Process):
    with service(tmp_path / "data", concurrency=2, host_concurrency=2, batch_size=1) as process:
        with client(process) as c:
            assert c.wait(c.dispatch(new_call(hosted.url, "nested", 5)), timeout=None) == 32


def test_a_chain_of_100_tail_calls(shared: Process, hosted: Process, log: Path):
    with client(shared) as c:
        id = c.dispatch(new_call(hosted.url, "chain", 100))
        assert c.wait(id, timeout=None) == "end"
        assert c.get(id).runs == 101
    assert runs(log) == {id: 101}


def test_a_call_is_tried_until_it_works(shared: Process, hosted: Process, log: Path):
    with client(shared) as c:
        id = c.dispatch(new_call(hosted.url, "flaky", 5))
        assert c.wait(id, timeout=None) == 6
        assert c.get(id).runs == 6


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can mount a file system"
)
def test_a_disk_that_is_full_loses_nothing(tmp_path: Path, hosted: Process):
    """The data directory is a file system of 160 MB. The outage takes two lines of the log."""
    log = tmp_path / "service.log"
    data = tmp_path / "small"
    data.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", data], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        with service(data, log=log) as process, client(process) as c:
            ballast = data / "ballast"
            accepted: list[str] = []
            refused = ""
            with ballast.open("wb") as file:
                free = os.statvfs(data).f_bavail * os.statvfs(data).f_frsize
                file.write(b"." * max(free - 2_000_000, 0))
            for number in range(400):
                what = os.urandom(25_000).hex()  # it cannot be compressed
                call = new_call("http://127.0.0.1:9", "f", what, version=str(number))
                try:
                    accepted.append(c.dispatch(call))
                except RPCError as error:
                    refused = str(error)
                    break
            assert refused, "the disk was never full"
            ballast.unlink()
            until(lambda: c.dispatch(new_call(hosted.url, "square", 2)))
            for id in accepted:
                assert c.get(id).dispatch_id == id
            until(lambda: "works again" in log.read_text())
            process.stop()
        told = [line for line in log.read_text().splitlines() if not line.startswith("INFO:")]
        assert len(told) == 2, told
        assert "the database does not work" in told[0]
        assert "the database works again" in told[1]
    finally:
        subprocess.run(["umount", "--lazy", data], check=True)
