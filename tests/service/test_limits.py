"""Limits of policies hold for all processes together, also when one is killed."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

from dispatch_grpc import new_call
from dispatch_grpc.service import store_policies
from dispatch_grpc.service.lanes import lane_of
from dispatch_grpc.service.limited import Limited
from dispatch_grpc.service.notices import Notices
from dispatch_grpc.service.policies import SharedPolicies
from tests.service.conftest import Bench
from tests.service.processes import Process, service
from tests.service.test_faults import client, dispatch, results, runs
from tests.service.test_policies import policy
from tests.waiting import until


def with_policy(data: Path, *args: str) -> None:
    """Make a database with a policy, so that processes know it from their start."""
    data.mkdir(exist_ok=True)
    done = policy(data, "set", *args)
    assert done.code == 0, done.err


def crowds(log: Path) -> list[int]:
    """How many runs there were as each began."""
    if not log.exists():
        return []
    return [int(line.split()[2]) for line in log.read_text().splitlines() if "crowded" in line]


def number_of_runs(process: Process) -> int:
    """How many attempts a process ran."""
    with urlopen(f"{process.url}/metrics") as answer:
        text = answer.read().decode()
    found = re.search(r"^\w+_run_seconds_count ([0-9.]+)$", text, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def test_no_more_run_than_a_policy_allows(tmp_path: Path, hosted: Process, log: Path):
    data = tmp_path / "data"
    with_policy(data, "--function", "crowded", "--concurrency", "5")
    with service(data) as first, service(data) as second, client(first) as c:
        ids: list[str] = []

        def both_have_run() -> bool:  # chance decides who claims how many
            more = dispatch(c, [new_call(hosted.url, "crowded", 0.02) for _ in range(200)])
            results(c, more)
            ids.extend(more)
            return min(number_of_runs(process) for process in (first, second)) > 0

        until(both_have_run)
    assert len(crowds(log)) == len(ids)
    assert max(crowds(log)) == 5


def test_workflows_do_not_get_around_a_limit(tmp_path: Path, hosted: Process, log: Path):
    """Their calls are begun in the transaction that makes them, where no policy limits them."""
    data = tmp_path / "data"
    with_policy(data, "--host", hosted.url, "--concurrency", "3")
    with service(data) as first, service(data) as second:
        for process in (first, second):
            with client(process) as c:
                ids = dispatch(c, [new_call(hosted.url, "crowds", 20) for _ in range(2)])
                assert results(c, ids) == [20, 20]
    assert max(crowds(log)) <= 3


def test_the_slots_of_a_killed_process_come_back(tmp_path: Path, hosted: Process, log: Path):
    data = tmp_path / "data"
    with_policy(data, "--function", "crowded", "--concurrency", "4")
    with service(data) as first:
        with client(first) as c:
            ids = dispatch(c, [new_call(hosted.url, "crowded", 0.2) for _ in range(60)])
        until(lambda: number_of_runs(first) > 2)
        first.kill()  # before the second starts, which may take longer than all calls
        killed = len(crowds(log))
        with service(data) as second, client(second) as c:
            results(c, ids)
    assert set(runs(log)) == set(ids)
    assert max(crowds(log)) == 4
    assert max(crowds(log)[killed + 4 :]) == 4


def test_a_rate_holds_for_all_processes(
    tmp_path: Path, hosted: Process, log: Path, record_property: Any
):
    data = tmp_path / "data"
    with_policy(data, "--function", "square", "--rate", "50")
    with service(data) as first, service(data) as second, client(first) as c:
        ids: list[str] = []

        def both_have_run() -> bool:  # chance decides who claims how many
            more = dispatch(c, [new_call(hosted.url, "square", number) for number in range(200)])
            results(c, more)
            ids.extend(more)
            return min(number_of_runs(process) for process in (first, second)) > 0

        start = time.monotonic()
        until(both_have_run)
        took = time.monotonic() - start
    assert took >= (len(ids) - 1) / 50 - 0.1  # of any window, see `policy_rules`
    record_property("calls/s at a rate of 50", len(ids) / took)


def test_other_lanes_do_not_wait_for_one_that_is_full(tmp_path: Path, hosted: Process, log: Path):
    data = tmp_path / "data"
    with_policy(data, "--function", "stubborn", "--concurrency", "1")
    with service(data) as process, client(process) as c:
        stubborn = dispatch(c, [new_call(hosted.url, "stubborn") for _ in range(300)])
        until(lambda: log.exists() and len(runs(log)) == 1)
        ids = dispatch(c, [new_call(hosted.url, "square", number) for number in range(300)])
        assert results(c, ids) == [number * number for number in range(300)]
        assert len(set(runs(log)) & set(stubborn)) == 1
        # The next begins as soon as the one that runs is cancelled.
        (running,) = set(runs(log)) & set(stubborn)
        c.cancel(running)
        until(lambda: len(set(runs(log)) & set(stubborn)) == 2)


def test_a_limit_that_is_lifted_lets_calls_begin(tmp_path: Path, hosted: Process, log: Path):
    data = tmp_path / "data"
    with_policy(data, "--function", "slow", "--concurrency", "1")
    with service(data) as process, client(process) as c:
        ids = dispatch(c, [new_call(hosted.url, "slow", 1) for _ in range(100)])
        until(lambda: log.exists() and runs(log))
        policy(data, "unset", "--function", "slow")
        results(c, ids)  # or it would take longer than `results` waits


def test_a_lock_that_another_process_keeps_does_not_stop_the_loop(bench: Bench):
    """A process that is frozen in its claim has it for up to 5 seconds."""
    lane = lane_of("http://h", "f")

    async def main() -> None:
        told = Notices(bench.database)
        policies = SharedPolicies(bench.database, told, lambda: None)
        async with bench.database.transaction() as connection:
            await store_policies.change(connection, "", "f", {"concurrency": 1})
        await policies.read()
        limited = Limited(bench.database, policies, told, lambda: None)
        async with bench.database.transaction() as connection:
            await store_policies.lock(connection, [("", "f")])
            claims, granted = await asyncio.wait_for(limited.claim(uuid4(), [lane]), 9)
        assert (claims, granted) == ([], {})
        assert limited.is_full(lane)
        assert limited.next_change() is not None
        limited.look_again()
        _, granted = await limited.claim(uuid4(), [lane])
        assert granted == {lane: 1}
        async with bench.database.transaction() as connection:
            await store_policies.replace(connection, [])

    bench.runner.run(main())
