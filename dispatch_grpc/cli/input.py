"""The input of the command line: durations, times, JSON, the lines of a batch."""

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, TypeVar

import click

from dispatch_grpc import Call, InvalidCallError, MarshalError, new_call
from dispatch_grpc.text import quoted, shorten

_T = TypeVar("_T")

_DURATION = "".join(f"(?:([0-9]{{1,15}}){unit})?" for unit in ("d", "h", "m", "s", "ms", "us"))
_FIELDS = ("endpoint", "function", "input", "expiration", "version", "delay", "at", "labels")
_PROGRESS_STEP = 256 * 1024


class MistakeError(click.ClickException):
    """A mistake in the input, which `--help` would not explain."""

    exit_code = 2


def make_call(
    url: str,
    function: str,
    *,
    text: str | None,
    file: BinaryIO | None,
    expiration: timedelta | None,
    version: str,
) -> Call:
    """Make a call with the input that `input_options` gives."""
    if text is not None and file is not None:
        raise click.UsageError("--input and --input-file cannot be used together")
    input = None
    try:
        if text is not None:
            input = parse(text.encode("utf-8", "surrogateescape"))
        elif file is not None:
            input = parse(file.read())
        return new_call(url, function, input, expiration=expiration, version=version)
    except InvalidCallError:
        raise
    except ValueError as error:
        source = "--input" if file is None else f"--input-file {file.name}"
        advice = ""
        if text is not None and re.fullmatch(r"[\w .@/-]*[^\W\d][\w .@/-]*", text):
            advice = f"; as a string it is '{json.dumps(text)}', with both kinds of quotes"
        raise MistakeError(f"{source}: {error}{advice}") from error


def duration(text: str) -> timedelta:
    """Read a duration; raises click.BadParameter."""
    match = re.fullmatch(_DURATION, text)
    if not text or match is None:
        raise click.BadParameter(
            f"a duration is required: whole numbers with the units d, h, m, s, ms and us, in "
            f"this order, such as 30s, 1h30m or 250ms; got {quoted(text)}"
        )
    days, hours, minutes, seconds, milliseconds, microseconds = (
        int(number or 0) for number in match.groups()
    )
    try:
        return timedelta(days, seconds, microseconds, milliseconds, minutes, hours)
    except OverflowError as error:
        raise click.BadParameter(f"at most 999999999d is allowed; got {quoted(text)}") from error


def since(text: str) -> datetime:
    """Read a time, or a duration before now; raises click.BadParameter."""
    try:
        try:
            # A time without an offset is local.
            return datetime.fromisoformat(text).astimezone(UTC)
        except ValueError:
            return datetime.now(UTC) - duration(text)
    except (OverflowError, click.BadParameter) as error:
        raise click.BadParameter(
            f"a duration such as 1h30m, or a time such as 2026-01-31T12:00:00+01:00 is required; "
            f"got {quoted(text)}"
        ) from error


def instant(text: str) -> datetime:
    """Read a time; raises click.BadParameter."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)  # without an offset it is local
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"a time such as 2026-01-31T12:00:00+01:00 is required; got {quoted(text)}"
        ) from error


def parse(data: bytes, *, one_line: bool = False) -> Any:
    """Parse JSON (RFC 8259); raise ValueError also where Python would change or drop a value."""
    try:
        return json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason} at byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        place = (
            f"column {error.colno}" if one_line else f"line {error.lineno}, column {error.colno}"
        )
        raise ValueError(f"not valid JSON: {error.msg} ({place})") from error
    except RecursionError as error:
        raise ValueError("lists and objects are nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {quoted(key)} occurs twice in one object")
        found[key] = value
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"not valid JSON: {name} is not a JSON number")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {shorten(text)} is too large for a double")
    return number


def read_call(line: bytes) -> tuple[Call, dict[str, Any]]:
    """Make the call on a line of a batch file, with the options of `Batch.add`.

    Raises:
        ValueError: The line is invalid.
    """
    fields = parse(line.rstrip(), one_line=True)
    if not isinstance(fields, dict):
        raise InvalidCallError(f"an object is required, {{…}}; got {_given(fields)}")
    for key, value in fields.items():
        if key not in _FIELDS:
            raise InvalidCallError(f"unknown key {quoted(key)}; the keys are {', '.join(_FIELDS)}")
        if key not in {"input", "labels"} and not isinstance(value, str):
            raise InvalidCallError(f"{key}: a string is required; got {_given(value)}")
    for key in ("endpoint", "function"):
        if key not in fields:
            raise InvalidCallError(f"{key}: a value is required; the key is missing")
    try:
        call = new_call(
            fields["endpoint"],
            fields["function"],
            fields.get("input"),
            expiration=_read(fields, "expiration", duration),
            version=fields.get("version", ""),
        )
    except MarshalError as error:
        raise InvalidCallError(f"input: {error}") from error
    options = {"delay": _read(fields, "delay", duration), "at": _read(fields, "at", instant)}
    return call, {**options, "labels": fields.get("labels")}


def _read(fields: Mapping[str, str], key: str, read: Callable[[str], _T]) -> _T | None:
    """Read the text of a key, if it is there."""
    try:
        return read(fields[key]) if key in fields else None
    except click.BadParameter as error:
        raise InvalidCallError(f"{key}: {error.message}") from error


def _given(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return shorten(json.dumps(value))


class Progress:
    """A line of progress on stderr, updated in place and removed at the end."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._width = 0

    def show(self, text: str) -> None:
        """Update the line."""
        if self._shown:
            click.echo(f"\r{text.ljust(self._width)}", nl=False, err=True)
            self._width = len(text)

    def close(self) -> None:
        """Remove the line."""
        if self._width:
            click.echo(f"\r{' ' * self._width}\r", nl=False, err=True)
            self._width = 0


def lines(file: BinaryIO, progress: Progress) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that are not blank, with their numbers."""
    status = os.fstat(file.fileno())
    total = status.st_size if stat.S_ISREG(status.st_mode) else 0
    read = reported = 0
    for number, line in enumerate(file, 1):
        read += len(line)
        if read - reported >= _PROGRESS_STEP:
            reported = read
            part = f"{min(100, read * 100 // total)} %" if total else f"{read / 1e6:.1f} MB"
            progress.show(f"reading: {number:,} lines, {part}")
        if line.strip():
            yield number, line
