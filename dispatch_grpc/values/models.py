"""Python objects and the plain types that the schema has: from one to the other."""

import dataclasses
import decimal
import enum
import uuid
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from typing import Any

import msgspec

from dispatch_grpc.errors import UnmarshalError


def to_plain(value: Any) -> Any:
    """Convert a value by one level, to a type that has a representation of its own.

    Raises:
        TypeError: There is no such type; the message is for a MarshalError.
    """
    kind: Any = type(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, uuid.UUID | decimal.Decimal):
        return str(value)
    if isinstance(value, date | time) and not isinstance(value, datetime):
        return value.isoformat()
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
    if hasattr(kind, "__pydantic_fields__"):
        return value.model_dump(mode="python", by_alias=True, round_trip=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(kind, "__struct_encode_fields__"):
        return _plain_struct(value)
    if hasattr(kind, "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in kind.__attrs_attrs__}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | list | AbstractSet):
        return list(value)
    raise TypeError(
        f"{kind.__module__}.{kind.__qualname__} has no representation; "
        f"convert it to one of the types that dispatch_grpc.values lists"
    )


def _base_time(value: Any) -> Any:
    """A datetime or timedelta of a subclass (pandas has some), as the type itself."""
    if getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0):
        raise TypeError(f"{value!r} is finer than a microsecond; round it first")
    if isinstance(value, datetime):
        return datetime.combine(value.date(), value.timetz()).replace(fold=value.fold)
    return timedelta(days=value.days, seconds=value.seconds, microseconds=value.microseconds)


def _plain_struct(value: Any) -> Any:
    """The fields of a msgspec Struct, as msgspec encodes them."""
    config = value.__struct_config__
    items = [getattr(value, name) for name in value.__struct_fields__]
    if config.array_like:
        return items if config.tag is None else [config.tag, *items]
    fields = dict(zip(value.__struct_encode_fields__, items, strict=True))
    return fields if config.tag is None else {config.tag_field: config.tag, **fields}


def to_text(value: bytes | bytearray | memoryview | timedelta) -> str:
    """The text of bytes (base64) or of a timedelta (ISO 8601), as `from_plain` reads it."""
    text: str = msgspec.to_builtins(value if isinstance(value, timedelta) else bytes(value))
    return text


def from_plain(value: Any, wanted: Any) -> Any:
    """Convert a natural value to the type asked for, strictly."""
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
    """Types that msgspec does not know: pydantic's models decode themselves."""
    if hasattr(wanted, "__pydantic_fields__"):
        return wanted.model_validate(value)
    if isinstance(wanted, type) and isinstance(value, wanted):
        return value
    raise TypeError(f"there is no way from {type(value).__name__} to {_name(wanted)}")


def _name(wanted: Any) -> str:
    return wanted.__qualname__ if isinstance(wanted, type) else str(wanted)
