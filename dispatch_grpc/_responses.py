"""How an endpoint answers: a status, and what is told of an exception."""

import logging
import traceback

from dispatch_grpc._function_proto import Error, RunResponse
from dispatch_grpc.status import Status

logger = logging.getLogger("dispatch_grpc")

_MAX_TRACEBACK_BYTES = 64 * 1024


def respond(status: Status) -> RunResponse:
    """An answer of this status."""
    return RunResponse(status=f"STATUS_{status.name}")


def failure(name: str, error: BaseException, status: Status | None = None) -> RunResponse:
    """The answer of a function that failed."""
    status = status_of(error) if status is None else status
    response = respond(status)
    response.exit.result.error.CopyFrom(describe(error))
    logger.warning("function %s failed with %s", name, status.name, exc_info=error)
    return response


def status_of(error: BaseException) -> Status:
    """The status that an error has on an endpoint; never one of success."""
    try:
        status = Status.of(error)
    except Exception:  # noqa: BLE001 (its `status` is the function's own code)
        return Status.PERMANENT_ERROR
    return Status.PERMANENT_ERROR if status in {Status.OK, Status.UNSPECIFIED} else status


def describe(error: BaseException) -> Error:
    """An error as the schema has it: its type, its message, the text of its traceback."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in {"builtins", "__main__"}:
        name = f"{kind.__module__}.{name}"
    try:
        message = str(error)
        lines = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 (its `__str__` is the function's own code)
        message, lines = "(the error has no text: its __str__ fails)", ""
    text = lines.encode(errors="backslashreplace")[-_MAX_TRACEBACK_BYTES:]
    message = message.encode(errors="backslashreplace").decode()
    return Error(type=name, message=message, traceback=text)
