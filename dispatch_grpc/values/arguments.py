"""Several named arguments as one `Any` that keeps the type of each.

The `Any` holds a `google.protobuf.Value`: a dict by name. An argument that a Value can
hold is written as it is, so that peers in other languages read a plain dict. A Value has no
bytes, times, durations, large ints, nan, or difference between 1 and 1.0; such an argument is
written as protobuf's JSON form of its `Any`:

    {"who": "x", "when": {"@type": "type.googleapis.com/google.protobuf.Timestamp",
                          "value": "2024-02-29T23:59:59Z"}}
"""

from datetime import datetime, timedelta
from math import copysign, isfinite
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.message import Message

from dispatch_grpc.errors import MarshalError, UnmarshalError
from dispatch_grpc.values.scalars import marshal, unmarshal

_PREFIX = "type.googleapis.com/"
_PLAIN = frozenset({str, bool, type(None), list, tuple})
_TYPED = frozenset({int, float, bytes, bytearray, memoryview, datetime, timedelta})


def encode_arguments(arguments: dict[str, Any]) -> AnyProto:
    """Represent named arguments, each as exactly as `marshal` represents it alone.

    Args:
        arguments: The arguments by name.

    Raises:
        MarshalError: An argument has no representation; the message names its path.
    """
    return marshal({name: _typed(name, value) for name, value in arguments.items()})


def decode_arguments(input: AnyProto) -> Any:
    """Return the natural value of an input, with the arguments of a dict in their own types.

    Args:
        input: The result of `encode_arguments`, or any other input of a call. A dict without
            JSON forms of `Any` in it is returned as `unmarshal` returns it.

    Raises:
        UnmarshalError: The input, or one argument, cannot be decoded.
    """
    value = unmarshal(input)
    if type(value) is dict:
        return {name: _untyped(name, argument) for name, argument in value.items()}
    return value


def _is_json_of_any(value: dict[Any, Any]) -> bool:
    url = value.get("@type")
    return isinstance(url, str) and url.startswith(_PREFIX)


def _typed(name: str, value: Any) -> Any:
    """Return an argument in a form that a Value holds without loss."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        if not _is_json_of_any(value):
            return value
        return {"@type": f"{_PREFIX}google.protobuf.Value", "value": value}
    if kind is int and abs(value) <= 2**53:
        return value
    if kind is float and isfinite(value) and (not value.is_integer() or _is_negative_zero(value)):
        return value
    if kind in _TYPED or isinstance(value, Message):
        return _json_of_any(name, value)
    from dispatch_grpc.values import models  # imports msgspec: only when needed

    try:
        return _typed(name, models.to_plain(value))
    except TypeError:
        return value  # `marshal` raises the error


def _is_negative_zero(value: float) -> bool:
    return value == 0 and copysign(1, value) < 0


def _json_of_any(name: str, value: Any) -> Any:
    from google.protobuf import json_format  # slow to import, rarely needed

    try:
        any = marshal(value)
        found: dict[str, Any] = json_format.MessageToDict(any)
    except MarshalError as error:
        raise MarshalError(f"$.{name}{str(error)[1:]}") from error
    except TypeError as error:  # the type of the Any is not registered
        raise MarshalError(f"$.{name}: {error}") from error
    found["@type"] = _PREFIX + any.type_url.rpartition("/")[2]
    return found


def _untyped(name: str, value: Any) -> Any:
    if type(value) is not dict or not _is_json_of_any(value):
        return value
    from google.protobuf import json_format

    try:
        return unmarshal(json_format.ParseDict(value, AnyProto()))
    except Exception as error:  # json_format lets errors of its conversions through
        raise UnmarshalError(f"{name}: malformed {value['@type']}: {error}") from error
