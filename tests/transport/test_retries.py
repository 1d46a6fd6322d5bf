"""Retries: bounded, within the deadline, with one idempotency key."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import grpc
import pytest
from dispatch.sdk.v1 import dispatch_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from dispatch_grpc import (
    AsyncClient,
    Client,
    Code,
    ConfigurationError,
    DeadlineExceededError,
    RequestTooLargeError,
    ResourceExhaustedError,
    RetryPolicy,
    RPCError,
    UnavailableError,
    new_call,
)
from dispatch_grpc.schema import DispatchResponse
from dispatch_grpc.testing import CallRecorder, Server
from dispatch_grpc.transport.retry import Attempts, retry_after
from tests import hostile
from tests.conftest import KEY, Driver

CALL = new_call("http://example.com", "f")
FAST = RetryPolicy(
    initial_backoff=timedelta(milliseconds=10), max_backoff=timedelta(milliseconds=20)
)
RETRYABLE = (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)


@pytest.mark.parametrize("code", RETRYABLE)
def test_on_by_default(
    driver: Driver, code: Code, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    dispatch_recorder.fail_next(code, times=2)
    driver.dispatch(driver.client(dispatch_server.url), CALL)
    keys = {
        request.metadata["idempotency-key"]
        for request in dispatch_recorder.refused + dispatch_recorder.requests
    }
    assert len(dispatch_recorder.refused) == 2
    assert len(keys) == 1


@pytest.mark.parametrize("attempts", [2, 7])
def test_bounded(
    driver: Driver, attempts: int, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    dispatch_recorder.fail_next(Code.UNAVAILABLE, times=20)
    retry = RetryPolicy(
        max_attempts=attempts,
        initial_backoff=timedelta(milliseconds=10),
        max_backoff=timedelta(milliseconds=20),
    )
    with pytest.raises(UnavailableError):
        driver.dispatch(driver.client(dispatch_server.url, retry=retry), CALL)
    assert len(dispatch_recorder.refused) == attempts


def test_turned_off(driver: Driver, dispatch_recorder: CallRecorder, dispatch_server: Server):
    dispatch_recorder.fail_next(Code.UNAVAILABLE)
    with pytest.raises(UnavailableError):
        driver.dispatch(driver.client(dispatch_server.url, retry=None), CALL)
    assert len(dispatch_recorder.refused) == 1


@pytest.mark.parametrize("code", [code for code in Code if code not in RETRYABLE])
def test_no_other_code_is_tried_again(
    driver: Driver, code: Code, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    dispatch_recorder.fail_next(code)
    with pytest.raises(RPCError):
        driver.dispatch(driver.client(dispatch_server.url, retry=FAST), CALL)
    assert len(dispatch_recorder.refused) == 1


def test_within_the_deadline(
    driver: Driver, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    dispatch_recorder.fail_next(Code.UNAVAILABLE, times=20)
    slow = RetryPolicy(initial_backoff=timedelta(seconds=60), max_backoff=timedelta(seconds=60))
    client = driver.client(dispatch_server.url, retry=slow, timeout=timedelta(seconds=0.5))
    start = time.monotonic()
    with pytest.raises((UnavailableError, DeadlineExceededError)):
        driver.dispatch(client, CALL)
    assert time.monotonic() - start < 20


def test_a_request_of_megabytes_is_tried_again(
    driver: Driver, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    dispatch_recorder.fail_next(Code.UNAVAILABLE)
    driver.dispatch(
        driver.client(dispatch_server.url, retry=FAST), new_call("http://x", "f", b"." * 2_000_000)
    )
    assert len(dispatch_recorder.requests) == 1


def test_connections_that_break_are_tried_again(driver: Driver):
    with hostile.raw(b"") as (url, connections):
        with pytest.raises(UnavailableError):
            driver.dispatch(driver.client(url), CALL)
        assert len(connections) > 1


def test_a_service_that_comes_back_in_time(driver: Driver, dispatch_recorder: CallRecorder):
    """The service is not there at the first attempt, and there at a later one."""
    from dispatch_grpc.server import dispatch_app
    from dispatch_grpc.serving import one_port, sockets

    port = hostile.unused_port()
    stop = threading.Event()

    async def serve() -> None:
        until = asyncio.to_thread(stop.wait, 30)
        listener = sockets.listen(port=port)
        await one_port.serve(dispatch_app(dispatch_recorder), listener, until=lambda: until)

    late = threading.Timer(0.3, lambda: asyncio.run(serve()))
    late.start()
    try:
        retry = RetryPolicy(initial_backoff=timedelta(seconds=2), max_backoff=timedelta(seconds=2))
        client = driver.client(f"http://127.0.0.1:{port}", retry=retry)
        driver.dispatch(client, CALL, timeout=timedelta(seconds=30))
    finally:
        stop.set()
        late.join()
    assert len(dispatch_recorder.requests) == 1


class Servicer(dispatch_pb2_grpc.DispatchServiceServicer):
    """A service on grpcio's own server, which sends errors without headers before them."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str]] = []
        self.failures: list[grpc.StatusCode] = []
        self.trailers: list[tuple[str, bytes]] = []

    def Dispatch(self, request, context):  # noqa: N802
        self.metadata.append(dict(context.invocation_metadata()))
        context.set_trailing_metadata(self.trailers)
        if self.failures:
            context.abort(self.failures.pop(), "told to fail")
        return DispatchResponse(dispatch_ids=["id"] * len(request.calls))


@pytest.fixture
def grpc_server():
    servicer = Servicer()
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        dispatch_pb2_grpc.add_DispatchServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield servicer, f"http://127.0.0.1:{port}"
        server.stop(None).wait(10)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("failures", [2, 9])
def test_one_loop_retries(grpc_server, kind: str, failures: int):
    """gRPC's own retries are off: they would add a header (gRFC A6)."""
    servicer, url = grpc_server
    servicer.failures = [grpc.StatusCode.UNAVAILABLE] * failures
    driver = Driver("grpc", is_async=kind == "async")
    client = driver.client(url, retry=FAST)
    if failures == 2:
        assert driver.dispatch(client, CALL) == "id"
    else:
        with pytest.raises(UnavailableError, match="told to fail"):
            driver.dispatch(client, CALL)
    driver.close()
    assert len(servicer.metadata) == min(failures + 1, 5)
    assert not any("grpc-previous-rpc-attempts" in metadata for metadata in servicer.metadata)
    assert len({metadata["idempotency-key"] for metadata in servicer.metadata}) == 1


def test_details_of_an_error_of_grpc(grpc_server):
    from google.protobuf.any_pb2 import Any
    from google.protobuf.wrappers_pb2 import StringValue

    servicer, url = grpc_server
    detail = Any()
    detail.Pack(StringValue(value="why"))
    written = detail.SerializeToString()
    # A google.rpc.Status: its code (1), its message (2), its details (3).
    status = b"\x08\x08" + b"\x12\x04full" + (b"\x1a" + bytes([len(written)]) + written) * 2
    for data, expected in (
        (status, (detail, detail)),
        (b"\x08\x08\x18\x01", ()),  # another message: its field 3 is a number
        (b"\xff\xff", ()),
    ):
        servicer.trailers = [("grpc-status-details-bin", data)]
        servicer.failures = [grpc.StatusCode.RESOURCE_EXHAUSTED]
        with Client(KEY, api_url=url, retry=None) as client:
            with pytest.raises(ResourceExhaustedError) as caught:
                client.dispatch(CALL)
            assert caught.value.details == expected


def test_the_policy_is_checked():
    for wrong in (
        {"max_attempts": 1},
        {"max_attempts": 2.5},
        {"initial_backoff": timedelta(0)},
        {"max_backoff": 1.0},
    ):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            RetryPolicy(**wrong)
    for cls in (Client, AsyncClient):
        with pytest.raises(ConfigurationError, match="retry: a RetryPolicy or None is required"):
            cls(KEY, retry=3)


def test_policies_are_equal_by_value():
    assert RetryPolicy() == RetryPolicy()
    assert hash(RetryPolicy()) == hash(RetryPolicy())
    assert RetryPolicy(max_attempts=9) != RetryPolicy()
    assert repr(RetryPolicy()).startswith("RetryPolicy(max_attempts=5, initial_backoff=")


@given(
    attempts=st.integers(2, 200),
    initial=st.floats(0.001, 1e6),
    bound=st.floats(0.001, 1e6),
    timeout=st.none() | st.floats(0.001, 1e6),
    events=st.lists(
        st.tuples(
            st.sampled_from([*RETRYABLE, Code.INTERNAL]),
            st.none() | st.floats(-10, 1e5),
            st.floats(0, 1e4),
        ),
        min_size=1,
        max_size=250,
    ),
)
def test_every_wait_is_bounded(attempts, initial, bound, timeout, events):
    policy = RetryPolicy(
        max_attempts=attempts,
        initial_backoff=timedelta(seconds=initial),
        max_backoff=timedelta(seconds=bound),
    )
    state, elapsed, waits = Attempts(policy, timeout), 0.0, 0
    for code, asks, took in events:
        elapsed += took
        wait = state.wait(code, asks, elapsed)
        if code not in RETRYABLE or (asks is not None and asks < 0):
            assert wait is None
        if wait is None:
            break
        asked = asks or 0
        assert asked <= wait <= asked + min(initial * 2**waits, bound) * 1.001 + 1e-5
        assert timeout is None or elapsed + wait < timeout
        elapsed, waits = elapsed + wait, waits + 1
    assert waits < attempts
    assert Attempts(None, timeout).wait(Code.UNAVAILABLE, None, 0) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"grpc-retry-pushback-ms": "1500"}, 1.5),
        ({"grpc-retry-pushback-ms": "-1"}, -1),
        ({"grpc-retry-pushback-ms": "?"}, -1),
        ({"grpc-retry-pushback-ms": "20", "retry-after": "3"}, 0.02),
    ],
)
def test_what_a_server_asks_for(headers: dict[str, str], seconds: float | None):
    assert retry_after(headers.get) == seconds


def refusing(*headers: tuple[str, str]) -> tuple[hostile.App, list[float]]:
    """A service that is not available the first time."""
    times: list[float] = []
    encoded = [(key.encode(), value.encode()) for key, value in headers]

    async def answer(send, is_grpc: bool) -> None:
        times.append(time.monotonic())
        failed = len(times) == 1
        kind = b"application/grpc" if is_grpc else b"application/json"
        start = {"type": "http.response.start", "status": 503 if failed and not is_grpc else 200}
        body = b'{"code":"unavailable"}' if failed else b'{"dispatchIds":["id"]}'
        if is_grpc:
            body = b"" if failed else b"\0\0\0\0\x04\x0a\x02id"
        await send({**start, "headers": [(b"content-type", kind)], "trailers": is_grpc})
        await send({"type": "http.response.body", "body": body})
        if is_grpc:
            trailers = [(b"grpc-status", b"14" if failed else b"0"), *(encoded if failed else ())]
            await send({"type": "http.response.trailers", "headers": trailers})

    async def with_headers(send, is_grpc: bool) -> None:
        async def sending(message) -> None:
            if message["type"] == "http.response.start" and not is_grpc and len(times) == 1:
                message["headers"] = [*message["headers"], *encoded]
            await send(message)

        await answer(sending, is_grpc)

    return hostile.app(with_headers), times


@pytest.mark.parametrize("header", [("retry-after", "1"), ("grpc-retry-pushback-ms", "1000")])
def test_the_time_that_a_server_asks_for_is_kept(driver: Driver, header: tuple[str, str]):
    if driver.protocol == "connect":
        driver.protocol = "connect+json"  # which the server speaks
    app, times = refusing(header)
    with hostile.serving(app) as server:
        assert driver.dispatch(driver.client(server.url, retry=FAST), CALL) == "id"
    assert times[1] - times[0] > 0.9


@pytest.mark.parametrize("header", [("retry-after", "60"), ("grpc-retry-pushback-ms", "-1")])
def test_a_server_that_asks_for_no_retry(driver: Driver, header: tuple[str, str]):
    app, times = refusing(header)
    with hostile.serving(app) as server:
        with pytest.raises(UnavailableError) as caught:
            driver.dispatch(driver.client(server.url), CALL)
    assert len(times) == 1
    assert caught.value.retry_after == (-1 if header[1] == "-1" else 60)


def test_a_message_that_is_too_large_is_sent_once(
    driver: Driver, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    text = "message is larger than configured max 4"
    dispatch_recorder.fail_next(Code.RESOURCE_EXHAUSTED, text, times=9)
    with pytest.raises(RequestTooLargeError):
        driver.dispatch(driver.client(dispatch_server.url), CALL)
    assert len(dispatch_recorder.refused) == 1
