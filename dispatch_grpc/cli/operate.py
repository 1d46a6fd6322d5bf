"""The commands to operate a service: rerun, purge, pause, resume, pauses."""

import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from dispatch_grpc import AsyncClient, Status
from dispatch_grpc.cli.calls import STATUSES
from dispatch_grpc.cli.connection import (
    connection_options,
    make_client,
    timeout_option,
    with_client,
)
from dispatch_grpc.cli.input import Progress
from dispatch_grpc.cli.options import add_options, created_since_option, json_option, since_option
from dispatch_grpc.cli.output import complain, print_lines, printable
from dispatch_grpc.client.as_json import fields_json
from dispatch_grpc.client.operations import Pause
from dispatch_grpc.text import counted

_filter_options = add_options(
    click.option(
        "--status",
        type=click.Choice(STATUSES, case_sensitive=False),
        metavar="STATUS",
        help="Only calls that ended with this status: ok, permanent_error, ….",
    ),
    click.option("--function", metavar="NAME", help="Only calls of this function."),
    click.option("--endpoint", metavar="URL", help="Only calls of this endpoint."),
    created_since_option,
    since_option(
        "--before", "Only calls recorded before this time, or longer ago than a duration."
    ),
    click.option("--dry-run", is_flag=True, help="Count the calls, and change nothing."),
    click.option(
        "--yes",
        is_flag=True,
        help="Do not ask for a confirmation; required where there is no terminal to ask on.",
    ),
)


@click.command(
    epilog="""\b
Examples:
  dispatch-grpc rerun 01a205dd-56fd-74e0-ad8a-5903b5ee80d5
  dispatch-grpc rerun --dead --function charge --since 1d"""
)
@click.argument("dispatch_ids", metavar="[ID...]", nargs=-1)
@click.option(
    "--dead",
    is_flag=True,
    help="Rerun dead letters: all, or those that the other options select.",
)
@_filter_options
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="With one ID: the service reruns it once for the same key (default: a new key).",
)
@connection_options
@timeout_option
@json_option('Print {"dispatch_id": …, "rerun_as": …} for each ID, or else {"count": …}.')
def rerun(
    *,
    dispatch_ids: tuple[str, ...],
    dead: bool,
    status: str | None,
    function: str | None,
    endpoint: str | None,
    since: datetime | None,
    before: datetime | None,
    dry_run: bool,
    yes: bool,
    idempotency_key: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Run finished calls again as new calls, and print their ids.

    Without an ID, the options select dead letters: calls without a parent that failed, and were
    neither cancelled nor rerun; with '--status ok', calls that succeeded and were not rerun. The
    command prints their number, and asks before it reruns them.
    """
    filters = _filters(status, function, endpoint, since, before)
    if dispatch_ids:
        if filters or dead or dry_run:
            raise click.UsageError("IDs cannot be combined with options that select calls")
        if idempotency_key is not None and len(dispatch_ids) > 1:
            raise click.UsageError("--idempotency-key is for one ID")
        _rerun_each(dispatch_ids, idempotency_key, as_json=as_json, settings=settings)
        return
    if not filters and not dead:
        raise click.UsageError("give IDs, or options that select calls, such as --dead")
    if idempotency_key is not None:
        raise click.UsageError(
            "--idempotency-key is for one ID; options select no call that was rerun"
        )
    client = make_client(settings)
    _confirmed(
        client.rerun_calls, client, filters, "rerun", dry_run=dry_run, yes=yes, as_json=as_json
    )


def _rerun_each(
    ids: Sequence[str], key: str | None, *, as_json: bool, settings: dict[str, Any]
) -> None:
    client = make_client(settings)

    async def rerun_each() -> None:
        for id in ids:
            new = await client.rerun(id, idempotency_key=key)
            print_lines([json.dumps({"dispatch_id": id, "rerun_as": new}) if as_json else new])

    with_client(client, rerun_each)


@click.command(
    epilog="""\b
Example:
  dispatch-grpc purge --function import_rows --before 2d"""
)
@click.option("--dead", is_flag=True, help="Only dead letters, as for 'rerun'.")
@_filter_options
@connection_options
@timeout_option
@json_option('Print {"count": …}.')
def purge(
    *,
    dead: bool,
    status: str | None,
    function: str | None,
    endpoint: str | None,
    since: datetime | None,
    before: datetime | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Delete finished calls before their retention is over.

    The command prints the number of calls that the options select, and asks before it deletes
    them. Calls that have not finished are kept: end them with 'dispatch-grpc cancel' first. So are
    calls whose parents have not been given their results yet.
    """
    filters = _filters(status, function, endpoint, since, before)
    if dead:
        filters["dead"] = True
    if not filters:
        raise click.UsageError("give options that select calls, such as --function")
    client = make_client(settings)
    _confirmed(
        client.purge_calls, client, filters, "delete", dry_run=dry_run, yes=yes, as_json=as_json
    )


def _filters(
    status: str | None,
    function: str | None,
    endpoint: str | None,
    since: datetime | None,
    before: datetime | None,
) -> dict[str, Any]:
    given = {
        "status": None if status is None else Status[status.upper()],
        "function": function,
        "endpoint": endpoint,
        "created_after": since,
        "created_before": before,
    }
    return {name: value for name, value in given.items() if value is not None}


def _confirmed(
    act: Callable[..., Awaitable[int]],
    client: AsyncClient,
    filters: dict[str, Any],
    verb: str,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Count calls, ask, and act on them."""
    done = {"rerun": "rerun", "delete": "deleted"}[verb]
    # What finishes while the person reads the question is not selected.
    filters = {"finished_before": datetime.now(UTC), **filters}

    async def work() -> int:
        count = await act(**filters, dry_run=True)
        if dry_run or not count:
            return count
        if not yes:
            _ask(count, verb)
        shown = bool(sys.stderr and sys.stderr.isatty())
        with contextlib.closing(Progress(shown=shown)) as line:
            return await act(
                **filters,
                expected=count,
                progress=lambda number, total: line.show(f"{number:,} of {total:,} {done}"),
            )

    count = with_client(client, work)
    if as_json:
        print_lines([json.dumps({"count": count})])
    elif not count:
        hint = "; 'dispatch-grpc cancel' ends calls that have not finished" * (verb == "delete")
        complain(f"no finished calls found{hint}", 0)
    else:
        print_lines(
            [
                f"{counted(count, 'call')} would be {done}"
                if dry_run
                else f"{done} {counted(count, 'call')}"
            ]
        )


def _ask(count: int, verb: str) -> None:
    """Ask for a confirmation; raises click.Abort without one."""
    question = f"{verb} {counted(count, 'call')}"
    if not (sys.stdin and sys.stdin.isatty()):
        raise click.UsageError(f"{question}? There is no terminal to ask on: give --yes")
    click.confirm(f"{question.capitalize()}?", abort=True, err=True)


_target_options = add_options(
    click.option("--function", metavar="NAME", help="Calls of this function."),
    click.option(
        "--host", metavar="URL", help="Calls to this host, given as the URL of an endpoint."
    ),
    click.option(
        "--all", "everything", is_flag=True, help="Everything: pause all calls, or end all pauses."
    ),
)


def _check_target(function: str | None, host: str | None, *, everything: bool) -> None:
    if everything == (function is not None or host is not None):
        raise click.UsageError("give --function, --host or both, or else --all")


@click.command(
    epilog="""\b
Examples:
  dispatch-grpc pause --function charge --reason 'the bank is down'
  dispatch-grpc pause --host https://example.com"""
)
@_target_options
@click.option("--reason", metavar="TEXT", default="", help="Why it is paused; 'pauses' shows it.")
@connection_options
@timeout_option
@json_option("Print the pause as JSON.")
def pause(
    *,
    function: str | None,
    host: str | None,
    everything: bool,
    reason: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Keep calls from starting until they are resumed.

    Calls are still recorded, and wait; they expire as if they were not paused. Running functions
    are not stopped. A pause holds for all processes of the service, and survives restarts.
    """
    _check_target(function, host, everything=everything)
    client = make_client(settings)
    found = with_client(
        client,
        lambda: client.pause(function=function, host=host, everything=everything, reason=reason),
    )
    print_lines(_pause_lines([found], "paused ", as_json=as_json))


@click.command()
@_target_options
@connection_options
@timeout_option
@json_option("Print each pause that has ended as JSON on a line.")
def resume(
    *, function: str | None, host: str | None, everything: bool, as_json: bool, **settings: Any
) -> None:
    """End a pause, or all of them."""
    _check_target(function, host, everything=everything)
    client = make_client(settings)
    found = with_client(
        client, lambda: client.resume(function=function, host=host, everything=everything)
    )
    _print_pauses(found, "resumed ", as_json=as_json)


@click.command()
@connection_options
@timeout_option
@json_option("Print each pause as JSON on a line.")
def pauses(*, as_json: bool, **settings: Any) -> None:
    """List the pauses: what is paused, since when, and why."""
    client = make_client(settings)
    _print_pauses(with_client(client, client.pauses), "", as_json=as_json)


def _print_pauses(found: Sequence[Pause], verb: str, *, as_json: bool) -> None:
    if found:
        print_lines(_pause_lines(found, verb, as_json=as_json))
    else:
        complain("nothing is paused", 0)


def _pause_lines(found: Sequence[Pause], verb: str, *, as_json: bool) -> list[str]:
    if as_json:
        return [json.dumps(fields_json(one)) for one in found]
    lines = []
    for one in found:
        of_function = f"function {one.function}" if one.function else ""
        of_host = f"host {one.host}" if one.host else ""
        name = " on ".join(filter(None, [of_function, of_host])) or "everything"
        since = one.since.astimezone().isoformat(" ", "seconds") if one.since else "unknown"
        reason = f": {one.reason}" if one.reason else ""
        lines.append(printable(f"{verb}{name} (since {since}){reason}"))
    return lines


COMMANDS: Sequence[click.Command] = (rerun, purge, pause, resume, pauses)
