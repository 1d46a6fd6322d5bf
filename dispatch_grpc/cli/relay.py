"""The commands for the outbox of an application: its migration, its relay, its refused rows."""

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from google.protobuf.message import DecodeError

from dispatch_grpc import Call
from dispatch_grpc.calls import mask_url
from dispatch_grpc.cli.connection import connection_options, make_client
from dispatch_grpc.cli.options import duration_option, json_option, log_level_option
from dispatch_grpc.cli.output import complain, print_lines, printable
from dispatch_grpc.cli.service_process import Signals, log

if TYPE_CHECKING:
    from dispatch_grpc.outbox.store import Refused

_MAX_DAYS = 36_500

_table = click.option(
    "--table",
    metavar="NAME",
    default="dispatch_outbox",
    help="Name of the table, perhaps with its schema (default: dispatch_outbox).",
)
_database = click.option(
    "--database",
    envvar="DISPATCH_OUTBOX_URL",
    metavar="URL",
    required=True,
    help="URL of the PostgreSQL that has the outbox (default: DISPATCH_OUTBOX_URL).",
)


@click.command(
    epilog="""\b
Example:
  dispatch-grpc relay --database postgresql://app@db.example.com/shop"""
)
@_database
@_table
@click.option(
    "--batch-size",
    type=click.IntRange(1, 10_000),
    metavar="N",
    default=1000,
    help="Largest number of calls in a request (default: 1000).",
)
@duration_option(
    "--poll-interval",
    "Longest time between two polls of the table, if no notification arrives (default: 5s).",
    max_days=_MAX_DAYS,
    default="5s",
)
@duration_option(
    "--key-retention",
    "How long the service remembers idempotency keys: its own --key-retention, or less. Calls "
    "that had no answer are not sent again after that (default: 1d).",
    max_days=_MAX_DAYS,
    default="1d",
)
@connection_options
@log_level_option
def relay(
    *,
    database: str,
    table: str,
    batch_size: int,
    poll_interval: timedelta,
    key_retention: timedelta,
    log_level: str,
    **settings: Any,
) -> int:
    """Send the calls in an outbox until Ctrl-C or SIGTERM.

    The application adds calls to a table in its own transactions, see 'dispatch-grpc outbox'. Any
    number of relays may run. A DURATION is written like 30s, 5m, 1h30m, 250ms or 2d.
    """
    from dispatch_grpc.outbox.relay import Relay

    log(log_level, "text")

    async def run() -> int:
        with Signals(is_reloadable=False) as signals:
            try:
                async with (
                    make_client(settings) as client,
                    Relay(
                        database.strip(),
                        client,
                        table=table,
                        batch_size=batch_size,
                        poll_interval=poll_interval,
                        key_retention=key_retention,
                    ),
                ):
                    signals.started = True
                    await signals.stop.wait()
            except asyncio.CancelledError as cancelled:
                return signals.exit_code(cancelled)
        return 0

    return asyncio.run(run())


@click.group()
def outbox() -> None:
    """Print the migration of an outbox, or its refused rows."""


def _migration_command(form: str, text: str) -> click.Command:
    @_table
    def command(*, table: str) -> None:
        from dispatch_grpc.outbox.migrations import migration

        print_lines([migration(form, table)])

    return click.command(form, help=text)(command)


outbox.add_command(_migration_command("sql", "Print the SQL statements that make the table."))
outbox.add_command(_migration_command("alembic", "Print the migration as a revision of Alembic."))
outbox.add_command(_migration_command("django", "Print the migration as one of Django."))


@outbox.command("list")
@_database
@_table
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    default=100,
    help="Largest number of rows to print (default: 100).",
)
@json_option("Print a row as JSON on each line.")
def list_(*, database: str, table: str, limit: int, as_json: bool) -> None:
    """Print the rows that are kept with an error, the oldest first.

    They are not sent again. To send a row: UPDATE dispatch_outbox SET error = NULL, batch_id =
    NULL WHERE id = …; to drop it: DELETE.
    """
    from dispatch_grpc.outbox.relay import refused_rows

    rows = asyncio.run(refused_rows(database.strip(), table, limit))
    if rows:
        print_lines([json.dumps(_plain(row)) if as_json else _line(row) for row in rows])
    else:
        complain(f"{table} has no rows with an error", 0)


def _plain(row: "Refused") -> dict[str, Any]:
    call = _call(row)
    return {
        "id": row.id,
        "added": row.added_at.isoformat(),
        "endpoint": mask_url(call.endpoint),
        "function": call.function,
        "idempotency_key": str(row.batch_id),
        "error": row.error,
    }


def _line(row: "Refused") -> str:
    call = _call(row)
    where = f"{mask_url(call.endpoint)} {call.function}"
    return printable(f"{row.id}  {row.added_at.isoformat(' ', 'seconds')}  {where}  {row.error}")


def _call(row: "Refused") -> Call:
    try:
        return Call.FromString(row.call)
    except DecodeError:
        return Call()
