"""Calls, schedules and values as JSON: the one dialect of `to_dict` and of the command line.

Keys are the names of Python's attributes. A status is its name ("OK"), a state its value
("finished"), a time is ISO 8601, and a duration is written as the command line reads it ("1h30m").
Texts stay texts; only bytes are base64.
"""

import base64
import enum
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dispatch_grpc.errors import CallError, UnmarshalError
from dispatch_grpc.schema import Call, load_all

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any as AnyProto
    from google.protobuf.message import Message

_UNITS = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("m", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
    ("ms", timedelta(milliseconds=1)),
    ("us", timedelta(microseconds=1)),
)


def fields_json(info: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON, without the message that it was made of."""
    names = [field.name for field in fields(info) if field.name != "message"]
    return {name: _field(getattr(info, name)) for name in names}


def _field(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value, str) else value.name
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, CallError):
        return error_json(value)
    if isinstance(value, Call):
        return _call_json(value)
    if isinstance(value, Mapping):
        return {key: _field(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_field(item) for item in value]
    if is_dataclass(value):
        return fields_json(value)
    return value


def error_json(error: CallError) -> dict[str, Any]:
    """Return the error of a call as JSON."""
    found: dict[str, Any] = {"type": error.type, "message": error.message}
    return {**found, "traceback": error.traceback} if error.traceback else found


def _call_json(call: Call) -> dict[str, Any]:
    """Return a call as JSON, in the form of a line of `dispatch-grpc batch`."""
    found: dict[str, Any] = {"endpoint": call.endpoint, "function": call.function}
    if call.HasField("input"):
        found["input"] = output_json(call.input)
    if call.HasField("expiration"):
        found["expiration"] = duration_text(call.expiration.ToTimedelta())
    if call.version:
        found["version"] = call.version
    return found


def duration_text(duration: timedelta) -> str:
    """Return a duration as the command line reads it, such as 1h30m or 250ms."""
    text, left = "", abs(duration)
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        text += f"{number}{unit}" if number else ""
    return ("-" if duration < timedelta(0) else "") + (text or "0s")


# Values


def output_json(output: "AnyProto | None") -> Any:
    """Return an input or an output as JSON; None if there is none."""
    from dispatch_grpc.values import unmarshal

    if output is None:
        return None
    try:
        return value_json(unmarshal(output))
    except UnmarshalError:  # its type is unknown here
        return raw_output(output)


def value_json(value: Any) -> Any:
    """Return a value as JSON; nan and inf become strings, as in protobuf's JSON."""
    from google.protobuf.any_pb2 import Any as AnyProto

    if isinstance(value, dict):
        return {key: value_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [value_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes | timedelta):
        from dispatch_grpc.values.models import to_text

        return to_text(value)
    if isinstance(value, AnyProto):
        return raw_output(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    any = AnyProto()
    any.Pack(value)
    found = _message_json(value)
    return raw_output(any) if found is None else found


def _message_json(message: "Message") -> dict[str, Any] | None:
    """Return a message as protobuf's JSON; None if it holds an Any of an unknown type."""
    from google.protobuf.json_format import Error, MessageToDict
    from google.protobuf.message import DecodeError

    load_all()
    try:
        return MessageToDict(message, preserving_proto_field_name=True)
    except (Error, DecodeError, TypeError, ValueError):
        return None


def raw_output(output: "AnyProto") -> dict[str, str]:
    """Return an Any of an unknown type as JSON."""
    return {"@type": output.type_url, "value": base64.b64encode(output.value).decode()}
