"""The statuses of calls, by their earlier import path: see `dispatch_grpc.codes`."""

from dispatch_grpc.codes import Status

__all__ = ["Status"]
