"""The command that creates or upgrades the tables of the service."""

import asyncio
from pathlib import Path

import click

from dispatch_grpc.cli.output import print_lines
from dispatch_grpc.errors import missing_extra


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
    help="URL of the PostgreSQL database, with a role that may create tables (default: "
    "DISPATCH_DATABASE_URL).",
)
@click.option(
    "--grant",
    metavar="ROLE",
    help="Role to grant the privileges that 'dispatch-grpc serve' requires.",
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

    'dispatch-grpc serve' does the same when it starts. If its role may not create tables, run
    this command first, with a role that may.
    """
    try:
        from dispatch_grpc.service.database import Database
    except ImportError as error:
        raise missing_extra(error, "the service", "service") from error
    asyncio.run(Database(database.strip(), Path()).prepare(grant, producer))
    print_lines(["The database is up to date."])
    if producer is not None:
        print_lines([f"The role {producer} may call the SQL function dispatch_grpc.dispatch."])
    return 0
