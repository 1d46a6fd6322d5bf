"""Cancel, at the service, the calls whose tasks a workflow has cancelled.

A workflow knows the correlation ids of its calls, and the service tells their dispatch ids.
"""

import asyncio
from collections.abc import Collection
from datetime import timedelta

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

LOOKED_AT = 1000
"""Number of a workflow's latest calls among which the cancelled ones are searched."""
_TIMEOUT = timedelta(seconds=5)


async def cancel_calls(endpoint: Host, parent: str, correlation_ids: Collection[int]) -> None:
    """Cancel calls of a workflow. Without a client they go on; failures are logged.

    Args:
        endpoint: The endpoint, whose client is used.
        parent: Dispatch id of the workflow's call.
        correlation_ids: Those of the calls.
    """
    try:
        try:
            client = endpoint.async_client()
        except ConfigurationError:  # neither given nor in the environment
            return
        except EndpointError:  # the endpoint was given a Client
            await asyncio.to_thread(_cancel, endpoint, parent, correlation_ids)
            return
        found = await client.list(parent=parent, limit=LOOKED_AT, timeout=_TIMEOUT)
        for call in found:
            if call.message.correlation_id in correlation_ids:
                try:
                    await client.cancel(call.dispatch_id, timeout=_TIMEOUT)
                except RPCError as error:
                    _pass_if_ended(error)
    except DispatchError as error:
        logger.warning(
            "%d calls that were cancelled in a workflow go on (call %s): %s",
            len(correlation_ids),
            parent,
            error,
        )


def _cancel(endpoint: Host, parent: str, correlation_ids: Collection[int]) -> None:
    """Do what `cancel_calls` does, with a sync client."""
    client = endpoint.client()
    for call in client.list(parent=parent, limit=LOOKED_AT, timeout=_TIMEOUT):
        if call.message.correlation_id in correlation_ids:
            try:
                client.cancel(call.dispatch_id, timeout=_TIMEOUT)
            except RPCError as error:
                _pass_if_ended(error)


def _pass_if_ended(error: RPCError) -> None:
    """Raise an error again, unless it says that the call has ended."""
    if error.code is not Code.FAILED_PRECONDITION and not isinstance(error, NotFoundError):
        raise error
