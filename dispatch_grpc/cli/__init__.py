"""The command line `dispatch-grpc`."""

from dispatch_grpc.cli.commands import main

__all__ = ["main"]
