"""Waiting for what happens in other threads and processes."""

import time
from collections.abc import Callable
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
