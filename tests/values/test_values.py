"""marshal and unmarshal: the table, the way back, and an error for all that would be lost."""

import contextlib
import dataclasses
import decimal
import enum
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import msgspec
import pytest
from dispatch.sdk.python.v1.pickled_pb2 import Pickled
from google.protobuf import struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from dispatch_grpc import MarshalError, UnmarshalError, marshal, unmarshal
from dispatch_grpc.schema import Call
from tests.conftest import parameter_id

PREFIX = "type.googleapis.com/google.protobuf."
NOW = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)


def short(value: object) -> str:
    """What a test is named by. Protobuf in pure Python cannot write an Any of an unknown type."""
    return type(value).__name__ if isinstance(value, Message) else str(value)


def packed(message: Message) -> Any:
    any = Any()
    any.Pack(message)
    return any


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, Empty()),
        (True, wrappers_pb2.BoolValue(value=True)),
        (False, wrappers_pb2.BoolValue(value=False)),
        (0, wrappers_pb2.Int64Value(value=0)),
        (-(2**63), wrappers_pb2.Int64Value(value=-(2**63))),
        (2**63 - 1, wrappers_pb2.Int64Value(value=2**63 - 1)),
        (2**63, wrappers_pb2.UInt64Value(value=2**63)),
        (2**64 - 1, wrappers_pb2.UInt64Value(value=2**64 - 1)),
        (1.5, wrappers_pb2.DoubleValue(value=1.5)),
        (math.inf, wrappers_pb2.DoubleValue(value=math.inf)),
        ("é\0😀", wrappers_pb2.StringValue(value="é\0😀")),
        (b"\0\xff", wrappers_pb2.BytesValue(value=b"\0\xff")),
        (bytearray(b"ab"), wrappers_pb2.BytesValue(value=b"ab")),
        (memoryview(b"abcd")[::2], wrappers_pb2.BytesValue(value=b"ac")),
        (datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC), Timestamp(seconds=-1, nanos=1000)),
        (datetime(1, 1, 1, tzinfo=UTC), Timestamp(seconds=-62135596800)),
        (NOW, Timestamp(seconds=1709251199, nanos=999999000)),
        (timedelta(microseconds=-1), Duration(nanos=-1000)),
        (timedelta(seconds=-1, microseconds=-5), Duration(seconds=-1, nanos=-5000)),
        (timedelta(seconds=315_576_000_000), Duration(seconds=315_576_000_000)),
        (Level.HIGH, wrappers_pb2.Int64Value(value=3)),
        (Color.RED, wrappers_pb2.StringValue(value="red")),
        (uuid.UUID(int=7), wrappers_pb2.StringValue(value=str(uuid.UUID(int=7)))),
        (decimal.Decimal("1.10"), wrappers_pb2.StringValue(value="1.10")),
        (date(2024, 2, 29), wrappers_pb2.StringValue(value="2024-02-29")),
        (time(1, 2, 3), wrappers_pb2.StringValue(value="01:02:03")),
        (Call(function="f"), Call(function="f")),
    ],
    ids=parameter_id,
)
def test_the_table(value: object, message):
    assert marshal(value) == packed(message)


@pytest.mark.parametrize(
    "value",
    [[], (), {}, [[]], {"": {}}, [None, True, "x", 1, 2.5, {"k": [1]}], {1, 2}, {"a": (1, 2)}],
    ids=parameter_id,
)
def test_lists_and_dicts_are_values(value: object):
    any = marshal(value)
    assert any.type_url == PREFIX + "Value"
    message = Value.FromString(any.value)

    def plain(value):
        if isinstance(value, list | tuple | set):
            return [plain(item) for item in value]
        return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value

    expected = Value()
    Parse(msgspec.json.encode(plain(value)), expected)
    assert message == expected


def test_an_any_stays_as_it_is():
    any = Any(type_url="example.com/some.Type", value=b"\xff")
    assert marshal(any) is any


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab.é \0"), inner),
    max_leaves=30,
)
NUMBERS = st.lists(
    st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False), max_size=60
)


@given(JSON | NUMBERS)
def test_json_like_values_come_back(value: object):
    assert unmarshal(marshal(value)) == value


@pytest.mark.parametrize("length", [1, 40])
def test_zero_keeps_its_sign(length: int):
    found = unmarshal(marshal({"a": [-0.0] * length, "b": -0.0, "c": [0.0, -0.0]}))
    assert [math.copysign(1, zero) for zero in found["a"]] == [-1] * length
    assert math.copysign(1, found["b"]) == -1
    assert repr(found["c"]) == "[0, -0.0]"
    assert repr(unmarshal(marshal([0.0] * length))) == repr([0] * length)


@given(NUMBERS)
def test_long_lists_of_numbers_are_encoded_as_protobuf_does(values: list[float]):
    expected = Value(list_value=ListValue(values=[Value(number_value=v) for v in values]))
    assert Value.FromString(marshal(values).value) == expected
    assert unmarshal(Any(type_url=PREFIX + "Value", value=expected.SerializeToString())) == values


@given(
    st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.timedeltas(timedelta(days=-3_652_500), timedelta(days=3_652_500))
    | st.booleans()
    | st.none()
)
@example(datetime.max.replace(tzinfo=UTC))
@example(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
def test_scalars_come_back(value: object):
    back = unmarshal(marshal(value))
    assert back == value
    assert type(back) is type(value)
    if value is not None:
        assert unmarshal(marshal(value), type(value)) == value


@given(st.binary(max_size=400))
def test_no_bytes_break_the_decoder(data: bytes):
    for name in ("Value", "ListValue", "Struct", "Timestamp", "Duration", "Int64Value"):
        for prefix in (b"", b"\x32", b"\x32" + bytes([len(data) & 0x7F])):
            with contextlib.suppress(UnmarshalError):
                unmarshal(Any(type_url=PREFIX + name, value=prefix + data))


@given(st.integers(16, 40), st.data())
def test_a_list_that_only_looks_like_numbers(count: int, data: st.DataObject):
    """One changed byte in a list of numbers: read as protobuf reads it, or refused."""
    raw = bytearray(marshal([float(n) for n in range(count)]).value)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    any = Any(type_url=PREFIX + "Value", value=bytes(raw))
    try:
        message = Value.FromString(any.value)
        expected = [item.number_value for item in message.list_value.values]
        readable = message.WhichOneof("kind") == "list_value" and all(
            item.WhichOneof("kind") == "number_value" for item in message.list_value.values
        )
    except Exception:
        readable = False
    if readable:
        found = unmarshal(any)
        assert len(found) == len(expected)
        assert all(
            a == pytest.approx(b, rel=0, nan_ok=True) for a, b in zip(found, expected, strict=True)
        )


def test_the_time_zone_is_kept_as_an_instant():
    berlin = ZoneInfo("Europe/Berlin")
    fold = datetime(2024, 10, 27, 2, 30, tzinfo=berlin, fold=1)
    assert unmarshal(marshal(fold)) == fold.astimezone(UTC)
    offset = timezone(timedelta(hours=-12))
    assert unmarshal(marshal(NOW.astimezone(offset))) == NOW


def nested(levels: int, wrap) -> object:
    value: object = 1
    for _ in range(levels):
        value = wrap(value)
    return value


CYCLE: list[object] = [1]
CYCLE.append({"again": CYCLE})


@dataclasses.dataclass
class Node:
    next: object = None


LOOP = Node()
LOOP.next = Node(LOOP)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**64, r"^\$: an int must be from -2\*\*63 to 2\*\*64 - 1; got an int of 65 bits"),
        (-(2**63) - 1, r"^\$: an int must be"),
        ([2**53 + 1], r"^\$\[0\]: an int inside .* fit a double exactly; got 9007199254740993"),
        ([2**53 + 1] * 20, r"^\$\[0\]: an int inside .* fit a double exactly"),
        ([1.5] * 20 + [10**400], r"^\$\[20\]: an int inside .* many digits"),
        ({"a": {"b c": [0, math.nan]}}, r"^\$\.a\['b c'\]\[1\]: a float .* finite; got nan"),
        ([1.0] * 20 + [-math.inf], r"^\$\[20\]: a float .* finite; got -inf"),
        ({"a": {1: 2}}, r"^\$\.a\[1\]: keys must be str; got int 1"),
        (CYCLE, r"^\$: the value contains itself"),
        (LOOP, r"^\$: the value contains itself"),
        (nested(46, lambda v: [v]), r"….*nested too deep"),
        (nested(31, lambda v: {"k": v}), r"nested too deep"),
        ("\ud800", r"^\$: a str must be valid Unicode"),
        (["a", "\ud800"], r"^\$\[1\]: a str must be valid Unicode"),
        ({"k": "\ud800"}, r"^\$\.k: .*lone surrogate"),
        ({"\ud800": 1}, r"lone surrogate"),
        (datetime(2024, 1, 1), r"^\$: a datetime must have a time zone; got the naive 2024-01-01"),
        ({"items": [{}, {"when": datetime(2024, 1, 1)}]}, r"^\$\.items\[1\]\.when: a datetime"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), r"years 1 to 9999"),
        (timedelta(seconds=315_576_000_001), r"^\$: a timedelta must be within"),
        (timedelta(seconds=-315_576_000_000, microseconds=-1), r"a timedelta must be within"),
        (object(), r"^\$: builtins\.object has no representation"),
        ([Color], r"^\$\[0\]: enum\.EnumType has no representation"),
        (
            {"call": Call()},
            r"^\$\.call: a list or dict cannot hold the message dispatch\.sdk\.v1\.Call",
        ),
        (Node(Node(object())), r"^\$\.next\.next: builtins\.object has no"),
        (lambda: 1, r"^\$: builtins\.function has no representation"),
        (1j, r"^\$: builtins\.complex has no representation"),
    ],
)
def test_what_would_be_lost_is_an_error(value: object, message: str):
    with pytest.raises(MarshalError, match=message):
        marshal(value)


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}], ids=["lists", "dicts"])
def test_the_deepest_values_are_read_by_both_codecs(wrap):
    """As deep as marshal lets through, in a request, in binary and in JSON."""
    from dispatch_grpc.schema import DispatchRequest

    value = nested(45 if wrap(1) == [1] else 30, wrap)
    any = marshal(value)
    assert unmarshal(any) == value
    request = DispatchRequest(calls=[Call(input=any)])
    assert Parse(MessageToJson(request), DispatchRequest()) == request


def test_an_empty_message():
    any = marshal(Timestamp())
    assert any.type_url == PREFIX + "Timestamp"
    assert unmarshal(any) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("message", "value"),
    [
        (wrappers_pb2.Int32Value(value=-1), -1),
        (wrappers_pb2.UInt32Value(value=1), 1),
        (wrappers_pb2.FloatValue(value=0.5), 0.5),
        (Struct(fields={"a": Value(number_value=1)}), {"a": 1}),
        (ListValue(values=[Value(bool_value=True)]), [True]),
        (Value(null_value=struct_pb2.NULL_VALUE), None),
        (Value(number_value=-0.5), -0.5),
        (Timestamp(seconds=1, nanos=999), datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        (Duration(seconds=-1, nanos=-1999), timedelta(seconds=-1, microseconds=-1)),
        (Call(function="f"), Call(function="f")),
        (Pickled(pickled_value=b"cos\nsystem\n(S'false'\ntR."), None),
    ],
    ids=short,
)
def test_what_other_peers_write(message, value: object):
    any = Any(value=message.SerializeToString())
    for prefix in ("type.googleapis.com", "buf.build/stealthrocket/dispatch-proto", "x"):
        any.type_url = f"{prefix}/{message.DESCRIPTOR.full_name}"
        assert unmarshal(any) == (message if isinstance(message, Pickled) else value)


@pytest.mark.parametrize(
    ("any", "message"),
    [
        (Any(), "names no type"),
        (Any(type_url="example.com/no.such.Type"), r"unknown type 'no\.such\.Type'"),
        (Any(type_url=PREFIX + "Int64Value", value=b"\xff"), "malformed bytes of"),
        (Any(type_url="x/google.protobuf.Int64Value", value=b"\xff"), "malformed bytes of"),
        (Any(type_url=PREFIX + "Value"), "Value is empty"),
        (packed(Timestamp(nanos=-1)), "not a valid Timestamp"),
        (packed(Timestamp(seconds=10**12)), "not a valid Timestamp"),
        (packed(Duration(seconds=1, nanos=-1)), "not a valid Duration"),
        (packed(Duration(seconds=10**12)), "not a valid Duration"),
        (None, "an Any is required; got NoneType"),
    ],
    ids=short,
)
def test_what_cannot_be_decoded_is_an_error(any, message: str):
    with pytest.raises(UnmarshalError, match=message):
        unmarshal(any)


def test_a_message_class_decodes_only_its_message():
    assert unmarshal(marshal(5), Any) == marshal(5)
    assert unmarshal(marshal(5), wrappers_pb2.Int64Value).value == 5
    with pytest.raises(UnmarshalError, match="malformed"):
        unmarshal(Any(type_url="x/dispatch.sdk.v1.Call", value=b"\xff"), Call)
    with pytest.raises(UnmarshalError, match="an empty Any"):
        unmarshal(Any(), timestamp_pb2.Timestamp)


class SubDatetime(datetime):
    pass


class Nano(datetime):
    nanosecond = 1


class SubDelta(timedelta):
    pass


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another text"


def test_subclasses_of_basic_types():
    assert unmarshal(marshal(SubDatetime(2024, 1, 1, tzinfo=UTC))) == datetime(
        2024, 1, 1, tzinfo=UTC
    )
    assert unmarshal(marshal(SubDelta(1))) == timedelta(1)
    assert unmarshal(marshal(Text("text"))) == "text"
    assert unmarshal(marshal([Text("text"), Level.HIGH, SubDelta(1)])) == ["text", 3, "P1D"]
    assert unmarshal(marshal({Text("key"): 1})) == {"key": 1}
    for cls in (int, float, bytes, bytearray, list, dict):
        sub = type("Sub", (cls,), {})
        assert unmarshal(marshal(sub())) == cls()
    with pytest.raises(MarshalError, match="finer than a microsecond"):
        marshal(Nano(2024, 1, 1, tzinfo=UTC))
