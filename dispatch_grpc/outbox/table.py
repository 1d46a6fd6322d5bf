"""The table of the outbox: its name, the statements that make it, and `Outbox`, which adds rows."""

import json
import re
from base64 import b64encode
from collections.abc import Awaitable
from typing import Any, overload

from dispatch_grpc.calls import check_call
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.schema import Call
from dispatch_grpc.sql.drivers import AsyncConnection, SyncConnection, execute
from dispatch_grpc.text import quoted

DEFAULT_TABLE = "dispatch_outbox"

_NAME = r"[a-z_][a-z0-9_]{0,39}"

_CREATE = """\
CREATE TABLE {table} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    call bytea NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now(),
    batch_id uuid,
    batched_at timestamptz,
    owner uuid,
    owned_until timestamptz,
    error text
);
COMMENT ON TABLE {table} IS 'calls for a Dispatch service, which dispatch-grpc relay sends';
COMMENT ON COLUMN {table}.call IS 'a serialized dispatch.sdk.v1.Call';
COMMENT ON COLUMN {table}.batch_id IS 'the idempotency key of the request that sends the row';
COMMENT ON COLUMN {table}.batched_at IS 'before the row was sent for the first time';
COMMENT ON COLUMN {table}.error IS 'why the row is not sent';
CREATE INDEX {name}_batch ON {table} (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX {name}_owned ON {table} (owned_until) WHERE batch_id IS NOT NULL AND error IS NULL;
"""

# Everything else may follow in the same transaction: the notice is delivered after its commit.
_ADD = """
WITH added AS (
    INSERT INTO {table} (call)
    SELECT decode(item, 'base64')
    FROM jsonb_array_elements_text(CAST(CAST({{}} AS text) AS jsonb)) AS item
    RETURNING id
)
SELECT CAST(pg_notify('{name}', '') AS text) FROM added LIMIT 1
"""
_ADD_SILENTLY = _ADD.replace("CAST(pg_notify('{name}', '') AS text)", "''")


def check_table(table: str) -> str:
    """Check the name of the table, and return it without its schema.

    Raises:
        ConfigurationError: It is not such a name.
    """
    if not (isinstance(table, str) and re.fullmatch(rf"({_NAME}\.)?{_NAME}", table)):
        raise ConfigurationError(
            f"table: a name of up to 40 lower-case letters, digits and underscores is required, "
            f"perhaps with a schema (app.dispatch_outbox); got {quoted(table)}"
        )
    return table.rpartition(".")[2]


def create_statements(table: str) -> str:
    """Return the statements that make the table."""
    return _CREATE.format(table=table, name=check_table(table))


class Outbox:
    """Adds calls to the outbox, in transactions of the application.

    Args:
        table: Name of the table, perhaps with its schema.
        notify: Whether to wake relays as the transaction commits; else they look every few seconds.
            Transactions that notify wait for each other's commits.

    Raises:
        ConfigurationError: The name is not acceptable.
    """

    def __init__(self, table: str = DEFAULT_TABLE, *, notify: bool = True) -> None:
        name = check_table(table)
        self._statement = (_ADD if notify else _ADD_SILENTLY).format(table=table, name=name)

    @overload
    def add(self, connection: AsyncConnection, *calls: Call) -> Awaitable[None]: ...
    @overload
    def add(self, connection: SyncConnection, *calls: Call) -> None: ...
    def add(self, connection: Any, *calls: Call) -> Awaitable[None] | None:
        """Add calls in the transaction of a connection: they are sent if the transaction commits.

        Args:
            connection: A connection of asyncpg, psycopg 3, SQLAlchemy or Django, or a session of
                SQLAlchemy. Without a transaction, or with autocommit, they are sent at once.
            calls: One call or more, as `new_call` makes them.

        Returns:
            An awaitable for a connection whose statements are awaited.

        Raises:
            InvalidCallError: A call breaks a rule; nothing was added.
            ConfigurationError: The connection is of no supported driver, or no call is given.
            Exception: An error of the driver.
        """
        if not calls:
            raise ConfigurationError("calls: one call or more is required; got none")
        for index, call in enumerate(calls):
            check_call(call, index)
        rows = json.dumps([b64encode(call.SerializeToString()).decode() for call in calls])
        return execute(connection, self._statement, [rows], lambda _: None)
