"""What becomes of a call when its function has answered: a pure state machine.

No I/O, and no clock of its own. `decide` takes a call, what came of its run and the time, and
says what is to be written: that the call finishes, is tried again, waits for calls that it
made, or goes on as another.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from dispatch_grpc.codes import Status
from dispatch_grpc.endpoint.answers import problem_of_response
from dispatch_grpc.schema import Call, CallResult, Error, Poll, RunResponse


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what calls may ask for.

    Attributes:
        default_expiration: Time until a call expires that does not say it itself.
        max_expiration: Longest time until a call expires.
        first_backoff: Bound of the wait before the second run; doubles with each.
        max_backoff: Bound of every wait.
        max_pickups: How often a run may begin without coming to an end, before the call is
            taken for one that kills the processes that run it.
    """

    default_expiration: timedelta = timedelta(hours=1)
    max_expiration: timedelta = timedelta(days=7)
    first_backoff: timedelta = timedelta(milliseconds=500)
    max_backoff: timedelta = timedelta(minutes=1)
    max_pickups: int = 5

    def expires_at(self, call: Call, now: datetime) -> datetime:
        """When a call expires that is recorded now."""
        if not call.HasField("expiration"):
            return now + min(self.default_expiration, self.max_expiration)
        if call.expiration.seconds >= self.max_expiration.total_seconds():
            return now + self.max_expiration
        return now + call.expiration.ToTimedelta()


@dataclass(frozen=True, slots=True)
class Running:
    """A call that runs.

    Attributes:
        id: Its dispatch id.
        endpoint: Where its function lives.
        correlation_id: As in the Call that made it.
        expires_at: When it expires.
        failures: How often in a row its run has failed.
        pickups: How often the run that is now has begun.
        last_error: What its last failed run failed with.
    """

    id: UUID
    endpoint: str
    correlation_id: int
    expires_at: datetime
    failures: int = 0
    pickups: int = 1
    last_error: Error | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The call has ended."""

    status: Status
    result: CallResult


@dataclass(frozen=True, slots=True)
class Retry:
    """The call is run again, at a time; from its beginning if so."""

    at: datetime
    status: Status
    error: Error
    restart: bool


@dataclass(frozen=True, slots=True)
class Suspend:
    """The call waits for those that it makes."""

    poll: Poll
    calls: Sequence[Call]
    wake_at: datetime


@dataclass(frozen=True, slots=True)
class Resume:
    """The call's Poll cannot be done: it is resumed at once, with the reason."""

    poll: Poll
    error: Error


@dataclass(frozen=True, slots=True)
class Replace:
    """The call goes on as another, under its id."""

    call: Call


Outcome = Finish | Retry | Suspend | Resume | Replace


def decide(
    running: Running,
    response: RunResponse,
    now: datetime,
    limits: Limits,
    *,
    problem_of_call: Callable[[Call], str | None] = lambda _: None,
    jitter: Callable[[], float] = random.random,
) -> Outcome:
    """Say what becomes of a call.

    Args:
        running: The call.
        response: What its run answered, or what the failure to reach its endpoint stands for.
        now: The time.
        limits: Bounds.
        problem_of_call: Why a call that the function makes is not accepted, or None.
        jitter: A number from 0 to 1, by which a wait is multiplied.
    """
    if problem := problem_of_response(response):
        return fail(running, Status.INVALID_RESPONSE, f"the answer of the endpoint: {problem}")
    status = _status(response)
    if status.retryable:
        # Full jitter: calls that failed together are not tried again together.
        bound = limits.first_backoff * 2 ** min(running.failures, 32)
        at = min(now + min(bound, limits.max_backoff) * jitter(), running.expires_at)
        error = _result(running, status, response).error
        return Retry(at, status, error, restart=status is Status.INCOMPATIBLE_STATE)
    if status is Status.OK and response.HasField("poll"):
        return _suspend(response.poll, running, now, problem_of_call)
    if status is Status.OK and response.exit.HasField("tail_call"):
        call = _here(response.exit.tail_call, running)
        if problem := problem_of_call(call):
            return fail(running, Status.INVALID_RESPONSE, f"the tail call: {problem}")
        return Replace(call)
    return Finish(status, _result(running, status, response))


def expire(running: Running) -> Finish:
    """The end of a call that has expired."""
    message = "the call expired"
    if running.last_error is not None:
        message += f"; its last run failed with {running.last_error.type}: "
        message += running.last_error.message
    return fail(running, Status.TIMEOUT, message)


def park(running: Running) -> Finish:
    """The end of a call whose runs never come to an end."""
    return fail(
        running,
        Status.PERMANENT_ERROR,
        f"the call was begun {running.pickups - 1} times, and each time the service ended before "
        f"it did: it is not run again",
    )


def cancel(running: Running) -> Finish:
    """The end of a call that was cancelled."""
    return fail(running, Status.PERMANENT_ERROR, "the call was cancelled", kind="CancelledError")


def fail(running: Running, status: Status, message: str, *, kind: str = "") -> Finish:
    """The end of a call that fails for a reason of the service's own."""
    result = CallResult(dispatch_id=str(running.id), correlation_id=running.correlation_id)
    result.error.type = kind or status.name
    result.error.message = message
    return Finish(status, result)


def _status(response: RunResponse) -> Status:
    try:
        return Status(response.status)
    except ValueError:  # of a later version of the schema
        return Status.PERMANENT_ERROR


def _suspend(
    poll: Poll, running: Running, now: datetime, problem_of_call: Callable[[Call], str | None]
) -> Outcome:
    calls = [_here(call, running) for call in poll.calls]
    kept = Poll()
    kept.CopyFrom(poll)
    kept.ClearField("calls")
    for index, call in enumerate(calls):
        if problem := problem_of_call(call):
            error = Error(type=Status.INVALID_ARGUMENT.name, message=f"calls[{index}]: {problem}")
            return Resume(kept, error)
    # Durations may be longer than what datetime holds.
    wait = timedelta(
        seconds=min(poll.max_wait.seconds, 10**9), microseconds=poll.max_wait.nanos // 1000
    )
    return Suspend(kept, calls, min(now + wait, running.expires_at))


def _here(call: Call, running: Running) -> Call:
    """A call of a function, in which an empty endpoint means the function's own."""
    copy = Call()
    copy.CopyFrom(call)
    copy.endpoint = call.endpoint or running.endpoint
    return copy


def _result(running: Running, status: Status, response: RunResponse) -> CallResult:
    result = CallResult()
    result.CopyFrom(response.exit.result)
    result.dispatch_id, result.correlation_id = str(running.id), running.correlation_id
    if status is not Status.OK and not result.HasField("error"):
        result.error.type = status.name
        result.error.message = f"the endpoint answered {status.name} without an error"
    return result
