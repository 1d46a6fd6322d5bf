"""The commands for schedules: `dispatch-grpc schedules create`, `list`, `get` and others."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from dispatch_grpc import AsyncClient, ScheduleInfo
from dispatch_grpc.calls import mask_url
from dispatch_grpc.cli.connection import (
    connection_options,
    make_client,
    timeout_option,
    with_client,
)
from dispatch_grpc.cli.input import make_call
from dispatch_grpc.cli.options import (
    add_options,
    duration_option,
    input_options,
    json_option,
    time_option,
)
from dispatch_grpc.cli.output import complain, print_lines, printable, relative, time_text
from dispatch_grpc.text import rounded

_MAX_DAYS = 366

_tick_options = add_options(
    click.option(
        "--cron",
        metavar="EXPRESSION",
        help="Five fields: minute, hour, day of the month, month, day of the week; or @daily, "
        "@hourly, @weekly, @monthly, @yearly.",
    ),
    click.option(
        "--time-zone",
        metavar="NAME",
        help="Time zone of the expression, such as Europe/Berlin (default: UTC).",
    ),
    duration_option(
        "--every",
        "Time between two ticks, instead of --cron: at least 1s.",
        max_days=_MAX_DAYS,
    ),
    time_option(
        "--start",
        "First tick of --every (ISO 8601; default: 1970-01-01T00:00:00Z, so that 1h means "
        "each full hour in UTC).",
    ),
    click.option(
        "--overlap",
        type=click.Choice(["skip", "buffer_one", "allow"]),
        metavar="RULE",
        help="What happens at a tick while an earlier call has not finished: skip, buffer_one "
        "or allow (default: skip).",
    ),
    duration_option(
        "--catch-up",
        "How late a tick may be fired after an outage, at least 10s (default: 1d).",
        max_days=_MAX_DAYS,
    ),
)
_call_options = add_options(
    input_options,
    duration_option("--expiration", "Time limit for each call (default: set by the service)."),
    click.option(
        "--version", default="", help="Version of the application that the calls are meant for."
    ),
)
_connection = add_options(
    connection_options,
    timeout_option,
    json_option("Print JSON."),
)


@click.group()
def schedules() -> None:
    """Dispatch calls on a schedule.

    A schedule has a name, a call, and a cron expression or an interval. The service dispatches
    the call once at each tick, whatever is restarted. A DURATION is written like 30s, 5m, 1h30m,
    250ms or 2d.
    """


@schedules.command(
    epilog="""\b
Examples:
  dispatch-grpc schedules create nightly https://example.com report \\
      --cron '0 3 * * *' --time-zone Europe/Berlin
  dispatch-grpc schedules create sync https://example.com sync --every 5m"""
)
@click.argument("name")
@click.argument("url")
@click.argument("function")
@_tick_options
@_call_options
@_connection
def create(*, name: str, url: str, function: str, **options: Any) -> None:
    """Create a schedule that calls FUNCTION at the endpoint URL.

    Creating the same schedule again changes nothing.
    """
    if (options["cron"] is None) == (options["every"] is None):
        raise click.UsageError("one of --cron and --every is required, and not both")
    call = make_call(url, function, **_popped(options, _CALL))
    _one(options, lambda client: client.schedules.create(name, call, **_popped(options, _TICKS)))


@schedules.command()
@click.argument("name")
@click.option("--endpoint", metavar="URL", help="Endpoint of the call, with --function.")
@click.option("--function", metavar="NAME", help="Function of the call, with --endpoint.")
@_tick_options
@_call_options
@_connection
def update(*, name: str, endpoint: str | None, function: str | None, **options: Any) -> None:
    """Change a schedule from its next tick on. What is not given stays as it is.

    A new call needs --endpoint and --function, and has the --input that is given with them.
    """
    if options["cron"] is not None and options["every"] is not None:
        raise click.UsageError("--cron and --every cannot be used together")
    call = None
    if endpoint is not None and function is not None:
        call = make_call(endpoint, function, **_popped(options, _CALL))
    elif endpoint or function or any(_popped(options, _CALL).values()):
        raise click.UsageError(
            "--endpoint, --function, --input, --input-file, --expiration and --version are for a "
            "new call, which needs both --endpoint and --function"
        )
    _one(
        options, lambda client: client.schedules.update(name, call=call, **_popped(options, _TICKS))
    )


@schedules.command("list")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Print at most N schedules.")
@_connection
def list_(*, limit: int | None, as_json: bool, **settings: Any) -> None:
    """Print schedules by their names."""
    client = make_client(settings)
    found = with_client(client, lambda: client.schedules.list(limit=limit))
    if not found:
        complain("no schedules found", 0)
    else:
        print_lines([json.dumps(one.to_dict()) for one in found] if as_json else _table(found))


@schedules.command()
@click.argument("name")
@_connection
def get(*, name: str, **options: Any) -> None:
    """Print a schedule: its next ticks and its last firings.

    The numbers of skipped and missed ticks follow if there are any.
    """
    _one(options, lambda client: client.schedules.get(name))


@schedules.command()
@click.argument("name")
@click.option("--note", default="", metavar="TEXT", help="Why it is paused.")
@_connection
def pause(*, name: str, note: str, **options: Any) -> None:
    """Keep a schedule from firing. Its calls are not affected."""
    _one(options, lambda client: client.schedules.pause(name, note=note))


@schedules.command()
@click.argument("name")
@_connection
def resume(*, name: str, **options: Any) -> None:
    """Let a paused schedule fire again, from its next tick on."""
    _one(options, lambda client: client.schedules.resume(name))


@schedules.command()
@click.argument("name")
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="The service fires the schedule once for the same key (default: a new key).",
)
@connection_options
@timeout_option
@json_option('Print {"dispatch_id": …}.')
def trigger(*, name: str, idempotency_key: str | None, as_json: bool, **settings: Any) -> None:
    """Fire a schedule now, and print the id of the call. Its ticks stay as they are."""
    client = make_client(settings)
    id = with_client(
        client, lambda: client.schedules.trigger(name, idempotency_key=idempotency_key)
    )
    print_lines([json.dumps({"dispatch_id": id}) if as_json else id])


@schedules.command()
@click.argument("name")
@connection_options
@timeout_option
@json_option('Print {"deleted": NAME}.')
def delete(*, name: str, as_json: bool, **settings: Any) -> None:
    """Delete a schedule. Its calls are not affected."""
    client = make_client(settings)
    with_client(client, lambda: client.schedules.delete(name))
    print_lines([json.dumps({"deleted": name}) if as_json else f"deleted {printable(name)}"])


# Input


_CALL = ("text", "file", "expiration", "version")
_TICKS = ("cron", "time_zone", "every", "start", "overlap", "catch_up")


def _popped(options: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return some of the options, and remove them."""
    return {name: options.pop(name) for name in names}


# Output


def _one(options: dict[str, Any], act: Callable[[AsyncClient], Awaitable[ScheduleInfo]]) -> None:
    """Do something with a schedule, and print it."""
    names = ("api_key", "api_url", "protocol", "allow_plaintext", "cacert", "cert", "key")
    client = make_client({name: options[name] for name in (*names, "timeout")})
    as_json = options["as_json"]
    found = with_client(client, lambda: act(client))
    print_lines([json.dumps(found.to_dict())] if as_json else _details(found))


def _when(info: ScheduleInfo) -> str:
    if info.every is not None:
        return f"every {rounded(info.every)}"
    return f"{info.cron} ({info.time_zone})"


def _details(info: ScheduleInfo) -> list[str]:
    """Format a schedule: a line for each field that is set."""
    now = datetime.now(UTC)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    fields = [
        ("name", info.name),
        ("endpoint", mask_url(info.call.endpoint)),
        ("function", info.call.function),
        ("when", _when(info)),
        ("start", time_text(info.start, now) if info.start != epoch else ""),
        ("overlap", str(info.overlap)),
        ("catch up", rounded(info.catch_up)),
        ("paused", (info.note or "yes") if info.paused else ""),
        ("created", time_text(info.creation_time, now)),
        *(("next", time_text(time, now)) for time in info.next_times),
        ("buffered", time_text(info.buffered_time, now)),
        ("fired", f"{info.fired:,}"),
        ("skipped", f"{info.skipped:,}" if info.skipped else ""),
        ("missed", f"{info.missed:,}" if info.missed else ""),
        *(
            ("firing", f"{firing.dispatch_id}  {time_text(firing.scheduled_time, now)}")
            for firing in info.firings
        ),
    ]
    return [f"{name:10}{printable(text)}" for name, text in fields if text]


def _table(found: Sequence[ScheduleInfo]) -> list[str]:
    """Format schedules as a table."""
    now = datetime.now(UTC)
    rows = [("NAME", "NEXT", "LAST", "FUNCTION", "WHEN")]
    for info in found:
        following = "paused" if info.paused else "never"
        if info.next_times:
            following = relative(info.next_times[0], now)
        last = info.firings[0].scheduled_time if info.firings else None
        ago = "-" if last is None else relative(last, now)
        rows.append((info.name, following, ago, info.call.function, _when(info)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
