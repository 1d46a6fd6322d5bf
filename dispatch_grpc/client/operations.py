"""Rerun and purge finished calls, pause and resume: everything but the I/O.

The clients import this module when they need it first, as most programs only dispatch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from dispatch_grpc.client.listing import set_filters
from dispatch_grpc.client.settings import ClientSettings, Timeout, check_text
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import ConfigurationError, rpc_error
from dispatch_grpc.schema import (
    CallFilter,
    PauseCallsRequest,
    PurgeCallsRequest,
    RerunCallRequest,
    RerunCallsRequest,
    ResumeCallsRequest,
    time_of,
)
from dispatch_grpc.text import quoted

Selecting = Literal["RerunCalls", "PurgeCalls"]
"""The methods that act on the calls that a filter selects."""

_VERBS = {"RerunCalls": "rerun", "PurgeCalls": "deleted"}


def rerun_request(dispatch_id: str) -> RerunCallRequest:
    """Make the request that runs a call again."""
    return RerunCallRequest(dispatch_id=check_text("dispatch_id", dispatch_id))


class Selection:
    """Finished calls that filters select: they are counted, then acted on, page by page.

    The filters are those of `set_filters`.

    Attributes:
        number: Number of calls that were acted on, or counted if that is all.
    """

    def __init__(
        self,
        client: ClientSettings,
        method: Selecting,
        *,
        dead: bool,
        dry_run: bool,
        expected: int | None,
        progress: Callable[[int, int], object] | None,
        timeout: Timeout,
        **filters: Any,
    ) -> None:
        self._seconds = client.seconds(timeout)
        self._method: Selecting = method
        self._dry_run = dry_run
        self._progress = progress
        if expected is not None and (not isinstance(expected, int) or expected < 0):
            raise ConfigurationError(
                f"expected: an int of 0 or more is required; got {quoted(expected)}"
            )
        self._expected = expected
        filter = CallFilter(dead=dead)
        set_filters(filter, filters)
        self._request: Any = (
            RerunCallsRequest(filter=filter, validate_only=True)
            if method == "RerunCalls"
            else PurgeCallsRequest(filter=filter, validate_only=True)
        )
        self._total = 0
        self._is_done = False
        self.number: int = 0

    def next(self) -> tuple[Selecting, Any, float | None] | None:
        """Return the next method, its request, and its timeout in seconds; None at the end."""
        return None if self._is_done else (self._method, self._request, self._seconds)

    def take(self, response: Any) -> None:
        """Process a response."""
        self.number += response.count
        self._request.page_token = response.next_page_token
        if not self._request.validate_only:
            self._request.expected_count = max(self._total - self.number, 0)
            self._is_done = not response.next_page_token
            if self._progress is not None:
                self._progress(self.number, self._total)
        elif not response.next_page_token:
            self._counted(response)

    def _counted(self, response: Any) -> None:
        """Go on to act on the calls, now that they are counted."""
        self._total = self.number
        self._is_done = self._dry_run or not self._total
        if self._is_done:
            return
        if self._expected is not None and self._total > self._expected:
            raise rpc_error(
                Code.FAILED_PRECONDITION,
                f"{self._total} calls match, but at most {self._expected} were expected; none were "
                f"{_VERBS[self._method]}: count them again",
            )
        self.number = 0
        self._request.validate_only = False
        self._request.expected_count = self._total
        # No call that finishes from now on is selected.
        self._request.filter.finished_before.CopyFrom(response.as_of_time)


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause: calls that do not begin.

    Attributes:
        host: The host, as the URL of an endpoint without its path; None for all hosts.
        function: The function; None for all functions.
        since: When it began.
        reason: Why, as the one who paused wrote it; may be empty.
    """

    host: str | None
    function: str | None
    since: datetime | None
    reason: str


def pause_request(
    host: str | None, function: str | None, reason: str, *, everything: bool
) -> PauseCallsRequest:
    """Make the request that pauses."""
    if not isinstance(reason, str):
        raise ConfigurationError(f"reason: a str is required; got {quoted(reason)}")
    return PauseCallsRequest(reason=reason, **_target(host, function, everything=everything))


def resume_request(
    host: str | None, function: str | None, *, everything: bool
) -> ResumeCallsRequest:
    """Make the request that resumes."""
    return ResumeCallsRequest(**_target(host, function, everything=everything))


def _target(host: str | None, function: str | None, *, everything: bool) -> dict[str, Any]:
    target = {
        name: check_text(name, value)
        for name, value in (("host", host), ("function", function))
        if value is not None
    }
    if everything == bool(target):
        raise ConfigurationError("give host, function or both, or else everything=True")
    return {"all": everything, **target}


def pauses_in(messages: Iterable[Any]) -> list[Pause]:
    """Return the pauses of a response."""
    return [
        Pause(one.host or None, one.function or None, time_of(one, "pause_time"), str(one.reason))
        for one in messages
    ]
