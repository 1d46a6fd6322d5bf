"""The command that finds out why nothing works: `dispatch-grpc doctor`.

`service` and `endpoint` look at the two; `findings` says what their answers mean, without I/O;
`requests` sends what they ask. What is wrong with a database is known to `service.diagnosis`.
"""

from dispatch_grpc.cli.doctor.command import doctor

__all__ = ["doctor"]
