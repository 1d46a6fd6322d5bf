"""The command for development: a service, an endpoint that is reloaded, and its calls, in one.

`process` is the endpoint's, which starts again when `sources` change; `calls` prints the calls.
"""

from dispatch_grpc.cli.dev.command import dev

__all__ = ["dev"]
