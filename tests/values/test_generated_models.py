"""Models of four libraries, generated: equal after a round trip, or a clear error."""

import dataclasses
import enum
import pathlib
import typing
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from dispatch_grpc import MarshalError, UnmarshalError, marshal, new_call, unmarshal
from dispatch_grpc.schema import DispatchRequest
from dispatch_grpc.values import convert, decode_arguments, encode_arguments

Field = tuple[typing.Any, SearchStrategy[typing.Any]]
"""A type, and values of it."""


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Weight(enum.IntEnum):
    LIGHT = 1
    HEAVY = 2


class Break(enum.Enum):
    SHORT = timedelta(minutes=5)
    LONG = timedelta(hours=1)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC) | OFFSETS)
LEAVES: list[Field] = [
    (int, st.integers(-(2**53), 2**53)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (str, TEXT),
    (bytes, st.binary(max_size=8)),
    (datetime, TIMES),
    (timedelta, st.timedeltas(timedelta(days=-3_652_500), timedelta(days=3_652_500))),
    (date, st.dates()),
    (time, st.times()),
    (UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (Size, st.sampled_from(Size)),
    (Weight, st.sampled_from(Weight)),
]
# What pydantic writes in a way of its own, or does not check.
OTHERS: list[Field] = [
    (Break, st.sampled_from(Break)),
    (pathlib.PurePosixPath, TEXT.map(pathlib.PurePosixPath)),
]


def contained(inner: SearchStrategy[Field]) -> SearchStrategy[Field]:
    def wrap(field: Field) -> SearchStrategy[Field]:
        inner_type: typing.Any = field[0]
        values = field[1]
        return st.sampled_from(
            [
                (list[inner_type], st.lists(values, max_size=3)),
                (dict[str, inner_type], st.dictionaries(TEXT, values, max_size=3)),
                (tuple[inner_type, ...], st.lists(values, max_size=3).map(tuple)),
                (tuple[inner_type, int], st.tuples(values, st.integers(0, 9))),
                (inner_type | None, st.none() | values),
            ]
        )

    return inner.flatmap(wrap)


def of_dataclasses(fields: dict[str, typing.Any]) -> type:
    return dataclasses.make_dataclass("Data", fields.items(), kw_only=True)


def of_attrs(fields: dict[str, typing.Any]) -> type:
    names = {name: attrs.field(type=T, alias=f"the_{name}") for name, T in fields.items()}
    return attrs.make_class("Attrs", names, kw_only=True)


def of_plain_attrs(fields: dict[str, typing.Any]) -> type:
    names = {name: attrs.field(type=T) for name, T in fields.items()}
    return attrs.make_class("PlainAttrs", names, kw_only=True)


def of_msgspec(fields: dict[str, typing.Any]) -> type:
    return msgspec.defstruct("Struct", [*fields.items()], rename="camel", kw_only=True)


def of_pydantic(fields: dict[str, typing.Any]) -> type:
    parts: dict[str, typing.Any] = {name: (T, ...) for name, T in fields.items()}
    cls: type = pydantic.create_model("Model", __config__=ANY_TYPE, **parts)
    return cls


def of_strict_pydantic(fields: dict[str, typing.Any]) -> type:
    parts: dict[str, typing.Any] = {name: (T, ...) for name, T in fields.items()}
    config = pydantic.ConfigDict(strict=True, **ANY_TYPE)
    cls: type = pydantic.create_model("Strict", __config__=config, **parts)
    return cls


def of_pydantic_dataclasses(fields: dict[str, typing.Any]) -> type:
    return pydantic.dataclasses.dataclass(of_dataclasses(fields), config=ANY_TYPE)


ANY_TYPE = pydantic.ConfigDict(arbitrary_types_allowed=True)  # attrs, for one
Kind = Callable[[dict[str, typing.Any]], type]
KINDS: list[Kind] = [
    of_dataclasses,
    of_attrs,
    of_plain_attrs,
    of_msgspec,
    of_pydantic,
    of_strict_pydantic,
    of_pydantic_dataclasses,
]


def models(kinds: list[Kind], fields: SearchStrategy[Field]) -> SearchStrategy[Field]:
    """Models of these kinds, and values of each."""

    def of(kind: Kind, parts: list[Field]) -> Field:
        named = {f"field_{i}": part for i, part in enumerate(parts)}
        cls = kind({name: T for name, (T, _) in named.items()})
        prefix = "the_" if kind is of_attrs else ""
        values = {f"{prefix}{name}": values for name, (_, values) in named.items()}
        return cls, st.fixed_dictionaries(values).map(lambda given: cls(**given))

    return st.builds(of, st.sampled_from(kinds), st.lists(fields, min_size=1, max_size=4))


def values_of(fields: SearchStrategy[Field]) -> SearchStrategy[tuple[typing.Any, typing.Any]]:
    return fields.flatmap(lambda field: st.tuples(st.just(field[0]), field[1]))


LEAF = st.sampled_from(LEAVES)
SIMPLE = LEAF | contained(LEAF)
ALONE = st.sampled_from(KINDS).flatmap(
    lambda kind: models([kind], SIMPLE | contained(models([kind], SIMPLE)))
)
MIXED = st.recursive(
    models(KINDS, SIMPLE | st.sampled_from(OTHERS)),
    lambda inner: models(KINDS, inner | contained(inner) | SIMPLE),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(values_of(ALONE))
def test_models_of_one_library_come_back(case: tuple[typing.Any, typing.Any]):
    cls, value = case
    back = unmarshal(marshal(value), cls)
    assert back == value
    assert type(back) is cls


@pytest.mark.parametrize("value", [*Break, None])
def test_an_optional_enum_that_json_cannot_hold_comes_back(value: Break | None):
    @dataclasses.dataclass
    class Shift:
        rest: Break | None

    assert unmarshal(marshal(Shift(value)), Shift) == Shift(value)


@settings(max_examples=100, deadline=None)
@given(values_of(MIXED))
def test_models_inside_models_come_back_or_are_refused(case: tuple[typing.Any, typing.Any]):
    cls, value = case
    try:
        call = new_call("http://example.com", "f", value)
        request = DispatchRequest.FromString(DispatchRequest(calls=[call]).SerializeToString())
        back = unmarshal(request.calls[0].input, cls)
        argument = decode_arguments(encode_arguments({"a": value, "b": 1}))["a"]
        assert convert(argument, cls) == value
    except (MarshalError, UnmarshalError):
        pass
    else:
        assert back == value
        assert type(back) is cls
