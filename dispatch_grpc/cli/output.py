"""The output of the command line: error lines, and calls and outputs, as text or as JSON."""

import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from dispatch_grpc import CallError, CallInfo, CallState, DispatchError, Status
from dispatch_grpc.calls import mask_url, mask_urls
from dispatch_grpc.client.as_json import error_json, output_json, value_json
from dispatch_grpc.log import service_logger

if TYPE_CHECKING:
    from dispatch_grpc.schema import Error

_LEAST_COLUMNS, _PLAIN_COLUMNS, _LEAST_ENDPOINT = 80, 120, 10
_DAY = 24 * 3600
_UNITS = (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 2 * _DAY), ("d", _DAY, math.inf))

JSON_LOG = "dispatch-grpc-json"
"""The name of the handler that logs JSON."""

# Errors of the library name Python arguments; the command line has these options instead.
_OPTIONS = {
    "pass api_key=": "pass --api-key",
    "from api_key=": "from --api-key",
    "from api_url=": "from --api-url",
    "allow_plaintext=True": "--allow-plaintext",
    "by max_message_bytes=": "by --max-request-bytes",
    "pass root_certificates,": "pass --cacert,",
    "root_certificates: not": "--cacert: not",
    "credentials: root_certificates must be bytes": "--cacert must be a file",
    "credentials: certificate_chain must be bytes": "--cert must be a file",
    "credentials: private_key must be bytes": "--key must be a file",
    "got bytes without a '-----BEGIN'": "it has no '-----BEGIN'",
    "credentials: certificate_chain and private_key go together; got one of them": "--key needs "
    "the certificate of --cert, too",
    "credentials: not usable certificates:": "--cacert, --cert or --key is not usable:",
    "pass certificate_chain and private_key": "pass --cert and --key",
    "pass protocol='connect'": "pass --protocol connect",
    "idempotency_key:": "--idempotency-key:",
    "pass api_url=": "pass --api-url",
    "certfile and keyfile go": "--certfile and --keyfile go",
    "give a certificate,": "give --certfile and --keyfile,",
}


def complain(text: str, code: int) -> int:
    """Print an error as one line on stderr, without secrets or control characters.

    It is a line of the log where that is JSON.
    """
    text = one_line(text)
    if any(handler.name == JSON_LOG for handler in logging.getLogger().handlers):
        service_logger.error("%s", text)
    else:
        click.echo(f"dispatch-grpc: {text}", err=True)
    return code


def one_line(text: str) -> str:
    """Return a message of the library as a line, with the options of the command line."""
    text = mask_urls(text)
    for argument, option in _OPTIONS.items():
        text = text.replace(argument, option)
    return printable(text)


def print_lines(lines: Sequence[str]) -> None:
    """Print lines to stdout in one write."""
    try:
        click.echo("\n".join(lines))
    except OSError as error:
        # Python would try again when it exits, and print an error of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(141) from error
        raise click.ClickException(f"done, but the output could not be written: {error}") from error


def printable(text: str) -> str:
    """Replace line breaks and control characters by spaces."""
    return "".join(c if c.isprintable() else " " for c in text)


# As JSON


def failure_json(id: str, error: DispatchError) -> dict[str, Any]:
    """Return as JSON why there is no output of a call, with the partial output of a failed one."""
    if not isinstance(error, CallError):  # its outcome is unknown
        found = {"type": type(error).__name__, "message": str(error)}
        return {"dispatch_id": id, "status": None, "error": found}
    partial = {} if error.output is None else {"output": value_json(error.output)}
    return {
        "dispatch_id": id,
        "status": error.status.name,
        "error": error_json(error),
        **partial,
    }


def readable(value: Any) -> str:
    """Format JSON for a terminal: with letters of all languages, but no control characters."""
    text = json.dumps(value, ensure_ascii=False)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # the terminal's encoding lacks a letter, or a lone surrogate
        text = json.dumps(value)
    return text


# For a person


def details(call: CallInfo) -> list[str]:
    """Format a call: a line for each field that is set."""
    root = call.root_dispatch_id
    result, now = call.message.result, datetime.now(UTC)
    fields = [
        ("id", call.dispatch_id),
        ("root", "" if root == call.dispatch_id else root),
        ("parent", call.parent_dispatch_id),
        ("endpoint", mask_url(call.endpoint)),
        ("function", call.function),
        ("version", call.version),
        ("state", call.state),
        ("status", call.status.name if call.status else ""),
        ("runs", str(call.runs)),
        ("labels", ", ".join(f"{key}={value}" for key, value in sorted(call.labels.items()))),
        ("created", time_text(call.creation_time, now)),
        ("start", time_text(call.start_time, now)),
        ("expires", time_text(call.expiration_time, now)),
        ("next run", time_text(call.next_time, now)),
        ("finished", time_text(call.finish_time, now)),
        ("schedule", call.schedule or ""),
        ("scheduled", time_text(call.scheduled_time, now)),
        ("rerun of", call.rerun_of or ""),
        ("rerun as", call.rerun_as or ""),
        ("trace", call.trace_id or ""),
        ("output", readable(output_json(result.output)) if result.HasField("output") else ""),
    ]
    tracebacks: list[str] = []
    for name, error in (("error", result.error), ("last error", call.message.last_error)):
        if error.ListFields():
            fields.append((name, f"{error.type}: {error.message}"))
            tracebacks += _traceback(name, error)
    width = max(len(name) for name, text in fields if text) + 2
    lines = []
    for name, text in fields:
        if text:
            shown = printable(text)
            colour = colour_of(call) if name in {"state", "status"} else None
            lines.append(f"{name.ljust(width)}{click.style(shown, colour) if colour else shown}")
    return lines + tracebacks


def _traceback(name: str, error: "Error") -> list[str]:
    lines = error.traceback.decode(errors="replace").rstrip().splitlines()
    heading = [f"traceback of the {name}:"] if lines else []
    return heading + [f"  {printable(line)}" for line in lines]


def table(calls: Sequence[CallInfo]) -> list[str]:
    """Format calls as a table that fits the terminal."""
    now = datetime.now(UTC)
    rows = [["ID", "STATE", "AGE", "FUNCTION", "ENDPOINT"]]
    for call in calls:
        finished = call.state is CallState.FINISHED
        state = call.status.name.lower() if finished else str(call.state)
        age = relative(min(call.creation_time or now, now), now)
        cells = [call.dispatch_id, state, age, call.function, mask_url(call.endpoint)]
        rows.append([printable(cell) for cell in cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    columns = max(shutil.get_terminal_size((_PLAIN_COLUMNS, 24)).columns, _LEAST_COLUMNS)
    room = columns - sum(widths[:3]) - 2 * 4
    # The endpoint is shortened first, then the function; if there is no room, it is left out.
    widths[4] = min(widths[4], max(room - widths[3], _LEAST_ENDPOINT))
    widths[3] = min(widths[3], max(room - widths[4], len("FUNCTION")))
    if sum(widths[3:]) > room:
        widths[3:] = [room + 2]
    lines = []
    for row, colour in zip(rows, [None, *map(colour_of, calls)], strict=True):
        cells = [_shortened(text, size).ljust(size) for text, size in zip(row, widths)]  # noqa: B905
        cells[1] = click.style(cells[1], colour)
        lines.append("  ".join(cells).rstrip())
    return lines


def _shortened(text: str, width: int) -> str:
    """Replace the middle of a text by an ellipsis if it is longer than the width."""
    if len(text) <= width:
        return text
    begin = width // 2
    return f"{text[:begin]}…{text[len(text) - (width - begin - 1) :]}"


def colour_of(call: CallInfo) -> str:
    """Return the colour for the state of a call."""
    if call.state is CallState.FINISHED:
        return "green" if call.status is Status.OK else "red"
    if call.last_error:
        return "yellow"
    return "blue" if call.state is CallState.RUNNING else "cyan"


def time_text(time: datetime | None, now: datetime) -> str:
    """Format a time in the local time zone; an unset one is empty."""
    if time is None:
        return ""
    return f"{time.astimezone().isoformat(' ', 'milliseconds')} ({relative(time, now)})"


def relative(time: datetime, now: datetime) -> str:
    """Format a time relative to now, such as "5 min ago" or "in 2 h"."""
    seconds = abs((now - time).total_seconds())
    if seconds < 1:
        return "now"
    unit, size = next((unit, size) for unit, size, bound in _UNITS if seconds < bound)
    text = f"{int(seconds // size)} {unit}"
    return f"{text} ago" if time < now else f"in {text}"
