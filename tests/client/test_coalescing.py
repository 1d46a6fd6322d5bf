"""Dispatches of an `AsyncClient` that leave together: against real servers, by every protocol."""

import asyncio
import pickle
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from dispatch_grpc import (
    AsyncClient,
    AuthenticationError,
    Call,
    ClientStateError,
    Coalesce,
    Code,
    DeadlineExceededError,
    Endpoint,
    InvalidArgumentError,
    NotFoundError,
    ProtocolError,
    RequestTooLargeError,
    UnavailableError,
    new_call,
)
from dispatch_grpc.client import coalescing
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.schema import DispatchRequest, DispatchResponse
from dispatch_grpc.testing import CallRecorder, Server, serve
from tests import hostile
from tests.conftest import KEY, PROTOCOLS, RunningService
from tests.transport.test_processes import python
from tests.waiting import async_until


def call(number: int, function: str = "f") -> Call:
    return new_call("http://127.0.0.1:9", function, number)


class Gate(CallRecorder):
    """A recorder that answers while its gate is open, "slow" calls late, and refuses "bad" ones.

    Attributes:
        arrived: The requests that have arrived, by their sizes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[int] = []
        self._open = threading.Event()
        self._open.set()

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def dispatch(
        self, request: DispatchRequest, metadata: Mapping[str, str]
    ) -> DispatchResponse:
        self.arrived.append(len(request.calls))
        while not self._open.is_set():
            await asyncio.sleep(0.005)
        for index, one in enumerate(request.calls):
            if one.function == "bad":
                raise rpc_error(Code.INVALID_ARGUMENT, f"calls[{index}].input: {one.input.value!r}")
        if request.calls[0].function == "slow":
            await asyncio.sleep(30)
        return await super().dispatch(request, metadata)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine does not make a request one that others no longer wait for."""
    monkeypatch.setattr(coalescing, "_PATIENCE_SECONDS", 60.0)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def server(gate: Gate) -> Iterator[Server]:
    with serve(gate, api_key=KEY) as server:
        yield server
        gate.open()


Act = Callable[[AsyncClient], Awaitable[Any]]


def run(protocol: str, url: str, act: Act, *, key: str = KEY, **settings: Any) -> Any:
    """Act with a client that coalesces."""

    async def main() -> Any:
        options = {"coalesce": True, "protocol": protocol, "env": {}, **settings}
        async with AsyncClient(key, api_url=url, **options) as client:
            return await act(client)

    return asyncio.run(main())


async def under_way(gate: Gate, client: AsyncClient, **options: Any) -> "asyncio.Task[str]":
    """Have a dispatch wait for its answer."""
    gate.close()
    number = len(gate.arrived)
    task = asyncio.create_task(client.dispatch(call(-1), **options))
    await async_until(lambda: len(gate.arrived) > number)
    return task


async def waiting(
    client: AsyncClient, count: int, start: int = 0, **options: Any
) -> "list[asyncio.Task[str]]":
    """Have dispatches wait for the one that is under way."""
    numbers = range(start, start + count)
    tasks = [asyncio.create_task(client.dispatch(call(n), **options)) for n in numbers]
    await asyncio.sleep(0.02)
    return tasks


async def errors_of(tasks: "list[asyncio.Task[str]]") -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_dispatches_during_a_request_leave_together(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> list[str]:
        first = await under_way(gate, client)
        tasks = await waiting(client, 20)
        assert gate.arrived == [1]
        gate.open()
        return [await first, *await asyncio.gather(*tasks)]

    ids = run(protocol, server.url, act)
    one, many = gate.requests
    assert [*one.dispatch_ids, *many.dispatch_ids] == ids
    assert many.calls == [call(number) for number in range(20)]
    keys = {request.metadata["idempotency-key"] for request in gate.requests}
    assert len(keys) == 2


def test_a_lone_dispatch_leaves_at_once(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> None:
        for number in range(3):
            await client.dispatch(call(number))

    run(protocol, server.url, act)
    assert gate.arrived == [1, 1, 1]


def test_dispatches_of_one_moment_leave_together(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> None:
        async def task(number: int) -> None:
            for _ in range(3):
                await client.dispatch(call(number))

        await asyncio.gather(*map(task, range(64)))

    run(protocol, server.url, act)
    assert gate.arrived == [64, 64, 64]


def test_a_request_has_bounds(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> None:
        first = await under_way(gate, client)
        tasks = await waiting(client, 20)
        gate.open()
        await asyncio.gather(first, *tasks)

    run(protocol, server.url, act, coalesce=Coalesce(max_calls=7))
    size = DispatchRequest(calls=[call(5)]).ByteSize()
    run(protocol, server.url, act, coalesce=Coalesce(max_bytes=9 * size + 1))
    # A client whose own bound is lower keeps to it.
    run(protocol, server.url, act, max_message_bytes=9 * size + 1)
    assert gate.arrived == [1, 7, 7, 6, 1, 9, 9, 2, 1, 9, 9, 2]


@pytest.mark.parametrize("length", [1, 60, 200, 20_000])
def test_the_bound_of_a_request_is_exact(protocol: str, gate: Gate, server: Server, length: int):
    """Whatever the size of the calls: protobuf writes it in as many bytes as it needs."""
    large = new_call("http://x", "f", "x" * length)

    async def act(client: AsyncClient) -> None:
        gate.clear()
        first = await under_way(gate, client)
        tasks = [asyncio.create_task(client.dispatch(large)) for _ in range(6)]
        await asyncio.sleep(0.02)
        gate.open()
        await asyncio.gather(first, *tasks)

    size = DispatchRequest(calls=[large] * 3).ByteSize()
    for max_bytes, groups in ((size, [1, 3, 3]), (size - 1, [1, 2, 2, 2])):
        gate.arrived.clear()
        run(protocol, server.url, act, coalesce=Coalesce(max_bytes=max_bytes))
        assert gate.arrived == groups
    assert gate.calls[-6:] == [large] * 6


def test_what_has_options_of_its_own_goes_alone(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> None:
        first = await under_way(gate, client)
        batch = client.batch()
        batch.add(call(1), call(2))
        alone = [
            client.dispatch(call(3), metadata={"mine": "1"}),
            client.dispatch(call(4), idempotency_key="mine"),
            batch.dispatch(),
        ]
        tasks = [asyncio.ensure_future(one) for one in alone]
        together = await waiting(client, 2)
        # They do not wait for the first.
        await async_until(lambda: sorted(gate.arrived) == [1, 1, 1, 2])
        for option in ({"delay": 1}, {"labels": {"a": "b"}}):
            with pytest.raises(NotFoundError, match="cannot delay or label calls"):
                await client.dispatch(call(5), **option)
        gate.open()
        await asyncio.gather(first, *together, *tasks)

    run(protocol, server.url, act)
    assert gate.arrived[-1] == 2
    mine = [one for one in gate.requests if one.metadata["idempotency-key"] == "mine"]
    assert [list(one.calls) for one in mine] == [[call(4)]]
    mine = [one for one in gate.requests if "mine" in one.metadata]
    assert [list(one.calls) for one in mine] == [[call(3)]]
    assert [call(1), call(2)] in [list(one.calls) for one in gate.requests]


def test_the_metadata_of_the_client_is_sent(protocol: str, gate: Gate, server: Server):
    run(protocol, server.url, lambda client: waiting_for(client, 3), metadata={"app": "shop"})
    assert [one.metadata["app"] for one in gate.requests] == ["shop"]


async def waiting_for(client: AsyncClient, count: int) -> list[Any]:
    return await errors_of(await waiting(client, count))


def test_a_call_that_is_changed_afterwards(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> None:
        first = await under_way(gate, client)
        changed = call(0)
        task = asyncio.create_task(client.dispatch(changed))
        await asyncio.sleep(0.02)
        changed.function = "g"
        gate.open()
        await asyncio.gather(first, task)

    run(protocol, server.url, act)
    assert gate.calls[1] == call(0)


# Refusals and lost answers


def test_after_a_refusal_each_is_sent_by_itself(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> list[Any]:
        numbers = range(8)
        calls = [call(number, "bad" if number % 4 == 1 else "f") for number in numbers]
        return await errors_of([asyncio.create_task(client.dispatch(one)) for one in calls])

    answers = run(protocol, server.url, act)
    assert gate.arrived == [8] + [1] * 8
    for number, answer in enumerate(answers):
        if number % 4 == 1:
            assert isinstance(answer, InvalidArgumentError)
            assert f"calls[0].input: {call(number).input.value!r}" in str(answer)
            assert type(answer.idempotency_key) is str
        else:
            assert type(answer) is str
    assert len(gate.calls) == 6
    assert len({one.metadata["idempotency-key"] for one in gate.requests}) == 6


def test_a_call_that_is_too_large_does_not_hold_up_the_others(
    protocol: str, gate: Gate, server: Server
):
    """One for the client, and one for the server: its bound is lower."""

    async def act(client: AsyncClient) -> list[Any]:
        calls = [call(1), new_call("http://x", "f", "x" * 3000), call(2)]
        return await errors_of([asyncio.create_task(client.dispatch(one)) for one in calls])

    with serve(gate, api_key=KEY, max_request_bytes=1000) as small:
        for url, settings in ((server.url, {"max_message_bytes": 1000}), (small.url, {})):
            gate.clear()
            first, large, last = run(protocol, url, act, **settings)
            assert isinstance(large, RequestTooLargeError)
            assert {type(first), type(last)} == {str}
            assert len(gate.calls) == 2


def test_a_failure_that_can_be_retried_resends_the_same_group(
    protocol: str, gate: Gate, server: Server
):
    gate.fail_next(Code.UNAVAILABLE)
    run(protocol, server.url, lambda client: waiting_for(client, 5))
    refused, sent = *gate.refused, *gate.requests
    assert refused.calls == sent.calls
    assert len(sent.calls) == 5
    assert refused.metadata["idempotency-key"] == sent.metadata["idempotency-key"]


def test_what_may_have_been_recorded_is_not_sent_by_itself(
    protocol: str, gate: Gate, server: Server
):
    """The second answer refuses what the first request may have recorded."""
    gate.fail_next(Code.UNAVAILABLE)
    gate.fail_next(Code.INVALID_ARGUMENT)
    answers = run(protocol, server.url, lambda client: waiting_for(client, 5))
    assert {type(answer) for answer in answers} == {InvalidArgumentError}
    assert gate.arrived == [5, 5]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (Code.UNAVAILABLE, UnavailableError),
        (Code.UNAUTHENTICATED, AuthenticationError),
        (Code.UNIMPLEMENTED, NotFoundError),
    ],
)
def test_an_error_of_all_is_raised_for_each(
    protocol: str, gate: Gate, server: Server, code: Code, error: type
):
    gate.fail_next(code)
    answers = run(protocol, server.url, lambda client: waiting_for(client, 4), retry=None)
    assert gate.arrived == [4]
    assert [type(answer) for answer in answers] == [error] * 4
    assert len({id(answer) for answer in answers}) == 4
    assert len({answer.idempotency_key for answer in answers}) == 1
    assert len({str(answer) for answer in answers}) == 1


def test_the_key_of_an_error_sends_the_whole_group_again(protocol: str, gate: Gate, server: Server):
    """The service knows the key for all calls of the request, and for no others."""

    async def act(client: AsyncClient) -> list[str]:
        gate.fail_next(Code.UNAVAILABLE)
        errors = pickle.loads(pickle.dumps(await waiting_for(client, 4)))
        for error in errors:
            assert isinstance(error, UnavailableError)
        gate.fail_next(Code.UNAVAILABLE)
        with pytest.raises(UnavailableError) as caught:
            await client.dispatch(call(2), idempotency_key=errors[2].idempotency_key)
        again = caught.value.idempotency_key
        found = [await client.dispatch(call(2), idempotency_key=again)]
        # Of another call it is a key like others.
        await client.dispatch(call(9), idempotency_key=again)
        return found

    (id,) = run(protocol, server.url, act, retry=None)
    group, other = gate.requests
    assert group.calls == [call(number) for number in range(4)]
    assert group.dispatch_ids[2] == id
    assert other.calls == [call(9)]
    requests = [*gate.refused, *gate.requests]
    assert len({one.metadata["idempotency-key"] for one in requests}) == 1


def test_an_answer_with_another_number_of_ids(protocol: str):
    class Forgetful(CallRecorder):
        async def dispatch(
            self, request: DispatchRequest, metadata: Mapping[str, str]
        ) -> DispatchResponse:
            await super().dispatch(request, metadata)
            return DispatchResponse(dispatch_ids=["one"])

    with serve(Forgetful(), api_key=KEY) as server:
        answers = run(protocol, server.url, lambda client: waiting_for(client, 3))
    assert {type(answer) for answer in answers} == {ProtocolError}


def test_a_durable_service_refuses_one_of_a_group(protocol: str, service: RunningService):
    """By gRPC and Connect; it calls no bridges."""
    function = f"f{uuid4().hex}"

    async def act(client: AsyncClient) -> tuple[list[Any], set[str]]:
        calls = [call(number, function) for number in range(6)]
        calls.insert(3, new_call("bridge://elsewhere", function))
        answers = await errors_of([asyncio.create_task(client.dispatch(one)) for one in calls])
        return answers, {one.dispatch_id for one in await client.list(function=function)}

    answers, recorded = run(protocol, service.url, act, key=service.api_key)
    refused = answers.pop(3)
    assert isinstance(refused, InvalidArgumentError)
    assert "calls[0].endpoint" in str(refused)
    assert set(answers) == recorded
    assert len(answers) == 6


def test_a_lost_answer_of_a_group_is_recorded_once(protocol: str, service: RunningService):
    function = f"f{uuid4().hex}"

    async def act(client: AsyncClient) -> tuple[list[str], list[str]]:
        await client.dispatch(call(-1))
        proxy.lose_answers()
        ids = await asyncio.gather(*(client.dispatch(call(n, function)) for n in range(10)))
        return ids, [one.dispatch_id for one in await client.list(function=function)]

    with hostile.silent_proxy(service.url) as proxy:
        ids, recorded = run(protocol, proxy.url, act, key=service.api_key, timeout=10)
    assert sorted(ids) == sorted(recorded)
    assert len(set(ids)) == 10


# Cancellations and deadlines


def test_one_that_is_cancelled_before_it_leaves_is_not_sent(
    protocol: str, gate: Gate, server: Server
):
    async def act(client: AsyncClient) -> None:
        first = await under_way(gate, client)
        tasks = await waiting(client, 3)
        tasks[1].cancel()
        await asyncio.wait({tasks[1]})
        gate.open()
        await asyncio.gather(first, tasks[0], tasks[2])
        assert tasks[1].cancelled()

    run(protocol, server.url, act)
    assert gate.requests[1].calls == [call(0), call(2)]


def test_one_that_is_cancelled_as_its_group_leaves_is_not_sent(
    protocol: str, gate: Gate, server: Server
):
    async def act(client: AsyncClient) -> None:
        await client.dispatch(call(-1))
        tasks = [asyncio.create_task(client.dispatch(call(n))) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(tasks[0], tasks[2])

    run(protocol, server.url, act)
    assert gate.requests[1].calls == [call(0), call(2)]


def test_one_that_is_cancelled_under_way_does_not_disturb_the_others(
    protocol: str, gate: Gate, server: Server
):
    async def act(client: AsyncClient) -> None:
        gate.close()
        tasks = await waiting(client, 3)
        await async_until(lambda: bool(gate.arrived))
        tasks[1].cancel()
        await asyncio.wait({tasks[1]})
        gate.open()
        assert [type(one) for one in await asyncio.gather(tasks[0], tasks[2])] == [str] * 2
        assert tasks[1].cancelled()

    run(protocol, server.url, act)
    assert gate.arrived == [3]


def test_a_request_that_nobody_waits_for_is_cancelled(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> None:
        gate.close()
        tasks = await waiting(client, 3, timeout=None)
        await async_until(lambda: bool(gate.arrived))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        later = await waiting(client, 2)
        # They leave while the gate is closed: nothing holds them up.
        await async_until(lambda: gate.arrived == [3, 2])
        gate.open()
        await asyncio.gather(*later)

    run(protocol, server.url, act)


def test_nothing_hangs_when_every_task_is_cancelled(protocol: str, gate: Gate, server: Server):
    """As `asyncio.run` does at its end: also the task that sends, before those that wait for it."""

    async def act(client: AsyncClient) -> None:
        gate.close()
        tasks = await waiting(client, 3)
        await async_until(lambda: bool(gate.arrived))
        for task in asyncio.all_tasks():
            if "Coalescer" in repr(task):
                task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)

    run(protocol, server.url, act)


def test_all_that_wait_are_cancelled(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> None:
        task = asyncio.create_task(client.dispatch(call(0)))
        await asyncio.sleep(0)
        task.cancel()  # before anything is sent
        await asyncio.wait({task})
        await client.dispatch(call(1))

    run(protocol, server.url, act)
    assert gate.arrived == [1]
    assert gate.calls == [call(1)]


def test_each_has_its_own_deadline(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> None:
        gate.close()
        long = asyncio.create_task(client.dispatch(call(1), timeout=30))
        short = asyncio.create_task(client.dispatch(call(0), timeout=0.5))
        await async_until(lambda: gate.arrived == [2])
        late = asyncio.create_task(client.dispatch(call(2), timeout=0.1))
        with pytest.raises(DeadlineExceededError, match="nothing was sent") as caught:
            await late
        assert caught.value.idempotency_key is None
        with pytest.raises(DeadlineExceededError, match="no answer from http:") as e:
            await short
        gate.open()
        id = await client.dispatch(call(0), idempotency_key=e.value.idempotency_key)
        assert id != await long

    run(protocol, server.url, act)
    assert [len(one.calls) for one in gate.requests] == [2, 2]
    assert len({one.metadata["idempotency-key"] for one in gate.requests}) == 1


def test_the_last_deadline_is_that_of_the_request(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> list[Any]:
        gate.close()
        return await errors_of(await waiting(client, 3, timeout=0.3))

    answers = run(protocol, server.url, act)
    assert {type(answer) for answer in answers} == {DeadlineExceededError}
    assert len({answer.idempotency_key for answer in answers}) == 1
    assert answers[-1].__cause__ is not None, "not the error of the transport"


def test_a_slow_request_holds_up_the_others_for_a_while_only(
    protocol: str, gate: Gate, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(coalescing, "_PATIENCE_SECONDS", 0.3)

    async def act(client: AsyncClient) -> None:
        first = await under_way(gate, client, timeout=None)
        tasks = await waiting(client, 3)
        await async_until(lambda: gate.arrived == [1, 3])
        tasks += await waiting(client, 2)
        await async_until(lambda: gate.arrived == [1, 3, 2])
        gate.open()
        await asyncio.gather(first, *tasks)
        await client.dispatch(call(0))

    run(protocol, server.url, act)


def test_what_does_not_fit_waits_for_a_while_only(
    protocol: str, gate: Gate, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(coalescing, "_PATIENCE_SECONDS", 0.1)

    async def act(client: AsyncClient) -> None:
        gate.close()
        tasks = await waiting(client, 5)
        await async_until(lambda: gate.arrived == [2, 2, 1])
        gate.open()
        await asyncio.gather(*tasks)

    run(protocol, server.url, act, coalesce=Coalesce(max_calls=2))


def test_a_deadline_while_a_dispatch_lingers_or_waits_after_a_refusal(
    protocol: str, gate: Gate, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(coalescing, "_SINGLES_AT_ONCE", 1)

    async def linger(client: AsyncClient) -> None:
        with pytest.raises(DeadlineExceededError, match="nothing was sent"):
            await client.dispatch(call(0), timeout=0.1)

    async def refused(client: AsyncClient) -> list[Any]:
        await client.dispatch(call(0))
        first = asyncio.create_task(client.dispatch(call(0, "slow"), timeout=None))
        calls = [call(1, "bad"), call(2)]
        others = [asyncio.create_task(client.dispatch(one, timeout=2)) for one in calls]
        answers = await errors_of(others)
        assert not first.done()
        first.cancel()
        return answers

    run(protocol, server.url, linger, coalesce=Coalesce(linger=timedelta(days=1)))
    for error in run(protocol, server.url, refused):  # they waited for the first
        assert isinstance(error, DeadlineExceededError)
        assert "nothing was sent" in str(error)
    assert gate.arrived == [1, 3, 1]


def test_a_dispatch_lingers_for_others(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> None:
        tasks = []
        for number in range(3):
            tasks.append(asyncio.create_task(client.dispatch(call(number))))
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks)

    rules = Coalesce(linger=timedelta(seconds=0.5))
    run(protocol, server.url, act, coalesce=rules)
    assert gate.arrived == [3]
    # What is full leaves without lingering: or this would hang.
    rules = Coalesce(linger=timedelta(days=1), max_calls=3)
    run(protocol, server.url, act, coalesce=rules)
    assert gate.arrived == [3, 3]


# Closing, event loops, forks


def test_closing_ends_all_dispatches(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> tuple[list[Any], list[Any]]:
        gate.close()
        flying = await waiting(client, 2)
        await async_until(lambda: bool(gate.arrived))
        late = await waiting(client, 2)
        await client.close()
        return await errors_of(flying), await errors_of(late)

    flying, late = run(protocol, server.url, act)
    assert {str(error) for error in flying} == {
        "the client was closed while the request was under way"
    }
    assert {str(error) for error in late} == {"the client was closed before the call was sent"}
    assert {type(error) for error in (*flying, *late)} == {ClientStateError}
    keys = [error.idempotency_key for error in flying]
    assert keys[0] == keys[1] is not None
    assert [error.idempotency_key for error in late] == [None, None]


def test_a_client_that_is_closed_or_of_another_event_loop(protocol: str, server: Server):
    client = AsyncClient(KEY, api_url=server.url, protocol=protocol, env={}, coalesce=True)

    async def use() -> None:
        await client.dispatch(call(0))

    with asyncio.Runner() as runner:
        runner.run(use())
        with asyncio.Runner() as other:
            with pytest.raises(ClientStateError, match="belongs to another event loop"):
                other.run(use())
        runner.run(client.close())
        with pytest.raises(ClientStateError, match="the client is closed"):
            runner.run(use())


FORK = """
    import asyncio, os, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about fork and threads
    from dispatch_grpc import AsyncClient, ClientStateError, new_call
    url, protocol = sys.argv[1:]
    call = new_call("http://example.com", "f")
    clients = [
        AsyncClient(os.environ["KEY"], api_url=url, protocol=protocol, retry=None, coalesce=True)
        for _ in range(2)
    ]

    async def dispatch(client):
        await asyncio.gather(*(client.dispatch(call) for _ in range(5)))

    async def main():
        await dispatch(clients[0])
        await clients[0].close()

    def child():
        try:
            asyncio.run(dispatch(clients[0]))
        except ClientStateError as error:
            print(error, flush=True)

        async def use():
            await dispatch(clients[1])
            await clients[1].close()

        asyncio.run(use())
        return 0

    async def used():
        await dispatch(clients[0])

    runner = asyncio.Runner()
    if protocol != "grpc":  # grpc.aio has threads that a forked child lacks
        runner.run(used())
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = child()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    runner.run(main())
    runner.close()
"""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_forked_child(protocol: str, gate: Gate, server: Server):
    """It may use a client that its parent has not used."""
    output = python(FORK, server.url, protocol, KEY=KEY)
    if protocol != "grpc":
        assert "belongs to another event loop" in output
    assert set(gate.arrived) == {5}


def test_an_endpoint_dispatches_by_such_a_client(protocol: str, gate: Gate, server: Server):
    async def act(client: AsyncClient) -> list[str]:
        endpoint = Endpoint("http://127.0.0.1:9", client=client)

        @endpoint.function
        def greet(name: str) -> str:
            return name

        return await asyncio.gather(*(greet.dispatch_async(str(n)) for n in range(5)))

    ids = run(protocol, server.url, act)
    assert gate.arrived == [5]
    assert list(gate.requests[0].dispatch_ids) == ids
