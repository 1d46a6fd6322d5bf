"""Handovers: jobs that are begun in the transaction that makes them due."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from dispatch_grpc import new_call
from dispatch_grpc.primitives import exit_, poll
from dispatch_grpc.schema import RunResponse
from dispatch_grpc.service import machine, store_accept, store_attempts, store_outcomes
from dispatch_grpc.service.handover import Handovers
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.machine import Answer, Limits
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.store import CallDecision, Due, Job, Loaded, NewCall
from dispatch_grpc.service.worker import Worker
from tests.service.conftest import Bench

if TYPE_CHECKING:
    from dispatch_grpc.service.queue import Claim

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

    def write(self, loaded: Loaded, response: RunResponse, *, fails: bool = False) -> Due:
        """Write an answer with a handover. Returns the jobs that are left."""
        outcome = machine.decide(loaded.running, Answer(response), datetime.now(UTC), LIMITS)

        async def main() -> Due:
            async with self.handovers.open() as handover:
                async with self.bench.database.transaction() as connection:
                    due, _ = await store_outcomes.write(
                        connection, [CallDecision(loaded, outcome)], datetime.now(UTC), LIMITS
                    )
                    if handover is not None:
                        due = await handover.take(connection, due)
                    if fails:
                        raise ConnectionError
                return due

        return self.bench.runner.run(main())

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
    worker._handovers.under_way = 1
    here.bench.runner.run(worker._dequeue.turn())
    assert here.queue() == [("picked", worker.me)]
    assert worker._dequeue.has_lost_claim
    here.bench.runner.run(worker._dequeue._reclaim())
    assert here.queue() == [("queued", None)]
