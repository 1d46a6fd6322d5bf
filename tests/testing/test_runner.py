"""`testing.Runner`: calls run to their end in this process, as a Dispatch service runs them."""

import asyncio
import gc
import pickle
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyProto
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch_grpc import (
    Call,
    CallError,
    ConfigurationError,
    Endpoint,
    EndpointError,
    InvalidCallError,
    Status,
    UnmarshalError,
    current_call,
    marshal,
    new_call,
    unmarshal,
)
from dispatch_grpc.primitives import RunRequest, RunResponse, exit_, poll, tail_call
from dispatch_grpc.testing import Runner

SECONDS = 30
"""A bound for what would otherwise hang."""


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint("http://one.example.com", env={})


@pytest.fixture(autouse=True)
def no_leftovers() -> Iterator[None]:
    """What a test leaves behind is collected in it, so that its warnings are its failure."""
    yield
    gc.collect()


def outputs(request: RunRequest) -> list[Any]:
    return [unmarshal(result.output) for result in request.poll_result.results]


# Results and failures of one function


def test_a_result_comes_back(endpoint: Endpoint):
    @endpoint.function
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    @endpoint.function
    async def halve(number: int) -> float:
        return number / 2

    runner = Runner(endpoint)
    assert runner.run(greet.call("World")) == "Hello, World!"
    assert runner.run(halve.call(3)) == 1.5
    assert runner.run(new_call("http://one.example.com/", "greet", "slash")) == "Hello, slash!"


def test_a_result_is_decoded_into_a_type(endpoint: Endpoint):
    @endpoint.function
    def pair() -> list[int]:
        return [2, 1]

    assert Runner(endpoint).run(pair.call(), set[int]) == {1, 2}
    with pytest.raises(UnmarshalError):
        Runner(endpoint).run(pair.call(), str)


def test_no_output_is_none(endpoint: Endpoint):
    @endpoint.function
    def nothing() -> None:
        pass

    @endpoint.primitive
    def silent(request: RunRequest) -> RunResponse:
        return RunResponse(status="STATUS_OK", exit={"result": {}})

    assert Runner(endpoint).run(nothing.call()) is None
    assert Runner(endpoint).run(silent.call()) is None


def test_a_failure_is_told(endpoint: Endpoint):
    @endpoint.function
    def find(name: str) -> str:
        raise FileNotFoundError(f"no {name}")

    with pytest.raises(CallError) as caught:
        Runner(endpoint).run(find.call("cat"))
    error = caught.value
    assert (error.type, error.message) == ("FileNotFoundError", "no cat")
    assert error.status is Status.TEMPORARY_ERROR
    assert error.output is None
    assert "in find\n" in error.traceback
    assert error.traceback.endswith("FileNotFoundError: no cat\n")
    assert str(error) == "FileNotFoundError: no cat [TEMPORARY_ERROR]"


def test_a_failure_can_be_pickled(endpoint: Endpoint):
    @endpoint.primitive
    def half(request: RunRequest) -> RunResponse:
        return exit_([1], error=TimeoutError("the rest"))

    with pytest.raises(CallError) as caught:
        Runner(endpoint).run(half.call())
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == "TimeoutError: the rest [TIMEOUT]"
    assert vars(copy) == vars(caught.value)
    assert copy.output == [1]


def test_a_partial_output_of_an_unknown_type_does_not_hide_the_failure(endpoint: Endpoint):
    unknown = AnyProto(type_url="example.com/Unknown", value=b"\xff")

    @endpoint.primitive
    def half(request: RunRequest) -> RunResponse:
        return exit_(unknown, error=TimeoutError("the rest"))

    with pytest.raises(CallError, match="the rest") as caught:
        Runner(endpoint).run(half.call())
    assert caught.value.output == unknown


@pytest.mark.parametrize("status", set(Status) - {Status.OK, Status.UNSPECIFIED})
def test_a_status_without_an_error_is_a_failure(endpoint: Endpoint, status: Status):
    @endpoint.primitive
    def terse(request: RunRequest) -> RunResponse:
        return RunResponse(status=f"STATUS_{status.name}")

    with pytest.raises(CallError, match="answered") as caught:
        Runner(endpoint).run(terse.call())
    assert (caught.value.status, caught.value.type) == (status, status.name)


def test_a_status_that_the_schema_does_not_have_is_a_failure(endpoint: Endpoint):
    @endpoint.primitive
    def later(request: RunRequest) -> RunResponse:
        return RunResponse(status=99)

    @endpoint.primitive
    def parent(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            return poll([later.call()])
        return exit_(len(request.poll_result.results))

    with pytest.raises(CallError):
        Runner(endpoint).run(later.call())
    assert Runner(endpoint).run(parent.call()) == 1


def test_an_unknown_function_fails_and_the_nearest_is_named(endpoint: Endpoint):
    @endpoint.function
    def greet() -> None: ...

    with pytest.raises(CallError, match=r"no function 'great'.*did you mean 'greet'") as caught:
        Runner(endpoint).run(new_call(endpoint.url, "great"))
    assert caught.value.status is Status.NOT_FOUND


def test_an_unknown_endpoint_fails_and_the_known_are_named(endpoint: Endpoint):
    with pytest.raises(CallError, match=r"http://two.*it has: http://one\.example\.com") as caught:
        Runner(endpoint).run(new_call("http://two.example.com", "f"))
    assert caught.value.status is Status.NOT_FOUND
    with pytest.raises(CallError, match="it has: none"):
        Runner().run(new_call("http://two.example.com", "f"))


@pytest.mark.parametrize("call", [Call(), Call(function="f"), None, "f"])
def test_an_invalid_call_is_refused(endpoint: Endpoint, call: Any):
    with pytest.raises(InvalidCallError, match=r"^call(\.|:)"):
        Runner(endpoint).run(call)


def test_an_input_that_does_not_fit_fails(endpoint: Endpoint):
    @endpoint.function
    def double(number: int) -> int:
        return number * 2

    with pytest.raises(CallError, match="number: ") as caught:
        Runner(endpoint).run(new_call(endpoint.url, "double", "two"))
    assert caught.value.status is Status.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"calls": [Call(function="f"), Call()]}, r"calls\[1\]\.function"),
        ({"min_results": 0}, "min_results"),
        ({"max_wait": {"nanos": 999_999_999}}, "max_wait"),
    ],
)
def test_a_poll_made_by_hand_is_checked_too(
    endpoint: Endpoint, changes: dict[str, Any], message: str
):
    @endpoint.primitive
    def parent(request: RunRequest) -> RunResponse:
        fields = {"min_results": 1, "max_results": 1, "max_wait": {"seconds": 1}, **changes}
        return RunResponse(status="STATUS_OK", poll=fields)

    with pytest.raises(CallError, match=f"the answer of parent: {message}") as caught:
        Runner(endpoint).run(parent.call())
    assert caught.value.status is Status.INVALID_RESPONSE


def test_settings_are_checked(endpoint: Endpoint):
    with pytest.raises(
        ConfigurationError, match=r"two endpoints have the URL http://one\.example\.com"
    ):
        Runner(endpoint, Endpoint("http://one.example.com/", env={}))
    with pytest.raises(ConfigurationError, match=r"max_attempts: .* got 0"):
        Runner(endpoint, max_attempts=0)


# Polls


@pytest.mark.parametrize("state", [b"", b"\0\xff", None, 7, {"a": [1, 2.5]}, "text"])
def test_the_state_comes_back_unchanged(endpoint: Endpoint, state: Any):
    seen = []

    @endpoint.primitive
    def suspend(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            return poll(state=state)
        seen.append(request.poll_result)
        return exit_()

    Runner(endpoint).run(suspend.call())
    asked = poll(state=state).poll
    (given,) = seen
    assert given.WhichOneof("state") == asked.WhichOneof("state")
    assert given.coroutine_state == asked.coroutine_state
    assert given.typed_coroutine_state == asked.typed_coroutine_state
    assert not given.HasField("error")


def test_a_poll_without_calls_is_resumed_at_once(endpoint: Endpoint):
    @endpoint.primitive
    def count(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            return poll(state=1)
        number = unmarshal(request.poll_result.typed_coroutine_state)
        assert not request.poll_result.results
        return exit_(number) if number == 50 else poll(state=number + 1)

    assert Runner(endpoint).run(count.call()) == 50


class Gates:
    """Child calls that end in an order that a test chooses."""

    def __init__(self, endpoint: Endpoint, number: int) -> None:
        self.events = [asyncio.Event() for _ in range(number)]
        self.ended: list[int] = []

        @endpoint.function
        async def gate(index: int) -> int:
            await self.events[index].wait()
            self.ended.append(index)
            if index + 1 < number:
                self.events[index + 1].set()
            return index

        self.call = gate.call

    def calls(self) -> list[Call]:
        """Calls that end in the reverse of their order here, once the first gate is open."""
        return [self.call(index) for index in reversed(range(len(self.events)))]


def test_results_come_in_the_order_of_ending_and_the_remaining_ones_later(endpoint: Endpoint):
    gates = Gates(endpoint, 7)
    deliveries = []

    @endpoint.primitive
    async def collect(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            gates.events[0].set()
            return poll(gates.calls(), min_results=7, max_results=7)
        deliveries.append(outputs(request))
        return exit_() if not request.poll_result.results else poll(min_results=2, max_results=2)

    @endpoint.primitive
    async def hoard(request: RunRequest) -> RunResponse:
        """Asks for few at a time, when all have ended."""
        if request.HasField("input"):
            gates.events[0].set()
            return poll(gates.calls(), max_results=1)
        for _ in range(100):
            await asyncio.sleep(0)
        deliveries.append(outputs(request))
        return exit_() if not request.poll_result.results else poll(min_results=3, max_results=3)

    async def main() -> None:
        await Runner(endpoint).run_async(collect.call())
        for event in gates.events:
            event.clear()
        await Runner(endpoint).run_async(hoard.call())

    asyncio.run(main())
    assert deliveries[:2] == [[0, 1, 2, 3, 4, 5, 6], []]
    assert deliveries[2:] == [[0], [1, 2, 3], [4, 5, 6], []]


@pytest.mark.parametrize("min_results", [1, 2, 5])
def test_a_function_is_resumed_as_soon_as_enough_results_are_in(
    endpoint: Endpoint, min_results: int
):
    resumed = asyncio.Event()

    @endpoint.function
    async def child(index: int) -> int:
        if index >= min_results:
            await resumed.wait()  # would hang if these were waited for
        return index

    @endpoint.primitive
    async def parent(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            return poll([child.call(index) for index in range(6)], min_results=min_results)
        found = outputs(request)
        resumed.set()
        return exit_(sorted(found))

    assert Runner(endpoint).run(parent.call()) == list(range(min_results))


def test_a_function_is_resumed_when_all_calls_have_ended_though_they_are_too_few(
    endpoint: Endpoint,
):
    @endpoint.function
    def child(index: int) -> int:
        return index

    @endpoint.primitive
    def parent(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            return poll([child.call(index) for index in range(3)], min_results=1000)
        return exit_(sorted(outputs(request)))

    assert Runner(endpoint).run(parent.call()) == [0, 1, 2]


def test_a_function_is_resumed_when_max_wait_has_passed(endpoint: Endpoint):
    release = asyncio.Event()

    @endpoint.function
    async def never(index: int) -> int:
        if index:
            await release.wait()
        return index

    @endpoint.primitive
    async def parent(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            calls = [never.call(0), never.call(1)]
            return poll(calls, state=[], min_results=2, max_wait=timedelta(seconds=1))
        seen = [*unmarshal(request.poll_result.typed_coroutine_state), outputs(request)]
        release.set()
        return poll(state=seen) if len(seen) == 1 else exit_(seen)

    assert Runner(endpoint).run(parent.call()) == [[0], [1]]


def test_child_calls_that_fail_are_results_with_errors(endpoint: Endpoint):
    @endpoint.function
    def divide(by: int) -> float:
        return 1 / by

    @endpoint.primitive
    def parent(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            calls = [
                new_call(endpoint.url, "divide", 0, correlation_id=2**64 - 1),
                new_call(endpoint.url, "divide", 2, correlation_id=7),
                new_call(endpoint.url, "none", correlation_id=8),
                new_call("http://nowhere.example.com", "f"),
            ]
            return poll(calls, min_results=4)
        return exit_(
            [
                [str(r.correlation_id), r.error.type, r.HasField("output"), bool(r.dispatch_id)]
                for r in request.poll_result.results
            ]
        )

    assert sorted(Runner(endpoint).run(parent.call())) == [
        ["0", "LookupError", False, True],
        ["18446744073709551615", "ZeroDivisionError", False, True],
        ["7", "", True, True],
        ["8", "dispatch_grpc.errors.NotFoundError", False, True],
    ]


def test_the_children_know_their_parent_and_their_root(endpoint: Endpoint):
    @endpoint.function
    def leaf() -> list[str]:
        call = current_call()
        return [call.dispatch_id, call.parent_dispatch_id, call.root_dispatch_id]

    def ask(request: RunRequest, child: Call) -> RunResponse:
        call = current_call()
        if request.HasField("input"):
            return poll([child])
        (result,) = request.poll_result.results
        below = unmarshal(result.output)
        # The id of a result is the id of the call that it is of.
        assert result.dispatch_id == (below[-1] if isinstance(below[0], list) else below)[0]
        mine = [call.dispatch_id, call.parent_dispatch_id, call.root_dispatch_id]
        return exit_([*(below if isinstance(below[0], list) else [below]), mine])

    @endpoint.primitive
    def middle(request: RunRequest) -> RunResponse:
        return ask(request, leaf.call())

    @endpoint.primitive
    def top(request: RunRequest) -> RunResponse:
        return ask(request, middle.call())

    low, mid, high = Runner(endpoint).run(top.call())
    assert len({low[0], mid[0], high[0]}) == 3
    assert high == [high[0], "", high[0]]
    assert mid == [mid[0], high[0], high[0]]
    assert low == [low[0], mid[0], high[0]]


def test_each_run_has_an_id_of_its_own(endpoint: Endpoint):
    @endpoint.function
    def which() -> str:
        return current_call().dispatch_id

    runner = Runner(endpoint)
    assert len({runner.run(which.call()) for _ in range(10)}) == 10


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_children_run_concurrently(endpoint: Endpoint, kind: str):
    number = 20
    barrier = threading.Barrier(number)
    arrived: list[int] = []
    everybody = asyncio.Event()

    @endpoint.function(name="sync")
    def wait_in_a_thread(index: int) -> int:
        barrier.wait(SECONDS)
        return index

    @endpoint.function(name="async")
    async def wait_on_the_loop(index: int) -> int:
        arrived.append(index)
        if len(arrived) == number:
            everybody.set()
        async with asyncio.timeout(SECONDS):
            await everybody.wait()
        return index

    @endpoint.primitive
    def parent(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            calls = [new_call(endpoint.url, kind, index) for index in range(number)]
            return poll(calls, min_results=number)
        return exit_(sorted(outputs(request)))

    assert Runner(endpoint).run(parent.call()) == list(range(number))


def test_polls_are_nested(endpoint: Endpoint):
    @endpoint.primitive
    def tree(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            depth = unmarshal(request.input, int)
            if depth == 0:
                return exit_(1)
            return poll([new_call(endpoint.url, "tree", depth - 1)] * 3, min_results=3)
        return exit_(sum(outputs(request)))

    assert Runner(endpoint).run(tree.call(5)) == 3**5


def test_waiting_parents_hold_no_thread(endpoint: Endpoint):
    """With one thread, a parent that held it would wait for ever."""
    narrow = Endpoint("http://narrow.example.com", max_concurrency=1, env={})

    @narrow.primitive
    def nest(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            depth = unmarshal(request.input, int)
            return poll([new_call(narrow.url, "nest", depth - 1)]) if depth else exit_(0)
        return exit_(outputs(request)[0] + 1)

    assert Runner(narrow).run(nest.call(10)) == 10


def test_five_hundred_children(endpoint: Endpoint):
    @endpoint.function
    async def square(number: int) -> int:
        return number * number

    @endpoint.primitive
    def total(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            return poll([square.call(n) for n in range(500)], min_results=500)
        return exit_(sum(outputs(request)))

    assert Runner(endpoint).run(total.call()) == sum(n * n for n in range(500))


def test_an_empty_endpoint_is_the_endpoint_of_the_parent(endpoint: Endpoint):
    two = Endpoint("http://two.example.com", env={})

    @endpoint.function(name="name")
    def one_name() -> str:
        return "one"

    @two.function(name="name")
    def two_name() -> str:
        return "two"

    def ask(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            calls = [Call(function="name"), one_name.call(), two_name.call()]
            return poll(calls, min_results=3)
        return exit_(sorted(outputs(request)))

    runner = Runner(endpoint, two)
    assert runner.run(endpoint.primitive(ask).call()) == ["one", "one", "two"]
    assert runner.run(two.primitive(ask).call()) == ["one", "two", "two"]


# Tail calls


def test_a_chain_of_a_hundred_tail_calls_keeps_the_id_and_the_creation_time(endpoint: Endpoint):
    seen = set()

    @endpoint.primitive
    def countdown(request: RunRequest) -> RunResponse:
        call = current_call()
        seen.add((call.dispatch_id, call.root_dispatch_id, call.creation_time))
        left = unmarshal(request.input, int)
        return tail_call(countdown.call(left - 1)) if left else exit_("done")

    assert Runner(endpoint).run(countdown.call(100)) == "done"
    assert len(seen) == 1


def test_a_tail_call_goes_to_another_endpoint_and_stays_there(endpoint: Endpoint):
    two = Endpoint("http://two.example.com", env={})

    @endpoint.primitive
    def begin(request: RunRequest) -> RunResponse:
        return tail_call(new_call(two.url, "go_on"))

    @two.primitive
    def go_on(request: RunRequest) -> RunResponse:
        return tail_call(Call(function="end", input=marshal([1])))

    @endpoint.function(name="end")
    def wrong(items: list[int]) -> str:
        return "the first"

    @two.function(name="end")
    def right(items: list[int]) -> str:
        return f"the second, {items}"

    for runner in (Runner(endpoint, two), Runner(two, endpoint)):
        assert runner.run(begin.call()) == "the second, [1]"


def test_a_child_that_goes_on_by_a_tail_call_gives_one_result(endpoint: Endpoint):
    @endpoint.function
    def last(text: str) -> str:
        return text + "!"

    @endpoint.primitive
    def first(request: RunRequest) -> RunResponse:
        return tail_call(last.call("well"))

    @endpoint.primitive
    def parent(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            return poll([new_call(endpoint.url, "first", correlation_id=5)])
        (result,) = request.poll_result.results
        return exit_([result.correlation_id, unmarshal(result.output)])

    assert Runner(endpoint).run(parent.call()) == [5, "well!"]


def test_a_tail_call_has_nothing_of_the_calls_before_it(endpoint: Endpoint):
    """Results of children of the replaced function are no results of the other's."""

    @endpoint.function
    async def child(index: int) -> int:
        return index

    @endpoint.primitive
    def first(request: RunRequest) -> RunResponse:
        """Goes on while two of three results are not delivered."""
        if request.HasField("input"):
            return poll([child.call(n) for n in range(3)], max_results=1)
        return tail_call(second.call())

    @endpoint.primitive
    def second(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            return poll([child.call(n) for n in (10, 11)], min_results=2)
        return exit_(sorted(outputs(request)))

    assert Runner(endpoint).run(first.call()) == [10, 11]


def test_a_tail_call_that_fails_is_the_failure_of_the_call(endpoint: Endpoint):
    @endpoint.primitive
    def first(request: RunRequest) -> RunResponse:
        return tail_call(Call(function="missing"))

    with pytest.raises(CallError, match="missing"):
        Runner(endpoint).run(first.call())


# Trying again


@pytest.mark.parametrize("status", [status for status in Status if status.retryable])
@pytest.mark.parametrize(("failures", "max_attempts"), [(1, 2), (2, 3), (2, 9)])
def test_a_call_is_tried_again_after_a_temporary_status(
    endpoint: Endpoint, status: Status, failures: int, max_attempts: int
):
    runs = []

    @endpoint.primitive
    def moody(request: RunRequest) -> RunResponse:
        runs.append(request)
        if len(runs) <= failures:
            return exit_(error=ValueError("not yet"), status=status)
        return exit_("at last")

    assert Runner(endpoint, max_attempts=max_attempts).run(moody.call(1)) == "at last"
    assert runs == [runs[0]] * (failures + 1)


@pytest.mark.parametrize(
    ("status", "max_attempts", "times"),
    [(Status.THROTTLED, 1, 1), (Status.THROTTLED, 4, 4), (Status.PERMANENT_ERROR, 4, 1)],
)
def test_a_call_is_run_max_attempts_times_at_most(
    endpoint: Endpoint, status: Status, max_attempts: int, times: int
):
    runs = []

    @endpoint.primitive
    def never(request: RunRequest) -> RunResponse:
        runs.append(request)
        return exit_(error=ValueError(f"run {len(runs)}"), status=status)

    with pytest.raises(CallError, match=f"run {times}") as caught:
        Runner(endpoint, max_attempts=max_attempts).run(never.call())
    assert caught.value.status is status
    assert len(runs) == times


def test_every_resumption_has_the_attempts_anew_and_the_same_results(endpoint: Endpoint):
    seen = []

    @endpoint.function
    def child() -> int:
        return 5

    @endpoint.primitive
    def parent(request: RunRequest) -> RunResponse:
        seen.append((request.WhichOneof("directive"), len(request.poll_result.results)))
        if len(seen) in {1, 3, 5}:
            return exit_(error=ConnectionError())
        if len(seen) in {2, 4}:
            return poll([child.call()])
        return exit_(outputs(request))

    assert Runner(endpoint, max_attempts=2).run(parent.call()) == [5]
    assert seen == [("input", 0)] * 2 + [("poll_result", 1)] * 4


def test_an_incompatible_state_begins_again_from_the_input(endpoint: Endpoint):
    seen: list[str] = []
    release = asyncio.Event()

    @endpoint.function
    async def child(label: str) -> str:
        if "slow" in label:
            await release.wait()
        return label

    @endpoint.primitive
    def parent(request: RunRequest) -> RunResponse:
        kind = request.WhichOneof("directive") or ""
        seen.append(kind)
        generation = "old" if seen.count("input") == 1 else "new"
        if kind == "input":
            assert unmarshal(request.input) == "the input"
            calls = [
                child.call(f"{generation} {label}") for label in ("quick", "quick too", "slow")
            ]
            bounds = {"max_results": 1} if generation == "old" else {"min_results": 2}
            return poll(calls, **bounds)
        if generation == "old":
            return exit_(error=ValueError("old state"), status=Status.INCOMPATIBLE_STATE)
        return exit_(sorted(outputs(request)))

    # Results of the calls before belong to a state that is gone.
    found = Runner(endpoint, max_attempts=2).run(parent.call("the input"))
    assert found == ["new quick", "new quick too"]
    assert seen == ["input", "poll_result", "input", "poll_result"]


# Time


def test_the_creation_and_the_expiration_are_told(endpoint: Endpoint):
    seen = []

    @endpoint.function
    def look() -> None:
        seen.append(current_call())

    before = datetime.now(UTC)
    Runner(endpoint).run(look.with_options(expiration=timedelta(hours=1)).call())
    Runner(endpoint).run(look.call())
    Runner(endpoint).run(look.with_options(expiration=timedelta(days=3_652_500)).call())
    first, second, third = seen
    assert first.creation_time
    assert third.expiration_time
    assert before <= first.creation_time <= datetime.now(UTC)
    assert first.expiration_time == first.creation_time + timedelta(hours=1)
    assert second.expiration_time is None
    assert third.expiration_time.year == 9999


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_a_call_that_expires_fails_with_timeout(endpoint: Endpoint, seconds: float):
    cancelled = []

    @endpoint.function
    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(CallError, match="expired") as caught:
        Runner(endpoint).run(forever.with_options(expiration=timedelta(seconds=seconds)).call())
    assert caught.value.status is Status.TIMEOUT
    assert cancelled == [True] * bool(seconds)


def test_a_call_expires_while_it_waits_for_others(endpoint: Endpoint):
    """Its max_wait, of five minutes, does not prolong it."""
    ended = []

    @endpoint.function
    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    @endpoint.primitive
    def parent(request: RunRequest) -> RunResponse:
        assert request.HasField("input")
        return poll([forever.call()])

    with pytest.raises(CallError, match="expired") as caught:
        Runner(endpoint).run(parent.with_options(expiration=timedelta(seconds=0.2)).call())
    assert caught.value.status is Status.TIMEOUT
    assert ended == [True]


# The end


def test_children_not_waited_for_are_cancelled_at_the_end(endpoint: Endpoint):
    started, ended = [], []
    both = asyncio.Event()

    @endpoint.function
    async def forever(name: str) -> None:
        started.append(name)
        if len(started) == 2:
            both.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    @endpoint.function
    async def quick() -> None:
        await both.wait()

    @endpoint.primitive
    def middle(request: RunRequest) -> RunResponse:
        return poll([forever.call("grandchild")])

    @endpoint.primitive
    def parent(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            return poll([forever.call("child"), middle.call(), quick.call()])
        return exit_("the end")

    async def main() -> None:
        assert await Runner(endpoint).run_async(parent.call()) == "the end"
        assert sorted(ended) == ["child", "grandchild"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_run_that_is_cancelled_leaves_nothing_behind(endpoint: Endpoint):
    started = asyncio.Event()
    ended = []

    @endpoint.function
    async def forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    @endpoint.primitive
    def parent(request: RunRequest) -> RunResponse:
        return poll([forever.call()])

    async def main() -> None:
        task = asyncio.create_task(Runner(endpoint).run_async(parent.call()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_run_async_runs_many_calls_in_a_running_loop(endpoint: Endpoint):
    @endpoint.function
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    async def main() -> list[int]:
        runner = Runner(endpoint)
        calls = [runner.run_async(double.call(n), int) for n in range(50)]
        return list(await asyncio.gather(*calls))

    assert asyncio.run(main()) == [n * 2 for n in range(50)]


def test_run_in_a_running_loop_says_what_to_use(endpoint: Endpoint):
    @endpoint.function
    def greet() -> None: ...

    async def main() -> None:
        with pytest.raises(EndpointError, match=r"await run_async\(\)"):
            Runner(endpoint).run(greet.call())

    asyncio.run(main())
    gc.collect()  # a coroutine that was never awaited would warn, and so fail


def test_a_runner_may_be_used_by_threads_and_again(endpoint: Endpoint):
    @endpoint.function
    def double(number: int) -> int:
        return number * 2

    runner = Runner(endpoint)
    found: list[int] = []

    def work() -> None:
        found.extend(runner.run(double.call(n)) for n in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(found) == sorted(n * 2 for n in range(20) for _ in range(4))


def test_sync_children_that_are_not_waited_for_end_without_a_trace(endpoint: Endpoint):
    """Their threads end after the event loop is closed."""
    release, ended = threading.Event(), threading.Event()

    @endpoint.function
    def stuck() -> None:
        release.wait(SECONDS)
        ended.set()

    @endpoint.function
    def quick() -> None: ...

    @endpoint.primitive
    def parent(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            return poll([stuck.call(), quick.call()])
        return exit_("the end")

    try:
        assert Runner(endpoint).run(parent.call()) == "the end"
    finally:
        release.set()
    assert ended.wait(SECONDS)


# Any tree

# A tree is a value, the bounds of each poll, and its children.
leaves: Any = st.tuples(st.integers(-99, 99), st.integers(1, 5), st.integers(0, 5), st.just([]))
trees = st.recursive(
    leaves,
    lambda inner: st.tuples(
        st.integers(-99, 99), st.integers(1, 5), st.integers(0, 5), st.lists(inner, max_size=4)
    ),
    max_leaves=30,
)


def total(tree: Any) -> int:
    value, _, _, children = tree
    return int(value) + sum(total(child) for child in children)


@settings(max_examples=150, deadline=None)
@given(tree=trees, limit=st.integers(1, 4))
def test_a_tree_of_calls_gives_its_sum_however_the_results_are_asked_for(tree: Any, limit: int):
    endpoint = Endpoint("http://one.example.com", max_concurrency=limit, env={})

    def step(request: RunRequest) -> RunResponse:
        if request.HasField("input"):
            value, low, more, children = unmarshal(request.input)
            kinds = ["sync", "async", "detour"]
            calls = [
                Call(function=kinds[i % 3], input=marshal(child), correlation_id=i + 1)
                for i, child in enumerate(children)
            ]
            missing = list(range(1, len(calls) + 1))
        else:
            value, low, more, missing = unmarshal(request.poll_result.typed_coroutine_state)
            assert len(request.poll_result.results) <= low + more
            assert len(request.poll_result.results) >= min(low, len(missing))
            calls = []
            for result in request.poll_result.results:
                missing.remove(result.correlation_id)  # each is delivered once
                value += unmarshal(result.output, int)
        if not missing:
            return exit_(value)
        state = [value, low, more, missing]
        return poll(calls, state=state, min_results=low, max_results=low + more)

    @endpoint.primitive(name="sync")
    def in_a_thread(request: RunRequest) -> RunResponse:
        return step(request)

    @endpoint.primitive(name="async")
    async def on_the_loop(request: RunRequest) -> RunResponse:
        await asyncio.sleep(0)
        return step(request)

    @endpoint.primitive
    def detour(request: RunRequest) -> RunResponse:
        return tail_call(Call(function="sync", input=request.input))

    assert Runner(endpoint).run(in_a_thread.call(list(tree))) == total(tree)
