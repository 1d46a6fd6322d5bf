"""The Poll that suspends a workflow: which calls it sends, and what it waits for."""

from collections.abc import Mapping, Sequence
from types import CodeType
from typing import Any

from dispatch_grpc.schema import Call, Journal, Poll
from dispatch_grpc.workflow import journal as journals
from dispatch_grpc.workflow.errors import WorkflowError
from dispatch_grpc.workflow.outcomes import Waiting

MAX_RESULTS = 1000
MAX_WAIT_SECONDS = 24 * 3600
"""Longest time that a Poll waits; a workflow that is woken with nothing to do polls again."""
MAX_POLL_BYTES = 3_000_000
"""Most bytes of calls in one Poll, unless a single call has more."""

_BARRIERS = frozenset({"gather.<locals>._done_callback", "TaskGroup._on_task_done"})


def make_poll(
    journal: Journal,
    unsent: dict[int, None],
    calls: Mapping[int, Call],
    open_: Sequence[Waiting],
    *,
    wait_us: int | None,
    code: CodeType,
    cancellation: Call | None = None,
) -> Poll:
    """Make the Poll that suspends a workflow.

    Args:
        journal: Its journal, in which the calls that are sent are noted.
        unsent: Ids of the calls to send; those that are sent are removed.
        calls: The calls, by their ids.
        open_: The commands that have not ended.
        wait_us: Time until the next timer, in microseconds; None without one.
        code: That of the coroutine that does nothing but wait for a call.
        cancellation: One more call, whose result the workflow does not see.

    Raises:
        WorkflowError: The workflow waits for nothing that could ever come.
    """
    if not open_ and wait_us is None and cancellation is None:
        raise WorkflowError(
            "the workflow waits for something that never comes: only calls, steps and time "
            "wake a workflow, not futures of threads or of other event loops"
        )
    sent = _take_some(unsent, calls)
    for field, ids in (("unsent", unsent), ("polled", sent)):
        journal.ClearField(field)
        getattr(journal, field).extend(ids)
    poll = Poll(calls=[calls[id] for id in sent], max_results=MAX_RESULTS)
    poll.min_results = min(max(len(open_), 1), MAX_RESULTS)
    if cancellation is not None:
        poll.calls.append(cancellation)
        poll.min_results = 1
    if unsent or not (len(open_) == 1 or all(_waits_for_all(one, code) for one in open_)):
        poll.min_results = 1
    longest = MAX_WAIT_SECONDS * 10**6
    wait_us = 0 if unsent else longest if wait_us is None else min(wait_us, longest)
    poll.max_wait.FromMicroseconds(max(wait_us, 10**6))
    poll.typed_coroutine_state.CopyFrom(journals.encode(journal))
    return poll


def _take_some(unsent: dict[int, None], calls: Mapping[int, Call]) -> list[int]:
    """Take as many of the calls to send as fit in a Poll, in their order."""
    sent: list[int] = []
    size = 0
    for id in unsent:
        size += calls[id].ByteSize() + 8
        if sent and size > MAX_POLL_BYTES:
            break
        sent.append(id)
    for id in sent:
        del unsent[id]
    return sent


def _waits_for_all(waiting: Waiting, code: CodeType) -> bool:
    """Tell whether the result of one call alone lets nothing go on.

    That is so for a task that does nothing but wait for the call, and for which gather or a
    TaskGroup waits together with others.
    """
    task: Any = waiting.task
    if task is None or getattr(task.get_coro(), "cr_code", None) is not code:
        return False
    callbacks = [getattr(callback, "__qualname__", "") for callback, _ in task._callbacks or ()]
    return bool(callbacks) and _BARRIERS.issuperset(callbacks)
