"""Python objects as the plain types that the schema has, and back.

Each library's own conversion is used for its types: msgspec's for everything that it supports,
pydantic's JSON mode for pydantic's types. This module adds what msgspec lacks: attrs by alias,
unions of several models, enums of any value, paths.
"""

import collections.abc
import dataclasses
import decimal
import enum
import sys
import types
import uuid
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from pathlib import PurePath
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from dispatch_grpc.errors import UnmarshalError
from dispatch_grpc.values import pydantic_types

Converter = Callable[[Any], Any]


def to_plain(value: Any) -> Any:
    """Convert a value by one level, to a type that has a representation of its own.

    Raises:
        TypeError: There is no such type; the message is for a MarshalError.
    """
    kind: Any = type(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, uuid.UUID | decimal.Decimal | PurePath):
        return str(value)
    if isinstance(value, date | time) and not isinstance(value, datetime):
        return _day_or_time(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, datetime | timedelta):
        return _base_time(value)
    if pydantic_types.is_pydantic(kind):
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
        convert = _converter(wanted)
    except TypeError:  # not hashable, as some metadata of Annotated
        convert = _converter.__wrapped__(wanted)
    return convert(value)


@lru_cache(maxsize=1024)
def _converter(wanted: Any) -> Converter:
    """Return the function that converts a natural value to a type."""
    origin, args = get_origin(wanted), get_args(wanted)
    members = args if origin in {Union, types.UnionType} else (wanted,)
    if any(map(pydantic_types.is_pydantic, members)) and (
        convert := pydantic_types.decoder(wanted)
    ):
        return convert
    if _is_known_to_msgspec(wanted, set()) and _is_accepted_by_msgspec(wanted):
        return lambda value: _convert_by_msgspec(value, wanted)
    if len(members) > 1:
        return lambda value: _convert_union(value, wanted, members)
    if origin is Annotated:
        return _converter(args[0])
    if origin in _ITERABLES or origin in _MAPPINGS or origin is tuple:
        return lambda value: _convert_items(value, wanted, origin, args)
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return lambda value: _convert_enum(value, wanted)
    if dataclasses.is_dataclass(wanted) or hasattr(wanted, "__attrs_attrs__"):
        return lambda value: _convert_fields(value, wanted)
    return lambda value: _convert_by_msgspec(value, wanted)


def _convert_by_msgspec(value: Any, wanted: Any) -> Any:
    try:
        result = msgspec.convert(value, wanted, dec_hook=_decode_hook)
    except msgspec.ValidationError as error:
        raise UnmarshalError(f"not {_name(wanted)}: {error}") from error
    except TypeError as error:
        raise UnmarshalError(f"{_name(wanted)} is not a type to decode into: {error}") from error
    if type(result) is float and type(value) is int and result != value:
        raise UnmarshalError(f"not float: a double cannot hold {value} exactly")
    return result


def _decode_hook(wanted: Any, value: Any) -> Any:
    """Convert to the types that msgspec does not know."""
    if isinstance(wanted, type) and isinstance(value, wanted):
        return value
    if pydantic_types.is_pydantic(wanted):
        return from_plain(value, wanted)
    if isinstance(wanted, type) and issubclass(wanted, PurePath) and isinstance(value, str):
        return wanted(value)
    raise TypeError(f"cannot convert {type(value).__name__} to {_name(wanted)}")


def _is_accepted_by_msgspec(wanted: Any) -> bool:
    try:
        msgspec.json.Decoder(wanted, dec_hook=_decode_hook)
    except TypeError:  # a union of several models, an enum of floats
        return False
    return True


def _is_known_to_msgspec(wanted: Any, seen: set[Any]) -> bool:
    """Return whether msgspec reads all that is inside a type as `to_plain` writes it."""
    if wanted in seen:
        return True
    seen.add(wanted)
    inside: Iterable[Any] = ()
    if origin := get_origin(wanted):
        if pydantic_types.is_pydantic(wanted):  # Annotated for it
            return False
        inside = [origin, *get_args(wanted)]
    elif pydantic_types.is_pydantic(wanted):
        return hasattr(wanted, "model_fields")  # models go through the hook
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
        raise UnmarshalError(f"{_name(cls)} is not a type to decode into: {error}") from error


# By hand, what msgspec does not support, or reads in another way than it is written.

_ITERABLES: dict[Any, Any] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}
_MAPPINGS = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})


def _expect(value: Any, kind: type, wanted: Any) -> None:
    if not isinstance(value, kind):
        raise UnmarshalError(
            f"not {_name(wanted)}: expected a {kind.__name__}, got {type(value).__name__}"
        )


def _at(place: object, value: Any, wanted: Any) -> Any:
    """Convert a part of a value; an error names its place."""
    try:
        return from_plain(value, wanted)
    except UnmarshalError as error:
        raise UnmarshalError(f"{place}: {error}") from error


def _convert_items(value: Any, wanted: Any, origin: Any, args: tuple[Any, ...]) -> Any:
    if origin in _MAPPINGS:
        _expect(value, dict, wanted)
        key_type, item_type = args
        return {_at(k, k, key_type): _at(k, item, item_type) for k, item in value.items()}
    _expect(value, list, wanted)
    if origin is not tuple:
        return _ITERABLES[origin](_at(i, item, args[0]) for i, item in enumerate(value))
    if args[1:] == (...,):
        args = args[:1] * len(value)
    if len(args) != len(value):
        raise UnmarshalError(f"not {_name(wanted)}: expected {len(args)} items, got {len(value)}")
    return tuple(_at(i, item, args[i]) for i, item in enumerate(value))


def _convert_enum(value: Any, wanted: Any) -> Any:
    """Return the member whose value is written like this."""
    if issubclass(wanted, enum.Flag) and type(value) is int:
        try:
            return wanted(value)
        except ValueError as error:
            raise UnmarshalError(f"not {_name(wanted)}: {value} is no sum of members") from error
    found = [member for member in wanted if _is_written_as(member.value, value)]
    if len(found) != 1:
        problem = f"fits {' and '.join(map(str, found))}" if found else "has no such member"
        raise UnmarshalError(f"not {_name(wanted)}: {value!r:.80} {problem}")
    return found[0]


def _is_written_as(value: Any, natural: Any) -> bool:
    try:
        return bool(from_plain(natural, type(value)) == value)
    except UnmarshalError:
        pass
    try:
        return bool(msgspec.to_builtins(value, enc_hook=to_plain) == natural)
    except TypeError:
        return False


def _convert_union(value: Any, wanted: Any, members: tuple[Any, ...]) -> Any:
    """Convert to the one member of a union that a value fits, by its keys if need be."""
    simple = tuple(one for one in members if _is_known_to_msgspec(one, set()) and not _keys(one))
    others = [one for one in members if one not in simple]
    fits: list[tuple[Any, Any]] = []
    problems = []
    for one in [*((Union[simple],) if simple else ()), *others]:  # noqa: UP007 (of a tuple)
        try:
            fits.append((one, from_plain(value, one)))
        except UnmarshalError as error:
            problems.append(str(error))
    if len(fits) > 1 and isinstance(value, dict):
        fits = [fit for fit in fits if _keys(fit[0]) == value.keys()] or fits
    if len(fits) == 1:
        return fits[0][1]
    if fits:
        names = " and ".join(_name(one) for one, _ in fits)
        problems = [f"the value fits {names}; tell them apart by a field"]
    raise UnmarshalError(f"not {_name(wanted)}: {'; '.join(problems)}")


def _keys(wanted: Any) -> set[str]:
    """Return the keys that a dataclass or an attrs class is written with."""
    if dataclasses.is_dataclass(wanted):
        return {field.name for field in dataclasses.fields(wanted)}
    return {field.alias for field in getattr(wanted, "__attrs_attrs__", ())}


def _convert_fields(value: Any, wanted: Any) -> Any:
    """Convert to a dataclass or an attrs class."""
    _expect(value, dict, wanted)
    hints = _hints(wanted)
    given: dict[str, Any] = {}
    items: dict[str, Any] = {}
    checked = set()
    for field in getattr(wanted, "__attrs_attrs__", None) or dataclasses.fields(wanted):
        key = getattr(field, "alias", field.name)
        if key in value:
            items[field.name] = item = _at(key, value[key], hints.get(field.name, Any))
            if field.init:
                given[key] = item
                checked.add(field.name)
    try:
        result = wanted(**given)
    except Exception as error:  # the class's own checks
        raise UnmarshalError(f"not {_name(wanted)}: {error}") from error
    for name, item in items.items():
        found = getattr(result, name, None)
        if found is not item and found != item:
            if name in checked:
                raise UnmarshalError(
                    f"not {_name(wanted)}: {name} was {item!r:.80} when it was written and would "
                    f"now be {found!r:.80}; a converter must keep what it has converted"
                )
            object.__setattr__(result, name, item)
    return result


def _name(wanted: Any) -> str:
    return wanted.__qualname__ if isinstance(wanted, type) else str(wanted)
