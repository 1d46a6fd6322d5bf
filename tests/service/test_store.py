"""The store: what is written, what follows from it, and what is left alone."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from dispatch_grpc import AlreadyExistsError, Call, Status, marshal, new_call, unmarshal
from dispatch_grpc.primitives import exit_, poll, tail_call
from dispatch_grpc.schema import CallResult, RunResponse
from dispatch_grpc.service import (
    machine,
    queue,
    reads,
    reads_counts,
    store,
    store_accept,
    store_attempts,
    store_cancel,
    store_due,
    store_outcomes,
    store_upkeep,
)
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.ids import id_at, new_id
from dispatch_grpc.service.lanes import lane_of
from dispatch_grpc.service.machine import Answer, Limits
from dispatch_grpc.service.schema import MIGRATIONS
from dispatch_grpc.service.store import CallDecision, Job, Loaded, NewCall, Release
from dispatch_grpc.service.urls import host_of
from tests.service.conftest import Bench

LIMITS = Limits(first_backoff=timedelta(0))
HERE = "http://here.example:80"


async def prune(connection: Any, retention: timedelta, requests: timedelta) -> bool:
    """Do what the chore does in two transactions."""
    await store_upkeep.tend_partitions(connection, retention, requests)
    return await store_upkeep.prune(connection, retention, requests)


def now() -> datetime:
    return datetime.now(UTC)


def accept(bench: Bench, *calls: Call, **settings: Any) -> list[UUID]:
    """Record calls as if a client had dispatched them."""
    new = [NewCall(new_id(), call, LIMITS.expires_at(call, now()), **settings) for call in calls]
    bench.run(lambda c: store_accept.accept(c, new, now()))
    return [one.id for one in new]


def jobs(bench: Bench) -> list[Job]:
    """The jobs in the queue that are due, in their order."""
    rows = bench.run(
        lambda c: c.fetch(
            "SELECT payload FROM pgqueuer WHERE status = 'queued' AND execute_after <= now() "
            "ORDER BY id"
        )
    )
    return [Job.unpack(row["payload"]) for row in rows]


def take(bench: Bench) -> list[Loaded]:
    """Take all jobs that are due out of the queue, and begin their runs."""
    found = jobs(bench)

    async def act(connection: Any) -> list[Loaded]:
        await connection.execute(
            "DELETE FROM pgqueuer WHERE payload = ANY($1)", [job.pack() for job in found]
        )
        loaded = await store_attempts.load(connection, found)
        assert await store_attempts.begin(connection, found) == set(loaded)
        return [loaded[job] for job in found if job in loaded]

    result: list[Loaded] = bench.run(act)
    return result


def whole(bench: Bench, loaded: Loaded) -> Loaded:
    """A call with its large contents, which are loaded when its request is to be sent."""
    assert loaded.size > 64 * 1024
    assert loaded.results == []
    found = bench.run(lambda c: store_attempts.load_whole(c, loaded))
    assert isinstance(found, Loaded)
    assert found.result_ids == loaded.result_ids
    return found


def answer(bench: Bench, loaded: Loaded, response: RunResponse) -> list[UUID]:
    """Write what becomes of a run that was answered so. Returns the calls that have finished."""
    outcome = machine.decide(loaded.running, Answer(response), now(), LIMITS)
    _, finished = bench.run(
        lambda c: store_outcomes.write(c, [CallDecision(loaded, outcome)], now(), LIMITS)
    )
    return list(finished)


async def load(job: Job, connection: Any) -> dict[Job, Loaded]:
    """Load the call of a job, and begin its attempt."""
    loaded = await store_attempts.load(connection, [job])
    assert await store_attempts.begin(connection, [job]) == set(loaded)
    return loaded


async def write(item: CallDecision, connection: Any) -> None:
    await store_outcomes.write(connection, [item], now(), LIMITS)


async def execute(statement: str, argument: Any, connection: Any) -> None:
    await connection.execute(statement, argument)


async def release(loaded: Loaded, connection: Any) -> None:
    await write(CallDecision(loaded, Release()), connection)


def row(bench: Bench, id: UUID) -> Any:
    return bench.run(lambda c: c.fetchrow("SELECT * FROM every_call WHERE id = $1", id))


CALL = new_call(HERE, "f", 23, version="v1", correlation_id=2**64 - 1)


@pytest.mark.parametrize("outcome", ["finish", "release", "suspend"])
@pytest.mark.parametrize("is_ours", [True, False])
def test_a_job_is_deleted_with_the_outcome_by_its_owner_only(
    bench: Bench, outcome: str, is_ours: bool
):
    me, other = new_id(), new_id()
    accept(bench, CALL)
    (job,) = jobs(bench)
    (claim,) = bench.run(
        lambda c: queue.claim(c, me if is_ours else other, {lane_of(host_of(HERE), "f"): 1})
    )
    loaded = bench.run(lambda c: load(job, c))[job]
    made = (
        Release()
        if outcome == "release"
        else machine.decide(
            loaded.running,
            Answer(exit_(1) if outcome == "finish" else poll([new_call(HERE, "c")])),
            now(),
            LIMITS,
        )
    )
    items = [CallDecision(loaded, made, claim.id)]
    assert store_outcomes.is_one_statement(items) is (outcome == "finish")
    bench.run(lambda c: store_outcomes.write(c, items, now(), LIMITS, me))
    left = bench.run(lambda c: c.fetch("SELECT FROM pgqueuer WHERE id = $1", claim.id))
    assert bool(left) is not is_ours


def test_a_call_is_filed_with_all_that_it_has(bench: Bench):
    """Whatever columns later versions add."""
    (id,) = accept(bench, CALL)
    (loaded,) = take(bench)
    values = {
        "ARRAY": [b"x"],
        "bigint": 7,
        "boolean": True,
        "bytea": b"x",
        "integer": 7,
        "jsonb": "{}",
        "smallint": 7,
        "text": "x",
        "timestamp with time zone": now(),
        "uuid": UUID(int=7),
    }

    async def fill(connection: Any) -> None:
        columns = await connection.fetch(
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'dispatch_grpc' AND table_name = 'calls'"
        )
        for name, kind in columns:
            if name not in {"id", "parent_id", "turn"}:
                await connection.execute(f"UPDATE calls SET {name} = $1", values[kind])

    bench.run(fill)
    before = dict(row(bench, id))
    assert answer(bench, loaded, exit_(1)) == [id]
    after = dict(row(bench, id))
    ended = {"state", "status", "turn", "runs", "result", "finished_at", "dead"}
    cleared = {"next_at", "poll", "poll_error"}
    assert {name for name in before if before[name] != after[name]} == ended | cleared


def test_a_call_is_recorded_with_a_job(bench: Bench):
    (id,) = accept(bench, CALL)
    (loaded,) = take(bench)
    assert loaded.running.id == id == loaded.root_id
    assert loaded.running.correlation_id == 2**64 - 1
    assert (loaded.running.endpoint, loaded.function) == (HERE, "f")
    assert unmarshal(marshal(23)) == 23
    call = Call()
    call.input.ParseFromString(loaded.input)
    assert call.input == CALL.input
    assert row(bench, id)["state"] == store.RUNNING


def test_ids_are_of_version_7_and_in_order():
    ids = [new_id() for _ in range(1000)]
    assert {(id.version, id.variant) for id in ids} == {(7, "specified in RFC 4122")}
    assert len(set(ids)) == 1000
    assert [id.int >> 80 for id in ids] == sorted(id.int >> 80 for id in ids)


def test_a_stale_job_does_nothing(bench: Bench):
    (id,) = accept(bench, CALL)
    (loaded,) = take(bench)
    answer(bench, loaded, exit_(1))
    for turn in (0, 1, 2):
        assert bench.run(partial(load, Job(id, turn))) == {}
    assert bench.run(lambda c: store_attempts.load(c, [Job(new_id(), 0)])) == {}


def test_an_attempt_that_began_is_begun_again_and_counted(bench: Bench):
    (id,) = accept(bench, CALL)
    for number in (1, 2, 3):
        for _ in range(3):  # to be loaded is not to begin
            (loaded,) = bench.run(lambda c: store_attempts.load(c, [Job(id, 0)])).values()
            assert loaded.running.pickups == number
            assert row(bench, id)["state"] == (store.QUEUED if number == 1 else store.RUNNING)
        bench.run(partial(load, Job(id, 0)))
    # Both answer; the first one counts.
    first, second = loaded, loaded
    assert answer(bench, first, exit_("first")) == [id]
    assert answer(bench, second, exit_("second")) == []
    result = CallResult.FromString(row(bench, id)["result"])
    assert unmarshal(result.output) == "first"


def test_a_retry_has_a_job_of_its_own(bench: Bench):
    (id,) = accept(bench, CALL)
    for number in range(1, 4):
        (loaded,) = take(bench)
        assert loaded.running.failures == number - 1
        assert loaded.running.pickups == 1
        answer(bench, loaded, exit_(error=ConnectionError(f"no {number}")))
        found = row(bench, id)
        assert (found["state"], found["runs"], found["failures"]) == (store.QUEUED, number, number)
    assert loaded.running.last_error is not None
    assert loaded.running.last_error.message == "no 2"


def test_a_retry_waits_for_its_time(bench: Bench):
    (id,) = accept(bench, CALL)
    (loaded,) = take(bench)
    outcome = machine.Retry(
        now() + timedelta(hours=1),
        Status.TCP_ERROR,
        exit_(error=OSError("x")).exit.result.error,
        False,
    )
    bench.run(lambda c: store_outcomes.write(c, [CallDecision(loaded, outcome)], now(), LIMITS))
    assert jobs(bench) == []
    assert row(bench, id)["next_at"] == outcome.at
    assert bench.run(reads_counts.count) == {"queued": 0, "delayed": 1, "running": 0, "waiting": 0}


def test_a_tail_call_goes_on_under_the_same_id(bench: Bench):
    (id,) = accept(bench, CALL)
    (loaded,) = take(bench)
    answer(bench, loaded, tail_call(new_call("http://there", "g", "next", version="v2")))
    (loaded,) = take(bench)
    assert (loaded.running.id, loaded.running.endpoint, loaded.function) == (
        *(id, "http://there"),
        "g",
    )
    assert loaded.running.correlation_id == 2**64 - 1
    assert loaded.created_at == row(bench, id)["created_at"]


def test_a_poll_waits_for_its_children(bench: Bench):
    (id,) = accept(bench, CALL)
    (parent,) = take(bench)
    calls = [new_call(HERE, "child", n, correlation_id=n) for n in range(3)]
    answer(bench, parent, poll(calls, state="kept", min_results=2, max_results=2))
    assert row(bench, id)["state"] == store.WAITING
    children = take(bench)
    assert [child.function for child in children] == ["child"] * 3
    assert {(child.parent_id, child.root_id) for child in children} == {(id, id)}
    answer(bench, children[1], exit_("b"))
    assert jobs(bench) == []
    answer(bench, children[0], exit_(error=KeyError("a"), status=Status.PERMANENT_ERROR))
    (resumed,) = take(bench)
    assert resumed.poll is not None
    assert unmarshal(resumed.poll.typed_coroutine_state) == "kept"
    assert [result.correlation_id for result in resumed.results] == [1, 0]
    # The last result comes with the next poll, once, with nothing else.
    answer(bench, resumed, poll(min_results=1))
    answer(bench, children[2], exit_("c"))
    (resumed,) = take(bench)
    assert [result.correlation_id for result in resumed.results] == [2]
    answer(bench, resumed, exit_("end"))
    assert row(bench, id)["state"] == store.FINISHED


def test_results_are_given_again_when_the_run_that_got_them_failed(bench: Bench):
    accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([new_call(HERE, "child")]))
    (child,) = take(bench)
    answer(bench, child, exit_(1))
    for _ in range(3):
        (resumed,) = take(bench)
        assert len(resumed.results) == 1
        answer(bench, resumed, exit_(error=ConnectionError()))


def test_a_poll_for_what_has_come_already_is_resumed_at_once(bench: Bench):
    (id,) = accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([new_call(HERE, "c"), new_call(HERE, "c")], max_results=1))
    for child in take(bench):
        answer(bench, child, exit_(1))
    (resumed,) = take(bench)
    assert len(resumed.results) == 1
    answer(bench, resumed, poll())
    (resumed,) = take(bench)
    assert len(resumed.results) == 1
    answer(bench, resumed, poll())  # nothing is left to wait for: it sleeps until max_wait
    assert take(bench) == []
    found = row(bench, id)
    assert (found["state"], found["outstanding"]) == (store.WAITING, 0)
    assert found["next_at"] > now() + timedelta(minutes=4)


def test_a_poll_for_nothing_without_a_time_limit_is_resumed(bench: Bench):
    """Other SDKs leave `max_wait` out."""
    (id,) = accept(bench, CALL)
    for _ in range(3):
        (resumed,) = take(bench)
        answer(bench, resumed, RunResponse(status="STATUS_OK", poll={"min_results": 1}))
        assert row(bench, id)["state"] == store.WAITING
        assert take(bench) == []
        bench.run(store_due.wake)


def test_a_process_that_was_frozen_takes_no_results_from_later_attempts(bench: Bench):
    """It was resumed, another process took over, and only then does its outcome arrive."""
    (id,) = accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([new_call(HERE, "c"), new_call(HERE, "c")], min_results=2))
    for child in take(bench):
        answer(bench, child, exit_(1))
    (frozen,) = take(bench)
    assert len(frozen.results) == 2
    bench.run(partial(release, frozen))  # by the process that took over
    too_long = new_call(HERE, "late", expiration=timedelta(days=31))
    for response in (poll([new_call(HERE, "late")]), poll([too_long])):
        answer(bench, frozen, response)
    (resumed,) = take(bench)
    assert len(resumed.results) == 2
    answer(bench, resumed, exit_("end"))
    assert row(bench, id)["state"] == store.FINISHED


def test_results_are_filed_for_the_calls_that_used_them_only(bench: Bench):
    """When the outcomes of several are written together, and one of them comes too late."""
    accept(bench, CALL, CALL)
    for parent in take(bench):
        answer(bench, parent, poll([new_call(HERE, "c")]))
    for child in take(bench):
        answer(bench, child, exit_(1))
    frozen, other = take(bench)
    bench.run(partial(release, frozen))
    waits = Answer(poll([new_call(HERE, "later")]))
    items = [
        CallDecision(one, machine.decide(one.running, waits, now(), LIMITS))
        for one in (frozen, other)
    ]
    bench.run(lambda c: store_outcomes.write(c, items, now(), LIMITS))
    (resumed,) = [one for one in take(bench) if one.running.id == frozen.running.id]
    assert resumed.result_ids == frozen.result_ids
    left = bench.run(lambda c: c.fetch("SELECT id FROM calls WHERE finished_at IS NOT NULL"))
    assert [row["id"] for row in left] == frozen.result_ids


def test_children_that_end_together_wake_their_parent_once(bench: Bench):
    accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([new_call(HERE, "c")] * 50, min_results=10))
    items = [
        CallDecision(child, machine.decide(child.running, Answer(exit_(1)), now(), LIMITS))
        for child in take(bench)
    ]
    bench.run(lambda c: store_outcomes.write(c, items, now(), LIMITS))
    (resumed,) = take(bench)
    assert len(resumed.results) == 50


def test_a_call_that_starts_again_forgets_its_children(bench: Bench):
    (id,) = accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([new_call(HERE, "old"), new_call(HERE, "old")]))
    first, second = take(bench)
    answer(bench, first, exit_("old"))
    (resumed,) = take(bench)
    error = ValueError("another version")
    answer(bench, resumed, exit_(error=error, status=Status.INCOMPATIBLE_STATE))
    (again,) = take(bench)
    assert (again.poll, again.results, again.generation) == (None, [], 1)
    answer(bench, again, poll([new_call(HERE, "new")]))
    answer(bench, second, exit_("old"))
    assert row(bench, id)["state"] == store.WAITING
    (new,) = take(bench)
    answer(bench, new, exit_("new"))
    (resumed,) = take(bench)
    assert [unmarshal(result.output) for result in resumed.results] == ["new"]


def test_a_poll_that_cannot_be_done_is_resumed_with_the_reason(bench: Bench):
    accept(bench, CALL)
    (parent,) = take(bench)
    outcome = machine.decide(
        parent.running,
        Answer(poll([new_call(HERE, "c")], state=b"kept")),
        now(),
        LIMITS,
        problem_of_call=lambda _: "not here",
    )
    bench.run(lambda c: store_outcomes.write(c, [CallDecision(parent, outcome)], now(), LIMITS))
    (resumed,) = take(bench)
    assert resumed.poll_error is not None
    assert "not here" in resumed.poll_error.message
    answer(bench, resumed, poll([new_call(HERE, "c")]))
    (child,) = take(bench)
    answer(bench, child, exit_(1))
    (resumed,) = take(bench)
    assert resumed.poll_error is None


def test_a_call_wakes_when_its_time_has_come(bench: Bench):
    (id,) = accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([new_call(HERE, "c")]))
    take(bench)
    bench.run(store_due.wake)
    assert jobs(bench) == []
    bench.run(lambda c: c.execute("UPDATE calls SET next_at = now() WHERE id = $1", id))
    assert bench.run(store_due.wake) == {f"{HERE} f"}
    bench.run(store_due.wake)
    (resumed,) = take(bench)
    assert (resumed.running.id, resumed.results) == (id, [])


def test_a_call_that_is_given_back_has_a_job_again(bench: Bench):
    (id,) = accept(bench, CALL)
    for _ in range(10):
        (loaded,) = take(bench)
        assert loaded.running.pickups == 1  # it was not the call that ended the process
        bench.run(partial(release, loaded))
    assert row(bench, id)["runs"] == 0


def test_calls_without_a_job_get_one(bench: Bench):
    lost, running, waiting, queued = accept(bench, CALL, CALL, CALL, CALL)
    taken = {one.running.id: one for one in take(bench)}
    answer(bench, taken[waiting], poll([new_call("http://slow", "c")]))
    answer(bench, taken[queued], exit_(error=ConnectionError()))
    answer(bench, taken[running], exit_(error=ConnectionError()))
    before = {job.id for job in jobs(bench)}
    assert lost not in before
    assert bench.run(store_upkeep.recover) == ({f"{HERE} f"}, None)
    assert {job.id for job in jobs(bench)} - before == {lost}
    assert bench.run(store_upkeep.recover) == (set(), None)


# Requests


async def request(connection: Any, key: bytes, body: bytes) -> list[UUID]:
    """Record a call, as a client asks for with an idempotency key."""
    new = NewCall(new_id(), new_call(HERE, "f"), LIMITS.expires_at(new_call(HERE, "f"), now()))
    ids, lanes = await store_accept.accept(connection, [new], now(), key=key, body=body)
    assert lanes == ([f"{HERE} f"] if list(ids) == [new.id] else [])
    return list(ids)


def test_a_key_answers_the_same_ids(bench: Bench):
    ids = bench.run(lambda c: request(c, b"key", b"body"))
    assert bench.run(lambda c: request(c, b"key", b"body")) == ids
    with pytest.raises(AlreadyExistsError, match="other calls"):
        bench.run(lambda c: request(c, b"key", b"another body"))
    assert [job.id for job in jobs(bench)] == ids
    assert bench.run(lambda c: c.fetchval("SELECT count(*) FROM calls")) == 1


def test_requests_of_one_key_at_once(bench: Bench):
    async def ask() -> list[UUID]:
        async with bench.database.transaction() as connection:
            found = await request(connection, b"key", b"body")
            await asyncio.sleep(0.01)
            return found

    async def main() -> list[list[UUID]]:
        return await asyncio.gather(*(ask() for _ in range(8)))

    found = bench.runner.run(main())
    assert all(ids == found[0] for ids in found)
    assert [job.id for job in jobs(bench)] == found[0]


def test_a_key_of_a_request_that_failed_is_free(bench: Bench):
    async def fail(connection: Any) -> None:
        await request(connection, b"key", b"body")
        raise LookupError

    with pytest.raises(LookupError):
        bench.run(fail)
    ids = bench.run(lambda c: request(c, b"key", b"other"))
    assert [job.id for job in jobs(bench)] == ids


# Cancelling


def test_a_call_is_cancelled_with_its_children(bench: Bench):
    (id,) = accept(bench, CALL)
    other = accept(bench, CALL)[0]
    taken = {one.running.id: one for one in take(bench)}
    answer(bench, taken[id], poll([new_call(HERE, "c"), new_call(HERE, "done")]))
    child, done = take(bench)
    answer(bench, done, exit_("done"))
    answer(bench, child, poll([new_call(HERE, "grandchild")]))
    assert bench.run(lambda c: store_cancel.cancel(c, id, now())) == 3
    for one in (id, child.running.id):
        found = row(bench, one)
        assert (found["state"], found["status"]) == (store.FINISHED, Status.PERMANENT_ERROR)
    assert row(bench, done.running.id)["status"] == Status.OK
    assert row(bench, other)["state"] == store.RUNNING
    assert take(bench) == []  # the jobs that are there still are stale
    assert bench.run(lambda c: store_cancel.cancel(c, id, now())) == 0
    assert bench.run(lambda c: store_cancel.cancel(c, new_id(), now())) is None


def test_a_delayed_call_that_is_cancelled_leaves_no_job(bench: Bench):
    """It would count as delayed until it is due."""
    start = now() + timedelta(hours=1)
    cancelled, other = accept(bench, CALL, CALL, starts_at=start)
    (retried,) = accept(bench, CALL)
    (loaded,) = take(bench)
    outcome = machine.decide(
        loaded.running,
        Answer(exit_(error=OSError("no"))),
        now(),
        Limits(first_backoff=timedelta(hours=9), max_backoff=timedelta(hours=9)),
        jitter=lambda: 1,
    )
    bench.run(partial(write, CallDecision(loaded, outcome)))
    assert bench.run(reads_counts.count)["delayed"] == 3
    for id in (cancelled, retried):
        assert bench.run(lambda c: store_cancel.cancel(c, id, now())) == 1  # noqa: B023
    rows = bench.run(lambda c: c.fetch("SELECT payload FROM pgqueuer"))
    assert [Job.unpack(row["payload"]).id for row in rows] == [other]


def test_what_a_cancelled_call_answers_is_not_used(bench: Bench):
    (id,) = accept(bench, CALL)
    (loaded,) = take(bench)
    bench.run(lambda c: store_cancel.cancel(c, id, now()))
    assert answer(bench, loaded, poll([new_call(HERE, "child")])) == []
    assert answer(bench, loaded, exit_("late")) == []
    assert jobs(bench) == []
    assert CallResult.FromString(row(bench, id)["result"]).error.type == "CancelledError"


def test_the_parent_of_a_cancelled_call_goes_on(bench: Bench):
    accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([new_call(HERE, "c", correlation_id=5)]))
    (child,) = take(bench)
    assert bench.run(lambda c: store_cancel.cancel(c, child.running.id, now())) == 1
    (resumed,) = take(bench)
    (result,) = resumed.results
    assert (result.correlation_id, result.error.type) == (5, "CancelledError")


# Looking


def test_calls_are_found_by_what_is_asked_for(bench: Bench):
    calls = [new_call(HERE, "f"), new_call(HERE, "g"), new_call("http://there", "f")]
    first, second, third = (accept(bench, call)[0] for call in calls)
    (loaded,) = [one for one in take(bench) if one.running.id == second]
    answer(bench, loaded, exit_(error=PermissionError("no"), status=Status.PERMISSION_DENIED))

    def find(limit: int = 10, **filters: Any) -> list[UUID]:
        found, _ = bench.run(lambda c: reads.find(c, filters, limit))
        return [UUID(info.dispatch_id) for info in found]

    assert find() == [third, second, first]
    assert find(2) == [third, second]
    assert find(before=second) == [first]
    assert find(function="f") == [third, first]
    assert find(endpoint=HERE, function="f") == [first]
    assert find(state=store.FINISHED) == [second]
    assert find(status=Status.PERMISSION_DENIED.value) == [second]
    created = row(bench, second)["created_at"]
    assert find(created_after=created) == [third, second]
    assert find(created_before=created) == [first]


def test_a_search_looks_at_so_many_calls_and_says_where_to_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reads, "LOOKED_AT", 3)
    start = now()
    ids = [id_at(start + timedelta(milliseconds=number)) for number in range(8)]
    calls = [new_call(HERE, "rare"), *[new_call(HERE, "f")] * 7]
    made = [NewCall(id, call, now()) for id, call in zip(ids, calls, strict=True)]
    bench.run(lambda c: store_accept.accept(c, made, start))

    def pages(limit: int, **filters: Any) -> list[list[UUID]]:
        found = []
        while True:
            calls, place = bench.run(lambda c: reads.find(c, filters, limit))
            found.append([UUID(info.dispatch_id) for info in calls])
            if place is None:
                return found
            filters["before"] = place

    assert pages(10, function="rare") == [[], [], [ids[0]]]
    every = [id for page in pages(2) for id in page]
    assert every == ids[::-1]
    assert [id for page in pages(2, function="f") for id in page] == every[:-1]


def test_a_search_by_time_does_not_look_at_other_times(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reads, "LOOKED_AT", 3)
    old = now() - timedelta(days=3)
    first = UUID(int=id_at(old).int + 1)
    call = new_call(HERE, "f")
    bench.run(lambda c: store_accept.accept(c, [NewCall(first, call, now())], old))
    accept(bench, *[call] * 7)
    filters = {"created_before": now() - timedelta(days=2)}
    found, place = bench.run(lambda c: reads.find(c, filters, 10))
    assert ([UUID(info.dispatch_id) for info in found], place) == ([first], None)
    filters = {"created_after": now() + timedelta(days=2)}
    assert bench.run(lambda c: reads.find(c, filters, 10)) == ([], None)


def test_a_call_is_told_as_it_is(bench: Bench):
    (id,) = accept(bench, CALL)
    info = bench.run(lambda c: reads.get(c, id))
    assert (info.function, info.version, info.runs) == ("f", "v1", 0)
    assert not info.HasField("result")
    (loaded,) = take(bench)
    answer(bench, loaded, exit_(error=ConnectionError("refused")))
    info = bench.run(lambda c: reads.get(c, id))
    assert (info.runs, info.last_error.message) == (1, "refused")
    assert info.status == Status.TCP_ERROR
    (loaded,) = take(bench)
    answer(bench, loaded, exit_([1]))
    info = bench.run(lambda c: reads.get(c, id))
    assert unmarshal(info.result.output) == [1]
    assert info.HasField("finish_time")
    (listed,), _ = bench.run(lambda c: reads.find(c, {}, 10))
    assert not listed.HasField("result")
    assert bench.run(lambda c: reads.get(c, new_id())) is None


def test_lanes_are_those_that_have_jobs_and_say_when_they_are_due(bench: Bench):
    for endpoint in ("http://b:1/x", "http://a", "http://b:1/y", "https://a"):
        accept(bench, new_call(endpoint, "f"))
    accept(bench, new_call("http://a", "g"))
    later = "execute_after = now() + interval '1 hour'"
    bench.run(lambda c: c.execute(f"UPDATE pgqueuer SET {later} WHERE entrypoint = 'http://a g'"))
    found, _ = bench.run(queue.lanes)
    assert sorted(found) == ["http://a f", "http://a g", "http://b:1 f", "https://a f"]
    assert 3500 < found.pop("http://a g") <= 3600
    assert max(found.values()) <= 0
    assert bench.run(queue.lanes)[1] == ""
    # A scan that meets more than it may name goes on from there.
    names, place = [], ""

    async def scan(connection: Any) -> Any:
        return await queue.lanes(connection, place, 2)

    for _ in range(3):
        some, place = bench.run(scan)
        names.append(sorted(some))
    assert names == [["http://a f", "http://a g"], ["http://b:1 f", "https://a f"], []]
    assert place == ""
    bench.clear()
    assert bench.run(queue.lanes) == ({}, "")


def test_plans_that_are_made_while_the_tables_are_small_use_indexes(bench: Bench):
    """They are kept when the tables have grown."""

    async def main() -> None:
        for pool in (bench.database.durable, bench.database.relaxed):
            async with pool.acquire() as connection:
                rows = await connection.fetch(
                    "EXPLAIN UPDATE calls SET turn = turn FROM unnest($1::uuid[]) AS run (run_id) "
                    "WHERE id = run_id",
                    [new_id()],
                )
                plan = "\n".join(row[0] for row in rows)
                assert "Seq Scan on calls" not in plan, plan
                assert await connection.fetchval("SHOW enable_seqscan") == "off"

    bench.runner.run(main())


def test_jobs_are_taken_by_an_index_beside_a_large_backlog(bench: Bench):
    """Whatever PostgreSQL knows of the table."""

    async def main(connection: Any) -> None:
        await connection.execute(
            """
            INSERT INTO pgqueuer (priority, status, entrypoint, payload)
            SELECT 0, 'queued', 'http://dead f', uuid_send(gen_random_uuid())
            FROM generate_series(1, 20000)
            """
        )
        await connection.execute("ANALYZE pgqueuer")
        rows = await connection.fetch(f"EXPLAIN {queue.CLAIM}", new_id(), ["http://well f"], [1])
        plan = "\n".join(row[0] for row in rows)
        assert "Seq Scan on pgqueuer" not in plan, plan

    bench.run(main)


def test_what_is_old_is_pruned(bench: Bench):
    keep, old, parent = accept(bench, CALL, CALL, CALL)
    taken = {one.running.id: one for one in take(bench)}
    for id in (keep, old):
        answer(bench, taken[id], exit_(1))
    answer(bench, taken[parent], poll([new_call(HERE, "c"), new_call(HERE, "c")], min_results=2))
    child, _ = take(bench)
    answer(bench, child, exit_("waited for"))
    days = "finished_at = now() - interval '3 days'"
    for table in ("finished", "calls"):
        statement = f"UPDATE {table} SET {days} WHERE id = ANY($1)"
        bench.run(partial(execute, statement, [old, child.running.id]))
    bench.run(lambda c: request(c, b"old", b"body"))
    bench.run(lambda c: c.execute("UPDATE requests SET created_at = now() - interval '3 days'"))
    bench.run(lambda c: request(c, b"new", b"body"))
    day = timedelta(days=1)
    assert bench.run(store_upkeep.file) is None
    assert bench.run(lambda c: prune(c, day, day)) is False
    assert row(bench, old) is None
    assert row(bench, keep) is not None
    assert row(bench, child.running.id) is not None  # its parent has not been given it
    assert bench.run(lambda c: c.fetch("SELECT key FROM requests")) == [(b"new",)]


def ids_in(bench: Bench, table: str) -> set[UUID]:
    rows = bench.run(lambda c: c.fetch(f"SELECT id FROM {table}"))
    return {row["id"] for row in rows}


def test_a_finished_call_is_filed_when_nobody_can_ask_for_its_result(bench: Bench):
    (id,) = accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([new_call(HERE, "c")] * 2, max_results=1))
    first, second = take(bench)
    for child in (first, second):
        answer(bench, child, exit_(1))
    bench.run(store_upkeep.file)
    (resumed,) = take(bench)
    assert ids_in(bench, "finished") == set()  # the attempt that was given one may fail
    answer(bench, resumed, poll())
    assert ids_in(bench, "finished") == {resumed.result_ids[0]}
    (resumed,) = take(bench)
    answer(bench, resumed, exit_("end"))
    assert ids_in(bench, "calls") == {resumed.result_ids[0]}
    assert bench.run(lambda c: store_upkeep.file(c, limit=1)) is not None
    assert ids_in(bench, "calls") == set()
    assert ids_in(bench, "finished") == {id, first.running.id, second.running.id}
    found, _ = bench.run(lambda c: reads.recent(c, {"parent_id": id}, 10))
    assert {UUID(info.dispatch_id) for info in found} == {first.running.id, second.running.id}
    assert bench.run(lambda c: store_cancel.cancel(c, id, now())) == 0


def test_finished_calls_and_keys_are_dropped_by_the_day(bench: Bench):
    day = timedelta(days=1)
    ids = accept(bench, *[CALL] * 3)
    for loaded in take(bench):
        answer(bench, loaded, exit_(1))
    bench.run(lambda c: request(c, b"new", b"body"))
    oldest = "UPDATE calls SET finished_at = now() - interval '2 days', state = 4"

    async def partitions(connection: Any) -> list[str]:
        rows = await connection.fetch("SELECT relname FROM pg_class WHERE relname ~ '_[0-9]{8}$'")
        return sorted(row["relname"] for row in rows if row["relname"][0] in "fr")

    async def two_days_old(connection: Any) -> None:
        new = NewCall(new_id(), CALL, now())
        await store_accept.accept(connection, [new], now())
        await connection.execute(oldest)
        await prune(connection, 7 * day, day)  # which makes the day's partition
        await store_upkeep.file(connection)
        tables = "SELECT tableoid::regclass::text FROM finished WHERE id = $1"
        assert await connection.fetchval(tables, new.id) == min(await partitions(connection))

    bench.run(two_days_old)
    before = bench.run(partitions)
    assert [name.partition("_")[0] for name in before] == ["finished"] * 5 + ["requests"] * 3
    bench.run(lambda c: prune(c, day, day))
    assert bench.run(partitions) == before[1:]
    assert ids_in(bench, "every_call") >= set(ids)
    bench.run(lambda c: prune(c, -3 * day, -3 * day))
    assert bench.run(partitions) == []
    # Where there is no partition for the day, nothing is refused.
    (id,) = accept(bench, CALL)
    (loaded,) = take(bench)
    answer(bench, loaded, exit_(1))
    assert row(bench, id)["state"] == store.FINISHED
    bench.run(lambda c: request(c, b"newer", b"body"))
    bench.run(lambda c: prune(c, day, day))  # the day has rows elsewhere
    assert [name[-8:] for name in bench.run(partitions)] == 2 * [
        (datetime.now(UTC) + number * day).strftime("%Y%m%d") for number in (1, 2)
    ]
    bench.clear()
    bench.run(lambda c: prune(c, day, day))
    assert bench.run(partitions) == before[2:]


def test_partitions_wait_for_those_who_read(bench: Bench):
    day = timedelta(days=1)

    async def main() -> None:
        await_partition = "SELECT to_regclass('finished_' || to_char(now() AT TIME ZONE 'UTC', $1))"
        async with bench.database.transaction() as connection:
            await prune(connection, day, day)
        async with bench.database.transaction() as reading:
            await reading.execute("SELECT FROM finished")
            async with bench.database.transaction() as connection:
                await prune(connection, -3 * day, day)  # and does not wait long
            assert await reading.fetchval(await_partition, "YYYYMMDD") is not None

    bench.runner.run(main())


def test_slices_of_recovery_go_on_where_the_last_one_ended(bench: Bench):
    ids = accept(bench, *[CALL] * 5)
    bench.run(lambda c: c.execute("DELETE FROM pgqueuer"))
    after: UUID | None = store_upkeep.FIRST_ID
    for _ in range(3):
        assert after is not None
        _, after = bench.run(partial(store_upkeep.recover, after=after, limit=2))
    assert after is None
    assert {job.id for job in jobs(bench)} == set(ids)


def test_commits_reach_the_disk_where_a_database_says_otherwise(
    embedded: Bench, caplog: pytest.LogCaptureFixture
):
    async def system(connection: Any, statement: str, fsync: str) -> None:
        await connection.execute(statement)
        await connection.execute("SELECT pg_reload_conf()")
        while await connection.fetchval("SHOW fsync") != fsync:
            await asyncio.sleep(0.01)

    async def main() -> None:
        connection = await embedded.database.durable.acquire()
        await connection.execute("DROP DATABASE IF EXISTS careless")
        await connection.execute("CREATE DATABASE careless")
        await connection.execute("ALTER DATABASE careless SET synchronous_commit = off")
        database = Database(embedded.url("careless"), embedded.folder)
        try:
            await system(connection, "ALTER SYSTEM SET fsync = off", "off")
            await database.open()
            commits = [
                await pool.fetchval("SHOW synchronous_commit")
                for pool in (database.durable, database.relaxed)
            ]
        finally:
            await system(connection, "ALTER SYSTEM RESET fsync", "on")
            await embedded.database.durable.release(connection)
        assert commits == ["on", "off"]
        await database.close()

    embedded.runner.run(main())
    assert "fsync off" in caplog.text


def test_a_connection_leaves_no_transaction_to_the_next(embedded: Bench):
    async def main() -> None:
        pool = embedded.database.relaxed
        async with pool.acquire() as connection:
            pid = connection.get_server_pid()
            await connection.execute("BEGIN")
        async with pool.acquire() as connection:
            assert connection.get_server_pid() == pid
            assert not connection.is_in_transaction()

    embedded.runner.run(main())


def test_many_processes_prepare_one_database(embedded: Bench):
    async def main() -> None:
        connection = await embedded.database.durable.acquire()
        await connection.execute("DROP DATABASE IF EXISTS fresh")
        await connection.execute("CREATE DATABASE fresh")
        await embedded.database.durable.release(connection)
        databases = [Database(embedded.url("fresh"), embedded.folder) for _ in range(6)]
        await asyncio.gather(*(database.open() for database in databases))
        for database in databases:
            async with database.transaction() as connection:
                assert await connection.fetchval("SELECT max(number) FROM migrations") == len(
                    MIGRATIONS
                )
                assert await queue.lanes(connection) == ({}, "")
            await database.close()

    embedded.runner.run(main())


def test_what_came_of_a_run_counts_when_its_beginning_is_forgotten(bench: Bench):
    """The database crashed, and the commit of the beginning had not reached the disk."""
    (id,) = accept(bench, CALL)
    (loaded,) = take(bench)
    bench.run(lambda c: c.execute("UPDATE calls SET state = 1, pickups = 0"))
    assert answer(bench, loaded, exit_("done")) == [id]


def test_calls_that_are_made_while_their_root_is_cancelled_are_too(bench: Bench):
    (id,) = accept(bench, CALL)
    (root,) = take(bench)
    answer(bench, root, poll([new_call(HERE, "child")]))
    (child,) = take(bench)
    outcome = machine.decide(
        child.running, Answer(poll([new_call(HERE, "grandchild")])), now(), LIMITS
    )

    async def main() -> int | None:
        async def cancel() -> int | None:
            async with bench.database.transaction() as connection:
                return await store_cancel.cancel(connection, id, now())

        async with bench.database.transaction() as connection:
            await store_outcomes.write(connection, [CallDecision(child, outcome)], now(), LIMITS)
            cancelling = asyncio.create_task(cancel())
            await asyncio.sleep(0.2)  # it has looked, and waits for the child's row
        return await cancelling

    assert bench.runner.run(main()) == 3
    states = bench.run(lambda c: c.fetch("SELECT DISTINCT state FROM every_call"))
    assert [row["state"] for row in states] == [store.FINISHED]


def test_failures_that_a_deploy_causes_are_counted_from_the_first_in_a_row(bench: Bench):
    (id,) = accept(bench, CALL)
    found: list[datetime | None] = []
    for passing in (True, True, False, True):
        (loaded,) = take(bench)
        assert loaded.running.passing_since == (found[-1] if found else None)
        response = exit_(error=ConnectionError())
        outcome = machine.decide(loaded.running, Answer(response, passing=passing), now(), LIMITS)
        bench.run(partial(write, CallDecision(loaded, outcome)))
        found.append(row(bench, id)["passing_since"])
    first, second, between, later = found
    assert first is not None
    assert first == second
    assert between is None
    assert later is not None
    assert later > first


def test_results_are_delivered_within_a_number_of_bytes(bench: Bench):
    """A request to an endpoint must not be larger than endpoints accept."""
    (id,) = accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([new_call(HERE, "c")] * 5, min_results=5))
    for child in take(bench):
        answer(bench, child, exit_("x" * 3_000_000))
    sizes: list[int] = []
    while sum(sizes) < 5:
        (resumed,) = take(bench)
        sizes.append(len(whole(bench, resumed).results))
        assert row(bench, id)["state"] == store.RUNNING
        answer(bench, resumed, poll(min_results=5 - sum(sizes) or 1))
    assert sizes == [2, 2, 1]


def test_a_result_that_is_larger_is_delivered_alone(bench: Bench):
    accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([new_call(HERE, "c")] * 2, min_results=2))
    for child in take(bench):
        answer(bench, child, exit_("x" * 9_000_000))
    (resumed,) = take(bench)
    assert len(whole(bench, resumed).results) == 1


def test_large_contents_are_loaded_for_the_request_only(bench: Bench):
    accept(bench, new_call(HERE, "f", b"x" * 100_000))
    (large,) = take(bench)
    assert large.input is None
    assert 100_000 < large.size < 101_000
    assert len(whole(bench, large).input or b"") == large.size
    answer(bench, large, poll(state=b"y" * 100_000, max_wait=timedelta(seconds=1)))
    assert bench.run(lambda c: store_attempts.load_whole(c, large)) is None  # its turn has passed


def test_calls_are_counted_by_one_process_for_all(bench: Bench):
    accept(bench, CALL, CALL)
    again = timedelta(seconds=10)
    bench.run(lambda c: c.execute("UPDATE backlog SET next_at = now(), counted_at = NULL"))
    assert bench.run(reads_counts.counted) is None
    claims = [bench.run(lambda c: store_upkeep.claim_count(c, again)) for _ in range(3)]
    assert claims == [True, False, False]
    numbers = bench.run(reads_counts.count)
    bench.run(lambda c: store_upkeep.note_count(c, numbers, timedelta(seconds=1)))
    counted = bench.run(reads_counts.counted)
    assert counted is not None
    assert counted.numbers == {"queued": 2, "delayed": 0, "running": 0, "waiting": 0}
    assert timedelta(seconds=1) <= counted.age < timedelta(minutes=1)
    # What takes a second is not done again before twenty have passed.
    wait = bench.run(lambda c: c.fetchval("SELECT next_at - now() FROM backlog"))
    assert timedelta(seconds=10) < wait <= timedelta(seconds=20)
    assert not bench.run(lambda c: store_upkeep.claim_count(c, again))


def test_calls_are_counted_by_another_process_when_the_first_one_has_died(bench: Bench):
    bench.run(lambda c: c.execute("UPDATE backlog SET next_at = now()"))
    assert bench.run(lambda c: store_upkeep.claim_count(c, timedelta(0)))
    assert bench.run(lambda c: store_upkeep.claim_count(c, timedelta(0)))
