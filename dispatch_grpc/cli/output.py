"""What the command line prints: complaints, and calls and outputs, as JSON or for a person."""

import base64
import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc import CallError, Status, UnmarshalError, unmarshal

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    from dispatch_grpc.schema import CallInfo, Error

_LEAST_COLUMNS, _PLAIN_COLUMNS, _LEAST_ENDPOINT = 80, 120, 10
_DAY = 24 * 3600
_UNITS = (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 2 * _DAY), ("d", _DAY, math.inf))

# What errors of the library name as arguments of Python, a person here knows as options.
_OPTIONS = {
    "pass api_key=": "pass --api-key",
    "from api_key=": "from --api-key",
    "from api_url=": "from --api-url",
    "allow_plaintext=True": "--allow-plaintext",
    "by max_message_bytes=": "by --max-request-bytes",
    "pass root_certificates,": "pass --cacert,",
    "pass certificate_chain and private_key": "pass --cert and --key",
    "pass protocol='connect'": "pass --protocol connect",
    "idempotency_key:": "--idempotency-key:",
    "certfile and keyfile go": "--certfile and --keyfile go",
    "give a certificate,": "give --certfile and --keyfile,",
}


def complain(text: str, code: int) -> int:
    """Say in one line what is wrong; what a service answered may hold any characters."""
    for argument, option in _OPTIONS.items():
        text = text.replace(argument, option)
    click.echo(f"dispatch-grpc: {_printable(text)}", err=True)
    return code


def print_lines(lines: Sequence[str]) -> None:
    """Write lines to stdout, at once."""
    try:
        click.echo("\n".join(lines))
    except OSError as error:
        # Python would try to write once more at its exit, and complain in its own way.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(141) from error
        raise click.ClickException(f"done, but the output cannot be written: {error}") from error


def _printable(text: str) -> str:
    """A text on one line, in which nothing commands a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


# As JSON


def error_json(error: CallError) -> dict[str, Any]:
    """How a call has failed, and what it returned nevertheless."""
    found: dict[str, Any] = {"type": error.type, "message": error.message}
    if error.traceback:
        found["traceback"] = error.traceback
    partial = {} if error.output is None else {"output": _plain(error.output)}
    return {"status": error.status.name, "error": found, **partial}


def output_json(output: AnyProto | None) -> Any:
    """The natural value of an output, as JSON has it."""
    if output is None:
        return None
    try:
        return _plain(unmarshal(output))
    except UnmarshalError:  # its type is not known here
        return _unknown(output)


def _plain(value: Any) -> Any:
    """A natural value as JSON has it; numbers that JSON does not have as protobuf's JSON does."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes | timedelta):
        from dispatch_grpc.values.models import to_text

        return to_text(value)
    if isinstance(value, AnyProto):
        return _unknown(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    any = AnyProto()
    any.Pack(value)
    found = _message_json(value)
    return _unknown(any) if found is None else found


def _message_json(message: "Message") -> dict[str, Any] | None:
    """A message as JSON; None when that takes the definition of a type that is not known here."""
    from google.protobuf.json_format import Error, MessageToDict
    from google.protobuf.message import DecodeError

    from dispatch_grpc.schema import load_all

    load_all()
    try:
        return MessageToDict(message)
    except (Error, DecodeError, TypeError, ValueError):
        return None


def _unknown(any: AnyProto) -> dict[str, str]:
    return {"@type": any.type_url, "value": base64.b64encode(any.value).decode()}


def call_json(call: "CallInfo") -> dict[str, Any]:
    """A call by the names of protobuf's JSON, whatever its output is."""
    found = _message_json(call)
    if found is None:
        rest = type(call)()
        rest.CopyFrom(call)
        rest.result.ClearField("output")
        found = _message_json(rest) or {}
        found.setdefault("result", {})["output"] = _unknown(call.result.output)
    return found


def readable(value: Any) -> str:
    """JSON for a person: letters of all languages, but nothing that commands a terminal."""
    text = json.dumps(value, ensure_ascii=False)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # of this terminal, or a lone surrogate
        text = json.dumps(value)
    return text


# For a person


def details(call: "CallInfo") -> list[str]:
    """Every field of a call that is set, on a line of its own."""
    now = datetime.now(UTC)
    fields: list[tuple[str, str]] = [("id", call.dispatch_id)]
    if call.root_dispatch_id not in {"", call.dispatch_id}:
        fields.append(("root", call.root_dispatch_id))
    fields += [
        ("parent", call.parent_dispatch_id),
        ("endpoint", call.endpoint),
        ("function", call.function),
        ("version", call.version),
        ("state", _state(call)),
        ("status", _status(call)),
        ("runs", str(call.runs)),
    ]
    for name, key in (
        ("created", "creation_time"),
        ("expires", "expiration_time"),
        ("next run", "next_time"),
        ("finished", "finish_time"),
    ):
        if call.HasField(key):
            time = _time(getattr(call, key))
            local = time.astimezone().isoformat(" ", "milliseconds")
            fields.append((name, f"{local} ({_relative(time, now)})"))
    if call.result.HasField("output"):
        fields.append(("output", readable(output_json(call.result.output))))
    tracebacks: list[str] = []
    for name, error in (("error", call.result.error), ("last error", call.last_error)):
        if error.ListFields():
            fields.append((name, f"{error.type}: {error.message}"))
            tracebacks += _traceback(name, error)
    width = max(len(name) for name, _ in fields) + 2
    lines = [
        f"{name.ljust(width)}{_coloured(_printable(text), call, name)}"
        for name, text in fields
        if text
    ]
    return lines + tracebacks


def _coloured(text: str, call: "CallInfo", name: str) -> str:
    return click.style(text, _colour(call)) if name in {"state", "status"} else text


def _traceback(name: str, error: "Error") -> list[str]:
    lines = error.traceback.decode(errors="replace").rstrip().splitlines()
    return [f"traceback of the {name}:", *(f"  {_printable(line)}" for line in lines)][
        : len(lines) and None
    ]


def table(calls: Sequence["CallInfo"]) -> list[str]:
    """Calls in columns that fit the terminal."""
    now = datetime.now(UTC)
    rows = [["ID", "STATE", "AGE", "FUNCTION", "ENDPOINT"]]
    for call in calls:
        state = _status(call).lower() if _state(call) == "finished" else _state(call)
        age = _relative(min(_time(call.creation_time), now), now)
        cells = [call.dispatch_id, state, age, call.function, call.endpoint]
        rows.append([_printable(cell) for cell in cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    columns = max(shutil.get_terminal_size((_PLAIN_COLUMNS, 24)).columns, _LEAST_COLUMNS)
    room = columns - sum(widths[:3]) - 2 * 4
    # The endpoint is shortened first, then the function; too short, it is left out.
    widths[4] = min(widths[4], max(room - widths[3], _LEAST_ENDPOINT))
    widths[3] = min(widths[3], max(room - widths[4], len("FUNCTION")))
    if sum(widths[3:]) > room:
        widths[3:] = [room + 2]
    lines = []
    for row, colour in zip(rows, [None, *map(_colour, calls)], strict=True):
        cells = [_shortened(text, size).ljust(size) for text, size in zip(row, widths)]  # noqa: B905
        cells[1] = click.style(cells[1], colour)
        lines.append("  ".join(cells).rstrip())
    return lines


def _shortened(text: str, width: int) -> str:
    """A text without its middle, if it is longer than that."""
    if len(text) <= width:
        return text
    begin = width // 2
    return f"{text[:begin]}…{text[len(text) - (width - begin - 1) :]}"


def _state(call: "CallInfo") -> str:
    from dispatch_grpc.schema import CallState

    try:
        return CallState.Name(call.state).removeprefix("CALL_STATE_").lower()
    except ValueError:  # of a later version of the schema
        return str(int(call.state))


def _status(call: "CallInfo") -> str:
    if int(call.status) == Status.UNSPECIFIED:
        return ""
    try:
        return Status(call.status).name
    except ValueError:
        return str(int(call.status))


def _colour(call: "CallInfo") -> str:
    state = _state(call)
    if state == "finished":
        return "green" if int(call.status) == Status.OK else "red"
    if call.HasField("last_error"):
        return "yellow"
    return "blue" if state == "running" else "cyan"


def _time(timestamp: "Timestamp") -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)


def _relative(time: datetime, now: datetime) -> str:
    """How long ago a time is, or in how long."""
    seconds = abs((now - time).total_seconds())
    if seconds < 1:
        return "now"
    unit, size = next((unit, size) for unit, size, bound in _UNITS if seconds < bound)
    text = f"{int(seconds // size)} {unit}"
    return f"{text} ago" if time < now else f"in {text}"
