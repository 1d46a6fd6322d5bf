"""Cancel, at the service, the calls whose tasks a workflow has cancelled.

A workflow knows the correlation ids of its calls, and the service knows their dispatch ids.

The cancellation is a call too, of a function that every endpoint has, and leaves with the Poll that
records that the tasks were cancelled. If it went ahead of the Poll and the Poll was lost, the
workflow would go on from a history that still waits for the calls.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta

from dispatch_grpc.calls import new_call
from dispatch_grpc.client import CallInfo
from dispatch_grpc.codes import Code, Status
from dispatch_grpc.endpoint.answers import refusal
from dispatch_grpc.endpoint.function import Host
from dispatch_grpc.endpoint.primitives import exit_
from dispatch_grpc.errors import (
    ConfigurationError,
    DispatchError,
    EndpointError,
    NotFoundError,
    RPCError,
    UnmarshalError,
)
from dispatch_grpc.log import logger
from dispatch_grpc.schema import Call, PollResult, RunRequest, RunResponse
from dispatch_grpc.text import counted
from dispatch_grpc.values import unmarshal

CANCEL = "dispatch.cancel"
"""Name of the function that cancels calls of the call that made its own."""

_MAX_SEARCHED = 1000  # latest calls of a workflow
_TIMEOUT = timedelta(seconds=5)  # for the list, and for each cancellation
_SECONDS = 15  # for all of it, since the end of the workflow may wait
_EXPIRATION = timedelta(minutes=1)


def can_cancel(endpoint: Host) -> bool:
    """Tell whether an endpoint has a client, given or from the environment."""
    try:
        endpoint.async_client()
    except ConfigurationError:
        return False
    except EndpointError:  # the endpoint was given a Client
        pass
    return True


def call_to_cancel(endpoint: Host, correlation_ids: Collection[int]) -> Call:
    """Make the call that cancels calls of the workflow that makes it."""
    ids = [f"{id:016x}" for id in sorted(correlation_ids)]
    call = new_call(endpoint.url, CANCEL, ids, expiration=_EXPIRATION)
    call.endpoint = ""
    return call


def failed_cancellation(resumed: PollResult) -> str | None:
    """Return why the call to cancel others failed: it expired, say. None if it did not.

    No other call of a workflow has the correlation id 0.
    """
    for result in resumed.results:
        if result.correlation_id == 0 and result.HasField("error"):
            return f"{CANCEL}: {result.error.type}: {result.error.message}"
    return None


async def cancel(endpoint: Host, request: RunRequest) -> RunResponse:
    """Run the call that `call_to_cancel` made. It succeeds, whatever can be cancelled."""
    try:
        ids = {int(id, 16) for id in unmarshal(request.input, list[str])}
    except (UnmarshalError, ValueError) as error:
        return refusal(CANCEL, error, Status.INVALID_ARGUMENT)
    if ids and request.parent_dispatch_id:
        await cancel_calls(endpoint, request.parent_dispatch_id, ids)
    return exit_()


async def cancel_calls(endpoint: Host, parent: str, correlation_ids: Collection[int]) -> None:
    """Cancel calls of a workflow. A failure is logged, and the calls continue.

    Args:
        endpoint: The endpoint, whose client is used.
        parent: Dispatch id of the workflow's call.
        correlation_ids: Correlation ids of the calls to cancel.
    """
    left = set(correlation_ids)
    reason: object = f"they are not among the latest {_MAX_SEARCHED} calls"
    try:
        async with asyncio.timeout(_SECONDS):
            try:
                client = endpoint.async_client()
            except EndpointError:  # the endpoint was given a Client
                await asyncio.to_thread(_cancel, endpoint, parent, left)
            else:
                found = await client.list(parent=parent, limit=_MAX_SEARCHED, timeout=_TIMEOUT)
                for call in _among(found, left):
                    try:
                        await client.cancel(call.dispatch_id, timeout=_TIMEOUT)
                    except RPCError as error:
                        _raise_unless_ended(error)
                    left.discard(call.message.correlation_id)
    except TimeoutError:
        reason = f"it takes more than {_SECONDS} s"
    except DispatchError as error:
        reason = error
    if left:
        logger.warning(
            "cannot cancel %s of the workflow's call %s, left to continue: %s",
            counted(len(left), "call"),
            parent,
            reason,
        )


def _cancel(endpoint: Host, parent: str, left: set[int]) -> None:
    """Do what `cancel_calls` does, with a sync client."""
    client = endpoint.client()
    found = client.list(parent=parent, limit=_MAX_SEARCHED, timeout=_TIMEOUT)
    for call in _among(found, left):
        try:
            client.cancel(call.dispatch_id, timeout=_TIMEOUT)
        except RPCError as error:
            _raise_unless_ended(error)
        left.discard(call.message.correlation_id)


def _among(found: Iterable[CallInfo], correlation_ids: Collection[int]) -> Iterator[CallInfo]:
    return (call for call in list(found) if call.message.correlation_id in correlation_ids)


def _raise_unless_ended(error: RPCError) -> None:
    """Re-raise an error unless the call has already ended."""
    if error.code is not Code.FAILED_PRECONDITION and not isinstance(error, NotFoundError):
        raise error
