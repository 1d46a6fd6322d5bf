"""The embedded database, shared by processes, killed in every phase, and started again."""

import asyncio
import contextlib
import logging
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dispatch_grpc.service.embedded import Embedded
from dispatch_grpc.service.embedded.locks import Lock
from tests.service.embedded import (
    IS_ROOT,
    USERS,
    is_stopped,
    linux,
    of,
    refusal,
    server_pid,
    using,
)
from tests.service.embedded_process import Using
from tests.waiting import until

# Shared


@pytest.mark.parametrize("uid", USERS)
def test_three_processes_of_which_two_are_killed(folder: Path, uid: int | None):
    data = of(uid, folder / "data")
    with contextlib.ExitStack() as stack:
        three = [stack.enter_context(Using(data, uid=uid)) for _ in range(3)]  # at once
        assert len({process.opened().server for process in three}) == 1
        for process in three[:2]:
            process.kill()
        assert three[2].sql("SELECT 1") == "1"
        assert three[2].ends() == 0, three[2].err
    assert is_stopped(data)


@pytest.mark.parametrize("uid", USERS)
def test_a_server_whose_users_were_all_killed_is_adopted(folder: Path, uid: int | None):
    data = of(uid, folder / "data")
    with Using(data, uid=uid) as first:
        first.opened().kill()
    with Using(data, uid=uid) as second:
        assert second.opened().server == first.server
        assert second.ends() == 0
    assert is_stopped(data)


def test_who_leaves_does_not_stop_it_for_others(folder: Path):
    with Using(folder) as first, Using(folder) as second:
        assert first.opened().server == second.opened().server
        assert first.ends() == 0
        assert second.sql("SELECT 1") == "1"
        assert second.ends() == 0
    assert is_stopped(folder)


def test_a_server_that_was_killed_is_started_again_once(folder: Path):
    async def main() -> None:
        databases = [Embedded(folder) for _ in range(3)]
        arguments = [await database.open() for database in databases]
        pids = {server_pid(folder)}
        for sign in (signal.SIGKILL, signal.SIGQUIT):
            os.kill(server_pid(folder), sign)
            until(lambda: not databases[0]._server.is_running, 10)
            await asyncio.gather(*(database.revive() for database in databases))
            pids.add(server_pid(folder))
            for one in arguments:  # which go on to be good
                connection = await asyncpg.connect(**one)
                assert await connection.fetchval("SELECT 1") == 1
                await connection.close()
        assert len(pids) == 3
        for database in databases:
            await database.revive()  # it runs
            assert server_pid(folder) in pids
            await database.close()

    asyncio.run(main())
    assert is_stopped(folder)


def test_an_outage_is_two_lines(folder: Path, caplog: pytest.LogCaptureFixture):
    async def main() -> None:
        embedded = Embedded(folder)
        await embedded.open()
        os.kill(server_pid(folder), signal.SIGQUIT)
        until(lambda: not embedded._server.is_running, 10)
        configuration = folder / "postgres" / "postgresql.conf"
        good = configuration.read_text()
        configuration.write_text("nonsense")
        caplog.clear()
        for _ in range(3):
            await embedded.revive()
        configuration.write_text(good)
        for _ in range(3):
            await embedded.revive()
        await embedded.close()

    asyncio.run(main())
    died, again = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert died.startswith("the embedded database has died, and does not start: syntax error in ")
    assert again == "the embedded database had died, and was started again"


@linux
def test_nobody_elses_process_is_signalled(folder: Path):
    """The id that a crash has left in postmaster.pid is another process's by now."""
    using(Embedded(folder), "CREATE TABLE t AS SELECT 1 AS x")
    status = (folder / "postgres").stat()
    options: dict[str, Any] = {"user": status.st_uid, "group": status.st_gid} if IS_ROOT else {}
    stranger = subprocess.Popen(["/bin/sleep", "600"], cwd="/", **options)
    try:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            file = folder / "postgres" / name
            file.write_text(f"{stranger.pid}\n/proc/self/cwd\n1\n5432\n.\n\n1 1\nready\n")
            file.chmod(0o600)
            os.chown(file, status.st_uid, status.st_gid)
        configuration = folder / "postgres" / "postgresql.conf"
        good = configuration.read_text()
        configuration.write_text("nonsense")
        # The server ends before it writes a file of its own; what is left of it is then stopped.
        assert "syntax error" in refusal(folder)
        assert stranger.poll() is None
        configuration.write_text(good)
        assert using(Embedded(folder), "SELECT x FROM t") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert is_stopped(folder)


def test_a_forked_child_keeps_nobody_out(folder: Path):
    """It shares the locks of its parent, which ends its use of the database."""
    code = """
        import asyncio, os, sys
        from pathlib import Path
        from dispatch_grpc.service.embedded import Embedded
        async def main():
            embedded = Embedded(Path(sys.argv[1]))
            await embedded.open()
            begin, end = os.pipe()
            if (child := os.fork()) == 0:
                os.close(end)
                os.read(begin, 1)  # until its parent ends
                os._exit(0)
            await embedded.close()
            again = Embedded(Path(sys.argv[1]))
            await again.open()
            await again.close()
            os.close(end)
            os.waitpid(child, 0)
        asyncio.run(main())
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert is_stopped(folder)


# Killed in every phase, and started again


def goes_on(folder: Path, uid: int | None = None) -> str:
    """Open the database as the next process would; return how many rows of `t` it has."""
    with Using(folder, uid=uid) as process:
        process.opened()
        process.sql("CREATE TABLE IF NOT EXISTS t (x int)")
        rows = process.sql("SELECT count(*) FROM t")
        process.sql("INSERT INTO t VALUES (1)")
        assert process.ends() == 0, process.err
    assert is_stopped(folder)
    assert not list(folder.glob("postgres.new-*"))
    return rows


def is_initialising(folder: Path) -> bool:
    return any(folder.glob("postgres.new-*/base"))


def is_starting(folder: Path) -> bool:
    return (folder / "postgres.start.log").exists()


def has_pid_file(folder: Path) -> bool:
    return (folder / "postgres" / "postmaster.pid").exists()


@pytest.mark.parametrize(
    ("phase", "victims", "uid"),
    [
        (is_initialising, "process", None),
        (is_initialising, "process", USERS[-1]),
        (is_starting, "process", None),
        (is_starting, "both", None),
        (has_pid_file, "process", USERS[-1]),
        (has_pid_file, "both", None),
        (has_pid_file, "both", USERS[-1]),
    ],
)
def test_killed_while_it_starts(
    folder: Path, uid: int | None, phase: Callable[[Path], bool], victims: str
):
    data = of(uid, folder / "data")
    for number in range(2):  # the first time it is initialised, too
        with Using(data, uid=uid) as process:
            process.started()
            if number and phase is is_initialising:
                break
            until(lambda: phase(data))
            process.kill()
            if victims == "both":
                with contextlib.suppress(OSError, IndexError, ValueError):
                    os.kill(server_pid(data), signal.SIGKILL)
        assert goes_on(data, uid) == str(number)
        (data / "postgres.start.log").unlink()


@pytest.mark.timeout(400)  # it starts sixteen processes, which a busy machine does slowly
def test_killed_while_it_stops(folder: Path):
    assert goes_on(folder) == "0"
    for number, pause in enumerate([0, 0.005, 0.01, 0.02, 0.04], 1):
        with Using(folder) as process:
            process.opened().sql("CREATE TABLE u AS SELECT generate_series(1, 100000) AS x")
            process.sql("DROP TABLE u")
            process.process.send_signal(signal.SIGTERM)
            time.sleep(pause)
            process.kill()
        if number % 2:
            with contextlib.suppress(OSError, IndexError):
                os.kill(server_pid(folder), signal.SIGKILL)
        assert goes_on(folder) == str(number)


def crash(folder: Path, uid: int | None = None, megabytes: int = 40) -> None:
    """Leave a write-ahead log to recover."""
    with Using(folder, uid=uid) as process:
        process.opened()
        for setting in ("max_wal_size = '8GB'", "checkpoint_timeout = '1h'"):
            process.sql(f"ALTER SYSTEM SET {setting}")
        process.sql("SELECT pg_reload_conf()")
        process.sql("CREATE TABLE IF NOT EXISTS t (x int)")
        process.sql("INSERT INTO t VALUES (1)")
        process.sql("CREATE TABLE IF NOT EXISTS u (x text)")
        process.sql(
            "INSERT INTO u SELECT repeat(md5(i::text), 30) "
            f"FROM generate_series(1, {megabytes * 1000}) AS i"
        )
        os.kill(process.server, signal.SIGKILL)
        process.kill()


def freeze(folder: Path, name: bytes = b"postgres: startup") -> int:
    """Stop a process that works in a folder, such as the one that recovers; return its id."""
    found: list[int] = []

    def find() -> bool:
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                works_there = (entry / "cwd").readlink().is_relative_to(folder)
                if works_there and name in (entry / "cmdline").read_bytes().split(b"\0")[0]:
                    os.kill(int(entry.name), signal.SIGSTOP)
                    found.append(int(entry.name))
        return bool(found)

    until(find)
    return found[0]


@linux
@pytest.mark.parametrize("uid", USERS)
def test_a_long_recovery_is_waited_for_and_ends_in_order_at_a_signal(folder: Path, uid: int | None):
    data = of(uid, folder / "data")
    crash(data, uid)
    with Using(data, uid=uid, progress_seconds=0.2) as process:
        process.started()
        frozen = freeze(data)
        process.says("the embedded database is starting, for ")
        with Using(data, uid=uid, progress_seconds=0.2) as second:
            second.says("the embedded database is starting, for ")
            assert process.ends(signal.SIGTERM) == 2  # the other goes on waiting
            assert "write-ahead log" in process.err
            second.says("write-ahead log")
            os.kill(frozen, signal.SIGCONT)
            second.opened()
            assert second.sql("SELECT count(*) FROM t") == "1"
            assert second.ends() == 0
    assert is_stopped(data)


@linux
def test_a_signal_while_it_recovers_stops_the_server(folder: Path):
    crash(folder)
    with Using(folder, progress_seconds=0.2) as process:
        process.started()
        frozen = freeze(folder)
        process.says("the embedded database is starting, for ")
        process.process.send_signal(signal.SIGTERM)
        process.says("the embedded database is stopping, for ")
        with Using(folder, progress_seconds=0.2) as second:
            second.says("another process stops the embedded database, for ")
            os.kill(frozen, signal.SIGCONT)
            assert process.ends() == 2
            assert second.opened().ends() == 0
    assert is_stopped(folder)
    assert goes_on(folder) == "1"


@linux
@pytest.mark.parametrize("victims", ["process", "server", "both"])
def test_killed_while_it_recovers(folder: Path, victims: str):
    crash(folder)
    with Using(folder) as process:
        process.started()
        frozen = freeze(folder)
        server = server_pid(folder)
        if victims != "server":
            process.kill()
        if victims != "process":
            os.kill(server, signal.SIGKILL)
        os.kill(frozen, signal.SIGCONT)
        if victims == "server":
            assert process.ends() == 1
    assert goes_on(folder) == "1"


@linux
def test_recovery_tells_its_progress_and_how_long_it_took(folder: Path):
    crash(folder, megabytes=300)
    with Using(folder, progress_seconds=0.05) as process:
        process.started()
        until(lambda: "redo starts" in "".join(log_of(folder)))
        time.sleep(0.1)
        frozen = freeze(folder)
        process.says("MB of write-ahead log replayed")
        time.sleep(1)
        os.kill(frozen, signal.SIGCONT)
        process.opened()
        assert process.ends() == 0
        assert re.search(r"the embedded database recovered from a crash in [0-9.]+ s", process.err)
    assert goes_on(folder) == "1"


def log_of(folder: Path) -> list[str]:
    return [file.read_text() for file in (folder / "postgres" / "logs").glob("*")]


@linux
def test_serve_tells_how_long_the_first_start_and_a_recovery_took(folder: Path):
    command = [sys.executable, "-m", "dispatch_grpc", "serve", "--port=0", f"--data-dir={folder}"]

    def serve(frozen: bytes) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        pid = freeze(folder, frozen)
        time.sleep(1.1)
        os.kill(pid, signal.SIGCONT)
        assert process.stdout
        return process, process.stdout.readline()

    first, line = serve(b"initdb")
    assert "http://" in line
    crashed = server_pid(folder)
    first.kill()
    os.kill(crashed, signal.SIGKILL)
    err = first.communicate()[1]
    assert re.search(r"INFO .*: the embedded database was initialised in [1-9][0-9.]+ s\n", err)
    second, line = serve(b"postgres: startup")
    assert "http://" in line
    second.terminate()
    err = second.communicate(timeout=60)[1]
    assert re.search(
        r"INFO .*: the embedded database recovered from a crash in [1-9][0-9.]+ s\n", err
    )


def test_how_long_it_took_is_told_only_when_it_was_long(folder: Path, caplog: Any):
    caplog.set_level(logging.INFO)
    using(Embedded(folder))
    caplog.clear()
    using(Embedded(folder))
    assert caplog.messages == []


def test_locks(folder: Path):
    first, second, third = (Lock(folder / "lock") for _ in range(3))
    assert first.try_take(shared=True)
    assert second.try_take(shared=True)
    assert not third.try_take()
    first.release()
    assert not third.try_take()
    second.close()
    assert third.try_take()
    assert not first.try_take(shared=True)
    assert stat.S_IMODE((folder / "lock").stat().st_mode) == 0o600
    first.close()
    third.close()
