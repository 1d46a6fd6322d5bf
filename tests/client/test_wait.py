"""Waiting for calls, looking at them and cancelling them: real clients, service and endpoint."""

import asyncio
import copy
import json
import logging
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from connectrpc.code import Code as ConnectCode
from connectrpc.errors import ConnectError
from dispatch.calls.v1.calls_connect import CallServiceASGIApplication
from dispatch.calls.v1.calls_pb2 import (
    CallInfo,
    CancelCallResponse,
    GetCallResponse,
    ListCallsResponse,
    WaitCallResponse,
)
from dispatch.sdk.v1.function_pb2 import RunRequest, RunResponse
from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc import (
    AsyncClient,
    AuthenticationError,
    Call,
    CallError,
    CallState,
    Client,
    ClientStateError,
    Code,
    ConfigurationError,
    DeadlineExceededError,
    DispatchID,
    Endpoint,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    ResourceExhaustedError,
    RetryPolicy,
    RPCError,
    Status,
    UnavailableError,
    UnmarshalError,
    marshal,
    new_call,
    unmarshal,
)
from dispatch_grpc.client import following
from dispatch_grpc.primitives import exit_, poll
from dispatch_grpc.testing import Server, serve_app
from dispatch_grpc.text import quoted
from tests import hostile
from tests.conftest import KEY, PROTOCOLS, Driver, RunningService, data_dir, run_service
from tests.transport.test_processes import python
from tests.waiting import until

PATIENCE = timedelta(seconds=60)  # no test waits for that long, unless something hangs
UNKNOWN_ID = "01890000-0000-7000-8000-000000000000"
QUEUED, RUNNING, WAITING, FINISHED = list(CallState)[1:]


@dataclass
class Order:
    items: list[str]
    total: float


class Functions:
    """An endpoint, and the names that its functions wait for."""

    def __init__(self) -> None:
        self.endpoint = endpoint = Endpoint("http://127.0.0.1:1")
        self.released: set[str] = set()
        self.seen: list[str] = []

        @endpoint.function
        def add(x: int, y: int) -> int:
            return x + y

        @endpoint.function
        def order() -> Order:
            return Order(["tea"], 1.5)

        @endpoint.function
        def nothing() -> None:
            pass

        @endpoint.primitive
        def no_output(request: RunRequest) -> RunResponse:
            response = exit_()
            response.exit.result.ClearField("output")
            return response

        @endpoint.function
        def large(size: int) -> str:
            return "x" * size

        @endpoint.function(permanent=LookupError)
        def fail(message: str) -> None:
            raise LookupError(message)

        @endpoint.primitive
        def partly(request: RunRequest) -> RunResponse:
            error = ValueError("the fourth is bad")
            return exit_({"done": 3}, error=error, status=Status.INVALID_ARGUMENT)

        @endpoint.function
        async def blocked(name: str) -> str:
            """Runs until its name is released."""
            self.seen.append(name)
            while name not in self.released:
                await asyncio.sleep(0.01)
            return f"{name} is done"

        @endpoint.function
        def flaky(name: str) -> str:
            """Fails until its name is released."""
            if name not in self.released:
                raise ConnectionError("not yet")
            return f"{name} is done"

        @endpoint.primitive
        def family(request: RunRequest) -> RunResponse:
            """Waits for a blocked call and for another family, which the last one has not."""
            if not request.HasField("input"):
                return exit_(len(request.poll_result.results))
            name, depth = unmarshal(request.input)
            calls = [self.call("blocked", name)]
            if depth:
                calls.append(self.call("family", [name, depth - 1]))
            return poll(calls, min_results=len(calls))

    def call(self, function: str, *arguments: Any, **options: Any) -> Call:
        return self.endpoint.functions[function].with_options(**options).call(*arguments)

    def release(self, *names: str) -> None:
        self.released.update(names)


@pytest.fixture(scope="module")
def functions() -> Iterator[Functions]:
    functions = Functions()
    with serve_app(functions.endpoint.app) as server:
        functions.endpoint.url = server.url
        yield functions


_names = iter(range(10**9))


@pytest.fixture
def name(functions: Functions) -> Iterator[str]:
    """A name that no other test uses; what waits for it goes on at the end."""
    name = f"name{next(_names)}"
    yield name
    functions.release(name)


class API:
    """A client of either kind, used like the sync one."""

    def __init__(self, driver: Driver, url: str, api_key: str = KEY, **settings: Any) -> None:
        self._driver = driver
        self.client = driver.client(url, api_key, **settings)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        function = getattr(self.client, method)
        return lambda *args, **options: self._driver.run(lambda: function(*args, **options))

    def until(self, dispatch_id: str, state: CallState, runs: int = 0) -> Any:
        """Get a call, again and again until it is in a state, after a number of runs."""

        def found() -> Any:
            call = self.get(dispatch_id)
            return call if call.state is state and call.runs >= runs else None

        return until(found)


@pytest.fixture
def api(driver: Driver, service: RunningService) -> API:
    return API(driver, service.url, service.api_key)


@contextmanager
def later(act: Callable[[], Any], seconds: float = 0.3) -> Iterator[None]:
    """Do something in a while, in a thread."""
    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.join()


# wait


def test_wait_returns_the_output(api: API, functions: Functions):
    for call, kind, output in (
        (functions.call("add", 2, 3), None, 5),
        (functions.call("add", 2, 3), float, 5.0),
        (functions.call("order"), None, {"items": ["tea"], "total": 1.5}),
        (functions.call("order"), Order, Order(["tea"], 1.5)),
        (functions.call("nothing"), None, None),
        (functions.call("no_output"), None, None),
        (functions.call("no_output"), int | None, None),
    ):
        dispatch_id = api.dispatch(call)
        for _ in range(2):  # when it is under way, and when it has finished
            found = api.wait(dispatch_id, kind, timeout=PATIENCE)
            assert (found, type(found)) == (output, type(output))
    for function in ("order", "no_output"):
        with pytest.raises(UnmarshalError, match="expected int, got "):
            api.wait(api.dispatch(functions.call(function)), int, timeout=PATIENCE)


@pytest.mark.parametrize("settings", [{}, {"timeout": None}], ids=["default", "no timeout"])
def test_wait_for_ever(
    driver: Driver, settings: dict[str, Any], service: RunningService, functions: Functions, name
):
    """By the argument, or by the client's own timeout."""
    api = API(driver, service.url, service.api_key, **settings)
    dispatch_id = api.dispatch(functions.call("blocked", name))
    with later(lambda: functions.release(name)):
        options = {} if settings else {"timeout": None}
        assert api.wait(dispatch_id, str, **options) == f"{name} is done"


def test_wait_for_a_call_that_fails(api: API, functions: Functions):
    dispatch_id = api.dispatch(functions.call("fail", "no such thing"))
    with pytest.raises(CallError) as caught:
        api.wait(dispatch_id, int, timeout=PATIENCE)
    error = caught.value
    assert str(error) == "LookupError: 'no such thing' [PERMANENT_ERROR]" or str(error) == (
        "LookupError: no such thing [PERMANENT_ERROR]"
    )
    assert (error.type, error.status, error.output) == (
        "LookupError",
        Status.PERMANENT_ERROR,
        None,
    )
    assert "raise LookupError(message)" in error.traceback


def test_wait_for_a_call_that_fails_with_a_partial_output(api: API, functions: Functions):
    dispatch_id = api.dispatch(functions.call("partly"))
    with pytest.raises(CallError, match="the fourth is bad") as caught:
        api.wait(dispatch_id, str, timeout=PATIENCE)
    assert caught.value.output == {"done": 3}
    assert caught.value.status is Status.INVALID_ARGUMENT


def test_wait_is_over_before_the_call_is(api: API, functions: Functions, name: str):
    short = timedelta(seconds=0.4)

    def late(dispatch_id: str) -> str:
        start = time.monotonic()
        with pytest.raises(DeadlineExceededError) as caught:
            api.wait(dispatch_id, timeout=short)
        assert 0.3 < time.monotonic() - start < PATIENCE.total_seconds()
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert caught.value.message.startswith(
            f"the call {dispatch_id} did not finish within 0.4 s: it"
        )
        return caught.value.message.partition(" s: ")[2]

    running = api.dispatch(functions.call("blocked", name))
    api.until(running, RUNNING)
    assert late(running) == "its first attempt is running"

    waiting = api.dispatch(functions.call("family", [name, 0]))
    api.until(waiting, WAITING)
    assert late(waiting) == "it is waiting after 1 run"

    queued = api.dispatch(new_call(f"http://127.0.0.1:{hostile.unused_port()}", "f"))
    api.until(queued, QUEUED, 2)
    assert "it is queued after " in (text := late(queued))
    assert "runs; its last error was TCP_ERROR: the endpoint could not be reached: " in text
    api.cancel(queued)

    functions.release(name)
    assert api.wait(running, timeout=PATIENCE) == f"{name} is done"
    assert api.wait(waiting, timeout=PATIENCE) == 1


def test_wait_with_the_timeout_of_the_client(
    driver: Driver, service: RunningService, functions: Functions, name: str
):
    settings = {"timeout": timedelta(seconds=0.35)}
    api = API(driver, service.url, service.api_key, **settings)
    dispatch_id = api.dispatch(functions.call("blocked", name), timeout=PATIENCE)
    with pytest.raises(DeadlineExceededError, match=r"not finish within 0\.35 s: it"):
        api.wait(dispatch_id)
    with pytest.raises(DeadlineExceededError, match=r"not finish within 0\.05 s: "):
        api.wait(dispatch_id, timeout=timedelta(seconds=0.05))


def test_many_wait_at_once(service: RunningService, functions: Functions, protocol: str):
    async def main() -> list[Any]:
        async with AsyncClient(
            service.api_key, api_url=service.url, protocol=protocol, timeout=PATIENCE
        ) as client:
            batch = client.batch()
            batch.add(*[functions.call("add", number, 1) for number in range(200)])
            ids = await batch.dispatch()
            return await asyncio.gather(*[client.wait(dispatch_id, int) for dispatch_id in ids])

    assert asyncio.run(main()) == list(range(1, 201))


def test_a_cancelled_wait_stays_cancelled(
    service: RunningService, functions: Functions, name: str, protocol: str
):
    async def main() -> None:
        async with AsyncClient(service.api_key, api_url=service.url, protocol=protocol) as client:
            dispatch_id = await client.dispatch(functions.call("blocked", name))
            task = asyncio.ensure_future(client.wait(dispatch_id))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.2):
                    await client.wait(dispatch_id)
            assert not isinstance(caught.value, RPCError)

    asyncio.run(main())


def test_wait_across_a_restart_of_the_service(
    functions: Functions, name: str, caplog: pytest.LogCaptureFixture
):
    """All clients wait at once; the service goes, is away for a while, and comes back."""
    from dispatch_grpc.service.settings import Settings

    port = hostile.unused_port()
    settings: dict[str, Any] = {
        "port": port,
        "worker": Settings(shutdown_timeout=timedelta(seconds=0.5)),
    }
    url, outputs = f"http://127.0.0.1:{port}", {}
    drivers = [Driver(protocol, is_async=twin) for protocol in PROTOCOLS for twin in (False, True)]

    def wait(driver: Driver, api: API, dispatch_id: str) -> None:
        try:
            outputs[driver] = api.wait(dispatch_id, str, timeout=PATIENCE)
        except BaseException as error:
            outputs[driver] = error

    with data_dir() as folder:
        with run_service(folder, **settings) as running:
            apis = [API(driver, url, running.api_key) for driver in drivers]
            dispatch_id = apis[0].dispatch(functions.call("blocked", name))
            threads = [
                threading.Thread(target=wait, args=(driver, api, dispatch_id), daemon=True)
                for driver, api in zip(drivers, apis, strict=True)
            ]
            for thread in threads:
                thread.start()
            API(drivers[0], url, running.api_key).until(dispatch_id, RUNNING)
            time.sleep(0.3)
        time.sleep(1)
        assert not outputs
        with run_service(folder, **settings):
            functions.release(name)
            for thread in threads:
                thread.join(PATIENCE.total_seconds())
    for driver in drivers:
        driver.close()
    assert [outputs[driver] for driver in drivers] == [f"{name} is done"] * len(drivers)
    assert (
        f"still waiting for the call {dispatch_id} after an error: {url} is not available"
        in caplog.text
    )


def test_wait_where_nothing_listens(driver: Driver, caplog: pytest.LogCaptureFixture):
    url = f"http://127.0.0.1:{hostile.unused_port()}"
    api = API(driver, url, retry=None)
    with pytest.raises(DeadlineExceededError) as caught:
        api.wait(UNKNOWN_ID, timeout=timedelta(seconds=1))
    assert f"its state is unknown; {url} is not available: " in str(caught.value)
    assert isinstance(caught.value.__cause__, UnavailableError)
    assert caplog.text.count("still waiting for the call") == 1
    with pytest.raises(UnavailableError, match="is not available"):
        api.get(UNKNOWN_ID)


def test_wait_at_a_server_that_never_answers(driver: Driver):
    """It is over soon after its time is."""
    with hostile.serving(hostile.hangs) as server:
        api = API(driver, server.url)
        start = time.monotonic()
        with pytest.raises(DeadlineExceededError) as caught:
            api.wait(UNKNOWN_ID, timeout=timedelta(seconds=0.3))
        assert 1 < time.monotonic() - start < 15
    assert f"its state is unknown; no answer from {server.url}" in str(caught.value)


# wait_all


def test_wait_for_all(api: API, functions: Functions, name: str):
    """The outputs come in the order of the ids, whichever call finishes first."""
    blocked = api.dispatch(functions.call("blocked", name))
    sums = [api.dispatch(functions.call("add", number, 1)) for number in range(100)]
    with later(lambda: functions.release(name)):
        found = api.wait_all([blocked, *sums, blocked], timeout=PATIENCE)
    assert found == [f"{name} is done", *range(1, 101), f"{name} is done"]
    assert api.wait_all(iter(sums[:3]), float, timeout=PATIENCE) == [1.0, 2.0, 3.0]
    assert api.wait_all([]) == []
    with pytest.raises(UnmarshalError, match="expected str, got "):
        api.wait_all(sums, str, timeout=PATIENCE)


def test_wait_for_all_when_some_fail(api: API, functions: Functions, name: str):
    blocked = api.dispatch(functions.call("blocked", name))
    failed = api.dispatch(functions.call("fail", "one"))
    done = api.dispatch(functions.call("add", 1, 2))
    with pytest.raises(CallError, match="one"):  # though another is still running
        api.wait_all([done, failed, blocked], timeout=PATIENCE)
    assert api.get(blocked).state == "running"
    start = time.monotonic()
    late, error, unknown, output = api.wait_all(
        [blocked, failed, UNKNOWN_ID, done], timeout=0.5, return_exceptions=True
    )
    assert time.monotonic() - start < PATIENCE.total_seconds()
    assert (type(late), type(error), type(unknown)) == (
        DeadlineExceededError,
        CallError,
        NotFoundError,
    )
    assert output == 3
    with pytest.raises(DeadlineExceededError, match=r"did not finish within 0\.1 s"):
        api.wait_all([done, blocked], timeout=0.1)
    functions.release(name)


def test_waiting_for_all_has_one_timeout(driver: Driver):
    """And no more than the one second of grace, where nothing answers."""
    with hostile.serving(hostile.hangs) as server:
        api = API(driver, server.url, retry=None)
        start = time.monotonic()
        found = api.wait_all([UNKNOWN_ID] * 20, timeout=0.3, return_exceptions=True)
        assert time.monotonic() - start < 10
    assert [type(error) for error in found] == [DeadlineExceededError] * 20


def test_waiting_for_all_checks_its_arguments_first(driver: Driver):
    with scripted(DONE) as (script, server):
        api = API(driver, server.url)
        for ids in (["id", ""], ["id", 5]):
            with pytest.raises(ConfigurationError, match="dispatch_id: a non-empty str"):
                api.wait_all(ids, return_exceptions=True)
        with pytest.raises(ConfigurationError, match="timeout"):
            api.wait_all(["id"], timeout=0)
    assert not script.requests


def test_a_cancelled_wait_for_all_stays_cancelled(
    service: RunningService, functions: Functions, name: str, protocol: str
):
    async def main() -> None:
        async with AsyncClient(service.api_key, api_url=service.url, protocol=protocol) as client:
            ids = [await client.dispatch(functions.call("blocked", name)) for _ in range(3)]
            task = asyncio.ensure_future(client.wait_all(ids))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == {asyncio.current_task()}  # no wait goes on

    asyncio.run(main())


# Ids that remember a type


def test_an_id_remembers_the_type_of_the_result(api: API, functions: Functions):
    dispatch_id = DispatchID(api.dispatch(functions.call("order")), Order)
    assert api.wait(dispatch_id, timeout=PATIENCE) == Order(["tea"], 1.5)
    assert api.wait_all([dispatch_id, dispatch_id]) == [Order(["tea"], 1.5)] * 2
    assert api.wait(dispatch_id, dict[str, Any]) == {"items": ["tea"], "total": 1.5}
    assert api.get(dispatch_id).dispatch_id == dispatch_id


def test_an_id_is_a_str():
    class Local:
        pass

    dispatch_id = DispatchID("id", Local)
    assert isinstance(dispatch_id, str)
    assert hash(dispatch_id) == hash("id")
    assert f"{dispatch_id}" == "id"
    assert json.dumps([dispatch_id]) == '["id"]'
    assert marshal([dispatch_id, {"a": dispatch_id}]) == marshal(["id", {"a": "id"}])
    assert marshal(dispatch_id) == marshal("id")
    for plain in (pickle.loads(pickle.dumps(dispatch_id)), copy.deepcopy(dispatch_id)):
        assert (plain, type(plain)) == ("id", str)


# What a wait sends


class Scripted:
    """A CallService that answers as it is told, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[Any, dict[str, str], float]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._answer  # every method of the service

    async def _answer(self, request: Any, ctx: Any) -> Any:
        self.requests.append((request, dict(ctx.request_headers), time.monotonic()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            answer = self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def scripted(*answers: Any) -> Iterator[tuple[Scripted, Server]]:
    script: Any = Scripted(*answers)
    app = CallServiceASGIApplication(script, compressions=None)
    with serve_app(app) as server:
        yield script, server


AWAY = ConnectError(ConnectCode.UNAVAILABLE, "be right back")
FULL = ConnectError(ConnectCode.RESOURCE_EXHAUSTED, "slower please")
UNFINISHED = WaitCallResponse(call=CallInfo(state="CALL_STATE_RUNNING", runs=2))
DONE = WaitCallResponse(call=CallInfo(state="CALL_STATE_FINISHED", status="STATUS_OK"))


def _seconds(headers: dict[str, str]) -> float | None:
    """The deadline that a request carries."""
    if text := headers.get("connect-timeout-ms"):
        return int(text) / 1000
    if text := headers.get("grpc-timeout"):
        unit = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "S": 1, "M": 60, "H": 3600}[text[-1]]
        return int(text[:-1]) * unit
    return None


def test_every_request_has_the_same_metadata_and_a_deadline_of_its_own(driver: Driver):
    with scripted(UNFINISHED, UNFINISHED, DONE) as (script, server):
        api = API(driver, server.url, metadata={"x-client": "one"})
        assert api.wait("id", timeout=None) is None
        api.wait("id", timeout=timedelta(seconds=300))
        api.wait("id", timeout=timedelta(seconds=8))
        waits = list(script.requests)
        script.answers = [GetCallResponse(call=CallInfo())]
        api.get("id")
        script.answers = [CancelCallResponse(call=CallInfo(), cancelled=3)]
        assert api.cancel("id") == 3
        script.answers = [ListCallsResponse(next_page_token="2"), ListCallsResponse()]
        assert api.list() == []
    assert len(script.requests) == 9
    for _, headers, _ in script.requests:
        assert headers["authorization"] == f"Bearer {KEY}"
        assert headers["x-client"] == "one"
        assert "idempotency-key" not in headers
    asked = [request.max_wait.ToTimedelta().total_seconds() for request, _, _ in waits]
    last = 4 if driver.protocol == "grpc" else 1.4  # without pings, a third is lost at most
    assert asked == [4, 4, 4, 4, pytest.approx(last, abs=0.5)]
    given = [_seconds(headers) for _, headers, _ in waits]
    assert given == pytest.approx([6, 6, 6, 6, 6 if last == 4 else last + 1], abs=0.5)
    others = [_seconds(headers) for _, headers, _ in script.requests[5:]]
    assert others == pytest.approx([10, 10, 10, 10], abs=0.5)
    pages = [request.page_token for request, _, _ in script.requests[7:]]
    assert pages == ["", "2"]


def test_a_service_that_does_not_wait_is_not_asked_without_a_pause(driver: Driver):
    with scripted(UNFINISHED) as (script, server):
        api = API(driver, server.url)
        with pytest.raises(DeadlineExceededError, match="it is running after 2 runs"):
            api.wait("id", timeout=timedelta(seconds=1.5))
    assert 3 <= len(script.requests) <= 15


@pytest.mark.parametrize("retry", [None, RetryPolicy(initial_backoff=timedelta(milliseconds=10))])
def test_a_lost_connection_is_tried_again(driver: Driver, retry: RetryPolicy | None):
    """Longer than the retries of the client go on, and with pauses that grow."""
    with scripted(*[AWAY] * 5, DONE) as (script, server):
        api = API(driver, server.url, retry=retry)
        assert api.wait("id", timeout=PATIENCE) is None
        assert len(script.requests) == 6
    times = [at for _, _, at in script.requests]
    if retry is None:
        pauses = [b - a for a, b in pairwise(times)]
        assert pauses[0] > 0.04
        assert pauses[4] > 0.7


def test_a_lost_answer_is_asked_for_again(driver: Driver, monkeypatch: pytest.MonkeyPatch):
    """A request of a wait may get no answer at all: its own deadline ends it, not the wait."""

    monkeypatch.setattr(following, "_MAX_WAIT_SECONDS", 0.2)
    monkeypatch.setattr(following, "_GRACE_SECONDS", 0.2)
    with scripted(5.0, DONE) as (script, server):
        api = API(driver, server.url)
        start = time.monotonic()
        assert api.wait("id", timeout=None) is None
        assert time.monotonic() - start < 5
    assert len(script.requests) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (ConnectError(ConnectCode.INTERNAL, "a bug"), RPCError),
        (ConnectError(ConnectCode.PERMISSION_DENIED, "not you"), PermissionDeniedError),
        (FULL, ResourceExhaustedError),
        (WaitCallResponse(), ProtocolError),
    ],
    ids=["INTERNAL", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "no call"],
)
def test_other_errors_end_a_wait_at_once(driver: Driver, answer: Any, kind: type[RPCError]):
    with scripted(answer) as (script, server):
        with pytest.raises(kind, match=f"{server.url} (answered|has no call)") as caught:
            API(driver, server.url, retry=None).wait("id", timeout=PATIENCE)
    assert type(caught.value) is kind
    assert len(script.requests) == 1


@pytest.mark.parametrize("failure", [AWAY, FULL], ids=["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
@pytest.mark.parametrize("method", ["get", "list", "cancel", "wait"])
def test_requests_are_retried_by_the_policy(driver: Driver, method: str, failure: ConnectError):
    answers = {
        "get": GetCallResponse(call=CallInfo()),
        "list": ListCallsResponse(),
        "cancel": CancelCallResponse(call=CallInfo(), cancelled=1),
        "wait": DONE,
    }
    arguments = () if method == "list" else ("id",)
    with scripted(failure, failure, answers[method]) as (script, server):
        retry = RetryPolicy(initial_backoff=timedelta(milliseconds=10))
        getattr(API(driver, server.url, retry=retry), method)(*arguments)
        assert len(script.requests) == 3
        script.answers = [failure]
        script.requests.clear()
        if method != "wait":
            with pytest.raises(RPCError, match=r"be right back|slower please") as caught:
                getattr(API(driver, server.url, retry=None), method)(*arguments)
            assert caught.value.idempotency_key is None
            assert len(script.requests) == 1


def test_results_of_other_services(driver: Driver):
    """Of a later version of the schema, or less careful than ours."""
    told = {"error": {"type": "E", "message": "m"}}
    for call, message, status in (
        (CallInfo(status="STATUS_TIMEOUT"), "TIMEOUT: the call has ended with TIMEOUT", "TIMEOUT"),
        (CallInfo(status=99), "PERMANENT_ERROR: the call has ended with", "PERMANENT_ERROR"),  # type: ignore[arg-type]
        (CallInfo(), "UNSPECIFIED: the call has ended with", "UNSPECIFIED"),
        (CallInfo(status="STATUS_OK", result=told), "E: m", "OK"),
    ):
        call.state = 4  # type: ignore[assignment]  # finished
        with scripted(WaitCallResponse(call=call)) as (_, server):
            with pytest.raises(CallError, match=message) as caught:
                API(driver, server.url).wait("id")
        assert caught.value.status is Status[status]
    output = {"type_url": "type.googleapis.com/not.Known", "value": b"1"}
    call = CallInfo(state="CALL_STATE_FINISHED", result={"output": output})
    if driver.protocol != "connect+json":  # which needs the definition of every type in an Any
        with scripted(WaitCallResponse(call=call)) as (_, server):
            with pytest.raises(CallError) as caught:
                API(driver, server.url).wait("id")
            found = caught.value.output
            assert isinstance(found, AnyProto)
            assert (found.type_url, found.value) == (output["type_url"], output["value"])


def test_outputs_as_large_as_the_service_keeps_them(
    driver: Driver, service: RunningService, functions: Functions
):
    api = API(driver, service.url, service.api_key)
    dispatch_id = api.dispatch(functions.call("large", 10_000_000))
    assert len(api.wait(dispatch_id, timeout=PATIENCE)) == 10_000_000


def test_an_answer_above_our_own_bound(
    driver: Driver, service: RunningService, functions: Functions
):
    api = API(driver, service.url, service.api_key, max_message_bytes=2000)
    dispatch_id = api.dispatch(functions.call("large", 5000))
    with pytest.raises(
        ProtocolError, match="larger than the 2000 bytes allowed by max_response_byt"
    ):
        api.wait(dispatch_id, timeout=PATIENCE)


# get


def test_get_a_call_in_each_state(api: API, functions: Functions, name: str):
    before = datetime.now(UTC) - timedelta(seconds=5)
    call = functions.call("flaky", name, version="v1", expiration=timedelta(hours=2))
    queued = api.until(api.dispatch(call), QUEUED, 1)
    assert queued.function == "flaky"
    assert queued.endpoint == functions.endpoint.url
    assert queued.version == "v1"
    assert queued.status is Status.TCP_ERROR
    assert queued.last_error.type == "ConnectionError"
    assert queued.root_dispatch_id == queued.dispatch_id
    assert not queued.parent_dispatch_id
    created = queued.creation_time
    assert before < created < datetime.now(UTC) + timedelta(seconds=5)
    assert queued.expiration_time - created == timedelta(hours=2)
    assert created < queued.next_time < queued.expiration_time
    assert not queued.message.HasField("result")
    assert queued.finish_time is None
    assert repr(queued) == (
        f"<CallInfo {queued.dispatch_id} of flaky at {functions.endpoint.url}: queued, TCP_ERROR>"
    )

    running = api.until(api.dispatch(functions.call("blocked", name)), RUNNING)
    assert (running.runs, running.status) == (0, Status.UNSPECIFIED)

    waiting = api.until(api.dispatch(functions.call("family", [name, 0])), WAITING)
    assert (waiting.runs, waiting.status) == (1, Status.OK)
    (child,) = api.list(parent=waiting.dispatch_id)
    assert child.parent_dispatch_id == child.root_dispatch_id == waiting.dispatch_id

    functions.release(name)
    for dispatch_id in (queued.dispatch_id, running.dispatch_id, child.dispatch_id):
        assert api.wait(dispatch_id, timeout=PATIENCE) == f"{name} is done"
        finished = api.get(dispatch_id)
        assert (finished.state, finished.status) == ("finished", Status.OK)
        assert unmarshal(finished.message.result.output) == f"{name} is done"
        assert finished.finish_time > finished.creation_time
        assert finished.to_dict()["output"] == f"{name} is done"
        assert finished == api.get(dispatch_id)
        assert hash(finished)
    assert api.wait(waiting.dispatch_id, int, timeout=PATIENCE) == 1


def test_an_unknown_id(api: API, service: RunningService):
    for dispatch_id in (UNKNOWN_ID, "nonsense", "\0", "x" * 100, "Ä"):
        for method in (api.get, api.wait, api.cancel):
            with pytest.raises(NotFoundError) as caught:
                method(dispatch_id)
            assert str(caught.value).startswith(
                f"{service.url} has no call {quoted(dispatch_id)}: the id is wrong, or "
            )
            assert caught.value.code is Code.NOT_FOUND


# list


def ids(calls: list[Any]) -> list[str]:
    return [call.dispatch_id for call in calls]


def test_list_by_each_filter(api: API, functions: Functions, name: str):
    function = f"{name}.f"

    @functions.endpoint.primitive(name=function)
    def _(_: RunRequest) -> RunResponse:
        return exit_(error=LookupError(name), status=Status.NOT_FOUND)

    start = datetime.now(UTC)
    time.sleep(0.1)  # more than the service's idea of the database's time may be wrong
    dead = f"http://127.0.0.1:{hostile.unused_port()}"
    queued = api.dispatch(new_call(dead, function, expiration=timedelta(minutes=5)))
    api.until(queued, QUEUED, 1)
    time.sleep(0.1)
    middle = datetime.now(UTC)
    time.sleep(0.1)
    missing = api.dispatch(new_call(functions.endpoint.url, function))
    with pytest.raises(CallError):
        api.wait(missing, timeout=PATIENCE)
    family = api.dispatch(functions.call("family", [name, 1]))
    api.until(family, WAITING)
    children = until(lambda: found if len(found := api.list(parent=family)) == 2 else None)
    blocked = next(call.dispatch_id for call in children if call.function == "blocked")
    api.until(blocked, RUNNING)

    assert ids(api.list(function=function)) == [missing, queued]
    assert ids(api.list(endpoint=dead)) == [queued]
    assert ids(api.list(function=function, endpoint=functions.endpoint.url)) == [missing]
    assert ids(api.list(function=function, created_after=middle)) == [missing]
    assert ids(api.list(function=function, created_before=middle)) == [queued]
    assert ids(api.list(function=function, created_after=start, created_before=middle)) == [queued]
    assert ids(api.list(function=function, state="queued")) in ([queued], [])  # or it is tried
    assert ids(api.list(function=function, state="finished")) == [missing]
    assert family in ids(api.list(state="waiting"))
    assert blocked in ids(api.list(state="running"))
    assert ids(api.list(function=function, status=Status.NOT_FOUND)) == [missing]
    assert ids(api.list(function=function, status=Status.TCP_ERROR)) == [queued]
    assert sorted(call.function for call in children) == ["blocked", "family"]
    assert api.list(function=f"{name}.none") == []
    assert api.list(parent=UNKNOWN_ID) == []
    assert ids(api.list(function=function, limit=1)) == [missing]
    (finished,) = api.list(function=function, state="finished")
    assert not finished.message.HasField("result")  # as get has
    with pytest.raises(NotFoundError, match="no call of the id 'nonsense'"):
        api.list(parent="nonsense")
    api.cancel(queued)


def test_list_goes_on_with_further_pages(driver: Driver, api: API, functions: Functions, name: str):
    function = f"{name}.many"
    batch = api.client.batch()
    batch.add(*[new_call(functions.endpoint.url, function) for _ in range(250)])
    dispatched = driver.dispatch(batch)
    found = api.list(function=function, limit=1000)
    assert sorted(ids(found)) == sorted(dispatched)
    assert ids(found) == sorted(dispatched, reverse=True)  # the newest first
    assert ids(api.list(function=function)) == ids(found)[:100]
    assert ids(api.list(function=function, limit=230)) == ids(found)[:230]
    assert ids(api.list(function=function, limit=200)) == ids(found)[:200]


def test_no_more_is_asked_for_than_the_limit(driver: Driver):
    page = ListCallsResponse(calls=[CallInfo()] * 100, next_page_token="more")
    with scripted(page) as (script, server):
        api = API(driver, server.url)
        assert len(api.list(limit=230)) == 230  # though the service gives more than it is asked
        assert [request.page_size for request, _, _ in script.requests] == [100, 100, 30]
        script.requests.clear()
        assert len(api.list()) == 100
        assert len(script.requests) == 1


def test_a_list_has_one_deadline_for_all_its_pages(driver: Driver):
    page = ListCallsResponse(calls=[CallInfo()], next_page_token="more")
    with scripted(page) as (script, server):
        api = API(driver, server.url)
        api.list(limit=1)  # the connection may take long on a busy machine
        with pytest.raises(DeadlineExceededError, match="no answer from"):
            api.list(limit=10**9, timeout=timedelta(seconds=2))
    assert len(script.requests) > 2


def test_arguments_that_are_not_acceptable(driver: Driver):
    with scripted(ListCallsResponse()) as (script, server):
        api = API(driver, server.url)
        for options, named in (
            ({"limit": 0}, "limit"),
            ({"limit": 1.5}, "limit"),
            ({"state": "done"}, "state: one of queued, running, waiting, finished is required"),
            ({"state": ["queued"]}, "state"),
            ({"status": 1}, "status"),
            ({"status": Status.UNSPECIFIED}, "status"),
            ({"function": ""}, "function"),
            ({"function": "\ud800"}, "function"),
            ({"endpoint": 5}, "endpoint"),
            ({"parent": ""}, "parent"),
            ({"created_after": datetime(2020, 1, 1)}, "created_after: a datetime with a time zone"),
            ({"created_before": "today"}, "created_before"),
            ({"timeout": timedelta(0)}, "timeout"),
        ):
            with pytest.raises(ConfigurationError, match=named):
                api.list(**options)
        for method in (api.get, api.wait, api.cancel):
            for dispatch_id in ("", None, 5, b"id", "\ud800"):
                with pytest.raises(ConfigurationError, match="dispatch_id: a non-empty str"):
                    method(dispatch_id)
            with pytest.raises(ConfigurationError, match="timeout"):
                method("id", timeout=0)
        assert not script.requests
        assert api.list(created_after=datetime.min.replace(tzinfo=UTC)) == []


# cancel


def test_cancel_a_queued_call(api: API):
    dead = f"http://127.0.0.1:{hostile.unused_port()}"
    dispatch_id = api.dispatch(new_call(dead, "f"))
    runs = api.until(dispatch_id, QUEUED, 1).runs
    assert api.cancel(dispatch_id) == 1
    with pytest.raises(CallError) as caught:
        api.wait(dispatch_id)
    assert (caught.value.type, caught.value.message) == ("CancelledError", "the call was cancelled")
    assert api.get(dispatch_id).runs <= runs + 1
    with pytest.raises(RPCError, match="has finished already") as refused:
        api.cancel(dispatch_id)
    assert refused.value.code is Code.FAILED_PRECONDITION


def test_cancel_a_running_call(api: API, functions: Functions, name: str):
    """What the function answers is not used."""
    dispatch_id = api.dispatch(functions.call("blocked", name))
    until(lambda: name in functions.seen)
    api.until(dispatch_id, RUNNING)
    assert api.cancel(dispatch_id) == 1
    functions.release(name)
    time.sleep(0.3)
    with pytest.raises(CallError, match="CancelledError"):
        api.wait(dispatch_id)
    call = api.get(dispatch_id)
    assert (call.state, call.status) == (FINISHED, Status.PERMANENT_ERROR)
    assert not call.message.result.HasField("output")


def test_cancel_a_waiting_call_and_its_children(
    api: API, service: RunningService, functions: Functions, name: str
):
    family = api.dispatch(functions.call("family", [name, 2]))
    api.until(family, WAITING)
    until(lambda: functions.seen.count(name) == 3)
    descendants = [
        call
        for call in api.list(created_after=api.get(family).creation_time)
        if call.root_dispatch_id == family and call.dispatch_id != family
    ]
    assert len(descendants) == 5
    with Client(service.api_key, api_url=service.url) as other:
        with later(lambda: other.cancel(family)):
            with pytest.raises(CallError, match="CancelledError"):  # who waits is told at once
                api.wait(family, timeout=PATIENCE)
    functions.release(name)
    for call in descendants:
        with pytest.raises(CallError, match="CancelledError"):
            api.wait(call.dispatch_id, timeout=PATIENCE)
    again = api.dispatch(functions.call("family", [f"{name}-2", 1]))
    functions.release(f"{name}-2")
    assert api.wait(again, int, timeout=PATIENCE) == 2


def test_cancel_a_child(api: API, functions: Functions, name: str):
    """Its parent goes on, with that result."""
    family = api.dispatch(functions.call("family", [name, 0]))
    api.until(family, WAITING)
    (child,) = api.list(parent=family)
    assert api.cancel(child.dispatch_id) == 1
    assert api.wait(family, int, timeout=PATIENCE) == 1


def test_cancel_a_finished_call(api: API, functions: Functions):
    dispatch_id = api.dispatch(functions.call("add", 1, 2))
    api.wait(dispatch_id, timeout=PATIENCE)
    with pytest.raises(RPCError, match=f"the call {dispatch_id} has finished already") as caught:
        api.cancel(dispatch_id)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert api.wait(dispatch_id) == 3


# Where it is not possible


def test_a_service_without_call_service(driver: Driver, dispatch_server: Server):
    api = API(driver, dispatch_server.url)
    client = driver.client(dispatch_server.url)
    uses: dict[str, Callable[[], Any]] = {
        "WaitCall": lambda: api.wait("id"),
        "GetCall": lambda: api.get("id"),
        "ListCalls": api.list,
        "CancelCall": lambda: api.cancel("id"),
        "CompleteCall": lambda: driver.run(lambda: client.complete("id", 1)),
        "RerunCall": lambda: driver.run(lambda: client.rerun("id")),
        "PauseCalls": lambda: driver.run(lambda: client.pause(everything=True)),
    }
    for method, use in uses.items():
        with pytest.raises(NotFoundError) as caught:
            use()
        assert caught.value.message == (
            f"{dispatch_server.url} does not have CallService.{method}: it is older than this "
            f"library, or not the service that 'dispatch-grpc serve' runs"
        )
        assert caught.value.code is Code.UNIMPLEMENTED


def test_a_web_server_without_call_service(driver: Driver):
    with hostile.serving(hostile.plain(404, b"<!doctype html>", "text/html")) as server:
        with pytest.raises(
            NotFoundError, match=f"^{server.url} does not have CallService.GetCall: "
        ):
            API(driver, server.url).get("id")
    with hostile.serving(hostile.plain(200, b"<!doctype html>", "text/html")) as server:
        with pytest.raises(ProtocolError, match="check the API URL"):
            API(driver, server.url).get("id")


def test_a_rejected_key(driver: Driver, service: RunningService, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, logger="dispatch_grpc")
    api = API(driver, service.url, "sk-wrong-999")
    for use in (api.list, *(lambda m=m: m(UNKNOWN_ID) for m in (api.wait, api.get, api.cancel))):
        with pytest.raises(AuthenticationError, match="rejected the API key sk-") as caught:
            use()
        assert "(from api_key=)" in str(caught.value)
        assert "wrong-999" not in str(caught.value)
    assert "WaitCallRequest failed: " in caplog.text
    assert "wrong-999" not in caplog.text


def test_a_closed_client(driver: Driver, service: RunningService):
    api = API(driver, service.url, service.api_key)
    api.list(limit=1)
    api.close()
    for use in (api.list, *(lambda m=m: m(UNKNOWN_ID) for m in (api.wait, api.get, api.cancel))):
        with pytest.raises(ClientStateError, match="closed"):
            use()


def test_a_client_of_another_event_loop(protocol: str, service: RunningService):
    client = AsyncClient(service.api_key, api_url=service.url, protocol=protocol)

    async def use(*expected: type[Exception]) -> None:
        for method in (client.wait, client.get, client.cancel):
            with pytest.raises(expected or NotFoundError):
                await method(UNKNOWN_ID)

    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(use())
        other.run(use(ClientStateError))
        one.run(client.close())


def test_a_closed_channel_of_the_caller(service: RunningService):
    """Whether it has been used before, or not: grpcio itself would end the process."""
    import grpc
    import grpc.aio

    authority = service.url.removeprefix("http://")
    for method in ("list", "get"):
        channel = grpc.insecure_channel(authority)
        with Client(service.api_key, api_url=service.url, channel=channel) as client:
            if method == "list":
                client.list(limit=1)
            channel.close()
            with pytest.raises(ClientStateError, match="channel"):
                client.list() if method == "list" else client.get(UNKNOWN_ID)

    async def main() -> None:
        channel = grpc.aio.insecure_channel(authority)
        async with AsyncClient(service.api_key, api_url=service.url, channel=channel) as client:
            await client.list(limit=1)
            await channel.close()
            with pytest.raises(ClientStateError, match="channel"):
                await client.list()
            with pytest.raises(ClientStateError, match="channel"):
                await client.get(UNKNOWN_ID)

    asyncio.run(main())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_forked_child(protocol: str, service: RunningService, functions: Functions):
    code = """
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about fork and threads
        from dispatch_grpc import Client, new_call
        url, protocol, endpoint = sys.argv[1:]
        client = Client(os.environ["KEY"], api_url=url, protocol=protocol)
        dispatch_id = client.dispatch(new_call(endpoint, "add", {"x": 1, "y": 2}))
        client.wait(dispatch_id)
        pid = os.fork()
        if pid == 0:
            try:
                assert client.wait(dispatch_id) == 3
                assert client.get(dispatch_id).runs == 1
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        assert client.wait(dispatch_id) == 3
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    python(code, service.url, protocol, functions.endpoint.url, KEY=service.api_key)


def test_only_who_waits_imports_what_it_takes():
    code = """
        import sys
        import dispatch_grpc
        dispatch_grpc.Client("key", api_url="http://127.0.0.1:1")
        names = ("dispatch.calls", "dispatch_grpc.client.following")
        print([name for name in sys.modules if name.startswith(names)])
    """
    assert python(code).strip() == "[]"
