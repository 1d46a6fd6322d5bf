"""`marshal` and `unmarshal`, with the scalars; `containers` and `models` have the rest."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, overload

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, EncodeError, Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import (
    BoolValue,
    BytesValue,
    DoubleValue,
    FloatValue,
    Int32Value,
    Int64Value,
    StringValue,
    UInt32Value,
    UInt64Value,
)

from dispatch_grpc.errors import MarshalError, UnmarshalError
from dispatch_grpc.schema import load_all
from dispatch_grpc.values.containers import (
    PathError,
    check_aware,
    decode_value,
    encode_dict,
    encode_list,
    natural,
)

_T = TypeVar("_T")

DURATION_MAX_SECONDS = 315_576_000_000
"""Bound of google.protobuf.Duration in both directions, in seconds (its documentation)."""
_TIMESTAMP_MIN, _TIMESTAMP_MAX = -62_135_596_800, 253_402_300_799  # years 1 to 9999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PREFIX = "type.googleapis.com/google.protobuf."
_EMPTY = _PREFIX + "Empty"
_BOOL_VALUE = _PREFIX + "BoolValue"
_INT64_VALUE = _PREFIX + "Int64Value"
_UINT64_VALUE = _PREFIX + "UInt64Value"
_DOUBLE_VALUE = _PREFIX + "DoubleValue"
_STRING_VALUE = _PREFIX + "StringValue"
_BYTES_VALUE = _PREFIX + "BytesValue"
_TIMESTAMP = _PREFIX + "Timestamp"
_DURATION = _PREFIX + "Duration"
_VALUE = _PREFIX + "Value"


def marshal(value: Any) -> AnyProto:
    """Represent a value as `google.protobuf.Any`.

    Args:
        value: A value of a type in the table of `dispatch_grpc.values`.

    Returns:
        The value as an `Any`, the type of inputs and results.

    Raises:
        MarshalError: The value, or one inside it, cannot be represented without loss; the
            message gives its path, such as `$.items[3].when`.
    """
    if isinstance(value, AnyProto):
        return value
    any = AnyProto()
    any.type_url, any.value = encode(value)
    return any


def encode(value: Any) -> tuple[str, bytes]:
    """Return the type URL and the bytes of the Any that represents a value."""
    encoder = _ENCODERS.get(type(value), _encode_other)
    try:
        return encoder(value)
    except PathError as problem:
        raise problem.error() from problem.__cause__


def _encode_other(value: Any) -> tuple[str, bytes]:
    """Encode a value whose type is not in the table, such as a subclass or a model."""
    if isinstance(value, Message):
        try:
            data = value.SerializeToString(deterministic=True)
        except EncodeError as error:
            raise MarshalError(f"$: {error}") from error
        return f"type.googleapis.com/{value.DESCRIPTOR.full_name}", data
    from dispatch_grpc.values import models  # imports msgspec: only when needed

    try:
        plain = models.to_plain(value)
    except TypeError as error:
        raise MarshalError(f"$: {error}") from error
    return encode(plain)


# Scalars. The generated types build the bytes; setting a field is faster than
# passing a keyword argument. Short values are encoded here, which is faster still.

_TAG_AND_LENGTH = [bytes((10, length)) for length in range(0x80)]


def _none(_: None) -> tuple[str, bytes]:
    return _EMPTY, b""


def _bool(value: bool) -> tuple[str, bytes]:
    message = BoolValue()
    message.value = value
    return _BOOL_VALUE, message.SerializeToString()


def _int(value: int) -> tuple[str, bytes]:
    if 0 < value < 0x4000:
        tag_and_varint = (8, value) if value < 0x80 else (8, value & 0x7F | 0x80, value >> 7)
        return _INT64_VALUE, bytes(tag_and_varint)
    message = Int64Value()
    try:
        message.value = value
    except ValueError:
        return _large_int(value)
    return _INT64_VALUE, message.SerializeToString()


def _large_int(value: int) -> tuple[str, bytes]:
    message = UInt64Value()
    try:
        message.value = value
    except ValueError as error:
        raise PathError(
            f"an int must be from -2**63 to 2**64 - 1; got an int of {value.bit_length()} bits"
        ) from error
    return _UINT64_VALUE, message.SerializeToString()


def _float(value: float) -> tuple[str, bytes]:
    message = DoubleValue()
    message.value = value
    return _DOUBLE_VALUE, message.SerializeToString()


def _str(value: str) -> tuple[str, bytes]:
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        raise PathError("a str must be valid Unicode; it contains a lone surrogate") from error
    if 0 < len(data) < 0x80:
        return _STRING_VALUE, _TAG_AND_LENGTH[len(data)] + data
    message = StringValue()
    message.value = value
    return _STRING_VALUE, message.SerializeToString()


def _bytes(value: bytes) -> tuple[str, bytes]:
    if 0 < len(value) < 0x80:
        return _BYTES_VALUE, _TAG_AND_LENGTH[len(value)] + value
    message = BytesValue()
    message.value = value
    return _BYTES_VALUE, message.SerializeToString()


def _buffer(value: bytearray | memoryview) -> tuple[str, bytes]:
    return _bytes(bytes(value))


def _datetime(value: datetime) -> tuple[str, bytes]:
    if value.tzinfo is not UTC:
        check_aware(value)
    since = value - _EPOCH
    seconds = since.days * 86400 + since.seconds
    if not _TIMESTAMP_MIN <= seconds <= _TIMESTAMP_MAX:
        raise PathError(f"a time must be in the years 1 to 9999 of UTC; got {value.isoformat()}")
    message = Timestamp()
    message.seconds = seconds
    message.nanos = since.microseconds * 1000
    return _TIMESTAMP, message.SerializeToString()


def _timedelta(value: timedelta) -> tuple[str, bytes]:
    seconds, nanos = duration_parts(value)
    if abs(seconds) > DURATION_MAX_SECONDS or (abs(seconds) == DURATION_MAX_SECONDS and nanos):
        raise PathError(f"a timedelta must be within ±{DURATION_MAX_SECONDS} seconds; got {value}")
    message = Duration()
    message.seconds, message.nanos = seconds, nanos
    return _DURATION, message.SerializeToString()


def duration_parts(value: timedelta) -> tuple[int, int]:
    """Split a timedelta into the seconds and nanos of a Duration, which have one sign."""
    seconds, micros = value.days * 86400 + value.seconds, value.microseconds
    if seconds < 0 and micros:
        seconds, micros = seconds + 1, micros - 1_000_000
    return seconds, micros * 1000


def _dict(value: dict[str, Any]) -> tuple[str, bytes]:
    return _VALUE, encode_dict(value)


def _list(value: list[Any] | tuple[Any, ...]) -> tuple[str, bytes]:
    return _VALUE, encode_list(value)


_ENCODERS: dict[type, Callable[[Any], tuple[str, bytes]]] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    bytes: _bytes,
    bytearray: _buffer,
    memoryview: _buffer,
    datetime: _datetime,
    timedelta: _timedelta,
    dict: _dict,
    list: _list,
    tuple: _list,
}


@overload
def unmarshal(any: AnyProto) -> Any: ...
@overload
def unmarshal(any: AnyProto, T: type[_T]) -> _T: ...
@overload
def unmarshal(any: AnyProto, T: Any) -> Any: ...
def unmarshal(any: AnyProto, T: Any = None) -> Any:
    """Convert an `Any` to a Python value.

    Nothing is ever unpickled: `Pickled` is returned as that message, bytes as bytes.

    Args:
        any: An `Any` that `marshal`, or a peer in another language, wrote.
        T: The type to convert to: a builtin, a generic such as `list[int]`, a dataclass, a
            TypedDict, a class of attrs, msgspec or pydantic, a protobuf message class.

    Returns:
        A `T`. Without `T`, the natural value: inside lists and dicts, integral numbers are
        int and others float; a Timestamp is a datetime in UTC; times and durations are cut
        to microseconds; messages other than Google's basic types are returned unchanged.

    Raises:
        UnmarshalError: The bytes are malformed, their type is unknown, or the value is not a
            `T`; the message says what was found and what was expected.
    """
    if not isinstance(any, AnyProto):
        raise UnmarshalError(f"an Any is required; got {type(any).__name__}")
    if T is not None and isinstance(T, type) and issubclass(T, Message):
        return _unpack_message(any, T)
    decode = _DECODERS.get(any.type_url)
    if decode is None:
        value = _decode_other(any)
    else:
        try:
            value = decode(any.value)
        except DecodeError as error:
            raise UnmarshalError(f"malformed bytes of {any.type_url}: {error}") from error
    if T is None:
        return value
    from dispatch_grpc.values import models

    return models.from_plain(value, T)


def _decode_timestamp(data: bytes) -> datetime:
    message = Timestamp.FromString(data)
    seconds, nanos = message.seconds, message.nanos
    if not (_TIMESTAMP_MIN <= seconds <= _TIMESTAMP_MAX and 0 <= nanos < 1_000_000_000):
        raise UnmarshalError(f"not a valid Timestamp: seconds={seconds}, nanos={nanos}")
    return _EPOCH + timedelta(0, seconds, nanos // 1000)


def _decode_duration(data: bytes) -> timedelta:
    message = Duration.FromString(data)
    seconds, nanos = message.seconds, message.nanos
    if (
        abs(seconds) > DURATION_MAX_SECONDS
        or abs(nanos) >= 1_000_000_000
        or (seconds < 0 < nanos or nanos < 0 < seconds)
    ):
        raise UnmarshalError(f"not a valid Duration: seconds={seconds}, nanos={nanos}")
    return timedelta(0, seconds, nanos // 1000 if nanos >= 0 else -(-nanos // 1000))


def _wrapper(cls: Any) -> Callable[[bytes], Any]:
    parse = cls.FromString
    return lambda data: parse(data).value


_DECODERS: dict[str, Callable[[bytes], Any]] = {
    _PREFIX + Empty.__name__: lambda _: None,
    _PREFIX + "Value": decode_value,
    _PREFIX + "Struct": lambda data: natural(Value(struct_value=Struct.FromString(data))),
    _PREFIX + "ListValue": lambda data: natural(Value(list_value=ListValue.FromString(data))),
    _PREFIX + "Timestamp": _decode_timestamp,
    _PREFIX + "Duration": _decode_duration,
    **{
        _PREFIX + cls.__name__: _wrapper(cls)
        for cls in (
            BoolValue,
            BytesValue,
            DoubleValue,
            FloatValue,
            Int32Value,
            Int64Value,
            StringValue,
            UInt32Value,
            UInt64Value,
        )
    },
}


def _decode_other(any: AnyProto) -> Any:
    """Decode an Any with another prefix in its type URL, or with another message."""
    from google.protobuf import message_factory
    from google.protobuf.descriptor_pool import Default

    name = any.type_url.rpartition("/")[2]
    if not name:
        raise UnmarshalError("the Any is empty: it names no type")
    decode = _DECODERS.get(f"type.googleapis.com/{name}")
    try:
        if decode is not None:
            return decode(any.value)
        load_all()
        descriptor = Default().FindMessageTypeByName(name)
        return message_factory.GetMessageClass(descriptor).FromString(any.value)
    except KeyError as error:
        raise UnmarshalError(f"unknown type {name!r}: import its generated module first") from error
    except DecodeError as error:
        raise UnmarshalError(f"malformed bytes of {any.type_url}: {error}") from error


def _unpack_message(any: AnyProto, cls: type[Message]) -> Message:
    if cls is AnyProto:
        return any
    wanted, found = cls.DESCRIPTOR.full_name, any.type_url.rpartition("/")[2]
    if wanted != found:
        raise UnmarshalError(f"expected the message {wanted}, found {found or 'an empty Any'}")
    try:
        return cls.FromString(any.value)
    except DecodeError as error:
        raise UnmarshalError(f"malformed bytes of {any.type_url}: {error}") from error
