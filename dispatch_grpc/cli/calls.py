"""The commands for dispatched calls: get, list, wait, cancel."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import click
from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc import AsyncClient, CallError, CallState, DispatchError, Status
from dispatch_grpc.cli.attempts import attempt_lines
from dispatch_grpc.cli.connection import (
    MAX_TIMEOUT_DAYS,
    connection_options,
    make_client,
    timeout_option,
    with_client,
)
from dispatch_grpc.cli.input import MistakeError
from dispatch_grpc.cli.options import (
    created_since_option,
    duration_option,
    json_option,
    label_option,
)
from dispatch_grpc.cli.output import (
    complain,
    details,
    failure_json,
    print_lines,
    readable,
    table,
)
from dispatch_grpc.cli.tree import fetch_tree, tree_lines
from dispatch_grpc.client.as_json import output_json
from dispatch_grpc.client.following import WAITS_AT_ONCE, progress_of
from dispatch_grpc.text import quoted

WAIT_TIMEOUT = timedelta(seconds=60)
_PROGRESS_SECONDS = 3.0

_STATES = ("queued", "running", "waiting", "finished")
STATUSES = [status.name.lower() for status in Status if status is not Status.UNSPECIFIED]


@click.command()
@click.argument("dispatch_id", metavar="ID")
@connection_options
@timeout_option
@json_option("Print the call as JSON.")
def get(*, dispatch_id: str, as_json: bool, **settings: Any) -> None:
    """Print a call: state, times, outcome, attempts, children.

    The calls that it made are printed as a tree. JSON leaves them out: use 'list --parent'.
    """
    client = make_client(settings)

    async def look() -> list[str]:
        call = await client.get(dispatch_id)
        if as_json:
            return [json.dumps(call.to_dict())]
        branches, more = await fetch_tree(client, call)
        return details(call) + attempt_lines(call) + tree_lines(branches, more=more)

    print_lines(with_client(client, look))


@click.command("list")
@click.option(
    "--state",
    type=click.Choice(_STATES, case_sensitive=False),
    metavar="STATE",
    help="Only calls in this state: queued, running, waiting or finished.",
)
@click.option(
    "--status",
    type=click.Choice(STATUSES, case_sensitive=False),
    metavar="STATUS",
    help="Only calls that ended with this status, or got it from their last run: ok, "
    "permanent_error, ….",
)
@click.option("--function", metavar="NAME", help="Only calls of this function.")
@click.option("--endpoint", metavar="URL", help="Only calls of this endpoint.")
@click.option("--parent", metavar="ID", help="Only calls that this call made.")
@click.option("--schedule", metavar="NAME", help="Only calls that this schedule dispatched.")
@label_option("Only calls with this label; with all of them if it is given several times.")
@click.option(
    "--dead",
    is_flag=True,
    help="Only dead letters: calls without a parent that failed, and were neither cancelled nor "
    "rerun.",
)
@created_since_option
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    default=20,
    help="Print at most N calls (default: 20).",
)
@connection_options
@timeout_option
@json_option("Print each call as JSON on a line.")
def list_(
    *,
    state: Literal["queued", "running", "waiting", "finished"] | None,
    status: str | None,
    function: str | None,
    endpoint: str | None,
    parent: str | None,
    schedule: str | None,
    labels: dict[str, str] | None,
    dead: bool,
    since: datetime | None,
    limit: int,
    as_json: bool,
    **settings: Any,
) -> None:
    """Print calls, the newest first.

    For a finished call, the column STATE shows the status.
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
            schedule=schedule,
            labels=labels,
            dead=dead,
            limit=limit,
        ),
    )
    if not calls:
        complain("no calls found", 0)
    else:
        print_lines([json.dumps(call.to_dict()) for call in calls] if as_json else table(calls))


@click.command(
    epilog="""\b
Example:
  dispatch-grpc batch calls.jsonl | dispatch-grpc wait - --timeout 10m"""
)
@click.argument("dispatch_ids", metavar="ID...", nargs=-1, required=True)
@connection_options
@duration_option(
    "--timeout",
    "Time limit for the wait, for all calls together (default: 60s).",
    max_days=MAX_TIMEOUT_DAYS,
)
@json_option(
    'Print {"dispatch_id": …, "status": …, "output": …} for each ID, with "error" if there is one.'
)
def wait(
    *,
    dispatch_ids: tuple[str, ...],
    timeout: timedelta | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Wait until calls have finished, and print their outputs.

    The ID - stands for the lines of stdin, as 'batch' prints them. Outputs are JSON, one on each
    line, in the order of the IDs; bytes are base64, times are ISO 8601. After a few seconds,
    stderr shows what has not finished. If a call fails or does not finish in time, the exit code
    is 1; --json prints a line for it too, with the status null if it is unknown.
    """
    client = make_client(settings)
    if not (ids := list(_ids(dispatch_ids))):
        raise MistakeError("<stdin>: there are no ids")
    end = time.monotonic() + (timeout or WAIT_TIMEOUT).total_seconds()
    gate = asyncio.Semaphore(WAITS_AT_ONCE)

    async def one(id: str) -> Any:
        async with gate:
            left = timedelta(seconds=max(end - time.monotonic(), 0.001))
            return await outcome(client, id, left, reports=len(ids) == 1)

    async def follow() -> int:
        waits = [asyncio.create_task(one(id)) for id in ids]
        counting = asyncio.create_task(_count(waits))
        failed = False
        for id, waiting in zip(ids, waits, strict=True):
            error = print_outcome(id, await waiting, as_json=as_json)
            if error is None:
                continue
            if len(waits) == 1:
                raise error
            failed = True
            subject = f"the call {id} failed: " if isinstance(error, CallError) else ""
            complain(f"{subject}{error}", 1)
        counting.cancel()
        return int(failed)

    return with_client(client, follow)


def _ids(given: Sequence[str]) -> Iterator[str]:
    """Yield the ids: for -, those on the lines of stdin, plain or as `batch --json` prints them."""
    for id in given:
        if id != "-":
            yield id
            continue
        for number, line in enumerate(sys.stdin, 1):
            try:
                found = json.loads(line)["dispatch_id"] if line.startswith("{") else line.strip()
            except (ValueError, KeyError) as error:
                raise MistakeError(
                    f'<stdin>:{number}: an id or {{"dispatch_id": …}} is required; '
                    f"got {quoted(line.strip())}"
                ) from error
            if found:
                yield str(found)


async def _count(waits: Sequence["asyncio.Task[Any]"]) -> None:
    """Print every few seconds how many of several calls have not finished, if it is new."""
    told = 0
    while len(waits) > 1:
        await asyncio.sleep(_PROGRESS_SECONDS)
        left = sum(not waiting.done() for waiting in waits)
        if left not in {0, told}:
            told = left
            complain(f"waiting for {left:,} of {len(waits):,} calls", 0)


@click.command()
@click.argument("dispatch_id", metavar="ID")
@connection_options
@timeout_option
@json_option('Print {"dispatch_id": …, "cancelled": N}.')
def cancel(*, dispatch_id: str, as_json: bool, **settings: Any) -> None:
    """Cancel a call and all calls that descend from it.

    A running function is not stopped, but its result is discarded.
    """
    client = make_client(settings)
    number = with_client(client, lambda: client.cancel(dispatch_id))
    if as_json:
        print_lines([json.dumps({"dispatch_id": dispatch_id, "cancelled": number})])
    else:
        print_lines([f"cancelled {number:,} call{'s'[: number != 1]}"])


async def outcome(client: AsyncClient, id: str, timeout: timedelta, *, reports: bool = True) -> Any:
    """Wait for a call; return its output as JSON, or the error."""
    progress = asyncio.create_task(_report_progress(client, id)) if reports else None
    try:
        return output_json(await client.wait(id, AnyProto, timeout=timeout))
    except DispatchError as error:
        return error
    finally:
        if progress is not None:
            progress.cancel()


async def _report_progress(client: AsyncClient, id: str) -> None:
    """Print the state of a call on stderr every few seconds, if it or the last error is new."""
    reported: object = None
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        with contextlib.suppress(DispatchError):  # `wait` raises or logs it
            call = await client.get(id)
            state = call.last_error.message if call.last_error else call.state
            if state != reported and call.state is not CallState.FINISHED:
                reported = state
                where = f"{call.function} at {call.endpoint}"
                complain(f"waiting for the call {id} of {where}: {progress_of(call)}", 0)


def print_outcome(id: str, found: Any, *, as_json: bool) -> DispatchError | None:
    """Print the outcome of a call; return the error if there is one."""
    error = found if isinstance(found, DispatchError) else None
    if error is not None:
        if as_json:
            print_lines([json.dumps(failure_json(id, error))])
    elif as_json:
        print_lines([json.dumps({"dispatch_id": id, "status": "OK", "output": found})])
    else:
        print_lines([readable(found)])
    return error


COMMANDS: Sequence[click.Command] = (get, list_, wait, cancel)
