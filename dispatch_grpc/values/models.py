"""Conversions between Python objects and the plain types of the schema.

Each library's own conversion is used for its types: msgspec's for everything that it supports,
pydantic's JSON mode for pydantic's types. This module adds what msgspec lacks: attrs by alias,
unions of several models, enums of any value, paths.
"""

import dataclasses
import decimal
import enum
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from functools import partial
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from dispatch_grpc.errors import UnmarshalError
from dispatch_grpc.text import quoted
from dispatch_grpc.values import pydantic_types
from dispatch_grpc.values.pydantic_types import cached, is_pydantic, name_of

_BASES: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int),
    (float, float),
    (bytes | bytearray, bytes),
)


def to_plain(value: Any) -> Any:
    """Convert a value by one level to a plainer type.

    Raises:
        TypeError: The value has no representation; a MarshalError takes over the message.
    """
    kind: Any = type(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, uuid.UUID | decimal.Decimal | PurePath):
        return str(value)
    if isinstance(value, date | time) and not isinstance(value, datetime):
        return _day_or_time(value)
    for base, plain in _BASES:
        if isinstance(value, base):
            return plain(value)
    if isinstance(value, datetime | timedelta):
        return _base_time(value)
    if is_pydantic(kind):
        return pydantic_types.encode(value)
    if dataclasses.is_dataclass(kind):
        return _without_unset((f.name, getattr(value, f.name)) for f in dataclasses.fields(kind))
    if hasattr(kind, "__struct_encode_fields__"):
        return _plain_struct(value)
    if hasattr(kind, "__attrs_attrs__"):
        return _without_unset((f.alias, getattr(value, f.name)) for f in kind.__attrs_attrs__)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | list | AbstractSet):
        return list(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return _plain_numpy(value)
    raise TypeError(
        f"{kind.__module__}.{kind.__qualname__} has no representation; "
        f"convert it to one of the types that dispatch_grpc.values lists"
    )


def _day_or_time(value: Any) -> str:
    if isinstance(value, time) and value.tzinfo is not None:
        offset = value.utcoffset()
        if offset is None or offset % timedelta(minutes=1):
            raise TypeError(f"a time must have an offset of whole minutes, or none; got {value!r}")
    text: str = value.isoformat()
    return text


def _base_time(value: Any) -> Any:
    """Return a datetime or timedelta of a subclass (pandas has some) as the type itself."""
    if getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0):
        raise TypeError(f"{value!r} is finer than a microsecond; round it first")
    if isinstance(value, datetime):
        return datetime.combine(value.date(), value.timetz()).replace(fold=value.fold)
    return timedelta(days=value.days, seconds=value.seconds, microseconds=value.microseconds)


def _plain_numpy(value: Any) -> Any:
    """Return a numpy scalar as the Python value that holds it exactly."""
    plain = value.item()
    if isinstance(plain, bool | int) and value.dtype.kind in "biu":
        return plain
    if isinstance(plain, float | datetime | timedelta):
        return plain
    raise TypeError(
        f"a numpy {value.dtype} has no exact representation; convert it to a Python value first"
    )


def _without_unset(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: item for name, item in items if item is not msgspec.UNSET}


def _plain_struct(value: Any) -> Any:
    """Return the fields of a msgspec Struct, as msgspec encodes them."""
    config = value.__struct_config__
    items = [getattr(value, name) for name in value.__struct_fields__]
    if config.array_like:
        return items if config.tag is None else [config.tag, *items]
    fields = _without_unset(zip(value.__struct_encode_fields__, items, strict=True))
    return fields if config.tag is None else {config.tag_field: config.tag, **fields}


def to_text(value: bytes | bytearray | memoryview | timedelta) -> str:
    """Return bytes as base64 and a timedelta as ISO 8601, as `from_plain` reads them."""
    text: str = msgspec.to_builtins(value if isinstance(value, timedelta) else bytes(value))
    return text


def from_plain(value: Any, wanted: Any) -> Any:
    """Convert a natural value to a type, strictly.

    Raises:
        UnmarshalError: The value is not of that type, or the type is not supported.
    """
    try:
        result = msgspec.convert(value, _readable(wanted), dec_hook=_decode_hook)
    except msgspec.ValidationError as error:
        raise UnmarshalError(_mismatch(name_of(wanted), str(error))) from error
    except TypeError as error:
        raise UnmarshalError(f"{name_of(wanted)} is not a type to decode into: {error}") from error
    if type(result) is float and type(value) is int and result != value:
        raise UnmarshalError(f"not float: a double cannot hold {value} exactly")
    return result


def _mismatch(name: str, problem: str) -> str:
    """Return the message for a problem of msgspec, without naming the type twice."""
    if found := re.fullmatch(f"Expected `{re.escape(name)}`, got `(.*)`", problem):
        return f"expected {name}, got {found[1]}"
    return f"not {name}: {problem}"


def _decode_hook(wanted: Any, value: Any) -> Any:
    """Convert to types that msgspec does not support."""
    if isinstance(wanted, _StandIn):
        return wanted.read(value)
    if isinstance(wanted, type) and isinstance(value, wanted):
        return value
    if is_pydantic(wanted):
        return from_plain(value, wanted)
    if isinstance(wanted, type) and issubclass(wanted, PurePath) and isinstance(value, str):
        return wanted(value)
    raise TypeError(f"cannot convert {type(value).__name__} to {name_of(wanted)}")


class _StandIn(type):
    """A placeholder for a type: msgspec calls our own function to convert to it."""

    read: Callable[[Any], Any]

    def __instancecheck__(cls, instance: Any) -> bool:  # accept the result of `read`
        return True


def _stand_in(read: Callable[..., Any], *arguments: Any) -> type:
    return _StandIn("StandIn", (), {"read": partial(read, *arguments)})


@cached
def _readable(wanted: Any) -> Any:
    """Return a type that msgspec decodes from what `to_plain` makes of the wanted type."""
    origin, args = get_origin(wanted), get_args(wanted)
    members = args if origin in {Union, UnionType} else (wanted,)
    if any(map(is_pydantic, members)) and (read := pydantic_types.decoder(wanted)):
        return _stand_in(read)
    if _is_known_to_msgspec(wanted, {}):
        try:
            msgspec.json.Decoder(wanted, dec_hook=_decode_hook)
        except TypeError:  # a union of several models, an enum of floats
            pass
        else:
            return wanted
    if len(members) > 1:
        return _stand_in(_read_union, members)
    if origin is Annotated:
        return _readable(args[0])
    if origin is not None:
        return origin[tuple(one if one is ... else _readable(one) for one in args)]
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return _stand_in(_read_enum, wanted)
    if dataclasses.is_dataclass(wanted) or hasattr(wanted, "__attrs_attrs__"):
        return _stand_in(_read_fields, wanted)
    return wanted


def _is_known_to_msgspec(wanted: Any, seen: dict[int, Any]) -> bool:
    """Return whether msgspec decodes a type, and all types inside it, as `to_plain` writes them."""
    if id(wanted) in seen:
        return True
    seen[id(wanted)] = wanted
    inside: Iterable[Any] = ()
    if is_pydantic(wanted):
        return hasattr(wanted, "model_fields")  # models go through the hook
    if origin := get_origin(wanted):
        inside = [origin, *get_args(wanted)]
    elif isinstance(wanted, type):
        if issubclass(wanted, enum.Flag):
            return False
        for field in getattr(wanted, "__attrs_attrs__", ()):
            if field.alias != field.name or field.converter:
                return False
        if hasattr(wanted, "__annotations__"):
            inside = _hints(wanted).values()
    return all(_is_known_to_msgspec(one, seen) for one in inside)


def _hints(cls: Any) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except Exception as error:  # annotations are code
        raise UnmarshalError(f"{name_of(cls)} is not a type to decode into: {error}") from error


# Decoders of types that msgspec does not support, or decodes differently.


def _read_enum(wanted: Any, value: Any) -> Any:
    """Return the enum member that is written as this value."""
    if issubclass(wanted, enum.Flag) and type(value) is int:
        try:
            return wanted(value)
        except ValueError as error:
            raise UnmarshalError(
                f"{value} is not a combination of members of {name_of(wanted)}"
            ) from error
    found = [member for member in wanted if _is_written_as(member.value, value)]
    if len(found) != 1:
        problem = (
            f"fits {' and '.join(map(str, found))}" if found else "is not the value of a member"
        )
        raise UnmarshalError(f"{quoted(value)} {problem}")
    return found[0]


def _is_written_as(value: Any, natural: Any) -> bool:
    with suppress(UnmarshalError):
        return bool(from_plain(natural, type(value)) == value)
    with suppress(TypeError):
        return bool(msgspec.to_builtins(value, enc_hook=to_plain) == natural)
    return False


def _read_union(members: tuple[Any, ...], value: Any) -> Any:
    """Convert to the one member of a union that fits, chosen by the keys of a dict if needed."""
    simple = tuple(one for one in members if _is_known_to_msgspec(one, {}) and not _fields(one))
    if len(simple) == len(members):  # msgspec refuses them together, such as an enum of floats
        simple = ()
    fits: list[tuple[Any, Any]] = []
    problems = []
    others = [one for one in members if one not in simple]
    for one in [*((Union[simple],) if simple else ()), *others]:  # noqa: UP007 (of a tuple)
        try:
            fits.append((one, from_plain(value, one)))
        except UnmarshalError as error:
            problems.append(str(error))
    if len(fits) > 1 and isinstance(value, dict):
        fits = [fit for fit in fits if _fields(fit[0]).keys() == value.keys()] or fits
    if len(fits) == 1:
        return fits[0][1]
    if fits:
        names = " and ".join(name_of(one) for one, _ in fits)
        problems = [f"the value fits {names}; tell them apart by a field"]
    raise UnmarshalError("; ".join(problems))


def _fields(wanted: Any) -> dict[str, Any]:
    """Return the fields of a dataclass or an attrs class by their keys in a dict."""
    if dataclasses.is_dataclass(wanted):
        return {field.name: field for field in dataclasses.fields(wanted)}
    return {field.alias: field for field in getattr(wanted, "__attrs_attrs__", ())}


@cached
def _struct_of(wanted: Any) -> Any:
    """Return a Struct with the fields of a dataclass or an attrs class, all optional."""
    hints = _hints(wanted)
    types = {key: _readable(hints.get(f.name, Any)) for key, f in _fields(wanted).items()}
    return msgspec.defstruct("Fields", [(key, T, msgspec.UNSET) for key, T in types.items()])


def _read_fields(wanted: Any, value: Any) -> Any:
    """Convert to a dataclass or an attrs class, by its constructor."""
    fields = _fields(wanted)
    try:
        parts = msgspec.convert(value, _struct_of(wanted), dec_hook=_decode_hook)
    except msgspec.ValidationError as error:  # msgspec adds the path to any error
        raise UnmarshalError(str(error)) from error
    given = _without_unset(msgspec.structs.asdict(parts).items())
    try:
        result = wanted(**{key: part for key, part in given.items() if fields[key].init})
    except Exception as error:  # from the class's own checks
        raise UnmarshalError(str(error)) from error
    for key, part in given.items():
        name = fields[key].name
        found = getattr(result, name, None)
        if not fields[key].init:
            object.__setattr__(result, name, part)
        elif found is not part and found != part:
            raise UnmarshalError(
                f"{name} was written as {quoted(part)} and is decoded as {quoted(found)}; "
                f"a converter must not change a converted value"
            )
    return result
