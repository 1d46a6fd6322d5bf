"""The command for development: a service, an endpoint that is reloaded, and its calls, in one."""

from dispatch_grpc.cli.dev.command import dev

__all__ = ["dev"]
