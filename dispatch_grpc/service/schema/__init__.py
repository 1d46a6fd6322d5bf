"""The tables and SQL functions of the service, and how a database comes to have them.

All is in a schema of its own, pgqueuer's tables too. A database may be shared with others.

`calls` holds the calls that have not finished, and those whose results their parents may still
ask for. After that a call moves to `finished`, which has a partition for each day. So the queries
that run calls work on a small table, however many calls have finished, and retention drops a
partition instead of deleting rows. Finishing a call is a DELETE and an INSERT; before it was an
UPDATE, which wrote the whole row and its index entries too, so the cost is about the same. The
alternative, `calls` itself in partitions by id, was not chosen: each statement about a call would
open every partition, and one call that runs for a month would keep the partition of its day.
`every_call` is a view of both tables.

A database of an older version is migrated at once: its finished calls are moved later, by a chore.
"""

from dispatch_grpc.service.schema.migrations import MIGRATIONS
from dispatch_grpc.service.schema.preparing import SCHEMA, prepare

__all__ = ["MIGRATIONS", "SCHEMA", "prepare"]
