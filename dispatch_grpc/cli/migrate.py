"""The command that creates or upgrades the tables, with a role of its own if need be."""

import asyncio
from pathlib import Path

import click

from dispatch_grpc.cli.output import print_lines

_EXTRA = "the service needs an extra: pip install 'dispatch-grpc[service]'"


@click.command(
    epilog="""\b
Example:
  dispatch-grpc migrate --database postgresql://owner@… --grant dispatch"""
)
@click.option(
    "--database",
    envvar="DISPATCH_DATABASE_URL",
    metavar="URL",
    required=True,
    help="URL of the PostgreSQL, with a role that may create tables (default: "
    "DISPATCH_DATABASE_URL).",
)
@click.option(
    "--grant",
    metavar="ROLE",
    help="Give a role the rights that 'dispatch-grpc serve' needs.",
)
@click.option(
    "--producer",
    metavar="ROLE",
    is_flag=False,
    flag_value="dispatch_grpc_producer",
    help="Let a role call the SQL function dispatch_grpc.dispatch, and nothing else; it is created "
    "if it is missing (without ROLE: dispatch_grpc_producer).",
)
def migrate(*, database: str, grant: str | None, producer: str | None) -> int:
    """Create or upgrade the tables of the service.

    'dispatch-grpc serve' does this when it starts, if its role has the rights.
    """
    try:
        from dispatch_grpc.service.database import Database
    except ModuleNotFoundError as error:
        raise ImportError(f"{_EXTRA} ({error.name} is missing)") from error
    asyncio.run(Database(database.strip(), Path()).prepare(grant, producer))
    print_lines(["The database is up to date."])
    return 0
