"""What gRPC clients expect of any server: health, reflection, details of errors."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import grpc
import pytest
from dispatch.calls.v1.calls_pb2_grpc import CallServiceStub
from dispatch.calls.v1.schedules_pb2_grpc import ScheduleServiceStub
from dispatch.sdk.v1.dispatch_pb2_grpc import DispatchServiceStub
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from dispatch_grpc import Code, InvalidArgumentError, InvalidCallError, RPCError, new_call
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.schema import (
    Call,
    CallFilter,
    CompleteCallRequest,
    CreateScheduleRequest,
    DispatchRequest,
    ListCallsRequest,
    PauseCallsRequest,
    PurgeCallsRequest,
    Schedule,
    Submission,
    SubmitRequest,
    WaitCallRequest,
)
from dispatch_grpc.testing import serve
from tests.conftest import Driver, RunningService, data_dir, run_service
from tests.waiting import until

SERVICES = {
    "dispatch.sdk.v1.DispatchService",
    "dispatch.calls.v1.CallService",
    "dispatch.calls.v1.ScheduleService",
}
SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3
ID = "01a205dd-56fd-74e0-ad8a-5903b5ee80d5"


@pytest.fixture(scope="module")
def channel(service: RunningService) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(service.url.removeprefix("http://")) as channel:
        yield channel


# Health


@pytest.mark.parametrize("name", ["", *sorted(SERVICES)])
def test_each_service_is_healthy_without_a_key(channel: grpc.Channel, name: str):
    def status() -> int:
        answer = HealthStub(channel).Check(HealthCheckRequest(service=name), timeout=10)
        return int(answer.status)

    until(lambda: status() == SERVING)  # it is ready soon after its start


@pytest.mark.skipif(
    not hasattr(health_pb2, "HealthListRequest"),
    reason="the oldest grpcio-health-checking that is supported has no List",
)
def test_the_health_of_all_services_at_once(channel: grpc.Channel):
    def statuses() -> dict[str, int]:
        answer = HealthStub(channel).List(health_pb2.HealthListRequest(), timeout=10)
        return {name: found.status for name, found in answer.statuses.items()}

    until(lambda: statuses() == dict.fromkeys({"", *SERVICES}, SERVING))


def test_a_service_that_is_not_there(channel: grpc.Channel):
    with pytest.raises(grpc.RpcError) as caught:
        HealthStub(channel).Check(HealthCheckRequest(service="x"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = HealthStub(channel).Watch(HealthCheckRequest(service="x"), timeout=10)
    assert next(watch).status == UNKNOWN
    watch.cancel()


def test_a_watch_tells_the_end_of_a_service_and_does_not_hold_it_up():
    told: list[int] = []
    first = threading.Event()

    def watch(address: str) -> None:
        # The connection may end before the streams do.
        with grpc.insecure_channel(address) as channel, suppress(grpc.RpcError):
            for answer in HealthStub(channel).Watch(HealthCheckRequest()):
                told.append(answer.status)
                first.set()

    with data_dir() as folder:
        with run_service(folder) as running:
            watching = threading.Thread(target=watch, args=(running.url.removeprefix("http://"),))
            watching.start()
            assert first.wait(30)
            # An open stream of reflection is ended too.
            channel = grpc.insecure_channel(running.url.removeprefix("http://"))
            ended = threading.Event()
            path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            answers: Any = channel.stream_stream(path)(silent(ended))
    watching.join(30)
    assert not watching.is_alive()
    assert told[-1] == NOT_SERVING
    with suppress(grpc.RpcError):
        assert list(answers) == []
    ended.set()
    channel.close()


def silent(ended: threading.Event) -> Iterator[bytes]:
    """Requests that do not come."""
    ended.wait(60)
    yield from ()


# Reflection


def test_the_schema_is_told_without_a_key(channel: grpc.Channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    reflection = {f"grpc.reflection.{one}.ServerReflection" for one in ("v1", "v1alpha")}
    services = set(database.get_services())
    assert services == SERVICES | reflection | {"grpc.health.v1.Health"}
    pool = DescriptorPool(database)
    for name in services:
        assert pool.FindServiceByName(name).methods
    for name in (
        "dispatch.calls.v1.CallInfo",
        "google.rpc.BadRequest",
        "google.protobuf.StringValue",
        "dispatch.workflow.v1.State",
    ):
        assert pool.FindMessageTypeByName(name).full_name == name
    with pytest.raises(KeyError):
        pool.FindMessageTypeByName("google.iam.v1.Policy")


# Details of errors


def details_of(error: RPCError) -> dict[str, Any]:
    """The details of an error by the names of their types."""
    found = {}
    for packed in error.details:
        message = {"BadRequest": BadRequest, "ErrorInfo": ErrorInfo, "RetryInfo": RetryInfo}[
            packed.TypeName().removeprefix("google.rpc.")
        ]()
        assert packed.Unpack(message)
        found[type(message).__name__] = message
    return found


def test_an_invalid_field_is_named_in_each_protocol(driver: Driver, service: RunningService):
    client = driver.client(service.url, service.api_key, retry=None)
    with pytest.raises(RPCError) as caught:
        driver.dispatch(client, new_call("bridge://x", "f"))
    error = caught.value
    (violation,) = details_of(error)["BadRequest"].field_violations
    assert violation.field == "calls[0].endpoint"
    assert error.message.endswith(f" answered: calls[0].endpoint: {violation.description}")


def test_a_wrong_key_is_told_by_a_reason_in_each_protocol(driver: Driver, service: RunningService):
    with pytest.raises(RPCError) as caught:
        driver.dispatch(driver.client(service.url, "wrong", retry=None), new_call("http://x", "f"))
    info = details_of(caught.value)["ErrorInfo"]
    assert (info.reason, info.domain) == ("API_KEY_INVALID", "dispatch-grpc")


CALL = Call(endpoint="http://example.com", function="f")


@pytest.mark.parametrize(
    ("stub", "method", "request_", "field"),
    [
        (
            DispatchServiceStub,
            "Dispatch",
            DispatchRequest(calls=[CALL, Call(endpoint="http://example.com", function="a b")]),
            "calls[1].function",
        ),
        (
            CallServiceStub,
            "Submit",
            SubmitRequest(submissions=[Submission(call=CALL, labels={"key": "\n"})]),
            "submissions[0].labels['key']",
        ),
        (
            CallServiceStub,
            "Submit",
            SubmitRequest(submissions=[Submission(call=Call(endpoint="http://[", function="f"))]),
            "submissions[0].call.endpoint",
        ),
        (CallServiceStub, "ListCalls", ListCallsRequest(page_size=-1), "page_size"),
        (CallServiceStub, "ListCalls", ListCallsRequest(labels={"a b": "c"}), "labels"),
        (CallServiceStub, "PauseCalls", PauseCallsRequest(function="a b"), "function"),
        (CallServiceStub, "PauseCalls", PauseCallsRequest(), "all"),
        (
            CallServiceStub,
            "PurgeCalls",
            PurgeCallsRequest(filter=CallFilter(function="\0"), validate_only=True),
            "filter.function",
        ),
        (CallServiceStub, "CompleteCall", CompleteCallRequest(dispatch_id=ID), "result"),
        (
            CallServiceStub,
            "WaitCall",
            WaitCallRequest(dispatch_id=ID, max_wait=Duration(seconds=-1)),
            "max_wait",
        ),
        (
            ScheduleServiceStub,
            "CreateSchedule",
            CreateScheduleRequest(schedule=Schedule(name="s", call=CALL, cron="61 * * * *")),
            "schedule.cron",
        ),
        (
            ScheduleServiceStub,
            "CreateSchedule",
            CreateScheduleRequest(schedule=Schedule(name="s", call=CALL)),
            "schedule",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_field_of_each_method(
    service: RunningService,
    channel: grpc.Channel,
    stub: Any,
    method: str,
    request_: Any,
    field: str,
):
    metadata = [("authorization", f"Bearer {service.api_key}")]
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub(channel), method)(request_, metadata=metadata, timeout=10)
    error: Any = caught.value
    trailers = dict(error.trailing_metadata())
    status = Status.FromString(trailers["grpc-status-details-bin"])
    assert (status.code, status.message) == (Code.INVALID_ARGUMENT.value, error.details())
    found = BadRequest()
    assert status.details[0].Unpack(found)
    assert [one.field for one in found.field_violations] == [field]


def test_when_to_try_again_is_told(driver: Driver):
    with data_dir() as folder, run_service(folder, max_backlog=0) as running:
        client = driver.client(running.url, running.api_key, retry=None)
        with pytest.raises(RPCError) as caught:
            driver.dispatch(client, new_call("http://x", "f"))
    found = details_of(caught.value)
    assert found["RetryInfo"].retry_delay.ToSeconds() == caught.value.retry_after == 1
    assert found["ErrorInfo"].reason == "QUEUE_FULL"
    assert found["ErrorInfo"].metadata == {"waiting": "0", "limit": "0"}


def test_a_key_that_was_used_for_other_calls(driver: Driver, service: RunningService):
    client, key = driver.client(service.url, service.api_key), str(uuid4())
    driver.dispatch(client, new_call("http://x", "f"), idempotency_key=key, delay=900)
    with pytest.raises(RPCError) as caught:
        driver.dispatch(client, new_call("http://x", "g"), idempotency_key=key, delay=900)
    assert details_of(caught.value)["ErrorInfo"].reason == "IDEMPOTENCY_KEY_REUSED"


def test_a_handler_may_add_details(driver: Driver):
    class Handler:
        async def dispatch(self, _: Any, __: Any) -> Any:
            packed = AnyProto()
            packed.Pack(ErrorInfo(reason="ONE"))
            raise rpc_error(Code.PERMISSION_DENIED, "no", [packed, RetryInfo()])

    with serve(Handler()) as server:
        client = driver.client(server.url, retry=None)
        with pytest.raises(RPCError) as caught:
            driver.dispatch(client, new_call("http://x", "f"))
    found = details_of(caught.value)
    assert found["ErrorInfo"].reason == "ONE"
    assert "RetryInfo" in found


@pytest.mark.parametrize(
    ("text", "described"), [("x" * 2000, 1000), ("x" * 3000, 0), ("é" * 999, 0)]
)
def test_details_have_bounds(driver: Driver, text: str, described: int):
    """Clients of gRPC take few kilobytes of trailers, and refuse more of them by chance."""

    class Handler:
        async def dispatch(self, _: Any, __: Any) -> Any:
            raise InvalidCallError(f"calls[0].input: {text}")

    with serve(Handler()) as server:
        client = driver.client(server.url, retry=None)
        for _ in range(20):
            with pytest.raises(InvalidArgumentError) as caught:
                driver.dispatch(client, new_call("http://x", "f"))
            assert text in str(caught.value)
    found = [one.field_violations[0] for one in details_of(caught.value).values()]
    assert [len(violation.description) for violation in found] == [described] * bool(described)
    assert all(violation.field == "calls[0].input" for violation in found)
