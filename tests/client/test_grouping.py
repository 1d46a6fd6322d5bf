"""Which dispatches leave together: every one once, in order, within the bounds."""

import pickle
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch_grpc import AsyncClient, Coalesce, ConfigurationError, new_call
from dispatch_grpc.client.grouping import GroupKey, Groups
from dispatch_grpc.schema import DispatchRequest

ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 50)),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("take"), st.just(0)),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(ACTS, st.integers(1, 5), st.integers(1, 100))
def test_each_leaves_once_in_order_within_the_bounds(
    acts: list[tuple[str, int]], max_calls: int, max_bytes: int
):
    groups: Groups[int] = Groups(Coalesce(max_calls=max_calls, max_bytes=max_bytes))
    sizes: dict[int, int] = {}
    waiting: list[int] = []

    def take() -> list[int]:
        group = groups.take()
        assert waiting[: len(group)] == group
        assert bool(group) == bool(waiting)
        total = sum(sizes[one] for one in group)
        assert len(group) <= max_calls
        assert len(group) == 1 or total <= max_bytes
        del waiting[: len(group)]
        # None that fits is left behind.
        if waiting and len(group) < max_calls:
            assert total + sizes[waiting[0]] > max_bytes
        return group

    for number, (act, value) in enumerate(acts):
        if act == "add":
            sizes[number] = value
            waiting.append(number)
            groups.add(number, value, float(number))
        elif act == "remove":
            groups.remove(value)
            if value in waiting:
                waiting.remove(value)
        else:
            take()
        assert bool(groups) == bool(waiting)
    while waiting:
        take()
    assert groups.take() == []


@settings(deadline=None)
@given(ACTS, st.integers(1, 5), st.integers(1, 100), st.floats(0, 10))
def test_a_group_leaves_when_its_first_has_lingered_or_when_it_is_full(
    acts: list[tuple[str, int]], max_calls: int, max_bytes: int, linger: float
):
    rules = Coalesce(max_calls=max_calls, max_bytes=max_bytes, linger=timedelta(seconds=linger))
    groups: Groups[int] = Groups(rules)
    waiting: dict[int, int] = {}
    for number, (act, value) in enumerate(acts):
        if act == "add":
            waiting[number] = value
            groups.add(number, value, float(number))
        elif act == "remove":
            waiting.pop(value, None)
            groups.remove(value)
        else:
            for one in groups.take():
                del waiting[one]
        at = groups.leaves_at()
        if not waiting:
            assert at is None
            continue
        is_full = len(waiting) >= max_calls or sum(waiting.values()) >= max_bytes
        since = float(min(waiting))
        assert at == (since if is_full else since + rules.linger.total_seconds())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_calls": 0}, "max_calls: an int of 1 or more is required; got 0"),
        ({"max_calls": True}, "max_calls: an int of 1 or more"),
        ({"max_bytes": 1.5}, r"max_bytes: an int of 1 or more is required; got 1\.5"),
        ({"linger": 1}, "linger: a timedelta of zero or more is required; got 1"),
        ({"linger": timedelta(-1)}, "linger: a timedelta of zero or more"),
    ],
)
def test_rules_are_checked(arguments: dict[str, Any], error: str):
    with pytest.raises(ConfigurationError, match=error):
        Coalesce(**arguments)


def test_rules_of_a_client_are_checked():
    assert Coalesce(max_calls=2) == Coalesce(max_calls=2)
    for wrong in (None, 1, "yes", {"max_calls": 2}):
        with pytest.raises(ConfigurationError, match="coalesce: a bool or a Coalesce is required"):
            AsyncClient("key", coalesce=wrong)


def test_the_key_of_a_group_is_a_str_that_can_be_pickled():
    calls = [new_call("http://x", "f", number) for number in range(3)]
    key = GroupKey("key", DispatchRequest(calls=calls), 1)
    copy = pickle.loads(pickle.dumps(key))
    assert (copy, type(copy), copy.request, copy.place) == ("key", GroupKey, key.request, 1)
    assert copy.request_for(calls[1]) == (key.request, 1)
    assert copy.request_for(calls[0]) is None
