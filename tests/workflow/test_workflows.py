"""Workflows in the Runner: what they wait for, and in which ways."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from dispatch_grpc import Endpoint, Function, workflow
from dispatch_grpc.testing import Runner


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint("http://one.example.com", env={})


def run(endpoint: Endpoint, call):
    return Runner(endpoint, replay_every_step=True).run(call)


@dataclass
class Payment:
    amount: int


def test_awaits_one_after_the_other(endpoint: Endpoint):
    @endpoint.function
    def charge(amount: int) -> Payment:
        return Payment(amount)

    @endpoint.function
    async def receipt(payment: Payment, number: int) -> str:
        return f"{number}: {payment.amount}"

    @endpoint.workflow
    async def checkout(amount: int) -> str:
        payment = await charge.run(amount)
        assert isinstance(payment, Payment)
        return await receipt.run(payment, number=7)

    assert run(endpoint, checkout.call(30)) == "7: 30"


def test_the_repr_hides_the_credentials_of_a_url():
    endpoint = Endpoint("http://user:secret@one.example.com", env={})

    @endpoint.workflow
    async def checkout() -> None: ...

    assert repr(checkout) == "<Workflow checkout of http://********@one.example.com>"


# asyncio's own tools


@pytest.fixture
def double(endpoint: Endpoint) -> Function[[int], int]:
    @endpoint.function
    def double(number: int) -> int:
        return 2 * number

    return double


def test_gather(endpoint: Endpoint, double: Function[[int], int]):
    @endpoint.workflow
    async def many() -> list[int]:
        return await asyncio.gather(*(double.run(i) for i in range(5)))

    assert run(endpoint, many.call()) == [0, 2, 4, 6, 8]


def test_a_task_group_with_tasks_of_several_steps(endpoint: Endpoint, double: Function[[int], int]):
    async def twice(number: int) -> int:
        return await double.run(await double.run(number))

    @endpoint.workflow
    async def many() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(twice(i)) for i in range(5)]
            tasks.append(group.create_task(double.run(50)))
        return [task.result() for task in tasks]

    assert run(endpoint, many.call()) == [0, 4, 8, 12, 16, 100]


def test_sleep_of_three_days_takes_no_time(endpoint: Endpoint):
    @endpoint.workflow
    async def patient() -> timedelta:
        begin = workflow.now()
        await asyncio.sleep(3 * 24 * 3600)
        return workflow.now() - begin

    assert timedelta(days=3) <= run(endpoint, patient.call()) < timedelta(days=3, seconds=5)


def test_a_short_sleep_is_waited_for_in_the_process(endpoint: Endpoint):
    @endpoint.workflow
    async def short() -> timedelta:
        begin = workflow.now()
        await asyncio.sleep(0.25)
        return workflow.now() - begin

    assert timedelta(seconds=0.25) <= run(endpoint, short.call()) < timedelta(seconds=1)


def test_a_timeout_ends_the_wait_for_a_call(endpoint: Endpoint):
    @endpoint.workflow
    async def never() -> None:
        await asyncio.sleep(10**6)

    @endpoint.workflow
    async def impatient() -> str:
        try:
            async with asyncio.timeout(3600):
                await never.run()
        except TimeoutError:
            return "late"
        return "in time"

    assert run(endpoint, impatient.call()) == "late"


def test_wait_and_as_completed(endpoint: Endpoint):
    @endpoint.workflow
    async def after(seconds: int) -> int:
        await asyncio.sleep(seconds)
        return seconds

    @endpoint.workflow
    async def first() -> list[int]:
        tasks = [asyncio.create_task(after.run(n * 1000)) for n in (3, 1, 2)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        found = [task.result() for task in done]
        return found + [await soon for soon in asyncio.as_completed(pending)]

    assert run(endpoint, first.call()) == [1000, 2000, 3000]


def test_queue_event_lock_and_condition(endpoint: Endpoint, double: Function[[int], int]):
    @endpoint.workflow
    async def workers() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(2)
        results: list[int] = []
        lock, ready = asyncio.Lock(), asyncio.Event()

        async def work() -> None:
            await ready.wait()
            while True:
                number = await queue.get()
                result = await double.run(number)
                async with lock:
                    results.append(result)
                queue.task_done()

        tasks = [asyncio.create_task(work()) for _ in range(3)]
        ready.set()
        for number in range(10):
            await queue.put(number)
        await queue.join()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return sorted(results)

    assert run(endpoint, workers.call()) == [2 * n for n in range(10)]
