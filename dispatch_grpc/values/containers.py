"""Lists and dicts as `google.protobuf.Value`, and back."""

import sys
from array import array
from datetime import UTC, datetime, timedelta
from math import copysign, isfinite
from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from dispatch_grpc.errors import MarshalError, UnmarshalError
from dispatch_grpc.text import quoted

# Protobuf decoders, binary and JSON, refuse messages nested more than 100 levels deep. A list
# takes two levels (Value, ListValue), a dict three (Value, Struct, its entry); ten are left for
# the messages around the value in JSON.
_MAX_LEVELS = 90
_LIST_LEVELS, _DICT_LEVELS = 2, 3


class PathError(Exception):
    """A value cannot be marshalled; its path is collected while the error propagates."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []
        self.containers: list[int] = []

    def error(self) -> MarshalError:
        """Return the error to raise, with the path to the value."""
        if len(set(self.containers)) < len(self.containers):
            return MarshalError("$: the value contains itself; only trees can be marshalled")
        if len(self.path) > 20:
            self.path[10:-10] = ["…"]
        return MarshalError(f"${''.join(reversed(self.path))}: {self.reason}")


def encode_dict(value: dict[str, Any]) -> bytes:
    """Encode a dict as a Value."""
    message = Value()
    _fill_struct(message.struct_value, value, _MAX_LEVELS - _DICT_LEVELS)
    return message.SerializeToString()


def encode_list(value: list[Any] | tuple[Any, ...]) -> bytes:
    """Encode a list as a Value."""
    message = Value()
    _fill_list(message.list_value, value, _MAX_LEVELS - _LIST_LEVELS)
    return message.SerializeToString()


def check_aware(value: datetime) -> None:
    """Refuse a datetime without a time zone."""
    if value.utcoffset() is None:
        raise PathError(
            f"a datetime must have a time zone; got the naive {value.isoformat()} "
            f"(UTC? then use .replace(tzinfo=datetime.UTC))"
        )


def _rfc3339(value: datetime) -> str:
    check_aware(value)
    offset = value.utcoffset()
    if offset is not None and offset % timedelta(minutes=1):  # as of local mean times
        try:
            value = value.astimezone(UTC)
        except OverflowError as error:
            raise PathError(
                f"a time must be in the years 1 to 9999 of UTC; got {value.isoformat()}"
            ) from error
    return value.isoformat()


def _fill(slot: Value, value: Any, levels: int) -> None:
    kind = type(value)
    if kind is str:
        _set_text(slot, value)
    elif kind is float:
        if not isfinite(value):
            raise PathError(f"a float inside a list or dict must be finite; got {value}")
        slot.number_value = value
    elif kind is int:
        _set_int(slot, value)
    elif kind is bool:
        slot.bool_value = value
    elif value is None:
        slot.null_value = 0  # type: ignore[assignment]  # NullValue.NULL_VALUE
    elif kind is dict:
        _fill_struct(slot.struct_value, value, levels - _DICT_LEVELS)
    elif kind is list or kind is tuple:
        _fill_list(slot.list_value, value, levels - _LIST_LEVELS)
    else:
        _fill_other(slot, value, levels)


def _set_text(slot: Value, value: str) -> None:
    try:
        slot.string_value = value
    except ValueError as error:  # a UnicodeEncodeError, or another of protobuf in pure Python
        raise PathError("a str must be valid Unicode; it contains a lone surrogate") from error


def _set_int(slot: Value, value: int) -> None:
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if number != value:
        raise PathError(
            f"an int inside a list or dict must fit a double exactly; got "
            f"{value if value.bit_length() < 500 else 'an int of many digits'} (send it as a str)"
        )
    slot.number_value = number


def _fill_struct(struct: Struct, value: dict[str, Any], levels: int) -> None:
    key: Any = None
    try:
        _check_levels(levels)
        struct.SetInParent()
        fields = struct.fields
        for key, item in value.items():
            if type(key) is not str:
                key = _key(key)  # noqa: PLW2901
            kind = type(item)
            if kind is str:
                fields[key].string_value = item
            elif kind is bool:
                fields[key].bool_value = item
            else:
                _fill(fields[key], item, levels)
    except PathError as problem:
        if key is not None:
            problem.path.append(_segment(key))
        problem.containers.append(id(value))
        raise
    except ValueError as error:  # as in _set_text
        failure = PathError("keys and str must be valid Unicode; one contains a lone surrogate")
        failure.path.append(_segment(key))
        raise failure from error


def _fill_list(target: ListValue, value: list[Any] | tuple[Any, ...], levels: int) -> None:
    index = -1
    try:
        _check_levels(levels)
        target.SetInParent()
        if len(value) >= _STRIDE_MIN and (packed := _pack_numbers(value)) is not None:
            target.MergeFromString(packed)
            return
        add = target.values.add
        for index, item in enumerate(value):  # noqa: B007 (used where an item fails)
            _fill(add(), item, levels)
    except PathError as problem:
        if index >= 0:
            problem.path.append(f"[{index}]")
        problem.containers.append(id(value))
        raise


def _check_levels(levels: int) -> None:
    if levels < 0:
        raise PathError(
            f"lists and dicts are nested too deep: protobuf decoders stop at 100 messages, "
            f"which is about {_MAX_LEVELS // _DICT_LEVELS} dicts or {_MAX_LEVELS // _LIST_LEVELS} "
            f"lists"
        )


def _key(key: object) -> str:
    if isinstance(key, str):  # a StrEnum, say
        return str.__str__(key)
    raise PathError(f"keys must be str; got {type(key).__name__} {quoted(key)}")


def _segment(key: object) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{quoted(key)}]"


_AS_TEXT = frozenset({bytes, bytearray, memoryview, timedelta})


def _fill_other(slot: Value, value: Any, levels: int) -> None:
    """Fill a slot with a value that is not exactly of a JSON type."""
    if isinstance(value, Message):
        raise PathError(
            f"a list or dict cannot hold the message {value.DESCRIPTOR.full_name}; marshal it by "
            f"itself, or send its JSON form"
        )
    from dispatch_grpc.values import models  # imports msgspec: only when needed

    kind = type(value)
    if kind is datetime:
        slot.string_value = _rfc3339(value)
    elif kind in _AS_TEXT:
        slot.string_value = models.to_text(value)
    else:
        try:
            plain = models.to_plain(value)
        except TypeError as error:
            raise PathError(str(error)) from error
        try:
            _fill(slot, plain, levels)
        except PathError as problem:
            # An object that contains itself is recognised by its own identity.
            if problem.containers and type(plain) in {dict, list}:
                problem.containers[-1] = id(value)
            raise


def natural(value: Value) -> Any:
    """Return the natural Python value of a Value."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _natural_struct(value.struct_value)
    if kind == "list_value":
        return [
            text if (text := item.string_value) else natural(item)
            for item in value.list_value.values
        ]
    if kind == "number_value":
        number = value.number_value
        return (int(number) or _zero(number)) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "null_value":
        return None
    if kind == "string_value":
        return value.string_value
    raise UnmarshalError("a google.protobuf.Value is empty: it must hold a value")


def _natural_struct(struct: Struct) -> dict[str, Any]:
    fields = struct.fields
    result: dict[str, Any] = {}
    for key in fields:  # faster than items()
        item = fields[key]
        # A field that is not set reads as its default: to ask for the kind first is slower.
        if text := item.string_value:
            result[key] = text
        elif number := item.number_value:
            result[key] = int(number) if number.is_integer() else number
        else:
            result[key] = natural(item)
    return result


def _zero(number: float) -> int | float:
    """Return 0, or -0.0 as it is: no int has its sign."""
    return number if copysign(1, number) < 0 else 0


def decode_value(data: bytes) -> Any:
    """Decode the bytes of a Value."""
    if len(data) > _STRIDE * _STRIDE_MIN and data[0] == 0x32:
        numbers = _unpack_numbers(data)
        if numbers is not None:
            return numbers
    return natural(Value.FromString(data))


# Long lists of numbers. Each number of a ListValue takes eleven bytes: the tag and length of the
# element (0a 09), the tag of number_value (11), and the double. So slices write and read the
# whole list, instead of element by element.

_STRIDE = 11
_STRIDE_MIN = 16
_MAX_EXACT = 2**53


def _pack_numbers(values: list[Any] | tuple[Any, ...]) -> bytes | None:
    """Encode a ListValue of floats and small ints; return None for any other list."""
    kinds = set(map(type, values))
    if not kinds <= {float, int}:
        return None
    try:
        doubles = array("d", values)
    except OverflowError:
        return None
    if not isfinite(sum(doubles)):
        return None
    if int in kinds and not (min(values) >= -_MAX_EXACT and max(values) <= _MAX_EXACT):
        return None
    if sys.byteorder == "big":
        doubles.byteswap()
    raw = doubles.tobytes()
    data = bytearray(b"\x0a\x09\x11\0\0\0\0\0\0\0\0") * len(values)
    for byte in range(8):
        data[3 + byte :: _STRIDE] = raw[byte::8]
    return bytes(data)


def _unpack_numbers(data: bytes) -> list[int | float] | None:
    """Decode a Value that is a list of numbers; return None for any other Value."""
    # 32 is the tag of Value.list_value, followed by the list's length as a varint.
    length, shift, start = 0, 0, 1
    while start < 6:
        byte = data[start]
        length |= (byte & 0x7F) << shift
        start += 1
        if byte < 0x80:
            break
        shift += 7
    count, rest = divmod(length, _STRIDE)
    if rest or len(data) - start != length:
        return None
    if (
        data[start::_STRIDE] != b"\x0a" * count
        or data[start + 1 :: _STRIDE] != b"\x09" * count
        or data[start + 2 :: _STRIDE] != b"\x11" * count
    ):
        return None
    raw = bytearray(8 * count)
    for byte in range(8):
        raw[byte::8] = data[start + 3 + byte :: _STRIDE]
    doubles = array("d", bytes(raw))
    if sys.byteorder == "big":
        doubles.byteswap()
    return [(int(x) or _zero(x)) if x.is_integer() else x for x in doubles]
