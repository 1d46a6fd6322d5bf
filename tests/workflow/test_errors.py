"""How an exception leaves a command of a workflow, and what is raised at the await."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc import CallError, Endpoint, Status, marshal, new_call, workflow
from dispatch_grpc.schema import CallResult, Error, Failure
from dispatch_grpc.testing import CallRecorder, Runner, serve
from tests.conftest import KEY
from tests.workflow.scheduler import START_US, begin

URL = "http://one.example.com"
FAILURE_URL = "type.googleapis.com/dispatch.workflow.v1.Failure"


class PickyError(Exception):
    """Its arguments do not fit its constructor."""

    def __init__(self, code: int) -> None:
        if type(code) is not int:
            raise TypeError(code)
        super().__init__(object(), code)


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raised_by_step(error: Exception, *registered: type[Exception]) -> Exception:
    """Return what a workflow sees when a step raises an error."""
    endpoint = Endpoint(URL, env={})
    endpoint.errors(*registered)
    seen: list[Exception] = []

    def fail() -> None:
        raise error

    @endpoint.workflow
    async def main() -> None:
        try:
            await workflow.step(fail)
        except Exception as found:
            seen.append(found)

    Runner(endpoint).run(main.call())
    return seen[-1]


def raised_by_call(*results: Callable[[CallResult], object]) -> list[CallError]:
    """Return the errors that calls raise in a workflow whose results are made by functions."""
    seen: list[CallError] = []

    async def main() -> None:
        for number in range(len(results)):
            try:
                await workflow.run(new_call(URL, "f", number))
            except CallError as error:
                seen.append(error)

    activation = begin(main)
    for make in results:
        (call,) = activation.poll(START_US).calls
        result = CallResult(correlation_id=call.correlation_id, dispatch_id="x")
        make(result)
        activation.deliver([result], None, START_US)
    assert activation.done
    activation.discard()
    return seen


def test_a_class_that_cannot_be_made_again_is_a_call_error():
    found = raised_by_step(PickyError(3), PickyError)
    assert isinstance(found, CallError)
    assert found.type.endswith("PickyError")


def test_an_error_without_text():
    found = raised_by_step(SilentError())
    assert isinstance(found, CallError)
    assert "its __str__ fails" in found.message


def test_a_long_text_keeps_both_ends():
    found = raised_by_step(ValueError("begin" + "x" * 50_000 + "end"))
    assert isinstance(found, ValueError)
    text = str(found)
    assert len(text) < 20_000
    assert (text[:5], text[-3:]) == ("begin", "end")
    assert " … " in text


def test_a_failed_call_of_a_step_keeps_its_type_and_status():
    found = raised_by_step(CallError("no tea", type="TeaError", status=Status.THROTTLED))
    assert isinstance(found, CallError)
    assert (found.type, found.message, found.status) == ("TeaError", "no tea", Status.THROTTLED)


@pytest.mark.parametrize(
    ("type_", "status"),
    [
        ("NOT_FOUND", Status.NOT_FOUND),
        ("UNSPECIFIED", Status.PERMANENT_ERROR),
        ("TimeoutError", Status.TIMEOUT),
        ("ValueError", Status.PERMANENT_ERROR),
        ("", Status.PERMANENT_ERROR),
    ],
)
def test_the_status_of_a_result_is_told_by_its_type(type_: str, status: Status):
    def fail(result: CallResult) -> None:
        result.error.CopyFrom(Error(type=type_, message="no"))

    (error,) = raised_by_call(fail)
    assert (error.type, error.status) == (type_ or "Error", status)


def test_an_output_beside_an_error_is_kept():
    def with_value(result: CallResult) -> None:
        result.error.message = "half done"
        result.output.CopyFrom(marshal([1, 2]))

    def unknown(result: CallResult) -> None:
        result.error.message = "half done"
        result.output.type_url = "type.googleapis.com/no.such.Type"

    value, message = raised_by_call(with_value, unknown)
    assert value.output == [1, 2]
    assert message.output.type_url == "type.googleapis.com/no.such.Type"


@pytest.mark.parametrize(
    "value",
    [
        FAILURE_URL.encode(),
        AnyProto(type_url=FAILURE_URL, value=b"\xff").SerializeToString(),
        AnyProto(
            type_url=FAILURE_URL,
            value=Failure(status=cast("Any", 99_999)).SerializeToString(),
        ).SerializeToString(),
    ],
    ids=["truncated", "malformed", "unknown status"],
)
def test_a_forged_value_of_an_error_changes_nothing(value: bytes):
    def forged(result: CallResult) -> None:
        result.error.CopyFrom(Error(type="TeaError", message="no tea", value=value))

    (error,) = raised_by_call(forged)
    assert (error.type, error.message) == ("TeaError", "no tea")
    assert error.status is Status.PERMANENT_ERROR


@pytest.mark.parametrize("arguments", [marshal("no list"), AnyProto(type_url="/no.such.Type")])
def test_forged_arguments_of_a_registered_class_are_not_used(arguments: AnyProto):
    found: list[Exception] = []

    async def main() -> None:
        try:
            await workflow.run(new_call(URL, "f"), raises=[KeyError])
        except KeyError as error:
            found.append(error)

    activation = begin(main)
    (call,) = activation.poll(START_US).calls
    result = CallResult(correlation_id=call.correlation_id, dispatch_id="x")
    failure = Failure(type="KeyError", arguments=arguments)
    result.error.CopyFrom(
        Error(
            type="KeyError",
            message="the message",
            value=AnyProto(
                type_url=FAILURE_URL, value=failure.SerializeToString()
            ).SerializeToString(),
        )
    )
    activation.deliver([result], None, START_US)
    assert activation.done
    activation.discard()
    assert [error.args for error in found] == [("the message",)]


def test_dispatching_a_remote_function():
    recorder = CallRecorder()
    with serve(recorder, api_key=KEY) as server:
        env: dict[str, Any] = {"DISPATCH_API_URL": server.url, "DISPATCH_API_KEY": KEY}
        endpoint = Endpoint(URL, env=env)
        reserve = endpoint.remote("http://two.example.com", "reserve", returns=int)
        first = reserve.dispatch(2, version="v1")
        second = asyncio.run(reserve.dispatch_async(rooms=3))
        assert repr(reserve) == "<Remote reserve of http://two.example.com>"
    assert [request.dispatch_ids for request in recorder.requests] == [[first], [second]]
    assert recorder.calls == [
        new_call("http://two.example.com", "reserve", 2, version="v1"),
        new_call("http://two.example.com", "reserve", {"rooms": 3}),
    ]
