"""The outbox: rows of an application's transactions, and the relay that sends them."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, use_span

from dispatch_grpc import (
    AsyncClient,
    Call,
    Code,
    ConfigurationError,
    InvalidCallError,
    new_call,
)
from dispatch_grpc.cli.commands import main
from dispatch_grpc.outbox import Outbox, Relay
from dispatch_grpc.testing import CallRecorder, RecordedRequest, Server
from tests.conftest import KEY, RunningService
from tests.producers.conftest import execute, fetch
from tests.producers.drivers import DRIVERS, FailedError, django_connection, transact
from tests.waiting import async_until

CALL = new_call("http://here", "f", 23)
FAR = timedelta(hours=1)
PRODUCING = (Path(__file__).parents[2] / "docs/producing.md").read_text(encoding="utf-8")


@pytest.fixture
def table(application: str, capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """The database with an empty table, made by the command's migration."""
    assert main(["outbox", "sql"]) == 0
    asyncio.run(execute(application, capsys.readouterr().out))
    yield application
    asyncio.run(execute(application, "DROP TABLE dispatch_outbox"))


def rows(url: str, columns: str = "*") -> list[Any]:
    return asyncio.run(fetch(url, f"SELECT {columns} FROM dispatch_outbox ORDER BY id"))


async def is_empty(url: str) -> bool:
    return not await fetch(url, "SELECT FROM dispatch_outbox WHERE error IS NULL LIMIT 1")


@asynccontextmanager
async def relay(url: str, server: Server, **settings: Any) -> AsyncIterator[None]:
    async with AsyncClient(KEY, api_url=server.url, env={}, retry=None) as client:
        async with Relay(url, client, **settings):
            yield


def add(url: str, *calls: Any, fail: bool = False) -> None:
    transact("psycopg", url, lambda c: Outbox().add(c, *calls), fail=fail)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_call_is_sent_if_and_only_if_the_transaction_commits(
    table: str, dispatch_recorder: CallRecorder, dispatch_server: Server, driver: str
):
    outbox = Outbox()
    kept = new_call("http://here", "kept", {"by": driver}, version="1", correlation_id=2**64 - 1)

    def act(*calls: Any) -> Callable[[Any], Any]:
        return lambda connection: outbox.add(connection, *calls)

    transact(driver, table, act(kept, CALL))
    with pytest.raises(FailedError):
        transact(driver, table, act(new_call("http://here", "lost")), fail=True)

    async def send() -> None:
        async with relay(table, dispatch_server):
            await async_until(lambda: is_empty(table))

    asyncio.run(send())
    assert rows(table) == []
    assert dispatch_recorder.calls == [kept, CALL]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_call_with_a_start_and_labels(table: str, service: RunningService, driver: str):
    """Also in a batch with calls that have none."""
    outbox, by = Outbox(), {"by": driver}
    at = datetime.now(UTC).replace(microsecond=0) + FAR
    before = datetime.now(UTC)

    def call(number: int) -> Call:
        return new_call("http://127.0.0.1:9", f"f_{driver_name(driver)}", number)

    transact(driver, table, lambda c: outbox.add(c, call(1), call(2), delay=3600.5, labels=by))
    transact(driver, table, lambda c: outbox.add(c, call(3), at=at))
    transact(driver, table, lambda c: outbox.add(c, call(4), labels=by))
    transact(driver, table, lambda c: outbox.add(c, call(5), at=before - FAR))
    transact(driver, table, lambda c: outbox.add(c, call(6)))

    async def main_() -> list[Any]:
        async with AsyncClient(service.api_key, api_url=service.url, env={}) as client:
            async with Relay(table, client):
                await async_until(lambda: is_empty(table))
            return await client.list(function=f"f_{driver_name(driver)}")

    infos = asyncio.run(main_())
    assert rows(table) == []
    starts = [info.start_time for info in infos if info.start_time is not None]
    assert len(infos) == 6
    assert min(starts) == at
    for start in sorted(starts)[1:]:
        assert timedelta(0) <= start - before - timedelta(seconds=3600.5) < timedelta(minutes=5)
    assert len(starts) == 3
    assert sorted(len(info.labels) for info in infos) == [0, 0, 0, 1, 1, 1]
    assert {info.labels["by"] for info in infos if info.labels} == {driver}


@pytest.mark.parametrize("driver", DRIVERS)
def test_each_call_keeps_its_own_trace(table: str, service: RunningService, driver: str):
    """In one request, with calls that have none."""
    outbox, name = Outbox(traces=True), f"g_{driver_name(driver)}"

    def add(number: int, trace_id: int = 0, **options: Any) -> None:
        state = TraceState([("a", "1")])
        context = SpanContext(trace_id, 1, False, TraceFlags(1), state)

        def act(connection: Any) -> Any:
            with use_span(NonRecordingSpan(context)):
                return outbox.add(
                    connection, new_call("http://127.0.0.1:9", f"{name}_{number}"), **options
                )

        transact(driver, table, act)

    add(1, 0xA)
    add(2)
    add(3, 0xB, labels={"b": "c"})
    kept = [row["trace"] and row["trace"][-7:] for row in rows(table)]
    assert kept == ["-01 a=1", None, "-01 a=1"]

    async def main_() -> list[Any]:
        async with AsyncClient(service.api_key, api_url=service.url, env={}) as client:
            async with Relay(table, client):
                await async_until(lambda: is_empty(table))
            return [await client.list(function=f"{name}_{number}") for number in (1, 2, 3)]

    found = [info.trace_id for (info,) in asyncio.run(main_())]
    assert found == [f"{0xA:032x}", None, f"{0xB:032x}"]


def test_a_service_without_submit_gets_calls_without_their_trace(
    table: str, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    """The recorder has DispatchService only."""

    def act(connection: Any) -> None:
        with use_span(NonRecordingSpan(SpanContext(1, 1, is_remote=False))):
            Outbox(traces=True).add(connection, CALL)

    transact("psycopg", table, act)

    async def send() -> None:
        async with relay(table, dispatch_server):
            await async_until(lambda: is_empty(table))

    asyncio.run(send())
    assert rows(table) == []
    assert dispatch_recorder.calls == [CALL]


def test_a_trace_that_is_none_is_refused(table: str, dispatch_server: Server):
    add(table, CALL)
    asyncio.run(execute(table, "UPDATE dispatch_outbox SET trace = 'x'"))

    async def send() -> None:
        async with relay(table, dispatch_server):
            await async_until(lambda: is_empty(table))

    asyncio.run(send())
    ((error,),) = rows(table, "error")
    assert error == (
        "ConfigurationError: trace: a W3C traceparent such as "
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 is required; got 'x'"
    )


def driver_name(driver: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", driver.lower())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"delay": -1}, "delay: a timedelta or a number of seconds, zero or more"),
        ({"delay": 1, "at": datetime.now(UTC)}, "delay and at cannot be used together"),
        ({"at": datetime(2030, 1, 1)}, "at: a datetime with a time zone is required"),
        ({"labels": {"": "x"}}, "labels: a key of 1 to 63"),
    ],
)
def test_options_are_checked_before_anything_is_added(options: Any, error: str):
    nothing: Any = None
    with pytest.raises(ConfigurationError, match=error):
        Outbox().add(nothing, CALL, **options)


def test_a_service_that_cannot_start_calls_later_gets_the_others(
    table: str, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    """Their rows are kept with the error; so are labels that are none."""
    transact("psycopg", table, lambda c: Outbox().add(c, CALL, delay=FAR))
    add(table, CALL, CALL)
    labels = "INSERT INTO dispatch_outbox (call, labels) SELECT call, '{}' FROM dispatch_outbox"
    for wrong in ('{"a": 1}', "[1]", '"text"'):
        asyncio.run(execute(table, labels.format(wrong) + " ORDER BY id LIMIT 1"))

    async def main_() -> None:
        async with relay(table, dispatch_server):
            await async_until(lambda: is_empty(table))

    asyncio.run(main_())
    assert dispatch_recorder.calls == [CALL, CALL]
    errors = [row["error"] for row in rows(table)]
    assert "NotFoundError" in errors[0]
    assert "cannot delay or label calls" in errors[0]
    assert all("ConfigurationError: labels" in error for error in errors[1:])


def test_a_table_without_the_columns_for_options(
    table: str, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    """Of an earlier version: it goes on to work, and gets the columns while relays run."""
    drop = "ALTER TABLE dispatch_outbox DROP COLUMN start_time, DROP COLUMN labels"
    asyncio.run(execute(table, drop))
    (alter,) = re.findall(r"```sql\n(ALTER TABLE dispatch_outbox\n.*?;)\n```", PRODUCING, re.DOTALL)

    async def main_() -> None:
        async with relay(table, dispatch_server):
            await asyncio.to_thread(add, table, CALL)
            await async_until(lambda: is_empty(table))
            with pytest.raises(Exception, match=r'column "start_time" .* does not exist'):
                await asyncio.to_thread(
                    transact, "psycopg", table, lambda c: Outbox().add(c, CALL, delay=1)
                )
            await execute(table, alter, alter)
            await asyncio.to_thread(
                transact, "psycopg", table, lambda c: Outbox().add(c, CALL, delay=1)
            )
            await async_until(lambda: is_empty(table))

    asyncio.run(main_())
    assert dispatch_recorder.calls == [CALL]
    (row,) = rows(table)
    assert "cannot delay or label calls" in row["error"]


def test_what_is_no_call_or_no_table_is_refused():
    nothing: Any = None
    with pytest.raises(InvalidCallError, match=r"calls\[1\]\.function"):
        Outbox().add(nothing, CALL, Call(endpoint="http://h"))
    with pytest.raises(ConfigurationError, match="calls: one call or more"):
        Outbox().add(nothing)
    for name in ("a b", "", "x" * 41, "a.b.c", 'a"', "A"):
        with pytest.raises(ConfigurationError, match="table: a name of up to 40"):
            Outbox(name)
        assert main(["outbox", "sql", "--table", name]) == 2


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"batch_size": 0}, "batch_size: 1 or more is required; got 0"),
        ({"lease": timedelta(0)}, "lease: more than zero is required"),
        ({"poll_interval": timedelta(0)}, "poll_interval: more than zero is required"),
        ({"key_retention": timedelta(seconds=60)}, "key_retention: more than the lease"),
        ({"table": "a b"}, "table: a name"),
        ({"database": "mysql://x"}, "must begin with postgresql://"),
    ],
)
def test_settings_of_a_relay_are_checked(settings: dict[str, Any], error: str):
    with pytest.raises(ConfigurationError, match=error):
        Relay(settings.pop("database", "postgresql://x"), **settings)


def test_a_notice_wakes_the_relay(table: str, dispatch_server: Server):
    """It would look again in an hour only."""

    async def main() -> None:
        async with relay(table, dispatch_server, poll_interval=FAR):
            await asyncio.sleep(0.3)  # its first look
            for _ in range(3):
                await asyncio.to_thread(add, table, CALL)
                await async_until(lambda: is_empty(table))

    asyncio.run(main())


def test_without_notices_the_relay_looks_every_few_seconds(table: str, dispatch_server: Server):
    async def main() -> None:
        async with relay(table, dispatch_server, poll_interval=timedelta(seconds=0.2)):
            await asyncio.sleep(0.5)
            silent = Outbox(notify=False)
            await asyncio.to_thread(transact, "psycopg", table, lambda c: silent.add(c, CALL))
            await async_until(lambda: is_empty(table))

    asyncio.run(main())


def test_rows_go_together_within_bounds(
    table: str, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    large = new_call("http://here", "f", "x" * 1_400_000)
    add(table, large, large, large, *[CALL] * 25)

    async def main() -> None:
        async with relay(table, dispatch_server, batch_size=10):
            await async_until(lambda: is_empty(table))

    asyncio.run(main())
    assert [len(one.calls) for one in dispatch_recorder.requests] == [2, 10, 10, 6]
    assert dispatch_recorder.calls == [large] * 3 + [CALL] * 25


def test_several_relays_share_an_outbox(
    table: str, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    calls = [new_call("http://here", "f", number) for number in range(500)]
    add(table, *calls)

    async def main() -> None:
        async with (
            relay(table, dispatch_server, batch_size=7),
            relay(table, dispatch_server, batch_size=7),
            relay(table, dispatch_server, batch_size=7),
        ):
            await async_until(lambda: is_empty(table))

    asyncio.run(main())
    assert sorted(call.input.value for call in dispatch_recorder.calls) == sorted(
        call.input.value for call in calls
    )


async def outage(
    table: str, recorder: CallRecorder, server: Server, lease: timedelta
) -> RecordedRequest:
    """A relay sends a batch, gets no answer, and is killed."""
    recorder.fail_next(Code.UNAVAILABLE, times=10**4)
    async with AsyncClient(KEY, api_url=server.url, env={}, retry=None) as client:
        gone = await Relay(table, client, lease=lease).__aenter__()
        await async_until(lambda: bool(recorder.refused))
        assert gone._task is not None
        gone._task.cancel()
        await asyncio.wait({gone._task})
    lost = recorder.refused[0]
    recorder.clear()
    return lost


def test_a_batch_whose_relay_is_gone_is_sent_again_as_it_was(
    table: str, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    """With its key and exactly its rows, though others have been added."""
    add(table, *[CALL] * 3)
    second = timedelta(seconds=1)

    async def main() -> RecordedRequest:
        lost = await outage(table, dispatch_recorder, dispatch_server, second)
        await asyncio.to_thread(add, table, *[CALL] * 2)
        async with relay(table, dispatch_server, lease=second, poll_interval=second / 5):
            await async_until(lambda: is_empty(table))
        return lost

    lost = asyncio.run(main())
    assert [len(one.calls) for one in dispatch_recorder.requests] == [2, 3]
    keys = [one.metadata["idempotency-key"] for one in (lost, *dispatch_recorder.requests)]
    assert keys[0] == keys[2] != keys[1]


def test_a_batch_that_is_older_than_the_memory_of_keys_is_not_sent_again(
    table: str,
    dispatch_recorder: CallRecorder,
    dispatch_server: Server,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    add(table, *[CALL] * 2)
    second = timedelta(seconds=1)

    async def main() -> None:
        await outage(table, dispatch_recorder, dispatch_server, second)
        await execute(table, "UPDATE dispatch_outbox SET batched_at = now() - interval '61 min'")
        await asyncio.to_thread(add, table, CALL)
        settings = {"lease": second, "poll_interval": second / 5, "key_retention": FAR}
        async with relay(table, dispatch_server, **settings):
            await async_until(lambda: is_empty(table))

    asyncio.run(main())
    assert dispatch_recorder.calls == [CALL]
    (error,) = {row["error"] for row in rows(table)}
    assert "no answer came; the service remembers idempotency keys for 60 min only" in error
    assert "dispatch_outbox: 2 rows from 1 to 2 are not sent, and kept with the err" in caplog.text
    assert main_output(capsys, table) == [f"http://here f {error}"] * 2


def main_output(capsys: pytest.CaptureFixture[str], url: str) -> list[str]:
    """What `dispatch-grpc outbox list` prints, without ids and times."""
    assert main(["outbox", "list", "--database", url]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [line.split("  ", 2)[2].replace("  ", " ", 1) for line in lines]


def test_a_refused_call_does_not_hold_up_the_others(
    table: str,
    dispatch_recorder: CallRecorder,
    dispatch_server: Server,
    capsys: pytest.CaptureFixture[str],
):
    """Refused by the client, by the service, or no call at all: it is kept with its error."""
    add(table, *[CALL] * 3)
    insert = "INSERT INTO dispatch_outbox (call) VALUES"
    bad = Call(endpoint="http://user:secret@here", function="f f").SerializeToString()
    asyncio.run(execute(table, *(f"{insert} ('\\x{data.hex()}')" for data in (bad, b"no call"))))
    add(table, CALL)

    async def main_() -> None:
        async with relay(table, dispatch_server):
            await async_until(lambda: is_empty(table))

    dispatch_recorder.fail_next(Code.INVALID_ARGUMENT, "calls[0].x: told so", times=1)
    asyncio.run(main_())
    assert [len(one.calls) for one in dispatch_recorder.refused] == [1]
    assert len(dispatch_recorder.calls) == 3
    lines = main_output(capsys, table)
    assert "told so" in lines[0]
    assert lines[1].startswith("http://********@here f f InvalidCallError: calls[0].function: ")
    assert "DecodeError" in lines[2]
    assert main(["outbox", "list", "--database", table, "--json", "--limit", "2"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["function"] for one in found] == ["f", "f f"]


def test_a_batch_that_the_service_refuses_is_split(
    table: str, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    add(table, *[CALL] * 3)
    dispatch_recorder.fail_next(Code.INVALID_ARGUMENT, "calls[1]: told so")

    async def main_() -> None:
        async with relay(table, dispatch_server):
            await async_until(lambda: is_empty(table))

    asyncio.run(main_())
    requests = [*dispatch_recorder.refused, *dispatch_recorder.requests]
    assert [len(one.calls) for one in requests] == [3, 1, 1, 1]
    assert len({one.metadata["idempotency-key"] for one in requests}) == 4


def test_a_batch_whose_key_the_service_knows_gets_no_other_key(
    table: str, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    """Calls that the service has recorded would be recorded again."""
    add(table, *[CALL] * 3)
    dispatch_recorder.fail_next(Code.ALREADY_EXISTS, "the key was used for other calls before")

    async def main_() -> None:
        async with relay(table, dispatch_server):
            await async_until(lambda: is_empty(table))

    asyncio.run(main_())
    assert dispatch_recorder.calls == []
    assert all("the key was used for other calls" in row["error"] for row in rows(table))


def test_a_relay_that_stops_gives_its_batch_to_the_next(
    table: str, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    add(table, CALL)
    dispatch_recorder.fail_next(Code.UNAVAILABLE, times=10**4)

    async def main_() -> None:
        async with relay(table, dispatch_server):
            await async_until(lambda: bool(dispatch_recorder.refused))
        dispatch_recorder.clear()
        async with relay(table, dispatch_server):  # its lease has not run out
            await async_until(lambda: is_empty(table))

    asyncio.run(main_())
    assert dispatch_recorder.calls == [CALL]


def test_a_relay_goes_on_after_an_outage_of_the_database_and_of_the_service(
    table: str,
    dispatch_recorder: CallRecorder,
    dispatch_server: Server,
    caplog: pytest.LogCaptureFixture,
):
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'dispatch-grpc relay'"
    )

    async def main_() -> None:
        async with relay(table, dispatch_server, poll_interval=FAR):
            for _ in range(3):
                await asyncio.sleep(0.3)
                await fetch(table, end)
            dispatch_recorder.fail_next(Code.UNAVAILABLE, "away", times=3)
            await asyncio.to_thread(add, table, CALL)
            await async_until(lambda: is_empty(table))

    asyncio.run(main_())
    assert dispatch_recorder.calls == [CALL]
    assert len({one.metadata["idempotency-key"] for one in dispatch_recorder.refused}) == 1
    assert "the relay of dispatch_outbox tries again: " in caplog.text
    assert "the relay of dispatch_outbox works again" in caplog.text


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_nothing_is_kept(table: str, capsys: pytest.CaptureFixture[str], options: list[str]):
    add(table, CALL)
    assert main(["outbox", "list", "--database", table, *options]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "dispatch-grpc: dispatch_outbox has no rows with an error\n"


def test_a_missing_table_is_named(
    application: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    assert main(["outbox", "list", "--database", application]) == 2
    wanted = "make it by 'dispatch-grpc outbox sql'"
    assert wanted in capsys.readouterr().err

    async def main_() -> None:
        async with AsyncClient(KEY, api_url="http://127.0.0.1:1", env={}) as client:
            async with Relay(application, client):
                await async_until(lambda: wanted in caplog.text)

    asyncio.run(main_())


def test_the_command_relays_until_it_is_stopped(
    table: str, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    command = [sys.executable, "-m", "dispatch_grpc", "relay", "--database", table]
    process = subprocess.Popen(
        [*command, "--poll-interval", "100ms", "--api-url", dispatch_server.url],
        env={**os.environ, "DISPATCH_API_KEY": KEY},
        stderr=subprocess.PIPE,
        text=True,
    )
    add(table, CALL)
    asyncio.run(async_until(lambda: is_empty(table)))
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert dispatch_recorder.calls == [CALL]


@pytest.mark.parametrize("signals", [1, 2])
def test_a_relay_stops_while_the_service_is_silent(table: str, signals: int):
    """After a few seconds, or at once by a second signal; the batch keeps its key."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "dispatch_grpc", "relay", "--database", table]
        process = subprocess.Popen(
            [*command, "--api-url", url], env={**os.environ, "DISPATCH_API_KEY": KEY}
        )
        add(table, CALL)
        taken = "SELECT FROM dispatch_outbox WHERE batch_id IS NOT NULL"

        async def is_taken() -> bool:
            return bool(await fetch(table, taken))

        asyncio.run(async_until(is_taken))
        for _ in range(signals):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        assert process.wait(30) == (0 if signals == 1 else 128 + signal.SIGTERM)
    assert [row["error"] for row in rows(table)] == [None]


def test_the_migration_of_alembic(application: str, capsys: pytest.CaptureFixture[str]):
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    assert main(["outbox", "alembic", "--table", "of_alembic"]) == 0
    module: dict[str, Any] = {}
    exec(capsys.readouterr().out, module)
    engine = create_engine(
        f"postgresql+psycopg{application.removeprefix('postgresql')}", poolclass=NullPool
    )
    for step in ("upgrade", "downgrade"):
        with engine.begin() as connection:
            with Operations.context(MigrationContext.configure(connection)):
                module[step]()
            there = connection.exec_driver_sql("SELECT to_regclass('of_alembic')").scalar_one()
            assert (there is not None) == (step == "upgrade")


def test_the_migration_of_django(application: str, capsys: pytest.CaptureFixture[str]):
    connection = django_connection(application)
    from django.db.migrations.state import ProjectState

    assert main(["outbox", "django", "--table", "of_django"]) == 0
    module: dict[str, Any] = {"__name__": "app.migrations.0002"}
    exec(capsys.readouterr().out, module)
    migration = module["Migration"]("0002", "app")
    try:
        for step in ("apply", "unapply"):
            with connection.schema_editor() as editor:
                getattr(migration, step)(ProjectState(), editor)
            with connection.cursor() as cursor:
                cursor.execute("SELECT to_regclass('of_django')")
                assert (cursor.fetchone()[0] is not None) == (step == "apply")
    finally:
        connection.close()
