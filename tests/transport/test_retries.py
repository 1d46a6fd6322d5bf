"""Retries: bounded, within the deadline, with one idempotency key."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import grpc
import pytest
from dispatch.sdk.v1 import dispatch_pb2_grpc

from dispatch_grpc import (
    AsyncClient,
    Client,
    Code,
    ConfigurationError,
    DeadlineExceededError,
    ResourceExhaustedError,
    RetryPolicy,
    RPCError,
    UnavailableError,
    new_call,
)
from dispatch_grpc.schema import DispatchResponse
from dispatch_grpc.testing import CallRecorder, Server
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
    from dispatch_grpc.serving import one_port

    port = hostile.unused_port()
    stop = threading.Event()

    async def serve() -> None:
        until = asyncio.to_thread(stop.wait, 30)
        listener = one_port.listen(port=port)
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

    from dispatch_grpc.transport import grpc as transport

    servicer, url = grpc_server
    detail = Any()
    detail.Pack(StringValue(value="why"))
    status = transport._status_class()(code=8, message="full")
    status.details.add(type_url=detail.type_url, value=detail.value)

    for data, expected in ((status.SerializeToString(), (detail,)), (b"\xff\xff", ())):
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
