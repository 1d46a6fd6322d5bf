"""Public path of the answers of primitives: see `dispatch_grpc.endpoint.primitives`."""

from dispatch_grpc.endpoint.primitives import (
    RunRequest,
    RunResponse,
    exit_,
    pending,
    poll,
    tail_call,
)

__all__ = ["RunRequest", "RunResponse", "exit_", "pending", "poll", "tail_call"]
