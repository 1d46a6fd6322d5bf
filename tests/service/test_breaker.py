"""Breakers: by examples, and for any order of events. No clock runs."""

from hypothesis import given
from hypothesis import strategies as st

from dispatch_grpc.service.breaker import (
    FAILURES,
    FORGET_SECONDS,
    MAX_REST,
    PROBE_SECONDS,
    Breaker,
    Hosts,
    rest_of,
)
from dispatch_grpc.service.pace import MAX_ASKED_REST

HOST = "http://h"


def failed_host(now: float = 0.0) -> Hosts:
    hosts = Hosts()
    told = [hosts.failed(HOST, now, 0) for _ in range(FAILURES)]
    assert told == [False] * (FAILURES - 1) + [True]
    return hosts


def test_a_host_rests_after_failures_in_a_row():
    hosts = Hosts()
    hosts.failed(HOST, 0, 0)
    hosts.failed(HOST, 0, 0)
    assert hosts.answered(HOST, 0) is False
    hosts.failed(HOST, 0, 0)
    assert hosts.allowance(HOST, 0) is None
    assert failed_host().allowance(HOST, 0) == 0


def test_one_call_probes_a_host_when_its_rest_is_over():
    hosts = failed_host()
    rest = rest_of(FAILURES)
    assert hosts.to_probe(rest / 2) == []
    assert hosts.to_probe(rest) == [HOST]
    assert hosts.allowance(HOST, rest) == 0  # another process may be the one
    hosts.grant_probes([HOST], {HOST}, rest)
    assert hosts.allowance(HOST, rest) == 1
    hosts.begun(HOST, rest)
    assert hosts.allowance(HOST, rest) == 0
    assert hosts.failed(HOST, rest, 0)
    assert hosts.to_probe(rest + rest) == []  # it rests for longer
    assert hosts.to_probe(rest + rest_of(FAILURES + 1)) == [HOST]


def test_a_host_that_answers_its_probe_is_called_again():
    hosts = failed_host()
    hosts.grant_probes([HOST], {HOST}, 1)
    hosts.begun(HOST, 1)
    assert hosts.answered(HOST, 1)
    assert hosts.allowance(HOST, 1) is None


def test_a_probe_that_another_process_makes_is_waited_for():
    hosts = failed_host()
    hosts.grant_probes([HOST], set(), 1)
    assert hosts.allowance(HOST, 1) == 0
    assert hosts.to_probe(1) == []


def test_a_probe_that_came_to_nothing_is_made_again():
    """The job was stale, say."""
    hosts = failed_host()
    hosts.grant_probes([HOST], {HOST}, 1)
    hosts.begun(HOST, 1)
    hosts.ended(HOST)
    assert hosts.allowance(HOST, 1) == 1


def test_a_probe_that_runs_for_long_has_connected():
    hosts = failed_host()
    hosts.grant_probes([HOST], {HOST}, 1)
    hosts.begun(HOST, 1)
    assert hosts.allowance(HOST, 1 + PROBE_SECONDS) is None


def test_what_others_know_counts():
    hosts = Hosts()
    hosts.learn({HOST: (5, 7.0)}, ())
    assert hosts.allowance(HOST, 6) == 0
    hosts.learn({}, (HOST,))
    assert hosts.allowance(HOST, 6) == 0  # this process knows better
    hosts.learn({}, ())
    assert hosts.allowance(HOST, 6) is None


def test_a_host_rests_for_as_long_as_it_asks():
    hosts = Hosts()
    assert hosts.failed(HOST, 0, 30)
    assert hosts.to_probe(29) == []
    assert hosts.to_probe(30) == [HOST]
    hosts = Hosts()
    hosts.failed(HOST, 0, 10**9)
    assert hosts.to_probe(MAX_ASKED_REST) == [HOST]


def test_a_failure_of_a_call_that_was_begun_before_the_rest_does_not_lengthen_it():
    hosts = failed_host()
    assert not hosts.failed(HOST, 0.5, 0)
    assert hosts.to_probe(rest_of(FAILURES)) == [HOST]


def test_a_process_that_probes_a_host_does_not_learn_from_others():
    breaker = Breaker()
    breaker.learn(FAILURES, 1.0)
    breaker.grant_probe()
    breaker.learn(FAILURES, 9.0)
    assert breaker.allowance(1) == 1
    breaker.begun(1)
    breaker.learn(FAILURES, 9.0)
    assert breaker.until == 1.0


@given(st.lists(st.sampled_from(["failed", "answered", "begun", "ended", "grant", "learn"])))
def test_a_breaker_always_lets_somebody_through_in_the_end(events: list[str]):
    breaker, now = Breaker(), 0.0
    for event in events:
        now += 0.5
        if event == "failed":
            breaker.failed(now)
        elif event == "answered":
            breaker.succeeded()
        elif event == "grant":
            if breaker.wants_probe(now):
                breaker.grant_probe()
        elif event == "learn":
            breaker.learn(4, now + MAX_REST)
        elif event == "begun":
            if breaker.allowance(now) != 0:
                breaker.begun(now)
        else:
            breaker.ended()
        assert breaker.allowance(now) in {None, 0, 1}
    now += PROBE_SECONDS + MAX_REST
    if breaker.wants_probe(now):
        breaker.grant_probe()
    assert breaker.allowance(now) in {None, 1}


def test_a_host_that_no_call_waits_for_changes_nothing_by_itself():
    """Or else the loop would turn for it, again and again."""
    hosts = Hosts()
    hosts.refused(HOST, 0, 0, 0)
    wait = hosts.next_change(0)
    assert wait
    assert hosts.next_change(wait / 2) == wait / 2
    assert hosts.next_change(2 * wait) is None


def test_a_call_that_was_not_allowed_is_told_once_that_it_is():
    """Or else it would wait for the next scan of the queue, when its turn is just over."""
    hosts = Hosts()
    hosts.refused(HOST, 0, 0, 0)
    assert hosts.allowance(HOST, 0) == 0
    wait = hosts.next_change(0)
    assert wait
    assert hosts.next_change(2 * wait) == 0
    assert hosts.next_change(2 * wait) is None
    assert hosts.allowance(HOST, 2 * wait) == 1
    assert hosts.next_change(2 * wait) is None


def test_what_is_well_is_forgotten():
    hosts = Hosts()
    hosts.refused(HOST, 0, 0, 0)
    assert hosts.allowance(HOST, 0) == 0
    later = FORGET_SECONDS + 1
    hosts.forget(later)
    assert hosts.allowance(HOST, later) is None
    for number in range(20_000):
        hosts.failed(f"http://{number}", 0, 0)
        hosts.answered(f"http://{number}/", 0)
    assert len(hosts._breakers) == len(hosts._paces) == 10_000
