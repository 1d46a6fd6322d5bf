"""Cancel, at the service, the calls whose tasks a workflow has cancelled.

A workflow knows the correlation ids of its calls, and the service knows their dispatch ids.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta

from dispatch_grpc.client import CallInfo
from dispatch_grpc.codes import Code
from dispatch_grpc.endpoint.function import Host
from dispatch_grpc.errors import (
    ConfigurationError,
    DispatchError,
    EndpointError,
    NotFoundError,
    RPCError,
)
from dispatch_grpc.log import logger

_MAX_SEARCHED = 1000  # latest calls of a workflow
_TIMEOUT = timedelta(seconds=5)  # for the list, and for each cancellation
_SECONDS = 15  # for all of it, since the answer of the workflow waits


async def cancel_calls(endpoint: Host, parent: str, correlation_ids: Collection[int]) -> None:
    """Cancel calls of a workflow. Without a client, the calls continue. Failures are logged.

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
            except ConfigurationError:  # neither given nor in the environment
                return
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
            "cannot cancel %d calls of the workflow's call %s, so they continue: %s",
            len(left),
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
