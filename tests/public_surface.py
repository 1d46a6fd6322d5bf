"""How programs use the library, as type checkers see it: `make lint` checks this file.

It is not run.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import grpc
import grpc.aio
import psycopg
from dispatch.sdk.v1.call_pb2 import Call
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from dispatch_grpc import (
    AsyncBatch,
    AsyncClient,
    Batch,
    CallError,
    CallInfo,
    Client,
    Coalesce,
    Code,
    DispatchID,
    Endpoint,
    PermanentError,
    RetryPolicy,
    RPCError,
    ScheduleInfo,
    Status,
    TLSCredentials,
    marshal,
    new_call,
    unmarshal,
)
from dispatch_grpc import sql as transactions
from dispatch_grpc import workflow as workflows
from dispatch_grpc.outbox import Outbox, Relay
from dispatch_grpc.testing import CallRecorder, RecordedRequest, Runner, serve


def sync(channel: grpc.Channel) -> None:
    call = new_call("http://example.com", "f", {"a": 1}, expiration=timedelta(seconds=1))
    assert_type(call, Call)
    Client("key", channel=channel, retry=None, timeout=None)
    Client(protocol="connect", retry=RetryPolicy(max_attempts=2))
    with Client(api_url="https://x", credentials=TLSCredentials(), env={}) as client:
        assert_type(client, Client)
        assert_type(client.dispatch(call, timeout=2.5), str)
        batch = client.batch()
        assert_type(batch, Batch)
        batch.add(call, call)
        assert_type(list(batch), list[Call])
        assert_type(batch.dispatch(timeout=timedelta(1), idempotency_key="k"), list[str])
    assert_type(client.wait("id", list[int]), list[int])
    assert_type(client.wait("id", Call, timeout=None), Call)
    assert_type(client.wait("id", timeout=1.5), Any)
    typed: DispatchID[bytes] = DispatchID("id", bytes)
    assert_type(client.wait(typed), bytes)
    assert_type(client.wait(typed, int), int)
    assert_type(client.wait_all([typed, typed]), list[bytes])
    assert_type(client.wait_all(["id"], int, timeout=None), list[int])
    assert_type(client.wait_all(iter(["id"])), list[Any])
    assert_type(client.wait_all([typed], return_exceptions=True), list[Any])
    assert_type(client.get("id"), CallInfo)
    assert_type(client.schedules.create("s", call, every=timedelta(1)), ScheduleInfo)
    assert_type(client.schedules.list(), list[ScheduleInfo])
    assert_type(client.schedules.trigger("s"), str)
    assert_type(client.list(state="queued", status=Status.TIMEOUT), list[CallInfo])
    client.list(function="f", endpoint="http://x", parent="id", created_after=datetime.now(UTC))
    assert_type(client.cancel("id"), int)
    client.complete("id", 1)
    client.fail("id", ValueError("no"))
    client.fail("id", "no", type="No")
    try:
        client.dispatch(call)
    except CallError as error:
        assert_type(error.status, Status)
    except RPCError as error:
        assert_type(error.code, Code)
        assert_type(Status.of(error), Status)


async def asynchronous(channel: grpc.aio.Channel) -> None:
    AsyncClient(channel=channel, coalesce=True)
    AsyncClient(coalesce=Coalesce(max_calls=10, max_bytes=1000, linger=timedelta(0)))
    async with AsyncClient(protocol="connect+json") as client:
        assert_type(client, AsyncClient)
        assert_type(await client.dispatch(new_call("http://x", "f")), str)
        batch = client.batch()
        assert_type(batch, AsyncBatch)
        assert_type(await batch.dispatch(), list[str])
        assert_type(await client.wait("id", int), int)
        assert_type(await client.wait("id"), Any)
        typed: DispatchID[bytes] = DispatchID("id", bytes)
        assert_type(await client.wait(typed), bytes)
        assert_type(await client.wait_all([typed, typed]), list[bytes])
        assert_type(await client.wait_all(["id"], list[int]), list[list[int]])
        assert_type(await client.get("id"), CallInfo)
        assert_type(await client.schedules.get("s"), ScheduleInfo)
        assert_type(await client.schedules.list(limit=5), list[ScheduleInfo])
        assert_type(await client.schedules.trigger("s"), str)
        assert_type(await client.list(limit=5, created_before=datetime.now(UTC)), list[CallInfo])
        assert_type(await client.cancel("id"), int)


def values() -> None:
    any = marshal(1)
    assert_type(unmarshal(any, int), int)
    assert_type(unmarshal(any, list[str]), list[str])
    assert_type(unmarshal(any, Call), Call)


def testing(recorder: CallRecorder) -> None:
    with serve(recorder, "key") as server:
        assert_type(server.url, str)
    recorder.assert_requests(RecordedRequest([new_call("http://x", "f")], {"a": "b"}))


async def functions(endpoint: Endpoint) -> None:
    @endpoint.function
    def greet(name: str, *, mark: str = "!") -> str:
        return name + mark

    @endpoint.function(name="other", permanent=(ValueError,), retry=False)
    async def later(name: str) -> int:
        raise PermanentError(name)

    assert_type(greet("x"), str)
    assert_type(await later("x"), int)
    assert_type(greet.call("x", mark="?"), Call)
    assert_type(greet.dispatch("x"), DispatchID[str])
    assert_type(later.dispatch("x"), DispatchID[int])
    assert_type(await greet.dispatch_async("x"), DispatchID[str])
    assert_type(await later.dispatch_async("x"), DispatchID[int])
    assert_type(endpoint.client().wait(later.dispatch("x")), int)
    options = greet.with_options(
        expiration=timedelta(1), version="2", timeout=5.0, metadata={"a": "b"}, idempotency_key="k"
    )
    assert_type(options.call("x", mark="?"), Call)
    # What the function does not take is an error: these comments are errors when it is not.
    greet.call(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    greet.call("x", version="2")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    greet.dispatch()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    runner = Runner(endpoint)
    assert_type(runner.run(greet.call("x"), str), str)
    assert_type(runner.run(greet.call("x")), Any)
    assert_type(await runner.run_async(greet.call("x"), list[int]), list[int])


def hosted(endpoint: Endpoint) -> None:
    @endpoint.function
    def count(text: str) -> int:
        return len(text)

    @endpoint.function
    async def halve(number: int) -> float:
        return number / 2

    remote = endpoint.remote("http://x", "f", returns=str)

    @endpoint.workflow(version="1", expiration=timedelta(days=1), max_journal_bytes=1000)
    async def flow(text: str) -> str:
        number = await count.run(text)
        assert_type(number, int)
        assert_type(await halve.run(number), float)
        assert_type(await remote.run(1), str)
        assert_type(await workflows.run(count.call("x"), int), int)
        assert_type(await workflows.step(len, "x"), int)
        assert_type(await workflows.step(sleep, 1), str)
        assert_type(workflows.now(), datetime)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(count.run("a"))
        assert_type(task.result(), int)
        return "x"

    async def sleep(seconds: int) -> str:
        return str(seconds)

    async def outer() -> None:
        assert_type(await flow.run("x"), str)


def in_transactions(one: psycopg.Connection, session: Session, connection: Connection) -> None:
    call = new_call("http://x", "f")
    later = timedelta(minutes=1)
    assert_type(transactions.dispatch(one, call, idempotency_key="k"), DispatchID[Any])
    assert_type(transactions.dispatch(session, call, delay=later), DispatchID[Any])
    assert_type(transactions.dispatch_many(connection, [call]), list[DispatchID[Any]])
    Outbox("app.outbox", notify=False).add(session, call, call)


async def in_async_transactions(
    one: psycopg.AsyncConnection, session: AsyncSession, connection: AsyncConnection
) -> None:
    call = new_call("http://x", "f")
    assert_type(await transactions.dispatch(one, call, idempotency_key="k"), DispatchID[Any])
    assert_type(await transactions.dispatch(session, call), DispatchID[Any])
    assert_type(await transactions.dispatch_many(connection, [call]), list[DispatchID[Any]])
    async with Relay("postgresql://x", AsyncClient(), poll_interval=timedelta(seconds=1)) as relay:
        assert_type(relay, Relay)
    await Outbox().add(connection, call)
