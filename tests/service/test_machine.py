"""The state machine: what becomes of a call, for every answer that there can be."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_grpc import Call, Status, marshal, new_call
from dispatch_grpc.primitives import exit_, poll, tail_call
from dispatch_grpc.schema import Error, RunResponse
from dispatch_grpc.service import machine
from dispatch_grpc.service.machine import (
    Answer,
    Finish,
    Limits,
    Replace,
    Resume,
    Retry,
    Running,
    Suspend,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = UUID("01a205bd-3140-75cf-8ee9-19a3d52fbf35")
LIMITS = Limits()
HERE = "http://here.example"


def running(**settings: object) -> Running:
    given = {"endpoint": HERE, "correlation_id": 7, "expires_at": NOW + timedelta(hours=1)}
    return Running(ID, **{**given, **settings})  # type: ignore[arg-type]


def decide(
    call: Running,
    response: RunResponse,
    now: datetime,
    limits: Limits,
    *,
    retry_after: timedelta | None = None,
    passing: bool = False,
    was_sent: bool = True,
    **settings: Any,
) -> machine.Outcome:
    """Decide by an answer, given its parts."""
    answer = Answer(response, retry_after, passing, was_sent=was_sent)
    return machine.decide(call, answer, now, limits, **settings)


calls = st.builds(
    lambda endpoint, function: Call(endpoint=endpoint, function=function),
    st.sampled_from(["", HERE, "http://x", "bridge://x", "nonsense"]),
    st.sampled_from(["f", "g.h", "", "no name"]),
)


@st.composite
def responses(draw: st.DrawFn) -> RunResponse:
    """Any answer that an endpoint may give, also those that break the rules."""
    response = RunResponse()
    response.status = draw(st.integers(0, 20))  # type: ignore[assignment]
    kind = draw(st.sampled_from(["nothing", "exit", "error", "tail call", "poll"]))
    if kind == "exit":
        response.exit.result.output.CopyFrom(marshal(draw(st.integers(0, 9))))
    elif kind == "error":
        response.exit.result.error.message = "why"
    elif kind == "tail call":
        response.exit.tail_call.CopyFrom(draw(calls))
    elif kind == "poll":
        response.poll.min_results = draw(st.sampled_from([0, 1, 5, 1000, 1001]))
        response.poll.max_results = draw(st.sampled_from([0, 1, 5, 1000, 1001]))
        response.poll.max_wait.seconds = draw(st.sampled_from([0, 1, 60, 315_576_000_000]))
        response.poll.calls.extend(draw(st.lists(calls, max_size=3)))
    return response


@given(responses(), st.integers(0, 10_000), st.floats(0, 1), st.integers(0, 10**6))
def test_every_answer_has_an_outcome(
    response: RunResponse, failures: int, jitter: float, left: int
):
    call = running(failures=failures, expires_at=NOW + timedelta(seconds=left))
    outcome = decide(call, response, NOW, LIMITS, jitter=lambda: jitter)
    if isinstance(outcome, Finish):
        assert outcome.result.dispatch_id == str(ID)
        assert outcome.result.correlation_id == 7
        assert outcome.result.HasField("error") == (
            outcome.status is not Status.OK or response.exit.result.HasField("error")
        )
        assert not outcome.status.retryable
    elif isinstance(outcome, Retry):
        assert outcome.status.retryable
        assert NOW <= outcome.at <= call.expires_at
        assert outcome.at - NOW <= LIMITS.max_backoff
        assert outcome.error.message
        assert outcome.restart == (outcome.status is Status.INCOMPATIBLE_STATE)
    elif isinstance(outcome, Suspend):
        assert NOW <= outcome.wake_at <= call.expires_at
        assert all(child.endpoint for child in outcome.calls)
        assert not outcome.poll.calls
    else:
        assert isinstance(outcome, Replace)
        assert outcome.call.endpoint


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.UNSPECIFIED])
def test_the_status_says_whether_the_call_ends(status: Status):
    response = exit_(1) if status is Status.OK else exit_(error=ValueError("why"), status=status)
    outcome = decide(running(), response, NOW, LIMITS)
    if status.retryable:
        assert isinstance(outcome, Retry)
        assert (outcome.status, outcome.error.message) == (status, "why")
    else:
        assert isinstance(outcome, Finish)
        assert outcome.status is status


def test_a_partial_result_stays_beside_the_error():
    outcome = decide(
        running(),
        exit_([1, 2], error=LookupError("rest"), status=Status.PERMANENT_ERROR),
        NOW,
        LIMITS,
    )
    assert isinstance(outcome, Finish)
    assert outcome.result.output == marshal([1, 2])
    assert outcome.result.error.type == "LookupError"


@pytest.mark.parametrize(
    ("failures", "bound"), [(0, 0.5), (1, 1), (2, 2), (6, 32), (7, 60), (1000, 60)]
)
def test_the_wait_doubles_up_to_a_bound(failures: int, bound: float):
    response = exit_(error=ConnectionError("gone"))
    for jitter in (0.0, 0.5, 1.0):
        call = running(failures=failures)
        outcome = decide(call, response, NOW, LIMITS, jitter=partial(float, jitter))
        assert isinstance(outcome, Retry)
        assert outcome.at - NOW == timedelta(seconds=bound * jitter)


def test_the_jitter_is_random():
    response = exit_(error=ConnectionError("gone"))
    waits = {decide(running(failures=5), response, NOW, LIMITS).at for _ in range(20)}  # type: ignore[union-attr]
    assert len(waits) > 10


def test_nothing_is_tried_after_the_call_has_expired():
    call = running(failures=9, expires_at=NOW + timedelta(seconds=1))
    outcome = decide(call, exit_(error=ConnectionError()), NOW, LIMITS, jitter=lambda: 1.0)
    assert isinstance(outcome, Retry)
    assert outcome.at == call.expires_at


def test_an_answer_against_the_rules_ends_the_call():
    for response in (
        RunResponse(),
        RunResponse(status="STATUS_OK", poll={"max_wait": {"seconds": -1}}),
        RunResponse(status="STATUS_OK", poll={"max_wait": {"nanos": 2_000_000_000}}),
        RunResponse(status="STATUS_OK", exit={"tail_call": {"function": "no name"}}),
    ):
        outcome = decide(running(), response, NOW, LIMITS)
        assert isinstance(outcome, Finish)
        assert outcome.status is Status.INVALID_RESPONSE
        assert outcome.result.error.message.startswith("the answer of the endpoint: ")


def test_an_empty_endpoint_is_that_of_the_caller():
    calls = [Call(function="f"), new_call("http://there", "g")]
    outcome = decide(running(), poll(calls, state=b"s"), NOW, LIMITS)
    assert isinstance(outcome, Suspend)
    assert [call.endpoint for call in outcome.calls] == [HERE, "http://there"]
    assert outcome.poll.coroutine_state == b"s"
    outcome = decide(running(), tail_call(Call(function="f")), NOW, LIMITS)
    assert isinstance(outcome, Replace)
    assert outcome.call.endpoint == HERE


def refuse(call: Call) -> str | None:
    return "endpoint: not here" if "bad" in call.endpoint else None


def test_a_poll_with_a_call_that_is_not_accepted_is_resumed_with_the_reason():
    calls = [new_call("http://good", "f"), new_call("http://bad", "f")]
    response = poll(calls, state=b"s")
    outcome = decide(running(), response, NOW, LIMITS, problem_of_call=refuse)
    assert isinstance(outcome, Resume)
    assert outcome.error.message == "calls[1]: endpoint: not here"
    assert (outcome.poll.coroutine_state, len(outcome.poll.calls)) == (b"s", 0)


def test_a_tail_call_that_is_not_accepted_ends_the_call():
    response = tail_call(new_call("http://bad", "f"))
    outcome = decide(running(), response, NOW, LIMITS, problem_of_call=refuse)
    assert isinstance(outcome, Finish)
    assert outcome.status is Status.INVALID_RESPONSE
    assert "not here" in outcome.result.error.message


@pytest.mark.parametrize(
    ("max_wait", "left", "expected"),
    [(10, 3600, 10), (7200, 3600, 3600), (315_576_000_000, 3600, 3600)],
)
def test_a_call_waits_no_longer_than_until_it_expires(max_wait: int, left: int, expected: int):
    response = poll([Call(function="f")])
    response.poll.max_wait.seconds = max_wait
    call = running(expires_at=NOW + timedelta(seconds=left))
    outcome = decide(call, response, NOW, LIMITS)
    assert isinstance(outcome, Suspend)
    assert outcome.wake_at - NOW == timedelta(seconds=expected)


def test_the_expiration_is_bounded():
    limits = Limits(default_expiration=timedelta(hours=1), max_expiration=timedelta(hours=2))
    for expiration, expected in (
        (None, timedelta(hours=1)),
        (timedelta(0), timedelta(0)),
        (timedelta(minutes=5), timedelta(minutes=5)),
        (timedelta(hours=3), timedelta(hours=2)),
        (timedelta(days=3_652_500), timedelta(hours=2)),
    ):
        call = new_call("http://x", "f", expiration=expiration)
        assert limits.expires_at(call, NOW) == NOW + expected


def test_the_ends_that_the_service_makes():
    last = Error(type="ConnectionError", message="refused")
    finish = machine.expire(running(last_error=last))
    assert finish.status is Status.TIMEOUT
    assert finish.result.error.message.endswith("failed with ConnectionError: refused")
    assert machine.expire(running()).result.error.message == "the call expired"
    finish = machine.park(running(pickups=6))
    assert finish.status is Status.PERMANENT_ERROR
    assert "begun 5 times" in finish.result.error.message
    cancelled = machine.cancel(ID, 7)
    assert cancelled.status is Status.PERMANENT_ERROR
    assert cancelled.result.error.type == "CancelledError"
    for finish in (
        machine.expire(running()),
        machine.park(running()),
        cancelled,
    ):
        assert (finish.result.dispatch_id, finish.result.correlation_id) == (str(ID), 7)


def test_a_deploy_or_a_key_rotation_ends_a_call_only_after_a_grace_time():
    response = exit_(status=Status.NOT_FOUND, error=LookupError("no function f"))
    for since, is_retried in (
        (None, True),
        (NOW - timedelta(minutes=14, seconds=59), True),
        (NOW - timedelta(minutes=15), False),
    ):
        outcome = decide(running(passing_since=since), response, NOW, LIMITS, passing=True)
        assert isinstance(outcome, Retry) == is_retried
        if isinstance(outcome, Retry):
            assert outcome.passing
            assert outcome.status is Status.NOT_FOUND
    # What the function itself says is final at once.
    assert isinstance(decide(running(), response, NOW, LIMITS), Finish)


def test_a_wrong_kind_of_answer_is_final_after_the_grace_time():
    response = exit_(status=Status.HTTP_ERROR, error=OSError("text/html"))
    long_ago = running(passing_since=NOW - timedelta(hours=1))
    assert isinstance(decide(long_ago, response, NOW, LIMITS, passing=True), Finish)
    assert isinstance(decide(long_ago, response, NOW, LIMITS), Retry)


@given(st.integers(0, 40), st.integers(0, 86_400))
def test_a_wait_is_no_shorter_than_the_endpoint_asks(failures: int, seconds: int):
    outcome = decide(
        running(failures=failures),
        exit_(status=Status.THROTTLED, error=OSError()),
        NOW,
        LIMITS,
        retry_after=timedelta(seconds=seconds),
        jitter=lambda: 0.0,
    )
    assert isinstance(outcome, Retry)
    assert outcome.at == min(NOW + timedelta(seconds=seconds), NOW + timedelta(hours=1))


POLLS = [
    ({}, (1, 1000), 315_576_000_000),
    ({"min_results": 0, "max_results": 5}, (1, 5), 315_576_000_000),
    ({"min_results": 7, "max_results": 5}, (7, 7), 315_576_000_000),
    ({"min_results": -1, "max_results": -1}, (1, 1000), 315_576_000_000),
    ({"min_results": 5000, "max_results": 6000}, (1000, 1000), 315_576_000_000),
    ({"max_wait": {"seconds": 9}}, (1, 1000), 9),
    ({"max_wait": {"nanos": 5}}, (1, 1000), 1),
    ({"max_wait": {"seconds": 10**13}}, (1, 1000), 315_576_000_000),
]


@pytest.mark.parametrize(("given", "results", "seconds"), POLLS)
def test_what_a_poll_leaves_out_or_overdoes_is_read_as_it_is_meant(
    given: dict[str, object], results: tuple[int, int], seconds: int
):
    outcome = decide(running(), RunResponse(status="STATUS_OK", poll=given), NOW, LIMITS)
    assert isinstance(outcome, Suspend)
    found = outcome.poll
    assert (found.min_results, found.max_results) == results
    assert found.max_wait.seconds == seconds
    assert outcome.wake_at == NOW + min(timedelta(seconds=seconds), timedelta(hours=1))


def test_a_poll_for_nothing_sleeps_until_max_wait_or_with_backoff():
    limited = RunResponse(status="STATUS_OK", poll={"max_wait": {"seconds": 600}})
    unlimited = RunResponse(status="STATUS_OK", poll={})
    for response, runs, seconds in (
        (limited, 0, 600),
        (limited, 9, 600),
        (unlimited, 0, 0.5),
        (unlimited, 3, 4),
        (unlimited, 99, 60),
    ):
        outcome = decide(running(runs=runs), response, NOW, LIMITS)
        assert isinstance(outcome, Suspend)
        assert outcome.idle_at == NOW + timedelta(seconds=seconds)


def test_a_tail_call_beside_a_status_to_retry_replaces_the_call():
    """dispatch-py's Reset."""
    response = tail_call(new_call(HERE, "g"))
    response.status = Status.TEMPORARY_ERROR.value  # type: ignore[assignment]
    assert isinstance(decide(running(), response, NOW, LIMITS), Replace)
    response.status = Status.INVALID_ARGUMENT.value  # type: ignore[assignment]
    assert isinstance(decide(running(), response, NOW, LIMITS), Finish)


def test_an_expiration_beyond_the_maximum_is_refused():
    month, longer = (new_call(HERE, "f", expiration=timedelta(days=days)) for days in (30, 31))
    assert LIMITS.problem_of(month) is None
    assert "at most 30 days" in str(LIMITS.problem_of(longer))
    assert LIMITS.expires_at(month, NOW) == NOW + timedelta(days=30)
    assert isinstance(decide(running(), poll([longer]), NOW, LIMITS), Resume)
    outcome = decide(running(), tail_call(longer), NOW, LIMITS)
    assert isinstance(outcome, Finish)
    assert outcome.result.error.message.startswith("the tail call: expiration: at most 30 days")
    assert Limits(max_expiration=timedelta(days=365)).problem_of(longer) is None


def test_a_poll_with_too_many_calls_is_resumed_with_the_reason():
    limits = Limits(max_calls=2)
    child = new_call(HERE, "f")
    assert isinstance(decide(running(), poll([child] * 2), NOW, limits), Suspend)
    outcome = decide(running(), poll([child] * 3), NOW, limits)
    assert isinstance(outcome, Resume)
    assert outcome.error.message == "calls: at most 2 are allowed; got 3"


def test_texts_of_errors_are_cut_with_a_mark():
    response = exit_(error=ValueError("x"))
    error = response.exit.result.error
    error.message, error.traceback = "m" * 10_000_000, b"t" * 10_000_000
    for status in (Status.PERMANENT_ERROR, Status.TEMPORARY_ERROR):
        response.status = status.value  # type: ignore[assignment]
        outcome = decide(running(), response, NOW, LIMITS)
        assert isinstance(outcome, Finish | Retry)
        found = outcome.error if isinstance(outcome, Retry) else outcome.result.error
        assert found.ByteSize() < 70_000
        assert "… (cut here) …" in found.message
        assert "… (cut here) …".encode() in found.traceback


def failure(status: Status) -> RunResponse:
    return RunResponse(status=status.value)


@pytest.mark.parametrize(
    ("status", "details", "counts"),
    [
        (Status.TEMPORARY_ERROR, {}, True),
        (Status.TIMEOUT, {}, True),
        (Status.TCP_ERROR, {"was_sent": False}, False),
        (Status.THROTTLED, {}, False),
        (Status.NOT_FOUND, {"passing": True}, False),
    ],
)
def test_the_last_attempt_is_the_last_that_counts(
    status: Status, details: dict[str, bool], counts: bool
):
    limits = Limits(max_attempts=3)
    for failures, uncounted in ((0, 0), (1, 0), (2, 1), (9, 8)):
        call = running(failures=failures, uncounted=uncounted)
        outcome = decide(call, failure(status), NOW, limits, **details)
        assert isinstance(outcome, Retry)
        assert outcome.counts == counts
    for failures, uncounted in ((2, 0), (5, 3), (9, 7)):
        call = running(failures=failures, uncounted=uncounted)
        outcome = decide(call, failure(status), NOW, limits, **details)
        if counts:
            assert isinstance(outcome, Finish)
            assert outcome.status is status
        else:
            assert isinstance(outcome, Retry)
    assert isinstance(decide(running(failures=99), failure(status), NOW, LIMITS, **details), Retry)


@given(st.integers(1, 20), st.lists(st.booleans(), max_size=200))
def test_a_call_begins_no_more_often_than_its_policy_says(most: int, sent: list[bool]):
    limits = Limits(max_attempts=most)
    call, begun = running(), 0
    for was_sent in sent:
        begun += was_sent
        outcome = decide(call, failure(Status.TCP_ERROR), NOW, limits, was_sent=was_sent)
        if isinstance(outcome, Finish):
            assert begun == most
            break
        assert isinstance(outcome, Retry)
        call = running(failures=call.failures + 1, uncounted=call.uncounted + (not outcome.counts))
    assert begun <= most
