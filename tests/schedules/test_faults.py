"""Each tick is fired once, whatever is killed, frozen or cut off."""

import asyncio
import random
import signal
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dispatch_grpc import AsyncClient, Client, Code, RPCError, new_call
from dispatch_grpc.schema import Schedule
from dispatch_grpc.service import store_firing, store_schedules
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.schedule_rules import completed
from tests.service.conftest import Bench
from tests.service.processes import KEY, MINE, Process, Restarted, service, service_command
from tests.waiting import until

pytestmark = pytest.mark.slow

SECOND = timedelta(seconds=1)
LIMITS = Limits()
CALL = new_call("http://here.example", "f")
CUT = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {MINE}"


def sql(bench: Bench, statement: str, *arguments: Any) -> list[Any]:
    """Execute a statement by a connection that no test cuts off."""

    async def main() -> list[Any]:
        connection = await asyncpg.connect(bench.url())
        try:
            await connection.execute("SET search_path TO dispatch_grpc")
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    found: list[Any] = bench.runner.run(main())
    return found


def ticks(bench: Bench) -> dict[str, Counter[datetime]]:
    """How often each tick of each schedule was fired."""
    rows = sql(bench, "SELECT schedule, scheduled_at FROM every_call WHERE schedule IS NOT NULL")
    found: dict[str, Counter[datetime]] = {}
    for row in rows:
        found.setdefault(row["schedule"], Counter())[row["scheduled_at"]] += 1
    return found


def check(found: Counter[datetime], first: datetime, last: datetime) -> None:
    """Each tick between two times was fired once, and no other."""
    wanted = {first + n * SECOND for n in range((last - first) // SECOND + 1)}
    assert set(found) >= wanted, f"missing: {sorted(wanted - set(found))}"
    assert max(found.values()) == 1, "fired twice"
    assert all(not one.microsecond for one in found)


class Disturbed:
    """Processes of the service that are killed, frozen and cut off at random."""

    def __init__(self, folder: Path, bench: Bench, seed: int) -> None:
        self.rng = random.Random(seed)
        self.bench = bench
        self.processes = [
            Restarted(
                folder,
                f"service{number}",
                service_command(folder / f"s{number}", database=bench.url(), heartbeat_seconds=3),
            )
            for number in range(3)
        ]
        self.happened: Counter[str] = Counter()

    async def disturb(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        admin = await asyncpg.connect(self.bench.url())
        while loop.time() < end:
            await asyncio.sleep(self.rng.uniform(0.1, 1.2))
            kind = self.rng.choice(["kill", "kill", "freeze", "cut"])
            self.happened[kind] += 1
            process = self.rng.choice(self.processes)
            if kind == "kill":
                await process.kill()
                await process.start()
            elif kind == "freeze":
                process.send(signal.SIGSTOP)
                await asyncio.sleep(self.rng.uniform(0.1, 7))  # longer than a session may be idle
                process.send(signal.SIGCONT)
            else:
                await admin.fetchval(CUT)
        await admin.close()


def test_each_tick_is_fired_once_whatever_is_killed(
    tmp_path: Path, bench: Bench, hosted: Process, log: Path, record_property: Any
):
    names = [f"every-second-{number}" for number in range(8)]

    async def main() -> tuple[datetime, datetime]:
        disturbed = Disturbed(tmp_path, bench, seed=23)
        try:
            await asyncio.gather(*(one.start() for one in disturbed.processes))
            async with AsyncClient(KEY, api_url=disturbed.processes[0].url, env={}) as client:
                for name in names:
                    created = await client.schedules.create(
                        name, new_call(hosted.url, "ticked", 0), every=SECOND, overlap="allow"
                    )
            first = created.next_times[0] + SECOND
            await disturbed.disturb(25)
            record_property("faults", dict(disturbed.happened))
            last = datetime.now(UTC).replace(microsecond=0)
            await asyncio.sleep(8)  # those that are behind catch up
            return first, last
        finally:
            for process in disturbed.processes:
                process.send(signal.SIGCONT)
                await process.kill()

    first, last = asyncio.run(main())
    assert last - first > 20 * SECOND
    found = ticks(bench)
    assert set(found) == set(names)
    for one in found.values():
        check(one, first, last)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert {line[2] for line in lines} >= {
        (first + n * SECOND).isoformat() for n in range((last - first) // SECOND)
    }


def test_two_processes_fire_each_tick_once(tmp_path: Path, bench: Bench, hosted: Process):
    """They wake at the same times."""
    url = bench.url()
    with (
        service(tmp_path / "one", database=url) as one,
        service(tmp_path / "two", database=url) as two,
        Client(KEY, api_url=one.url, env={}) as c,
        Client(KEY, api_url=two.url, env={}) as other,
    ):
        call = new_call(hosted.url, "ticked", 0)
        names = [f"s{number}" for number in range(50)]
        for name in names:
            c.schedules.create(name, call, every=SECOND, overlap="allow")
        until(lambda: other.schedules.get("s0").fired >= 5)
        for name in names:
            other.schedules.pause(name)
        found = ticks(bench)
        assert set(found) == set(names)
        for fired in found.values():
            check(fired, min(fired), max(fired))


def test_a_frozen_process_fires_nothing_twice(tmp_path: Path, bench: Bench, hosted: Process):
    url = bench.url()
    with (
        service(tmp_path / "one", database=url) as one,
        service(tmp_path / "two", database=url) as two,
        Client(KEY, api_url=two.url, env={}) as c,
    ):
        c.schedules.create("s", new_call(hosted.url, "ticked", 0), every=SECOND, overlap="allow")
        rng = random.Random(5)
        until(lambda: c.schedules.get("s").fired >= 2)
        for _ in range(3):
            one.process.send_signal(signal.SIGSTOP)
            before = c.schedules.get("s").fired
            # A frozen transaction holds its lock until the database ends it after 5 s.
            until(lambda n=before: c.schedules.get("s").fired >= n + rng.randrange(1, 4))
            one.process.send_signal(signal.SIGCONT)
            until(lambda: one.process.poll() is None)
        c.schedules.pause("s")
        (fired,) = ticks(bench).values()
        check(fired, min(fired), max(fired))


def test_ticks_of_an_outage_are_caught_up(tmp_path: Path, bench: Bench, hosted: Process):
    url = bench.url()
    with service(tmp_path / "one", database=url) as one, Client(KEY, api_url=one.url, env={}) as c:
        c.schedules.create("s", new_call(hosted.url, "ticked", 0), every=SECOND, overlap="allow")
        until(lambda: c.schedules.get("s").fired >= 2)
        one.kill()
    stopped = datetime.now(UTC)
    until(lambda: datetime.now(UTC) - stopped > 4 * SECOND)
    with service(tmp_path / "two", database=url) as two, Client(KEY, api_url=two.url, env={}) as c:
        until(
            lambda: (
                stopped + 5 * SECOND < (c.schedules.get("s").firings[0].scheduled_time or stopped)
            )
        )
        info = c.schedules.pause("s")
    assert (info.missed, info.skipped) == (0, 0)
    (fired,) = ticks(bench).values()
    check(fired, min(fired), max(fired))
    assert info.fired == len(fired)


def test_a_cut_off_connection_delays_no_tick_for_long(
    tmp_path: Path, bench: Bench, hosted: Process
):
    url = bench.url()
    with service(tmp_path / "one", database=url) as one, Client(KEY, api_url=one.url, env={}) as c:
        c.schedules.create("s", new_call(hosted.url, "ticked", 0), every=SECOND, overlap="allow")
        for _ in range(4):
            fired = c.schedules.get("s").fired
            sql(bench, CUT)
            until(lambda n=fired: sql(bench, "SELECT fired FROM schedules")[0][0] > n)
        with suppress(RPCError):
            c.schedules.pause("s")
        (found,) = ticks(bench).values()
        check(found, min(found), max(found))


# Between the statements of a firing


def create(bench: Bench, **fields: Any) -> Schedule:
    """A schedule that is due."""
    schedule = Schedule(name="s", call=CALL, **fields)
    schedule.every.FromTimedelta(SECOND)
    full = completed(schedule, LIMITS, allow_metadata=False)
    bench.run(lambda c: store_schedules.create(c, full, 10))
    sql(bench, "UPDATE schedules SET next_at = date_trunc('second', now()) - $1::interval", SECOND)
    return full


def test_a_schedule_that_is_not_valid_any_more_stops_no_other(bench: Bench, tmp_path: Path):
    """Its time zone is not known on this machine, or no longer."""
    create(bench, overlap=3)
    broken = Schedule(name="broken", call=CALL, cron="* * * * *", time_zone="Europe/Berlin")
    full = completed(broken, LIMITS, allow_metadata=False)
    bench.run(lambda c: store_schedules.create(c, full, 10))
    full.time_zone = "Europe/Atlantis"
    full.call.ClearField("input")
    statement = (
        "UPDATE schedules SET next_at = now() - $2::interval, definition = $1 WHERE name = $3"
    )
    sql(bench, statement, full.SerializeToString(), 5 * SECOND, "broken")
    with (
        service(tmp_path / "one", database=bench.url()) as one,
        Client(KEY, api_url=one.url, env={}) as client,
    ):
        until(lambda: client.schedules.get("s").fired >= 2)
        until(lambda: client.schedules.get("broken").paused)
        info = client.schedules.get("broken")
        assert (info.fired, info.next_times) == (0, ())
        assert "paused by the service: time_zone: the IANA name of a zone" in (info.note or "")
        with pytest.raises(RPCError, match=r"cannot be resumed: time_zone: .* update it") as caught:
            client.schedules.resume("broken")
        assert caught.value.code is Code.FAILED_PRECONDITION
        client.schedules.update("broken", time_zone="Europe/Paris")
        assert client.schedules.resume("broken").next_times


def test_a_session_that_ends_in_a_firing_leaves_it_to_another(bench: Bench):
    """As when a process is frozen in the transaction: the database ends its session."""
    create(bench, overlap=3)

    async def main() -> tuple[Any, ...]:
        frozen = await bench.database.connect()
        transaction = frozen.transaction()
        await transaction.start()
        first = await store_firing.fire(frozen, LIMITS)
        async with bench.database.transaction() as connection:
            meanwhile = await store_firing.fire(connection, LIMITS)
            await connection.fetchval("SELECT pg_terminate_backend($1)", frozen.get_server_pid())
        await asyncio.sleep(0.2)
        async with bench.database.transaction() as connection:
            then = await store_firing.fire(connection, LIMITS)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await transaction.commit()
        frozen.terminate()
        return first, meanwhile, then

    first, meanwhile, then = bench.runner.run(main())
    assert len(first.late) >= 2
    assert not meanwhile.late
    assert len(then.late) >= 2
    (found,) = ticks(bench).values()
    check(found, min(found), max(found))


def test_a_tick_that_a_row_has_again_is_not_fired_twice(bench: Bench):
    """As when the table is restored from a backup."""
    create(bench, overlap=3)
    bench.run(lambda c: store_firing.fire(c, LIMITS))
    before = ticks(bench)["s"]
    sql(bench, "UPDATE schedules SET next_at = next_at - $1::interval", SECOND)
    bench.run(lambda c: store_firing.fire(c, LIMITS))
    after = ticks(bench)["s"]
    assert set(before) <= set(after)
    assert max(after.values()) == 1
