"""The SQL function `dispatch`, and `dispatch_grpc.sql`, with a service and an endpoint."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from opentelemetry import trace

from dispatch_grpc import (
    Call,
    Client,
    ConfigurationError,
    DispatchID,
    Endpoint,
    InvalidCallError,
    NotFoundError,
    marshal,
    new_call,
    sql,
)
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.testing import serve_app
from tests.conftest import data_dir, run_service
from tests.producers.conftest import execute, fetch, new_database
from tests.producers.drivers import DRIVERS, FailedError, transact
from tests.service.conftest import Bench
from tests.service.processes import KEY, service
from tests.tracing.files import spans_in
from tests.waiting import async_until, until

endpoint = Endpoint("http://127.0.0.1:1")


@endpoint.function
def echo(value: Any) -> Any:
    return value


class Running:
    """A service, its database, and an endpoint."""

    def __init__(self, database: str, url: str, client: Client) -> None:
        self.database, self.url, self.client = database, url, client

    def fetch(self, query: str, *arguments: Any, **settings: Any) -> Any:
        """Fetch one value, in a transaction of its own."""
        ((value,),) = asyncio.run(fetch(self.database, query, *arguments, **settings))
        return value

    def refused(self, query: str, *arguments: Any) -> str:
        with pytest.raises(asyncpg.PostgresError) as caught:
            self.fetch(query, *arguments)
        return f"{caught.value.sqlstate}: {caught.value}"

    def call(self, value: Any, **settings: Any) -> Call:
        return new_call(self.url, "echo", value, **settings)

    def calls(self) -> int:
        return int(self.fetch("SELECT count(*) FROM dispatch_grpc.every_call"))


@pytest.fixture(scope="module")
def running(embedded: Bench) -> Iterator[Running]:
    settings = Settings(limits=Limits(max_expiration=timedelta(days=2), max_calls=2000))
    for database in new_database(embedded, "service_too"):
        with data_dir() as folder, serve_app(endpoint.app) as server:
            with run_service(
                folder, database=database, worker=settings, max_backlog=3000
            ) as service:
                with Client(service.api_key, api_url=service.url, env={}) as client:
                    asyncio.run(Database(database, Path()).prepare(producer="writer only"))
                    yield Running(database, server.url, client)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_call_runs_if_and_only_if_the_transaction_commits(running: Running, driver: str):
    ids: list[DispatchID[Any]] = []
    delayed = timedelta(milliseconds=1)

    async def dispatch_async(connection: Any) -> None:
        ids.append(await sql.dispatch(connection, running.call({"by": driver}), delay=delayed))
        ids.extend(await sql.dispatch_many(connection, map(running.call, (1, "two"))))
        assert await sql.dispatch_many(connection, []) == []

    def dispatch(connection: Any) -> None:
        ids.append(sql.dispatch(connection, running.call({"by": driver}), delay=delayed))
        ids.extend(sql.dispatch_many(connection, map(running.call, (1, "two"))))
        assert sql.dispatch_many(connection, []) == []

    is_async = driver.startswith("asyncpg") or "Async" in driver
    transact(driver, running.database, dispatch_async if is_async else dispatch)
    assert all(type(one) is DispatchID for one in ids)
    assert running.client.wait_all(ids, timeout=30) == [{"by": driver}, 1, "two"]
    ids.clear()
    before = running.calls()
    with pytest.raises(FailedError):
        transact(driver, running.database, dispatch_async if is_async else dispatch, fail=True)
    for one in ids:
        with pytest.raises(NotFoundError):
            running.client.get(one)
    assert running.calls() == before


@pytest.mark.parametrize("connection", [object(), None, "postgresql://…", asyncpg.Pool])
def test_what_is_no_connection_is_refused(connection: Any):
    with pytest.raises(ConfigurationError, match="connection: a connection or session of asyncpg"):
        sql.dispatch(connection, new_call("http://here", "f"))


def test_calls_are_checked_before_anything_is_sent():
    nothing: Any = None
    call = new_call("http://here", "f", version="a\0b")
    with pytest.raises(InvalidCallError, match=r"calls\[0\]\.version: a text without NUL"):
        sql.dispatch(nothing, call)
    with pytest.raises(InvalidCallError, match=r"calls\[0\]\.function"):
        sql.dispatch(nothing, Call(endpoint="http://here"))
    for delay in (timedelta(-1), 3):
        with pytest.raises(InvalidCallError, match="delay: a timedelta of zero or more"):
            sql.dispatch(nothing, new_call("http://here", "f"), delay=delay)
    with pytest.raises(ConfigurationError, match="idempotency_key"):
        sql.dispatch(nothing, new_call("http://here", "f"), idempotency_key="")


def test_no_driver_is_imported():
    code = (
        "import sys, dispatch_grpc.sql, dispatch_grpc.outbox\n"
        "assert not {'asyncpg', 'psycopg', 'sqlalchemy', 'django'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# From psql, and from any language

INPUTS = [
    ("'\"World\"'", "World"),
    ("'{\"a\": [1, 2.5, null]}'", {"a": [1, 2.5, None]}),
    ("'{\"a\": 1}'::jsonb", {"a": 1}),
    ("to_jsonb('text'::text)", "text"),
    ("'17'::text", 17),
    ("NULL", None),
]


@pytest.mark.parametrize(("input", "value"), INPUTS, ids=[input for input, _ in INPUTS])
def test_a_call_from_psql(running: Running, input: str, value: Any):
    query = f"SELECT dispatch_grpc.dispatch('{running.url}', 'echo', {input})"
    assert running.client.wait(running.fetch(query), timeout=30) == value


def test_an_input_may_be_left_out_or_be_a_serialized_any(running: Running):
    query = f"SELECT dispatch_grpc.dispatch('{running.url}', 'echo'"
    assert running.client.wait(running.fetch(f"{query})"), timeout=30) is None
    any = marshal(b"bytes").SerializeToString()
    assert running.client.wait(running.fetch(f"{query}, $1::bytea)", any), timeout=30) == b"bytes"


def test_named_arguments(running: Running):
    id = running.fetch(
        "SELECT dispatch_grpc.dispatch(endpoint => $1, function => 'echo', input => to_jsonb(5), "
        "version => '1.2', expiration => '2 h', delay => '1 h', idempotency_key => 'named')",
        running.url,
    )
    call = running.client.get(id)
    assert (call.version, str(call.state)) == ("1.2", "queued")
    assert call.creation_time is not None
    assert call.next_time == call.creation_time + timedelta(hours=1)
    assert call.expiration_time == call.creation_time + timedelta(hours=2)
    assert running.client.cancel(id) == 1


def test_the_default_expiration_counts_from_the_start(running: Running):
    query = f"{D}('{running.url}', 'echo', delay => '40 h')"
    call = running.client.get(running.fetch(query))
    assert call.creation_time is not None
    assert call.expiration_time == call.creation_time + timedelta(hours=41)
    assert running.client.cancel(call.dispatch_id) == 1


def test_a_delayed_call_begins_after_the_delay(running: Running):
    query = f"SELECT dispatch_grpc.dispatch('{running.url}', 'echo', '1', delay => '1.5 s')"
    id = running.fetch(query)
    assert running.client.wait(id, timeout=30) == 1
    call = running.client.get(id)
    assert call.finish_time is not None
    assert call.creation_time is not None
    assert call.finish_time - call.creation_time >= timedelta(seconds=1.5)


def test_a_call_runs_immediately_or_when_it_is_due(embedded: Bench):
    """By notices: the queue is scanned as the service starts, and then after an hour."""
    for database in new_database(embedded, "at_once"):
        with (
            data_dir() as folder,
            service(folder, database=database, look_seconds=3600) as process,
            serve_app(endpoint.app) as server,
            Client(KEY, api_url=process.url, env={}) as client,
        ):
            running = Running(database, server.url, client)
            for number in range(8):
                delay = number % 2 * timedelta(seconds=0.3)
                query = f"{D}($1, 'echo', to_jsonb($2::int), delay => $3)"
                id = running.fetch(query, server.url, number, delay)
                assert client.wait(id, timeout=30) == number
                call = client.get(id)
                assert call.finish_time is not None
                assert call.creation_time is not None
                assert call.finish_time - call.creation_time >= delay


def test_without_a_notice_the_scan_of_the_queue_finds_the_call(running: Running):
    """The setting leaves the notice out, which another session would hear."""
    quiet = {"server_settings": {"dispatch_grpc.notify": "off"}}
    heard: list[str] = []

    async def main() -> list[str]:
        listener = await asyncpg.connect(running.database)
        await listener.add_listener(
            "dispatch_grpc_lanes",
            lambda *given: heard.append(given[-1]) if given[-1].startswith("\n") else None,
        )
        query = f"{D}('{running.url}', 'echo', '1')"
        ids = [row[0] for row in await fetch(running.database, query, **quiet)]
        ids += [row[0] for row in await fetch(running.database, query)]
        await async_until(lambda: heard)
        await listener.close()
        return ids

    ids = asyncio.run(main())
    assert heard == [f"\n{running.url} echo"]
    assert running.client.wait_all(ids, timeout=30) == [1, 1]


def test_calls_by_rows_and_by_an_array(running: Running):
    rows = "SELECT dispatch_grpc.dispatch($1, 'echo', to_jsonb(n)) FROM generate_series(1, 3) AS n"
    ids = [row[0] for row in asyncio.run(fetch(running.database, rows, running.url))]
    many = """
        SELECT dispatch_grpc.dispatch_many(array_agg(jsonb_build_object(
            'endpoint', $1::text, 'function', 'echo', 'input', n, 'expiration', '1h30m')))
        FROM generate_series(4, 1500) AS n
    """
    ids += running.fetch(many, running.url)
    assert running.client.wait_all(ids, int, timeout=60) == list(range(1, 1501))


def test_correlation_ids_of_64_bits(database: str):
    query = "SELECT dispatch_grpc.read_uint64('x', $1)"
    for number in (0, 1, 2**63 - 1, 2**63, 2**64 - 1):
        ((found,),) = asyncio.run(fetch(database, query, str(number)))
        assert found % 2**64 == number


def test_ids_are_uuids_of_version_7_made_now(running: Running):
    before = time.time_ns() // 10**6
    id = UUID(running.fetch("SELECT dispatch_grpc.dispatch($1, 'echo')", running.url))
    assert (id.version, id.variant) == (7, "specified in RFC 4122")
    assert before - 1 <= id.int >> 80 <= time.time_ns() // 10**6 + 1


def test_a_repeated_key_gets_the_same_ids(running: Running):
    def dispatch(value: int, key: str) -> DispatchID[Any]:
        ids: list[Any] = []
        transact(
            "psycopg",
            running.database,
            lambda c: ids.append(sql.dispatch(c, running.call(value), idempotency_key=key)),
        )
        return DispatchID(ids[0])

    id = dispatch(1, "mine")
    assert dispatch(1, "mine") == id
    assert running.client.dispatch(running.call(1), idempotency_key="mine") == id
    other = running.client.dispatch(running.call(2), idempotency_key="other")
    assert dispatch(2, "other") == other
    query = "SELECT dispatch_grpc.dispatch($1, 'echo', '3', idempotency_key => 'mine')"
    assert running.refused(query, running.url) == (
        "23505: the idempotency key was used for other calls before"
    )


def test_a_key_waits_for_the_other_transaction(running: Running):
    found: list[Any] = []

    def second() -> None:
        query = "SELECT dispatch_grpc.dispatch($1, 'echo', '3', idempotency_key => 'both')"
        found.append(running.fetch(query, running.url))

    thread = threading.Thread(target=second)

    def first(connection: Any) -> None:
        found.append(sql.dispatch(connection, running.call(3), idempotency_key="both"))
        thread.start()
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        until(lambda: running.fetch(waits))

    transact("psycopg", running.database, first)
    thread.join(30)
    assert found[0] == found[1]


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
def test_a_key_that_a_snapshot_does_not_show_is_a_conflict(running: Running, isolation: Any):
    """The transaction is to be tried again, as after every other conflict."""
    query = f"{D}('{running.url}', 'echo', '3', idempotency_key => '{isolation}')"

    async def main() -> None:
        connection = await asyncpg.connect(running.database)
        transaction = connection.transaction(isolation=isolation)
        await transaction.start()
        await connection.execute("SELECT 1 FROM pg_class LIMIT 1")
        ((id,),) = await fetch(running.database, query)
        with pytest.raises(asyncpg.SerializationError):
            await connection.fetchval(query)
        await transaction.rollback()
        async with connection.transaction(isolation=isolation):
            assert await connection.fetchval(query) == id
        await connection.close()

    asyncio.run(main())


def test_a_savepoint_takes_its_call_and_key_back(running: Running):
    query = f"{D}('{running.url}', 'echo', '4', idempotency_key => 'taken_back')"
    before = running.calls()

    async def main() -> Any:
        connection = await asyncpg.connect(running.database)
        async with connection.transaction():
            savepoint = connection.transaction()
            await savepoint.start()
            gone = await connection.fetchval(query)
            await savepoint.rollback()
            kept = await connection.fetchval(query)
            assert kept != gone
        await connection.close()
        return kept

    assert running.client.wait(asyncio.run(main()), timeout=30) == 4
    assert running.calls() == before + 1


TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def test_calls_may_belong_to_a_trace(running: Running):
    other = PARENT.replace("b7ad", "0000")
    with_state = f"{PARENT} a=1, b=2"
    ids = [
        running.fetch(
            f"SELECT dispatch_grpc.dispatch($1, 'echo', {input}, traceparent => $2)",
            running.url,
            PARENT,
        )
        for input in ("'1'", "'1'::jsonb", "NULL::bytea")
    ]
    calls = [{"endpoint": running.url, "function": "echo", "traceparent": other}]
    calls.append({"endpoint": running.url, "function": "echo"})
    calls.append({"endpoint": running.url, "function": "echo", "traceparent": with_state})
    ids += running.fetch("SELECT dispatch_grpc.dispatch_many($1)", [json.dumps(c) for c in calls])
    # A repeated key is one of the same calls, also in another span.
    again = "SELECT dispatch_grpc.dispatch($1, 'echo', traceparent => $2, idempotency_key => 'tr')"
    ids.append(running.fetch(again, running.url, PARENT))
    assert running.fetch(again, running.url, other) == ids[-1]
    found = [running.client.get(id).message.traceparent for id in ids]
    assert found == [PARENT, PARENT, PARENT, other, "", PARENT, PARENT]
    kept = "SELECT trace FROM dispatch_grpc.every_call WHERE id = $1"
    assert running.fetch(kept, ids[5]) == with_state


TRACED = """
import sys
from pathlib import Path
import psycopg
from opentelemetry import trace
from dispatch_grpc import new_call, sql
from tests.tracing.files import export_to

export_to(Path(sys.argv[1]))
call = new_call(sys.argv[3], "echo")
with psycopg.connect(sys.argv[2]) as connection:
    with trace.get_tracer("app").start_as_current_span("outer"):
        print(sql.dispatch(connection, call))
        print(*sql.dispatch_many(connection, [call, call]))
        sql.dispatch_many(connection, [])
"""


def test_python_passes_its_trace_on(running: Running, tmp_path: Path):
    arguments = [str(tmp_path / "spans"), running.database, running.url]
    done = subprocess.run(
        [sys.executable, "-c", TRACED, *arguments], capture_output=True, text=True, timeout=100
    )
    assert done.stderr == ""
    one, two, three = done.stdout.split()
    single, batch, outer = spans_in(tmp_path / "spans")
    assert [(span.name, span.kind) for span in (single, batch)] == [
        ("dispatch echo", "PRODUCER")
    ] * 2
    assert [span.parent for span in (single, batch)] == [outer.id] * 2
    assert batch.attributes["messaging.batch.message_count"] == 2
    parents = [running.client.get(id).message.traceparent for id in (one, two, three)]
    assert [parent.split("-")[1:3] for parent in parents] == [
        [span.trace, span.id] for span in (single, batch, batch)
    ]


def test_an_older_database_gets_calls_without_their_trace(embedded: Bench):
    """It would refuse them."""
    older = """
    DROP FUNCTION dispatch_grpc.problem_of_traceparent;
    CREATE OR REPLACE FUNCTION dispatch_grpc.dispatch_many(
        calls jsonb[], idempotency_key text DEFAULT NULL
    ) RETURNS text[] LANGUAGE sql AS $$
        SELECT ARRAY[string_agg(key, ',' ORDER BY key)] FROM unnest(calls) AS call,
            jsonb_object_keys(call) AS key
    $$;
    """
    span = trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=False))
    for url in new_database(embedded, "older"):
        asyncio.run(Database(url, Path()).prepare())
        asyncio.run(execute(url, older))

        def dispatch(connection: Any) -> None:
            with trace.use_span(span):
                found = sql.dispatch(connection, new_call("http://h", "f"))
            assert found == "any,endpoint,function,version"

        transact("psycopg", url, dispatch)


D = "SELECT dispatch_grpc.dispatch"
ONE = '{"endpoint": "http://h", "function": "f"}'
REFUSED = {
    f"{D}('http://169.254.169.254/x', 'f')": "endpoint: link-local and metadata addresses are not "
    "called by this service; got 'http://169.254.169.254/x'",
    f"{D}('ftp://u:secret@h', 'f')": "endpoint: a URI (RFC 3986) that begins with http:// or "
    "https:// is required; got 'ftp://********@h'",
    f"{D}('http://h', 'f f')": "function: a name that matches [a-zA-Z_][a-zA-Z0-9_<>.]* is "
    "required; got 'f f'",
    f"{D}(NULL, 'f')": "endpoint: a URI (RFC 3986) that begins with http:// or https:// is "
    "required; got NULL",
    f"{D}('http://h', 'f', 'World')": "input: JSON is required (to_jsonb() makes it of any value); "
    "got 'World'",
    f"{D}('http://h', 'f', '\\x0a')": "input: JSON is required (to_jsonb() makes it of any "
    "value); got E'\\\\x0a'",
    f"{D}('http://h', 'f', '\\x0a'::bytea)": "input: the bytes are not a serialized "
    "google.protobuf.Any",
    f"{D}('http://h', 'f', expiration => '-1 s')": "expiration: an interval of zero or more is "
    "required; got -00:00:01",
    f"{D}('http://h', 'f', expiration => '3 days')": "expiration: at most 2 days is allowed by "
    "this service; got 3 days",
    f"{D}('http://h', 'f', delay => '-1 s')": "delay: an interval of zero or more is required; "
    "got -00:00:01",
    f"{D}('http://h', 'f', delay => '2 years')": "delay: at most 2 days is allowed by this "
    "service; got 2 years",
    f"{D}('http://h', 'f', delay => '90 s', expiration => '1 min')": "delay: less than the "
    "expiration is required, which counts from now too; got 00:01:30, and the expiration 00:01:00",
    f"{D}('http://h', 'f', idempotency_key => 'a b')": "idempotency_key: 1 to 255 printable ASCII "
    "characters without spaces are required; got 'a b'",
    f"{D}_many(ARRAY['{{}}', '{{}}']::jsonb[])": "calls[0].endpoint: a URI (RFC 3986) that begins "
    "with http:// or https:// is required; got NULL",
    f"{D}_many(ARRAY['1']::jsonb[])": "calls[0]: an object is required; got number",
    f"{D}_many(ARRAY[NULL]::jsonb[])": "calls[0]: an object is required; got NULL",
    f"{D}_many(ARRAY['{{\"end\": 1}}']::jsonb[])": "calls[0].end: an object with endpoint, "
    "function, input (or any: a serialized google.protobuf.Any as base64), version, expiration, "
    "delay and traceparent is required, all strings but the input",
    **{
        f"{D}('http://h', 'f', traceparent => '{wrong}')": "traceparent: a W3C traceparent such as "
        f"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 is required; got '{wrong[:80]}'"
        for wrong in (
            "",
            "x",
            PARENT.upper(),
            PARENT.replace("00-", "ff-", 1),
            PARENT.replace(TRACE, "0" * 32),
            PARENT.replace("b7ad6b7169203331", "0" * 16),
            PARENT + "-" * 30,
            PARENT + " ",
            PARENT + " é",
            PARENT + " " + "a" * 513,
        )
    },
    f"{D}_many(ARRAY['{ONE}', '{ONE[:-1]}, \"traceparent\": \"x\"}}']::jsonb[])": "calls[1]."
    "traceparent: a W3C traceparent such as "
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 is required; got 'x'",
    f'{D}_many(ARRAY[\'{ONE[:-1]}, "delay": "x"}}\']::jsonb[])': "calls[0].delay: an interval "
    "such as 30 s is required; got 'x'",
    f"{D}_many(ARRAY['{ONE}', '{ONE[:-1]}, \"any\": \"a!\"}}']::jsonb[])": "calls[1].any: a "
    "serialized google.protobuf.Any as base64 is required; got 'a!'",
    f'{D}_many(ARRAY[\'{ONE[:-1]}, "any": "Zm9v"}}\']::jsonb[])': "input: the bytes are not a "
    "serialized google.protobuf.Any",
    **{
        f'{D}_many(ARRAY[\'{ONE[:-1]}, "correlation_id": "{wrong}"}}\']::jsonb[])': "calls[0]."
        f"correlation_id: an integer from 0 to 18446744073709551615 is required; got '{wrong}'"
        for wrong in ("x", "1.5", "", "18446744073709551616", "-9223372036854775809", "9" * 70)
    },
    f"{D}_many(array_fill('{ONE}'::jsonb, '{{2001}}'))": "calls: at most 2000 are allowed at once; "
    "got 2001",
    f"{D}('http://h', 'f', to_jsonb(repeat('x', 5000000)))": "input: at most 4194304 bytes are "
    "allowed at once",
}


@pytest.mark.parametrize(("query", "error"), REFUSED.items(), ids=list(REFUSED))
def test_what_is_refused_names_field_given_and_allowed(running: Running, query: str, error: str):
    limits = "SELECT max_calls FROM dispatch_grpc.limits"
    until(lambda: running.fetch(limits) == 2000)  # the service tells its limits as it starts
    assert running.refused(query) == f"22023: {error}"


def test_a_full_queue_refuses_calls(database: str):
    async def main() -> None:
        connection = await asyncpg.connect(database)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "UPDATE dispatch_grpc.backlog SET queued = 600000, delayed = 400000"
        )
        with pytest.raises(
            asyncpg.PostgresError, match="the queue is full: 1000000 calls wait, at"
        ):
            await connection.fetch(f"{D}('http://h', 'f')")
        await transaction.rollback()
        assert await connection.fetchval(f"{D}_many('{{}}')") == []
        await connection.close()

    asyncio.run(main())


def test_a_producer_can_dispatch_and_do_nothing_else(running: Running):
    role = {"server_settings": {"role": "writer only"}}
    query = f"SELECT dispatch_grpc.dispatch('{running.url}', 'echo', '\"only\"')"
    id = running.fetch(query, **role)
    assert running.client.wait(id, timeout=30) == "only"
    catalogue = """
        SELECT {} FROM pg_{} WHERE {}namespace = 'dispatch_grpc'::regnamespace
    """
    names = asyncio.run(
        fetch(running.database, catalogue.format("oid::regclass::text, relkind", "class", "rel"))
    )
    for name, kind in names:
        for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES"):
            asked = f"SELECT has_table_privilege('writer only', '{name}', '{privilege}')"
            assert kind.decode() in "iIS" or not running.fetch(asked), (name, privilege)
    functions = [
        name
        for name, signature in asyncio.run(
            fetch(
                running.database,
                catalogue.format("proname, oid::regprocedure::text", "proc", "pro"),
            )
        )
        if running.fetch("SELECT has_function_privilege('writer only', $1, 'EXECUTE')", signature)
    ]
    assert sorted(functions) == ["dispatch"] * 3 + ["dispatch_many"]
    for statement in (
        "SELECT 1 FROM dispatch_grpc.calls",
        "INSERT INTO dispatch_grpc.limits DEFAULT VALUES RETURNING 1",
        "SELECT dispatch_grpc.tend_partitions('0', '0')",
        "CREATE TABLE dispatch_grpc.mine (id int)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            running.fetch(statement, **role)


def test_a_producer_cannot_lead_the_function_astray(running: Running):
    """By objects of its own that have the names of those that the function uses."""
    setting = {"role": "writer only", "search_path": "pg_temp, public", "extra_float_digits": "-15"}
    statements = (
        "CREATE TEMP TABLE calls (id uuid)",
        "CREATE TEMP TABLE limits (max_calls int)",
        "CREATE FUNCTION pg_temp.record(bytea) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    )

    async def main() -> Any:
        connection = await asyncpg.connect(running.database, server_settings=setting)
        for statement in statements:
            await connection.execute(statement)
        found = await connection.fetchval(f"{D}('{running.url}', 'echo', '[1e23]')")
        await connection.close()
        return found

    assert running.client.wait(asyncio.run(main()), timeout=30) == [1e23]


def test_a_role_of_an_older_version_keeps_its_rights(embedded: Bench):
    """Functions were everybody's before; now they are of those who may change calls."""
    for url in new_database(embedded, "roles"):
        asyncio.run(Database(url, Path()).prepare())
        asyncio.run(
            execute(
                url,
                "CREATE ROLE runs",
                "GRANT USAGE ON SCHEMA dispatch_grpc TO runs",
                "GRANT SELECT, INSERT, UPDATE, DELETE ON dispatch_grpc.calls TO runs",
                "COMMENT ON TABLE dispatch_grpc.migrations IS 'older'",
            )
        )
        asyncio.run(Database(url, Path()).prepare())
        role = {"server_settings": {"role": "runs"}}
        query = "SELECT dispatch_grpc.tend_partitions('1 day', '1 day')"
        asyncio.run(fetch(url, query, **role))
        for table in ("limits", "backlog", "schedules", "pauses"):  # they were made since then
            asyncio.run(execute(url, f"DELETE FROM dispatch_grpc.{table}", **role))
        asyncio.run(execute(url, "DROP OWNED BY runs", "DROP ROLE runs"))


BEFORE = """
DROP FUNCTION dispatch_grpc.dispatch(text, text, bytea, text, interval, interval, text, text);
CREATE FUNCTION dispatch_grpc.dispatch(
    endpoint text, function text, input bytea, version text DEFAULT '',
    expiration interval DEFAULT NULL, delay interval DEFAULT NULL,
    idempotency_key text DEFAULT NULL
) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT 'before' $$;
REVOKE ALL ON FUNCTION dispatch_grpc.dispatch(text, text, bytea, text, interval, interval, text)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    dispatch_grpc.dispatch(text, text, bytea, text, interval, interval, text) TO tells;
COMMENT ON TABLE dispatch_grpc.migrations IS 'older';
"""


@pytest.mark.parametrize("is_used", [False, True], ids=["", "a view uses it"])
def test_a_function_with_fewer_arguments_is_replaced(
    embedded: Bench,
    is_used: bool,
):
    """Calls would fit both. Who could call it before can call the new one."""
    for url in new_database(embedded, "fewer"):
        asyncio.run(Database(url, Path()).prepare())
        asyncio.run(
            execute(url, "CREATE ROLE tells", "GRANT USAGE ON SCHEMA dispatch_grpc TO tells")
        )
        asyncio.run(execute(url, BEFORE))
        query = "SELECT dispatch_grpc.dispatch('http://h', 'f', NULL::bytea)"
        if is_used:
            asyncio.run(execute(url, f"CREATE VIEW user_view AS {query}"))
        asyncio.run(Database(url, Path()).prepare())
        role = {"server_settings": {"role": "tells"}}
        ((id,),) = asyncio.run(fetch(url, query, **role))
        assert UUID(id)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            asyncio.run(fetch(url, "SELECT dispatch_grpc.dispatch('http://h', 'f')", **role))
        if is_used:
            assert asyncio.run(fetch(url, "SELECT * FROM user_view")) == [("before",)]
        asyncio.run(execute(url, "DROP OWNED BY tells", "DROP ROLE tells"))
