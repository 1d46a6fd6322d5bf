"""Failed calls are found, run again, and deleted, by the client and in the store."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from dispatch_grpc import (
    AlreadyExistsError,
    CallError,
    CallInfo,
    Client,
    Code,
    ConfigurationError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    RPCError,
    Status,
    UnavailableError,
    new_call,
)
from dispatch_grpc.primitives import exit_, poll
from dispatch_grpc.schema import CallFilter, PurgeCallsRequest, RerunCallsRequest
from dispatch_grpc.service import (
    machine,
    matching,
    reads,
    reads_counts,
    recording,
    store_accept,
    store_attempts,
    store_complete,
    store_rerun,
    store_upkeep,
)
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.rerunning import Rerunning
from dispatch_grpc.service.schema import MIGRATIONS, preparing
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.store import Job, NewCall
from tests.conftest import Driver, RunningService, data_dir, run_service
from tests.operations.conftest import Functions
from tests.service.conftest import Bench
from tests.service.test_store import CALL, accept, answer, prune, row, take
from tests.waiting import until

UNKNOWN = "01a205dd-56fd-74e0-ad8a-5903b5ee80d5"
PATIENCE = timedelta(seconds=60)


def moment() -> datetime:
    """A time between what was before and what comes now, also by a clock that is a little off."""
    time.sleep(0.2)
    return datetime.now(UTC) - timedelta(seconds=0.1)


def length(call: CallInfo) -> timedelta:
    """The time that a call had."""
    assert call.expiration_time is not None
    assert call.creation_time is not None
    return call.expiration_time - call.creation_time


def failed(client: Client, functions: Functions, name: str, *args: Any, **options: Any) -> str:
    """Dispatch a call that fails, and wait for it."""
    id = client.dispatch(functions.call(name, *args, **options))
    with pytest.raises(CallError):
        client.wait(id, timeout=PATIENCE)
    return id


# One call


def test_a_failed_call_is_run_again(
    driver: Driver, service: RunningService, failing: Functions, client: Client
):
    call = failing.call("charge", "a", version="7", expiration=timedelta(minutes=7))
    id = client.dispatch(call)
    with pytest.raises(CallError, match="declined: a"):
        client.wait(id, timeout=PATIENCE)
    failing.fails.clear()
    api = driver.client(service.url, service.api_key)
    new = driver.run(lambda: api.rerun(id))
    assert client.wait(new, str, timeout=PATIENCE) == "charged a"
    old, again = client.get(id), client.get(new)
    assert (old.rerun_as, old.rerun_of) == (new, None)
    assert (again.rerun_of, again.rerun_as) == (id, None)
    assert (again.function, again.endpoint) == (old.function, old.endpoint)
    assert (again.version, again.parent_dispatch_id) == ("7", None)
    assert again.root_dispatch_id == new
    assert round(length(again).total_seconds()) == round(length(old).total_seconds()) == 7 * 60
    assert old.status is Status.PERMANENT_ERROR  # it stays what it was


def test_a_call_that_succeeded_is_run_again_and_again(functions: Functions, client: Client):
    id = client.dispatch(functions.call("charge", "b"))
    client.wait(id, timeout=PATIENCE)
    first, second = client.rerun(id), client.rerun(id)
    assert first != second
    assert client.wait(first, str, timeout=PATIENCE) == "charged b"
    assert client.get(id).rerun_as == second
    third = client.rerun(first)
    assert client.get(third).rerun_of == first


def test_a_request_that_is_sent_again_reruns_once(
    driver: Driver, service: RunningService, failing: Functions, client: Client
):
    id, other = failed(client, failing, "charge", "c"), failed(client, failing, "charge", "d")
    api, key = driver.client(service.url, service.api_key), f"key-of-{id}"
    new = [driver.run(lambda: api.rerun(id, idempotency_key=key)) for _ in range(3)]
    assert len(set(new)) == 1
    with pytest.raises(AlreadyExistsError, match="the idempotency key was used for other calls"):
        driver.run(lambda: api.rerun(other, idempotency_key=key))
    assert client.get(other).rerun_as is None


def test_a_call_that_has_not_finished_is_not_run_again(functions: Functions, client: Client):
    id = client.dispatch(functions.call("hold"))
    try:
        with pytest.raises(RPCError, match=r"has not finished, it is (queued|running): rerun") as e:
            client.rerun(id)
        assert e.value.code is Code.FAILED_PRECONDITION
    finally:
        client.cancel(id)
    new = client.rerun(id)  # also one that was cancelled, when it is named
    assert client.get(new).rerun_of == id
    client.cancel(new)


@pytest.mark.parametrize("id", [UNKNOWN, "no id"])
def test_a_call_that_there_is_not(client: Client, id: str):
    with pytest.raises(NotFoundError, match=f"has no call '{id}'"):
        client.rerun(id)
    with pytest.raises(ConfigurationError, match="dispatch_id: a non-empty str is required"):
        client.rerun("")


def test_a_child_is_run_again_as_a_call_of_its_own(failing: Functions, client: Client):
    id = client.dispatch(failing.call("parent", None))
    client.wait(id, timeout=PATIENCE)
    (child,) = client.list(parent=id)
    assert child.status is Status.PERMANENT_ERROR
    assert child not in client.list(dead=True, limit=1000)  # its parent has dealt with it
    failing.fails.clear()
    new = client.rerun(child.dispatch_id)
    assert client.wait(new, str, timeout=PATIENCE) == "charged child"
    assert client.get(new).parent_dispatch_id is None
    assert [one.dispatch_id for one in client.list(parent=id)] == [child.dispatch_id]


def test_after_a_tail_call_the_function_that_took_over_is_run_again(
    failing: Functions, client: Client
):
    id = failed(client, failing, "hops", None)
    failing.fails.clear()
    new = client.rerun(id)
    assert client.wait(new, str, timeout=PATIENCE) == "charged the last"
    assert client.get(new).function == "charge"


# Dead letters


def test_dead_letters_are_failures_that_nobody_has_dealt_with(failing: Functions, client: Client):
    since = moment()

    def dead() -> list[str]:
        return [one.dispatch_id for one in client.list(dead=True, created_after=since)]

    ids = [failed(client, failing, "charge", number) for number in range(3)]
    held = client.dispatch(failing.call("hold"))
    client.cancel(held)
    failing.fails.clear()
    client.wait(client.dispatch(failing.call("charge", "fine")), timeout=PATIENCE)
    assert dead() == ids[::-1]
    assert [one.function for one in client.list(dead=True, function="hold")] == []
    new = client.rerun(ids[0])
    client.wait(new, timeout=PATIENCE)
    assert dead() == [ids[2], ids[1]]
    failing.fails.set()
    again = client.rerun(ids[1])
    with pytest.raises(CallError):
        client.wait(again, timeout=PATIENCE)
    assert dead() == [again, ids[2]]
    assert client.list(dead=True, parent=ids[2]) == []


def test_dead_letters_are_found_by_their_labels(failing: Functions, client: Client):
    calls = {}
    for labels in ({"order": "o1"}, {"order": "o2"}, {"order": "o1", "shop": "s"}, {}):
        id = client.dispatch(failing.call("charge", 1), labels=labels)
        with pytest.raises(CallError):
            client.wait(id, timeout=PATIENCE)
        calls[id] = labels

    def dead(**labels: str) -> list[str]:
        return [one.dispatch_id for one in client.list(dead=True, labels=labels)]

    first, second, third, _ = calls
    assert dead(order="o1") == [third, first]
    assert dead(order="o1", shop="s") == [third]
    client.rerun(third, idempotency_key=third)
    assert third not in dead(order="o1")
    assert dead(order="o2") == [second]


def test_dead_letters_are_run_again_by_a_filter(
    driver: Driver, service: RunningService, failing: Functions, client: Client
):
    since = moment()
    ids = [failed(client, failing, "charge", number) for number in range(3)]
    other = failed(client, failing, "other", "not this one")
    api, seen = driver.client(service.url, service.api_key), []
    filters: Any = {"function": "charge", "created_after": since}
    assert driver.run(lambda: api.rerun_calls(**filters, dry_run=True)) == 3
    assert all(client.get(id).rerun_as is None for id in ids)
    with pytest.raises(RPCError, match="3 calls match, but at most 2 were expected") as caught:
        driver.run(lambda: api.rerun_calls(**filters, expected=2))
    assert caught.value.code is Code.FAILED_PRECONDITION
    failing.fails.clear()
    number = driver.run(
        lambda: api.rerun_calls(**filters, expected=3, progress=lambda *at: seen.append(at))
    )
    assert (number, seen) == (3, [(3, 3)])
    new = [client.get(id).rerun_as for id in ids]
    for id, order in zip(new, range(3), strict=True):
        assert client.wait(str(id), str, timeout=PATIENCE) == f"charged {order}"
    assert driver.run(lambda: api.rerun_calls(**filters, dry_run=True)) == 0
    assert driver.run(lambda: api.rerun_calls(**filters)) == 0
    assert client.get(other).rerun_as is None
    assert client.rerun_calls(status=Status.OK, **filters, dry_run=True) == 3  # the reruns
    assert client.rerun_calls(status=Status.TIMEOUT, **filters, dry_run=True) == 0
    assert client.rerun_calls(endpoint="http://elsewhere", dry_run=True) == 0


def test_calls_that_succeeded_are_run_again_by_a_filter(functions: Functions, client: Client):
    """But not those that were rerun before."""
    since = moment()
    ids = [client.dispatch(functions.call("charge", number)) for number in range(2)]
    client.wait_all(ids, timeout=PATIENCE)
    filters: Any = {"status": Status.OK, "function": "charge", "created_after": since}
    assert client.rerun_calls(**filters, dry_run=True) == 2
    assert client.rerun_calls(**filters) == 2
    client.wait_all([str(client.get(id).rerun_as) for id in ids], timeout=PATIENCE)
    assert client.rerun_calls(**filters, dry_run=True) == 2  # the reruns


def test_a_full_queue_takes_no_reruns(functions: Functions):
    with data_dir() as folder, run_service(folder, max_backlog=2) as service:
        with Client(service.api_key, api_url=service.url, retry=None, env={}) as client:
            ids = []
            for number in range(3):
                ids.append(client.dispatch(functions.call("other", number)))
                client.wait(ids[-1], timeout=PATIENCE)
            with pytest.raises(ResourceExhaustedError, match="at most 2 may; try again"):
                client.rerun_calls(status=Status.OK, expected=3)
            assert all(client.get(id).rerun_as is None for id in ids)
            for _ in range(2):
                client.dispatch(functions.call("other", 0), delay=3600)

            def is_refused() -> bool:
                try:
                    client.rerun(ids[0], idempotency_key="once")
                except ResourceExhaustedError as error:
                    return "at most 2 may; try again" in str(error)
                return False

            until(is_refused)  # the service counts every few seconds


def test_a_call_that_fails_after_the_count_is_not_run_again(failing: Functions, client: Client):
    since = moment()
    id = failed(client, failing, "charge", 1)
    counted = client.get(id).finish_time
    assert counted is not None
    later = failed(client, failing, "charge", 2)
    filters: Any = {"created_after": since, "finished_before": counted + timedelta(microseconds=1)}
    assert client.rerun_calls(**filters) == 1
    assert client.get(later).rerun_as is None


# Purging


def test_finished_calls_are_deleted_by_a_filter(
    driver: Driver, service: RunningService, functions: Functions, client: Client
):
    since = moment()
    ids = [client.dispatch(functions.call("charge", number)) for number in range(3)]
    client.wait_all(ids, timeout=PATIENCE)
    other = client.dispatch(functions.call("other", 1))
    client.wait(other, timeout=PATIENCE)
    held = client.dispatch(functions.call("hold"))
    api = driver.client(service.url, service.api_key)
    filters: Any = {"function": "charge", "created_after": since}
    assert driver.run(lambda: api.purge_calls(**filters, dry_run=True)) == 3
    with pytest.raises(RPCError, match="none were deleted: count them again"):
        driver.run(lambda: api.purge_calls(**filters, expected=1))
    assert driver.run(lambda: api.purge_calls(**filters, expected=3)) == 3
    for id in ids:
        with pytest.raises(NotFoundError):
            client.get(id)
    assert client.get(other).status is Status.OK
    assert client.purge_calls(function="hold", created_after=since) == 0  # it has not finished
    assert client.get(held).finish_time is None
    client.cancel(held)


def test_dead_letters_are_deleted(failing: Functions, client: Client):
    since = moment()
    dead, rerun = failed(client, failing, "charge", 1), failed(client, failing, "charge", 2)
    failing.fails.clear()
    fine = client.rerun(rerun)
    client.wait(fine, timeout=PATIENCE)
    assert client.purge_calls(dead=True, created_after=since) == 1
    with pytest.raises(NotFoundError):
        client.get(dead)
    assert client.get(rerun).rerun_as == client.get(fine).dispatch_id


def test_an_empty_filter_deletes_nothing(client: Client):
    for filters in ({}, {"finished_before": datetime.now(UTC)}):
        with pytest.raises(InvalidArgumentError, match="would delete all finished calls"):
            client.purge_calls(**filters)


# Requests that break a rule


@pytest.mark.parametrize(
    ("fields", "filters", "reason"),
    [
        ({}, {}, "expected_count: a number is required: count with validate_only first"),
        ({"expected_count": -1}, {}, "expected_count: a number of 0 or more is required; got -1"),
        ({"page_size": 1001}, {}, "page_size: an int from 1 to 1000 is required; got 1001"),
        ({"page_size": -1}, {}, "page_size: an int from 1 to 1000 is required; got -1"),
        ({"page_token": "!"}, {}, "page_token: not one of this service"),
        ({"page_token": "AAAA"}, {}, "page_token: not one of this service"),
        ({}, {"status": 70_000}, "filter.status: 70000 is not a Status"),
        ({}, {"function": "\0"}, "filter.function: a text without NUL is required"),
        ({}, {"endpoint": "\0"}, "filter.endpoint: a text without NUL is required"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("request_of", [RerunCallsRequest, PurgeCallsRequest])
def test_a_selection_that_breaks_a_rule(
    client: Client, request_of: Any, fields: Any, filters: Any, reason: str
):
    request = request_of(filter=CallFilter(**filters), **fields)
    if "expected_count" not in reason:
        request.validate_only = True
    with pytest.raises(InvalidArgumentError, match=reason.replace("(", r"\(")):
        client._call(request_of.__name__.removesuffix("Request"), request, 10)


@pytest.mark.parametrize("name", ["created_after", "created_before", "finished_before"])
def test_a_time_that_there_is_not(client: Client, name: str):
    request = RerunCallsRequest(validate_only=True)
    getattr(request.filter, name).seconds = 2**40
    with pytest.raises(InvalidArgumentError, match=f"filter.{name}: "):
        client._call("RerunCalls", request, 10)
    with pytest.raises(ConfigurationError, match=f"{name}: a datetime with a time zone"):
        client.rerun_calls(**{name: datetime(2026, 1, 1)})


def test_the_first_time_and_the_last(failing: Functions, client: Client):
    id = failed(client, failing, "charge", "edge")
    ever: Any = {
        "created_after": datetime.min.replace(tzinfo=UTC),
        "created_before": datetime.max.replace(tzinfo=UTC),
    }
    assert id in [one.dispatch_id for one in client.list(**ever, limit=1000)]
    assert client.rerun_calls(**ever, dry_run=True) > 0


@pytest.mark.parametrize("expected", [-1, "3", 1.5])
def test_an_expectation_that_is_no_number(client: Client, expected: Any):
    with pytest.raises(ConfigurationError, match="expected: an int of 0 or more is required; got"):
        client.rerun_calls(expected=expected)


# The store


def end(bench: Bench, number: int, *, fails: bool = True, call: Any = CALL) -> list[UUID]:
    """Record calls, and have them end."""
    ids = accept(bench, *[call] * number)
    error: Any = {"error": RuntimeError("no"), "status": Status.PERMANENT_ERROR} if fails else {}
    for loaded in take(bench):
        answer(bench, loaded, exit_(**error))
    return ids


def pages(bench: Bench, request: Any, act: Callable[..., Any]) -> list[int]:
    """Have all pages of a request done, and return the number of calls of each."""
    found = []
    while True:
        selection = matching.selection_of(request, datetime.now(UTC))
        matches, count, *_ = bench.run(lambda c: act(c, selection))  # noqa: B023
        found.append(count)
        request.expected_count -= count
        request.page_token = matching.page_of(selection, matches, count)["next_page_token"]
        if not request.page_token:
            return found


def rerun_page(connection: Any, selection: Any) -> Any:
    return store_rerun.rerun_page(connection, selection, datetime.now(UTC), Limits())


def test_many_calls_are_run_again_in_pages(bench: Bench):
    ids = sorted(end(bench, 25))
    request = RerunCallsRequest(expected_count=25, page_size=10)
    assert pages(bench, request, rerun_page) == [10, 10, 5]
    new = [row(bench, id)["rerun_as"] for id in ids]
    assert len(set(new)) == 25
    assert [row(bench, id)["rerun_of"] for id in new] == ids
    assert {loaded.running.id for loaded in take(bench)} == set(new)
    assert pages(bench, RerunCallsRequest(expected_count=25), rerun_page) == [0]


def test_a_page_has_a_bounded_number_of_bytes(bench: Bench):
    end(bench, 5, call=new_call("http://here.example", "f", "x" * 3_000_000))
    request = RerunCallsRequest(expected_count=5)
    assert pages(bench, request, rerun_page) == [2, 2, 1]


def test_a_large_call_is_a_page_of_its_own(bench: Bench):
    end(bench, 2, call=new_call("http://here.example", "f", "x" * 9_000_000))
    assert pages(bench, RerunCallsRequest(expected_count=2), rerun_page) == [1, 1]


def test_a_page_that_was_lost_reruns_no_call_twice(bench: Bench):
    """Its transaction was committed, but the client never learned so, and asks from the start."""
    ids = end(bench, 20)
    first = RerunCallsRequest(expected_count=20, page_size=15)
    selection = matching.selection_of(first, datetime.now(UTC))
    bench.run(lambda c: rerun_page(c, selection))
    assert pages(bench, RerunCallsRequest(expected_count=20), rerun_page) == [5]
    assert len(take(bench)) == 20
    assert all(row(bench, id)["rerun_as"] for id in ids)


def test_more_calls_than_expected_are_not_run_again(bench: Bench):
    end(bench, 3)
    selection = matching.selection_of(RerunCallsRequest(expected_count=2), datetime.now(UTC))
    with pytest.raises(RPCError, match="more than 2 calls match now, and none of this page were"):
        bench.run(lambda c: rerun_page(c, selection))
    assert take(bench) == []


def test_a_filter_that_few_match_goes_on_page_by_page(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(matching, "LOOKED_AT", 10)
    (first,) = end(bench, 1, call=new_call("http://here.example", "g"))
    end(bench, 25)
    (last,) = end(bench, 1, call=new_call("http://here.example", "g"))
    request = RerunCallsRequest(expected_count=2, filter=CallFilter(function="g"))
    assert pages(bench, request, rerun_page) == [1, 0, 1]
    assert row(bench, first)["rerun_as"]
    assert row(bench, last)["rerun_as"]


def test_two_reruns_of_one_call_at_the_same_time(bench: Bench):
    """By filter one of them runs it; nothing waits for ever, and no call is run twice."""
    ids = end(bench, 10)
    selection = matching.selection_of(RerunCallsRequest(expected_count=10), datetime.now(UTC))

    async def page() -> int:
        async with bench.database.transaction() as connection:
            _, count, _ = await rerun_page(connection, selection)
            return int(count)

    async def main() -> int:
        return sum(await asyncio.gather(*[page() for _ in range(4)]))

    assert bench.runner.run(main()) == 10
    assert len(take(bench)) == 10
    assert all(row(bench, id)["rerun_as"] for id in ids)


def test_a_rerun_whose_key_stays_in_use_holds_no_connection(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """An open transaction of an application has the key: see `recording`."""
    monkeypatch.setattr(recording, "_KEY_SECONDS", 0.2)
    (id,) = end(bench, 1)
    rerunning = Rerunning(
        bench.database,
        cast("Any", None),  # nothing is recorded
        Settings(),
        Metrics(),
        max_backlog=10,
    )
    digest = hashlib.sha256(b"taken").digest()
    lock = "SELECT pg_advisory_xact_lock(1684632432, hashtext(encode($1, 'hex')))"

    async def main() -> None:
        connection = await asyncpg.connect(bench.url())
        async with connection.transaction():
            await connection.execute(lock, digest)
            # More than there are connections: others are served meanwhile.
            held = [asyncio.create_task(rerunning.rerun(id, "taken")) for _ in range(20)]
            async with asyncio.timeout(10), bench.database.transaction() as mine:
                assert await mine.fetchval("SELECT 1") == 1
            for found in await asyncio.gather(*held, return_exceptions=True):
                assert isinstance(found, UnavailableError)
                assert "belongs to a transaction that has not ended" in str(found)
        await connection.close()

    bench.runner.run(asyncio.wait_for(main(), 60))
    assert row(bench, id)["rerun_as"] is None


def test_a_rerun_after_the_retention_of_its_original(bench: Bench):
    """It still names the call, which is no longer there."""
    (id,) = end(bench, 1)
    bench.run(lambda c: c.execute("UPDATE finished SET finished_at = finished_at - interval '9d'"))
    new, _ = bench.run(
        lambda c: store_rerun.rerun(c, id, datetime.now(UTC), Limits(), key=b"k", body=b"b")
    )
    bench.run(lambda c: prune(c, timedelta(days=7), timedelta(days=1)))
    assert row(bench, id) is None
    (loaded,) = take(bench)
    answer(bench, loaded, exit_(1))
    assert row(bench, new)["rerun_of"] == id


def test_a_child_that_waits_for_its_parent_is_run_again(bench: Bench):
    """It has finished, and its result is not delivered: it is in the other table."""
    (id,) = accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([CALL, new_call("http://here.example", "slow")], min_results=2))
    child = take(bench)[0]
    answer(bench, child, exit_(error=RuntimeError(), status=Status.PERMANENT_ERROR))
    child_id = child.running.id
    new, lanes = bench.run(lambda c: store_rerun.rerun(c, child_id, datetime.now(UTC), Limits()))
    assert lanes == ["http://here.example:80 f"]
    assert row(bench, child_id)["rerun_as"] == new
    assert row(bench, new)["parent_id"] is None
    (again,) = take(bench)
    assert (again.running.id, again.running.correlation_id) == (new, 0)
    assert row(bench, id)["ready"] == 1


@pytest.mark.parametrize("by", ["id", "filter"])
def test_a_rerun_is_found_as_its_original_is(bench: Bench, by: str):
    """By its labels and its schedule; and it begins at once, with the time from the start."""
    start = datetime.now(UTC) + timedelta(days=9)
    labels = {"order": "o1", "b": "ü = 2"}
    new = NewCall(new_id(), CALL, start + timedelta(hours=1), starts_at=start, labels=labels)
    bench.run(lambda c: store_accept.accept(c, [new], datetime.now(UTC)))
    tick = datetime(2026, 3, 1, 2, tzinfo=UTC)
    bench.run(lambda c: c.execute("UPDATE calls SET schedule = 'nightly', scheduled_at = $1", tick))
    loaded = bench.run(lambda c: store_attempts.load(c, [Job(new.id, 0)]))[Job(new.id, 0)]
    answer(bench, loaded, exit_(error=RuntimeError("no"), status=Status.PERMANENT_ERROR))
    bench.run(lambda c: c.execute("DELETE FROM pgqueuer"))
    if by == "id":
        bench.run(lambda c: store_rerun.rerun(c, new.id, datetime.now(UTC), Limits()))
    else:
        assert pages(bench, RerunCallsRequest(expected_count=1), rerun_page) == [1]
    id = row(bench, new.id)["rerun_as"]
    (again,) = take(bench)
    assert (again.running.id, again.scheduled_at) == (id, tick)
    info = bench.run(lambda c: reads.get(c, id))
    assert (dict(info.labels), info.schedule) == (labels, "nightly")
    assert not info.HasField("start_time")
    had = row(bench, id)["expires_at"] - row(bench, id)["created_at"]
    assert had == timedelta(hours=1)
    for filters in ({"labels": {"order": "o1"}}, {"schedule": "nightly"}):
        found, _ = bench.run(lambda c: reads.find(c, filters, 9))  # noqa: B023
        assert {one.dispatch_id for one in found} == {str(id), str(new.id)}


def test_a_child_that_succeeded_is_run_again_by_no_filter(bench: Bench):
    """Its parent has its result."""
    (id,) = accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([CALL]))
    for _ in range(2):  # the child, and the parent
        (loaded,) = take(bench)
        answer(bench, loaded, exit_(1))
    bench.run(store_upkeep.file)
    request = RerunCallsRequest(expected_count=9, filter=CallFilter(status=Status.OK.value))
    assert pages(bench, request, rerun_page) == [1]
    assert row(bench, id)["rerun_as"]


def test_an_expiration_beyond_the_limit_is_shortened(bench: Bench):
    (id,) = end(bench, 1)
    limits = Limits(max_expiration=timedelta(minutes=1))
    new, _ = bench.run(lambda c: store_rerun.rerun(c, id, datetime.now(UTC), limits))
    found = row(bench, new)
    assert timedelta(0) < found["expires_at"] - found["created_at"] <= timedelta(minutes=1)


def test_the_dead_letters_are_found_by_an_index(bench: Bench):
    end(bench, 3)
    plan = bench.run(
        lambda c: c.fetch("EXPLAIN SELECT id FROM finished WHERE dead ORDER BY id DESC LIMIT 9")
    )
    text = "\n".join(line[0] for line in plan)
    assert "Merge Append" in text
    assert text.count("Index Only Scan Backward") == text.count(" on finished_") > 2
    assert bench.run(reads_counts.count_dead) == 3


def test_a_database_of_the_version_before_gets_the_columns_and_the_index(embedded: Bench):
    """Its partitions have rows."""

    async def main() -> None:
        connection = await asyncpg.connect(embedded.url())
        await connection.execute("CREATE DATABASE before")
        other = await asyncpg.connect(embedded.url("before"))
        database = Database(embedded.url("before"), embedded.folder)
        try:
            with pytest.MonkeyPatch.context() as patch:
                number = next(n for n, text in enumerate(MIGRATIONS) if "rerun_of" in text)
                patch.setattr(preparing, "MIGRATIONS", MIGRATIONS[:number])
                await database.prepare()
            await other.execute("SET search_path = dispatch_grpc")
            id = new_id()
            await other.execute(
                "INSERT INTO finished (id, root_id, correlation_id, endpoint, function, version, "
                "input, created_at, expires_at, finished_at, status, state, parent_generation, "
                "turn, generation, runs, pickups, failures, min_results, ready, outstanding, "
                "delivered) VALUES ($1, $1, 0, 'http://x', 'f', '', '', now(), now(), now(), 3, 4, "
                "0, 0, 0, 1, 1, 1, 0, 0, 0, false)",
                id,
            )
            await database.prepare()
            indexed = await other.fetchval(
                "SELECT count(*) FROM pg_inherits WHERE inhparent = 'finished_dead'::regclass"
            )
            partitions = await other.fetchval(
                "SELECT count(*) FROM pg_inherits WHERE inhparent = 'finished'::regclass"
            )
            assert indexed == partitions > 1
            assert await reads_counts.count_dead(other) == 0
            info = await reads.get(other, id)
            assert info is not None
            assert info.rerun_as_dispatch_id == ""
        finally:
            await other.close()
            await connection.execute("DROP DATABASE before WITH (FORCE)")
            await connection.close()

    embedded.runner.run(main())


def test_a_call_that_is_failed_from_outside_is_a_dead_letter(bench: Bench):
    """A child is none. It is found once the call is filed."""
    (id,) = accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([CALL]))
    (child,) = take(bench)
    for one in (child.running.id, id):
        finish = machine.fail(parent.running, Status.PERMANENT_ERROR, "no")
        bench.run(lambda c: store_complete.complete(c, one, finish, datetime.now(UTC)))  # noqa: B023
    bench.run(store_upkeep.file)
    found, _ = bench.run(lambda c: reads.find(c, {"dead": True}, 10))
    assert [info.dispatch_id for info in found] == [str(id)]
