"""new_call, and the rules of the schema that every call must keep."""

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc import Call, InvalidCallError, MarshalError, marshal, new_call
from dispatch_grpc.calls import check_call

GOOD_ENDPOINTS = [
    "http://example.com",
    "https://user:pw@example.com:8443/a/b;c=1?q=%20#frag",
    "http://127.0.0.1:8000",
    "http://[::1]:8000/x",
    "https://xn--bcher-kva.example",
    "bridge://9f1b7a52-0000",
    "arn:aws:lambda:us-west-2:012345678901:function:my-function:$LATEST",
    "http://a/%C3%A9",
    "https://host:",
]
BAD_ENDPOINTS: list[Any] = [
    "",
    "example.com",
    "ftp://example.com",
    "HTTP://example.com",
    " http://example.com",
    "http://example.com\n",
    "http://",
    "http:///path",
    "https://?q",
    "http://exa mple.com",
    "http://bücher.example",
    "http://a/%zz",
    "http://a/%4",
    "http://a/<b>",
    "http://a:port",
    "http://[::1",
    "http://a/#b#c",
    "bridge:x",
    "arn:aws:s3:::bucket",
    "arn:aws:lambda:ü",
    None,
    b"http://example.com",
    5,
    ["http://example.com"],
]
GOOD_FUNCTIONS = ["f", "_", "a.b.c", "Outer.<locals>.inner", "F9_", "a<b>.c"]
BAD_FUNCTIONS: list[Any] = [
    "",
    "9f",
    ".f",
    "<f",
    "a b",
    "f\n",
    "é",
    "a-b",
    "f()",
    None,
    5,
    b"f",
    ["f"],
]


@pytest.mark.parametrize("endpoint", GOOD_ENDPOINTS)
def test_endpoints_that_are_accepted(endpoint: str):
    assert new_call(endpoint, "f").endpoint == endpoint
    check_call(Call(endpoint=endpoint, function="f"), 0)


@pytest.mark.parametrize("endpoint", BAD_ENDPOINTS)
def test_endpoints_that_are_not(endpoint: Any):
    with pytest.raises(InvalidCallError, match=r"^endpoint: a URI .* is required; got ") as caught:
        new_call(endpoint, "f")
    assert repr(endpoint) in str(caught.value)
    if isinstance(endpoint, str):
        with pytest.raises(InvalidCallError, match=r"^calls\[3\]\.endpoint: a URI"):
            check_call(Call(endpoint=endpoint, function="f"), 3)


@pytest.mark.parametrize("function", GOOD_FUNCTIONS)
def test_functions_that_are_accepted(function: str):
    assert new_call("http://x", function).function == function
    check_call(Call(endpoint="http://x", function=function), 0)


@pytest.mark.parametrize("function", BAD_FUNCTIONS)
def test_functions_that_are_not(function: Any):
    with pytest.raises(InvalidCallError, match=r"^function: a name that matches .*; got "):
        new_call("http://x", function)
    if isinstance(function, str):
        with pytest.raises(InvalidCallError, match=r"^calls\[0\]\.function: a name"):
            check_call(Call(endpoint="http://x", function=function), 0)


def test_inputs():
    any = AnyProto(type_url="example.com/T", value=b"\xff")
    # Not by ==, which protobuf in pure Python cannot do for an unknown type.
    assert new_call("http://x", "f", any).input.SerializeToString() == any.SerializeToString()
    assert new_call("http://x", "f", [1]).input == marshal([1])
    assert new_call("http://x", "f").input == marshal(None)
    with pytest.raises(MarshalError, match=r"^\$: "):
        new_call("http://x", "f", object())


def test_the_input_is_a_copy():
    any = marshal(1)
    call = new_call("http://x", "f", any)
    any.value = b""
    assert call.input == marshal(1)


@pytest.mark.parametrize(
    ("expiration", "seconds", "nanos"),
    [
        (timedelta(0), 0, 0),
        (timedelta(microseconds=1), 0, 1000),
        (timedelta(days=1, seconds=1, microseconds=999_999), 86401, 999_999_000),
        (timedelta(seconds=315_576_000_000), 315_576_000_000, 0),
    ],
)
def test_expirations(expiration: timedelta, seconds: int, nanos: int):
    call = new_call("http://x", "f", expiration=expiration)
    assert call.HasField("expiration")
    assert (call.expiration.seconds, call.expiration.nanos) == (seconds, nanos)
    check_call(call, 0)


def test_what_is_not_given_is_not_set():
    call = new_call("http://x", "f")
    assert not call.HasField("expiration")
    assert (call.version, call.correlation_id) == ("", 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expiration": timedelta(microseconds=-1)}, r"^expiration: a timedelta of zero or more"),
        ({"expiration": 5}, r"^expiration: a timedelta .* got int 5"),
        (
            {"expiration": timedelta(seconds=315_576_000_001)},
            r"^expiration: at most 315576000000",
        ),
        ({"version": 1}, r"^version: a str is required; got int 1"),
        ({"version": "\ud800"}, r"^version: a str"),
        ({"correlation_id": -1}, r"^correlation_id: an int from 0 to 2\*\*64 - 1 .* got int -1"),
        ({"correlation_id": 2**64}, r"^correlation_id: an int"),
        ({"correlation_id": "1"}, r"^correlation_id: an int"),
    ],
)
def test_options_that_are_not_accepted(options: dict[str, Any], message: str):
    with pytest.raises(InvalidCallError, match=message):
        new_call("http://x", "f", **options)


@pytest.mark.parametrize("parts", [(-1, 0), (0, -1), (0, 10**9), (315_576_000_001, 0)])
def test_expirations_of_calls_made_by_hand(parts: tuple[int, int]):
    call = Call(endpoint="http://x", function="f")
    call.expiration.seconds, call.expiration.nanos = parts
    with pytest.raises(InvalidCallError, match=r"^calls\[1\]\.expiration: .* got seconds="):
        check_call(call, 1)


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(InvalidCallError) as caught:
        new_call("x" * 100_000, "f")
    assert len(str(caught.value)) < 500
