"""What the database does to the service: errors, locks, silence. No call is lost, none waits."""

import asyncio
import gc
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dispatch_grpc import Call, Client, DeadlineExceededError, UnavailableError, new_call
from dispatch_grpc.service import _connection_pool, database
from dispatch_grpc.service.faults import Fault, classify
from tests.service.conftest import Bench
from tests.service.faulty_proxy import FaultyProxy
from tests.service.processes import KEY, MINE, Process, service
from tests.service.test_faults import client, dispatch, results, runs
from tests.waiting import until


def sql(data: Path, *statements: str) -> Any:
    """Execute statements; returns what the last one returns first."""

    async def main() -> Any:
        connection = await asyncpg.connect(
            user="postgres", database="postgres", host=f"{data}/postgres"
        )
        try:
            for statement in statements:
                found = await connection.fetchval(statement)
            return found
        finally:
            await connection.close()

    return asyncio.run(main())


@contextmanager
def locked(data: Path, table: str) -> Iterator[None]:
    """Have nobody else use a table."""
    with asyncio.Runner() as runner:
        connection = runner.run(
            asyncpg.connect(user="postgres", database="postgres", host=f"{data}/postgres")
        )
        try:
            lock = f"BEGIN; LOCK TABLE dispatch_grpc.{table} IN ACCESS EXCLUSIVE MODE"
            runner.run(connection.execute(lock))
            yield
        finally:
            runner.run(connection.close())


def status(process: Process, path: str) -> int:
    try:
        with urllib.request.urlopen(process.url + path, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with closing(error):
            return error.code


def is_running(c: Client, id: str) -> bool:
    return c.get(id).state == "running"


def persistently(c: Client, call: Call) -> str:
    """Dispatch a call, again and again while the database does not work."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return c.dispatch(call)
        except (UnavailableError, DeadlineExceededError):
            assert time.monotonic() < deadline, "it takes too long"


def test_connections_that_end_do_not_stop_the_queue(tmp_path: Path, hosted: Process, log: Path):
    """A long call runs meanwhile: those after it need not wait for its end.

    The connections end while the queue is looked at. An idle one that ends is replaced before it is
    used, and nobody would notice.
    """
    data = tmp_path / "data"
    looks = f"{MINE} AND query LIKE '%RECURSIVE step%' AND wait_event_type = 'Lock'"
    with service(data) as process, client(process) as c:
        (long,) = dispatch(c, [new_call(hosted.url, "slow", 60)])
        until(lambda: log.exists() and long in runs(log))
        with locked(data, "pgqueuer"):
            until(lambda: sql(data, f"SELECT count(*) FROM pg_stat_activity WHERE {looks}"))
            ended = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {looks}"
            assert sql(data, ended) > 0
        ids = [persistently(c, new_call(hosted.url, "square", number)) for number in range(5)]
        assert results(c, ids) == [0, 1, 4, 9, 16]
        assert is_running(c, long)
        c.cancel(long)


def test_a_statement_that_times_out_does_not_stop_the_queue(
    tmp_path: Path, hosted: Process, log: Path
):
    data = tmp_path / "data"
    with service(data) as process, client(process) as c:
        (long,) = dispatch(c, [new_call(hosted.url, "slow", 60)])
        until(lambda: log.exists() and long in runs(log))
        reload = "SELECT pg_reload_conf()"
        sql(data, "ALTER SYSTEM SET statement_timeout = '300ms'", reload)
        sql(
            data,
            "SET statement_timeout = 0",
            "BEGIN",
            "LOCK TABLE dispatch_grpc.pgqueuer IN ACCESS EXCLUSIVE MODE",
            "SELECT pg_sleep(2)",
            "COMMIT",
        )
        sql(data, "ALTER SYSTEM RESET statement_timeout", reload)
        assert results(c, [c.dispatch(new_call(hosted.url, "square", 3))]) == [9]
        assert is_running(c, long)
        c.cancel(long)


def test_a_listener_that_is_lost_is_renewed(tmp_path: Path, hosted: Process):
    data = tmp_path / "data"
    listens = f"query LIKE 'LISTEN%' AND {MINE}"
    with service(data, look_seconds=3600) as process, client(process) as c:
        find = f"SELECT max(pid) FROM pg_stat_activity WHERE {listens}"
        until(lambda: sql(data, find))
        before = sql(data, find)
        sql(data, f"SELECT pg_terminate_backend({before})")
        until(lambda: sql(data, find) not in {before, None})
        assert results(c, [c.dispatch(new_call(hosted.url, "square", 3))]) == [9]


def test_a_retry_is_run_when_it_is_due(tmp_path: Path, hosted: Process):
    """Also when nobody looks at the queue: it is known when the next job is due."""
    with service(tmp_path / "data", look_seconds=3600) as process, client(process) as c:
        ids = dispatch(c, [new_call(hosted.url, "flaky", times) for times in (1, 2, 3)])
        assert results(c, ids) == [2, 3, 4]


def test_a_read_only_database_loses_no_result(tmp_path: Path, hosted: Process, log: Path):
    """As a failover to a standby has it. The results that are there are written later."""
    data, logged = tmp_path / "data", tmp_path / "log"
    with service(data, log=logged, ready_seconds=4) as process, client(process) as c:
        ids = dispatch(c, [new_call(hosted.url, "slow", 2) for _ in range(5)])
        until(lambda: log.exists() and set(runs(log)) == set(ids))
        until(lambda: status(process, "/readyz") == 200)
        read_only = "default_transaction_read_only"
        sql(data, f"ALTER SYSTEM SET {read_only} = on", "SELECT pg_reload_conf()")
        until(lambda: status(process, "/readyz") == 503)
        assert status(process, "/healthz") == 200
        with Client(KEY, api_url=process.url, timeout=timedelta(seconds=2)) as hasty:
            with pytest.raises(UnavailableError, match="nothing was recorded; try again in 1 s"):
                hasty.dispatch(new_call(hosted.url, "square", 3))
        sql(data, f"ALTER SYSTEM RESET {read_only}", "SELECT pg_reload_conf()")
        assert results(c, ids) == [2] * 5
        assert [c.get(id).runs for id in ids] == [1] * 5
        assert set(runs(log).values()) == {1}
        until(lambda: status(process, "/readyz") == 200)
        until(lambda: "the database works again" in logged.read_text())
    lines = [line for line in logged.read_text().splitlines() if "dispatch_grpc" in line]
    problems = [line for line in lines if line.startswith(("WARNING", "ERROR"))]
    assert ["does not work" in line for line in problems] == [True, False], problems
    assert len(lines) < 20, lines


def test_a_lock_that_times_out_ends_no_call(tmp_path: Path, hosted: Process, log: Path):
    data = tmp_path / "data"
    with service(data) as process, client(process) as c:
        ids = dispatch(c, [new_call(hosted.url, "slow", 1) for _ in range(5)])
        until(lambda: log.exists() and set(runs(log)) == set(ids))
        sql(data, "ALTER SYSTEM SET lock_timeout = '200ms'", "SELECT pg_reload_conf()")
        sql(
            data,
            "SET lock_timeout = 0",
            "BEGIN",
            "LOCK TABLE dispatch_grpc.calls IN EXCLUSIVE MODE",
            "SELECT pg_sleep(3)",
            "COMMIT",
        )
        assert results(c, ids) == [1] * 5


def test_connections_that_fall_silent_are_given_up(tmp_path: Path, hosted: Process):
    """Nobody says that they are lost. The service finds out, goes on, and can be stopped."""
    data, log = tmp_path / "data", tmp_path / "log"
    socket = f"{data}/postgres/.s.PGSQL.5432"
    with service(data):  # it keeps the database up
        proxy = Process(sys.executable, "-m", "tests.service.silent", socket)
        url = f"postgresql://postgres@127.0.0.1:{proxy.url}/postgres"
        try:
            settings = {"database": url, "command_seconds": 2, "shutdown_seconds": 1}
            other = service(tmp_path / "other", log=log, **settings)
            with other as process, client(process) as c:
                assert results(c, [c.dispatch(new_call(hosted.url, "square", 3))]) == [9]
                proxy.process.send_signal(signal.SIGUSR1)
                id = persistently(c, new_call(hosted.url, "square", 4))
                assert results(c, [id]) == [16]
                until(lambda: status(process, "/readyz") == 200)
                proxy.process.send_signal(signal.SIGUSR1)
                assert process.stop(60) == 0
        finally:
            proxy.close()
    assert "Traceback" not in log.read_text()


@asynccontextmanager
async def behind_a_proxy(
    bench: Bench, problems: list[Any]
) -> AsyncIterator[tuple[FaultyProxy, database.Database]]:
    """A database that is reached through a proxy; what the event loop reports is collected."""
    proxy = FaultyProxy(
        partial(asyncio.open_unix_connection, f"{bench.folder}/postgres/.s.PGSQL.5432")
    )
    await proxy.start()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, found: problems.append(found))
    silent = database.Database(
        f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres", bench.folder
    )
    await silent.open()
    yield proxy, silent
    gc.collect()
    silent.terminate()
    await silent.close()
    await proxy.close()
    loop.set_exception_handler(None)


def test_connections_that_are_given_up_log_no_error(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """The pool closes those that were idle in the background, which fails: they are silent."""
    monkeypatch.setattr(database, "COMMAND_SECONDS", 3.0)
    problems: list[Any] = []

    async def main() -> None:
        async with behind_a_proxy(bench, problems) as (proxy, silent):
            async with silent.relaxed.acquire() as connection:
                await connection.fetchval("SELECT 1")
            proxy.fall_silent()
            await silent.renew()
            before = asyncio.all_tasks()
            async with silent.relaxed.acquire() as connection:
                await connection.fetchval("SELECT 1")
            begun = asyncio.all_tasks() - before
            closing = {task for task in begun if "Connection.close" in repr(task.get_coro())}
            begun.clear()
            assert closing
            await asyncio.wait(closing, timeout=30)
            closing.clear()

    bench.runner.run(main())
    assert problems == []


def test_a_stop_while_a_connection_is_silent_logs_no_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """What waits for it is cancelled, and again while the connection is given back."""
    monkeypatch.setattr(_connection_pool, "CLOSE_SECONDS", 1.0)
    problems: list[Any] = []

    async def main() -> None:
        async with behind_a_proxy(bench, problems) as (proxy, silent):
            asked = asyncio.Event()

            async def ask() -> None:
                async with silent.relaxed.acquire() as connection:
                    await connection.fetchval("SELECT 1")
                    proxy.fall_silent()
                    asked.set()
                    await connection.fetchval("SELECT 1")

            asking = asyncio.create_task(ask())
            await asked.wait()
            for _ in range(2):
                await asyncio.sleep(0.1)
                asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await asyncio.sleep(2)

    bench.runner.run(main())
    assert problems == []


def test_a_process_that_is_frozen_in_a_transaction_keeps_no_locks(bench: Bench):
    """Nor does one whose connection has fallen silent: others need the rows."""
    lock = "LOCK TABLE requests IN ACCESS EXCLUSIVE MODE"

    async def main() -> None:
        frozen = database.Database(bench.url(), bench.folder)
        await frozen.open()
        held = await frozen.durable.acquire()
        await held.execute("BEGIN")
        await held.execute(lock)
        await bench.database.persist(bench.database.relaxed, lambda c: c.execute(lock))
        several = asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError
        with pytest.raises(several) as caught:
            await held.fetchval("SELECT 1")
        assert classify(caught.value) is Fault.AWAY
        await frozen.durable.release(held)
        await frozen.close()

    bench.runner.run(asyncio.wait_for(main(), 60))


def test_clocks_that_differ_change_nothing(tmp_path: Path, hosted: Process):
    """The time of the database counts, for each process."""
    data, limit = tmp_path / "data", timedelta(seconds=60)
    with service(data, ahead_seconds=120) as ahead, client(ahead) as a:
        with service(data, ahead_seconds=-120) as behind, client(behind) as b:
            for c in (a, b):
                calls = [new_call(hosted.url, "flaky", 1, expiration=limit) for _ in range(20)]
                ids = dispatch(c, calls)
                assert results(b, ids) == [2] * 20
                for info in [c.get(id) for id in ids]:
                    assert info.creation_time is not None
                    assert info.finish_time is not None
                    assert timedelta(0) < info.finish_time - info.creation_time < limit


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (asyncpg.DataError("x"), Fault.ITEM),
        (asyncpg.UniqueViolationError("x"), Fault.ITEM),
        (asyncpg.StatementTooComplexError("x"), Fault.ITEM),
        (asyncpg.exceptions._base.DataError("x"), Fault.ITEM),
        (asyncpg.DeadlockDetectedError("x"), Fault.CONFLICT),
        (asyncpg.SerializationError("x"), Fault.CONFLICT),
        (asyncpg.LockNotAvailableError("x"), Fault.AWAY),
        (asyncpg.QueryCanceledError("x"), Fault.AWAY),
        (asyncpg.ReadOnlySQLTransactionError("x"), Fault.AWAY),
        (asyncpg.DiskFullError("x"), Fault.AWAY),
        (asyncpg.UndefinedTableError("x"), Fault.AWAY),
        (asyncpg.ConnectionDoesNotExistError("x"), Fault.AWAY),
        (asyncpg.InterfaceError("x"), Fault.AWAY),
        (TimeoutError(), Fault.AWAY),
        (ConnectionResetError(), Fault.AWAY),
        (ValueError(), None),
    ],
)
def test_only_the_values_of_a_statement_are_to_blame_for_what_they_cause(
    error: Exception, fault: Fault | None
):
    assert classify(error) is fault
