"""The command that finishes a call from outside."""

import json
from typing import Any

import click

from dispatch_grpc import MarshalError
from dispatch_grpc.cli.connection import (
    connection_options,
    make_client,
    timeout_option,
    with_client,
)
from dispatch_grpc.cli.input import MistakeError, parse
from dispatch_grpc.cli.options import json_option
from dispatch_grpc.cli.output import print_lines


@click.command(
    epilog="""\b
Examples:
  dispatch-grpc complete ID '{"approved": true}'
  dispatch-grpc complete ID --error 'not approved' --error-type Refused"""
)
@click.argument("dispatch_id", metavar="ID")
@click.argument("text", metavar="[JSON]", required=False)
@click.option(
    "--error", metavar="MESSAGE", help="Fail the call with this message, without retries."
)
@click.option(
    "--error-type", metavar="NAME", help="Name of the type of the error (default: Error)."
)
@connection_options
@timeout_option
@json_option('Print {"dispatch_id": …}.')
def complete(
    *,
    dispatch_id: str,
    text: str | None,
    error: str | None,
    error_type: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Finish a call from outside, with an output or an error.

    For calls that wait for it: those of functions that raise Pending, and the 'external' results
    of workflows. Any other call that has not finished ends with it, too; the result of its
    function is discarded.
    """
    if (text is None) == (error is None):
        raise click.UsageError("one of JSON and --error is required, and not both")
    if error_type is not None and error is None:
        raise click.UsageError("--error-type needs --error")
    output = None
    if text is not None:
        try:
            output = parse(text.encode("utf-8", "surrogateescape"))
        except ValueError as mistake:
            raise MistakeError(f"JSON: {mistake}") from mistake
    client = make_client(settings)

    async def finish() -> None:
        if error is None:
            await client.complete(dispatch_id, output)
        else:
            await client.fail(dispatch_id, error, type=error_type)

    try:
        with_client(client, finish)
    except MarshalError as mistake:
        raise MistakeError(f"JSON: {mistake}") from mistake
    print_lines([json.dumps({"dispatch_id": dispatch_id}) if as_json else "completed the call"])
