"""Lanes: what is taken next, by simulation and for any order of events."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dispatch_grpc import new_call
from dispatch_grpc.service.lanes import MAX_LANES, Lanes, host_of_lane, lane_of
from tests.service.processes import Process, service
from tests.service.test_faults import client, dispatch

HOSTS = [f"http://h{number}" for number in range(6)]


def fill(lanes: Lanes, *busy: str) -> dict[str, int]:
    """Have lanes with endless backlogs take all that they get; returns how much that is."""
    found: dict[str, int] = {}
    while True:
        for lane in busy:
            lanes.has_jobs(lane)
        plan = lanes.plan(100)
        if not plan:
            return found
        for lane, number in plan.items():
            found[lane] = found.get(lane, 0) + number
            for _ in range(number):
                lanes.take(lane)


def test_a_host_alone_leaves_slots_for_those_to_come():
    lanes = Lanes(256, 256)
    hung = lane_of(HOSTS[0], "f")
    first = fill(lanes, hung)[hung]
    assert 100 <= first <= 128
    for host in HOSTS[1:]:
        assert fill(lanes, lane_of(host, "f"))
    assert lanes.plan(100) == {}
    assert lanes.taken < 256


def test_many_hosts_that_hang_share_alike():
    lanes = Lanes(256, 128)
    found = fill(lanes, *(lane_of(host, "f") for host in HOSTS))
    assert max(found.values()) - min(found.values()) <= 2
    assert 256 - lanes.taken >= 16
    assert fill(lanes, lane_of("http://new", "f"))


def test_a_function_leaves_slots_for_the_others_of_its_host():
    lanes = Lanes(256, 128)
    found = fill(lanes, lane_of(HOSTS[0], "slow"))
    assert 64 < found[lane_of(HOSTS[0], "slow")] < 128
    assert fill(lanes, lane_of(HOSTS[0], "quick"))


def test_lanes_are_served_in_turn():
    lanes = Lanes(256, 128)
    for number in range(10):
        lanes.has_jobs(lane_of(HOSTS[0], f"f{number}"))
    first = lanes.plan(4)
    second = lanes.plan(4)
    assert list(first.values()) == list(second.values()) == [1] * 4
    assert not first.keys() & second.keys()


def test_few_slots_are_all_used():
    for total, per_host in ((1, 128), (3, 128), (256, 3), (2, 2)):
        lanes = Lanes(total, per_host)
        assert fill(lanes, lane_of(HOSTS[0], "f")) == {lane_of(HOSTS[0], "f"): min(total, per_host)}


def test_a_host_gets_no_more_than_it_may():
    allowed: dict[str, int | None] = {HOSTS[0]: 0, HOSTS[1]: 1}
    lanes = Lanes(256, 128, allowed.get)
    busy = [lane_of(host, "f") for host in HOSTS[:3]]
    for lane in busy:
        lanes.has_jobs(lane)
    plan = lanes.plan(100)
    assert busy[0] not in plan
    assert plan[busy[1]] == 1
    assert plan[busy[2]] > 50
    allowed[HOSTS[0]] = None  # its jobs were not forgotten
    assert busy[0] in lanes.plan(100)


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.lists(
        st.tuples(st.sampled_from(HOSTS), st.sampled_from("fgh"), st.booleans()), max_size=200
    ),
)
def test_bounds_hold_whatever_happens(
    total: int, per_host: int, events: list[tuple[str, str, bool]]
):
    lanes = Lanes(total, per_host)
    taken: list[str] = []
    for host, function, ends in events:
        if ends and taken:
            lanes.give_back(taken.pop())
        lanes.has_jobs(lane_of(host, function))
        for lane, number in lanes.plan(50).items():
            assert number > 0
            for _ in range(number):
                lanes.take(lane)
                taken.append(lane)
        assert lanes.taken == len(taken) <= total
        for one in HOSTS:
            mine = sum(host_of_lane(lane) == one for lane in taken)
            assert mine == lanes.of_host(one) <= per_host
    while taken:
        lanes.give_back(taken.pop())
    # Nobody is kept waiting where nothing runs.
    lanes.has_jobs(lane_of("http://last", "f"))
    assert lanes.plan(1)


def test_slots_to_spare_are_taken_without_a_turn():
    lanes = Lanes(256, 128)
    one, other = lane_of(HOSTS[0], "f"), lane_of(HOSTS[1], "f")
    assert lanes.take_spare({one: 3, other: 2}) == {one: 3, other: 2}
    assert lanes.taken == 5
    assert lanes.take_spare({one: 1000})[one] < 128
    assert 2 * (256 - lanes.taken) > 256 - 2  # the others are for those that come by their turn


def test_no_slot_is_to_spare_where_a_job_waits_or_the_host_rests():
    allowed: dict[str, int | None] = {HOSTS[2]: 0, HOSTS[3]: 1}
    lanes = Lanes(256, 128, allowed.get)
    lanes.has_jobs(lane_of(HOSTS[0], "f"))
    wanted = {lane_of(host, "g"): 2 for host in HOSTS[:4]}
    assert lanes.take_spare(wanted) == {lane_of(HOSTS[1], "g"): 2, lane_of(HOSTS[3], "g"): 1}


@given(st.integers(1, 300), st.integers(1, 300), st.lists(st.sampled_from(HOSTS), max_size=20))
def test_slots_to_spare_keep_the_bounds(total: int, per_host: int, hosts: list[str]):
    lanes = Lanes(total, per_host)
    for host in hosts:
        lanes.take_spare({lane_of(host, "f"): 40})
        assert lanes.of_host(host) <= per_host
        assert 2 * lanes.taken <= total + 1


def test_lanes_that_cannot_be_served_make_way_for_others():
    resting = HOSTS[0]
    allowed: dict[str, int | None] = {resting: 0}
    lanes = Lanes(256, 128, allowed.get)
    for number in range(MAX_LANES):
        lanes.has_jobs(lane_of(resting, f"f{number}"))
    lanes.has_jobs(lane_of(HOSTS[1], "f"))
    assert lanes.plan(100).keys() == {lane_of(HOSTS[1], "f")}
    allowed.clear()
    assert len(lanes.plan(100)) == 100  # which can be served now, and is not forgotten
    for number in range(MAX_LANES):
        lanes.has_jobs(lane_of(resting, f"f{number}"))
    lanes.has_jobs(lane_of(HOSTS[1], "f"))
    assert len(lanes.hosts()) == 1  # nothing that waits for its turn makes way


def test_paused_lanes_do_not_hide_others(tmp_path: Path, hosted: Process):
    """However many they are, also from a process that knows the lanes by its scans only."""
    data, paused = tmp_path / "data", "http://127.0.0.1:1"  # in order before the other host
    with service(data) as process, client(process) as c:
        for host in (paused, hosted.url):
            c.pause(host=host)
        names = [f"f{number}" for number in range(MAX_LANES + 50)]
        for some in (names[: len(names) // 2], names[len(names) // 2 :]):
            dispatch(c, [new_call(paused, name) for name in some])
        (id,) = dispatch(c, [new_call(hosted.url, "square", 3)])
    with service(data) as process, client(process) as c:
        c.resume(host=hosted.url)
        assert c.wait(id, timeout=60) == 9
