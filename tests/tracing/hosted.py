"""An endpoint whose spans go to a file. Arguments: the file and, perhaps, a port."""

import asyncio
import contextlib
import sys
from pathlib import Path

from opentelemetry import trace

from dispatch_grpc import CallError, Endpoint, new_call, unmarshal, workflow
from dispatch_grpc.primitives import RunRequest, RunResponse, exit_, poll
from dispatch_grpc.serving import one_port, sockets
from tests.tracing.files import export_to

endpoint = Endpoint("http://127.0.0.1:1")  # its port comes later
tracer = trace.get_tracer(__name__)


@endpoint.function
def ship(parcel: str) -> str:
    with tracer.start_as_current_span("load the van"):
        return f"{parcel} is on its way"


@endpoint.workflow
async def order(charges: str) -> str:
    """Dispatches a call from a step, and waits for one of an endpoint that fails at first."""
    with tracer.start_as_current_span("look at the order"):
        pass
    await workflow.step(pack)
    charged = await endpoint.remote(charges, "charge", returns=str).run()
    with tracer.start_as_current_span("close the order"):
        return charged


def pack() -> str:
    with tracer.start_as_current_span("pack"):
        return ship.dispatch("a parcel")


@endpoint.workflow
async def ship_all(charges: str) -> int:
    """Calls another endpoint twice at once, and then once more, in a span around all of it."""
    charge = endpoint.remote(charges, "charge", returns=str)
    with tracer.start_as_current_span("all of it"):
        paid = await asyncio.gather(charge.run(1), charge.run(2))
        return len([*paid, await charge.run(3)])


@endpoint.workflow
async def try_again(charges: str) -> str:
    """Makes a call that the service refuses, and then another one."""
    with contextlib.suppress(CallError):
        await endpoint.remote("http://169.254.169.254", "secret").run()
    return await endpoint.remote(charges, "charge", returns=str).run()


@endpoint.workflow
async def call_many(charges: str, number: int = 33) -> int:
    """Makes many calls at once."""
    charge = endpoint.remote(charges, "charge", returns=str)
    return len(await asyncio.gather(*(charge.run(index) for index in range(number))))


@endpoint.primitive
def split(request: RunRequest) -> RunResponse:
    """Makes a call as a function without a workflow does."""
    if request.HasField("poll_result"):
        return exit_(request.poll_result.results[0].output)
    charges = unmarshal(request.input, str)
    return poll([new_call(charges, "charge")], min_results=1)


async def main() -> None:
    listener = sockets.listen(port=int(sys.argv[2]) if sys.argv[2:] else 0)
    endpoint.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sys.stdout.write(f"{endpoint.url}\n")
    sys.stdout.flush()
    await one_port.serve(endpoint.app, listener, until=asyncio.Event().wait)


if __name__ == "__main__":
    export_to(Path(sys.argv[1]))
    asyncio.run(main())
