"""The retention of policies: finished calls are deleted before their day is dropped."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from dispatch_grpc import new_call
from dispatch_grpc.service.policy_rules import Policies, Policy
from dispatch_grpc.service.retention import Retention
from dispatch_grpc.service.settings import Settings
from tests.conftest import run_service
from tests.service.conftest import Bench
from tests.service.test_store import accept, request
from tests.waiting import until

A, B = "http://a:1", "http://b:1"
HOUR = timedelta(hours=1)
POLICIES = Policies(
    [
        Policy(retention=4 * HOUR),
        Policy(function="f", retention=1 * HOUR),
        Policy(host=B, function="f", retention=12 * HOUR),
        Policy(function="g", priority=1),
    ]
)


def end(bench: Bench, endpoint: str, function: str, hours: float) -> UUID:
    """Record a call that finished some time ago."""
    (id,) = accept(bench, new_call(endpoint, function))
    at = datetime.now(UTC) - hours * HOUR

    async def file(connection: object) -> None:
        await connection.execute(  # type: ignore[attr-defined]
            "WITH gone AS (DELETE FROM calls WHERE id = $1 RETURNING *) "
            "INSERT INTO finished SELECT * FROM gone",
            id,
        )
        await connection.execute(  # type: ignore[attr-defined]
            "UPDATE finished SET state = 4, status = 1, finished_at = $2 WHERE id = $1", id, at
        )

    bench.run(file)
    return id


def left(bench: Bench, ids: Iterable[UUID]) -> set[UUID]:
    rows = bench.run(lambda c: c.fetch("SELECT id FROM finished WHERE id = ANY($1)", [*ids]))
    return {row["id"] for row in rows}


def test_each_call_is_kept_as_long_as_its_most_specific_policy_says(bench: Bench):
    kept: list[UUID] = []
    gone: list[UUID] = []
    for hours in (0.5, 2, 5, 13):
        for endpoint, function, most in (
            (A, "f", 1),
            (B, "f", 12),
            (A, "g", 4),  # its policy says nothing of it
            (B, "h", 4),
        ):
            id = end(bench, endpoint, function, hours)
            (kept if hours < most else gone).append(id)
    retention = Retention(bench.database, lambda: POLICIES, timedelta(days=7), at_once=3)
    bench.runner.run(retention.prune())
    assert left(bench, [*kept, *gone]) == set(kept)
    # Those that finish later are found from there on.
    end(bench, A, "g", 3)
    bench.runner.run(retention.prune())
    assert left(bench, kept) == set(kept)


def test_a_policy_that_changes_is_followed_from_the_beginning(bench: Bench):
    id = end(bench, A, "f", 2)
    policies = Policies()
    retention = Retention(bench.database, lambda: policies, timedelta(days=7))
    bench.runner.run(retention.prune())
    policies = Policies([Policy(retention=3 * HOUR)])
    bench.runner.run(retention.prune())
    assert left(bench, [id])
    policies = Policies([Policy(retention=1 * HOUR)])
    bench.runner.run(retention.prune())
    assert not left(bench, [id])


def test_what_is_filed_late_is_found_within_a_day(bench: Bench):
    end(bench, A, "f", 2)
    retention = Retention(bench.database, lambda: POLICIES, timedelta(days=7))
    bench.runner.run(retention.prune())
    late = end(bench, A, "f", 5)
    bench.runner.run(retention.prune())
    assert left(bench, [late])
    retention._again_at = 0.0  # a day later
    bench.runner.run(retention.prune())
    assert not left(bench, [late])


def test_the_service_keeps_nothing_longer_and_says_so(
    bench: Bench, caplog: pytest.LogCaptureFixture
):
    id = end(bench, A, "f", 50)
    policies = Policies([Policy(function="f", retention=timedelta(days=30))])
    retention = Retention(bench.database, lambda: policies, timedelta(days=2))
    for _ in range(2):
        bench.runner.run(retention.prune())
    assert left(bench, [id])  # until its day is dropped
    assert caplog.text.count("keeps none for longer than 2 days") == 1


@pytest.mark.parametrize(("calls", "keys"), [(5, 1), (1, 5)])
def test_calls_and_keys_have_a_retention_each(bench: Bench, tmp_path: Path, calls: int, keys: int):
    """Both are 3 days old, as a service begins."""
    id = end(bench, A, "f", 72)
    bench.run(lambda c: request(c, b"old", b"body"))
    bench.run(lambda c: c.execute("UPDATE requests SET created_at = now() - interval '3 days'"))

    def kept() -> tuple[bool, bool]:
        requests = bench.run(lambda c: c.fetchval("SELECT count(*) FROM requests"))
        return bool(left(bench, [id])), bool(requests)

    settings = Settings(retention=timedelta(days=calls), request_retention=timedelta(days=keys))
    assert kept() == (True, True)
    with run_service(tmp_path, database=bench.url(), worker=settings):
        until(lambda: not all(kept()))
    assert kept() == (calls == 5, keys == 5)


def test_one_process_at_a_time(bench: Bench):
    id = end(bench, A, "f", 2)
    retention = Retention(bench.database, lambda: POLICIES, timedelta(days=7))

    async def main() -> None:
        async with bench.database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", 0x6469_7370_0006)
            await asyncio.wait_for(retention.prune(), 30)

    bench.runner.run(main())
    assert left(bench, [id])
    bench.runner.run(retention.prune())
    assert not left(bench, [id])
