"""One activation of a workflow, and the same coroutine on asyncio with futures that are ready.

Both make the calls and decode the results. The activation also decodes the journal of 200 entries,
compares each call with it, and makes the Poll that suspends the workflow again.
"""

import asyncio
from typing import Any

from benchmarks.workload import Measurement, timed
from dispatch_grpc import Endpoint, marshal, unmarshal
from dispatch_grpc.schema import CallResult, Poll
from dispatch_grpc.workflow import journal as journals
from dispatch_grpc.workflow.activation import Activation

ENTRIES = 200
START_US = 1_700_000_000_000_000

endpoint = Endpoint("http://example.com", env={})


@endpoint.function
def echo(number: int) -> int:
    return number


async def in_a_workflow() -> int:
    total = 0
    for number in range(ENTRIES // 2 + 1):
        total += await echo.run(number)
    return total


def recorded() -> tuple[Poll, int]:
    """The Poll of the workflow after so many entries, and the bytes of all states until then."""
    size = 0
    journal = journals.new_journal(b"n" * 16, marshal(None), START_US, "")
    activation = Activation(in_a_workflow, journal, endpoint=endpoint.url)
    activation.start(fresh=True)
    for number in range(ENTRIES // 2):
        poll = activation.poll(START_US)
        size += poll.typed_coroutine_state.ByteSize()
        result = CallResult(correlation_id=poll.calls[0].correlation_id, output=marshal(number))
        activation.deliver([result], None, START_US)
    poll = activation.poll(START_US)
    activation.discard()
    return poll, size


def measurements() -> dict[str, Measurement]:
    """Both sides, by name."""
    state = recorded()[0].typed_coroutine_state
    outputs = [marshal(number) for number in range(ENTRIES // 2 + 1)]
    loop = asyncio.new_event_loop()

    def activate() -> None:
        activation = Activation(in_a_workflow, journals.decode(state), endpoint=endpoint.url)
        activation.start()
        activation.poll(START_US)
        activation.discard()

    async def ready(number: int) -> Any:
        echo.call(number)
        future: asyncio.Future[Any] = loop.create_future()
        loop.call_soon(future.set_result, outputs[number])
        return unmarshal(await future, int)

    async def on_asyncio() -> int:
        total = 0
        for number in range(ENTRIES // 2 + 1):
            total += await ready(number)
        return total

    return {
        "activation": timed(activate),
        "coroutine": timed(lambda: loop.run_until_complete(on_asyncio())),
    }
