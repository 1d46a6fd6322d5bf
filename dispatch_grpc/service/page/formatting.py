"""Calls, errors, values and times as the text that the page shows of them."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.message import Message

from dispatch_grpc.codes import Status
from dispatch_grpc.errors import UnmarshalError
from dispatch_grpc.schema import Attempt, CallInfo, CallState, Error
from dispatch_grpc.service.machine import was_cancelled
from dispatch_grpc.service.reads_call import Details
from dispatch_grpc.service.store_schedules import Stored
from dispatch_grpc.text import rounded, shorten
from dispatch_grpc.values import unmarshal
from dispatch_grpc.values.arguments import decode_arguments

_STATES = {1: "queued", 2: "running", 3: "waiting", 4: "finished"}

MAX_READ_BYTES = 1_000_000
"""Size up to which an input, a result or an error is read from the database."""
_MAX_SHOWN_BYTES = 100_000  # of a value: decoding a larger one would hold up the service
_MAX_SHOWN_CHARACTERS = 20_000
_MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Word:
    """A word, and the class of style that colours it."""

    text: str
    style: str


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a call, or what is shown of it."""

    text: str
    kind: str = ""
    note: str = ""


def state_of(state: int) -> Word:
    """Return the state of a call."""
    return Word(_STATES[state], _STATES[state])


CANCELLED = Word("cancelled", "cancelled")
"""In place of the status of a call that was cancelled, which did not fail."""


def status_of(number: int) -> Word:
    """Return a status, also one that is not known here."""
    try:
        status = Status(number)
    except ValueError:  # of a later version of the schema
        return Word(str(number), "failed")
    if status is Status.UNSPECIFIED:
        return Word("no run yet", "none")
    style = "ok" if status is Status.OK else "retried" if status.retryable else "failed"
    return Word(status.name, style)


def row_of(info: CallInfo, now: datetime) -> dict[str, Any]:
    """Return what the templates show of a call."""
    is_finished = info.state == CallState.CALL_STATE_FINISHED
    state, status = state_of(info.state), status_of(info.status)
    is_queued = info.state == CallState.CALL_STATE_QUEUED
    if is_queued and info.HasField("next_time") and info.next_time.ToDatetime(tzinfo=UTC) > now:
        state = Word("delayed", "delayed")
    if is_finished and was_cancelled(info.result.error):
        status = CANCELLED
    error = None
    if info.result.HasField("error"):
        error = info.result.error
    elif not is_finished and info.HasField("last_error"):
        error = info.last_error
    return {
        "id": info.dispatch_id,
        "function": _short(info.function),
        "endpoint": _short(re.sub(r"//[^/]*@", "//…@", info.endpoint)),  # without a password
        "version": _short(info.version),
        "state": state,
        "status": status,
        "word": status if is_finished else state,
        "error": "" if status is CANCELLED else first_line(error),
        "labels": [f"{key}={value}" for key, value in sorted(info.labels.items())],
        "runs": info.runs,
        "parent": info.parent_dispatch_id,
        "root": info.root_dispatch_id,
        "rerun_of": info.rerun_of_dispatch_id,
        "rerun_as": info.rerun_as_dispatch_id,
        **{
            name: getattr(info, field).ToDatetime(tzinfo=UTC) if info.HasField(field) else None
            for name, field in (
                ("created", "creation_time"),
                ("expires", "expiration_time"),
                ("next", "next_time"),
                ("finished", "finish_time"),
                ("scheduled", "scheduled_time"),
            )
        },
    }


def schedule_of(stored: Stored) -> dict[str, Any]:
    """Return what the templates show of a schedule."""
    schedule = stored.schedule
    if schedule.WhichOneof("ticks") == "cron":
        when = f"{schedule.cron} ({schedule.time_zone})"
    else:
        when = f"every {rounded(schedule.every.ToTimedelta())}"
    last, last_id = stored.recent[0] if stored.recent else (None, None)
    return {
        "name": schedule.name,
        "function": _short(schedule.call.function),
        "when": when,
        "paused": stored.paused,
        "note": _short(stored.note),
        "next": stored.next_at,
        "last": last,
        "last_id": last_id,
        "fired": stored.fired,
        "skipped": stored.skipped,
        "missed": stored.missed,
    }


def first_line(error: Error | None, most: int = _MAX_NAME_CHARACTERS) -> str:
    """Return the type and the first line of an error; empty without one."""
    if error is None:
        return ""
    message = error.message.strip().partition("\n")[0]
    return shorten(": ".join(part for part in (error.type, message) if part), most)


def attempt_of(attempt: Attempt) -> dict[str, Any]:
    """Return what the templates show of an attempt."""
    error = attempt.error if attempt.HasField("error") else None
    return {
        "run": attempt.run,
        "at": attempt.end_time.ToDatetime(tzinfo=UTC),
        "host": _short(attempt.host),
        "status": status_of(attempt.status),
        "error": first_line(error, 600),
    }


def _error_of(error: Error) -> dict[str, Any]:
    """Return what the templates show of an error."""
    return {
        "type": _short(error.type),
        "message": _cut(error.message),
        "traceback": _cut(error.traceback.decode("utf-8", "replace")),
        "value_bytes": len(error.value),
    }


def outcome_of(details: Details) -> tuple[dict[str, Any] | None, Text | None]:
    """Return the error and the output of a call; None for what it lacks."""
    info = details.info
    if details.result_bytes > MAX_READ_BYTES:
        if info.status == Status.OK.value:
            return None, _too_large(details.result_bytes)
        return _large_error(details.result_bytes), None
    result = info.result
    return (
        _error_of(result.error) if result.HasField("error") else None,
        value_of(result.output) if result.HasField("output") else None,
    )


def last_error_of(details: Details) -> dict[str, Any] | None:
    """Return the last error that did not end a call; None without one."""
    if details.last_error_bytes > MAX_READ_BYTES:
        return _large_error(details.last_error_bytes)
    return _error_of(details.info.last_error) if details.info.HasField("last_error") else None


def _large_error(size: int) -> dict[str, Any]:
    return {"type": "", "message": _too_large(size), "traceback": Text(""), "value_bytes": 0}


def _too_large(size: int, kind: str = "") -> Text:
    """Return the note about a value that is too large."""
    return Text("", kind, f"{size:,} bytes: too large to be shown here.")


def input_of(details: Details) -> Text:
    """Return the input of a call."""
    if details.input is None:
        return _too_large(details.input_bytes)
    return value_of(AnyProto.FromString(details.input), decode_arguments)


def value_of(any: AnyProto, decode: Callable[[AnyProto], Any] = unmarshal) -> Text:
    """Return a value as JSON or text, or a note where it cannot be shown."""
    kind, size = any.type_url.rpartition("/")[2], len(any.value)
    if size > _MAX_SHOWN_BYTES:
        return _too_large(size, kind)
    try:
        value = decode(any)
    except UnmarshalError:
        return Text("", kind or "no type", f"{size:,} bytes, of a type that is not known here.")
    shown = _cut(_written(value))
    return Text(shown.text, kind, shown.note)


def _written(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes: {value[:64].hex(' ')}{' …' if len(value) > 64 else ''}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if isinstance(value, Message):
        return str(value)
    if isinstance(value, str) and "\n" in value:
        return value
    # An argument of several may be of any type.
    return json.dumps(value, indent=2, ensure_ascii=False, default=_written)


def _cut(text: str) -> Text:
    if len(text) <= _MAX_SHOWN_CHARACTERS:
        return Text(text)
    note = f"The first {_MAX_SHOWN_CHARACTERS:,} of {len(text):,} characters."
    return Text(text[:_MAX_SHOWN_CHARACTERS], "", note)


def _short(text: str) -> str:
    return shorten(text, _MAX_NAME_CHARACTERS)


def utc(when: datetime) -> str:
    """Format a time."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def age(when: datetime, now: datetime) -> str:
    """Format how long ago a time was, or how far it is ahead."""
    seconds = (now - when).total_seconds()
    text = rounded(timedelta(seconds=int(abs(seconds))))
    if abs(seconds) < 1:
        return "now"
    return f"{text} ago" if seconds > 0 else f"in {text}"
