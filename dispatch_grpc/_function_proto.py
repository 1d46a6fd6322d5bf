"""The one import of the generated messages that only endpoints need."""

from dispatch.sdk.v1.call_pb2 import CallResult
from dispatch.sdk.v1.error_pb2 import Error
from dispatch.sdk.v1.exit_pb2 import Exit
from dispatch.sdk.v1.function_pb2 import RunRequest, RunResponse
from dispatch.sdk.v1.poll_pb2 import Poll, PollResult

__all__ = ["CallResult", "Error", "Exit", "Poll", "PollResult", "RunRequest", "RunResponse"]
