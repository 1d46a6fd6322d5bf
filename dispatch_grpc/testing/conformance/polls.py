"""The checks of a function that suspends itself with a call."""

from collections.abc import Generator

from dispatch_grpc.codes import Status
from dispatch_grpc.schema import Call, CallResult, PollResult, RunResponse
from dispatch_grpc.testing.conformance.reading import (
    described,
    failed,
    is_same,
    output_of,
    ran,
    shown,
)
from dispatch_grpc.testing.conformance.subject import Answer, Check, Request, Steps, Subject, Unmet
from dispatch_grpc.values import marshal

CHILD = Call(
    correlation_id=7, endpoint="https://example.com", function="child", input=marshal({"n": 1})
)


def _suspend(subject: Subject) -> Generator[list[Request], list[Answer], RunResponse]:
    (answer,) = yield [subject.request(subject.run("relay", CHILD))]
    expected = "STATUS_OK with a poll of the one call that was given"
    response = ran(answer, expected)
    if response.status != Status.OK.value or len(response.poll.calls) != 1:
        raise Unmet(expected, described(answer))
    call = response.poll.calls[0]
    for name in ("endpoint", "function"):
        if getattr(call, name) != getattr(CHILD, name):
            raise Unmet(f"the {name} {getattr(CHILD, name)!r}", repr(getattr(call, name)))
    if not is_same(CHILD.input, call.input):
        raise Unmet(f"a call with the input {shown(CHILD.input)}", shown(call.input))
    return response


def _poll(subject: Subject) -> Steps:
    yield from _suspend(subject)


def _resume(
    subject: Subject, result: CallResult | None, expected: str
) -> Generator[list[Request], list[Answer], Answer]:
    """Suspend the function, and resume it with a result, or with an error of the poll itself."""
    response = yield from _suspend(subject)
    request = subject.run("relay", None)
    resumed = PollResult()
    if response.poll.HasField("typed_coroutine_state"):
        resumed.typed_coroutine_state.CopyFrom(response.poll.typed_coroutine_state)
    else:
        resumed.coroutine_state = response.poll.coroutine_state
    if result is None:
        resumed.error.type, resumed.error.message = "invalid_argument", "the call is not valid"
    else:
        found = resumed.results.add()
        found.CopyFrom(result)
        found.correlation_id = response.poll.calls[0].correlation_id
        found.dispatch_id = f"{subject.dispatch_id}-child"
    request.poll_result.CopyFrom(resumed)
    (answer,) = yield [subject.request(request)]
    if ran(answer, expected).HasField("poll"):
        raise Unmet(expected, described(answer))
    return answer


def _child_succeeds(subject: Subject) -> Steps:
    result = CallResult(output=marshal("grown up"))
    expected = f"the output of the child, {shown(result.output)}"
    answer = yield from _resume(subject, result, expected)
    found = output_of(answer, expected)
    if not is_same(result.output, found):
        raise Unmet(expected, shown(found))


def _child_fails(subject: Subject) -> Steps:
    result = CallResult()
    result.error.type, result.error.message = "ValueError", "the child has failed"
    expected = "a status that is not OK, and the child's error"
    failed((yield from _resume(subject, result, expected)), expected)


def _poll_fails(subject: Subject) -> Steps:
    expected = "a status that is not OK, and the error of the poll"
    failed((yield from _resume(subject, None, expected)), expected)


def checks() -> list[Check]:
    """Return the checks of polls."""
    return [
        Check(f"polls: {name}", steps, "relay")
        for name, steps in (
            ("a function suspends itself with a call", _poll),
            ("it is resumed with the result", _child_succeeds),
            ("the call has failed", _child_fails),
            ("the call was not accepted", _poll_fails),
        )
    ]
