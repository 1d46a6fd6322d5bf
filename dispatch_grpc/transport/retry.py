"""The retry loop of every request: when a failed request is sent again, over both protocols.

`RetryPolicy` and `Attempts` decide, without I/O or a clock; the functions that `sender` and
`async_sender` make act.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import ConfigurationError, RPCError

_RETRYABLE = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED})


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When a failed request is sent again.

    After UNAVAILABLE and RESOURCE_EXHAUSTED, with exponential backoff and full jitter, within
    the deadline of the request. A server that asks for a later retry (`retry-after`,
    `grpc-retry-pushback-ms`) is given that time as well.

    Attributes:
        max_attempts: Number of times that a request is sent at most; 2 or more.
        initial_backoff: Upper bound of the wait before the second attempt; it doubles with
            each attempt.
        max_backoff: Upper bound of every wait.
    """

    max_attempts: int = 5
    initial_backoff: timedelta = timedelta(milliseconds=100)
    max_backoff: timedelta = timedelta(seconds=2)

    def __post_init__(self) -> None:
        if not (isinstance(self.max_attempts, int) and self.max_attempts >= 2):
            raise ConfigurationError(
                f"max_attempts: an int of 2 or more is required; got {self.max_attempts!r} "
                f"(retry=None turns retries off)"
            )
        for name in ("initial_backoff", "max_backoff"):
            value = getattr(self, name)
            if not isinstance(value, timedelta) or value <= timedelta(0):
                raise ConfigurationError(
                    f"{name}: a timedelta greater than zero is required; got {value!r}"
                )


class Attempts:
    """The attempts of one request, and the decision after each that failed.

    Attributes:
        failed: Number of attempts that failed.
    """

    def __init__(self, policy: RetryPolicy | None, timeout: float | None) -> None:
        self._policy = policy
        self._timeout = timeout
        self.failed: int = 0

    def wait(self, code: Code, retry_after: float | None, elapsed: float) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up.

        Args:
            code: Code of the error.
            retry_after: Seconds that the server asks to wait; negative when it asks for no
                retry, None when it asks for nothing.
            elapsed: Seconds since the request began.
        """
        policy = self._policy
        self.failed += 1
        if (
            policy is None
            or code not in _RETRYABLE
            or self.failed >= policy.max_attempts
            or (retry_after is not None and retry_after < 0)
        ):
            return None
        initial, bound = policy.initial_backoff.total_seconds(), policy.max_backoff.total_seconds()
        backoff = min(initial * 2.0 ** min(self.failed - 1, 60), bound)
        wait = (retry_after or 0.0) + random.uniform(0, backoff)  # noqa: S311 (full jitter)
        late = self._timeout is not None and elapsed + wait >= self._timeout
        return None if late else wait


def retry_after(get: Callable[[str], Any]) -> float | None:
    """Return the seconds that a server asks to wait, as `Attempts.wait` takes them.

    Args:
        get: Returns the value of a header, None if it is missing.
    """
    if (pushback := get("grpc-retry-pushback-ms")) is not None:
        # By gRFC A6, anything but a number of milliseconds means: do not retry.
        return int(pushback) / 1000 if str(pushback).isdigit() else -1.0
    value = str(get("retry-after") or "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def sender(
    attempt: Callable[[Any, Any, float | None], Any], policy: RetryPolicy | None
) -> Callable[[Any, Any, float | None], Any]:
    """Return a function that sends a request by `attempt` until it succeeds or is given up.

    Both take the request, its metadata, and the seconds that it may take.
    """

    def send(request: Any, metadata: Any, timeout: float | None) -> Any:
        started, left = time.monotonic(), timeout
        attempts: Attempts | None = None
        while True:
            try:
                return attempt(request, metadata, left)
            except RPCError as error:
                attempts = attempts or Attempts(policy, timeout)
                wait = attempts.wait(error.code, error.retry_after, time.monotonic() - started)
                if wait is None:
                    error.resent |= attempts.failed > 1
                    raise
            time.sleep(wait)
            left = None if timeout is None else started + timeout - time.monotonic()

    return send


def async_sender(
    attempt: Callable[[Any, Any, float | None], Awaitable[Any]], policy: RetryPolicy | None
) -> Callable[[Any, Any, float | None], Awaitable[Any]]:
    """The same by `await`."""

    async def send(request: Any, metadata: Any, timeout: float | None) -> Any:
        started, left = time.monotonic(), timeout
        attempts: Attempts | None = None
        while True:
            try:
                return await attempt(request, metadata, left)
            except RPCError as error:
                attempts = attempts or Attempts(policy, timeout)
                wait = attempts.wait(error.code, error.retry_after, time.monotonic() - started)
                if wait is None:
                    error.resent |= attempts.failed > 1
                    raise
            await asyncio.sleep(wait)
            left = None if timeout is None else started + timeout - time.monotonic()

    return send
