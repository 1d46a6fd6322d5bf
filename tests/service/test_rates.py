"""How many calls finish, and how long they take: what is counted, and the charts of it."""

from bisect import bisect_left
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_grpc import Status
from dispatch_grpc.primitives import exit_
from dispatch_grpc.schema import CallResult
from dispatch_grpc.service import machine, rates, store_upkeep
from dispatch_grpc.service.machine import Answer, Finish, Limits
from dispatch_grpc.service.page import charts
from dispatch_grpc.service.page.filters import WINDOWS
from dispatch_grpc.service.rates import BOUNDS, Minute, Rates, quantile
from dispatch_grpc.service.store import CallDecision
from tests.service.conftest import Bench
from tests.service.test_store import CALL, accept, take

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
NONE = (0,) * (len(BOUNDS) + 1)


def seconds(*values: float) -> list[int]:
    found = [0] * (len(BOUNDS) + 1)
    for value in values:
        found[bisect_left(BOUNDS, value)] += 1
    return found


@given(st.lists(st.floats(0, 7000), min_size=1), st.floats(0, 1))
def test_a_quantile_is_within_the_bounds_of_the_value(values: list[float], part: float):
    found = quantile(seconds(*values), part)
    assert found is not None
    values.sort()
    place = min(max(int(part * len(values)) - 1, 0), len(values) - 1)
    low = bisect_left(BOUNDS, values[place])
    assert found >= (BOUNDS[low - 1] if low else 0)
    assert found <= max(2 * BOUNDS[-1], values[-1])


def test_nothing_has_no_quantile():
    assert quantile(NONE, 0.5) is None


def test_processes_add_to_the_same_counts(bench: Bench):
    one, other = Rates(bench.database), Rates(bench.database)
    bench.runner.run(one.flush())  # nothing to write
    start = bench.database.clock.now()
    accept(bench, CALL)
    (loaded,) = take(bench)
    loaded = replace(loaded, created_at=start - timedelta(seconds=3))
    finish = Finish(Status.OK, CallResult())
    for counts in (one, other):
        counts.finished([CallDecision(loaded, finish)] * 2, [loaded.running.id])
        counts.add(Status.TIMEOUT.value)
    bench.runner.run(one.flush())
    bench.runner.run(other.flush())
    bench.runner.run(other.flush())  # nothing is written twice
    found = bench.run(lambda c: rates.since(c, start))
    totals = {status: sum(one.calls for one in found if one.status == status) for status in (1, 2)}
    assert totals == {Status.OK.value: 4, Status.TIMEOUT.value: 2}
    took = [sum(numbers) for numbers in zip(*(one.seconds for one in found), strict=True)]
    assert took == seconds(*[3] * 4)


def test_what_could_not_be_written_is_written_later(bench: Bench, monkeypatch: Any):
    counts = Rates(bench.database)
    counts.add(Status.OK.value)
    pool = bench.database.relaxed
    monkeypatch.setattr(bench.database, "relaxed", None)
    with pytest.raises(AttributeError):
        bench.runner.run(counts.flush())
    monkeypatch.setattr(bench.database, "relaxed", pool)
    counts.add(Status.OK.value)
    bench.runner.run(counts.flush())
    found = bench.run(lambda c: rates.since(c, bench.database.clock.now() - HOUR))
    assert sum(one.calls for one in found) == 2


def test_only_calls_that_have_finished_are_counted(bench: Bench):
    accept(bench, CALL, CALL)
    items: list[CallDecision] = []
    for loaded in take(bench):
        response = exit_(1) if not items else exit_(error=OSError("again"))
        outcome = machine.decide(
            loaded.running, Answer(response), bench.database.clock.now(), Limits()
        )
        items.append(CallDecision(loaded, outcome))
    counts = Rates(bench.database)
    counts.finished(items, [])
    counts.finished(items, [item.loaded.running.id for item in items])
    bench.runner.run(counts.flush())
    (found,) = bench.run(lambda c: rates.since(c, bench.database.clock.now() - HOUR))
    assert (found.status, found.calls, sum(found.seconds)) == (Status.OK.value, 1, 1)


def test_counts_are_deleted_after_a_time_and_found_by_an_index(bench: Bench):
    many = (
        "INSERT INTO minutes SELECT now() - n * interval '1 min', 1, 1, '{}' "
        "FROM generate_series(0, 20000) AS n"
    )
    bench.run(lambda c: c.execute(many))
    bench.run(lambda c: c.execute("ANALYZE minutes"))
    plan = bench.run(
        lambda c: c.fetch(
            "EXPLAIN SELECT minute, status, calls, seconds FROM minutes WHERE minute > "
            "now() - interval '1 hour' ORDER BY minute"
        )
    )
    text = "\n".join(line[0] for line in plan)
    assert "Index Scan using minutes_pkey" in text
    assert "Sort" not in text
    day = timedelta(days=1)
    while bench.run(lambda c: store_upkeep.prune(c, day, day)):
        pass
    left = bench.run(lambda c: c.fetchval("SELECT count(*) FROM minutes"))
    assert left == rates.KEPT // timedelta(minutes=1)


# The charts


@pytest.mark.parametrize(
    ("window", "step"),
    [("15m", "1"), ("1h", "1"), ("24h", "24"), ("7d", "168")],
)
def test_a_bar_is_whole_minutes(window: str, step: str):
    assert charts.step_of(WINDOWS[window]) == timedelta(minutes=int(step))


def test_a_chart_of_numbers():
    minute = NOW.replace(second=0)
    found = [
        Minute(minute - timedelta(minutes=61), 1, 1000, NONE),  # before the window
        Minute(minute - timedelta(minutes=59), 1, 4, NONE),
        Minute(minute, 1, 1, NONE),
        Minute(minute, Status.TIMEOUT.value, 2, NONE),
        Minute(minute, Status.PERMANENT_ERROR.value, 5, NONE),
    ]
    numbers, times = charts.charts(found, HOUR, NOW)
    first, last = numbers.bars
    assert (first.x, first.ok, first.failed) == (0, 60, 0)
    assert (last.x, last.ok, last.failed) == (charts.WIDTH - 8, 15, 105)
    assert last.title == "12:00: 1 OK, 7 failed"
    assert numbers.top == "up to 8 a minute"
    assert numbers.summary == "12 calls finished: 5 OK, 7 failed."
    assert times.summary == "No call has finished in this time."


def test_a_chart_of_times_is_broken_where_nothing_finished():
    minute = NOW.replace(second=0)
    found = [
        Minute(minute - number * timedelta(minutes=1), 1, 1, seconds(0.9)) for number in (0, 1, 30)
    ]
    _, times = charts.charts(found, HOUR, NOW)
    medians = [points for name, points in times.lines if name == "median"]
    assert [len(points.split()) for points in medians] == [2, 4]
    assert {name for name, _ in times.lines} == {"median", "slow"}
    assert times.summary.startswith("Half of the calls finished within 750 ms of being recorded")
    slow = next(points for name, points in times.lines if name == "slow")
    assert slow.split()[0].endswith(",0.0")
