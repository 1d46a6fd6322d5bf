"""Waiting for what happens in other threads and processes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


def until(
    condition: Callable[..., Any],
    seconds: float = 60,
    *,
    problem: Callable[[], Any] = lambda: "it takes too long",
) -> Any:
    """Wait until a condition is true, and return what it returned.

    Args:
        condition: Is called again and again.
        seconds: Time after which the test fails, which only a hang takes.
        problem: Returns what the failure shows.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, problem()
        time.sleep(0.01)
    return found


async def async_until(
    condition: Callable[[], Any | Awaitable[Any]],
    seconds: float = 60,
    *,
    problem: Callable[[], Any] = lambda: "it takes too long",
) -> Any:
    """Do what `until` does, while the event loop goes on; the condition may be async."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, problem()
        await asyncio.sleep(0.01)
