"""Conversions between Python values and `google.protobuf.Any`.

=====================================  ==========================================
Python                                 what the Any holds
=====================================  ==========================================
None                                   Empty
bool                                   BoolValue
int from -2**63 to 2**63 - 1           Int64Value
int from 2**63 to 2**64 - 1            UInt64Value
float                                  DoubleValue (also nan and inf)
str                                    StringValue
bytes, bytearray, memoryview           BytesValue
datetime with a time zone              Timestamp
timedelta                              Duration
a protobuf message                     the message; an Any is returned unchanged
list, tuple, set, dict with str keys   Value
dataclass, attrs, msgspec, pydantic    Value: a dict of the fields
Enum                                   the member's value
UUID, Decimal, Path, date, time        StringValue
a scalar of numpy                      the Python value that it holds exactly
=====================================  ==========================================

A Value has the types of JSON only: numbers are doubles; times, durations and bytes inside it
become text (RFC 3339, ISO 8601, base64), which `unmarshal` converts back when it is given the
type. A value that would lose something is an error, never a silent change. `encode_arguments`
keeps the types of several named values.

Models are written as their own library writes JSON: msgspec by encoded names, attrs and
pydantic by alias. Secrets of pydantic are written in the clear.
"""

from typing import Any

from google.protobuf.message import Message

from dispatch_grpc.values.arguments import decode_arguments, encode_arguments
from dispatch_grpc.values.scalars import (
    DURATION_MAX_SECONDS,
    duration_parts,
    encode,
    marshal,
    unmarshal,
)

__all__ = [
    "DURATION_MAX_SECONDS",
    "convert",
    "decode_arguments",
    "duration_parts",
    "encode",
    "encode_arguments",
    "marshal",
    "unmarshal",
]


def convert(value: Any, T: Any) -> Any:
    """Convert a natural value to a type, as `unmarshal` does with its second argument.

    Raises:
        UnmarshalError: The value is not a `T`.
    """
    if isinstance(T, type) and issubclass(T, Message):
        return unmarshal(marshal(value), T)
    from dispatch_grpc.values import models  # imports msgspec: only when needed

    return models.from_plain(value, T)
