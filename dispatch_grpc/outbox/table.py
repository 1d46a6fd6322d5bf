"""The table of the outbox: its name, the statements that make it, and `Outbox`, which adds rows."""

import json
import re
from base64 import b64encode
from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Any, overload

from dispatch_grpc.calls import check_call
from dispatch_grpc.client.later import Delay, options_of
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.schema import Call
from dispatch_grpc.sql.drivers import AsyncConnection, SyncConnection, execute
from dispatch_grpc.text import quoted
from dispatch_grpc.tracing.by_sql import dispatched

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
    error text,
    start_time timestamptz CHECK (start_time BETWEEN '0002-01-01' AND '9000-01-01'),
    labels jsonb,
    trace text
);
COMMENT ON TABLE {table} IS 'calls for a Dispatch service, which dispatch-grpc relay sends';
COMMENT ON COLUMN {table}.call IS 'a serialized dispatch.sdk.v1.Call';
COMMENT ON COLUMN {table}.batch_id IS 'the idempotency key of the request that sends the row';
COMMENT ON COLUMN {table}.batched_at IS 'before the row was sent for the first time';
COMMENT ON COLUMN {table}.error IS 'why the row is not sent';
COMMENT ON COLUMN {table}.start_time IS 'when the call begins; at once if it is NULL';
COMMENT ON COLUMN {table}.labels IS 'labels of the call: an object of strings';
COMMENT ON COLUMN {table}.trace IS 'a W3C traceparent and, after a space, its tracestate';
CREATE INDEX {name}_batch ON {table} (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX {name}_owned ON {table} (owned_until) WHERE batch_id IS NOT NULL AND error IS NULL;
"""

# Everything else may follow in the same transaction: the notice is delivered after its commit.
_ADD = """
WITH added AS (
    INSERT INTO {table} (call{columns})
    SELECT decode(item, 'base64'){values}
    FROM jsonb_array_elements_text(CAST(CAST({{}} AS text) AS jsonb)) AS item
    RETURNING id
)
SELECT {notice} FROM added LIMIT 1
"""
# Only for calls that have them, since older tables lack the columns.
_OPTION_COLUMNS = ", start_time, labels"
_OPTION_VALUES = """,
        coalesce(CAST(CAST({} AS text) AS timestamptz),
            clock_timestamp() + CAST(CAST({} AS text) AS interval)),
        CAST(CAST({} AS text) AS jsonb)"""
_TRACE_COLUMN, _TRACE_VALUE = ", trace", ", CAST({} AS text)"


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
        traces: Whether calls belong to the trace of the current span, where OpenTelemetry is used.
            The table needs the column `trace`, which tables of earlier versions lack.

    Raises:
        ConfigurationError: The name is not acceptable.
    """

    def __init__(
        self, table: str = DEFAULT_TABLE, *, notify: bool = True, traces: bool = False
    ) -> None:
        name = check_table(table)
        notice = f"CAST(pg_notify('{name}', '') AS text)" if notify else "''"
        self._traces = traces
        self._parts = {"table": table, "notice": notice}

    @overload
    def add(
        self,
        connection: AsyncConnection,
        *calls: Call,
        delay: Delay | None = None,
        at: datetime | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Awaitable[None]: ...
    @overload
    def add(
        self,
        connection: SyncConnection,
        *calls: Call,
        delay: Delay | None = None,
        at: datetime | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None: ...
    def add(
        self,
        connection: Any,
        *calls: Call,
        delay: Delay | None = None,
        at: datetime | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Awaitable[None] | None:
        """Add calls in the transaction of a connection: they are sent if the transaction commits.

        Args:
            connection: A connection of asyncpg, psycopg 3, SQLAlchemy or Django, or a session of
                SQLAlchemy. Without a transaction, or with autocommit, they are sent at once.
            calls: One call or more, as `new_call` makes them.
            delay: How long after now, by the clock of this database, the calls begin: a timedelta
                or a number of seconds.
            at: When the calls begin instead, as for `Client.dispatch`.
            labels: Labels of the calls, as for `Client.dispatch`.

        Returns:
            An awaitable for a connection whose statements are awaited.

        Raises:
            InvalidCallError: A call breaks a rule; nothing was added.
            ConfigurationError: The connection is of no supported driver, no call is given, or an
                option is invalid.
            Exception: An error of the driver.
        """
        if not calls:
            raise ConfigurationError("calls: one call or more is required; got none")
        for index, call in enumerate(calls):
            check_call(call, index)
        rows = json.dumps([b64encode(call.SerializeToString()).decode() for call in calls])
        columns, expressions, values = "", "", list[str | None]()
        if not (delay is None and at is None and labels is None):
            found = options_of(delay, at, labels)
            columns, expressions = _OPTION_COLUMNS, _OPTION_VALUES
            values = [
                found.start_time.ToJsonString() if at is not None else None,
                f"{found.delay.ToMicroseconds()} us" if delay is not None else None,
                json.dumps(dict(found.labels)),
            ]
        if self._traces and (trace := dispatched(calls)) is not None:
            columns += _TRACE_COLUMN
            expressions += _TRACE_VALUE
            values.append(trace)
        statement = _ADD.format(**self._parts, columns=columns, values=expressions)
        return execute(connection, statement, [*values, rows], lambda _: None)
