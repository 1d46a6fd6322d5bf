"""The command that finds out why nothing works: `dispatch-grpc doctor`."""

from dispatch_grpc.cli.doctor.command import doctor

__all__ = ["doctor"]
