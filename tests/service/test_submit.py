"""Submit: calls that begin later and have labels, by stubs and by clients, on a real service."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from dispatch.calls.v1.calls_pb2_grpc import CallServiceStub
from dispatch.sdk.v1.dispatch_pb2 import DispatchRequest
from dispatch.sdk.v1.dispatch_pb2_grpc import DispatchServiceStub
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from dispatch_grpc import Call, CallState, Client, Endpoint, new_call
from dispatch_grpc.primitives import exit_
from dispatch_grpc.schema import ListCallsRequest, Submission, SubmitRequest
from dispatch_grpc.service import reads, store, store_accept, store_upkeep
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.store import Job, NewCall
from dispatch_grpc.service.submissions import new_of
from dispatch_grpc.testing import serve_app
from tests.conftest import RunningService
from tests.service.conftest import Bench
from tests.service.test_store import LIMITS, answer, load

CALL = new_call("http://127.0.0.1:9", "f")
HOUR = timedelta(hours=1)


def in_an_hour(**fields: Any) -> Submission:
    return Submission(call=CALL, delay=Duration(seconds=3600), **fields)


@pytest.fixture(scope="module")
def stub(service: RunningService) -> Iterator[Any]:
    """Calls a method of either service with the API key."""
    metadata = [("authorization", f"Bearer {service.api_key}")]
    with grpc.insecure_channel(service.url.removeprefix("http://")) as channel:
        stubs = CallServiceStub(channel), DispatchServiceStub(channel)

        def call(name: str, request: Any, key: str | None = None) -> Any:
            method = next(getattr(one, name) for one in stubs if hasattr(one, name))
            more = [] if key is None else [("idempotency-key", key)]
            return method(request, metadata=[*metadata, *more], timeout=30)

        yield call


def refused(stub: Any, *arguments: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        stub(*arguments)
    error: Any = caught.value
    return error.code().name, error.details()


@pytest.mark.parametrize(
    ("submission", "reason"),
    [
        (Submission(call=Call(endpoint="http://x", function="1")), "call.function: a name that"),
        (Submission(), "call.endpoint: a URI"),
        (
            Submission(call=new_call("http://169.254.169.254", "f")),
            "call.endpoint: link-local and metadata addresses",
        ),
        (
            Submission(call=new_call("http://x", "f", expiration=timedelta(days=31))),
            "call.expiration: at most 30 days",
        ),
        (
            Submission(call=CALL, delay=Duration(seconds=-1)),
            "delay: a duration of zero or more is required; got seconds=-1, nanos=0",
        ),
        (Submission(call=CALL, delay=Duration(nanos=-1)), "delay: a duration of zero or more"),
        (Submission(call=CALL, delay=Duration(seconds=1, nanos=2**31 - 1)), "delay: a duration"),
        (
            Submission(call=CALL, delay=Duration(seconds=2**62)),
            "delay: a start within 30 days, 0:00:00 is required by this service; got ",
        ),
        (
            Submission(call=CALL, start_time=Timestamp(seconds=4_000_000_000)),
            "start_time: a start within 30 days, 0:00:00 is required",
        ),
        (Submission(call=CALL, start_time=Timestamp(seconds=2**40)), "start_time: a time of"),
        (
            Submission(
                call=new_call("http://x", "f", expiration=timedelta(seconds=5)),
                delay=Duration(seconds=5),
            ),
            "delay: the call would start at ",
        ),
        (
            Submission(call=CALL, labels={str(number): "" for number in range(17)}),
            "labels: at most 16 are allowed; got 17",
        ),
        (Submission(call=CALL, labels={"": ""}), "labels: a key of 1 to 63 letters"),
        (Submission(call=CALL, labels={"a" * 64: ""}), "labels: a key of 1 to 63 letters"),
        (Submission(call=CALL, labels={"a=b": ""}), "labels: a key of 1 to 63 letters"),
        (Submission(call=CALL, labels={"a": "é" * 128}), "labels['a']: a text of up to 255 bytes"),
        (Submission(call=CALL, labels={"a": "\0"}), "labels['a']: a text of up to 255 bytes"),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_a_submission_that_breaks_a_rule(stub: Any, submission: Submission, reason: str):
    marked = Submission(call=CALL, labels={"marked": str(uuid4())})
    code, message = refused(stub, "Submit", SubmitRequest(submissions=[marked, submission]))
    assert code == "INVALID_ARGUMENT"
    assert message.startswith(f"submissions[1].{reason}")
    assert len(message) < 500
    assert not stub("ListCalls", ListCallsRequest(labels=marked.labels)).calls  # all or none


def test_a_start_after_the_expiration_names_both():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    call = new_call("http://x", "f", expiration=timedelta(seconds=60))
    submission = Submission(call=call, delay=Duration(seconds=60))
    assert new_of(submission, now, LIMITS) == (
        "delay: the call would start at 2026-01-01T00:01:00+00:00, after its expiration at "
        "2026-01-01T00:01:00+00:00 (call.expiration, which counts from now): a later expiration "
        "or an earlier start is required"
    )
    submission.delay.seconds = 59
    found = new_of(submission, now, LIMITS)
    assert isinstance(found, NewCall)
    assert found.expires_at == now + timedelta(seconds=60)


def test_an_expiration_of_the_service_counts_from_the_start():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    found = new_of(in_an_hour(), now, Limits(default_expiration=timedelta(minutes=5)))
    assert isinstance(found, NewCall)
    assert (found.starts_at, found.expires_at) == (now + HOUR, now + HOUR + timedelta(minutes=5))


def test_a_start_that_has_passed_means_now():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for start in (Timestamp(), Timestamp(seconds=int(now.timestamp()))):
        found = new_of(Submission(call=CALL, start_time=start), now, LIMITS)
        assert isinstance(found, NewCall)
        assert (found.starts_at, found.expires_at) == (None, now + LIMITS.default_expiration)


def test_a_key_answers_the_same_ids_and_is_of_one_method(stub: Any):
    key = str(uuid4())
    labels = {"a": "1", "b": "2", "c": "3"}
    request = SubmitRequest(submissions=[in_an_hour(labels=labels), Submission(call=CALL)])
    ids = list(stub("Submit", request, key).dispatch_ids)
    assert len(set(ids)) == 2
    other = dict(reversed(labels.items()))  # the order of a map has no meaning
    again = SubmitRequest(submissions=[in_an_hour(labels=other), Submission(call=CALL)])
    assert list(stub("Submit", again, key).dispatch_ids) == ids
    for name, another in (
        ("Submit", SubmitRequest(submissions=request.submissions[:1])),
        ("Dispatch", DispatchRequest(calls=[CALL, CALL])),
    ):
        code, message = refused(stub, name, another, key)
        assert (code, message) == (
            "ALREADY_EXISTS",
            "the idempotency key was used for other calls before",
        )
    assert stub("Dispatch", DispatchRequest(), key).dispatch_ids == []  # it records nothing


def test_too_many_submissions(stub: Any):
    request = SubmitRequest(submissions=[Submission(call=CALL)] * 10_001)
    assert refused(stub, "Submit", request) == (
        "INVALID_ARGUMENT",
        "submissions: at most 10000 are allowed in a request; got 10001",
    )
    assert stub("Submit", SubmitRequest()).dispatch_ids == []


def test_a_delayed_call_begins_at_its_time(service: RunningService):
    endpoint = Endpoint("http://127.0.0.1:1")
    begun: dict[str, float] = {}

    @endpoint.function
    async def note(name: str) -> str:
        begun[name] = time.time()
        return name

    with serve_app(endpoint.app) as server, Client(service.api_key, api_url=service.url) as client:
        endpoint.url = server.url
        start = datetime.now(UTC) + timedelta(seconds=1.5)
        ids = [
            client.dispatch(note.call("delay"), delay=timedelta(seconds=1.5)),
            client.dispatch(note.call("at"), at=start, labels={"kind": "late"}),
            client.dispatch(note.call("now"), at=datetime(2000, 1, 1, tzinfo=UTC)),
        ]
        assert client.get(ids[2]).start_time is None
        assert client.wait_all(ids, str, timeout=60) == ["delay", "at", "now"]
        delayed, info = client.get(ids[0]), client.get(ids[1])
        assert (info.start_time, info.next_time, info.labels) == (start, None, {"kind": "late"})
    assert start.timestamp() <= begun["at"]
    assert delayed.start_time is not None
    assert delayed.creation_time is not None
    assert delayed.start_time - delayed.creation_time == timedelta(seconds=1.5)
    assert delayed.start_time.timestamp() <= begun["delay"]


def test_a_call_waits_in_the_queue_for_its_start(service: RunningService):
    start = datetime.now(UTC) + HOUR
    with Client(service.api_key, api_url=service.url) as client:
        id = client.dispatch(CALL, at=start, labels={"kind": "late"})
        info = client.get(id)
        assert (info.state, info.start_time, info.next_time) == (CallState.QUEUED, start, start)
        assert info.labels == {"kind": "late"}
        client.cancel(id)


def test_a_delayed_call_can_be_cancelled(service: RunningService):
    with Client(service.api_key, api_url=service.url) as client:
        id = client.dispatch(CALL, delay=3600)
        assert client.cancel(id) == 1
        assert client.get(id).state is CallState.FINISHED


# The store


def submit(bench: Bench, *labels: dict[str, str] | None, **settings: Any) -> list[UUID]:
    now = datetime.now(UTC)
    new = [NewCall(new_id(), CALL, now + HOUR, labels=some, **settings) for some in labels]
    bench.run(lambda c: store_accept.accept(c, new, now))
    return [one.id for one in new]


def found(bench: Bench, labels: dict[str, str], limit: int = 100, **filters: Any) -> list[UUID]:
    """Find calls by labels, page by page."""
    filters, ids = {"labels": labels, **filters}, []
    while True:
        calls, place = bench.run(lambda c: reads.find(c, filters, limit))
        assert len(calls) <= limit
        ids += [UUID(call.dispatch_id) for call in calls]
        if place is None:
            return ids
        filters["before"] = place


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_calls_are_found_by_all_of_their_labels(bench: Bench, limit: int):
    a, ab, _, none, ab2, other = submit(
        bench,
        {"a": "1"},
        {"a": "1", "b": "ü = 2"},
        {"b": "ü = 2"},
        None,
        {"b": "ü = 2", "a": "1", "c": ""},
        {"a": "2"},
    )
    assert found(bench, {"a": "1"}, limit) == sorted([a, ab, ab2], reverse=True)
    assert found(bench, {"a": "1", "b": "ü = 2"}, limit) == sorted([ab, ab2], reverse=True)
    assert found(bench, {"c": ""}, limit) == [ab2]
    assert found(bench, {"a": "3"}, limit) == []
    assert found(bench, {"a": "1"}, limit, state=store.QUEUED) == found(bench, {"a": "1"})
    assert found(bench, {"a": "1"}, limit, state=store.RUNNING) == []
    assert found(bench, {"a": "1"}, limit, created_after=datetime.now(UTC) + HOUR) == []
    children = submit(bench, {"a": "1"}, {"a": "2"}, parent_id=none, root_id=none)
    assert found(bench, {"a": "1"}, limit, parent_id=none) == [children[0]]
    assert none not in found(bench, {"a": "1"})
    assert other not in found(bench, {"a": "1"})


def test_a_finished_call_keeps_its_labels_and_start(bench: Bench):
    start = datetime.now(UTC) + HOUR
    (id,) = submit(bench, {"a": "1"}, starts_at=start)
    job = bench.run(lambda c: c.fetchrow("SELECT execute_after, payload FROM pgqueuer"))
    assert job["execute_after"] == start
    loaded = bench.run(lambda c: load(Job(id, 0), c))[Job(id, 0)]
    answer(bench, loaded, exit_(1))
    info = bench.run(lambda c: reads.get(c, id))
    assert (dict(info.labels), info.start_time.ToDatetime(tzinfo=UTC)) == ({"a": "1"}, start)
    assert found(bench, {"a": "1"}) == [id]
    assert bench.run(lambda c: c.fetchval("SELECT count(*) FROM finished")) == 1


def test_labels_of_deleted_calls_are_deleted(bench: Bench):
    ids = sorted(submit(bench, *[{"a": "1", "b": "2"}] * 5))
    bench.run(lambda c: c.execute("DELETE FROM calls WHERE id = ANY($1)", ids[2:]))
    # The newest come first: those that are deleted do not fill the first page.
    assert found(bench, {"a": "1"}, 1) == ids[1::-1]

    async def prune(connection: Any) -> None:
        after: UUID | None = store_upkeep.FIRST_ID
        while after is not None:
            after = await store_upkeep.prune_labels(connection, -HOUR, after, 2)

    bench.run(lambda c: store_upkeep.prune_labels(c, HOUR))  # they are too new to look at
    assert bench.run(lambda c: c.fetchval("SELECT count(*) FROM labels")) == 10
    bench.run(prune)
    left = bench.run(lambda c: c.fetch("SELECT DISTINCT id FROM labels ORDER BY id"))
    assert [row["id"] for row in left] == ids[:2]


def test_labels_are_found_by_an_index(bench: Bench):
    """However many calls have the label: the newest come first, and no others are read."""
    many = "INSERT INTO labels SELECT 'a=1', gen_random_uuid() FROM generate_series(1, 20000)"
    query = "SELECT id FROM labels WHERE label = 'a=1' AND id < $1 ORDER BY id DESC LIMIT 10"

    async def explain(connection: Any) -> str:
        await connection.execute(many)
        await connection.execute("ANALYZE labels")
        rows = await connection.fetch(f"EXPLAIN {query}", UUID(int=2**128 - 1))
        return "\n".join(row[0] for row in rows)

    plan = bench.run(explain)
    assert "Index Only Scan Backward using labels_pkey" in plan
    assert "Sort" not in plan
