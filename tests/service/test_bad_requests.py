"""Requests of generated stubs that break a rule: each error names the field and what is allowed."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import grpc
import pytest
from dispatch.calls.v1.calls_pb2_grpc import CallServiceStub
from dispatch.sdk.v1.call_pb2 import Call
from dispatch.sdk.v1.dispatch_pb2 import DispatchRequest
from dispatch.sdk.v1.dispatch_pb2_grpc import DispatchServiceStub
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from dispatch_grpc.schema import (
    CancelCallRequest,
    GetCallRequest,
    ListCallsRequest,
    WaitCallRequest,
)
from tests.conftest import RunningService

TOO_LATE = Timestamp(seconds=2**40)


@pytest.fixture(scope="module")
def channel(service: RunningService) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(service.url.removeprefix("http://")) as channel:
        yield channel


def refused(service: RunningService, method: Any, request: Any) -> tuple[str, str]:
    """Return the code and the message of the error that a request ends with."""
    metadata = [("authorization", f"Bearer {service.api_key}")]
    with pytest.raises(grpc.RpcError) as caught:
        method(request, metadata=metadata, timeout=10)
    error: Any = caught.value
    return error.code().name, error.details()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"page_size": 101_000}, "page_size: an int from 1 to 1000 is required; got 101000"),
        ({"page_size": -1}, "page_size: an int from 1 to 1000 is required; got -1"),
        ({"state": 70_000}, "state: 70000 is not a CallState"),
        ({"status": 70_000}, "status: 70000 is not a Status"),
        ({"function": "\0"}, "function: a text without NUL is required"),
        ({"endpoint": "http://\0"}, "endpoint: a text without NUL is required"),
        ({"created_after": TOO_LATE}, "created_after: "),
        ({"created_before": TOO_LATE}, "created_before: "),
        ({"page_token": "!"}, "page_token: "),
        ({"page_token": "AAAA"}, "page_token: "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_list_of_calls(
    service: RunningService, channel: grpc.Channel, fields: dict[str, Any], reason: str
):
    stub = CallServiceStub(channel)
    code, message = refused(service, stub.ListCalls, ListCallsRequest(**fields))
    assert code == "INVALID_ARGUMENT"
    assert reason in message


@pytest.mark.parametrize("id", ["", "x", "\udcff".encode(errors="replace").decode(), "a" * 1000])
def test_an_id_that_is_no_id(service: RunningService, channel: grpc.Channel, id: str):
    stub = CallServiceStub(channel)
    for method, request in (
        (stub.GetCall, GetCallRequest(dispatch_id=id)),
        (stub.WaitCall, WaitCallRequest(dispatch_id=id)),
        (stub.CancelCall, CancelCallRequest(dispatch_id=id)),
    ):
        code, message = refused(service, method, request)
        assert code == "NOT_FOUND"
        assert message.startswith("dispatch_id: there is no call of the id ")
        assert len(message) < 200


def test_a_call_that_is_not_there(service: RunningService, channel: grpc.Channel):
    stub, id = CallServiceStub(channel), str(uuid4())
    assert refused(service, stub.CancelCall, CancelCallRequest(dispatch_id=id)) == (
        "NOT_FOUND",
        f"there is no call {id}",
    )


def test_a_negative_wait(service: RunningService, channel: grpc.Channel):
    request = WaitCallRequest(dispatch_id=str(uuid4()), max_wait=Duration(seconds=-1))
    code, message = refused(service, CallServiceStub(channel).WaitCall, request)
    assert (code, message) == ("INVALID_ARGUMENT", "max_wait: must not be negative")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"endpoint": "bridge://example.com"}, "endpoint: this service calls http:// and https://"),
        ({"endpoint": "http://[::1"}, "endpoint: "),
        ({"endpoint": "http://example.com:x"}, "endpoint: "),
        ({"endpoint": "http://:80"}, "endpoint: a URI (RFC 3986) that begins with"),
        ({"endpoint": "http://example.com?x"}, "endpoint: a query or a fragment is not allowed"),
        ({"endpoint": "http://example.com/" + "x" * 3000}, "endpoint: at most 2048 characters"),
        ({"function": "f" * 3000}, "function: at most "),
        ({"version": "a\0b"}, "version: a text without NUL is required"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_call_that_the_service_cannot_make(
    service: RunningService, channel: grpc.Channel, fields: dict[str, Any], reason: str
):
    call = Call(**{"endpoint": "http://example.com", "function": "f", **fields})
    request = DispatchRequest(calls=[Call(endpoint="http://example.com", function="f"), call])
    code, message = refused(service, DispatchServiceStub(channel).Dispatch, request)
    assert code == "INVALID_ARGUMENT"
    assert message.startswith(f"calls[1].{reason}")
    assert len(message) < 2500
