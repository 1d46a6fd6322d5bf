"""Notices between processes: together, after the commit, not to oneself, never too long."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

from dispatch_grpc import new_call
from dispatch_grpc.service import queue, store_accept
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.notices import HOSTS, LANES, Notices
from dispatch_grpc.service.store import NewCall
from tests.service.conftest import Bench

CALL = new_call("http://here.example", "f")


async def heard(bench: Bench, count: int, tell: Any, channel: str = LANES) -> list[str]:
    """Return the payloads that a session hears until it has heard of so many items, and then."""
    payloads: list[str] = []
    connection = await bench.database.connect()
    await connection.add_listener(channel, lambda *found: payloads.append(found[-1]))
    try:
        await tell()
        while sum(payload.count("\n") for payload in payloads) < count:
            await asyncio.sleep(0.01)
        await connection.fetchval("SELECT 1")
        return payloads
    finally:
        connection.terminate()


def test_what_is_told_within_some_milliseconds_is_one_notice(bench: Bench):
    async def main() -> None:
        notices = Notices(bench.database)

        async def tell() -> None:
            for number in range(50):
                notices.tell(LANES, [f"http://h {number}", "http://h always"])

        (payload,) = await heard(bench, 51, tell)
        assert len(payload.split("\n")) == 1 + 51

    bench.runner.run(asyncio.wait_for(main(), 30))


def test_long_notices_are_divided_and_what_does_not_fit_is_left_out(bench: Bench):
    items = [f"http://{'h' * 1000} {number}é" for number in range(20)]

    async def main() -> None:
        notices = Notices(bench.database)

        async def tell() -> None:
            notices.tell(HOSTS, [*items, "x" * 10_000])

        payloads = await heard(bench, 20, tell, HOSTS)
        assert [item for payload in payloads for item in payload.split("\n")[1:]] == items
        assert all(len(payload.encode()) < 8000 for payload in payloads)

    bench.runner.run(asyncio.wait_for(main(), 30))


def test_others_hear_what_a_process_tells_and_itself_hears_it_once(bench: Bench):
    async def main() -> None:
        here, there = Notices(bench.database), Notices(bench.database)
        found: list[tuple[str, Any]] = []
        here.listen(LANES, lambda items: found.append(("here", items)))
        there.listen(LANES, lambda items: found.append(("there", items)))
        running = [asyncio.create_task(one.run()) for one in (here, there)]
        await here.listening.wait()
        await there.listening.wait()
        here.tell(LANES, ["a"])
        there.tell(LANES, ["b"])
        while len(found) < 4:
            await asyncio.sleep(0.01)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert sorted(found) == [
            ("here", ["a"]),
            ("here", ["b"]),
            ("there", ["a"]),
            ("there", ["b"]),
        ]

    bench.runner.run(asyncio.wait_for(main(), 30))


def test_a_process_tells_others_only_while_there_are_some(bench: Bench):
    async def main() -> None:
        here, there = Notices(bench.database), Notices(bench.database)
        at_once: list[Any] = []
        here.listen(LANES, at_once.append)

        async def tell() -> None:
            here.is_alone = True
            here.tell(LANES, ["alone"])
            assert at_once == [["alone"]]
            await asyncio.gather(*([here._sending] if here._sending else []))
            listening = asyncio.create_task(here.run())
            await here.listening.wait()
            running = asyncio.create_task(there.run())  # which tells that it listens
            while not here._is_heard:
                await asyncio.sleep(0.01)
            here.tell(LANES, ["heard"])
            for task in (listening, running):
                task.cancel()
            await asyncio.gather(listening, running, return_exceptions=True)

        (payload,) = await heard(bench, 1, tell)
        assert payload.split("\n")[1:] == ["heard"]

    bench.runner.run(asyncio.wait_for(main(), 30))


def test_a_transaction_that_dispatches_is_no_other_process(bench: Bench):
    """It tells which lanes have jobs, and does not listen."""

    async def main() -> None:
        notices, found = Notices(bench.database), asyncio.Event()
        notices.listen(LANES, lambda items: found.set() if items == ["http://h f"] else None)
        running = asyncio.create_task(notices.run())
        await notices.listening.wait()
        notices.is_alone = True
        async with bench.database.transaction() as connection:
            await connection.execute("SELECT dispatch('http://h', 'f')")
        await found.wait()
        assert not notices._is_heard
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    bench.runner.run(asyncio.wait_for(main(), 30))


def test_notices_may_be_lost_until_a_connection_listens(bench: Bench):
    async def main() -> None:
        losses: asyncio.Queue[None] = asyncio.Queue()
        notices = Notices(bench.database, lost=lambda: losses.put_nowait(None))
        running = asyncio.create_task(notices.run())
        await losses.get()
        async with bench.database.relaxed.acquire() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            )
        await losses.get()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    bench.runner.run(asyncio.wait_for(main(), 30))


def test_a_process_knows_whether_it_is_alone(bench: Bench):
    first, second = uuid4(), uuid4()
    minute = timedelta(minutes=1)
    bench.run(lambda c: c.execute("TRUNCATE processes"))
    assert bench.run(lambda c: queue.present(c, first, minute))
    assert not bench.run(lambda c: queue.present(c, second, minute))
    assert not bench.run(lambda c: queue.present(c, first, minute))
    bench.run(lambda c: c.execute("UPDATE processes SET seen_at = now() - interval '2 min'"))
    assert bench.run(lambda c: queue.present(c, first, minute))


def test_calls_are_accepted_without_a_notice_in_their_transaction(bench: Bench):
    """All commits of the database would wait for each other."""

    async def main() -> None:
        now = bench.database.clock.now()
        calls = [NewCall(new_id(), CALL, Limits().expires_at(CALL, now))]
        channels = (LANES, "ch_pgqueuer")
        payloads: list[str] = []
        connection = await bench.database.connect()
        for channel in channels:
            await connection.add_listener(channel, lambda *found: payloads.append(found[-1]))
        async with bench.database.durable.acquire() as accepting:
            await store_accept.accept(accepting, calls, now)
        await connection.fetchval("SELECT 1")
        await connection.fetchval("SELECT 1")
        has_trigger = await connection.fetchval(
            "SELECT count(*) FROM pg_trigger "
            "WHERE tgrelid = 'dispatch_grpc.pgqueuer'::regclass AND NOT tgisinternal"
        )
        connection.terminate()
        assert (payloads, has_trigger) == ([], 0)

    bench.runner.run(asyncio.wait_for(main(), 30))
