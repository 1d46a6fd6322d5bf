"""Value vectors: what `marshal` writes for every kind of value, for readers in any language.

    python -m tests.value_vectors > dispatch_grpc/testing/values.json

The file holds for each value its name, the type URL and the bytes (in hex) of its `Any`, and
the JSON form of that `Any`. `test_vectors.py` compares the file with what `marshal` writes;
the programs `values` in `examples/polyglot` read it in the other languages.
"""

import dataclasses
import decimal
import enum
import json
import math
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any, TypedDict

import attrs
import msgspec
import pydantic
from dispatch.sdk.python.v1.pickled_pb2 import Pickled
from dispatch.sdk.v1.call_pb2 import Call, CallResult
from dispatch.sdk.v1.error_pb2 import Error
from dispatch.sdk.v1.exit_pb2 import Exit
from dispatch.sdk.v1.function_pb2 import RunResponse
from dispatch.sdk.v1.poll_pb2 import Poll
from dispatch.sdk.v1.status_pb2 import STATUS_OK
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Value

from dispatch_grpc import marshal

VALUE = "type.googleapis.com/google.protobuf.Value"


class Colour(enum.Enum):
    RED = "röd"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Order:
    item: str
    count: int
    price: decimal.Decimal
    when: datetime
    within: timedelta
    note: bytes
    tags: list[str]
    parent: "Order | None" = None


class Point(TypedDict):
    x: float
    y: float


@attrs.define
class Attrs:
    name: str


class Struct(msgspec.Struct, rename="camel"):
    full_name: str


class Model(pydantic.BaseModel):
    name: str
    age: int | None = None


@dataclasses.dataclass(frozen=True)
class Vector:
    """A value, and the type as which it is read back."""

    name: str
    value: Any
    T: Any = None


def nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    """A value inside so many others."""
    value: Any = "bottom"
    for _ in range(levels):
        value = wrap(value)
    return value


ORDER = Order(
    item="smörgås",
    count=2,
    price=decimal.Decimal("19.90"),
    when=datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
    within=timedelta(days=1, microseconds=1),
    note=b"\x00\xff",
    tags=["a", "b"],
)
CALL = Call(
    correlation_id=2**64 - 1,
    endpoint="https://example.com/ε",
    function="f",
    input=marshal({"deep": [1, {"er": None}]}),
    expiration=Duration(seconds=90, nanos=500_000_000),
    version="v1",
)
TEXT = "naïve Ω 日本語 עברית हिन्दी 👩‍👩‍👧 \U0010ffff e\u0301"

VECTORS = [
    Vector("none", None),
    Vector("bool true", True),
    Vector("bool false", False),
    Vector("int zero", 0),
    Vector("int one", 1),
    Vector("int minus one", -1),
    Vector("int of two bytes", 300),
    Vector("int beyond a double", 2**53 + 1),
    Vector("int64 greatest", 2**63 - 1),
    Vector("int64 least", -(2**63)),
    Vector("uint64 first beyond int64", 2**63),
    Vector("uint64 greatest", 2**64 - 1),
    Vector("float zero", 0.0),
    Vector("float negative zero", -0.0),
    Vector("float integral", 2.0),
    Vector("float inexact", 0.1),
    Vector("float greatest", sys.float_info.max),
    Vector("float least normal", sys.float_info.min),
    Vector("float least", 5e-324),
    Vector("float infinite", math.inf),
    Vector("float negative infinite", -math.inf),
    Vector("float nan", math.nan),
    Vector("str empty", ""),
    Vector("str", "hello"),
    Vector("str not ascii", TEXT),
    Vector("str with nul and controls", "a\0b\x01\x1f\x7f\u2028\"\\/<>&'"),
    Vector("str long", "ß" * 100),
    Vector("bytes empty", b""),
    Vector("bytes", bytes(range(256))),
    Vector("bytes in need of padding", b"\xff\xfe\xfd\xfc"),
    Vector("bytearray", bytearray(b"\x00\x80"), bytearray),
    Vector("memoryview", memoryview(b"abcd")[::2]),
    Vector("datetime epoch", datetime(1970, 1, 1, tzinfo=UTC)),
    Vector("datetime", datetime(2024, 2, 29, 12, 30, 15, 123_000, tzinfo=UTC)),
    Vector("datetime just before 1970", datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    Vector("datetime before 1970", datetime(1900, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
    Vector("datetime least", datetime(1, 1, 1, tzinfo=UTC)),
    Vector("datetime greatest", datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    Vector(
        "datetime of another zone",
        datetime(2024, 2, 29, 12, 30, tzinfo=timezone(timedelta(hours=-9, minutes=-30))),
    ),
    Vector("timedelta zero", timedelta()),
    Vector("timedelta", timedelta(hours=1, milliseconds=1)),
    Vector("timedelta of a microsecond", timedelta(microseconds=1)),
    Vector("timedelta negative, below a second", timedelta(microseconds=-1)),
    Vector("timedelta negative", timedelta(seconds=-3, microseconds=-500_000)),
    Vector("timedelta greatest", timedelta(seconds=315_576_000_000)),
    Vector("timedelta least", timedelta(seconds=-315_576_000_000)),
    Vector("list empty", []),
    Vector("list", [None, True, False, 0, -1, 1.5, "x", [], {}]),
    Vector("list of lists", [[1, [2, [3]]], []]),
    Vector("list of numbers", [*range(-20, 20), 0.5]),
    Vector("list of doubles at their limits", [sys.float_info.max, 5e-324, -0.0, 2**53, -(2**53)]),
    Vector("list as deep as can be", nested(45, lambda value: [value])),
    Vector("tuple", (1, "a"), tuple[int, str]),
    Vector("set", {"only"}, set[str]),
    Vector("dict empty", {}),
    Vector("dict", {"name": "Ada", "age": 36, "tags": ["x"], "more": {"none": None, "yes": True}}),
    Vector(
        "dict with keys not ascii",
        {"": 1, "ключ": 2, "👩‍👩‍👧": 3, "a.b[0]": 4, "\0": 5, "@type": "6"},
    ),
    Vector("dict as deep as can be", nested(30, lambda value: {"in": value})),
    Vector("dataclass", dataclasses.replace(ORDER, parent=ORDER), Order),
    Vector("attrs class", Attrs("Ada"), Attrs),
    Vector("msgspec struct", Struct("Ada"), Struct),
    Vector("pydantic model", Model(name="Ada"), Model),
    Vector("typed dict", {"x": 1.5, "y": 2.0}, Point),
    Vector("enum", Colour.RED, Colour),
    Vector("int enum", Level.HIGH, Level),
    Vector("uuid", uuid.UUID("12345678-1234-5678-1234-567812345678"), uuid.UUID),
    Vector("decimal", decimal.Decimal("-0.10"), decimal.Decimal),
    Vector("date", date(2024, 2, 29), date),
    Vector("time", time(23, 59, 59, 1), time),
    Vector("message", CALL),
    Vector("message empty", Call()),
    Vector(
        "message with a oneof and an enum",
        RunResponse(
            status=STATUS_OK,
            exit=Exit(
                result=CallResult(
                    output=marshal("partial"),
                    error=Error(type="E", message="ö", value=b"\x00", traceback=b"\xff"),
                    dispatch_id="id",
                ),
                tail_call=CALL,
            ),
        ),
    ),
    Vector(
        "message with a message in an any",
        Poll(
            typed_coroutine_state=marshal(CALL),
            calls=[CALL, Call()],
            max_wait=Duration(seconds=1),
            max_results=1000,
            min_results=-1,
        ),
    ),
    Vector("message of python", Pickled(pickled_value=b"\x80\x05N.")),
    Vector(
        "any, by another prefix",
        AnyProto(
            type_url="buf.build/stealthrocket/dispatch-proto/dispatch.sdk.v1.Call",
            value=CALL.SerializeToString(deterministic=True),
        ),
        Call,
    ),
]


def entry(vector: Vector) -> dict[str, Any]:
    """What stands in the file for a value."""
    any = marshal(vector.value)
    data, form = any.value, MessageToDict(any)
    if any.type_url == VALUE:  # the fields of a dict have no order, but the file has
        data = Value.FromString(data).SerializeToString(deterministic=True)
        form = json.loads(json.dumps(form, sort_keys=True))
    return {"name": vector.name, "type_url": any.type_url, "value": data.hex(), "json": form}


def main() -> None:
    lines = [json.dumps(entry(vector), ensure_ascii=False, allow_nan=False) for vector in VECTORS]
    sys.stdout.buffer.write(("[\n" + ",\n".join(lines) + "\n]\n").encode())


if __name__ == "__main__":
    main()
