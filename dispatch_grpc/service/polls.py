"""The Polls of endpoints: what is meant by them, and how long they wait. Pure."""

from datetime import timedelta

from dispatch_grpc.endpoint.answers import MAX_RESULTS
from dispatch_grpc.schema import Poll, RunResponse
from dispatch_grpc.values import DURATION_MAX_SECONDS


def lenient(response: RunResponse) -> RunResponse:
    """Give the fields of a Poll that are absent or out of range the values that are meant.

    Other SDKs leave `max_wait` out for a Poll without a time limit, and numbers at 0.
    """
    if not response.HasField("poll"):
        return response
    copy = RunResponse()
    copy.CopyFrom(response)
    poll = copy.poll
    poll.min_results = min(max(poll.min_results, 1), MAX_RESULTS)
    most = min(poll.max_results, MAX_RESULTS) if poll.max_results > 0 else MAX_RESULTS
    poll.max_results = max(most, poll.min_results)
    wait = poll.max_wait
    if wait.seconds >= 0 and 0 <= wait.nanos < 1_000_000_000:
        if wait.seconds == 0 and wait.nanos == 0:
            wait.seconds = DURATION_MAX_SECONDS
        elif wait.seconds == 0:
            wait.seconds, wait.nanos = 1, 0
        wait.seconds = min(wait.seconds, DURATION_MAX_SECONDS)
    return copy


def without_calls(poll: Poll) -> Poll:
    """Return a Poll without its calls; a copy that clears them would keep their memory."""
    kept = Poll(max_wait=poll.max_wait, min_results=poll.min_results, max_results=poll.max_results)
    if poll.HasField("typed_coroutine_state"):
        kept.typed_coroutine_state.CopyFrom(poll.typed_coroutine_state)
    elif poll.HasField("coroutine_state"):
        kept.coroutine_state = poll.coroutine_state
    return kept


def wait_of(poll: Poll) -> timedelta:
    """Return how long a lenient Poll waits; no longer than a datetime can hold."""
    wait = poll.max_wait
    return timedelta(seconds=min(wait.seconds, 10**9), microseconds=wait.nanos // 1000)


def is_unlimited(poll: Poll) -> bool:
    """Return whether a lenient Poll waits without a time limit."""
    return poll.max_wait.seconds >= DURATION_MAX_SECONDS
