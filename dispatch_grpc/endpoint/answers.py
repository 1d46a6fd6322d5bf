"""How an endpoint answers: a status, and what is told of an exception."""

import traceback
from types import TracebackType

from dispatch_grpc.calls import problem_of
from dispatch_grpc.codes import Status
from dispatch_grpc.log import logger
from dispatch_grpc.schema import Error, Poll, RunResponse
from dispatch_grpc.values import DURATION_MAX_SECONDS

MAX_RESULTS = 1000
"""Largest number of results that a Poll may ask for."""

_MAX_TEXT_BYTES = 64 * 1024
_STATUSES = frozenset(int(status) for status in Status if status)


def respond(status: Status) -> RunResponse:
    """An answer of this status."""
    return RunResponse(status=f"STATUS_{status.name}")


def failure(name: str, error: BaseException, status: Status | None = None) -> RunResponse:
    """The answer of a function that raised an error; its status is that of the error."""
    status = status_of(error) if status is None else status
    response = respond(status)
    response.exit.result.error.CopyFrom(describe(error))
    logger.warning("function %s failed with %s", name, status.name, exc_info=_own(error))
    return response


def refusal(name: str, error: Exception, status: Status) -> RunResponse:
    """The answer when it is not the function that fails: what came in, or what it returned."""
    response = respond(status)
    response.exit.result.error.type = _type(error)
    response.exit.result.error.message = _utf8(str(error)).decode()
    logger.warning("function %s failed with %s: %s", name, status.name, error)
    return response


def status_of(error: BaseException) -> Status:
    """The status that an error has on an endpoint; never one of success."""
    try:
        status = Status.of(error)
    except BaseException:  # noqa: BLE001 (its `status` is the function's own code)
        return Status.PERMANENT_ERROR
    return Status.PERMANENT_ERROR if status in {Status.OK, Status.UNSPECIFIED} else status


def describe(error: BaseException) -> Error:
    """An error as the schema has it: its type, its message, the text of its traceback."""
    try:
        message = str(error)
    except BaseException:  # noqa: BLE001 (its `__str__` is the function's own code)
        message = "(the error has no text: its __str__ fails)"
    try:
        lines = "".join(traceback.format_exception(*_own(error)))
    except BaseException:  # noqa: BLE001 (its fields are the function's own)
        lines = ""
    return Error(type=_type(error), message=_utf8(message).decode(), traceback=_utf8(lines))


def _utf8(text: str) -> bytes:
    """A text as UTF-8, without its middle if it is long."""
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
    """An error with the traceback from where it is the function's own, without our frames."""
    frames = error.__traceback__
    while frames and frames.tb_frame.f_globals.get("__name__", "").startswith("dispatch_grpc."):
        frames = frames.tb_next
    return type(error), error, frames


def problem_of_response(response: RunResponse) -> str | None:
    """What is wrong with the answer of a function (rules: `exit.proto`, `poll.proto`)."""
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
