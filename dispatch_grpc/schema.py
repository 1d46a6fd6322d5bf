"""The only door to the generated messages; the service stubs are imported by the transports.

The messages of DispatchService are imported with this module, all others when they are used
first: most programs only dispatch.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

try:
    from dispatch.sdk.v1.call_pb2 import Call
    from dispatch.sdk.v1.dispatch_pb2 import DispatchRequest, DispatchResponse
except ImportError as error:
    _spec = importlib.util.find_spec("dispatch")
    if _spec is None or not _spec.origin:  # absent, or the namespace package of the stubs
        raise
    raise ImportError(
        f"dispatch-grpc needs the top-level package 'dispatch' for its generated stubs, but "
        f"another distribution has installed it at {_spec.origin} (dispatch-py does). The two "
        f"exclude each other: run 'pip uninstall dispatch-py', or use separate environments."
    ) from error

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
    from dispatch.workflow.v1.journal_pb2 import Command, CommandKind, Failure, Journal, State
    from dispatch.workflow.v1.journal_pb2 import Entry as JournalEntry

__all__ = [
    "Call",
    "CallInfo",
    "CallResult",
    "CallState",
    "CancelCallRequest",
    "CancelCallResponse",
    "Command",
    "CommandKind",
    "DispatchRequest",
    "DispatchResponse",
    "Error",
    "Exit",
    "Failure",
    "GetCallRequest",
    "GetCallResponse",
    "Journal",
    "JournalEntry",
    "ListCallsRequest",
    "ListCallsResponse",
    "Poll",
    "PollResult",
    "RunRequest",
    "RunResponse",
    "State",
    "WaitCallRequest",
    "WaitCallResponse",
    "load_all",
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
        """Import the module of a message when the message is used first."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(_MODULES.get(name, "dispatch.calls.v1.calls_pb2"))
        value = globals()[name] = getattr(module, name.removeprefix("Journal") or name)
        return value


def load_all() -> None:
    """Register all messages of the schema, so that they can be found by their names."""
    import dispatch.sdk.python.v1.pickled_pb2
    import dispatch.sdk.v1.function_pb2
    import dispatch.workflow.v1.journal_pb2  # noqa: F401
