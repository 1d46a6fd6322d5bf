"""What the helpers for primitives make, field by field, and what they refuse."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.struct_pb2 import Value

from dispatch_grpc import (
    Call,
    EndpointError,
    InvalidCallError,
    MarshalError,
    PermanentError,
    Status,
    marshal,
    new_call,
    unmarshal,
)
from dispatch_grpc.primitives import RunResponse, exit_, poll, tail_call
from dispatch_grpc.schema import Exit, Poll

CALL = new_call("http://example.com", "f", 23)
NESTED = Call(function="f", input=marshal(23))
LONGEST = timedelta(seconds=315_576_000_000)  # google.protobuf.Duration's own bound
TICK = timedelta(microseconds=1)


def raised(error: BaseException) -> BaseException:
    """The error with a traceback, as a function has it in `except`."""
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_exit_holds_its_output():
    response = exit_({"a": [1, None]})
    expected = RunResponse(status="STATUS_OK")
    expected.exit.result.output.CopyFrom(marshal({"a": [1, None]}))
    assert response == expected


@pytest.mark.parametrize("output", [None, 0, False, "", b""])
def test_an_exit_without_a_value_still_has_an_output(output: Any):
    response = exit_(output)
    assert response.exit.result.HasField("output")
    assert unmarshal(response.exit.result.output) == output


@pytest.mark.parametrize("output", [Value(number_value=2), marshal(Value(number_value=2))])
def test_a_message_is_an_output_as_it_is(output: Any):
    assert exit_(output).exit.result.output.type_url.endswith("google.protobuf.Value")
    assert unmarshal(exit_(output).exit.result.output, Value) == Value(number_value=2)


def test_an_exit_holds_its_error():
    response = exit_(error=raised(ValueError("no such price")))
    assert Status(response.status) is Status.TEMPORARY_ERROR
    result = response.exit.result
    assert not result.HasField("output")
    assert (result.error.type, result.error.message) == ("ValueError", "no such price")
    assert result.error.traceback.startswith(b"Traceback (most recent call last):")
    assert result.error.traceback.endswith(b"ValueError: no such price\n")
    assert not response.exit.HasField("tail_call")


def test_an_exit_may_hold_a_partial_result():
    response = exit_([1, 2], error=TimeoutError("the third"))
    assert Status(response.status) is Status.TIMEOUT
    assert unmarshal(response.exit.result.output) == [1, 2]
    assert response.exit.result.error.message == "the third"


def test_an_error_that_was_never_raised_is_told_too():
    result = exit_(error=KeyError("x")).exit.result
    assert (result.error.type, result.error.message) == ("KeyError", "'x'")
    assert result.error.traceback == b"KeyError: 'x'\n"


class ThrottledError(Exception):
    status = Status.THROTTLED


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ThrottledError(), Status.THROTTLED),
        (ConnectionResetError(), Status.TCP_ERROR),
        (RuntimeError(), Status.TEMPORARY_ERROR),
        (PermanentError(), Status.PERMANENT_ERROR),
        (KeyboardInterrupt(), Status.TEMPORARY_ERROR),
    ],
)
def test_the_status_of_an_error_is_that_of_the_table(error: BaseException, status: Status):
    assert Status(exit_(error=error).status) is status


@pytest.mark.parametrize("status", set(Status) - {Status.OK, Status.UNSPECIFIED})
def test_a_status_may_be_given_beside_an_error(status: Status):
    assert Status(exit_(error=ValueError(), status=status).status) is status


def test_a_status_of_ok_may_be_given():
    assert exit_(1, status=Status.OK) == exit_(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"error": ValueError("x"), "status": Status.OK}, r"status: .* got <Status\.OK: 1> and V"),
        ({"status": Status.TIMEOUT}, r"status: .* got <Status\.TIMEOUT: 2> and None"),
        ({"error": ValueError(), "status": Status.UNSPECIFIED}, "status: .* got <Status.UNSP"),
        ({"status": Status.UNSPECIFIED}, "status: a Status .* got <Status.UNSPECIFIED"),
        ({"error": ValueError(), "status": 3}, "status: a Status .* got 3"),
        ({"status": 1}, "status: a Status .* got 1"),
        ({"status": "OK"}, "status: a Status .* got 'OK'"),
        ({"error": "it failed"}, "error: an exception or None is required; got 'it failed'"),
        ({"error": ValueError}, "error: an exception or None is required; got <class 'ValueEr"),
    ],
)
def test_an_exit_that_contradicts_itself_is_refused(arguments: dict[str, Any], message: str):
    with pytest.raises(EndpointError, match=message):
        exit_(**arguments)


@pytest.mark.parametrize(
    ("make", "field"),
    [(lambda: exit_(object()), "output"), (lambda: poll(state=object()), "state")],
)
def test_what_cannot_be_marshalled_is_named(make: Callable[[], Any], field: str):
    with pytest.raises(MarshalError, match=rf"^{field}: \$: builtins\.object has no"):
        make()


def test_a_tail_call_holds_the_call_and_a_result():
    """The schema requires a result in every Exit."""
    response = tail_call(CALL)
    expected = RunResponse(status="STATUS_OK")
    expected.exit.result.SetInParent()
    expected.exit.tail_call.CopyFrom(CALL)
    assert response == expected
    assert response.exit.HasField("result")


def test_a_tail_call_may_leave_out_the_endpoint():
    assert tail_call(NESTED).exit == Exit(result={}, tail_call=NESTED)


def test_a_tail_call_is_a_copy():
    call = Call(function="f")
    response = tail_call(call)
    call.function = "g"
    assert response.exit.tail_call.function == "f"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (Call(endpoint="http://x"), r"tail_call\.function: a name .* got ''"),
        (Call(function="f", endpoint="ftp://x"), r"tail_call\.endpoint: a URI .* got 'ftp://x'"),
        (Call(function="f", expiration={"seconds": -1}), r"tail_call\.expiration: .* seconds=-1"),
        (None, "tail_call: a Call, as new_call makes it, is required; got NoneType None"),
        (tail_call, "tail_call: a Call, as new_call makes it, is required"),
    ],
)
def test_a_tail_call_that_breaks_a_rule_is_refused(call: Any, message: str):
    with pytest.raises(InvalidCallError, match=message):
        tail_call(call)


def test_a_poll_holds_its_fields():
    response = poll(
        [CALL, NESTED],
        state=b"\0state",
        min_results=2,
        max_results=3,
        max_wait=timedelta(seconds=4, microseconds=5),
    )
    assert Status(response.status) is Status.OK
    assert response.poll == Poll(
        coroutine_state=b"\0state",
        calls=[CALL, NESTED],
        min_results=2,
        max_results=3,
        max_wait={"seconds": 4, "nanos": 5000},
    )


def test_a_poll_has_defaults_that_keep_the_rules():
    assert poll().poll == Poll(
        coroutine_state=b"", min_results=1, max_results=1000, max_wait={"seconds": 300}
    )


def test_the_calls_of_a_poll_are_copies_of_any_iterable():
    calls = [new_call("http://example.com", "f", n, correlation_id=n) for n in range(3)]
    response = poll(call for call in calls)
    assert list(response.poll.calls) == calls
    calls[0].function = "g"
    assert response.poll.calls[0].function == "f"


@pytest.mark.parametrize("state", [b"", b"\xff" * 1000])
def test_bytes_are_a_state_by_themselves(state: bytes):
    message = poll(state=state).poll
    assert message.WhichOneof("state") == "coroutine_state"
    assert message.coroutine_state == state


@pytest.mark.parametrize("state", [None, 0, "", {"next": 3}, bytearray(b"x"), Value()])
def test_every_other_value_is_a_typed_state(state: Any):
    message = poll(state=state).poll
    assert message.WhichOneof("state") == "typed_coroutine_state"
    assert message.typed_coroutine_state == marshal(state)


def test_an_any_is_a_state_as_it_is():
    state = AnyProto(type_url="example.com/Unknown", value=b"\xff")
    kept = poll(state=state).poll.typed_coroutine_state
    assert (kept.type_url, kept.value) == (state.type_url, state.value)


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_results": 1},
        {"min_results": 1000},
        {"min_results": 1000, "max_results": 1000},
        {"max_results": 1},
        {"min_results": 7, "max_results": 7},
        {"min_results": 7, "max_results": 8},
        {"max_wait": timedelta(seconds=1)},
        {"max_wait": timedelta(seconds=1) + TICK},
        {"max_wait": LONGEST - TICK},
        {"max_wait": LONGEST},
    ],
)
def test_the_edges_of_the_bounds_are_accepted(bounds: dict[str, Any]):
    message = poll(**bounds).poll
    for name, value in bounds.items():
        found: Any = getattr(message, name)
        assert (found.ToTimedelta() if name == "max_wait" else found) == value


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"min_results": 0}, "min_results: an int from 1 to 1000 is required; got 0"),
        ({"min_results": -1}, "min_results: .* got -1"),
        ({"min_results": 1001}, "min_results: an int from 1 to 1000 is required; got 1001"),
        ({"max_results": 0}, "max_results: an int from 1 to 1000 is required; got 0"),
        ({"max_results": 1001}, "max_results: an int from 1 to 1000 is required; got 1001"),
        ({"min_results": 2**31}, "min_results: an int from 1 to 1000 is required; got 2147483648"),
        ({"max_results": 2**99}, "max_results: an int from 1 to 1000 is required; got 6338"),
        ({"min_results": "1"}, "min_results: an int from 1 to 1000 is required; got '1'"),
        ({"max_results": 1.0}, r"max_results: an int from 1 to 1000 is required; got 1\.0"),
        ({"max_results": None}, "max_results: .* got None"),
        (
            {"min_results": 3, "max_results": 2},
            r"max_results: min_results \(3\) or more is required; got 2",
        ),
        ({"max_wait": timedelta(seconds=1) - TICK}, "max_wait: .* 1 second .*microseconds=999999"),
        ({"max_wait": timedelta(0)}, r"max_wait: .* from 1 second .* got datetime\.timedelta\(0\)"),
        ({"max_wait": timedelta(seconds=-1)}, "max_wait: .* 1 second .* got"),
        ({"max_wait": LONGEST + TICK}, "max_wait: .* to 3652500 days .* got"),
        ({"max_wait": timedelta.max}, "max_wait: .* 3652500 days .* got"),
        ({"max_wait": timedelta.min}, "max_wait: .* 3652500 days .* got"),
        ({"max_wait": 5}, "max_wait: a timedelta .* got 5"),
        ({"max_wait": None}, "max_wait: a timedelta .* got None"),
    ],
)
def test_what_is_out_of_bounds_is_refused(bounds: dict[str, Any], message: str):
    with pytest.raises(EndpointError, match=f"^{message}"):
        poll(**bounds)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (Call(endpoint="http://x"), r"\.function: a name .* got ''"),
        (Call(function="1f"), r"\.function: a name .* got '1f'"),
        (Call(function="f\n"), r"\.function: a name .* got 'f\\n'"),
        (Call(function="f", endpoint="ftp://x"), r"\.endpoint: a URI .* got 'ftp://x'"),
        (Call(function="f", endpoint=" "), r"\.endpoint: a URI .* got ' '"),
        (Call(function="f", expiration={"nanos": -1}), r"\.expiration: .* nanos=-1"),
        ("f", ": a Call, as new_call makes it, is required; got 'f'"),
    ],
)
@pytest.mark.parametrize("index", [0, 2])
def test_a_nested_call_that_breaks_a_rule_is_named_by_its_index(
    index: int, call: Any, message: str
):
    calls = [NESTED] * 3
    calls[index] = call
    with pytest.raises(InvalidCallError, match=rf"^calls\[{index}\]{message}"):
        poll(calls)
