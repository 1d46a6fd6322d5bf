"""Values: Python objects as `google.protobuf.Any`, and back.

=====================================  ==========================================
Python                                 the Any holds
=====================================  ==========================================
None                                   Empty
bool                                   BoolValue
int, in 64 bits                        Int64Value
int, above, in 64 unsigned bits        UInt64Value
float                                  DoubleValue (nan and inf too)
str                                    StringValue
bytes, bytearray, memoryview           BytesValue
datetime with a time zone              Timestamp
timedelta                              Duration
a protobuf message                     that message; an Any stays as it is
list, tuple, set, dict with str keys   Value
dataclass, attrs, msgspec, pydantic    Value, by their fields
Enum                                   as its value
UUID, Decimal, date, time              StringValue
=====================================  ==========================================

Inside a Value there are only the types of JSON: numbers are doubles, and times, durations
and bytes become text (RFC 3339, ISO 8601, base64), which `unmarshal` turns back where it is
told the type. What would lose something on the way is an error, never a silent change.
"""

from typing import Any

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
    from dispatch_grpc.values import models  # imports msgspec: only when needed

    return models.from_plain(value, T)
