"""The functions that every endpoint has, for its workflows."""

from collections.abc import Awaitable, Callable, Mapping

from dispatch_grpc.endpoint.cancelling import CANCEL, cancel
from dispatch_grpc.endpoint.function import Host
from dispatch_grpc.schema import RunRequest, RunResponse

RESERVED: Mapping[str, Callable[[Host, RunRequest], Awaitable[RunResponse]]] = {
    CANCEL: cancel,
}
"""The functions by their names. A function that is hosted by such a name goes first."""
