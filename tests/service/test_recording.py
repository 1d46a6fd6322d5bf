"""Requests that are recorded together: each is all or none and idempotent, as if it were alone."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatch_grpc import (
    AlreadyExistsError,
    AsyncClient,
    Client,
    DispatchError,
    UnavailableError,
    new_call,
)
from dispatch_grpc.service import recording
from dispatch_grpc.service.batching import MAX_BYTES, Batcher
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.recording import Recorder
from dispatch_grpc.service.store import NewCall
from dispatch_grpc.service.store_accept import Accepted, Request
from tests.service.conftest import Bench
from tests.service.processes import KEY, Process, service
from tests.service.test_faults import postgres_pid

GOOD, BAD = new_call("http://x", "good"), new_call("http://x", "bad")


@pytest.fixture
def picky(bench: Bench) -> Any:
    """A database that does not accept calls of one function."""
    rule = "CONSTRAINT picky CHECK (function <> 'bad')"
    bench.run(lambda c: c.execute(f"ALTER TABLE calls ADD {rule}"))
    yield bench
    bench.run(lambda c: c.execute("ALTER TABLE calls DROP CONSTRAINT picky"))


def request(*calls: Any, key: str | None = None, body: str = "", size: int = 0) -> Request:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    new = [NewCall(new_id(), call, expires_at) for call in calls]
    return Request(new, None if key is None else key.encode(), body.encode(), size)


def ids_of(request: Request) -> list[UUID]:
    return [new.id for new in request.calls]


async def answers(act: Callable[[Request], Awaitable[Any]], requests: Sequence[Request]) -> Any:
    return await asyncio.gather(*map(act, requests), return_exceptions=True)


async def recorded(bench: Bench, requests: Sequence[Request]) -> set[UUID]:
    """The calls of these requests that are in the database, each with its job."""
    async with bench.database.durable.acquire() as connection:
        rows = await connection.fetch(
            "SELECT id FROM calls WHERE id = ANY($1)",
            [id for request in requests for id in ids_of(request)],
        )
        found = {row["id"] for row in rows}
        jobs = await connection.fetch(
            "SELECT payload FROM pgqueuer WHERE payload = ANY($1)",
            [id.bytes + bytes(4) for id in found],
        )
        assert len(jobs) == len(found)
        return found


@dataclass(frozen=True)
class Plan:
    """A request: its key, what it is about, how many calls it has, whether one of them is bad."""

    key: int | None
    body: int
    calls: int
    is_bad: bool


PLANS = st.lists(
    st.builds(
        Plan,
        key=st.none() | st.integers(0, 3),
        body=st.integers(0, 1),
        calls=st.integers(1, 3),
        is_bad=st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


def requests_of(plans: Sequence[Plan]) -> list[Request]:
    name = uuid4().hex
    return [
        request(
            *[GOOD] * (plan.calls - plan.is_bad),
            *[BAD] * plan.is_bad,
            key=None if plan.key is None else f"{name} {plan.key}",
            body=str(plan.body),
        )
        for plan in plans
    ]


SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SLOW
@given(plans=PLANS)
def test_requests_together_end_as_one_after_the_other(
    picky: Bench, monkeypatch: pytest.MonkeyPatch, plans: list[Plan]
):
    monkeypatch.setattr(recording, "_PATIENCE_SECONDS", 60)  # a group that overtakes has no order
    requests = requests_of(plans)
    used: dict[bytes, Request] = {}
    expected: list[Any] = []
    for plan, one in zip(plans, requests, strict=True):
        first = used.get(one.key) if one.key is not None else None
        if first is not None:
            same = first.body == one.body
            expected.append(Accepted(ids_of(first), is_new=False) if same else AlreadyExistsError)
        elif plan.is_bad:
            expected.append(asyncpg.CheckViolationError)
        else:
            expected.append(Accepted(ids_of(one)))
            if one.key is not None:
                used[one.key] = one

    async def main() -> None:
        found = await answers(Recorder(picky.database).record, requests)
        assert [one if isinstance(one, Accepted) else type(one) for one in found] == expected
        new = {id for one in expected if isinstance(one, Accepted) for id in one.ids}
        assert await recorded(picky, requests) == new

    picky.runner.run(main())


@SLOW
@given(plans=PLANS, others=PLANS)
def test_two_processes_record_a_key_once(picky: Bench, plans: list[Plan], others: list[Plan]):
    requests = requests_of([*plans, *others])

    async def main() -> None:
        first, second = Recorder(picky.database), Recorder(picky.database)
        some = asyncio.create_task(answers(first.record, requests[: len(plans)]))
        found = [*await answers(second.record, requests[len(plans) :])]
        found = [*await some, *found]
        won: dict[bytes, tuple[bytes, list[UUID]]] = {}
        new = set()
        for one, answer in zip(requests, found, strict=True):
            if isinstance(answer, Accepted):
                new |= set(answer.ids)
                if one.key is not None:
                    winner = won.setdefault(one.key, (one.body, list(answer.ids)))
                    assert winner == (one.body, list(answer.ids))
        for plan, one, answer in zip([*plans, *others], requests, found, strict=True):
            if isinstance(answer, AlreadyExistsError):
                assert one.key is not None
                assert won[one.key][0] != one.body
            elif not isinstance(answer, Accepted):
                assert isinstance(answer, asyncpg.CheckViolationError)
                assert plan.is_bad
        assert await recorded(picky, requests) == new

    picky.runner.run(asyncio.wait_for(main(), 60))


async def transactions(bench: Bench, requests: Sequence[Request]) -> int:
    """Record requests at the same time. Returns the number of transactions that wrote calls."""
    await answers(Recorder(bench.database).record, requests)
    async with bench.database.durable.acquire() as connection:
        number: int = await connection.fetchval("SELECT count(DISTINCT xmin::text) FROM calls")
        return number


def test_requests_share_a_transaction(bench: Bench):
    requests = [request(GOOD, key=uuid4().hex) for _ in range(64)]
    assert bench.runner.run(transactions(bench, requests)) == 1


def test_a_request_with_a_key_that_is_used_in_the_group_comes_after_it(bench: Bench):
    requests = [request(GOOD, key=key) for key in ("a", "b", "a", "c")]
    assert bench.runner.run(transactions(bench, requests)) == 1


def test_what_one_transaction_writes_is_bounded(bench: Bench):
    large = MAX_BYTES // recording._MAX_BYTES + 1
    requests = [request(GOOD, size=recording._MAX_BYTES) for _ in range(large)]
    assert bench.runner.run(transactions(bench, requests)) == 2


@pytest.fixture
def slow(bench: Bench) -> Iterator[Bench]:
    """A database that records calls of one function only while nobody has a lock."""
    bench.run(
        lambda c: c.execute(
            """
            CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN PERFORM pg_advisory_xact_lock(1); RETURN new; END $$;
            CREATE TRIGGER slow BEFORE INSERT ON calls FOR EACH ROW WHEN (new.function = 'bad')
                EXECUTE FUNCTION wait();
            """
        )
    )
    yield bench
    bench.run(lambda c: c.execute("DROP TRIGGER slow ON calls; DROP FUNCTION wait"))


def test_a_group_that_is_held_up_does_not_hold_up_the_next(slow: Bench):
    async def main() -> None:
        recorder = Recorder(slow.database)
        connection = await asyncpg.connect(slow.url())
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(1)")
            held = asyncio.create_task(recorder.record(request(BAD)))
            for _ in range(3):  # its group is under way
                await asyncio.sleep(0)
            assert (await asyncio.wait_for(recorder.record(request(GOOD)), 10)).is_new
            assert not held.done()
        assert (await held).is_new
        await connection.close()

    slow.runner.run(asyncio.wait_for(main(), 60))


def test_a_large_request_has_a_transaction_of_its_own(bench: Bench):
    requests = [
        request(GOOD),
        request(*[GOOD] * (recording._MAX_CALLS + 1)),
        request(GOOD, size=recording._MAX_BYTES + 1),
        request(GOOD),
    ]

    async def main() -> list[Any]:
        await answers(Recorder(bench.database).record, requests)
        async with bench.database.durable.acquire() as connection:
            rows: list[Any] = await connection.fetch("SELECT id, xmin::text FROM calls")
            return rows

    owners = {row["id"]: row["xmin"] for row in bench.runner.run(main())}
    first, many, large, last = (owners[ids_of(one)[0]] for one in requests)
    assert first == last
    assert len({first, many, large}) == 3


def test_a_client_that_goes_away_takes_no_other_along(bench: Bench):
    requests = [request(GOOD, key=uuid4().hex) for _ in range(8)]

    async def main() -> None:
        recorder = Recorder(bench.database)
        tasks = [asyncio.create_task(recorder.record(one)) for one in requests]
        for _ in range(3):  # its group is under way
            await asyncio.sleep(0)
        tasks[3].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found.pop(3), asyncio.CancelledError)
        ids = {id for one in found if isinstance(one, Accepted) for id in one.ids}
        assert len(ids) == 7
        assert ids <= await recorded(bench, requests)

    bench.runner.run(main())


def test_a_key_that_another_transaction_has_holds_up_its_request_alone(bench: Bench):
    lock = "SELECT pg_advisory_xact_lock(1684632432, hashtext(encode($1, 'hex')))"

    async def main() -> None:
        recorder = Recorder(bench.database)
        connection = await asyncpg.connect(bench.url())
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(lock, b"taken")
        held = [asyncio.create_task(recorder.record(request(GOOD, key="taken")))]
        await asyncio.sleep(0.01)  # alone in its group
        await recorder.record(request(GOOD, key="free"))
        held.append(asyncio.create_task(recorder.record(request(GOOD, key="taken"))))
        others = [request(GOOD, key=f"other {number}") for number in range(8)]
        found = await answers(recorder.record, others)  # in one group with it
        assert all(isinstance(one, Accepted) for one in found)
        assert not any(task.done() for task in held)
        await transaction.rollback()
        first, second = await asyncio.gather(*held)
        assert first.ids == second.ids
        assert {first.is_new, second.is_new} == {True, False}
        await connection.close()

    bench.runner.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("calls", [1, recording._MAX_CALLS + 1])
def test_requests_that_wait_for_their_keys_hold_no_connection(bench: Bench, calls: int):
    """A transaction of an application may have many keys, and stay open for long."""
    lock = "SELECT pg_advisory_xact_lock(1684632432, hashtext(encode($1, 'hex')))"
    keys = [f"taken {number}" for number in range(40)]

    async def main() -> None:
        recorder = Recorder(bench.database)
        connection = await asyncpg.connect(bench.url())
        transaction = connection.transaction()
        await transaction.start()
        await connection.executemany(lock, [(key.encode(),) for key in keys])
        held = []
        for key in keys:
            record = recorder.record(request(*[GOOD] * calls, key=key))
            held.append(asyncio.create_task(record))
            await asyncio.sleep(0.002)  # in a group of its own
        await asyncio.wait_for(recorder.record(request(GOOD)), 5)
        assert not any(task.done() for task in held)
        await transaction.rollback()
        found = await asyncio.gather(*held)
        assert all(one.is_new for one in found)
        await connection.close()

    bench.runner.run(asyncio.wait_for(main(), 60))


def test_a_key_that_stays_in_use_is_refused_in_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recording, "_KEY_SECONDS", 0.1)
    lock = "SELECT pg_advisory_xact_lock(1684632432, hashtext(encode($1, 'hex')))"

    async def main() -> None:
        connection = await asyncpg.connect(bench.url())
        async with connection.transaction():
            await connection.execute(lock, b"taken")
            with pytest.raises(UnavailableError, match="belongs to a transaction that has not"):
                await Recorder(bench.database).record(request(GOOD, key="taken"))
        await connection.close()

    bench.runner.run(asyncio.wait_for(main(), 60))


def test_an_outage_fails_all_of_a_group_at_once(bench: Bench):
    class Away:
        """Nothing is to be tried one by one that no attempt can do."""

        def __init__(self) -> None:
            self.clock = bench.database.clock
            self.durable = self
            self.asked = 0

        def acquire(self) -> Any:
            self.asked += 1
            raise OSError("away")

    away: Any = Away()

    async def main() -> list[Any]:
        found: list[Any] = await answers(Recorder(away).record, [request(GOOD) for _ in range(20)])
        return found

    assert {type(one) for one in bench.runner.run(main())} == {OSError}
    assert away.asked == 1


def test_a_batch_is_bounded_and_keeps_the_order():
    batches: list[list[int]] = []

    async def handle(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        await asyncio.sleep(0)
        return items

    async def main() -> None:
        sized: Batcher[int, int] = Batcher(handle, 3, lambda item: MAX_BYTES // 2 * (item > 9))
        items = [1, 2, 3, 4, 10, 11, 12]
        assert await asyncio.gather(*map(sized.submit, items)) == items
        assert batches == [[1, 2, 3], [4, 10, 11], [12]]
        batches.clear()
        keyed: Batcher[int, int] = Batcher(handle, 9, key_of=lambda item: item % 3 or None)
        items = [1, 4, 2, 3, 6, 7, 5]
        assert await asyncio.gather(*map(keyed.submit, items)) == items
        assert batches == [[1, 2, 3, 6], [4, 5], [7]]

    asyncio.run(main())


@pytest.mark.parametrize("crashed", ["service", "database"])
@pytest.mark.parametrize("tasks", [1, 64])
def test_what_was_acknowledged_is_there_after_a_crash(tmp_path: Path, tasks: int, crashed: str):
    """Again and again, at other moments."""
    data = tmp_path / "data"
    ids: list[str] = []

    def crash(process: Process) -> None:
        if crashed == "database":
            os.kill(postgres_pid(data), signal.SIGQUIT)  # what it has in memory only is lost
        process.kill()

    async def load(process: Process) -> None:
        async with AsyncClient(KEY, api_url=process.url, retry=None) as client:
            before = len(ids)

            async def send() -> None:
                with suppress(DispatchError):
                    while True:
                        ids.append(await client.dispatch(GOOD, delay=3600))

            async with asyncio.TaskGroup() as group:
                for _ in range(tasks):
                    group.create_task(send())
                while len(ids) < before + 50:
                    await asyncio.sleep(0.001)
                crash(process)

    for _ in range(3):
        with service(data) as process:
            asyncio.run(load(process))
    with service(data) as process, Client(KEY, api_url=process.url) as client:
        assert {info.dispatch_id for info in client.list(limit=100_000)} >= set(ids)
    assert len(ids) >= 150
