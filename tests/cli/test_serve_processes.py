"""`dispatch-grpc serve --processes N`: several processes on one port."""

import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dispatch_grpc import Client, Endpoint, RPCError, new_call
from dispatch_grpc.cli.commands import main
from dispatch_grpc.testing import serve_app
from tests.cli.test_cli_service import COMMAND, KEY, SECONDS, Serving, folder, run, serve
from tests.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the port is shared by Linux")
__all__ = ["folder"]  # the fixture
PROCESSES = ("--processes", "2", "--api-key", KEY)


def processes(serving: Serving) -> set[int]:
    """The processes of a service, without the supervisor."""
    pid = serving.process.pid
    found = set()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(int(child))
    return found


def runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def metric(serving: Serving, name: str) -> float:
    with urllib.request.urlopen(f"{serving.url}/metrics", timeout=10) as response:
        text = response.read().decode()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found, text
    return float(found[1])


ESTABLISHED, LISTENS = "01", "0A"


def port_of(serving: Serving) -> int:
    return int(serving.url.rsplit(":", 1)[1])


def listening(serving: Serving) -> int:
    """How many processes listen."""
    return sum(sockets(pid, port_of(serving), LISTENS) for pid in processes(serving))


def sockets(pid: int, port: int, state: str) -> int:
    """How many sockets of a port in a state a process has."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].split(":")[1], 16) == port and fields[3] == state:
            inodes.add(f"socket:[{fields[9]}]")
    found = 0
    with suppress(OSError):  # it has ended
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found += os.readlink(descriptor) in inodes
    return found


class Hosted:
    """An endpoint that counts how often each call ran."""

    def __init__(self) -> None:
        self.ran: Counter[int] = Counter()
        self.hold = threading.Event()
        self.hold.set()
        endpoint = Endpoint("http://127.0.0.1:1", env={})

        @endpoint.function
        def count(number: int) -> int:
            self.hold.wait(SECONDS)
            self.ran[number] += 1
            return number

        self.endpoint = endpoint
        self.url = ""


@pytest.fixture
def hosted() -> Iterator[Hosted]:
    hosted = Hosted()
    with serve_app(hosted.endpoint.app) as server:
        hosted.url = server.url
        yield hosted


def test_every_line_of_all_processes_is_json(folder: Path):
    with serve(folder, *PROCESSES, "--log-format", "json", keep=False) as serving:
        banner = [json.loads(line)["message"] for line in serving.lines]
        assert [line.partition(": ")[0] for line in banner[:2]] == ["URL", "API key"]
        until(lambda: len(processes(serving)) == 2)
        os.kill(min(processes(serving)), signal.SIGKILL)
        serving.until(lambda: "another one starts" in serving.err)
    messages = [json.loads(line)["message"] for line in serving.err.splitlines()]
    assert any("ended unexpectedly" in message for message in messages)
    assert messages[-1] == "stopped"


def test_two_processes_serve_one_port(folder: Path, hosted: Hosted):
    with serve(folder, *PROCESSES, keep=False) as serving:
        assert len(processes(serving)) == 2
        ids = []
        for number in range(40):  # each by a connection of its own
            with serving.client(KEY) as client:
                ids.append(client.dispatch(new_call(hosted.url, "count", number)))
        with serving.client(KEY) as client:
            assert client.wait_all(ids, int) == list(range(40))
        assert metric(serving, "dispatch_calls_accepted_total") == 40
        until(lambda: metric(serving, 'dispatch_calls_finished_total{status="OK"}') == 40)
        assert serving.stop() == 0
        assert not serving.database_runs
    assert not re.search("Traceback|Error|WARNING", serving.err), serving.err


def test_each_process_gets_connections(folder: Path):
    with serve(folder, *PROCESSES, keep=False) as serving:
        port = port_of(serving)
        opened = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(40)]

        def shares() -> list[int]:
            return [sockets(pid, port, ESTABLISHED) for pid in processes(serving)]

        until(lambda: sum(shares()) == 40)
        assert min(shares()) > 0  # spread at random: all 40 to one once in 2**39 runs
        for one in opened:
            one.close()


def test_a_process_that_is_killed_is_replaced(folder: Path, hosted: Hosted):
    with serve(folder, *PROCESSES, keep=False) as serving:
        before = processes(serving)
        victim = min(before)
        with serving.client(KEY) as client:
            first = client.dispatch(new_call(hosted.url, "count", 1))
            os.kill(victim, signal.SIGKILL)
            second = client.dispatch(new_call(hosted.url, "count", 2))
            assert client.wait_all([first, second], int) == [1, 2]
        serving.until(lambda: f"process {victim} ended unexpectedly (by SIGKILL)" in serving.err)
        until(lambda: len(processes(serving)) == 2)
        assert victim not in processes(serving)
        until(lambda: metric(serving, "dispatch_calls_running") == 0)  # without the dead one's
        until(lambda: metric(serving, "dispatch_calls_accepted_total") == 2)  # the dead one's is
        assert serving.stop() == 0


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_stops_them_gracefully(
    folder: Path, hosted: Hosted, sign: signal.Signals
):
    """As systemd and a terminal send it: the processes get it, and hear of it a second time."""
    with serve(folder, *PROCESSES, keep=False) as serving:
        hosted.hold.clear()
        with serving.client(KEY) as client:
            id = client.dispatch(new_call(hosted.url, "count", 1))
        until(lambda: metric(serving, "dispatch_calls_running") == 1)
        for pid in processes(serving):
            os.kill(pid, sign)
        serving.process.send_signal(sign)
        serving.until(lambda: "stopping" in serving.err)
        time.sleep(0.5)
        hosted.hold.set()
        assert serving.process.wait(SECONDS) == 0
        assert serving.err.count(": stopped") == 2, serving.err
        assert not serving.database_runs
    with serve(folder, "--api-key", KEY, keep=False) as again:
        with again.client(KEY) as client:
            assert client.get(id).runs == 1
        assert again.stop() == 0


def test_a_second_signal_stops_immediately(folder: Path, hosted: Hosted):
    with serve(folder, *PROCESSES, keep=False) as serving:
        hosted.hold.clear()
        with serving.client(KEY) as client:
            client.dispatch(new_call(hosted.url, "count", 1))
        until(lambda: metric(serving, "dispatch_calls_running") == 1)
        serving.process.send_signal(signal.SIGTERM)
        serving.until(lambda: "stopping" in serving.err)
        assert serving.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        assert not serving.database_runs
        hosted.hold.set()


def test_processes_stop_when_the_supervisor_is_killed(folder: Path, hosted: Hosted):
    with serve(folder, *PROCESSES, keep=False) as serving:
        pids = processes(serving)
        hosted.hold.clear()
        with serving.client(KEY) as client:
            client.dispatch(new_call(hosted.url, "count", 1))
        until(lambda: metric(serving, "dispatch_calls_running") == 1)
        serving.process.kill()
        serving.process.wait()
        until(lambda: serving.err.count("the supervisor has ended") == 2)
        assert any(runs(pid) for pid in pids)  # gracefully: a call still runs
        hosted.hold.set()
        until(lambda: not any(runs(pid) for pid in pids))
        assert not serving.database_runs
    assert hosted.ran == {1: 1}


@pytest.mark.timeout(300)
def test_nothing_is_lost_when_processes_and_the_supervisor_are_killed(folder: Path, hosted: Hosted):
    chance = random.Random(18)
    ids: dict[str, int] = {}
    for round_ in range(3):
        with serve(folder, *PROCESSES, keep=False) as serving:
            for number in range(30 * round_, 30 * round_ + 30):
                with suppress(RPCError):  # not acknowledged
                    with Client(KEY, api_url=serving.url, env={}) as client:
                        ids[client.dispatch(new_call(hosted.url, "count", number))] = number
                if number % 15 == 0:
                    os.kill(chance.choice(sorted(processes(serving))), signal.SIGKILL)
                    until(lambda: listening(serving) == 2)
            pids = processes(serving)
            serving.process.kill()
            if round_ == 1:  # all of them: the database stays behind alone
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
            until(lambda: not any(map(runs, pids)))  # noqa: B023 (which calls it right here)
    assert len(ids) > 60
    with serve(folder, *PROCESSES, keep=False) as serving:
        with serving.client(KEY) as client:
            assert client.wait_all(list(ids), int, timeout=SECONDS) == list(ids.values())
        assert serving.stop() == 0
    assert set(hosted.ran) >= set(ids.values())


def test_a_start_that_fails_says_why_and_ends(folder: Path):
    done = run(
        "serve", "--port", "0", "--database", "postgresql://127.0.0.1:1/x", *PROCESSES,
        "--data-dir", str(folder),
    )  # fmt: skip
    assert done.code == 1
    assert "127.0.0.1:1" in done.err
    assert "Traceback" not in done.err
    assert not done.out


@contextmanager
def starting(folder: Path, *options: str, command: Sequence[str] = COMMAND) -> Iterator[Serving]:
    """A service that begins to start."""
    serving = Serving(folder, "--api-key", KEY, *options, command=command)
    with serving.process:
        try:
            yield serving
        finally:
            serving.process.kill()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_processes_while_they_start(folder: Path, sign: signal.Signals):
    """As Ctrl-C in a terminal sends it: no process has handlers of signals yet."""
    with starting(folder, "--processes", "2") as serving:
        serving.until(lambda: processes(serving))
        for pid in processes(serving):
            os.kill(pid, sign)
        assert serving.stop(sign) == 0
    assert not re.search("Traceback|Error|ended", serving.err), serving.err


def test_a_process_that_is_killed_while_it_starts_ends_the_start(folder: Path):
    with starting(folder, "--processes", "2") as serving:
        serving.until(lambda: processes(serving))
        victim = min(processes(serving))
        os.kill(victim, signal.SIGKILL)
        assert serving.process.wait(SECONDS) == 1
    assert f"the process {victim} ended before it had started (by SIGKILL)" in serving.err
    assert "Traceback" not in serving.err


def test_a_start_with_too_few_files_ends(folder: Path):
    limited = ["sh", "-c", 'ulimit -n 24; exec "$@"', "sh", *COMMAND]
    with starting(folder, "--processes", "16", command=limited) as serving:
        assert serving.process.wait(SECONDS) == 1
    assert "a process cannot start: [Errno 24] Too many open files" in serving.err


def test_a_port_that_others_use_is_refused(folder: Path):
    with serve(folder, *PROCESSES, keep=False) as serving:
        port = port_of(serving)
        done = run("serve", "--port", str(port), "--data-dir", str(folder / "other"), *PROCESSES)
        assert done.code == 2
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.err
        assert serving.stop() == 0


def test_several_processes_need_linux(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main(["serve", *PROCESSES]) == 2
    assert "--processes: several processes on one port need Linux" in capsys.readouterr().err
