"""The answers of an endpoint: their statuses, and descriptions of exceptions."""

import traceback
from types import TracebackType

from dispatch_grpc.calls import problem_of
from dispatch_grpc.codes import Status
from dispatch_grpc.log import logger
from dispatch_grpc.schema import Error, Poll, RunResponse
from dispatch_grpc.text import shorten
from dispatch_grpc.values import DURATION_MAX_SECONDS

MAX_RESULTS = 1000
"""Largest number of results that a Poll may ask for."""

_MAX_TEXT_BYTES = 64 * 1024
_MAX_MEMBERS, _MAX_MEMBER_CHARACTERS = 10, 200
_STATUSES = frozenset(int(status) for status in Status if status)


def respond(status: Status) -> RunResponse:
    """Return an empty answer of this status."""
    return RunResponse(status=f"STATUS_{status.name}")


def failure(name: str, error: BaseException, status: Status | None = None) -> RunResponse:
    """Return the answer of a function that raised an exception, and log its traceback.

    Args:
        name: Name of the function.
        error: The exception.
        status: Status of the answer; else `status_of` the exception.
    """
    status = status_of(error) if status is None else status
    response = respond(status)
    response.exit.result.error.CopyFrom(describe(error))
    logger.warning("function %s failed with %s", name, status.name, exc_info=_own(error))
    return response


def refusal(name: str, error: Exception, status: Status) -> RunResponse:
    """Return the answer to an unusable input or result, where a traceback would not help."""
    response = respond(status)
    response.exit.result.error.type = _type(error)
    response.exit.result.error.message = _utf8(str(error)).decode()
    logger.warning("function %s failed with %s: %s", name, status.name, error)
    return response


def status_of(error: BaseException) -> Status:
    """Return the status of an exception on an endpoint, never OK or UNSPECIFIED."""
    try:
        status = Status.of(error)
    except BaseException:  # noqa: BLE001 (its `status` may be a property that fails)
        return Status.TEMPORARY_ERROR
    return Status.TEMPORARY_ERROR if status in {Status.OK, Status.UNSPECIFIED} else status


def describe(error: BaseException) -> Error:
    """Return an exception as the schema's Error: its type, message and traceback.

    The message of a group lists the types and messages of its members, up to ten.
    """
    message = _text(error)
    if isinstance(error, BaseExceptionGroup):
        try:
            message = f"{message}: {_members(error)}"
        except BaseException:  # noqa: BLE001 (nested too deep, say)
            message = f"{message}: (its members cannot be listed)"
    try:
        lines = "".join(traceback.format_exception(*_own(error)))
    except BaseException:  # noqa: BLE001 (its fields are the function's own)
        lines = ""
    return Error(type=_type(error), message=_utf8(message).decode(), traceback=_utf8(lines))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 (its `__str__` is the function's own code)
        return "(the error has no message: its __str__ fails)"


def _members(group: BaseExceptionGroup[BaseException]) -> str:
    """List the exceptions in a group and in the groups inside it."""
    found: list[BaseException] = []
    groups: list[BaseException] = [group]
    while groups:
        for member in groups.pop(0).exceptions:  # type: ignore[attr-defined]
            (groups if isinstance(member, BaseExceptionGroup) else found).append(member)
    texts = []
    for member in found[:_MAX_MEMBERS]:
        text = shorten(_text(member), _MAX_MEMBER_CHARACTERS)
        texts.append(f"{_type(member)}: {text}" if text else _type(member))
    if len(found) > _MAX_MEMBERS:
        texts.append(f"and {len(found) - _MAX_MEMBERS} more")
    return "; ".join(texts)


def _utf8(text: str) -> bytes:
    """Encode a text; the middle of a long one is left out."""
    data = text.encode(errors="backslashreplace")
    if len(data) <= _MAX_TEXT_BYTES:
        return data
    half = _MAX_TEXT_BYTES // 2 - 20
    ends = (part.decode(errors="ignore") for part in (data[:half], data[-half:]))
    return "\n… (cut here) …\n".join(ends).encode()


def _type(error: BaseException) -> str:
    kind = type(error)
    if kind.__module__ in {"builtins", "__main__"}:
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _own(
    error: BaseException,
) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return an exception with the frames of its traceback that belong to the function."""
    frames = error.__traceback__
    while frames and frames.tb_frame.f_globals.get("__name__", "").startswith("dispatch_grpc."):
        frames = frames.tb_next
    return type(error), error, frames


def problem_of_response(response: RunResponse) -> str | None:
    """Return the rule of `exit.proto` or `poll.proto` that an answer breaks, or None."""
    if response.status not in _STATUSES:
        return f"status: one is required; got {response.status or 'none'}"
    if response.HasField("poll"):
        return _problem_of_poll(response.poll)
    if response.exit.HasField("tail_call"):
        problem = problem_of(response.exit.tail_call, nested=True)
        return f"tail_call{problem}" if problem else None
    return None


def _problem_of_poll(poll: Poll) -> str | None:
    for name in ("min_results", "max_results"):
        value = getattr(poll, name)
        if not 1 <= value <= MAX_RESULTS:
            return f"{name}: an int from 1 to {MAX_RESULTS} is required; got {value}"
    if poll.min_results > poll.max_results:
        return (
            f"max_results: min_results ({poll.min_results}) or more is required; "
            f"got {poll.max_results}"
        )
    wait = poll.max_wait
    if not (1 <= wait.seconds <= DURATION_MAX_SECONDS and 0 <= wait.nanos < 1_000_000_000):
        return (
            f"max_wait: a duration of 1 second or more is required; "
            f"got seconds={wait.seconds}, nanos={wait.nanos}"
        )
    for index, call in enumerate(poll.calls):
        if problem := problem_of(call, nested=True):
            return f"calls[{index}]{problem}"
    return None
