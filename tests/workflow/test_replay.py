"""Replay: any order and grouping of results gives the same, and so does a replay of the journal."""

import asyncio
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatch_grpc import CallError, marshal, new_call, unmarshal, workflow
from dispatch_grpc.workflow import journal as journals
from dispatch_grpc.workflow.activation import Activation
from tests.workflow.scheduler import START_US, Scheduler, answer, begin, resume


def call(name: str, input: Any = None) -> Any:
    return workflow.run(new_call("http://one.example.com", name, input))


async def everything() -> list[Any]:
    """All of asyncio that a workflow may use."""
    a = await call("a", 1)
    b, c = await asyncio.gather(call("b", a), call("c", a))

    async def both(name: str) -> list[Any]:
        first = await call(name, 1)
        number = await workflow.step(len, name)
        return [first, number, await call(name, 2)]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(both(name)) for name in ("d", "e", "f")]
    late = False
    try:
        async with asyncio.timeout(30):
            await call("never")
    except TimeoutError:
        late = True
    await asyncio.sleep(3600)
    done, _ = await asyncio.wait([asyncio.ensure_future(call(n)) for n in ("g", "h")])
    queue: asyncio.Queue[Any] = asyncio.Queue()
    event = asyncio.Event()

    async def produce() -> None:
        for number in range(3):
            await queue.put(await call("item", number))
        event.set()

    producer = asyncio.create_task(produce())
    await event.wait()
    await producer
    items = [queue.get_nowait() for _ in range(3)]
    caught = ""
    try:
        await call("fail", "no")
    except CallError as error:
        caught = f"{error.type} {error.message} {error.status.name}"
    ids = [str(workflow.uuid4()), workflow.random().random()]
    return [
        *(a, b, c, [task.result() for task in tasks], late),
        *(sorted(task.result()[0] for task in done), items, caught, ids),
    ]


def test_200_random_orders_of_delivery_give_one_result():
    results = [
        Scheduler(everything, random.Random(seed), never=frozenset({"never"}), noise=True).run()
        for seed in range(200)
    ]
    assert results[0][4:8] == [
        *(True, ["g", "h"], [["item", 0], ["item", 1], ["item", 2]]),
        "ValueError no PERMANENT_ERROR",
    ]
    assert all(result == results[0] for result in results)


# Shapes of workflows that hypothesis makes up.

shapes = st.recursive(
    st.sampled_from(["call", "fail", "step", "sleep", "short", "yield", "uuid", "now"]),
    lambda inner: st.tuples(
        st.sampled_from(["seq", "gather", "group", "first", "timeout", "shield", "race"]),
        st.lists(inner, min_size=1, max_size=4),
    ),
    max_leaves=12,
)


async def act(shape: Any, path: str) -> Any:
    if shape == "call":
        return await call("work", path)
    if shape == "fail":
        try:
            return await call("fail", path)
        except CallError as error:
            return error.message
    if shape == "step":
        return await workflow.step(str.upper, path)
    if shape == "sleep":
        return await asyncio.sleep(100, path)
    if shape == "short":
        return await asyncio.sleep(1.5, path)
    if shape == "yield":
        return await asyncio.sleep(0, path)
    if shape == "uuid":
        return str(workflow.uuid4())
    if shape == "now":
        return workflow.now().isoformat()
    kind, parts = shape
    if kind == "seq":
        return [await act(part, f"{path}.{number}") for number, part in enumerate(parts)]
    if kind == "shield":
        return [
            await asyncio.shield(act(part, f"{path}.{number}")) for number, part in enumerate(parts)
        ]
    coroutines = [act(part, f"{path}.{number}") for number, part in enumerate(parts)]
    if kind == "gather":
        return await asyncio.gather(*coroutines)
    if kind == "group":
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
        return [task.result() for task in tasks]
    if kind == "timeout":
        try:
            async with asyncio.timeout(2):
                return await asyncio.gather(*coroutines)
        except TimeoutError:
            return "late"
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    if kind == "race":
        for soon in asyncio.as_completed(tasks):
            await soon
        return [task.result() for task in tasks]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return len(done) > 0


@settings(max_examples=150, deadline=None)
@given(shapes, st.integers(0, 2**32), st.booleans())
def test_a_replay_gives_what_the_original_gave(shape: Any, seed: int, noise: bool):
    def code() -> Any:
        return act(shape, "0")

    original = Scheduler(code, random.Random(seed), noise=noise)
    result = original.run()
    assert original.journal is not None
    replayed = Activation(code, original.journal)
    replayed.start()
    assert replayed.done
    assert replayed.outcome == (result, None)
    assert replayed.left == original.left
    replayed.discard()


# Lanes.


def test_concurrent_branches_are_known_by_their_lanes():
    """A branch that asks for one more thing leaves the ids of the others as they are."""

    def ids(more: bool) -> dict[str, int]:
        async def branch(name: str) -> None:
            if more and name == "b":
                await asyncio.sleep(0)
            await call(name)

        async def code() -> None:
            await asyncio.gather(*(branch(name) for name in "abc"))

        activation = begin(code)
        poll = activation.poll(0)
        activation.discard()
        return {c.function: c.correlation_id for c in poll.calls}

    assert ids(more=False) == ids(more=True)
    assert len(set(ids(more=False).values())) == 3


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (lambda: asyncio.gather(*(call("a", n) for n in range(7))), 7),
        (lambda: asyncio.gather(*(call("a", n) for n in range(1100))), 1000),
        (lambda: asyncio.wait([asyncio.ensure_future(call("a", n)) for n in range(3)]), 1),
        (lambda: call("a"), 1),
        (lambda: asyncio.gather(call("a"), _two()), 1),
    ],
)
def test_a_poll_waits_for_all_when_nothing_can_go_on_before(code: Any, wanted: int):
    async def main() -> None:
        await code()

    activation = begin(main)
    poll = activation.poll(0)
    activation.discard()
    assert poll.min_results == wanted
    assert poll.max_results == 1000


async def _two() -> None:
    await call("b")
    await call("c")


def test_calls_of_more_bytes_than_a_poll_takes_are_split_in_order():
    async def code() -> list[int]:
        results = await asyncio.gather(*(call("a", [n, "x" * 900_000]) for n in range(10)))
        return [result[1][0] for result in results]

    activation = begin(code)
    calls: list[Any] = []
    while True:
        poll = activation.poll(0)
        activation.discard()
        assert poll.ByteSize() < 4_000_000
        if not poll.calls:
            break
        calls += poll.calls
        activation = resume(code, poll)
    assert [unmarshal(c.input)[0] for c in calls] == list(range(10))
    for c in calls:
        c.input.CopyFrom(marshal([unmarshal(c.input)[0], ""]))  # short results
    activation = resume(code, poll)
    activation.deliver([answer(c) for c in calls[:5]], None, 0)
    activation.deliver([answer(c) for c in calls[5:]], None, 0)
    assert activation.outcome == (list(range(10)), None)
    activation.discard()


@given(st.floats(1e-9, 5e9))
@example(1e9 + 3e-7)
def test_a_timer_is_due_when_it_says(seconds: float):
    async def code() -> str:
        return await asyncio.sleep(seconds, "slept")

    activation = begin(code)
    due = activation.next_wake_us()
    assert due is not None
    activation.wake(due)
    assert activation.outcome == ("slept", None)
    activation.discard()


def test_results_of_an_earlier_run_are_ignored():
    """A call that continues as new keeps its id, and gets late results of the run before."""

    async def code() -> Any:
        return await call("a", 1)

    before = begin(code)
    late = answer(before.poll(START_US).calls[0])
    before.discard()
    other = journals.new_journal(b"m" * 16, marshal(None), START_US, "1")
    activation = Activation(code, other)
    activation.start(fresh=True)
    poll = activation.poll(START_US)
    activation.deliver([late], None, START_US)
    assert not activation.done
    activation.deliver([answer(poll.calls[0])] * 2, None, START_US)
    assert activation.outcome == (["a", 1], None)
    activation.discard()
