"""Decide how a call goes on after an attempt: a pure state machine.

No I/O, and no clock of its own. `decide` takes a call, the answer to its attempt and the time, and
returns what is to be written: the call finishes, is tried again, waits for the calls that it made,
or goes on as another.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from dispatch_grpc.codes import Status
from dispatch_grpc.endpoint.answers import problem_of_response
from dispatch_grpc.endpoint.pending import is_pending
from dispatch_grpc.schema import Call, CallResult, Error, Poll, RunResponse
from dispatch_grpc.service import polls

_MAX_TEXT = 32 * 1024
_CANCELLED = "CancelledError", "the call was cancelled"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of calls.

    Attributes:
        default_expiration: Expiration of a call that does not set one.
        max_expiration: Longest expiration that a call may set, up to 366 days.
        first_backoff: Longest wait before the second attempt; doubles with each.
        max_backoff: Longest wait before any attempt.
        max_pickups: Number of attempts in a row that may begin without an end before the call is
            treated as a poison call, which kills the processes that run it.
        max_calls: Largest number of calls in a request or a Poll.
        max_attempts: Number of failed attempts in a row after which a call ends; None for any. One
            does not count if its request was not sent, if it was refused since there are too many,
            or within the grace time.
        grace: How long a call is tried again after failures that a deploy or a key rotation
            causes, such as an unknown function or a proxy's 404.
    """

    default_expiration: timedelta = timedelta(hours=1)
    max_expiration: timedelta = timedelta(days=30)
    first_backoff: timedelta = timedelta(milliseconds=500)
    max_backoff: timedelta = timedelta(minutes=1)
    max_pickups: int = 5
    grace: timedelta = timedelta(minutes=15)
    max_calls: int = 10_000
    max_attempts: int | None = None

    def problem_of(self, call: Call) -> str | None:
        """Return why the expiration of a call is not accepted, or None."""
        most = self.max_expiration
        given = call.expiration.seconds + call.expiration.nanos / 1e9
        if given <= most.total_seconds():
            return None
        return f"expiration: at most {most} is allowed by this service; got {given:g} s"

    def expires_at(self, call: Call, now: datetime) -> datetime:
        """Return when a call expires that is recorded now."""
        if not call.HasField("expiration"):
            return now + min(self.default_expiration, self.max_expiration)
        if call.expiration.seconds >= self.max_expiration.total_seconds():
            return now + self.max_expiration
        return now + call.expiration.ToTimedelta()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an attempt.

    Attributes:
        response: The response of the endpoint, or what a failure to get one stands for.
        retry_after: How long the endpoint asks to wait, if it does.
        passing: Whether a deploy or a key rotation may cause the failure: the call is tried again
            for a grace time.
        host_failed: Whether the host could not be reached, or says that it is not available.
        traces: The contexts of the calls that it makes, if the endpoint tells them: one for each,
            or one for all.
        was_sent: Whether the request was sent, so that the function may have run.
    """

    response: RunResponse
    retry_after: timedelta | None = None
    passing: bool = False
    host_failed: bool = False
    traces: Sequence[str] = ()
    was_sent: bool = True


@dataclass(frozen=True, slots=True)
class Running:
    """A call that runs.

    Attributes:
        id: Its dispatch id.
        endpoint: URL of the endpoint of its function.
        correlation_id: As in the Call that made it.
        expires_at: When it expires.
        failures: Number of failed attempts in a row.
        uncounted: Number of those that do not count for `Limits.max_attempts`.
        pickups: How often the current attempt has begun.
        last_error: The error of the last failed attempt.
        runs: Number of attempts that have ended.
        passing_since: Time of the first of the failures in a row that a deploy may cause.
    """

    id: UUID
    endpoint: str
    correlation_id: int
    expires_at: datetime
    failures: int = 0
    pickups: int = 1
    last_error: Error | None = None
    runs: int = 0
    passing_since: datetime | None = None
    uncounted: int = 0

    @property
    def attempt(self) -> int:
        """The number of the current attempt; 1 after each success."""
        return self.failures + 1


@dataclass(frozen=True, slots=True)
class Finish:
    """The call has ended."""

    status: Status
    result: CallResult


@dataclass(frozen=True, slots=True)
class Retry:
    """The call is tried again at a time, from its beginning if `restart` is set.

    The attempt `counts` for `Limits.max_attempts`.
    """

    at: datetime
    status: Status
    error: Error
    restart: bool
    passing: bool = False
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Suspend:
    """The call waits for the calls that it makes, until `wake_at`.

    Until `idle_at` when there is no call and no result to wait for.
    """

    poll: Poll
    calls: Sequence[Call]
    wake_at: datetime
    idle_at: datetime


@dataclass(frozen=True, slots=True)
class Resume:
    """The Poll is not accepted: the call is resumed at once with the error."""

    poll: Poll
    error: Error


@dataclass(frozen=True, slots=True)
class Replace:
    """The call goes on as another, under its id."""

    call: Call


Outcome = Finish | Retry | Suspend | Resume | Replace


def decide(
    running: Running,
    answer: Answer,
    now: datetime,
    limits: Limits,
    *,
    problem_of_call: Callable[[Call], str | None] = lambda _: None,
    jitter: Callable[[], float] = random.random,
) -> Outcome:
    """Decide how a call goes on.

    Args:
        running: The call.
        answer: The answer to its attempt.
        now: The time.
        limits: Limits.
        problem_of_call: Returns why a call that the function makes is not accepted, or None.
        jitter: Returns a number from 0 to 1, by which a wait is multiplied.
    """

    def problem_of(call: Call) -> str | None:
        return problem_of_call(call) or limits.problem_of(call)

    response = polls.lenient(answer.response)
    if problem := problem_of_response(response):
        return fail(running, Status.INVALID_RESPONSE, f"the answer of the endpoint: {problem}")
    status = _status(response)
    # With a status to retry too: this is how dispatch-py starts a function anew.
    if response.exit.HasField("tail_call") and (status is Status.OK or status.retryable):
        call = _here(response.exit.tail_call, running)
        if problem := problem_of(call):
            return fail(running, Status.INVALID_RESPONSE, f"the tail call: {problem}")
        return Replace(call)
    in_grace = answer.passing and now - (running.passing_since or now) < limits.grace
    counts = answer.was_sent and status is not Status.THROTTLED and not in_grace
    attempts = running.failures - running.uncounted + counts
    is_last = counts and limits.max_attempts is not None and attempts >= limits.max_attempts
    if in_grace or (status.retryable and not answer.passing and not is_last):
        # Full jitter: calls that failed together are not tried again together.
        wait = _backoff(running.failures, limits) * jitter()
        if answer.retry_after is not None:
            wait = max(wait, answer.retry_after)
        at = min(now + wait, running.expires_at)
        error = _result(running, status, response).error
        restart = status is Status.INCOMPATIBLE_STATE
        return Retry(at, status, error, restart=restart, passing=answer.passing, counts=counts)
    if status is Status.OK and response.HasField("poll"):
        return _suspend(response.poll, running, now, limits, problem_of)
    return Finish(status, _result(running, status, response))


def _backoff(number: int, limits: Limits) -> timedelta:
    bound: timedelta = limits.first_backoff * 2 ** min(number, 32)
    return min(bound, limits.max_backoff)


def expire(running: Running) -> Finish:
    """Return the end of a call that has expired."""
    message = "the call expired"
    if running.last_error is not None:
        message += f"; its last attempt failed with {running.last_error.type}: "
        message += running.last_error.message
    return fail(running, Status.TIMEOUT, message)


def park(running: Running) -> Finish:
    """Return the end of a poison call: the processes that run it end before it does."""
    return fail(
        running,
        Status.PERMANENT_ERROR,
        f"the call was begun {running.pickups - 1} times, and each time the service ended before "
        f"the call did: it is treated as a poison call and not run again",
    )


def cancel(id: UUID, correlation_id: int) -> Finish:
    """Return the end of a call that was cancelled."""
    return _end(id, correlation_id, Status.PERMANENT_ERROR, *_CANCELLED)


def was_cancelled(error: Error) -> bool:
    """Whether an error is that of a call that was cancelled."""
    return (error.type, error.message) == _CANCELLED


def fail(running: Running, status: Status, message: str) -> Finish:
    """Return the end of a call that the service itself ends."""
    return _end(running.id, running.correlation_id, status, status.name, message)


def _end(id: UUID, correlation_id: int, status: Status, kind: str, message: str) -> Finish:
    result = CallResult(dispatch_id=str(id), correlation_id=correlation_id)
    result.error.type, result.error.message = kind, message
    return Finish(status, result)


def _status(response: RunResponse) -> Status:
    try:
        return Status(response.status)
    except ValueError:  # of a later version of the schema
        return Status.PERMANENT_ERROR


def _suspend(
    poll: Poll,
    running: Running,
    now: datetime,
    limits: Limits,
    problem_of_call: Callable[[Call], str | None],
) -> Outcome:
    kept = polls.without_calls(poll)
    if len(poll.calls) > limits.max_calls:
        message = f"calls: at most {limits.max_calls} are allowed; got {len(poll.calls)}"
        return Resume(kept, Error(type=Status.INVALID_ARGUMENT.name, message=message))
    calls = [_here(call, running) for call in poll.calls]
    for index, call in enumerate(calls):
        if problem := problem_of_call(call):
            error = Error(type=Status.INVALID_ARGUMENT.name, message=f"calls[{index}]: {problem}")
            return Resume(kept, error)
    wait = idle = polls.wait_of(poll)
    if polls.is_unlimited(poll):
        idle = _backoff(running.runs, limits)
    expiry = running.expires_at
    if is_pending(poll):
        return Suspend(kept, calls, expiry, expiry)  # until CompleteCall
    return Suspend(kept, calls, min(now + wait, expiry), min(now + idle, expiry))


def _here(call: Call, running: Running) -> Call:
    """Return a call of a function, in which an empty endpoint means the function's own."""
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
    if result.HasField("error"):
        result.error.CopyFrom(shortened(result.error))
    return result


def shortened(given: Error) -> Error:
    """Return an error whose texts are not too long."""
    error = Error()
    error.CopyFrom(given)
    error.type = cut(error.type, 1024)
    error.message = cut(error.message, _MAX_TEXT)
    if len(error.traceback) > _MAX_TEXT:
        text = error.traceback.decode(errors="replace")
        error.traceback = cut(text, _MAX_TEXT).encode()
    return error


def cut(text: str, limit: int) -> str:
    """Cut a long text in its middle, with a mark; the limit is in characters."""
    if len(text) <= limit:
        return text
    mark = "\n… (cut here) …\n"
    half = (limit - len(mark)) // 2
    return text[:half] + mark + text[-half:]
