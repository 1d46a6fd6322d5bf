"""The worker and the requests beside it, where they meet each other or what cannot be written."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from dispatch_grpc import Call, Status, marshal, new_call
from dispatch_grpc.primitives import exit_
from dispatch_grpc.schema import (
    CallInfo,
    CallResult,
    CallState,
    CancelCallRequest,
    Error,
    Poll,
    RunResponse,
    WaitCallRequest,
)
from dispatch_grpc.service import dequeue, machine, reads, store_accept, store_attempts
from dispatch_grpc.service.batching import Batcher
from dispatch_grpc.service.caller import Caller
from dispatch_grpc.service.faults import Health
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.machine import Answer, Finish, Limits, Replace, Resume, Retry, Suspend
from dispatch_grpc.service.memory import Memory, Share
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.notices import Notices
from dispatch_grpc.service.rates import Rates
from dispatch_grpc.service.runs import Runs, _bytes_of
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.store import CallDecision, Job, Jobs, Loaded, NewCall, Release
from dispatch_grpc.service.watching import Watching
from dispatch_grpc.service.worker import Worker
from tests import hostile
from tests.service.conftest import Bench

CALL = new_call("http://here.example", "f")
LOCK = "SELECT FROM calls WHERE id = $1 FOR UPDATE"
LIMITS = Limits()
UNUSED: Any = None


def worker(bench: Bench) -> Worker:
    """One that calls no endpoint."""
    return Worker(bench.database, UNUSED, Settings(), Metrics())


def share() -> Share:
    """Enough memory for a call."""
    return Memory(1_000_000).share("http://here.example")


def runs(bench: Bench) -> Runs:
    """Those of a worker that calls no endpoint."""
    return worker(bench)._runs


async def record(bench: Bench, *new: NewCall) -> list[Loaded]:
    """Record calls, and begin their runs."""
    async with bench.database.transaction() as connection:
        await store_accept.accept(connection, new, datetime.now(UTC))
        jobs = [Job(one.id, 0) for one in new]
        loaded = await store_attempts.load(connection, jobs)
        assert await store_attempts.begin(connection, jobs) == set(jobs)
    return [loaded[Job(one.id, 0)] for one in new]


def new(**settings: Any) -> NewCall:
    return NewCall(new_id(), CALL, LIMITS.expires_at(CALL, datetime.now(UTC)), **settings)


def answered(loaded: Loaded, response: RunResponse) -> CallDecision:
    outcome = machine.decide(loaded.running, Answer(response), datetime.now(UTC), LIMITS)
    return CallDecision(loaded, outcome)


async def found(bench: Bench, loaded: Loaded) -> CallInfo:
    async with bench.database.relaxed.acquire() as connection:
        info = await reads.get(connection, loaded.running.id)
    assert info is not None
    return info


async def deadlock(
    bench: Bench, first: Loaded, second: Loaded, act: Callable[[], Coroutine[Any, Any, Any]]
) -> Any:
    """Have something lock two calls while another does in the opposite order.

    It begins to wait first, and is the one that PostgreSQL ends: the one that has waited for its
    `deadlock_timeout` when the deadlock is there. That is long enough for a busy machine.
    """
    async with bench.database.relaxed.acquire() as connection:
        await connection.execute("ALTER SYSTEM SET deadlock_timeout = '4s'")
        await connection.execute("SELECT pg_reload_conf()")
    async with bench.database.transaction() as other:
        await other.execute("SET LOCAL deadlock_timeout = '1min'")
        await other.execute(LOCK, second.running.id)
        acting = asyncio.create_task(act())
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        await other.execute(LOCK, first.running.id)
    return await acting


def test_a_cancellation_that_meets_a_deadlock_is_tried_again(bench: Bench):
    async def main() -> None:
        root = new()
        parent, child = await record(bench, root, new(parent_id=root.id))
        request = CancelCallRequest(dispatch_id=str(root.id))
        watching = Watching(bench.database, Notices(bench.database), Rates(bench.database))
        answer = await deadlock(bench, parent, child, lambda: watching.cancel_call(request))
        assert answer.cancelled == 2

    bench.runner.run(main())


def test_an_outcome_that_meets_a_deadlock_is_tried_again(bench: Bench):
    async def main() -> None:
        root = new()
        parent, child = await record(bench, root, new(parent_id=root.id))
        items = [answered(child, exit_("done"))]
        await deadlock(bench, child, parent, lambda: runs(bench).write(items))
        assert Status((await found(bench, child)).status) is Status.OK

    bench.runner.run(main())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_outcome_that_cannot_be_written_ends_its_call_and_no_other(bench: Bench, place: int):
    async def main() -> None:
        begun = await record(bench, new(), new(), new())
        items = [answered(one, exit_("done")) for one in begun]
        unwritable = Call(endpoint="http://here.example", function="no\0name")
        items[place] = CallDecision(begun[place], Replace(unwritable))
        await runs(bench).write(items)
        infos = [await found(bench, one) for one in begun]
        assert all(info.state == CallState.CALL_STATE_FINISHED for info in infos)
        bad = infos.pop(place)
        assert [Status(info.status) for info in infos] == [Status.OK, Status.OK]
        assert Status(bad.status) is Status.INVALID_RESPONSE
        assert "cannot be written" in bad.result.error.message

    bench.runner.run(main())


def test_a_name_that_leads_to_a_metadata_address_is_not_called(bench: Bench):
    """It is looked at again when it has been resolved, as a name's owner may have changed it."""

    async def main() -> None:
        call = Call(endpoint="http://①⑥⑨.254.169.254", function="f")
        expires_at = LIMITS.expires_at(call, datetime.now(UTC))
        (run,) = await record(bench, NewCall(new_id(), call, expires_at))
        caller = Caller(signing_key=None, allow_metadata=False, max_response_bytes=1000)
        response = (await caller.run(run, share())).response
        await caller.close()
        assert Status(response.status) is Status.PERMISSION_DENIED
        assert (
            "169.254.169.254 is a link-local or metadata address"
            in response.exit.result.error.message
        )

    bench.runner.run(main())


@contextmanager
def full() -> Iterator[int]:
    """A port that takes no more connections: those who wait for one are as many as may be."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(5):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


UNREACHABLE = {
    "http://127.0.0.1:{full}": (Status.TCP_ERROR, "could not be reached within 1 s"),
    "https://127.0.0.1:{unused}": (Status.TCP_ERROR, "could not be reached"),
    "http://no.invalid": (Status.DNS_ERROR, "the host of the endpoint is not known"),
    "http://127.0.0.1:{unused}": (Status.TCP_ERROR, "could not be reached: Connection refused"),
    "http://localhost:{unused}": (Status.TCP_ERROR, "could not be reached: Connection refused"),
    "https://127.0.0.1:{other}": (Status.TLS_ERROR, "could not be reached"),
    "http://127.0.0.1:{other}": (Status.HTTP_ERROR, "does not speak HTTP/1.1"),
}


@pytest.mark.parametrize("endpoint", UNREACHABLE)
def test_an_endpoint_that_cannot_be_reached(
    bench: Bench, endpoint: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("dispatch_grpc.service.caller._CONNECT_SECONDS", 1.0)

    async def main(**ports: int) -> None:
        call = Call(endpoint=endpoint.format(**ports), function="f")
        expires_at = LIMITS.expires_at(call, datetime.now(UTC))
        (run,) = await record(bench, NewCall(new_id(), call, expires_at))
        caller = Caller(signing_key=None, allow_metadata=False, max_response_bytes=1000)
        response = (await caller.run(run, share())).response
        await caller.close()
        status, message = UNREACHABLE[endpoint]
        assert Status(response.status) is status
        text = response.exit.result.error.message
        assert message in text
        assert "\n" not in text
        assert "Multiple" not in text

    with hostile.raw(b"SSH-2.0-OpenSSH\r\n") as (url, _), full() as port:
        other = int(url.rpartition(":")[2])
        bench.runner.run(main(unused=hostile.unused_port(), other=other, full=port))


def test_the_time_of_an_attempt_begins_when_the_database_knows_of_it(bench: Bench):
    """Nothing is sent before, and so nothing can have taken too long."""

    async def main(url: str) -> None:
        call = Call(endpoint=url, function="f")
        (run,) = await record(
            bench, NewCall(new_id(), call, LIMITS.expires_at(call, datetime.now(UTC)))
        )
        caller = Caller(
            signing_key=None,
            allow_metadata=False,
            max_response_bytes=1000,
            run_timeout=timedelta(seconds=0.5),
        )
        answer = await caller.run(run, share(), lambda: asyncio.sleep(1))
        await caller.close()
        assert Status(answer.response.status) is Status.NOT_FOUND

    with hostile.raw(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", after=65536) as (
        url,
        _,
    ):
        bench.runner.run(main(url))


def test_an_outcome_that_fails_keeps_no_other_from_being_written(bench: Bench):
    async def main() -> None:
        first, second, third = await record(bench, new(), new(), new())
        broken: Any = None
        items = [
            CallDecision(first, Suspend(broken, [], datetime.now(UTC), datetime.now(UTC))),
            answered(second, exit_("done")),
            answered(third, exit_("done")),
        ]
        errors = await runs(bench).write(items)
        assert isinstance(errors[0], AttributeError)
        assert errors[1:] == [None, None]
        for one in (second, third):
            assert Status((await found(bench, one)).status) is Status.OK

    bench.runner.run(main())


def test_every_kind_of_outcome_has_a_size():
    large, now = marshal(b"x" * 5_000_000), datetime.now(UTC)
    call, poll = Call(input=large), Poll(typed_coroutine_state=large)
    outcomes = [
        Finish(Status.OK, CallResult(output=large)),
        Retry(now, Status.TIMEOUT, Error(value=large.value), restart=False),
        Suspend(poll, [], now, now),
        Suspend(Poll(), [call], now, now),
        Resume(poll, Error()),
        Replace(call),
    ]
    unused: Any = None
    assert all(_bytes_of(CallDecision(unused, one)) >= 5_000_000 for one in outcomes)
    assert _bytes_of(CallDecision(unused, Release())) == 0


def test_a_conflict_of_a_chore_is_no_outage(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(bench.database, "health", Health())
    chores = worker(bench)._chores

    async def conflict() -> None:
        raise asyncpg.DeadlockDetectedError("deadlock detected")

    async def away() -> None:
        raise asyncpg.CannotConnectNowError("starting up")

    async def main() -> None:
        await chores._safely(conflict)
        assert not caplog.records
        await chores._safely(away)
        assert "the database does not work" in caplog.text

    bench.runner.run(main())


def test_a_batch_has_a_number_of_bytes():
    async def main() -> None:
        batches: list[Sequence[int]] = []

        async def handle(items: Sequence[int]) -> Sequence[int]:
            batches.append(items)
            return items

        batcher = Batcher(handle, 4, lambda megabytes: megabytes * 1_000_000)
        sizes = [12, 3, 3, 3, 12, 12, 1, 1, 1, 1, 1]
        assert await asyncio.gather(*map(batcher.submit, sizes)) == sizes
        assert batches == [[12], [3, 3], [3], [12], [12], [1, 1, 1, 1], [1]]

    asyncio.run(main())


def test_a_batch_that_fails_is_told_to_all_of_it_and_the_next_goes_on():
    async def main() -> None:
        sizes: list[int] = []

        async def handle(items: Sequence[int]) -> Sequence[int]:
            sizes.append(len(items))
            if 13 in items:
                raise LookupError
            return [-item for item in items]

        batcher = Batcher(handle, 2)
        found = await asyncio.gather(
            *(batcher.submit(item) for item in (1, 13, 2, 3, 4)), return_exceptions=True
        )
        assert [type(one) for one in found[:2]] == [LookupError, LookupError]
        assert found[2:] == [-2, -3, -4]
        assert sizes == [2, 2, 1]

    asyncio.run(main())


def test_who_waits_for_a_call_is_answered_when_the_service_stops(bench: Bench):
    """They ask again, elsewhere: a stop does not take as long as they would wait."""

    async def main() -> None:
        (run,) = await record(bench, new())
        watching = Watching(bench.database, Notices(bench.database), Rates(bench.database))
        request = WaitCallRequest(dispatch_id=str(run.running.id))
        waiting = asyncio.create_task(watching.wait_call(request))
        while not watching._waiters:
            await asyncio.sleep(0)
        watching.stop()
        answer = await asyncio.wait_for(waiting, 20)
        assert answer.call.state == CallState.CALL_STATE_RUNNING

    bench.runner.run(main())


class Silent:
    """A worker's runs, and a call of an endpoint that takes connections and answers nothing."""

    def __init__(self, bench: Bench, listening: socket.socket) -> None:
        self.caller = Caller(signing_key=None, allow_metadata=False, max_response_bytes=1000)
        self.runs = Worker(bench.database, self.caller, Settings(), Metrics())._runs
        self.call = Call(endpoint=f"http://127.0.0.1:{listening.getsockname()[1]}", function="f")
        self.given_back = 0

    def new(self) -> NewCall:
        """Return the call to record."""
        return NewCall(new_id(), self.call, LIMITS.expires_at(self.call, datetime.now(UTC)))

    async def do(self, loaded: Loaded) -> bool:
        """Run the call."""
        return await self.runs.do(loaded, 0, 0, self._give_back)

    def _give_back(self) -> None:
        self.given_back += 1


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def test_a_call_that_was_cancelled_before_its_request_is_not_sent(
    bench: Bench, listening: socket.socket
):
    async def main() -> None:
        silent = Silent(bench, listening)
        (run,) = await record(bench, silent.new())
        await silent.runs._begin(run)
        await silent.runs.write([answered(run, exit_("done"))])  # or cancelled: its turn has passed
        assert not await silent.do(run)
        assert silent.given_back == 1
        await silent.caller.close()
        connection, _ = listening.accept()
        with connection:
            assert connection.recv(1) == b""

    bench.runner.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("stopped", ["", "before", "after"])
def test_an_attempt_is_interrupted_and_not_what_follows_it(
    bench: Bench, listening: socket.socket, stopped: str
):
    """A task that is stopped at the same time stops, whichever came first."""

    async def main() -> None:
        silent = Silent(bench, listening)
        (run,) = await record(bench, silent.new())
        task = asyncio.create_task(silent.do(run))
        while not silent.runs._running:
            await asyncio.sleep(0)
        if stopped == "before":
            task.cancel()
        silent.runs.release()
        await asyncio.sleep(0)
        silent.runs.release()
        if stopped == "after":
            task.cancel()
        (end,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(end, asyncio.CancelledError) if stopped else end is True
        assert task.cancelling() == bool(stopped)
        assert silent.given_back == 1
        await silent.caller.close()
        info = await found(bench, run)
        state = CallState.CALL_STATE_RUNNING if stopped else CallState.CALL_STATE_QUEUED
        assert info.state == state  # released by the run itself, which went on

    bench.runner.run(asyncio.wait_for(main(), 60))


def test_who_waits_for_a_call_is_told_of_its_end(bench: Bench):
    """By the database, whichever process has finished it."""

    async def main() -> None:
        (run,) = await record(bench, new())
        others = Notices(bench.database)
        watching, told = Watching(bench.database, others, Rates(bench.database)), asyncio.Event()
        watching._waiters[run.running.id] = {told}
        listening = asyncio.create_task(others.run())
        await others.listening.wait()
        await runs(bench).write([answered(run, exit_("done"))])
        await asyncio.wait_for(told.wait(), 60)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    bench.runner.run(main())


def test_requests_do_not_keep_jobs_waiting_for_ever(bench: Bench):
    """Jobs are taken while requests go on, though these go first."""

    async def main() -> None:
        one = worker(bench)

        async def ask() -> None:
            while True:
                one.make_way()
                await asyncio.sleep(0)

        asking = asyncio.create_task(ask())
        await asyncio.wait_for(one._dequeue._gather(), 60)
        asking.cancel()

    bench.runner.run(main())


def test_a_worker_is_alive_while_its_loop_turns_and_ready_while_the_database_works(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """What /healthz and /readyz answer: here the loop waits for a table that is locked."""
    for name in ("_ALIVE_SECONDS", "_READY_SECONDS"):
        monkeypatch.setattr(f"dispatch_grpc.service.worker.{name}", 3.0)
    monkeypatch.setattr(dequeue, "_LOOK_SECONDS", 0.2)

    async def main() -> None:
        one = worker(bench)

        def state() -> tuple[bool, bool]:
            return one.is_alive, one.is_ready

        assert state() == (False, False)
        running = asyncio.create_task(one.run())
        while state() != (True, True):
            await asyncio.sleep(0.05)
        async with bench.database.transaction() as connection:
            await connection.execute("LOCK TABLE pgqueuer IN ACCESS EXCLUSIVE MODE")
            while state() != (False, False):
                await connection.fetchval("SELECT 1")  # a transaction that is idle is ended
                await asyncio.sleep(0.05)
        while state() != (True, True):
            await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    bench.runner.run(asyncio.wait_for(main(), 60))


def test_jobs_that_come_due_in_a_row_wait_for_no_scan(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """Also if the first was due before the lane was found, and the next by the time it is asked."""
    monkeypatch.setattr(dequeue, "_LOOK_SECONDS", 3600.0)  # after the first

    async def scenario() -> None:
        delays = [None, *(timedelta(milliseconds=10 * number) for number in range(100))]
        payloads: list[bytes | None] = [Job(new_id(), 0).pack() for _ in delays]  # of no call
        async with bench.database.transaction() as connection:
            await Jobs(["http://here.example f"] * len(delays), payloads, delays).write(connection)
        one = worker(bench)
        running = asyncio.create_task(one.run())
        async with asyncio.timeout(30), bench.database.looks.acquire() as connection:
            while await connection.fetchval("SELECT EXISTS (SELECT FROM pgqueuer)"):
                await asyncio.sleep(0.05)
        await one.stop(running)

    bench.runner.run(scenario())
