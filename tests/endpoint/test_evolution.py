"""Functions evolve: calls and endpoints of different versions of a function fit each other."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf, isnan, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch_grpc import Call, Endpoint, Status, marshal, new_call, unmarshal
from dispatch_grpc.schema import RunRequest, RunResponse

URL = "http://127.0.0.1:8000"


@dataclass
class Point:
    x: int
    y: int = 0


def hosted(function: Callable[..., Any]) -> Any:
    return Endpoint(URL, env={}).function(name="f")(function)


def run(function: Callable[..., Any], call: Call) -> RunResponse:
    """Run a call on an endpoint with this version of its function."""
    endpoint = Endpoint(URL, env={})
    endpoint.function(name="f")(function)
    return asyncio.run(endpoint.run(RunRequest(function="f", input=call.input)))


def result(function: Callable[..., Any], call: Call) -> Any:
    """What a version of a function returns for a call; functions here return a list."""
    response = run(function, call)
    assert Status(response.status) is Status.OK, response
    return unmarshal(response.exit.result.output)


# Versions of functions: each has parameters that the one before has not, all with defaults.


def nothing() -> Any:
    return []


def one(x: Any) -> Any:
    return [x]


def one_with_default(x: Any = "x") -> Any:
    return [x]


def two(x: Any, y: Any = "y") -> Any:
    return [x, y]


def two_with_defaults(x: Any = "x", y: Any = "y") -> Any:
    return [x, y]


def three(x: Any, y: Any = "y", *, z: Any = "z") -> Any:
    return [x, y, z]


def three_with_defaults(x: Any = "x", y: Any = "y", *, z: Any = "z") -> Any:
    return [x, y, z]


def opened(x: Any, y: Any = "y", *, z: Any = "z", **others: Any) -> Any:
    return [x, y, z]


VERSIONS = [nothing, one_with_default, two_with_defaults, three_with_defaults]
REQUIRED = [one, two, three, opened]
ARGUMENTS = [None, 1, -0.5, "text", [1, {"x": 2}], {}, {"a": 1}, {"a": {"x": 1}}, {"@type": "x"}]


@pytest.mark.parametrize("new", VERSIONS)
@pytest.mark.parametrize("old", VERSIONS)
def test_a_call_without_arguments_runs_on_every_version(old: Any, new: Any):
    assert result(new, hosted(old).call()) == ["x", "y", "z"][: VERSIONS.index(new)]


@pytest.mark.parametrize("value", ARGUMENTS, ids=repr)
@pytest.mark.parametrize("new", [*VERSIONS[1:], *REQUIRED])
@pytest.mark.parametrize("old", [*VERSIONS[1:], *REQUIRED])
def test_a_call_with_the_first_argument_runs_on_every_version(old: Any, new: Any, value: Any):
    """Old calls on new endpoints, and new calls that use nothing new on old endpoints."""
    if isinstance(value, dict) and opened in {old, new}:
        return  # by name to those with **others: any key of it could be an argument
    if value is None and old in REQUIRED and new in VERSIONS:
        return  # None is no input where it is required, and then the parameter got a default
    length = len(result(new, hosted(new).call("any")))
    for call in (hosted(old).call(value), hosted(old).call(x=value)):
        assert result(new, call) == [value, "y", "z"][:length]


@pytest.mark.parametrize("value", ARGUMENTS, ids=repr)
@pytest.mark.parametrize("new", [three, three_with_defaults, opened])
@pytest.mark.parametrize("old", [two, two_with_defaults])
def test_a_call_with_two_arguments_runs_on_both_versions(old: Any, new: Any, value: Any):
    assert result(new, hosted(old).call(1, value)) == [1, value, "z"]
    assert result(old, hosted(new).call(1, value)) == [1, value]
    assert result(new, hosted(old).call(value, 1)) == [value, 1, "z"]


def test_defaults_are_those_of_the_endpoint():
    def newer(x: Any, y: Any = "another", *, z: Any = "z") -> Any:
        return [x, y, z]

    assert result(newer, hosted(three).call(1)) == [1, "another", "z"]
    assert result(newer, hosted(three).call(1, z=3)) == [1, "another", 3]
    assert result(newer, hosted(three).call(1, "y")) == [1, "y", "z"]


def test_none_is_passed_and_is_not_a_default():
    for function in (one_with_default, two_with_defaults, three_with_defaults):
        for version in (one_with_default, two_with_defaults, three_with_defaults):
            assert result(version, hosted(function).call(None))[0] is None
    assert result(two_with_defaults, hosted(two_with_defaults).call(y=None)) == ["x", None]


def test_a_new_argument_is_refused_by_an_old_endpoint():
    response = run(two, hosted(three).call(1, z=2))
    assert Status(response.status) is Status.INVALID_ARGUMENT
    assert "unknown: 'z'" in response.exit.result.error.message


@pytest.mark.parametrize(
    ("input", "expected"),
    [
        ({"x": 1, "y": 2, "z": 3}, [1, 2, 3]),  # with defaults, as calls were recorded before
        ({"x": 1}, [1, "y", "z"]),
        (5, [5, "y", "z"]),
        ({"a": 1}, [{"a": 1}, "y", "z"]),
        ({"x": {"x": 1}}, [{"x": 1}, "y", "z"]),
        ([{"x": 1}], [[{"x": 1}], "y", "z"]),
    ],
)
def test_an_input_of_another_language_or_an_earlier_release(input: Any, expected: Any):
    assert result(three, new_call(URL, "f", input)) == expected


def test_a_call_without_input_uses_the_defaults():
    assert result(two_with_defaults, new_call(URL, "f")) == ["x", "y"]
    assert result(lambda x: [x], new_call(URL, "f")) == [None]

    def typed(x: int = 5) -> Any:
        return [x]

    assert result(typed, new_call(URL, "f")) == [5]


def typed_one(point: Point) -> Any:
    return [type(point).__name__, point.x, point.y]


def typed_two(point: Point, scale: float = 1.0) -> Any:
    return [type(point).__name__, point.x, point.y]


def clashing(x: Point, y: float = 1.0) -> Any:
    return [type(x).__name__, x.x, x.y]


@pytest.mark.parametrize("new", [typed_one, typed_two])
@pytest.mark.parametrize("old", [typed_one, typed_two])
def test_a_first_argument_that_is_a_dict_on_the_wire(old: Any, new: Any):
    assert result(new, hosted(old).call(Point(1, 2))) == ["Point", 1, 2]


def test_a_first_argument_with_a_field_of_its_own_name_goes_by_name():
    call = hosted(clashing).call(Point(1, 2))
    assert unmarshal(call.input) == {"x": {"x": 1, "y": 2}}
    assert result(clashing, call) == ["Point", 1, 2]


# Several arguments are as exact as one

WHEN = datetime(2026, 11, 22, 12, 30, 0, 123456, tzinfo=UTC)
EXACT = [
    *(0, 1, 2**53 + 1, 2**64 - 1, -(2**63)),
    *(1.0, 0.5, -0.0, inf, -inf),
    *(b"", b"\xff\x00", "text", True, None, WHEN, timedelta(microseconds=-1)),
    *([1, 2], {"a": None}, Call(function="f", correlation_id=2**60)),
]


@pytest.mark.parametrize("value", EXACT, ids=repr)
def test_several_untyped_arguments_arrive_as_they_were_given(value: Any):
    found: list[Any] = []

    def f(a: Any, b: Any, **others: Any) -> Any:
        found.extend([a, b, *others.values()])

    assert result(f, hosted(f).call(value, b=value, c=value)) is None
    assert found == [value] * 3
    assert [type(one) for one in found] == [type(value)] * 3
    assert [str(one) for one in found] == [str(value)] * 3  # -0.0


def test_nan_arrives_as_one_of_several():
    found: list[Any] = []
    result(lambda a, b: found.append(b), hosted(lambda a, b: None).call(1, nan))
    assert isnan(found[0])


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.timedeltas(timedelta(days=-10000), timedelta(days=10000))
)


@settings(deadline=None)
@given(first=SCALARS, second=SCALARS)
def test_one_and_several_arguments_are_decoded_alike(first: Any, second: Any):
    found: list[Any] = []
    result(lambda a, b: found.extend([a, b]), hosted(lambda a, b: None).call(first, second))
    assert found == [unmarshal(marshal(first)), unmarshal(marshal(second))]
    assert [type(one) for one in found] == [type(first), type(second)]
