"""Handovers: jobs that are begun in the transaction that makes them due."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from dispatch_grpc import AlreadyExistsError, Call, Status, marshal, new_call
from dispatch_grpc.primitives import exit_, poll, tail_call
from dispatch_grpc.schema import Error, PauseCallsRequest, ResumeCallsRequest, RunResponse
from dispatch_grpc.service import (
    handover,
    machine,
    queue,
    store_accept,
    store_attempts,
    store_cancel,
    store_outcomes,
)
from dispatch_grpc.service.breaker import FAILURES, Hosts
from dispatch_grpc.service.handover import Handovers
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.machine import Answer, Limits
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.pausing import Pausing
from dispatch_grpc.service.recording import Recorder
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.store import (
    FINISHED,
    QUEUED,
    RUNNING,
    WAITING,
    CallDecision,
    Due,
    Job,
    Jobs,
    Loaded,
    NewCall,
)
from dispatch_grpc.service.store_accept import Request
from dispatch_grpc.service.worker import Worker
from tests.service.conftest import Bench

if TYPE_CHECKING:
    from dispatch_grpc.service.queue import Claim

HOST = "http://here.example"
LIMITS = Limits()
UNUSED: Any = None


class Here:
    """A worker that notes the jobs that it begins, instead of calling their endpoint."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.worker = Worker(bench.database, UNUSED, Settings(), Metrics())
        self.begun: list[tuple[Claim, Loaded | None]] = []
        self.is_open = True
        self.lost = 0
        self.handovers = Handovers(
            self.worker.me,
            self.worker._lanes,
            self.worker._hosts,
            is_open=lambda: self.is_open,
            begin=lambda claim, loaded: self.begun.append((claim, loaded)),
            lost=self._note_loss,
        )

    def _note_loss(self) -> None:
        self.lost += 1

    def record(self) -> Loaded:
        """Record a call of a client, and begin its run."""
        call = new_call("http://here.example", "parent")
        new = NewCall(new_id(), call, LIMITS.expires_at(call, datetime.now(UTC)))

        async def act(connection: Any) -> Loaded:
            await store_accept.accept(connection, [new], datetime.now(UTC))
            await connection.execute("DELETE FROM pgqueuer")
            job = Job(new.id, 0)
            return (await store_attempts.load(connection, [job]))[job]

        loaded: Loaded = self.bench.run(act)
        return loaded

    def write(
        self,
        loaded: Loaded,
        answer: RunResponse | machine.Outcome,
        *,
        fails: bool = False,
        job: int | None = None,
    ) -> Due:
        """Write an answer or an outcome with a handover. Returns the jobs that are left."""
        now = datetime.now(UTC)
        outcome = answer
        if isinstance(answer, RunResponse):
            outcome = machine.decide(loaded.running, Answer(answer), now, LIMITS)

        async def main() -> Due:
            async with self.handovers.open() as handover:
                async with self.bench.database.transaction() as connection:
                    items = [CallDecision(loaded, outcome, job)]
                    if handover is not None:
                        due, _ = await handover.write(connection, items, now, LIMITS)
                    else:
                        due, _ = await store_outcomes.write(connection, items, now, LIMITS)
                    if fails:
                        raise ConnectionError
                return due

        return self.bench.runner.run(main())

    def answers(self) -> None:
        """Note that the host has just answered."""

        async def main() -> None:
            self.worker._hosts.answered(HOST, Answer(exit_("done")), 0.0)

        self.bench.runner.run(main())

    def again(self, loaded: Loaded) -> Loaded:
        """Load a call as another process would that takes it over."""
        job = Job(loaded.running.id, loaded.turn)
        found: Loaded = self.bench.run(lambda c: store_attempts.load(c, [job]))[job]
        return found

    def row(self, loaded: Loaded) -> tuple[int, int, bool]:
        """The state of a call, how often its attempt has begun, and whether it has a time to."""
        sql = "SELECT state, pickups, next_at IS NOT NULL FROM calls WHERE id = $1"
        return tuple(self.bench.run(lambda c: c.fetchrow(sql, loaded.running.id)))

    def queue(self) -> list[tuple[str, Any]]:
        rows = self.bench.run(
            lambda c: c.fetch("SELECT status::text, queue_manager_id FROM pgqueuer ORDER BY id")
        )
        return [(row["status"], row["queue_manager_id"]) for row in rows]


@pytest.fixture
def here(bench: Bench) -> Here:
    return Here(bench)


def waits(count: int = 1) -> RunResponse:
    calls = [new_call("http://here.example", "child", number) for number in range(count)]
    return poll(calls)


def test_a_call_of_a_workflow_and_its_resumption_are_begun_at_once(here: Here):
    parent = here.record()
    assert here.write(parent, waits()) == {}
    ((claim, child),) = here.begun
    assert child is not None
    assert child.parent_id == parent.running.id
    assert here.queue() == [("picked", here.worker.me)]
    assert here.worker._lanes.taken == 1
    assert here.write(child, exit_("done")) == {}
    (_, (again, resumed)) = here.begun
    assert resumed is not None
    assert resumed.running.id == parent.running.id
    assert [result.dispatch_id for result in resumed.results] == [str(child.running.id)]
    assert claim.id != again.id
    assert here.worker._lanes.taken == 2
    assert here.lost == 0


def test_the_attempts_of_a_workflow_begin_in_the_transaction_that_makes_them_due(here: Here):
    here.answers()
    parent = here.record()
    here.write(parent, waits())
    ((_, child),) = here.begun
    assert child is not None
    assert child.has_begun
    assert here.row(child) == (RUNNING, 1, False)
    assert here.row(parent) == (WAITING, 0, True)
    here.write(child, exit_("done"))
    (_, resumed) = here.begun[-1]
    assert resumed is not None
    assert resumed.has_begun
    assert resumed.results
    assert here.row(resumed) == (RUNNING, 1, False)
    again = here.again(resumed)  # as a process that takes it over finds it
    assert again.running.pickups == 2
    once = replace(again.running, pickups=1)
    assert resumed == replace(again, running=once, has_begun=True)


def test_a_child_is_begun_as_it_would_be_loaded(here: Here):
    here.answers()
    call = Call(endpoint=HOST, function="f", input=marshal("in"), correlation_id=2**64 - 1)
    parent = here.record()
    here.write(parent, poll([call]))
    ((claim, child),) = here.begun
    assert child is not None
    again = here.again(child)
    assert again.running.pickups == 2
    once = replace(again.running, pickups=1)
    assert child == replace(again, running=once, has_begun=True)
    assert (child.parent_id, child.root_id) == (parent.running.id, parent.running.id)
    assert Job.unpack(claim.payload) == Job(child.running.id, 0)
    assert here.bench.run(lambda c: c.fetchval("SELECT id FROM pgqueuer")) == claim.id


def test_a_tail_call_and_a_retry_at_once_are_begun_too(here: Here):
    here.answers()
    call = here.record()
    here.write(call, tail_call(new_call(HOST, "other")))
    (claim, other) = here.begun[-1]
    assert other is not None
    assert (other.function, other.has_begun, claim.lane) == ("other", True, f"{HOST} other")
    assert here.row(other) == (RUNNING, 1, False)
    outcome = machine.Retry(datetime.now(UTC), Status.TEMPORARY_ERROR, Error(), restart=False)
    assert here.write(other, outcome) == {}
    (_, again) = here.begun[-1]
    assert again is not None
    assert (again.running.failures, again.has_begun) == (1, True)
    assert here.row(again) == (RUNNING, 1, False)
    in_a_day = datetime.now(UTC) + timedelta(days=1)
    outcome = machine.Retry(in_a_day, Status.TEMPORARY_ERROR, Error(), restart=False)
    assert here.write(again, outcome) == {}
    assert len(here.begun) == 2  # the last one waits
    assert here.row(again) == (QUEUED, 0, True)


def test_the_attempts_of_a_host_that_does_not_answer_do_not_begin_as_they_are_taken(here: Here):
    """They would count as running while they wait for a connection."""
    parent = here.record()
    here.write(parent, waits())
    ((_, child),) = here.begun
    assert child is not None
    assert not child.has_begun
    assert here.row(child) == (QUEUED, 0, False)
    here.write(child, exit_("done"))
    (_, resumed) = here.begun[-1]
    assert resumed is not None
    assert not resumed.has_begun
    assert here.row(resumed)[:2] == (QUEUED, 0)
    assert resumed == here.again(resumed)


def test_attempts_that_wait_for_memory_do_not_begin_as_they_are_taken(here: Here):
    here.answers()
    large, half = marshal(b"x" * 65_536), "x" * 40_000
    parent = here.record()
    children = [Call(endpoint=HOST, function="f", input=large), new_call(HOST, "f", 1)]
    here.write(parent, poll(children, min_results=2))
    begun = {one.has_begun: one for _, one in here.begun if one is not None}
    assert here.row(begun[True]) == (RUNNING, 1, False)
    assert here.row(begun[False]) == (QUEUED, 0, False)
    assert begun[False].size > 65_536
    for one in begun.values():  # together their results are large
        here.write(one, exit_(half))
    (_, resumed) = here.begun[-1]
    assert resumed is not None
    assert resumed.running.id == parent.running.id
    assert (resumed.has_begun, resumed.size > 80_000, resumed.results) == (False, True, [])
    assert here.row(resumed)[:2] == (QUEUED, 0)
    whole = here.bench.run(lambda c: store_attempts.load_whole(c, resumed))
    here.write(whole, poll([new_call(HOST, "f")], state=b"x" * 65_536))
    (_, child) = here.begun[-1]
    assert child is not None
    here.write(child, exit_(1))  # the result is small, and the state large
    (_, resumed) = here.begun[-1]
    assert resumed is not None
    assert (resumed.has_begun, resumed.size > 65_536) == (False, True)
    assert here.row(resumed)[:2] == (QUEUED, 0)


def test_results_that_were_delivered_before_are_not_in_the_way(here: Here):
    here.answers()
    parent = here.record()
    here.write(parent, waits())
    for _ in range(3):
        (_, child) = here.begun[-1]
        assert child is not None
        here.write(child, exit_("x" * 40_000))
        (_, resumed) = here.begun[-1]
        assert resumed is not None
        assert (resumed.has_begun, len(resumed.results)) == (True, 1)
        here.write(resumed, waits())


def test_a_call_is_begun_with_the_results_that_it_takes(here: Here):
    """In their order, and no more than it asks for; the others come with the next attempt."""
    here.answers()
    parent = here.record()
    calls = [new_call(HOST, "f", number) for number in range(3)]
    here.write(parent, poll(calls, min_results=2, max_results=2))
    children = [child for _, child in reversed(here.begun) if child is not None]
    now, answer = datetime.now(UTC), Answer(exit_("done"))
    items = [
        CallDecision(child, machine.decide(child.running, answer, now, LIMITS))
        for child in children
    ]

    async def main() -> None:
        async with here.handovers.open() as taking:
            assert taking is not None
            async with here.bench.database.transaction() as connection:
                await taking.write(connection, items, now, LIMITS)

    here.bench.runner.run(main())
    assert len(here.begun) == 4
    (_, resumed) = here.begun[-1]
    assert resumed is not None
    ids = sorted(child.running.id for child in children)  # they have finished at the same time
    assert resumed.result_ids == ids[:2]
    assert [result.dispatch_id for result in resumed.results] == [str(id) for id in ids[:2]]
    again = here.again(resumed)
    assert resumed == replace(again, running=resumed.running, has_begun=True)
    here.write(resumed, poll([], min_results=1))
    (_, resumed) = here.begun[-1]
    assert resumed is not None
    assert (resumed.result_ids, resumed.has_begun) == (ids[2:], True)


def test_a_stale_job_is_not_taken(here: Here):
    parent = here.record()
    job = Job(parent.running.id, parent.turn + 1)
    taken = here.bench.run(
        lambda c: store_attempts.take(c, here.worker.me, [parent.lane], [job], [True])
    )
    assert taken == []
    assert here.queue() == []
    assert here.row(parent) == (QUEUED, 0, False)


def test_a_call_that_is_cancelled_after_it_was_begun_stays_cancelled(here: Here):
    here.answers()
    parent = here.record()
    here.write(parent, waits())
    ((claim, child),) = here.begun
    assert child is not None
    here.bench.run(lambda c: store_cancel.cancel(c, parent.running.id, datetime.now(UTC)))
    assert here.write(child, exit_("done"), job=claim.id) == {}
    assert len(here.begun) == 1
    assert here.queue() == []
    rows = here.bench.run(lambda c: c.fetch("SELECT state, status FROM calls"))
    assert [tuple(row) for row in rows] == [(FINISHED, Status.PERMANENT_ERROR.value)] * 2


def test_a_job_that_was_begun_is_taken_over_like_one_that_runs(here: Here):
    here.answers()
    here.write(here.record(), waits())
    ((_, child),) = here.begun
    assert child is not None
    other = new_id()

    async def take_over(connection: Any) -> list[str]:
        await connection.execute(
            "INSERT INTO processes (id, seen_at, since) VALUES ($1, now(), now() - interval '1 h')",
            other,
        )
        lanes = []
        for seconds in (14, 2):
            await connection.execute(
                "UPDATE pgqueuer SET heartbeat = heartbeat - $1::interval",
                timedelta(seconds=seconds),
            )
            lanes += await queue.take_over(connection, other, timedelta(seconds=15))
            lanes.append("")
        return lanes

    assert here.bench.run(take_over) == ["", f"{HOST} child", ""]
    assert here.queue() == [("queued", None)]
    assert here.again(child).running.pickups == 2


def test_jobs_without_a_slot_to_spare_are_left_in_the_queue(here: Here):
    left = here.write(here.record(), waits(1000))
    began = len(here.begun)
    assert 0 < began < 128
    assert sum(map(len, left.values())) == 1000 - began
    statuses = [status for status, _ in here.queue()]
    assert statuses.count("picked") == began
    assert statuses.count("queued") == 1000 - began


def test_nothing_is_begun_by_a_transaction_that_fails(here: Here):
    parent = here.record()
    with pytest.raises(ConnectionError):
        here.write(parent, waits(), fails=True)
    assert here.begun == []
    assert here.worker._lanes.taken == 0
    assert here.lost == 1  # the commit may have been done, and only its answer be lost
    assert here.write(parent, waits()) == {}
    assert len(here.begun) == 1


def test_a_transaction_that_takes_nothing_loses_nothing(here: Here):
    here.worker._lanes.has_jobs("http://here.example child")
    with pytest.raises(ConnectionError):
        here.write(here.record(), waits(), fails=True)
    assert here.lost == 0


def test_a_transaction_that_is_tried_again_takes_jobs_once(here: Here):
    parent = here.record()
    outcome = machine.decide(parent.running, Answer(waits()), datetime.now(UTC), LIMITS)

    async def main() -> None:
        async with here.handovers.open() as taking:
            assert taking is not None
            for is_last in (False, True):
                with suppress(ConnectionError):
                    async with here.bench.database.transaction() as connection:
                        items = [CallDecision(parent, outcome)]
                        await taking.write(connection, items, datetime.now(UTC), LIMITS)
                        if not is_last:
                            raise ConnectionError

    here.answers()
    here.bench.runner.run(main())
    assert len(here.begun) == here.worker._lanes.taken == 1
    ((_, child),) = here.begun
    assert child is not None
    assert child.has_begun
    assert here.row(child) == (RUNNING, 1, False)


def test_a_job_that_is_taken_probes_a_host_that_rests(here: Here):
    host, hosts = "http://here.example", here.worker._hosts

    async def allowance() -> int | None:
        return hosts.allowance(host)

    parent = here.record()
    hosts._hosts.learn({host: (FAILURES, 0.0)}, ())
    hosts._hosts.grant_probes([host], {host}, 0.0)
    with pytest.raises(ConnectionError):
        here.write(parent, waits(2), fails=True)
    assert here.bench.runner.run(allowance()) == 1
    (left,) = here.write(parent, waits(2)).values()
    assert len(left) == len(here.begun) == 1
    assert here.bench.runner.run(allowance()) == 0


def test_nothing_is_taken_by_a_process_that_stops(here: Here):
    here.is_open = False
    (payloads,) = here.write(here.record(), waits()).values()
    assert len(payloads) == 1
    assert here.begun == []
    assert here.queue() == [("queued", None)]


def test_jobs_of_a_lost_commit_go_back_to_the_queue(here: Here):
    """A handover under way is waited for: its jobs are not known yet, and are not lost."""
    worker = here.worker
    here.write(here.record(), waits())  # of which the worker itself knows nothing
    assert here.queue() == [("picked", worker.me)]
    worker._lose_claim()
    worker.handovers.under_way = 1
    here.bench.runner.run(worker._dequeue.turn())
    assert here.queue() == [("picked", worker.me)]
    assert worker._dequeue.has_lost_claim
    here.bench.runner.run(worker._dequeue._reclaim())
    assert here.queue() == [("queued", None)]


def request(number: int = 1, *, key: bytes | None = None, **settings: Any) -> Request:
    call = settings.pop("call", new_call("http://here.example", "f", 1))
    expires_at = LIMITS.expires_at(call, datetime.now(UTC))
    calls = [NewCall(new_id(), call, expires_at, **settings) for _ in range(number)]
    return Request(calls, key, b"body" if key else b"", number, datetime.now(UTC))


def accept(here: Here, *requests: Request, host_answers: bool = True) -> list[Any]:
    """Record requests at the same time. Returns the answers, or the errors."""
    recorder = Recorder(here.bench.database, here.handovers)

    async def main() -> list[Any]:
        answer = Answer(exit_("done"), host_failed=not host_answers)
        here.worker._hosts.answered("http://here.example", answer, 0)
        here.worker._hosts._hosts = Hosts()  # a host that failed does not rest
        return await asyncio.gather(*map(recorder.record, requests), return_exceptions=True)

    return here.bench.runner.run(main())


def test_a_call_is_begun_as_it_is_recorded(here: Here):
    call = Call(
        endpoint="http://here.example",
        function="f",
        input=marshal("in"),
        correlation_id=2**64 - 1,
        version="v",
    )
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    (answer,) = accept(here, request(call=call, trace=trace, labels={"a": "b"}))
    ((claim, loaded),) = here.begun
    assert loaded is not None
    assert answer.ids == [loaded.running.id]
    assert here.queue() == [("picked", here.worker.me)]
    assert here.worker._lanes.taken == 1
    job = Job(loaded.running.id, 0)
    assert Job.unpack(claim.payload) == job
    row = here.bench.run(lambda c: c.fetchrow("SELECT state, pickups FROM calls"))
    assert tuple(row) == (RUNNING, 1)
    # The call is as it would have been loaded; its attempt would be the second.
    again = here.bench.run(lambda c: store_attempts.load(c, [job]))[job]
    assert again.running.pickups == 2
    once = replace(again.running, pickups=1)
    assert loaded == replace(again, running=once, has_begun=True)
    assert here.bench.run(lambda c: c.fetchval("SELECT id FROM pgqueuer")) == claim.id
    assert here.lost == 0


def test_calls_of_requests_in_a_row_are_left_in_the_queue(here: Here):
    """They are claimed together: that costs less, and the requests are answered sooner."""
    recorder = Recorder(here.bench.database, here.handovers)

    async def main() -> None:
        host = "http://here.example"
        here.worker._hosts.answered(host, Answer(exit_("done")), 0)
        await recorder.record(request())
        assert recorder._recorded_at > float("-inf")
        # The last one lies ahead: however slow this is, they are in a row.
        recorder._recorded_at = asyncio.get_running_loop().time() + 60
        await recorder.record(request())
        recorder._recorded_at -= 60
        await recorder.record(request())
        recorder._recorded_at = asyncio.get_running_loop().time() + 60
        await asyncio.gather(*(recorder.record(request()) for _ in range(3)))

    here.bench.runner.run(main())
    statuses = [status for status, _ in here.queue()]
    assert statuses[:3] == ["picked", "queued", "picked"]
    # Of those at once the first is recorded alone, or all are.
    assert statuses[3:].count("picked") >= 2


def test_a_repeated_request_is_begun_once(here: Here):
    first = request(2, key=b"key")
    ids = [new.id for new in first.calls]
    assert accept(here, first, request(key=b"key"))[1].ids == ids
    (again, other) = accept(here, request(2, key=b"key"), request(1))
    assert again.ids == ids
    assert not again.is_new
    begun = [loaded.running.id for _, loaded in here.begun if loaded is not None]
    assert begun == [*ids, *other.ids]
    assert here.worker._lanes.taken == 3
    assert here.queue() == [("picked", here.worker.me)] * 3


def test_a_request_with_another_key_leaves_its_slots(here: Here):
    accept(here, request(key=b"key"))
    other = replace(request(5, key=b"key"), body=b"other")
    (error,) = accept(here, other)
    assert isinstance(error, AlreadyExistsError)
    assert here.worker._lanes.taken == len(here.begun) == 1


def test_calls_without_a_slot_to_spare_are_left_in_the_queue(here: Here):
    answers = accept(here, *(request(100) for _ in range(4)))
    begun = {loaded.running.id for _, loaded in here.begun if loaded is not None}
    assert 0 < len(begun) == here.worker._lanes.taken < 128
    assert begun < {id for answer in answers for id in answer.ids}
    rows = here.bench.run(
        lambda c: c.fetch(
            "SELECT calls.id, state, pgqueuer.status::text, entrypoint FROM calls "
            "JOIN pgqueuer ON payload = uuid_send(calls.id) || int4send(turn)"
        )
    )
    assert len(rows) == 400
    for row in rows:
        expected = (RUNNING, "picked") if row["id"] in begun else (QUEUED, "queued")
        assert (row["state"], row["status"]) == expected
        assert row["entrypoint"] == "http://here.example f"


def test_calls_that_wait_are_not_begun_as_they_are_recorded(here: Here):
    in_a_day = datetime.now(UTC) + timedelta(days=1)
    large = Call(endpoint="http://here.example", function="f", input=marshal(b"x" * 65_536))
    accept(here, request(starts_at=in_a_day), request(call=large), request(101))
    assert here.begun == []
    assert here.queue() == [("queued", None)] * 103
    assert here.worker._lanes.taken == 0


def test_calls_of_a_host_that_does_not_answer_are_not_begun_as_they_are_recorded(here: Here):
    """They would count as running while they wait for a connection."""
    accept(here, request())
    assert len(here.begun) == 1
    accept(here, request(), host_answers=False)
    assert len(here.begun) == 1
    assert here.queue() == [("picked", here.worker.me), ("queued", None)]


@pytest.mark.parametrize("function", ["f", "g"])
def test_a_call_does_not_overtake_those_of_its_host(here: Here, function: str):
    lanes = here.worker._lanes
    lanes.has_jobs(f"http://here.example {function}")
    accept(here, request())
    assert here.begun == []

    async def claim() -> list[str]:
        return lanes.turns(1)

    assert here.bench.runner.run(claim()) == [f"http://here.example {function}"]
    accept(here, request())
    assert here.begun == []
    lanes.claimed()
    accept(here, request())
    assert len(here.begun) == 1


def test_a_request_that_the_database_refuses_begins_nothing(here: Here):
    bad = request(call=Call(endpoint="http://here.example", function="no\0name"))
    error, answer = accept(here, bad, request())
    assert isinstance(error, asyncpg.DataError)
    begun = [loaded.running.id for _, loaded in here.begun if loaded is not None]
    assert begun in ([], answer.ids)  # the one that is recorded after the other may be left
    assert here.worker._lanes.taken == len(begun)
    assert here.lost == 0  # nothing was recorded


def test_calls_of_a_lost_answer_go_back_to_the_queue(here: Here, monkeypatch: pytest.MonkeyPatch):
    async def lose(*args: Any) -> Any:
        await store_accept.accept_all(*args)
        raise ConnectionResetError

    monkeypatch.setattr(handover, "accept_all", lose)
    (error,) = accept(here, request())
    assert isinstance(error, ConnectionResetError)
    assert here.begun == []
    assert here.worker._lanes.taken == 0
    assert here.lost == 1
    assert here.queue() == [("picked", here.worker.me)]
    here.bench.runner.run(here.worker._dequeue._reclaim())
    assert here.queue() == [("queued", None)]


def test_a_worker_takes_jobs_once_it_knows_policies_and_pauses(bench: Bench):
    worker = Worker(bench.database, UNUSED, Settings(concurrency=1), Metrics())

    async def is_open() -> bool:
        async with worker.handovers.open() as found:
            return found is not None

    async def main() -> None:
        assert not await is_open()
        await worker._turn()
        assert await is_open()
        worker._lose_claim()
        assert not await is_open()
        await worker._turn()
        assert await is_open()
        task = asyncio.create_task(asyncio.sleep(0))
        worker._jobs.tasks[1] = task  # no more outcomes wait to be written than there are slots
        assert not await is_open()
        del worker._jobs.tasks[1]
        await task
        worker._stopping.set()
        assert not await is_open()

    bench.runner.run(main())


def test_a_worker_that_stops_waits_for_transactions_that_may_take_jobs(bench: Bench):
    worker = Worker(bench.database, UNUSED, Settings(), Metrics())
    steps: list[str] = []

    async def take(seconds: float) -> None:
        async with worker.handovers.open():
            await asyncio.sleep(seconds)
            steps.append("taken")

    async def main() -> None:
        await worker._turn()
        running = asyncio.create_task(asyncio.sleep(3600))
        taking = [asyncio.create_task(take(seconds)) for seconds in (0.02, 0.1)]
        await asyncio.sleep(0)
        await worker.stop(running)
        steps.append("stopped")
        await asyncio.gather(*taking)

    bench.runner.run(main())
    assert steps == ["taken", "taken", "stopped"]


def test_a_pause_holds_the_very_next_call(here: Here):
    pausing = Pausing(here.bench.database, here.worker.pauses)
    here.bench.runner.run(pausing.pause_calls(PauseCallsRequest(function="f")))
    accept(here, request())
    assert here.begun == []
    here.bench.runner.run(pausing.resume_calls(ResumeCallsRequest(function="f")))


def test_a_job_that_is_due_later_gets_no_slot():
    jobs = Jobs()
    row = {"id": new_id(), "endpoint": HOST, "function": "f"}
    for turn, delay in enumerate([timedelta(1), None, timedelta(0), None]):
        jobs.add({**row, "turn": turn}, delay)
    some, others = jobs.split({f"{HOST} f": 2, f"{HOST} g": 2})
    payloads = [Job(row["id"], turn).pack() for turn in range(4)]
    assert (some.payloads, others.payloads) == (payloads[1:3], [payloads[0], payloads[3]])
    assert (some.delays, others.delays) == ([None, timedelta(0)], [timedelta(1), None])
    assert some.lanes == others.lanes == [f"{HOST} f"] * 2
