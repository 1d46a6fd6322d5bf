"""A program that dispatches an order in a span, and waits for it.

Arguments: the file for its spans, the URLs of an endpoint with `order` and of one with `charge`.
"""

import sys
from pathlib import Path

from opentelemetry import trace

from dispatch_grpc import Client, new_call
from tests.tracing.files import export_to

if __name__ == "__main__":
    export_to(Path(sys.argv[1]))
    with Client() as client:
        with trace.get_tracer(__name__).start_as_current_span("checkout"):
            id = client.dispatch(new_call(sys.argv[2], "order", sys.argv[3]))
        sys.stdout.write(f"{id} {client.wait(id, str, timeout=100)}")
