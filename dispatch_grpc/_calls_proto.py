"""The one import of the generated messages of CallService, this project's own addition."""

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

__all__ = [
    "CallInfo",
    "CallState",
    "CancelCallRequest",
    "CancelCallResponse",
    "GetCallRequest",
    "GetCallResponse",
    "ListCallsRequest",
    "ListCallsResponse",
    "WaitCallRequest",
    "WaitCallResponse",
]
