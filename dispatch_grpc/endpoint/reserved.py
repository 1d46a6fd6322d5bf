"""The functions that every endpoint has, for its workflows."""

from collections.abc import Awaitable, Callable, Mapping

from dispatch_grpc.endpoint.cancelling import CANCEL, cancel
from dispatch_grpc.endpoint.function import Host
from dispatch_grpc.endpoint.pending import pending
from dispatch_grpc.endpoint.primitives import exit_
from dispatch_grpc.schema import RunRequest, RunResponse
from dispatch_grpc.workflow.external import EXTERNAL, RECORDED


async def _external(_endpoint: Host, _request: RunRequest) -> RunResponse:
    return pending()


async def _recorded(_endpoint: Host, _request: RunRequest) -> RunResponse:
    return exit_()


RESERVED: Mapping[str, Callable[[Host, RunRequest], Awaitable[RunResponse]]] = {
    CANCEL: cancel,
    EXTERNAL: _external,
    RECORDED: _recorded,
}
"""The functions by their names. A function that is hosted by such a name goes first."""
