"""The rules of policies: for any policies, lanes and times."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dispatch_grpc.service.lanes import Lanes, lane_of
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.policy_rules import (
    BURST_SECONDS,
    Policies,
    Policy,
    Use,
    grant,
)
from dispatch_grpc.service.turns import LOWER_PART, Turns

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOST = "http://h:80"
HOSTS = ("http://a", "http://b")
FUNCTIONS = ("f", "g")
LANES = [lane_of(host, function) for host in HOSTS for function in FUNCTIONS]


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_the_most_specific_policy_that_sets_something_counts():
    policies = [
        Policy(run_timeout=seconds(1)),
        Policy(function="f", run_timeout=seconds(2)),
        Policy(host=HOST, run_timeout=seconds(3)),
        Policy(host=HOST, function="f", run_timeout=seconds(4)),
        Policy(host=HOST, function="g"),
        Policy(function="g", run_timeout=seconds(5)),
    ]
    found = Policies(policies)
    assert found.get("run_timeout", HOST, "f") == seconds(4)
    assert found.get("run_timeout", HOST, "g") == seconds(3)  # a host goes before a function
    assert found.get("run_timeout", HOST, "h") == seconds(3)
    assert found.get("run_timeout", "http://other", "f") == seconds(2)
    assert found.get("run_timeout", "http://other", "g") == seconds(5)
    assert found.get("run_timeout", "http://other", "h") == seconds(1)
    assert Policies().get("run_timeout", HOST, "f") is None


def test_the_limits_of_a_call_are_those_of_the_policies_and_else_the_services():
    found = Policies(
        [
            Policy(function="f", max_attempts=3, max_backoff=seconds(9)),
            Policy(host=HOST, first_backoff=seconds(2)),
        ]
    )
    base = Limits()
    limits = found.limits(base, HOST, "f")
    assert (limits.max_attempts, limits.first_backoff, limits.max_backoff) == (
        3,
        seconds(2),
        seconds(9),
    )
    assert limits.grace == base.grace
    assert found.limits(base, "http://other", "g") is base


def test_every_limit_of_a_lane_counts():
    found = Policies([Policy(rate=1), Policy(function="f", concurrency=2), Policy(host=HOST)])
    assert found.limiting(lane_of(HOST, "f")) == [("", "f"), ("", "")]
    assert found.limiting(lane_of(HOST, "g")) == [("", "")]
    assert Policies([Policy(run_timeout=seconds(1))]).limiting(lane_of(HOST, "f")) == []


scopes = st.tuples(st.sampled_from(["", *HOSTS]), st.sampled_from(["", *FUNCTIONS]))


@st.composite
def all_uses(draw: st.DrawFn) -> dict[tuple[str, str], Use]:
    """Policies in any state."""
    return {
        scope: Use(
            Policy(
                *scope,
                concurrency=draw(st.none() | st.integers(1, 5)),
                rate=draw(st.none() | st.floats(0.1, 100)),
            ),
            NOW,
            running=draw(st.integers(0, 7)),
            paid_until=draw(st.none() | st.floats(-1, 10).map(lambda late: NOW - seconds(late))),
        )
        for scope in draw(st.sets(scopes))
    }


@given(all_uses(), st.lists(st.sampled_from(LANES), max_size=30))
def test_no_policy_lets_more_begin_than_it_has_room_for(
    uses: dict[tuple[str, str], Use], turns: list[str]
):
    policies = Policies(use.policy for use in uses.values())
    found = grant(turns, policies, uses)
    begun: Counter[tuple[str, str]] = Counter()
    for lane, number in found.lanes.items():
        assert 0 < number <= turns.count(lane)
        for scope in policies.limiting(lane):
            begun[scope] += number
    for scope, number in begun.items():
        policy, use = uses[scope].policy, uses[scope]
        assert number <= use.room
        if policy.concurrency is not None:
            assert number + use.running <= policy.concurrency
    # Whoever got less met a policy that is full, and hears when it is not.
    for lane in set(turns):
        if found.lanes[lane] < turns.count(lane):
            assert any(scope in found.full for scope in policies.limiting(lane))
    for scope, wait in found.full.items():
        assert begun[scope] == uses[scope].room
        policy = uses[scope].policy
        if wait is None:
            assert policy.concurrency is not None
        else:
            later = Use(
                policy,
                NOW + seconds(wait + 1e-5),
                uses[scope].running + begun[scope],
                uses[scope].paid_after(begun[scope]),
            )
            assert later.room >= 1


@given(
    st.floats(0.1, 1000),
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 300)), min_size=1, max_size=60),
)
def test_a_rate_holds_in_every_window(rate: float, events: list[tuple[float, int]]):
    """Whatever the times between claims, and however many want to begin."""
    policy, now, paid = Policy(rate=rate), NOW, None
    begun: list[tuple[datetime, int]] = []
    for wait, wanted in events:
        now += seconds(wait)
        use = Use(policy, now, paid_until=paid)
        number = int(min(wanted, use.room))
        paid = use.paid_after(number)
        begun.append((now, number))
    for first in range(len(begun)):
        number = 0
        for at, some in begun[first:]:
            number += some
            window = (at - begun[first][0]).total_seconds()
            assert number <= rate * (window + BURST_SECONDS) + 1 + 1e-3


def test_a_process_that_is_late_loses_nothing_of_a_rate():
    policy, now, paid, number = Policy(rate=20), NOW, None, 0
    chance = random.Random(1)
    while now < NOW + seconds(100):
        use = Use(policy, now, paid_until=paid)
        number += int(use.room)
        paid = use.paid_after(int(use.room))
        now += seconds(chance.random() * BURST_SECONDS)
    assert number >= 20 * 100 - 1


def test_lanes_of_a_higher_priority_go_first_and_leave_a_part_to_the_others():
    priorities = {"top": 5, "middle": 1, "low": -3, "lowest": -4}
    lanes = Turns(priorities, priorities.__getitem__, random.Random(7).random)
    found: Counter[str] = Counter()
    waits: Counter[str] = Counter()
    longest: Counter[str] = Counter()
    for _ in range(10_000):
        lane = lanes.next()
        assert lane is not None
        lanes.again(lane)
        found[lane] += 1
        for other in priorities:
            waits[other] = 0 if other == lane else waits[other] + 1
            longest[other] = max(longest[other], waits[other])
    assert abs(found["top"] / 10_000 - (1 - LOWER_PART)) < 0.03
    # The others share alike, in turn, whatever their priorities.
    assert max(found[lane] for lane in ("middle", "low", "lowest")) - found["lowest"] <= 1
    assert longest["lowest"] < 100


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-3, 3), min_size=1),
    st.integers(0, 2**32),
)
def test_nobody_is_kept_waiting_for_ever(priorities: dict[str, int], seed: int):
    lanes = Turns(priorities, priorities.__getitem__, random.Random(seed).random)
    found: Counter[str] = Counter()
    for _ in range(1_000):
        lane = lanes.next()
        assert lane is not None
        lanes.again(lane)
        found[lane] += 1
    assert found.keys() == priorities.keys()


@given(st.lists(st.sampled_from("abcdefgh"), unique=True))
def test_without_priorities_lanes_are_served_in_turn(names: list[str]):
    lanes = Turns(names, None, lambda: 0)
    for _ in range(3):
        for name in names:
            assert lanes.next() == name
            lanes.again(name)
    for name in names:
        assert lanes.next() == name
    assert lanes.next() is None


def test_a_full_lane_waits_where_it_was():
    full: set[str] = set()
    limited = LANES[0]
    lanes = Lanes(256, 128, is_limited=limited.__eq__, is_full=full.__contains__)
    for lane in LANES:
        lanes.has_jobs(lane)
    full.add(limited)
    assert limited not in lanes.plan(100)
    lanes.claimed()
    assert lanes.hosts() == set()
    assert lanes.take_spare({limited: 1, LANES[1]: 1}) == {LANES[1]: 1}  # never beside the limit
    full.clear()
    assert lanes.hosts() == {HOSTS[0]}
    assert lanes.turns(1) == [limited]


def test_the_first_slots_are_for_the_highest_priority():
    lanes = Lanes(256, 128, priority=lambda: LANES.index, chance=lambda: 0.5)
    for lane in LANES:
        lanes.has_jobs(lane)
    assert lanes.turns(3) == [LANES[-1]] * 3
