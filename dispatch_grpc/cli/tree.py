"""The tree of calls that a call made, as `dispatch-grpc get` prints it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from dispatch_grpc import AsyncClient, CallInfo, CallState, DispatchError, Status
from dispatch_grpc.cli.output import colour_of, printable
from dispatch_grpc.text import rounded, shorten

MOST = 100
"""Largest number of calls in a tree."""
_AT_ONCE = 16
_ERROR_CHARACTERS = 200


@dataclass(frozen=True)
class Branch:
    """A call in the tree, and how deep it is below the one that is printed."""

    call: CallInfo
    depth: int


async def fetch_tree(client: AsyncClient, root: CallInfo) -> tuple[list[Branch], bool]:
    """Fetch the calls that a call made, and those that they made, level by level.

    Returns:
        The calls, each followed by those that it made; and whether there are more.
    """
    if not _may_have_made_calls(root):
        return [], False
    limit = asyncio.Semaphore(_AT_ONCE)

    async def made_by(call: CallInfo, most: int) -> list[CallInfo]:
        async with limit:
            return (await client.list(parent=call.dispatch_id, limit=most + 1))[::-1]

    children: dict[str, list[CallInfo]] = {}
    level, left, more = [root], MOST, False
    while level and left:
        found = await asyncio.gather(*(made_by(call, left) for call in level))
        for call, made in zip(level, found, strict=True):
            more = more or len(made) > left
            children[call.dispatch_id] = made[:left]
            left -= len(made[:left])
        level = [
            call
            for parent in level
            for call in children[parent.dispatch_id]
            if _may_have_made_calls(call)
        ]
    return await _with_errors(client, list(_walk(root, children))), more or bool(level)


def _may_have_made_calls(call: CallInfo) -> bool:
    """Tell whether a call has been suspended: one that ended in its first run has not."""
    return call.runs > (1 if call.state is CallState.FINISHED else 0)


def _walk(root: CallInfo, children: dict[str, list[CallInfo]]) -> list[Branch]:
    found: list[Branch] = []
    stack = [Branch(call, 0) for call in reversed(children.get(root.dispatch_id, []))]
    while stack:
        branch = stack.pop()
        found.append(branch)
        below = children.get(branch.call.dispatch_id, [])
        stack += [Branch(call, branch.depth + 1) for call in reversed(below)]
    return found


async def _with_errors(client: AsyncClient, branches: list[Branch]) -> list[Branch]:
    """Fetch the errors of the calls that failed: lists leave them out."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def complete(branch: Branch) -> Branch:
        call = branch.call
        if call.state is not CallState.FINISHED or call.status is Status.OK:
            return branch
        async with limit:
            try:
                return Branch(await client.get(call.dispatch_id), branch.depth)
            except DispatchError:  # it was deleted meanwhile
                return branch

    return list(await asyncio.gather(*map(complete, branches)))


def tree_lines(branches: Sequence[Branch], *, more: bool) -> list[str]:
    """Format a tree of calls: a line for each, and one for its error."""
    if not branches:
        return []
    lines, now = ["calls that it made:"], datetime.now(UTC)
    for branch in branches:
        call, indent = branch.call, "  " * (branch.depth + 1)
        is_finished = call.state is CallState.FINISHED
        word = click.style(
            call.status.name.lower() if is_finished else str(call.state), colour_of(call)
        )
        time = took(call, now)
        lines.append(f"{indent}{word}  {printable(call.function)}  {time}  {call.dispatch_id}")
        if error := call.error or (None if is_finished else call.last_error):
            text = printable(f"{error.type}: {error.message}")
            lines.append(f"{indent}  {shorten(text, _ERROR_CHARACTERS)}")
    if more:
        lines.append("  … and more: see 'dispatch-grpc list --parent ID'")
    return lines


def took(call: CallInfo, now: datetime) -> str:
    """Format how long a call took, or how long ago it was recorded."""
    if call.creation_time is None:
        return "?"
    return rounded((call.finish_time or now) - call.creation_time)
