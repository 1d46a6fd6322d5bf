"""The commands that dispatch calls: call, batch."""

import contextlib
import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, BinaryIO

import click

from dispatch_grpc import AsyncClient, InvalidArgumentError
from dispatch_grpc.cli.calls import WAIT_TIMEOUT, outcome, print_outcome
from dispatch_grpc.cli.connection import (
    connection_options,
    make_client,
    timeout_option,
    with_client,
)
from dispatch_grpc.cli.input import MistakeError, Progress, lines, make_call, read_call
from dispatch_grpc.cli.options import (
    add_options,
    duration_option,
    input_options,
    json_option,
    label_option,
    time_option,
)
from dispatch_grpc.cli.output import complain, print_lines

# The path with which a service begins what it says about a call of a request.
_CALL = re.compile(r"(?:^|: )(?:calls|submissions)\[(\d+)\]")


def _client(settings: dict[str, Any]) -> AsyncClient:
    """Make a client with the options of `call` or `batch`."""
    others = dict(settings)
    return make_client({"max_message_bytes": others.pop("max_request_bytes"), **others})


def _print_ids(ids: Sequence[str], *, as_json: bool) -> None:
    print_lines([json.dumps({"dispatch_id": one}) for one in ids] if as_json else ids)


_client_options = add_options(
    connection_options,
    timeout_option,
    click.option(
        "--idempotency-key",
        metavar="KEY",
        help="The service records requests with the same key only once (default: a new key).",
    ),
    click.option(
        "--max-request-bytes",
        type=click.IntRange(1, 2**30 - 1),
        metavar="N",
        help="Largest request to send (default: 4194304, the usual limit of services).",
    ),
    json_option('Print {"dispatch_id": …}.'),
)


@click.command(
    epilog="""\b
Example:
  dispatch-grpc call https://example.com greet --input '{"name": "Ada"}'"""
)
@click.argument("url")
@click.argument("function")
@input_options
@duration_option("--expiration", "Time limit for the call (default: set by the service).")
@click.option(
    "--version", default="", help="Version of the application that the call is meant for."
)
@duration_option("--delay", "Start the call this long after it is recorded.")
@time_option("--at", "Start the call at this time (ISO 8601; local, without an offset).")
@label_option("Label to find the call by; repeatable, up to 16 times.")
@click.option(
    "--wait",
    is_flag=True,
    help="Wait until the call has finished, and print its output like 'wait'; the id goes to "
    "stderr. --timeout then limits both (default: 60s).",
)
@_client_options
def call(
    *,
    url: str,
    function: str,
    text: str | None,
    file: BinaryIO | None,
    expiration: timedelta | None,
    version: str,
    delay: timedelta | None,
    at: datetime | None,
    labels: dict[str, str] | None,
    wait: bool,
    idempotency_key: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Dispatch one call, and print its id.

    URL is the endpoint that hosts FUNCTION: http://, https://, bridge:// or arn:aws:lambda.
    A DURATION is written like 30s, 5m, 1h30m, 250ms or 2d.
    """
    new = make_call(url, function, text=text, file=file, expiration=expiration, version=version)
    if delay is not None and at is not None:
        raise click.UsageError("--delay and --at cannot be used together")
    client = _client(settings)
    calls = client.batch()
    calls.add(new, delay=delay, at=at, labels=labels)
    if not wait:
        ids = with_client(client, lambda: calls.dispatch(idempotency_key=idempotency_key))
        _print_ids(ids, as_json=as_json)
        return
    timeout = settings["timeout"] or WAIT_TIMEOUT
    started = time.monotonic()

    async def dispatch_and_wait() -> tuple[str, Any]:
        (id,) = await calls.dispatch(idempotency_key=idempotency_key)
        click.echo(f"dispatch id: {id}", err=True)
        left = started + timeout.total_seconds() - time.monotonic()
        return id, await outcome(client, id, timedelta(seconds=max(left, 0.001)))

    id, found = with_client(client, dispatch_and_wait)
    if failure := print_outcome(id, found, as_json=as_json):
        raise failure


@click.command(
    epilog="""\b
A call must be on one line; only endpoint and function are required:
  {"endpoint": "https://example.com", "function": "greet",
   "input": {"name": "Ada"}, "expiration": "30s", "version": "1.2",
   "delay": "10m", "labels": {"order": "o1"}}
"at" is a time instead of a delay."""
)
@click.argument("file", type=click.File("rb"))
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Show progress on stderr (default: only on a terminal).",
)
@_client_options
def batch(
    *,
    file: BinaryIO,
    progress: bool | None,
    idempotency_key: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Dispatch all calls in FILE together, and print their ids.

    The service records all calls or none. Each line of FILE is a call as JSON; blank lines are
    skipped, - is stdin. If lines are invalid, all of them are reported, and nothing is sent. A
    DURATION is written like 30s, 5m, 1h30m, 250ms or 2d.
    """
    client = _client(settings)
    calls = client.batch()
    shown = bool(sys.stderr and sys.stderr.isatty()) if progress is None else progress
    numbers: list[int] = []  # of the lines of the calls
    wrong = 0
    with contextlib.closing(Progress(shown=shown)) as line:
        for number, data in lines(file, line):
            try:
                new, options = read_call(data)
                calls.add(new, **options)
                numbers.append(number)
            except ValueError as error:
                line.close()
                wrong += 1
                complain(f"{file.name}:{number}: {error}", 2)
            if wrong:  # nothing is sent: the other lines are only checked
                calls.clear()
        if wrong:
            lines_are = "1 line is" if wrong == 1 else f"{wrong:,} lines are"
            raise MistakeError(f"{file.name}: {lines_are} invalid; nothing was sent")
        if calls:
            line.show(f"sending {len(calls):,} calls")
        try:
            ids = with_client(client, lambda: calls.dispatch(idempotency_key=idempotency_key))
        except InvalidArgumentError as error:
            found = _CALL.search(error.message)
            if found is None or int(found[1]) >= len(numbers):
                raise
            raise click.ClickException(f"{file.name}:{numbers[int(found[1])]}: {error}") from error
    if ids:
        _print_ids(ids, as_json=as_json)
    else:
        complain(f"{file.name} contains no calls; nothing was sent", 0)


COMMANDS: Sequence[click.Command] = (call, batch)
