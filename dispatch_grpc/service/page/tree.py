"""The tree of calls below a call, for the page."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.schema import CallResult, Error
from dispatch_grpc.service import reads_call, store
from dispatch_grpc.service.machine import was_cancelled
from dispatch_grpc.service.page.formatting import CANCELLED, Word, first_line, state_of, status_of
from dispatch_grpc.text import rounded

MOST = 100
"""Largest number of calls in a tree."""
_DEPTH = 8


@dataclass(slots=True)
class Node:
    """A call in the tree.

    Attributes:
        id: Its dispatch id.
        function: Name of its function.
        word: Its state, or its status once it has finished.
        time: How long it took, or how long ago it was recorded.
        error: The error that it ended with, or that its last run failed with; empty without one.
        children: The calls that it made.
    """

    id: UUID
    function: str
    word: Word
    time: str
    error: str
    children: "list[Node]" = field(default_factory=list)


async def tree(connection: Any, id: UUID, now: datetime) -> tuple[list[Node], bool]:
    """Return the calls that a call made, each with those that it made, level by level.

    Returns:
        The calls, in the order in which they were made; and whether there are more.
    """
    roots: list[Node] = []
    level = {id: roots}
    left = MOST
    rows: list[Any] = []
    for depth in range(_DEPTH + 1):
        rows = await reads_call.children(connection, list(level), left + 1)
        if depth == _DEPTH:
            break
        found = [(_node(row, now), row["parent_id"]) for row in rows[:left]]
        for node, parent in found:
            level[parent].append(node)
        if len(rows) > left:
            return roots, True
        left -= len(found)
        level = {node.id: node.children for node, _ in found}
        if not level:
            return roots, False
    return roots, bool(rows)


def _node(row: Any, now: datetime) -> Node:
    is_finished = row["state"] == store.FINISHED
    word = status_of(row["status"]) if is_finished else state_of(row["state"])
    time = rounded((row["finished_at"] or now) - row["created_at"].astimezone(UTC))
    error = None
    if is_finished and row["result"] is not None:
        result = CallResult.FromString(row["result"])
        error = result.error if result.HasField("error") else None
    elif not is_finished and row["last_error"] is not None:
        error = Error.FromString(row["last_error"])
    if is_finished and error is not None and was_cancelled(error):
        word, error = CANCELLED, None
    return Node(row["id"], row["function"], word, time, first_line(error))
