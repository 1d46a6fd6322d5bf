"""The only door to the generated messages; `transport` imports the service stubs itself.

The messages of DispatchService are imported with this module, all others on first use: most
programs only dispatch.
"""

import importlib
import importlib.util
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any


def _check_for_hidden_packages() -> None:
    """Raise an ImportError if another module hides a package that the messages need."""
    for package, needed in (("dispatch", "dispatch.sdk"), ("google", "google.protobuf")):
        try:
            spec = importlib.util.find_spec(package)
        except ValueError:  # a module made by hand has no spec
            continue
        if spec is None or not spec.origin:  # absent, or a namespace package: both are right
            continue
        path = Path(spec.origin)
        is_package = bool(spec.submodule_search_locations)
        if package == "google" and is_package and importlib.util.find_spec(needed):
            continue
        if package == "dispatch" and path in _files_of_dispatch_py():
            raise ImportError(
                f"dispatch-grpc and dispatch-py cannot be installed together: both have a "
                f"top-level package 'dispatch', here {path}. Run 'pip uninstall dispatch-py', or "
                f"use separate environments."
            )
        if path.name == "__init__.py":
            path = path.parent
        raise ImportError(
            f"{path} hides the installed package {needed!r}, which dispatch-grpc needs. Rename it, "
            f"for example to {path.with_stem(f'my_{path.stem}').name}."
        )


def _files_of_dispatch_py() -> set[Path]:
    try:
        files = metadata.files("dispatch-py") or []
    except metadata.PackageNotFoundError:
        return set()
    return {Path(str(file.locate())) for file in files}


_check_for_hidden_packages()

from dispatch.sdk.v1.call_pb2 import Call  # noqa: E402
from dispatch.sdk.v1.dispatch_pb2 import DispatchRequest, DispatchResponse  # noqa: E402

if TYPE_CHECKING:
    from dispatch.calls.v1.calls_pb2 import (
        Attempt,
        CallFilter,
        CallInfo,
        CallState,
        CancelCallRequest,
        CancelCallResponse,
        CompleteCallRequest,
        CompleteCallResponse,
        GetCallRequest,
        GetCallResponse,
        ListCallsRequest,
        ListCallsResponse,
        ListPausesRequest,
        ListPausesResponse,
        Pause,
        PauseCallsRequest,
        PauseCallsResponse,
        Pending,
        PurgeCallsRequest,
        PurgeCallsResponse,
        RerunCallRequest,
        RerunCallResponse,
        RerunCallsRequest,
        RerunCallsResponse,
        ResumeCallsRequest,
        ResumeCallsResponse,
        Submission,
        SubmitRequest,
        SubmitResponse,
        WaitCallRequest,
        WaitCallResponse,
    )
    from dispatch.calls.v1.schedules_pb2 import (
        CreateScheduleRequest,
        CreateScheduleResponse,
        DeleteScheduleRequest,
        DeleteScheduleResponse,
        GetScheduleRequest,
        GetScheduleResponse,
        ListSchedulesRequest,
        ListSchedulesResponse,
        PauseScheduleRequest,
        PauseScheduleResponse,
        ResumeScheduleRequest,
        ResumeScheduleResponse,
        Schedule,
        ScheduleInfo,
        ScheduleOverlap,
        TriggerScheduleRequest,
        TriggerScheduleResponse,
        UpdateScheduleRequest,
        UpdateScheduleResponse,
    )
    from dispatch.sdk.v1.call_pb2 import CallResult
    from dispatch.sdk.v1.error_pb2 import Error
    from dispatch.sdk.v1.exit_pb2 import Exit
    from dispatch.sdk.v1.function_pb2 import RunRequest, RunResponse
    from dispatch.sdk.v1.poll_pb2 import Poll, PollResult
    from dispatch.workflow.v1.journal_pb2 import Command, CommandKind, Failure, Journal, State
    from dispatch.workflow.v1.journal_pb2 import Entry as JournalEntry

__all__ = [
    "Attempt",
    "Call",
    "CallFilter",
    "CallInfo",
    "CallResult",
    "CallState",
    "CancelCallRequest",
    "CancelCallResponse",
    "Command",
    "CommandKind",
    "CompleteCallRequest",
    "CompleteCallResponse",
    "CreateScheduleRequest",
    "CreateScheduleResponse",
    "DeleteScheduleRequest",
    "DeleteScheduleResponse",
    "DispatchRequest",
    "DispatchResponse",
    "Error",
    "Exit",
    "Failure",
    "GetCallRequest",
    "GetCallResponse",
    "GetScheduleRequest",
    "GetScheduleResponse",
    "Journal",
    "JournalEntry",
    "ListCallsRequest",
    "ListCallsResponse",
    "ListPausesRequest",
    "ListPausesResponse",
    "ListSchedulesRequest",
    "ListSchedulesResponse",
    "Pause",
    "PauseCallsRequest",
    "PauseCallsResponse",
    "PauseScheduleRequest",
    "PauseScheduleResponse",
    "Pending",
    "Poll",
    "PollResult",
    "PurgeCallsRequest",
    "PurgeCallsResponse",
    "RerunCallRequest",
    "RerunCallResponse",
    "RerunCallsRequest",
    "RerunCallsResponse",
    "ResumeCallsRequest",
    "ResumeCallsResponse",
    "ResumeScheduleRequest",
    "ResumeScheduleResponse",
    "RunRequest",
    "RunResponse",
    "Schedule",
    "ScheduleInfo",
    "ScheduleOverlap",
    "State",
    "Submission",
    "SubmitRequest",
    "SubmitResponse",
    "TriggerScheduleRequest",
    "TriggerScheduleResponse",
    "UpdateScheduleRequest",
    "UpdateScheduleResponse",
    "WaitCallRequest",
    "WaitCallResponse",
    "load_all",
    "time_of",
    "to_json",
]

_JOURNAL = "dispatch.workflow.v1.journal_pb2"
_MODULES = {
    **dict.fromkeys(("Command", "CommandKind", "Failure", "Journal", "State"), _JOURNAL),
    "JournalEntry": _JOURNAL,
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
        """Import the module of a message on its first use."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        others = "schedules_pb2" if "Schedule" in name else "calls_pb2"
        module = importlib.import_module(_MODULES.get(name, f"dispatch.calls.v1.{others}"))
        value = globals()[name] = getattr(module, name.removeprefix("Journal") or name)
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
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        inner = found[field.json_name]
        pairs = zip(value, inner, strict=True) if isinstance(inner, list) else [(value, inner)]
        for item, item_found in pairs:
            if field.message_type.full_name == "google.protobuf.Any":
                if item_found.get("@type", "").endswith("/google.protobuf.Empty"):
                    item_found["value"] = {}
            elif isinstance(item_found, dict):
                _add_empty_values(item, item_found)


def load_all() -> None:
    """Register all messages of the schema, so that they can be found by name."""
    import dispatch.sdk.python.v1.pickled_pb2
    import dispatch.sdk.v1.function_pb2
    import dispatch.workflow.v1.journal_pb2  # noqa: F401
