"""The details of errors, as messages of google.rpc: programs act on them without the text.

In `grpc-status-details-bin` for gRPC, in `details` for Connect.
"""

import re
from collections.abc import Iterator
from urllib.parse import quote

from connectrpc.errors import ErrorDetail
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.message import Message
from protobuf.wkt import Any as DetailAny

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import RPCError, missing_extra
from dispatch_grpc.text import shorten

try:
    from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
except ImportError as _error:
    raise missing_extra(_error, "serving", "endpoint") from _error

DOMAIN = "dispatch-grpc"
RETRY_SECONDS = 1
"""Seconds that clients are asked to wait after RESOURCE_EXHAUSTED and UNAVAILABLE."""

_MAX_DESCRIPTION = 1000  # characters
# Clients of gRPC may refuse trailers from 8 KiB on. They have the message twice: escaped, and with
# the details in base64.
_MAX_TRAILERS = 7000
_STEP = r"[a-z_]+(?:\[[^\]]*\])?"
# Every message about a field begins with its path.
_FIELD = re.compile(rf"({_STEP}(?:\.{_STEP})*): (.+)", re.DOTALL)


def reason(name: str, **metadata: object) -> ErrorInfo:
    """Return the reason of an error, as a name that stays the same when the message changes.

    Args:
        name: The reason, in upper case.
        metadata: Facts of the error that programs may need, such as a limit.
    """
    return ErrorInfo(
        reason=name, domain=DOMAIN, metadata={key: str(one) for key, one in metadata.items()}
    )


def details_of(error: RPCError) -> list[ErrorDetail]:
    """Return the details of an error: its own, its field, and when to try again."""
    return [_packed(message) for message in (*error.details, *_standard(error))]


def _standard(error: RPCError) -> Iterator[Message]:
    if error.code is Code.INVALID_ARGUMENT and (found := _FIELD.fullmatch(error.message)):
        violation = BadRequest.FieldViolation(
            field=found[1], description=shorten(found[2], _MAX_DESCRIPTION)
        )
        details = BadRequest(field_violations=[violation])
        twice = len(quote(error.message)) + len(error.message.encode(errors="replace")) * 4 / 3
        if twice + details.ByteSize() * 4 / 3 < _MAX_TRAILERS:
            yield details
    if error.retry_after is not None and error.retry_after >= 0:
        info = RetryInfo()
        info.retry_delay.FromMicroseconds(round(error.retry_after * 1e6))
        yield info


def _packed(message: Message) -> ErrorDetail:
    if isinstance(message, AnyProto):
        packed = message
    else:
        packed = AnyProto()
        packed.Pack(message)
    return ErrorDetail(DetailAny(type_url=packed.type_url, value=packed.value))
