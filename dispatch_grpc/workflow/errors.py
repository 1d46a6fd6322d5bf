"""Errors of workflows, and the two ways in which an exception leaves a command and comes back."""

import builtins
import traceback
from collections.abc import Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.message import DecodeError

from dispatch_grpc.codes import Status
from dispatch_grpc.errors import (
    CallError,
    DispatchError,
    EndpointError,
    MarshalError,
    UnmarshalError,
)
from dispatch_grpc.schema import CallResult, Error, Failure
from dispatch_grpc.values import marshal, unmarshal

_MAX_TEXT = 16_000
_MAX_TRACEBACK = 2_000
_MAX_ARGUMENTS = 16_000
_FAILURE_URL = "type.googleapis.com/dispatch.workflow.v1.Failure"


class WorkflowError(EndpointError):
    """A workflow did something that a workflow cannot do; the message says what to do instead."""

    status = Status.PERMANENT_ERROR


class NondeterminismError(DispatchError):
    """The code of a workflow asks for something else than it did before, at the same place.

    The service tries the call again, so that the calls in flight go on once the old code is back
    or `workflow.patched` tells the old way from the new one.
    """

    status = Status.TEMPORARY_ERROR


class JournalError(DispatchError, ValueError):
    """The state that came back is no journal that this version of the library reads."""

    status = Status.INCOMPATIBLE_STATE


class SuspendedError(BaseException):
    """A workflow that was suspended asks for something while its code is being cleaned up."""


class ContinueAsNew(BaseException):
    """Raise this to go on as a new run of the same workflow, with an empty journal.

    The call keeps its dispatch id and its expiration.

    Args:
        args: Arguments of the new run.
        kwargs: Arguments of the new run, by name.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args)
        self.kwargs = kwargs


def type_name(kind: type[BaseException]) -> str:
    """Return the name by which the type of an error is told to others."""
    if kind.__module__ in {"builtins", "__main__"}:
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def failure_of(error: BaseException) -> Failure:
    """Describe an exception for the journal."""
    failure = Failure(type=type_name(type(error)))
    if isinstance(error, CallError):
        failure.type = error.type
        failure.message, failure.status = _text(error.message), _status(error.status)
    else:
        failure.message = _text(_str(error))
        failure.status = _status(Status.of(error))
    failure.traceback = _text("".join(traceback.format_exception(error))[-_MAX_TRACEBACK:])
    try:
        arguments = marshal(list(error.args))
    except MarshalError:  # the message has to do
        return failure
    if arguments.ByteSize() <= _MAX_ARGUMENTS:
        failure.arguments.CopyFrom(arguments)
    return failure


def error_value(error: BaseException) -> bytes:
    """Encode a registered exception for `Error.value`, so that its class can be made again."""
    failure = failure_of(error)
    failure.ClearField("traceback")
    return AnyProto(type_url=_FAILURE_URL, value=failure.SerializeToString()).SerializeToString()


def failure_of_result(result: CallResult) -> Failure:
    """Describe a failed call for the journal."""
    error = result.error
    failure = _read_value(error)
    failure.type = _text(error.type) or "Error"
    failure.message = _text(error.message)
    if not failure.status:
        failure.status = _status(_status_by_type(error.type))
    failure.traceback = error.traceback.decode(errors="replace")[-_MAX_TRACEBACK:]
    if result.HasField("output"):
        failure.output.CopyFrom(result.output)
    return failure


def _read_value(error: Error) -> Failure:
    """Read what `error_value` wrote; values of other writers are left alone."""
    if _FAILURE_URL.encode() in error.value[:100]:
        try:
            return Failure.FromString(AnyProto.FromString(error.value).value)
        except DecodeError:
            pass
    return Failure()


def error_of(
    failure: Failure, registered: Mapping[str, type[Exception]], *, is_step: bool
) -> Exception:
    """Make the exception that a failure stands for.

    A registered class is raised as itself, and so is a built-in one that a step raised.
    """
    kind = registered.get(failure.type)
    if kind is None and is_step:
        found = getattr(builtins, failure.type, None)
        if isinstance(found, type) and issubclass(found, Exception):
            kind = found
    if kind is not None:
        for arguments in _arguments(failure), [failure.message]:
            if arguments is not None:
                try:
                    return kind(*arguments)
                except Exception:  # noqa: BLE001, S112  (its __init__ is the user's code)
                    continue
    output: Any = None
    if failure.HasField("output"):
        try:
            output = unmarshal(failure.output)
        except UnmarshalError:
            output = failure.output
    try:
        status = Status(failure.status)
    except ValueError:
        status = Status.PERMANENT_ERROR
    return CallError(
        failure.message,
        type=failure.type,
        status=status or Status.PERMANENT_ERROR,
        traceback=failure.traceback,
        output=output,
    )


def _arguments(failure: Failure) -> list[Any] | None:
    if not failure.HasField("arguments"):
        return None
    try:
        found = unmarshal(failure.arguments)
    except UnmarshalError:
        return None
    return found if isinstance(found, list) else None


def _status_by_type(name: str) -> Status:
    """Return the status that the type of an error tells: results of calls carry none."""
    if name in Status.__members__:
        return Status[name] or Status.PERMANENT_ERROR
    found = getattr(builtins, name, None)
    if isinstance(found, type) and issubclass(found, TimeoutError):
        return Status.TIMEOUT
    return Status.PERMANENT_ERROR


def _status(status: Status) -> Any:
    return int(status)


def _str(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (its __str__ is the user's code)
        return "(the error has no text: its __str__ fails)"


def _text(text: str) -> str:
    if len(text) > _MAX_TEXT:
        text = f"{text[: _MAX_TEXT // 2]} … {text[-_MAX_TEXT // 2 :]}"
    return text.encode(errors="backslashreplace").decode()
