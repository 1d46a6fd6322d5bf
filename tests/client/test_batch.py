"""Batches: recorded together or not at all, sent once, and kept when it fails."""

import asyncio
import math
import re
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from dispatch_grpc import (
    Call,
    Client,
    Code,
    DeadlineExceededError,
    InvalidCallError,
    MarshalError,
    ProtocolError,
    RPCError,
    marshal,
    new_call,
)
from dispatch_grpc.schema import DispatchRequest, DispatchResponse
from dispatch_grpc.testing import CallRecorder, RecordedRequest, Server, serve
from tests.conftest import KEY, Driver, parameter_id

A, B, C = (new_call("http://example.com", name, name) for name in "abc")


@pytest.fixture
def batch(driver: Driver, dispatch_server: Server):
    return driver.client(dispatch_server.url, retry=None).batch()


def test_ids_come_in_the_order_of_the_calls(driver, batch, dispatch_recorder: CallRecorder):
    batch.add(A, B)
    batch.add(C)
    assert len(batch) == 3
    assert repr(batch).endswith("Batch of 3 calls>")
    ids = driver.dispatch(batch)
    assert ids == dispatch_recorder.requests[0].dispatch_ids
    assert len(set(ids)) == 3
    dispatch_recorder.assert_requests(RecordedRequest([A, B, C]))


def test_an_empty_batch_sends_nothing(driver, batch, dispatch_recorder: CallRecorder):
    assert driver.dispatch(batch) == []
    batch.add(A)
    assert repr(batch).endswith("Batch of 1 call>")
    batch.clear()
    assert driver.dispatch(batch) == []
    assert not dispatch_recorder.requests


def test_a_batch_is_empty_after_its_dispatch(driver, batch, dispatch_recorder: CallRecorder):
    batch.add(A)
    driver.dispatch(batch)
    assert (len(batch), driver.dispatch(batch)) == (0, [])
    batch.add(B)
    driver.dispatch(batch)
    dispatch_recorder.assert_requests(RecordedRequest([A]), RecordedRequest([B]))
    first, second = (request.metadata["idempotency-key"] for request in dispatch_recorder.requests)
    assert first != second


def test_adding_copies(driver, batch, dispatch_recorder: CallRecorder):
    call = new_call("http://example.com", "before")
    batch.add(call)
    call.function = "after"
    driver.dispatch(batch)
    assert [call.function for call in dispatch_recorder.calls] == ["before"]


def test_calls_made_in_the_batch(driver, batch, dispatch_recorder: CallRecorder):
    options = {"expiration": timedelta(0), "version": "v", "correlation_id": 7}
    batch.new_call("http://example.com", "f")
    batch.new_call("http://example.com", "g", [1], **options)
    batch.add(A)
    batch.new_call("http://example.com", "f", marshal(2))
    driver.dispatch(batch)
    assert dispatch_recorder.calls == [
        new_call("http://example.com", "f"),
        new_call("http://example.com", "g", [1], **options),
        A,
        new_call("http://example.com", "f", 2),
    ]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("example.com", "f"), {}),
        (("http://example.com", "f()"), {}),
        (("http://example.com", ["f"]), {}),
        (("http://example.com", "f", object()), {}),
        (("http://example.com", "f"), {"expiration": timedelta(-1)}),
        (("http://example.com", "f"), {"version": "\ud800"}),
        (("http://example.com", "f"), {"correlation_id": -1}),
    ],
    ids=parameter_id,
)
def test_no_half_made_call_stays_in_the_batch(
    batch, arguments: tuple[Any, ...], options: dict[str, Any]
):
    batch.add(A)
    with pytest.raises((InvalidCallError, MarshalError)) as caught:
        batch.new_call(*arguments, **options)
    assert len(batch) == 1
    with pytest.raises(type(caught.value), match=re.escape(str(caught.value))):
        new_call(*arguments, **options)


def test_a_failed_batch_keeps_its_calls_and_its_key(driver, batch, dispatch_recorder: CallRecorder):
    batch.add(A, B)
    dispatch_recorder.fail_next(Code.INTERNAL)
    with pytest.raises(RPCError) as caught:
        driver.dispatch(batch)
    assert len(batch) == 2
    assert len(driver.dispatch(batch)) == 2
    failed, done = dispatch_recorder.refused + dispatch_recorder.requests
    assert failed.metadata["idempotency-key"] == done.metadata["idempotency-key"]
    assert caught.value.idempotency_key == done.metadata["idempotency-key"]
    dispatch_recorder.assert_requests(RecordedRequest([A, B]))


@pytest.mark.parametrize("change", ["add", "clear"])
def test_other_calls_get_another_key(driver, batch, change, dispatch_recorder: CallRecorder):
    batch.add(A)
    dispatch_recorder.fail_next(Code.INTERNAL)
    with pytest.raises(RPCError):
        driver.dispatch(batch, idempotency_key="mine")
    if change == "clear":
        batch.clear()
    batch.add(B)
    driver.dispatch(batch)
    assert dispatch_recorder.requests[0].metadata["idempotency-key"] != "mine"


def test_the_calls_of_a_batch(batch):
    batch.add(A, B)
    assert list(batch) == [A, B]
    assert A in batch
    assert C not in batch
    assert "a" not in batch
    for call in batch:  # of copies, like add
        call.function = "changed"
    assert list(batch) == [A, B]
    rest = iter(batch)
    batch.clear()
    assert list(rest) == [A, B]


def test_a_bad_call_adds_none(driver, batch, dispatch_recorder: CallRecorder):
    batch.add(A)
    with pytest.raises(InvalidCallError, match=r"calls\[2\]\.function: .* got 'no way'"):
        batch.add(B, Call(endpoint="http://x", function="no way"), C)
    with pytest.raises(
        InvalidCallError, match=r"calls\[1\]: a Call, as new_call makes it, is required"
    ):
        batch.add({"function": "f"})
    assert len(batch) == 1
    driver.dispatch(batch)
    dispatch_recorder.assert_requests(RecordedRequest([A]))


class Slow:
    """A handler that waits for a sign before it answers, and may lose ids or fail."""

    def __init__(self, *, ids: int | None = None, error: Exception | None = None) -> None:
        self.arrived, self.go_on = threading.Event(), threading.Event()
        self.requests: list[DispatchRequest] = []
        self.keys: list[str] = []
        self.timeouts: list[float] = []
        self.ids, self.error = ids, error

    async def dispatch(
        self, request: DispatchRequest, metadata: Mapping[str, str]
    ) -> DispatchResponse:
        self.requests.append(request)
        self.keys.append(metadata["idempotency-key"])
        timeout = metadata.get("grpc-timeout") or metadata.get("connect-timeout-ms")
        self.timeouts.append(milliseconds(timeout) if timeout else math.inf)
        self.arrived.set()
        await asyncio.to_thread(self.go_on.wait, 10)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        count = len(request.calls) if self.ids is None else self.ids
        return DispatchResponse(dispatch_ids=[str(number) for number in range(count)])


@pytest.mark.parametrize("fails", [False, True])
def test_calls_added_during_a_dispatch_are_kept(driver: Driver, fails: bool):
    handler = Slow(error=RPCError("no", code=Code.INTERNAL) if fails else None)
    with serve(handler) as server:
        batch = driver.client(server.url, retry=None).batch()
        batch.add(A)

        def add() -> None:
            assert handler.arrived.wait(10)
            batch.add(B)
            handler.go_on.set()

        thread = threading.Thread(target=add)
        thread.start()
        if fails:
            with pytest.raises(RPCError):
                driver.dispatch(batch)
        else:
            assert len(driver.dispatch(batch)) == 1
        thread.join()
        assert len(batch) == (2 if fails else 1)
        driver.dispatch(batch)
    sent = [[call.function for call in request.calls] for request in handler.requests]
    assert sent == ([["a"], ["a", "b"]] if fails else [["a"], ["b"]])
    assert len(set(handler.keys)) == 2  # other calls, another key


@pytest.mark.parametrize("ids", [0, 1, 3])
def test_another_number_of_ids_is_an_error(driver: Driver, ids: int):
    handler = Slow(ids=ids)
    handler.go_on.set()
    with serve(handler) as server:
        batch = driver.client(server.url).batch()
        batch.add(A, B)
        with pytest.raises(ProtocolError, match=f"returned {ids} ids for 2 calls") as caught:
            driver.dispatch(batch)
    assert caught.value.idempotency_key
    assert len(batch) == 2


def test_a_dispatch_does_not_wait_for_another_beyond_its_timeout(driver: Driver):
    """One dispatch has no deadline and hangs; another of the same batch ends by its own."""
    handler = Slow()
    with serve(handler) as server:
        batch = driver.client(server.url).batch()
        batch.add(A)
        short = timedelta(milliseconds=200)
        if driver.is_async:

            async def both() -> None:
                first = asyncio.ensure_future(batch.dispatch(timeout=None))
                assert await asyncio.to_thread(handler.arrived.wait, 10)
                with pytest.raises(DeadlineExceededError, match="another dispatch"):
                    await batch.dispatch(timeout=short)
                handler.go_on.set()
                assert len(await first) == 1

            driver.run(both)
        else:
            first = threading.Thread(target=lambda: batch.dispatch(timeout=None))
            first.start()
            assert handler.arrived.wait(10)
            with pytest.raises(DeadlineExceededError, match="another dispatch"):
                batch.dispatch(timeout=short)
            handler.go_on.set()
            first.join()
    assert len(handler.requests) == 1


def test_a_timeout_counts_once_behind_another_dispatch(driver: Driver):
    """A dispatch that waits for another has only the rest of its timeout for its request."""
    handler = Slow()
    with serve(handler) as server:
        batch = driver.client(server.url, retry=None).batch()
        batch.add(A)
        if driver.is_async:

            async def both() -> None:
                first = asyncio.ensure_future(batch.dispatch())
                assert await asyncio.to_thread(handler.arrived.wait, 10)
                batch.add(B)
                asyncio.get_running_loop().call_later(1.0, handler.go_on.set)
                assert len(await batch.dispatch(timeout=20)) == 1
                await first

            driver.run(both)
        else:
            first = threading.Thread(target=batch.dispatch)
            first.start()
            assert handler.arrived.wait(10)
            batch.add(B)
            timer = threading.Timer(1.0, handler.go_on.set)
            timer.start()
            assert len(batch.dispatch(timeout=20)) == 1
            first.join()
            timer.join()
    assert handler.timeouts[1] <= 19_600  # gRPC rounds 19.01 s up to 19.1 s


def milliseconds(deadline: str) -> float:
    """Read a header of gRPC or Connect."""
    units = {"n": 1e-6, "u": 1e-3, "m": 1, "S": 1000}
    unit = units.get(deadline[-1])
    return int(deadline) if unit is None else int(deadline[:-1]) * unit


def test_two_threads_never_send_a_batch_twice(protocol: str, dispatch_recorder: CallRecorder):
    handler = Slow()
    results: list[list[str]] = []
    with serve(handler) as server, Client(KEY, api_url=server.url, protocol=protocol) as client:
        batch = client.batch()
        batch.add(A, B)
        threads = [
            threading.Thread(target=lambda: results.append(batch.dispatch())) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        assert handler.arrived.wait(10)
        handler.go_on.set()
        for thread in threads:
            thread.join()
    assert sorted(map(len, results)) == [0] * 7 + [2]
    assert len(handler.requests) == 1


def test_two_tasks_never_send_a_batch_twice(protocol: str, dispatch_recorder: CallRecorder):
    from dispatch_grpc import AsyncClient

    async def main(url: str) -> list[list[str]]:
        async with AsyncClient(KEY, api_url=url, protocol=protocol) as client:
            batch = client.batch()
            batch.add(A, B)
            return await asyncio.gather(*[batch.dispatch() for _ in range(8)])

    with serve(dispatch_recorder) as server:
        assert sorted(map(len, asyncio.run(main(server.url)))) == [0] * 7 + [2]
    assert len(dispatch_recorder.requests) == 1


def test_adding_from_many_threads_loses_nothing(dispatch_recorder, dispatch_server):
    with Client(KEY, api_url=dispatch_server.url) as client:
        batch = client.batch()
        ids: list[str] = []

        def work(name: str) -> None:
            for number in range(100):
                batch.add(new_call("http://x", f"{name}{number}"))
                if number % 10 == 9:
                    ids.extend(batch.dispatch())

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ids.extend(batch.dispatch())
    names = [call.function for call in dispatch_recorder.calls]
    assert len(names) == len(set(names)) == len(set(ids)) == 400
