"""Named arguments: each comes back as exactly as a single value does."""

import contextlib
import dataclasses
import enum
import math
import typing
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, MessageToJson, Parse
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from dispatch_grpc import Call, MarshalError, UnmarshalError, marshal, unmarshal
from dispatch_grpc.schema import DispatchRequest
from dispatch_grpc.values import convert, decode_arguments, encode_arguments
from tests.conftest import parameter_id
from tests.values.test_models import Half
from tests.values.test_values import JSON

NOW = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
PREFIX = "type.googleapis.com/google.protobuf."
CALL = "type.googleapis.com/dispatch.sdk.v1.Call"

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.timedeltas(timedelta(days=-3_652_500), timedelta(days=3_652_500))
)


def exact(value: object) -> object:
    """What two values must have in common to be the same."""
    if isinstance(value, float):
        return float, math.isnan(value) or (value, math.copysign(1, value))
    return type(value), value


@given(st.dictionaries(st.text("ab_@"), SCALARS | JSON))
def test_arguments_are_as_lossless_as_one(arguments: dict[str, typing.Any]):
    back = decode_arguments(encode_arguments(arguments))
    assert back.keys() == arguments.keys()
    for name, value in arguments.items():
        assert exact(back[name]) == exact(unmarshal(marshal(value)))


@given(st.dictionaries(st.text("ab"), JSON))
def test_what_a_value_holds_is_a_plain_dict(arguments: dict[str, typing.Any]):
    """What peers in other languages read, and what was written before types were kept."""
    numbers = [v for v in arguments.values() if isinstance(v, float) and v.is_integer()]
    if not any(math.copysign(1, v) > 0 or v for v in numbers):
        assert unmarshal(encode_arguments(arguments)) == arguments
    assert decode_arguments(marshal(arguments)) == unmarshal(marshal(arguments))


@pytest.mark.parametrize(
    ("value", "json"),
    [
        (1.0, {"@type": PREFIX + "DoubleValue", "value": 1.0}),
        (math.nan, {"@type": PREFIX + "DoubleValue", "value": "NaN"}),
        (2**63, {"@type": PREFIX + "UInt64Value", "value": "9223372036854775808"}),
        (2**53 + 1, {"@type": PREFIX + "Int64Value", "value": "9007199254740993"}),
        (b"\0\xff", {"@type": PREFIX + "BytesValue", "value": "AP8="}),
        (NOW, {"@type": PREFIX + "Timestamp", "value": "2024-02-29T23:59:59.999999Z"}),
        (timedelta(seconds=-1.5), {"@type": PREFIX + "Duration", "value": "-1.500s"}),
        (
            Call(function="f"),
            {"@type": "type.googleapis.com/dispatch.sdk.v1.Call", "function": "f"},
        ),
        (
            Any(
                type_url="x/google.protobuf.Duration", value=Duration(seconds=1).SerializeToString()
            ),
            {"@type": PREFIX + "Duration", "value": "1s"},
        ),
        (
            {"@type": PREFIX + "Duration", "value": "1s"},
            {"@type": PREFIX + "Value", "value": {"@type": PREFIX + "Duration", "value": "1s"}},
        ),
        ({"@type": "Person", "name": "x"}, {"@type": "Person", "name": "x"}),
        (1.5, 1.5),
        (3, 3),
        (2**53, 2**53),
    ],
    ids=parameter_id,
)
def test_the_representation(value: object, json: object):
    """Protobuf's JSON form of an Any, where a Value would lose something."""
    input = encode_arguments({"a": value})
    assert input.type_url == PREFIX + "Value"
    assert MessageToDict(Value.FromString(input.value)) == {"a": json}


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Order:
    count: int
    note: bytes


class Typed(msgspec.Struct, tag_field="@type", tag="type.googleapis.com/x"):
    n: int


@pytest.mark.parametrize(
    ("value", "T"),
    [
        (b"\0\xff", bytes),
        (NOW, datetime),
        (timedelta(microseconds=1), timedelta),
        (1.0, float),
        (1.0, int | float),
        (2**63, int),
        (Half.LENGTH, Half),
        (Half.RAW, Half),
        (Half.WHOLE, Half),
        (Level.HIGH, Level),
        (UUID(int=1), UUID),
        (Order(1, b"\xff"), Order),
        (Typed(1), Typed),
        ({1, 2}, set[int]),
        (Call(function="f"), Call),
        (Duration(seconds=1), Duration),
    ],
    ids=parameter_id,
)
def test_annotations_read_both_forms(value: typing.Any, T: typing.Any):
    back = decode_arguments(encode_arguments({"a": value, "b": 1}))
    found = convert(back["a"], T)
    assert exact(found) == exact(value)
    if not isinstance(value, Message | Typed):
        assert convert(decode_arguments(marshal({"a": value}))["a"], T) == value


@pytest.mark.parametrize("input", [None, 1, "x", b"x", [{"@type": PREFIX + "Empty"}], NOW])
def test_other_inputs_are_natural_values(input: object):
    assert decode_arguments(marshal(input)) == input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a": 1, "b": object()}, r"^\$\.b: builtins\.object has no representation"),
        ({"b": [1, object()]}, r"^\$\.b\[1\]: builtins\.object has no"),
        ({"b": Order(1, typing.cast("bytes", object()))}, r"^\$\.b\.note: builtins\.object has no"),
        ({"b": 2**64}, r"^\$\.b: an int must be"),
        ({"b": datetime(2024, 1, 1)}, r"^\$\.b: a datetime must have a time zone"),
        ({"b": timedelta.max}, r"^\$\.b: a timedelta must be within"),
        ({"b": "\ud800"}, r"^\$\.b: .*surrogate"),
        ({"b": Any(type_url="x/no.such.T")}, r"^\$\.b: .*no\.such\.T"),
    ],
    ids=parameter_id,
)
def test_what_has_no_representation_is_an_error(arguments: dict[str, typing.Any], message: str):
    with pytest.raises(MarshalError, match=message):
        encode_arguments(arguments)


@pytest.mark.parametrize(
    "value",
    [
        {"@type": PREFIX + "Timestamp", "value": "yesterday"},
        {"@type": PREFIX + "Timestamp"},
        {"@type": PREFIX + "Int64Value", "value": 1.5},
        {"@type": "type.googleapis.com/no.such.T"},
        {"@type": CALL, "no_such_field": 1},
    ],
    ids=parameter_id,
)
def test_a_malformed_argument_is_an_error(value: object):
    with pytest.raises(UnmarshalError, match=r"^b: "):
        decode_arguments(marshal({"a": 1, "b": value}))


TYPES = ("Timestamp", "Duration", "Int64Value", "BytesValue", "Any", "Value", "Struct", "Empty")


@given(st.sampled_from([PREFIX + name for name in TYPES] + [CALL]), JSON, st.booleans())
def test_no_argument_breaks_the_decoder(url: str, value: typing.Any, spread: bool):
    fields = value if spread and isinstance(value, dict) else {"value": value}
    with contextlib.suppress(UnmarshalError):
        decode_arguments(marshal({"a": fields | {"@type": url}}))
    with contextlib.suppress(UnmarshalError):
        decode_arguments(marshal({"a": {"@type": PREFIX + "Any", "value": fields}}))


def test_the_deepest_arguments_are_read_by_both_codecs():
    deep: typing.Any = {"@type": "type.googleapis.com/x"}
    found = None
    for _ in range(40):
        deep = {"@type": "type.googleapis.com/x", "k": deep}
        try:
            found = deep, encode_arguments({"a": deep})
        except MarshalError as error:
            assert "nested too deep" in str(error)  # noqa: PT017
    assert found
    assert decode_arguments(found[1]) == {"a": found[0]}
    request = DispatchRequest(calls=[Call(input=found[1])])
    back = Parse(MessageToJson(request), DispatchRequest())
    assert decode_arguments(back.calls[0].input) == {"a": found[0]}
