"""The commands that look at dispatched calls, wait for them and cancel them."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

import click
from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc import AsyncClient, CallError, DispatchError, Status, TLSCredentials
from dispatch_grpc.cli.input import duration_option, since_option
from dispatch_grpc.cli.output import (
    call_json,
    complain,
    details,
    error_json,
    output_json,
    print_lines,
    readable,
    table,
)

_T = TypeVar("_T")
_Command = TypeVar("_Command", bound=Callable[..., Any])

MAX_TIMEOUT_DAYS = 365
WAIT_TIMEOUT = timedelta(seconds=60)

_STATES = ("queued", "running", "waiting", "finished")
_STATUSES = [status.name.lower() for status in Status if status is not Status.UNSPECIFIED]

# Clients


def connection_options(command: _Command) -> _Command:
    """Add the options about the service, and the way to it."""
    options = [
        click.option(
            "--api-key",
            metavar="KEY",
            help="API key. Better set DISPATCH_API_KEY: other users of this machine can see a "
            "key on the command line.",
        ),
        click.option(
            "--api-url",
            metavar="URL",
            help="The service; else DISPATCH_API_URL, else https://api.dispatch.run.",
        ),
        click.option(
            "--protocol",
            type=click.Choice(["grpc", "connect", "connect+json"]),
            metavar="NAME",
            help="grpc, connect or connect+json; else DISPATCH_PROTOCOL, else grpc.",
        ),
        click.option(
            "--allow-plaintext",
            is_flag=True,
            help="Send the key in clear text if the service is http:// on another machine.",
        ),
        click.option(
            "--cacert",
            metavar="FILE",
            type=click.File("rb"),
            help="Trust the authorities in this PEM file, instead of the system's.",
        ),
        click.option(
            "--cert",
            metavar="FILE",
            type=click.File("rb"),
            help="Client certificate, as a PEM file; it may hold the key too.",
        ),
        click.option(
            "--key",
            metavar="FILE",
            type=click.File("rb"),
            help="Key of the client certificate, as a PEM file.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


timeout_option = click.option(
    "--timeout",
    metavar="DURATION",
    callback=duration_option(MAX_TIMEOUT_DAYS),
    help="Time for the request and its retries; else 10s.",
)


def _json_option(help: str) -> Callable[[_Command], _Command]:
    return click.option("--json", "as_json", is_flag=True, help=help)


def make_client(settings: dict[str, Any]) -> AsyncClient:
    """Make a client by the options that were given, which reads answers of any size."""
    given = {name: value for name, value in settings.items() if value}
    cacert, cert, key = (
        file.read() if (file := given.pop(name, None)) else None
        for name in ("cacert", "cert", "key")
    )
    if cacert or cert or key:
        given["credentials"] = TLSCredentials(
            root_certificates=cacert, certificate_chain=cert, private_key=key or cert
        )
    return AsyncClient(max_response_bytes=2**30 - 1, **given)


def with_client(client: AsyncClient, work: Callable[[], Awaitable[_T]]) -> _T:
    """Use a client in an event loop, where Ctrl-C interrupts every transport at once."""

    async def use() -> _T:
        async with client:
            return await work()

    return asyncio.run(use())


# Commands


@click.command()
@click.argument("dispatch_id", metavar="ID")
@connection_options
@timeout_option
@_json_option("Print the call as JSON: the message CallInfo.")
def get(*, dispatch_id: str, as_json: bool, **settings: Any) -> None:
    """Print what the service knows of the call ID.

    If it has finished, that is its output, or its error.
    """
    client = make_client(settings)
    call = with_client(client, lambda: client.get(dispatch_id))
    print_lines([json.dumps(call_json(call))] if as_json else details(call))


@click.command("list")
@click.option(
    "--state",
    type=click.Choice(_STATES, case_sensitive=False),
    metavar="STATE",
    help="Only calls that are queued, running, waiting or finished.",
)
@click.option(
    "--status",
    type=click.Choice(_STATUSES, case_sensitive=False),
    metavar="STATUS",
    help="Only calls that ended so, or whose last run did, such as ok or permanent_error.",
)
@click.option("--function", metavar="NAME", help="Only calls of this function.")
@click.option("--endpoint", metavar="URL", help="Only calls of this endpoint.")
@click.option("--parent", metavar="ID", help="Only calls that this call made.")
@click.option(
    "--since",
    metavar="TIME",
    callback=since_option,
    help="Only calls recorded since then: a duration ago such as 1h, or a time (ISO 8601).",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    default=20,
    help="Print N calls at most; else 20.",
)
@connection_options
@timeout_option
@_json_option("Print JSON Lines: a message CallInfo on each.")
def list_(
    *,
    state: Literal["queued", "running", "waiting", "finished"] | None,
    status: str | None,
    function: str | None,
    endpoint: str | None,
    parent: str | None,
    since: datetime | None,
    limit: int,
    as_json: bool,
    **settings: Any,
) -> None:
    """Print calls, the newest first.

    STATE of a call that has finished is its status.
    """
    client = make_client(settings)
    calls = with_client(
        client,
        lambda: client.list(
            state=state,
            status=None if status is None else Status[status.upper()],
            function=function,
            endpoint=endpoint,
            created_after=since,
            parent=parent,
            limit=limit,
        ),
    )
    if not calls:
        complain("there are no such calls", 0)
    else:
        print_lines([json.dumps(call_json(call)) for call in calls] if as_json else table(calls))


@click.command()
@click.argument("dispatch_ids", metavar="ID...", nargs=-1, required=True)
@connection_options
@click.option(
    "--timeout",
    metavar="DURATION",
    callback=duration_option(MAX_TIMEOUT_DAYS),
    help="Time to wait at most; else 60s.",
)
@_json_option('Print {"dispatch_id": "…", "status": "…", "output": …}, or "error".')
def wait(
    *,
    dispatch_ids: tuple[str, ...],
    timeout: timedelta | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Wait until calls have finished, and print their outputs.

    Each is JSON on a line, in the order of the IDs. Bytes are base64, times are text (ISO
    8601). If a call fails or does not finish in time, the exit code is 1.
    """
    client = make_client(settings)
    seconds = WAIT_TIMEOUT if timeout is None else timeout

    async def follow() -> int:
        waits = [asyncio.create_task(outcome(client, id, seconds)) for id in dispatch_ids]
        failed = False
        for id, waiting in zip(dispatch_ids, waits, strict=True):
            error = print_outcome(id, await waiting, as_json=as_json)
            if error is None:
                continue
            if len(waits) == 1:
                raise error
            failed = True
            what = f"the call {id} failed: " if isinstance(error, CallError) else ""
            complain(f"{what}{error}", 1)
        return int(failed)

    return with_client(client, follow)


@click.command()
@click.argument("dispatch_id", metavar="ID")
@connection_options
@timeout_option
@_json_option('Print {"dispatch_id": "…", "cancelled": N}.')
def cancel(*, dispatch_id: str, as_json: bool, **settings: Any) -> None:
    """Cancel the call ID, and the calls that it made, and theirs.

    A function that runs right now is not stopped, but what it answers is not used.
    """
    client = make_client(settings)
    number = with_client(client, lambda: client.cancel(dispatch_id))
    if as_json:
        print_lines([json.dumps({"dispatch_id": dispatch_id, "cancelled": number})])
    else:
        print_lines([f"cancelled {number:,} call{'s'[: number != 1]}"])


async def outcome(client: AsyncClient, id: str, timeout: timedelta) -> Any:
    """Wait for a call; returns its output as JSON has it, or the error that it came to."""
    try:
        return output_json(await client.wait(id, AnyProto, timeout=timeout))
    except DispatchError as error:
        return error


def print_outcome(id: str, found: Any, *, as_json: bool) -> DispatchError | None:
    """Print what came of a call that has finished. Returns the error if it is one."""
    error = found if isinstance(found, DispatchError) else None
    if isinstance(error, CallError):
        if as_json:
            print_lines([json.dumps({"dispatch_id": id, **error_json(error)})])
    elif error is None and as_json:
        print_lines([json.dumps({"dispatch_id": id, "status": "OK", "output": found})])
    elif error is None:
        print_lines([readable(found)])
    return error


COMMANDS: Sequence[click.Command] = (get, list_, wait, cancel)
