"""Models and other types: into a Value, and back into the type."""

import base64
import dataclasses
import decimal
import enum
import pathlib
import types
import typing
import uuid
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import attrs
import msgspec
import numpy
import pydantic
import pytest
from google.protobuf import descriptor_pb2

from dispatch_grpc import Call, MarshalError, UnmarshalError, marshal, unmarshal
from dispatch_grpc.values import convert
from tests.conftest import parameter_id
from tests.values.test_values import NOW, Color, Level, Node


class TD(typing.TypedDict):
    x: int


class NT(typing.NamedTuple):
    a: int
    b: str


class Model(pydantic.BaseModel):
    n: int = pydantic.Field(alias="theNumber")
    when: datetime


class Tagged(msgspec.Struct, tag="T", rename="camel"):
    some_field: int


class Row(msgspec.Struct, array_like=True):
    a: int
    b: str


class TaggedRow(msgspec.Struct, array_like=True, tag=True):
    a: int


@attrs.define
class At:
    z: int


@dataclasses.dataclass
class Everything:
    when: datetime
    length: timedelta
    id: uuid.UUID
    raw: bytes
    amount: decimal.Decimal
    tags: set[int]
    color: Color
    day: date
    inner: At
    model: Model
    maybe: int | None = None


EVERYTHING = Everything(
    when=NOW,
    length=timedelta(seconds=-3.5),
    id=uuid.UUID(int=1),
    raw=b"\xff\0",
    amount=decimal.Decimal("0.10"),
    tags={1, 2},
    color=Color.RED,
    day=date(2024, 2, 29),
    inner=At(3),
    model=Model(theNumber=1, when=NOW),
)


@pytest.mark.parametrize(
    ("value", "cls"),
    [
        (EVERYTHING, Everything),
        ([EVERYTHING], list[Everything]),
        (At(1), At),
        (Tagged(1), Tagged),
        (Row(1, "x"), Row),
        (TaggedRow(1), TaggedRow),
        (Model(theNumber=2, when=NOW), Model),
        ({"k": Model(theNumber=2, when=NOW)}, dict[str, Model]),
        ({"x": 1}, TD),
        (NT(1, "x"), NT),
        (frozenset({1, 2}), frozenset[int]),
        (types.MappingProxyType({"a": 1}), dict[str, int]),
        ((1, 2), tuple[int, int]),
        ([1, 2], list[float]),
        (Level.HIGH, Level),
        (3, float),
        (None, int | None),
        (uuid.UUID(int=1), uuid.UUID),
        (decimal.Decimal("1.10"), decimal.Decimal),
        (Call(function="f"), Call),
        (2**64 - 1, int),
    ],
    ids=lambda value: parameter_id(value)[:40],
)
def test_decoding_into_a_type(value: object, cls: typing.Any):
    back = unmarshal(marshal(value), cls)
    assert back == value


def test_fields_have_the_names_that_peers_see():
    assert unmarshal(marshal(Tagged(1))) == {"type": "T", "someField": 1}
    assert unmarshal(marshal(Model(theNumber=2, when=NOW)))["theNumber"] == 2
    inside = unmarshal(marshal([NOW, timedelta(seconds=90), b"\xff"]))
    assert inside == [
        "2024-02-29T23:59:59.999999+00:00",
        "PT90S",
        base64.b64encode(b"\xff").decode(),
    ]


@pytest.mark.parametrize(
    ("value", "cls", "message"),
    [
        (1.5, int, r"^expected int, got float$"),
        ("1", int, r"^expected int, got str$"),
        (1, bool, r"^expected bool, got int$"),
        (True, int, r"^expected int, got bool$"),
        (None, int, r"^expected int, got null$"),
        (b"x", str, r"^expected str, got bytes$"),
        (2**53 + 1, float, r"a double cannot hold 9007199254740993 exactly"),
        ([1, "a"], list[int], r"not list\[int\]: .* `\$\[1\]`"),
        ({"x": 1}, At, r"missing required field `z`"),
        ({"theNumber": "z"}, Model, r"theNumber"),
        (1, lambda: 1, r"not a type to decode into"),
        (1, Node, r"Expected `object`, got `int`"),
        (Call(), At, r"Expected `object`, got `Call`|not a type|no way"),
        (1, Call, r"expected the message dispatch\.sdk\.v1\.Call, found google\.protobuf\.Int64"),
    ],
    ids=lambda value: parameter_id(value)[:30],
)
def test_what_is_not_of_the_type_is_an_error(value: object, cls: typing.Any, message: str):
    with pytest.raises(UnmarshalError, match=message):
        unmarshal(marshal(value), cls)


class Custom:
    pass


def test_types_without_a_way():
    with pytest.raises(UnmarshalError, match="cannot convert int to Custom"):
        unmarshal(marshal(1), Custom)
    assert unmarshal(marshal(Call(function="f")), Call | None) == Call(function="f")
    with pytest.raises(MarshalError, match=r"^\$: .*required fields.*name_part"):
        marshal(descriptor_pb2.UninterpretedOption.NamePart())


# What each library has that the others have not.

RAW = b"\xff\x00"


class Pet(pydantic.BaseModel):
    kind: typing.Literal["cat"] = "cat"
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: typing.Literal["dog"] = "dog"
    name: str = "Rex"


Animal = typing.Annotated[Pet | Dog, pydantic.Field(discriminator="kind")]


class Inner(pydantic.BaseModel):
    raw: bytes


class Rich(pydantic.BaseModel):
    raw: bytes
    encoded: pydantic.Base64Bytes
    inner: list[Inner]
    pet: Animal
    path: pathlib.Path
    url: pydantic.HttpUrl
    secret: pydantic.SecretStr
    hidden: pydantic.SecretBytes
    by_number: dict[int, timedelta]
    when: datetime
    maybe: bytes | None = None


RICH = Rich(
    raw=RAW,
    encoded=base64.b64encode(RAW),
    inner=[Inner(raw=RAW)],
    pet=Dog(),
    path=pathlib.Path("/a/b"),
    url=pydantic.HttpUrl("https://example.com/x"),
    secret=pydantic.SecretStr("s3cret"),
    hidden=pydantic.SecretBytes(RAW),
    by_number={1: timedelta(seconds=-1.5)},
    when=NOW,
)


class Strict(pydantic.BaseModel, strict=True):
    when: datetime
    id: uuid.UUID
    color: Color
    pair: tuple[int, str]
    raw: bytes
    tags: frozenset[str]


STRICT = Strict(
    when=NOW, id=uuid.UUID(int=1), color=Color.RED, pair=(1, "x"), raw=RAW, tags=frozenset({"a"})
)


class Hex(pydantic.BaseModel, ser_json_bytes="hex", val_json_bytes="hex"):
    raw: bytes


class Own(pydantic.BaseModel):
    raw: bytes

    @pydantic.field_serializer("raw", when_used="json")
    def write(self, raw: bytes) -> str:
        return raw.hex()

    @pydantic.field_validator("raw", mode="before")
    @classmethod
    def read(cls, raw: typing.Any) -> bytes:
        return bytes.fromhex(raw) if isinstance(raw, str) else raw


@pydantic.dataclasses.dataclass
class PydanticData:
    raw: bytes
    limit: typing.Annotated[int, pydantic.Field(alias="theLimit", gt=0)] = 1
    inner: Inner | None = None


DATA = pydantic.TypeAdapter(PydanticData).validate_python(
    {"raw": RAW, "theLimit": 3, "inner": Inner(raw=RAW)}
)


class Root(pydantic.RootModel[list[bytes]]):
    pass


class Tree(pydantic.BaseModel):
    raw: bytes
    children: "list[Tree]" = []


@dataclasses.dataclass
class A:
    x: int


@dataclasses.dataclass
class B:
    x: int
    y: bytes = b""


@attrs.frozen
class C:
    z: A | B | None


@dataclasses.dataclass
class Holder:
    either: A | B
    several: list[A | C | int | None]
    named: dict[str, A | B]
    pair: tuple[A | B, float]
    animal: Animal
    data: PydanticData
    secret: pydantic.SecretStr
    path: pathlib.PurePosixPath
    computed: int = dataclasses.field(init=False, default=0)


HOLDER = Holder(
    either=B(1, RAW),
    several=[A(1), C(B(2)), 5, None, C(None)],
    named={"a": A(1), "b": B(1)},
    pair=(B(1), 2.0),
    animal=Dog(),
    data=DATA,
    secret=pydantic.SecretStr("s3cret"),
    path=pathlib.PurePosixPath("/a"),
)
HOLDER.computed = 7


def to_set(values: typing.Iterable[str]) -> frozenset[str]:
    return frozenset(values)


@attrs.define
class Aliased:
    _private: int
    renamed: str = attrs.field(alias="other")
    tags: frozenset[str] = attrs.field(converter=to_set, factory=frozenset)
    made: int = attrs.field(init=False, default=1)


ALIASED = Aliased(1, other="x", tags=["a"])
ALIASED.made = 2


class Unset(msgspec.Struct):
    a: int | msgspec.UnsetType = msgspec.UNSET
    b: int = 1


class Half(enum.Enum):
    LENGTH = timedelta(minutes=30)
    WHEN = NOW
    RAW = b"\xff"
    WHOLE = 2.0
    PAIR = (1, "x")
    NOTHING = None
    NAME = "name"


class Bits(enum.Flag):
    ONE = 1
    TWO = 2


LOCAL_MEAN_TIME = datetime(1800, 1, 1, 12, tzinfo=ZoneInfo("Europe/Amsterdam"))
Limit = typing.Annotated[int, pydantic.Field(gt=0)]


@pytest.mark.parametrize(
    ("value", "T"),
    [
        (RICH, Rich),
        (STRICT, Strict),
        (Hex(raw=RAW), Hex),
        (Own(raw=RAW), Own),
        (Root([RAW]), Root),
        (Tree(raw=RAW, children=[Tree(raw=RAW)]), Tree),
        (DATA, PydanticData),
        (Dog(), Animal),
        (Dog(name="x"), Pet | Dog),
        ([Dog(), Pet()], list[Animal]),
        ({"a": [Dog()]}, dict[str, list[Pet | Dog]]),
        ({"a": Inner(raw=RAW)}, dict[str, Inner | None]),
        (pydantic.SecretStr("x"), pydantic.SecretStr),
        (pydantic.HttpUrl("https://example.com/"), pydantic.HttpUrl),
        (RAW, typing.Annotated[bytes, pydantic.Field(max_length=2)]),
        (NOW, pydantic.AwareDatetime),
        (timedelta(seconds=1), typing.Annotated[timedelta, pydantic.Field(gt=timedelta(0))]),
        (pathlib.Path("/a"), pathlib.Path),
        ([pathlib.Path("/a")], list[pathlib.Path]),
        (HOLDER, Holder),
        (A(1), A | B),
        (B(1), A | B),
        (Tagged(1), Tagged | A),
        ([1.5, A(1)], list[A | float]),
        ((A(1), B(2)), tuple[A | B, ...]),
        ({A(1).x}, set[int] | None),
        (ALIASED, Aliased),
        ([ALIASED], list[Aliased]),
        (Unset(), Unset),
        (Unset(5), Unset),
        *((member, Half) for member in Half),
        ([*Half], list[Half]),
        (Bits.ONE | Bits.TWO, Bits),
        ([LOCAL_MEAN_TIME], list[datetime]),
        (LOCAL_MEAN_TIME, datetime),
        ([time(1, 2, 3, tzinfo=timezone(timedelta(hours=-3.5)))], list[time]),
    ],
    ids=lambda value: parameter_id(value)[:40],
)
def test_every_library_keeps_its_values(value: typing.Any, T: typing.Any):
    for wrapped, wanted in ((value, T), ([value], list[T])):
        back = unmarshal(marshal(wrapped), wanted)
        assert back == wrapped
        assert type(back) is type(wrapped)


def test_bytes_are_base64_once_on_the_wire():
    text = base64.b64encode(RAW).decode()
    found = unmarshal(marshal(RICH))
    assert found["raw"] == found["encoded"] == found["hidden"] == text
    assert found["inner"] == [{"raw": text}]
    assert found["secret"] == "s3cret"
    assert unmarshal(marshal(PydanticData(RAW)))["raw"] == text
    assert unmarshal(marshal(B(1, RAW)))["y"] == text
    assert unmarshal(marshal(Hex(raw=RAW))) == {"raw": "ff00"}
    assert unmarshal(marshal(ALIASED)) == {"private": 1, "other": "x", "tags": ["a"], "made": 2}


@dataclasses.dataclass
class Again:
    """The same fields as A."""

    x: int


@attrs.define
class Doubled:
    x: int = attrs.field(converter=lambda x: 2 * x)


@attrs.define
class Checked:
    _x: int = attrs.field(validator=attrs.validators.lt(3))


class Twin(enum.Enum):
    TEXT = "PT30M"
    LENGTH = timedelta(minutes=30)


@dataclasses.dataclass
class Lost:
    x: "NoSuchName"  # type: ignore[name-defined]  # noqa: F821


Short = typing.Annotated[pydantic.SecretStr, pydantic.Field(max_length=2)]


class Opaque(pydantic.BaseModel, arbitrary_types_allowed=True):
    x: Custom


@pytest.mark.parametrize(
    ("value", "T", "message"),
    [
        (A(1), A | Again, r"the value fits A and Again; tell them apart by a field"),
        ({"x": "1"}, A | B, r"not .*A \| .*B: .*Expected `int`, got `str`.*; "),
        (Doubled(1), Doubled, r"^not Doubled: x was written as 2 and is decoded as 4"),
        ({"x": 5}, Checked, r"^not Checked: '_x' must be < 3"),
        ({"x": "5"}, Checked, r"^not Checked: Expected `int`, got `str` - at `\$\.x`"),
        (
            [{"x": "5"}],
            list[Checked],
            r"^not list.* got `str` - at `\$\.x` - at `\$\[0\]`",
        ),
        (
            {"a": {"x": "5"}},
            dict[str, Checked],
            r"^not dict.* got `str` - at `\$\.x` - at `\$\[",
        ),
        (1, Checked, r"^not Checked: Expected `object`, got `int`"),
        ([1], tuple[A | B, float], r"Expected `array` of length 2, got 1"),
        (1, list[A | B], r"Expected `array`, got `int`"),
        (5, Half, r"^not Half: 5 is not the value of a member"),
        ("PT30M", Twin, r"^not Twin: 'PT30M' fits Twin\.TEXT and Twin\.LENGTH"),
        (8, Bits, r"^not Bits: 8 is not a combination of members of Bits"),
        ({"x": 1}, Lost, r"^Lost is not a type to decode into: name 'NoSuchName'"),
        ({"raw": "?"}, Inner, r"^not Inner: raw: "),
        ({"raw": 1}, Inner, r"^not Inner: raw: "),
        ({"kind": "cow"}, Animal, r"'cow' found using 'kind' does not match"),
        (0, Limit, r"^not .*: \$: Input should be greater than 0"),
        (Call(function="f"), Inner, r"^not Inner: "),
        (
            "secret",
            typing.Annotated[pydantic.SecretStr, pydantic.Field(max_length=2)],
            r"at most 2",
        ),
    ],
    ids=lambda value: parameter_id(value)[:30],
)
def test_no_value_changes_silently(value: typing.Any, T: typing.Any, message: str):
    with pytest.raises(UnmarshalError, match=message) as caught:
        unmarshal(marshal(value), T)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Opaque(x=Custom()), r"^\$: Opaque cannot be written as JSON: "),
        ([Opaque(x=Custom())], r"^\$\[0\]: Opaque cannot be"),
        (Dog.model_construct(name=typing.cast("str", 5)), r"^\$: Dog cannot be written as JSON"),
        (time(1, tzinfo=ZoneInfo("Europe/Berlin")), r"^\$: a time must have an offset of whole"),
        ([time(1, tzinfo=timezone(timedelta(seconds=1)))], r"^\$\[0\]: a time must have an"),
        (
            [datetime.min.replace(tzinfo=timezone(timedelta(seconds=30)))],
            r"^\$\[0\]: a time must be in the years 1 to 9999",
        ),
    ],
    ids=lambda value: parameter_id(value)[:30],
)
def test_models_that_cannot_be_written(value: object, message: str):
    with pytest.raises(MarshalError, match=message):
        marshal(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (numpy.bool_(True), True),
        (numpy.int8(-1), -1),
        (numpy.uint64(2**64 - 1), 2**64 - 1),
        (numpy.float16(0.5), 0.5),
        (numpy.float32(0.1), float(numpy.float32(0.1))),
        (numpy.float64(0.1), 0.1),
        (numpy.str_("x"), "x"),
        (numpy.bytes_(b"x"), b"x"),
        (numpy.timedelta64(1500, "ms"), timedelta(seconds=1.5)),
    ],
    ids=parameter_id,
)
def test_numpy_scalars(value: object, expected: object):
    assert unmarshal(marshal(value)) == expected
    assert type(unmarshal(marshal(value))) is type(expected)
    if not isinstance(expected, bytes | timedelta) and expected != 2**64 - 1:
        assert unmarshal(marshal({"a": [value]})) == {"a": [expected]}


@pytest.mark.parametrize(
    "value",
    [
        numpy.complex64(1),
        numpy.longdouble(1),
        numpy.timedelta64(1, "ns"),
        numpy.datetime64("2024-01-01T00:00:00.000000001"),
        numpy.datetime64("2024-01-01"),
        numpy.datetime64("2024-01-01T00:00:00"),
        numpy.array([1, 2]),
        numpy.array(1),
        numpy.void(b"x"),
    ],
    ids=parameter_id,
)
def test_other_values_of_numpy_are_refused(value: object):
    with pytest.raises(MarshalError, match=r"^\$: (a numpy|numpy\.ndarray has|a datetime must)"):
        marshal(value)


def test_convert_reads_natural_values_as_messages_too():
    assert convert({"raw": "/wA="}, Inner) == Inner(raw=RAW)
    assert convert(None, None.__class__) is None
    assert convert(Call(function="f"), Call) == Call(function="f")
