"""Workflows: async functions that call other functions, and go on where they were after a crash.

    @endpoint.workflow
    async def checkout(order: Order) -> Receipt:
        payment = await charge.run(order)
        async with asyncio.TaskGroup() as group:
            mail = group.create_task(send_mail.run(order.email))
            stock = group.create_task(reserve.run(order.items))
        await asyncio.sleep(3 * 24 * 3600)
        return Receipt(payment, stock.result())

The code is plain asyncio. What it waits for (calls, steps, time) is kept in a journal; to go on,
the code is run again from its start and given what the journal holds. So it has to do the same each
time: the time, random numbers and ids come from `now`, `random` and `uuid4`, and all that touches
the world outside is a `step` or a function that is called.
"""

from dispatch_grpc.workflow.errors import (
    ContinueAsNew,
    JournalError,
    NondeterminismError,
    WorkflowError,
)
from dispatch_grpc.workflow.external import External, external
from dispatch_grpc.workflow.operations import (
    is_replaying,
    logger,
    now,
    patched,
    random,
    run,
    step,
    uuid4,
)

__all__ = [
    "ContinueAsNew",
    "External",
    "JournalError",
    "NondeterminismError",
    "WorkflowError",
    "external",
    "is_replaying",
    "logger",
    "now",
    "patched",
    "random",
    "run",
    "step",
    "uuid4",
]
