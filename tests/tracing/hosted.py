"""An endpoint whose spans go to a file, its argument."""

import asyncio
import sys
from pathlib import Path

from opentelemetry import trace

from dispatch_grpc import Endpoint, workflow
from dispatch_grpc.serving import one_port
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


async def main() -> None:
    listener = one_port.listen()
    endpoint.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sys.stdout.write(f"{endpoint.url}\n")
    sys.stdout.flush()
    await one_port.serve(endpoint.app, listener, until=asyncio.Event().wait)


if __name__ == "__main__":
    export_to(Path(sys.argv[1]))
    asyncio.run(main())
