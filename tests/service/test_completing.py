"""Calls that are finished from outside."""

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.error import HTTPError
from uuid import uuid4

import pytest

from dispatch_grpc import (
    CallError,
    CallState,
    Client,
    Code,
    Endpoint,
    MarshalError,
    NotFoundError,
    Pending,
    RequestTooLargeError,
    RPCError,
    Status,
    current_call,
    marshal,
    new_call,
    workflow,
)
from dispatch_grpc.primitives import RunRequest, RunResponse, pending, poll
from dispatch_grpc.schema import CompleteCallRequest
from dispatch_grpc.service.completing import Completing
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.testing import serve_app
from tests.conftest import KEY, Driver, RunningService, data_dir
from tests.service.conftest import Bench
from tests.service.processes import service as started
from tests.service.test_store import CALL, accept, answer, take
from tests.service.test_worker import worker
from tests.waiting import async_until, until

UNKNOWN = "01900000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.api_key, api_url=service.url) as client:
        yield client


class RefusedError(Exception):
    pass


env: dict[str, str] = {}  # filled when the service runs
ours = Endpoint("http://127.0.0.1:1", env=env)
ours.errors(RefusedError)
runs: list[str] = []


@ours.function
def review(document: str) -> dict[str, str]:
    runs.append(document)
    raise Pending


@ours.function
async def hasty(_: str) -> None:
    """Completed before it has answered."""
    await asyncio.sleep(60)


@ours.primitive
def reviewed(_: RunRequest) -> RunResponse:
    return pending()


@ours.function
def note(key: str, id: str) -> None:
    ids[key] = id


@ours.workflow
async def approve(key: str) -> list[Any]:
    first = await workflow.external(bool)
    second = await workflow.external(dict[str, int])
    await note.run(f"{key} 1", first.id)
    await note.run(f"{key} 2", second.id)
    found = await asyncio.gather(first, second)
    assert isinstance(found[0], bool)
    return [*found, await first]


@ours.workflow
async def impatient(key: str) -> str:
    approval = await workflow.external(bool)
    await workflow.step(ids.__setitem__, key, approval.id)
    try:
        async with asyncio.timeout(1.5):
            await approval
    except TimeoutError:
        return "late"
    return "in time"


@ours.workflow
async def refused(key: str) -> list[Any]:
    approval = await workflow.external()
    await note.run(key, approval.id)
    try:
        await approval
    except RefusedError as error:
        return list(error.args)
    return []


ids: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def hosted(service: RunningService) -> Iterator[None]:
    env.update(DISPATCH_API_URL=service.url, DISPATCH_API_KEY=service.api_key)
    with serve_app(ours.app) as server:
        ours.url = server.url
        yield


def waiting(client: Client, id: str) -> bool:
    return client.get(id).state is CallState.WAITING


def code(error: Any) -> Code:
    found: Code = error.value.code
    return found


def test_a_pending_call_waits_without_runs_until_it_is_completed(client: Client):
    id = client.dispatch(review.with_options(expiration=timedelta(days=7)).call("a"))
    until(lambda: waiting(client, id))
    time.sleep(2.5)  # a Poll that is no more than one would have been over twice
    assert (client.get(id).runs, runs.count("a")) == (1, 1)
    client.complete(id, {"by": "Ada"})
    assert client.wait(id, timeout=10) == {"by": "Ada"}
    call = client.get(id)
    assert (call.runs, call.status, runs.count("a")) == (1, Status.OK, 1)


@pytest.mark.parametrize("function", [review, hasty, reviewed])
def test_each_kind_of_function_can_be_completed(client: Client, function: Any):
    """Also one that runs right now: what it answers later is not used."""
    id = client.dispatch(function.call("b"))
    until(lambda: client.get(id).state in {CallState.WAITING, CallState.RUNNING})
    client.complete(id)
    assert client.wait(id, timeout=10) is None


def test_a_call_that_is_completed_holds_no_slot(service: RunningService, client: Client):
    """Its function may go on for a minute."""

    def running() -> float:
        with urllib.request.urlopen(f"{service.url}/metrics", timeout=30) as answer:
            found = re.search(
                r"^dispatch_calls_running (\S+)$", answer.read().decode(), re.MULTILINE
            )
        assert found
        return float(found[1])

    id = client.dispatch(hasty.call("o"))
    until(running)
    client.complete(id)
    until(lambda: running() == 0, 30)


def test_a_completion_that_meets_another_transaction_is_tried_again(bench: Bench):
    """They lock the call and its parent in other orders: the database ends one of them."""
    accept(bench, CALL)
    (parent,) = take(bench)
    answer(bench, parent, poll([CALL]))
    (child,) = take(bench)
    request = CompleteCallRequest(dispatch_id=str(child.running.id), output=marshal(1))
    lock = "SELECT FROM calls WHERE id = $1 FOR UPDATE"
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"

    async def main() -> None:
        async with bench.database.transaction() as other:
            await other.execute("SET LOCAL deadlock_timeout = '1min'")  # it is not the one
            await other.execute(lock, parent.running.id)
            completing = Completing(bench.database, worker(bench), Metrics())
            task = asyncio.create_task(completing.complete_call(request))
            await async_until(lambda: other.fetchval(waits))
            await other.execute(lock, child.running.id)
        assert (await task).call.dispatch_id == str(child.running.id)

    bench.runner.run(main())


def test_a_queued_call_can_be_completed(client: Client):
    """Its host is away, or it is tried again later."""
    id = client.dispatch(new_call("http://127.0.0.1:9", "away"))
    client.complete(id, 1)
    assert client.wait(id, int, timeout=10) == 1


def test_a_pending_call_that_nobody_completes_expires(client: Client):
    id = client.dispatch(review.with_options(expiration=timedelta(seconds=1.5)).call("c"))
    with pytest.raises(CallError, match="expired") as caught:
        client.wait(id, timeout=30)
    assert caught.value.status is Status.TIMEOUT
    assert runs.count("c") == 1


def test_a_call_that_is_failed_from_outside(client: Client):
    id = client.dispatch(review.call("d"))
    client.fail(id, RefusedError("no"))
    with pytest.raises(CallError) as caught:
        client.wait(id, timeout=10)
    error = caught.value
    assert (error.type, error.message) == (f"{__name__}.RefusedError", "no")
    assert error.status is Status.PERMANENT_ERROR


def test_an_error_without_a_type(client: Client):
    """As another client may send it."""
    id = client.dispatch(review.call("m"))
    request = CompleteCallRequest(dispatch_id=id)
    request.error.message = "no"
    client._call("CompleteCall", request, 10)
    with pytest.raises(CallError, match="no") as caught:
        client.wait(id, timeout=10)
    assert caught.value.type == "Error"


def test_an_error_that_is_long_is_shortened(client: Client):
    id = client.dispatch(review.call("n"))
    for _ in range(2):  # and is the same when it is sent again
        client.fail(id, "x" * 1_000_000)
    with pytest.raises(CallError, match="xxx") as caught:
        client.wait(id, timeout=10)
    assert len(caught.value.message) < 100_000


def test_a_completion_that_is_sent_again(client: Client):
    """Its answer may have been lost. Another one is refused, and changes nothing."""
    id = client.dispatch(review.call("e"))
    for _ in range(3):
        client.complete(id, 1)
    with pytest.raises(RPCError, match="has finished already, with another output") as caught:
        client.complete(id, 2)
    assert code(caught) is Code.FAILED_PRECONDITION
    with pytest.raises(RPCError, match="has finished already, with another output"):
        client.fail(id, "no")
    assert client.wait(id, timeout=10) == 1

    id = client.dispatch(review.call("e"))
    for _ in range(3):
        client.fail(id, "no", type="No")
    with pytest.raises(RPCError, match="has finished already, with No"):
        client.fail(id, "no", type="Never")
    with pytest.raises(CallError, match="no"):
        client.wait(id, timeout=10)


def test_calls_that_are_completed_are_counted_once(service: RunningService, client: Client):
    def failures() -> float:
        with urllib.request.urlopen(f"{service.url}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        name = r'^dispatch_calls_finished_total\{status="PERMANENT_ERROR"\} (.+)$'
        found = re.search(name, text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    before = failures()
    id = client.dispatch(review.call("e"))
    for _ in range(3):
        client.fail(id, "no")
    assert failures() == before + 1


def test_a_cancelled_call_cannot_be_completed(client: Client):
    id = client.dispatch(review.call("f"))
    client.cancel(id)
    with pytest.raises(RPCError, match="finished already, with CancelledError"):
        client.complete(id, 1)


@pytest.mark.parametrize("id", ["x", UNKNOWN, f"{UNKNOWN}.{1:016x}", f"{UNKNOWN}.1", "x." * 9])
def test_an_unknown_id(client: Client, id: str):
    with pytest.raises(NotFoundError, match="has no call"):
        client.complete(id, 1)


def test_a_value_without_a_representation(client: Client):
    with pytest.raises(MarshalError):
        client.complete(str(uuid4()), object())


def post(service: RunningService, body: dict[str, Any]) -> dict[str, Any]:
    """Send a CompleteCall as JSON, and return the error."""
    request = urllib.request.Request(
        f"{service.url}/dispatch.calls.v1.CallService/CompleteCall",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {service.api_key}"},
    )
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    with caught.value as answer:
        found: dict[str, Any] = json.load(answer)
    return found


EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty", "value": {}}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({}, "result: an output with a type or an error is required"),
        ({"output": {}}, "got output"),
        ({"output": EMPTY, "error": {"type": "E"}}, "result"),
    ],
)
def test_one_result_is_required(service: RunningService, result: dict[str, Any], message: str):
    error = post(service, {"dispatchId": str(uuid4()), **result})
    assert error["code"] == "invalid_argument"
    assert message in error["message"]


def test_an_output_that_is_too_large(service: RunningService, client: Client):
    id = client.dispatch(review.call("g"))
    with pytest.raises(RequestTooLargeError, match=r"max_message_bytes.*store the value"):
        client.complete(id, "x" * 5_000_000)
    with (
        Client(service.api_key, api_url=service.url, max_message_bytes=10_000_000) as large,
        pytest.raises(RequestTooLargeError, match="larger than the 4194304 bytes that"),
    ):
        large.complete(id, "x" * 5_000_000)
    client.complete(id, "x" * 4_000_000)
    assert len(client.wait(id, str, timeout=30)) == 4_000_000


def test_a_workflow_waits_for_results_from_outside(client: Client):
    id = client.dispatch(approve.call("h"))
    until(lambda: {"h 1", "h 2"} <= ids.keys())
    client.complete(ids["h 2"], {"seats": 3})
    client.complete(ids["h 1"], False)
    client.complete(ids["h 1"], False)
    assert client.wait(id, timeout=10) == [False, {"seats": 3}, False]
    client.complete(ids["h 1"], False)  # also once it is filed
    with pytest.raises(RPCError, match="another output"):
        client.complete(ids["h 1"], True)


def test_the_parent_learns_of_the_result_by_a_notice():
    """The queue is scanned as the service starts, and then after an hour."""
    with (
        data_dir() as folder,
        started(folder, look_seconds=3600) as process,
        Client(KEY, api_url=process.url, env={}) as client,
    ):
        id = client.dispatch(refused.call("p"))
        until(lambda: "p" in ids)
        until(lambda: waiting(client, id))
        client.fail(ids["p"], RefusedError("no"))
        assert client.wait(id, timeout=30) == ["no"]


def test_a_workflow_that_waits_no_more(client: Client):
    id = client.dispatch(impatient.call("i"))
    assert client.wait(id, timeout=30) == "late"
    with pytest.raises(RPCError, match="finished already, with CancelledError"):
        client.complete(ids["i"], True)


def test_a_registered_error_from_outside_is_raised_as_itself(client: Client):
    id = client.dispatch(refused.call("j"))
    until(lambda: "j" in ids)
    client.fail(ids["j"], RefusedError("not you"))
    assert client.wait(id, timeout=10) == ["not you"]


def test_the_children_of_a_call_that_is_completed_go_on(client: Client):
    """It ends as if it had answered."""
    id = client.dispatch(refused.call("k"))
    until(lambda: "k" in ids)
    client.complete(id, [1])
    assert client.wait(id, timeout=10) == [1]
    client.complete(ids["k"], 1)


def test_every_client(service: RunningService, client: Client, driver: Driver):
    other = driver.client(service.url, service.api_key)
    first, second = (client.dispatch(review.call("l")) for _ in range(2))
    driver.run(lambda: other.complete(first, [1, 2]))
    driver.run(lambda: other.fail(second, "no", type="No"))
    assert client.wait(first, timeout=10) == [1, 2]
    with pytest.raises(CallError, match="no") as caught:
        client.wait(second, timeout=10)
    assert caught.value.type == "No"


def test_the_id_is_that_of_the_running_call(client: Client):
    @ours.function
    def self_made(number: int) -> int:
        client.complete(current_call().dispatch_id, number + 1)
        raise Pending

    assert client.wait(client.dispatch(self_made.call(1)), int, timeout=10) == 2
