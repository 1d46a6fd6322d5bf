"""The command itself: its options, and the lines that it prints."""

import asyncio
import json
import os
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click

from dispatch_grpc.cli.connection import MAX_TIMEOUT_DAYS, connection_options
from dispatch_grpc.cli.doctor.endpoint import check_endpoint
from dispatch_grpc.cli.doctor.findings import Finding
from dispatch_grpc.cli.doctor.service import check_service
from dispatch_grpc.cli.options import duration_option, json_option
from dispatch_grpc.cli.output import one_line, print_lines
from dispatch_grpc.errors import missing_extra


@click.command()
@click.option(
    "--database",
    envvar="DISPATCH_DATABASE_URL",
    metavar="URL",
    help="PostgreSQL of the service (default: DISPATCH_DATABASE_URL, else it is not checked).",
)
@click.option(
    "--endpoint",
    envvar="DISPATCH_ENDPOINT_URL",
    metavar="URL",
    help="Endpoint to reach (default: DISPATCH_ENDPOINT_URL, else it is not checked).",
)
@connection_options
@duration_option(
    "--timeout",
    "Time limit for each step of a check (default: 5s).",
    max_days=MAX_TIMEOUT_DAYS,
    default="5s",
)
@json_option('Print {"check": …, "ok": true, false or null, "message": …} for each check.')
def doctor(
    *,
    database: str | None,
    endpoint: str | None,
    timeout: timedelta,
    as_json: bool,
    **settings: Any,
) -> int:
    """Check the API key, URL, TLS, clock, database and endpoint.

    Each check is a line that says what is wrong and what to do. The endpoint is called from this
    machine, signed with DISPATCH_SIGNING_KEY if it is set; no function runs. The exit code is 1
    if something is wrong.
    """
    seconds = timeout.total_seconds()
    found = [*check_service(settings, seconds, os.environ)]
    found.append(_check_database(database, seconds))
    found += check_endpoint(endpoint, seconds, os.environ)
    if as_json:
        shown = [Finding(one.check, one.ok, one_line(one.message)) for one in found]
        print_lines([json.dumps(asdict(one)) for one in shown])
    else:
        print_lines([_line(one) for one in found])
    return int(any(one.ok is False for one in found))


def _line(finding: Finding) -> str:
    word, colour = {True: ("ok", "green"), False: ("WRONG", "red"), None: ("-", None)}[finding.ok]
    return f"{click.style(word.ljust(5), colour)}  {finding.check:9}  {one_line(finding.message)}"


def _check_database(url: str | None, seconds: float) -> Finding:
    if not (url or "").strip():
        text = "not checked: give --database or DISPATCH_DATABASE_URL where the service runs"
        return Finding("database", None, text)
    try:
        from dispatch_grpc.service.diagnosis import examine
    except ImportError as error:
        return Finding("database", None, str(missing_extra(error, "this check", "service")))
    return Finding("database", *asyncio.run(examine(str(url).strip(), seconds)))
