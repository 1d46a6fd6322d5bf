"""What the code of a workflow calls: `workflow.run`, `workflow.step` and their like."""

import logging
import random as _random
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, get_type_hints, overload

from dispatch_grpc.calls import problem_of
from dispatch_grpc.errors import InvalidCallError
from dispatch_grpc.schema import Call
from dispatch_grpc.text import quoted
from dispatch_grpc.workflow.activation import current, run_call
from dispatch_grpc.workflow.errors import WorkflowError, type_name

_T = TypeVar("_T")
_P = ParamSpec("_P")


@overload
def run(
    call: Call, T: type[_T], *, raises: Iterable[type[Exception]] = ()
) -> Coroutine[Any, Any, _T]: ...
@overload
def run(
    call: Call, T: Any = None, *, raises: Iterable[type[Exception]] = ()
) -> Coroutine[Any, Any, Any]: ...
def run(
    call: Call, T: Any = None, *, raises: Iterable[type[Exception]] = ()
) -> Coroutine[Any, Any, Any]:
    """Make a call and wait for its result.

    Args:
        call: The call, as `new_call` makes it. Its correlation id is replaced.
        T: Type to decode the output into, as for `unmarshal`; None for the natural value.
        raises: Classes of exceptions to raise again as themselves.

    Returns:
        A coroutine of the result, to be awaited or given to `asyncio.create_task` and the like.

    Raises:
        CallError: The call failed. A registered class is raised as itself.
        UnmarshalError: The output is no `T`.
        WorkflowError: No workflow runs here.
        InvalidCallError: The call breaks a rule of the schema.
    """
    if problem := problem_of(call, nested=True):
        raise InvalidCallError(f"run: the call{problem}")
    return run_call(call, T, by_name(raises))


@overload
async def step(
    function: Callable[_P, Awaitable[_T]], /, *args: _P.args, **kwargs: _P.kwargs
) -> _T: ...
@overload
async def step(function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T: ...
async def step(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a function in the endpoint itself, and keep its result in the journal.

    A sync function runs in a thread, an async one on the endpoint's event loop. The result is
    recorded when the workflow next waits for a call or for time, or ends. If the process is killed
    before that, the step runs again. Work that must not be done twice belongs in a function that
    recognises a repetition.

    Args:
        function: The function. Its return annotation is the type of the result, which otherwise
            is what `unmarshal` gives for it.
        args: Its arguments.
        kwargs: Its arguments by name.

    Returns:
        The result, as it comes back from the journal.

    Raises:
        Exception: The exception that it raised, if its class is built in or registered; else a
            CallError with its type and message.
        WorkflowError: No workflow runs here.
    """
    if not callable(function):
        raise WorkflowError(f"step: a function is required; got {type(function).__name__}")
    return await current("step").step(function, args, kwargs, returned_type(function))


def now() -> datetime:
    """Return the time, in UTC: that at which the last wait of the workflow ended."""
    return current("now").now()


def random() -> _random.Random:
    """Return a source of random numbers that are the same in every replay.

    Each task has one of its own.
    """
    return current("random").random()


def uuid4() -> uuid.UUID:
    """Return a random UUID that is the same in every replay."""
    return uuid.UUID(int=current("uuid4").random().getrandbits(128), version=4)


def patched(name: str) -> bool:
    """Return whether to take the new path at a place where the code was changed.

        if workflow.patched("fraud-check"):
            await check_fraud.run(order)

    Args:
        name: Name of the change.

    Returns:
        False in workflows that passed this place before the change, True in all others.
    """
    if not isinstance(name, str) or not name:
        raise WorkflowError(f"patched: a name is required; got {quoted(name)}")
    return current("patched").patched(name)


def is_replaying() -> bool:
    """Return whether a workflow runs here whose code has run before; False elsewhere."""
    try:
        return current("is_replaying").replaying
    except WorkflowError:
        return False


class _NotInReplays(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        """Drop what is logged while a workflow is replayed."""
        return not is_replaying()


logger: logging.Logger = logging.getLogger("dispatch_grpc.workflow")
"""A logger for workflows, which drops what is logged during a replay."""
logger.addFilter(_NotInReplays())


def by_name(kinds: Iterable[type[Exception]]) -> dict[str, type[Exception]]:
    """Return classes of exceptions by the names under which calls tell them."""
    found = {}
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise WorkflowError(f"raises: classes of exceptions are required; got {quoted(kind)}")
        found[type_name(kind)] = kind
    return found


def returned_type(function: Any) -> Any:
    """Return the type that a function says it returns; None when it says none."""
    target = function
    while not hasattr(target, "__annotations__") and hasattr(target, "func"):
        target = target.func  # of functools.partial
    try:
        return get_type_hints(target, include_extras=True).get("return")
    except Exception:  # noqa: BLE001  (annotations are code, and may name what is not there)
        return None
