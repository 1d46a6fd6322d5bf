"""What a workflow waits for, and how results become outcomes of the journal, and its values."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc.errors import MarshalError
from dispatch_grpc.schema import CallResult, JournalEntry
from dispatch_grpc.values import encode, unmarshal
from dispatch_grpc.workflow import commands
from dispatch_grpc.workflow.errors import error_of, failure_of, failure_of_result


@dataclass(frozen=True, slots=True)
class Step:
    """A function that is to be run in this process."""

    id: int
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(slots=True)
class Waiting:
    """A command that has not ended."""

    future: asyncio.Future[Any]
    wanted: Any
    kind: int
    errors: Mapping[str, type[Exception]]
    task: asyncio.Task[Any] | None

    def end(self, entry: JournalEntry, registered: Mapping[str, type[Exception]]) -> None:
        """Give the outcome to the code of the workflow.

        Args:
            entry: The entry of the journal that holds the outcome.
            registered: Classes of exceptions to make again, by their names.
        """
        outcome = entry.outcome
        if outcome.HasField("failure"):
            errors = {**registered, **self.errors} if self.errors else registered
            is_step = self.kind == commands.STEP
            self.future.set_exception(error_of(outcome.failure, errors, is_step=is_step))
            return
        try:
            self.future.set_result(_decode(outcome.output, self.wanted))
        except Exception as error:  # noqa: BLE001  (types may decode themselves)
            self.future.set_exception(error)


def set_result(entry: JournalEntry, result: CallResult) -> None:
    """Fill an entry with the result of a call."""
    if result.HasField("error"):
        entry.outcome.failure.CopyFrom(failure_of_result(result))
    else:
        entry.outcome.output.CopyFrom(result.output)


def set_returned(entry: JournalEntry, result: Any, error: BaseException | None) -> None:
    """Fill an entry with what a step returned, or the exception that it raised."""
    if error is None:
        try:
            output = entry.outcome.output
            output.type_url, output.value = _encode(result)
        except MarshalError as problem:
            error = MarshalError(f"the result of a step: {problem}")
    if error is not None:
        entry.outcome.failure.CopyFrom(failure_of(error))


def _encode(value: Any) -> tuple[str, bytes]:
    return (value.type_url, value.value) if isinstance(value, AnyProto) else encode(value)


def _decode(value: AnyProto, wanted: Any) -> Any:
    if not value.type_url:
        return None
    return unmarshal(value) if wanted is None or wanted is Any else unmarshal(value, wanted)
