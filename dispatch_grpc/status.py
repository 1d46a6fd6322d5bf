"""Earlier path of the statuses of calls: see `dispatch_grpc.codes`."""

from dispatch_grpc.codes import Status

__all__ = ["Status"]
