"""An outbox: dispatch calls in transactions of a database that the service does not use.

    from dispatch_grpc import new_call
    from dispatch_grpc.outbox import Outbox, Relay

    outbox = Outbox()
    with engine.begin() as connection:
        connection.execute(...)  # your own statements
        outbox.add(connection, new_call("https://example.com", "greet", "World"))

`add` writes a row for the call, in the transaction of the connection. A relay, which is
`dispatch-grpc relay` or `Relay` in the application itself, dispatches the calls of rows that are
committed, and deletes the rows. `dispatch-grpc outbox sql` prints the statements that make the
table.
"""

from dispatch_grpc.outbox.relay import Relay
from dispatch_grpc.outbox.table import Outbox

__all__ = ["Outbox", "Relay"]
