"""Results that come from outside of a workflow: `workflow.external`.

Such a result is the output of a call of a function that every endpoint has, and that answers
"pending". Its id is made of the id of the workflow's call and its own correlation id, which are
known before the service gives the call an id.
"""

import asyncio
from collections.abc import Generator
from datetime import timedelta
from typing import Any, Generic, TypeVar, overload

from dispatch_grpc.calls import new_call
from dispatch_grpc.schema import Call
from dispatch_grpc.values import marshal
from dispatch_grpc.workflow.activation import current, run_call
from dispatch_grpc.workflow.errors import WorkflowError

EXTERNAL = "dispatch.external"
"""Name of the function whose call is finished from outside."""
RECORDED = "dispatch.recorded"
"""Name of the function that ends immediately: what was called with it is recorded by then."""

_T = TypeVar("_T")


class External(Generic[_T]):
    """A result that comes from outside of the workflow, to be awaited: `external` makes it.

    Attributes:
        id: Id to hand out. `Client.complete`, `Client.fail` and `dispatch-grpc complete` take it.
    """

    def __init__(self, id: str, future: asyncio.Future[_T]) -> None:
        self.id: str = id
        self._future = future

    def __await__(self) -> Generator[Any, None, _T]:
        if self._future.cancelled():
            raise WorkflowError(
                f"the result {self.id} cannot be awaited again: a timeout or the cancellation of a "
                f"task has cancelled its call; use asyncio.shield() to wait for it several times"
            )
        return self._future.__await__()

    def __repr__(self) -> str:
        return f"<External {self.id}>"


@overload
async def external(T: type[_T], *, expiration: timedelta | None = None) -> External[_T]: ...
@overload
async def external(T: Any = None, *, expiration: timedelta | None = None) -> External[Any]: ...
async def external(T: Any = None, *, expiration: timedelta | None = None) -> External[Any]:
    """Ask for a result that comes from outside: an approval, a webhook.

        approval = await workflow.external(bool)
        await send_mail.run(manager, approval.id)  # who calls client.complete(id, True)
        if await approval: ...

    The id is valid as soon as this returns. Cancelling a task that waits for the result, also by
    `asyncio.timeout`, cancels the call that stands for it, so that it cannot be completed any more,
    unless `asyncio.shield` is between them.

    Args:
        T: Type of the result, as for `unmarshal`; None for the natural value.
        expiration: Longest time to wait for the result, which then fails with a CallError. None
            waits until the workflow's call expires.

    Returns:
        An object with the id, to be awaited for the result.

    Raises:
        CallError: The service did not accept it.
        InvalidCallError: The expiration is not a timedelta of zero or more.
        WorkflowError: No workflow runs here.
    """
    activation = current("external")
    if expiration is None:
        expiration = activation.time_left()
    call = new_call("http://endpoint", EXTERNAL, expiration=expiration)
    call.endpoint = ""  # the endpoint itself
    id, future = activation.call(call, T, {})
    try:
        # The id is part of the journal, and a journal that is not recorded may be lost.
        await run_call(Call(function=RECORDED, input=marshal(None)), None, {})
    except BaseException:
        future.cancel()
        raise
    return External(f"{activation.dispatch_id}.{id:016x}", future)
