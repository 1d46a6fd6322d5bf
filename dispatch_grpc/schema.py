"""The only door to the generated messages; the service stubs are imported by the transports.

The messages of DispatchService are imported with this module, all others when they are used
first: most programs only dispatch.
"""

import importlib
import importlib.util
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

try:
    from dispatch.sdk.v1.call_pb2 import Call
    from dispatch.sdk.v1.dispatch_pb2 import DispatchRequest, DispatchResponse
except ImportError as _error:
    _spec = importlib.util.find_spec("dispatch")
    if _spec is None or not _spec.origin:  # absent, or the namespace package of the stubs
        raise
    raise ImportError(
        f"dispatch-grpc needs the top-level package 'dispatch' for its generated stubs, but "
        f"another distribution has installed it at {_spec.origin} (dispatch-py does). The two "
        f"exclude each other: run 'pip uninstall dispatch-py', or use separate environments."
    ) from _error

if TYPE_CHECKING:
    from dispatch.calls.v1.calls_pb2 import (
        CallInfo,
        CallState,
        CancelCallRequest,
        CancelCallResponse,
        GetCallRequest,
        GetCallResponse,
        ListCallsRequest,
        ListCallsResponse,
        WaitCallRequest,
        WaitCallResponse,
    )
    from dispatch.sdk.v1.call_pb2 import CallResult
    from dispatch.sdk.v1.error_pb2 import Error
    from dispatch.sdk.v1.exit_pb2 import Exit
    from dispatch.sdk.v1.function_pb2 import RunRequest, RunResponse
    from dispatch.sdk.v1.poll_pb2 import Poll, PollResult

__all__ = [
    "Call",
    "CallInfo",
    "CallResult",
    "CallState",
    "CancelCallRequest",
    "CancelCallResponse",
    "DispatchRequest",
    "DispatchResponse",
    "Error",
    "Exit",
    "GetCallRequest",
    "GetCallResponse",
    "ListCallsRequest",
    "ListCallsResponse",
    "Poll",
    "PollResult",
    "RunRequest",
    "RunResponse",
    "WaitCallRequest",
    "WaitCallResponse",
    "load_all",
    "time_of",
    "to_json",
]

_MODULES = {
    "CallResult": "dispatch.sdk.v1.call_pb2",
    "Error": "dispatch.sdk.v1.error_pb2",
    "Exit": "dispatch.sdk.v1.exit_pb2",
    "Poll": "dispatch.sdk.v1.poll_pb2",
    "PollResult": "dispatch.sdk.v1.poll_pb2",
    "RunRequest": "dispatch.sdk.v1.function_pb2",
    "RunResponse": "dispatch.sdk.v1.function_pb2",
}


if not TYPE_CHECKING:  # or type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Import the module of a message when the message is used first."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(_MODULES.get(name, "dispatch.calls.v1.calls_pb2"))
        value = globals()[name] = getattr(module, name)
        return value


def time_of(message: Any, field: str) -> datetime | None:
    """Return the Timestamp in a field, in UTC; None if it is unset or beyond the year 9999."""
    try:
        time: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    except (OverflowError, ValueError):
        return None
    return time if message.HasField(field) else None


def to_json(message: Any) -> str:
    """Return a message as JSON, with `"value": {}` for an Empty in an Any.

    The Go library needs that value up to version 1.34, though Python's does not write it.

    Raises:
        TypeError: An Any holds a message of an unknown type.
        ValueError: A message has no JSON form.
    """
    import json

    from google.protobuf.json_format import MessageToDict

    load_all()
    found = MessageToDict(message)
    _add_empty_values(message, found)
    return json.dumps(found)


def _add_empty_values(message: Any, found: dict[str, Any]) -> None:
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        inner = found[field.json_name]
        pairs = zip(value, inner, strict=True) if isinstance(inner, list) else [(value, inner)]
        for item, item_found in pairs:
            if field.message_type.full_name == "google.protobuf.Any":
                if item_found["@type"].endswith("/google.protobuf.Empty"):
                    item_found["value"] = {}
            elif isinstance(item_found, dict):
                _add_empty_values(item, item_found)


def load_all() -> None:
    """Register all messages of the schema, so that they can be found by their names."""
    import dispatch.sdk.python.v1.pickled_pb2
    import dispatch.sdk.v1.function_pb2  # noqa: F401
