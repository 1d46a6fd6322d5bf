"""A database of an older version becomes one of this version while it is used."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from dispatch_grpc import new_call
from dispatch_grpc.primitives import exit_
from dispatch_grpc.service import machine, reads, store_accept, store_upkeep
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.faults import is_transient
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.lanes import lane_of
from dispatch_grpc.service.machine import Answer, Limits
from dispatch_grpc.service.schema import SCHEMA, preparing
from dispatch_grpc.service.store import CallDecision, Job, NewCall
from dispatch_grpc.service.store_attempts import load
from dispatch_grpc.service.store_outcomes import write
from tests.service.conftest import Bench
from tests.service.test_store import prune

CALL = new_call("http://here.example:80", "f", 23)
DAY = timedelta(days=1)

# The texts of the tables and functions as they were before finished calls had partitions: what a
# later version changes in its own texts changes nothing here.
OLDER = Path(__file__).parent / "older"
MIGRATIONS_BEFORE = tuple(path.read_text() for path in sorted(OLDER.glob("[0-9]_*.sql")))
FUNCTIONS_BEFORE = (OLDER / "functions.sql").read_text()
FINISH_BEFORE = "UPDATE calls SET state = 4, status = 1, finished_at = now() WHERE id = $1"


@pytest.fixture
def url(embedded: Bench) -> Iterator[str]:
    """An empty database."""

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(embedded.url())
        await connection.execute(statement)
        await connection.close()

    embedded.runner.run(execute("CREATE DATABASE older"))
    yield embedded.url("older")
    embedded.runner.run(execute("DROP DATABASE older WITH (FORCE)"))


def new(**settings: Any) -> NewCall:
    return NewCall(new_id(), CALL, datetime.now(UTC) + timedelta(hours=1), **settings)


async def accept(connection: Any, *calls: NewCall, key: bytes | None = None) -> list[UUID]:
    async with connection.transaction():
        ids, _ = await store_accept.accept(connection, calls, datetime.now(UTC), key=key)
    return list(ids)


async def accept_before(
    connection: Any, *calls: NewCall, key: bytes | None = None
) -> Sequence[UUID]:
    """Record calls as the older version does, with the function that it knows."""
    recorded = await connection.fetchval(
        "SELECT record($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        *(key, b""),
        [one.id for one in calls],
        [one.parent_id for one in calls],
        [one.parent_generation for one in calls],
        [one.root_id or one.id for one in calls],
        [0] * len(calls),
        [one.call.endpoint for one in calls],
        [one.call.function for one in calls],
        [one.call.version for one in calls],
        [one.call.input.SerializeToString() for one in calls],
        [one.expires_at for one in calls],
        datetime.now(UTC),
        [lane_of(one.call.endpoint, one.call.function) for one in calls],
        [Job(one.id, 0).pack() for one in calls],
    )
    if recorded:
        return [one.id for one in calls]
    ids: list[UUID] = await connection.fetchval("SELECT ids FROM requests WHERE key = $1", key)
    return ids


class Older:
    """What processes of the version before go on doing."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.stop = asyncio.Event()
        self.accepted: dict[bytes, UUID] = {}
        self.finished: set[UUID] = set()
        self.refused: list[Exception] = []

    async def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            key = b"key %d" % number
            number += 1
            async with self._pool.acquire() as connection:
                try:
                    (id,) = await accept_before(connection, new(), key=key)
                except asyncpg.InvalidColumnReferenceError as error:
                    # It was in the function of before as the table changed: once, and the client
                    # is told to try again.
                    self.refused.append(error)
                    continue
                self.accepted[key] = id
                if number % 2:
                    await connection.execute(FINISH_BEFORE, id)
                    self.finished.add(id)


async def finish(connection: Any, *calls: NewCall) -> None:
    """Calls of the older version go on, and end, as those of this version."""
    jobs = [Job(one.id, 0) for one in calls]
    found = await load(connection, jobs)
    now = datetime.now(UTC)
    items = [
        CallDecision(
            found[job], machine.decide(found[job].running, Answer(exit_(1)), now, Limits())
        )
        for job in jobs
    ]
    _, finished = await write(connection, items, now, Limits())
    assert set(finished) == {one.id for one in calls}


async def check_retention(connection: Any, old: Sequence[NewCall]) -> None:
    """Those that finished days ago are in the partitions of these days."""
    await prune(connection, 7 * DAY + timedelta(hours=1), DAY)
    infos = [await reads.get(connection, one.id) for one in old]
    assert [info is not None for info in infos] == [True] * 8 + [False] * 2
    assert await connection.fetchval("SELECT count(*) FROM finished_other") == 0


def test_a_database_with_calls_in_every_state_is_migrated_while_it_is_used(
    url: str, monkeypatch: pytest.MonkeyPatch
):
    prepare = Database(url, Path()).prepare
    queued, running, waiting, ended = (new() for _ in range(4))
    waited_for = new(parent_id=waiting.id, root_id=waiting.id)
    orphan = new(parent_id=ended.id, root_id=ended.id)
    old = [new() for _ in range(10)]

    async def fill(connection: Any) -> None:
        await accept_before(connection, queued, running, waiting, ended, waited_for, orphan, *old)
        await accept_before(connection, new(), key=b"known")
        await connection.execute("UPDATE calls SET state = 2 WHERE id = $1", running.id)
        state = "state = 3, poll = '', min_results = 2, ready = 1, outstanding = 1"
        await connection.execute(f"UPDATE calls SET {state} WHERE id = $1", waiting.id)
        for one in (ended, waited_for, orphan, *old):
            await connection.execute(FINISH_BEFORE, one.id)
        for number, one in enumerate(old):
            finished = "finished_at = now() - $2::interval"
            await connection.execute(
                f"UPDATE calls SET {finished} WHERE id = $1", one.id, number * DAY
            )

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(preparing, "MIGRATIONS", MIGRATIONS_BEFORE)
            patch.setattr(preparing, "FUNCTIONS", FUNCTIONS_BEFORE)
            await prepare()
        pool = await asyncpg.create_pool(url, min_size=1, server_settings={"search_path": SCHEMA})
        async with pool.acquire() as connection:
            await fill(connection)
            known = await accept_before(connection, new(), key=b"known")
        older = Older(pool)
        tasks = [asyncio.create_task(older.run())]
        await asyncio.sleep(0.3)
        await prepare()
        await asyncio.sleep(0.3)
        older.stop.set()
        await asyncio.gather(*tasks)
        async with pool.acquire() as connection:
            await check(connection, older, known)
        await pool.close()

    async def check(connection: Any, older: Older, known: Sequence[UUID]) -> None:
        async with connection.transaction():
            assert await store_upkeep.file(connection) is None
        live = {row["id"] for row in await connection.fetch("SELECT id FROM calls")}
        filed = {row["id"] for row in await connection.fetch("SELECT id FROM finished")}
        assert filed == {ended.id, orphan.id, *(one.id for one in old), *older.finished}
        assert len(older.refused) <= 1
        assert all(is_transient(error) for error in older.refused)
        open_calls = set(older.accepted.values()) - older.finished
        assert live == {queued.id, running.id, waiting.id, waited_for.id, *known, *open_calls}
        for key, id in [*older.accepted.items(), (b"known", *known)]:
            assert await accept(connection, new(), key=key) == [id]
        await finish(connection, queued, running)
        await check_retention(connection, old)

    asyncio.run(main())


def test_a_migration_does_not_have_others_wait_for_its_locks(url: str):
    """It gives up a lock that it does not get soon, and tries again."""

    async def main() -> None:
        await Database(url, Path()).prepare()
        settings = {"search_path": SCHEMA}
        reading = await asyncpg.connect(url, server_settings=settings)
        other = await asyncpg.connect(url, server_settings=settings)
        await reading.execute("COMMENT ON TABLE migrations IS 'older'")
        transaction = reading.transaction()
        await transaction.start()
        await reading.execute("SELECT FROM pgqueuer")  # the functions drop its trigger
        migrating = asyncio.create_task(Database(url, Path()).prepare())
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not await other.fetchval(waits):
            await asyncio.sleep(0.01)
        await accept(other, new())
        assert not migrating.done()
        await transaction.rollback()
        await migrating
        await reading.close()
        await other.close()

    asyncio.run(main())


def test_a_role_without_rights_to_change_tables_tends_partitions(url: str):
    async def main() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE ROLE only_runs LOGIN")
        try:
            await Database(url, Path()).prepare("only_runs")
            settings = {"search_path": SCHEMA, "role": "only_runs"}
            role = await asyncpg.connect(url, server_settings=settings)
            names = "SELECT count(*) FROM pg_class WHERE relname ~ '^finished_[0-9]{8}$'"
            assert await role.fetchval(names) == 3
            await prune(role, -3 * DAY, DAY)
            assert await role.fetchval(names) == 0
            await prune(role, DAY, DAY)
            assert await role.fetchval(names) == 3
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await role.execute("CREATE TABLE no (id int)")
            await role.close()
        finally:
            await connection.execute("DROP OWNED BY only_runs")
            await connection.execute("DROP ROLE only_runs")
            await connection.close()

    asyncio.run(main())
