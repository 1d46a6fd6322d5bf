"""Schedules by real clients against a real service and endpoint."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from dispatch.calls.v1.schedules_connect import ScheduleServiceASGIApplication
from dispatch.calls.v1.schedules_pb2 import ScheduleInfo as ScheduleInfoMessage
from dispatch.calls.v1.schedules_pb2 import TriggerScheduleResponse

from dispatch_grpc import (
    AlreadyExistsError,
    AuthenticationError,
    Client,
    Code,
    ConfigurationError,
    Endpoint,
    InvalidArgumentError,
    InvalidCallError,
    NotFoundError,
    Overlap,
    ProtocolError,
    ResourceExhaustedError,
    RPCError,
    ScheduleInfo,
    current_call,
    new_call,
    unmarshal,
)
from dispatch_grpc.testing import CallRecorder, serve, serve_app
from tests.conftest import Driver, RunningService
from tests.waiting import until

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
CALL = new_call("http://127.0.0.1:9", "nightly", {"a": 1})


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint that tells the ticks for which it runs."""
    endpoint = Endpoint("http://127.0.0.1:1", env={})

    @endpoint.function
    def tick() -> str | None:
        time = current_call().scheduled_time
        return None if time is None else time.isoformat()

    @endpoint.workflow
    async def tick_twice() -> list[Any]:
        before = current_call().scheduled_time
        child = await tick.run()
        after = current_call().scheduled_time
        return [before, child, after]

    with serve_app(endpoint.app) as server:
        endpoint.url = server.url
        yield endpoint


@pytest.fixture
def client(served: RunningService) -> Iterator[Client]:
    """A client of the service, which has no schedules."""
    with Client(served.api_key, api_url=served.url, env={}) as client:
        for info in client.schedules.list():
            client.schedules.delete(info.name)
        yield client


# All kinds of clients


def test_the_life_of_a_schedule(driver: Driver, served: RunningService, client: Client):
    schedules = driver.client(served.url, served.api_key).schedules
    run = driver.run
    created = run(
        lambda: schedules.create(
            "nightly",
            CALL,
            cron="0 3 * * *",
            time_zone="Europe/Berlin",
            overlap="buffer_one",
            catch_up=2 * HOUR,
        )
    )
    assert (created.name, created.cron, created.time_zone) == (
        "nightly",
        "0 3 * * *",
        "Europe/Berlin",
    )
    assert (created.every, created.start) == (None, None)
    assert created.overlap is Overlap.BUFFER_ONE
    assert created.catch_up == 2 * HOUR
    assert created.call == CALL
    assert (created.paused, created.note, created.firings) == (False, "", ())
    assert (created.fired, created.skipped, created.missed) == (0, 0, 0)
    assert abs(created.creation_time - datetime.now(UTC)) < HOUR
    assert len(created.next_times) == 5
    assert all(time.minute == 0 and time.hour in {1, 2} for time in created.next_times)
    assert repr(created) == "<ScheduleInfo nightly of nightly: '0 3 * * *'>"
    assert hash(created) == hash(run(lambda: schedules.get("nightly")))
    assert run(lambda: schedules.get("nightly")) == created

    (listed,) = run(lambda: schedules.list())
    assert listed.next_times == created.next_times[:1]
    assert listed.call.endpoint == CALL.endpoint
    assert not listed.call.HasField("input")

    updated = run(lambda: schedules.update("nightly", every=2 * HOUR, overlap="allow"))
    assert (updated.cron, updated.time_zone) == (None, None)
    assert (updated.every, updated.overlap) == (2 * HOUR, Overlap.ALLOW)
    assert updated.start == datetime(1970, 1, 1, tzinfo=UTC)
    assert (updated.call, updated.catch_up) == (CALL, 2 * HOUR)
    assert repr(updated) == "<ScheduleInfo nightly of nightly: every 2:00:00>"

    paused = run(lambda: schedules.pause("nightly", note="until Monday"))
    assert (paused.paused, paused.note, paused.next_times) == (True, "until Monday", ())
    assert repr(paused).endswith(", paused>")
    resumed = run(lambda: schedules.resume("nightly"))
    assert (resumed.paused, resumed.note) == (False, "")
    assert resumed.next_times == updated.next_times

    id = run(lambda: schedules.trigger("nightly"))
    triggered = run(lambda: schedules.get("nightly"))
    assert [one.dispatch_id for one in triggered.firings] == [id]
    assert triggered.next_times == updated.next_times
    assert triggered.fired == 1
    info = client.get(id)
    assert (info.schedule, info.scheduled_time) == (
        "nightly",
        triggered.firings[0].scheduled_time,
    )
    assert [one.dispatch_id for one in client.list(schedule="nightly", limit=1)] == [id]
    client.cancel(id)

    run(lambda: schedules.delete("nightly"))
    for act in (schedules.get, schedules.pause, schedules.resume, schedules.trigger):
        with pytest.raises(NotFoundError, match="there is no schedule nightly"):
            run(partial(act, "nightly"))
    with pytest.raises(NotFoundError, match="there is no schedule nightly"):
        run(lambda: schedules.delete("nightly"))
    with pytest.raises(NotFoundError, match="there is no schedule nightly"):
        run(lambda: schedules.update("nightly", every=HOUR))
    assert client.get(id).schedule == "nightly"


def test_a_service_without_schedules(driver: Driver):
    with serve(CallRecorder()) as server:
        client = driver.client(server.url)
        with pytest.raises(NotFoundError, match=r"does not have ScheduleService\.CreateSchedule: "):
            driver.run(lambda: client.schedules.create("s", CALL, every=HOUR))


def test_a_wrong_key(driver: Driver, served: RunningService):
    client = driver.client(served.url, "sk-wrong-0123456789")
    with pytest.raises(AuthenticationError, match="rejected the API key"):
        driver.run(lambda: client.schedules.list())


# Creating and changing


def test_to_create_an_equal_schedule_again_changes_nothing(client: Client):
    options = {"cron": "0 3 * * *", "overlap": "skip"}
    created = client.schedules.create("s", CALL, **options)
    client.schedules.pause("s", note="no")
    again = client.schedules.create(
        "s", CALL, cron="0 3 * * *", time_zone="UTC", catch_up=timedelta(days=1)
    )
    assert (again.paused, again.creation_time) == (True, created.creation_time)
    other = new_call(CALL.endpoint, "nightly", {"a": 2})
    with pytest.raises(
        AlreadyExistsError, match="schedule s with another call and cron: update it instead"
    ):
        client.schedules.create("s", other, cron="0 4 * * *")
    assert client.schedules.get("s") == again


def test_there_is_a_bound_on_schedules(client: Client):
    for number in range(20):
        client.schedules.create(f"s{number:02}", CALL, every=HOUR)
    with pytest.raises(ResourceExhaustedError, match="there are 20 schedules, and no more"):
        client.schedules.create("more", CALL, every=HOUR)
    client.schedules.create("s00", CALL, every=HOUR)
    assert [one.name for one in client.schedules.list()] == [f"s{n:02}" for n in range(20)]
    assert [one.name for one in client.schedules.list(limit=3)] == ["s00", "s01", "s02"]


def test_pages(client: Client, monkeypatch: pytest.MonkeyPatch):
    from dispatch_grpc.client import listing

    monkeypatch.setattr(listing, "_PAGE_SIZE", 2)
    for name in ("b", "a/x", "C", "a:1", "d"):
        client.schedules.create(name, CALL, every=HOUR)
    assert [one.name for one in client.schedules.list()] == ["C", "a/x", "a:1", "b", "d"]
    assert [one.name for one in client.schedules.list(limit=3)] == ["C", "a/x", "a:1"]


def test_an_update_changes_what_it_names(client: Client):
    start = datetime(2026, 1, 1, 0, 15, tzinfo=UTC)
    created = client.schedules.create("s", CALL, every=HOUR, start=start)
    assert all(time.minute == 15 for time in created.next_times)
    call = new_call("http://127.0.0.1:9", "other")
    updated = client.schedules.update("s", call=call, catch_up=HOUR)
    assert (updated.call, updated.catch_up, updated.start) == (call, HOUR, start)
    assert updated.next_times == created.next_times
    updated = client.schedules.update("s", cron="30 2 * * *", time_zone="Asia/Tokyo")
    assert (updated.every, updated.start, updated.time_zone) == (None, None, "Asia/Tokyo")
    assert all((time.hour, time.minute) == (17, 30) for time in updated.next_times)
    updated = client.schedules.update("s", time_zone="UTC")
    assert all((time.hour, time.minute) == (2, 30) for time in updated.next_times)
    client.schedules.pause("s")
    assert client.schedules.update("s", cron="@hourly").next_times == ()
    assert client.schedules.resume("s").next_times[0].minute == 0


def test_resuming_what_is_not_paused_changes_nothing(client: Client):
    created = client.schedules.create("s", CALL, every=HOUR)
    assert client.schedules.resume("s") == created


def test_a_start_in_the_future(client: Client):
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=400)
    created = client.schedules.create("s", CALL, every=HOUR, start=start)
    assert created.next_times[0] == start


# Bad input


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"cron": "61 * * * *"}, r"schedule\.cron: the field minute is not valid; got '61 "),
        ({"cron": "* * * * * *"}, r"schedule\.cron: five fields are required"),
        (
            {"cron": "@daily", "time_zone": "Mars/Base"},
            r"schedule\.time_zone: the IANA name .* such as Europe/Berlin, is required; "
            r"got 'Mars/Base'",
        ),
        ({"cron": "@daily", "time_zone": "../etc/passwd"}, r"schedule\.time_zone: "),
        ({"cron": "@daily", "time_zone": "Europe"}, r"schedule\.time_zone: "),
        ({"every": HOUR, "time_zone": "UTC"}, r"schedule\.time_zone: it is for cron only"),
        ({"cron": "@daily", "start": datetime(2026, 1, 1, tzinfo=UTC)}, r"start_time: it is for"),
        ({"every": SECOND / 2}, r"schedule\.every: from 1 s to 366 days .*; got 0 s and 5"),
        ({"every": timedelta(days=367)}, r"schedule\.every: from 1 s to 366 days"),
        ({"every": HOUR, "catch_up": SECOND}, r"schedule\.catch_up: from 10 s to 366 days"),
    ],
)
def test_what_the_service_refuses(client: Client, options: dict[str, Any], problem: str):
    with pytest.raises(InvalidArgumentError, match=problem):
        client.schedules.create("s", CALL, **options)
    assert not client.schedules.list()
    client.schedules.create("s", CALL, every=2 * HOUR)
    if "time_zone" not in options or "cron" in options:
        with pytest.raises(InvalidArgumentError, match=problem):
            client.schedules.update("s", **options)


def test_a_trigger_that_is_answered_without_an_id(driver: Driver):
    class Foreign:
        def __getattr__(self, name: str) -> Any:
            return self._answer  # every method of the service

        async def _answer(self, request: Any, ctx: Any) -> TriggerScheduleResponse:
            return TriggerScheduleResponse()

    service: Any = Foreign()
    with serve_app(ScheduleServiceASGIApplication(service, compressions=None)) as server:
        client = driver.client(server.url)
        with pytest.raises(ProtocolError, match=r"has no id: check the API URL"):
            driver.run(lambda: client.schedules.trigger("s"))


@pytest.mark.parametrize("name", ["with space", "ä", "x" * 201, "a\nb", "a\0b"])
def test_names(client: Client, name: str):
    for act in (
        lambda: client.schedules.create(name, CALL, every=HOUR),
        lambda: client.schedules.get(name),
        lambda: client.schedules.update(name, every=HOUR),
        lambda: client.schedules.pause(name),
        lambda: client.schedules.resume(name),
        lambda: client.schedules.trigger(name),
        lambda: client.schedules.delete(name),
    ):
        with pytest.raises(InvalidArgumentError, match=r"name: from 1 to 200 ASCII letters"):
            act()


def test_calls_that_are_refused(client: Client):
    call = new_call("http://169.254.169.254", "f")
    with pytest.raises(InvalidArgumentError, match=r"schedule\.call\.endpoint: link-local"):
        client.schedules.create("s", call, every=HOUR)
    call = new_call("http://x", "f", expiration=timedelta(days=400))
    with pytest.raises(InvalidArgumentError, match=r"schedule\.call\.expiration: at most"):
        client.schedules.create("s", call, every=HOUR)


def test_notes(client: Client):
    client.schedules.create("s", CALL, every=HOUR)
    with pytest.raises(InvalidArgumentError, match="note: at most 1000 characters"):
        client.schedules.pause("s", note="x" * 1001)
    with pytest.raises(InvalidArgumentError, match="note: a text without NUL"):
        client.schedules.pause("s", note="a\0b")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "one of cron and every is required"),
        ({"cron": "* * * * *", "every": HOUR}, "cron and every cannot be used together"),
        ({"cron": ""}, "cron: a non-empty str is required; got ''"),
        ({"cron": 3}, "cron: a non-empty str"),
        ({"cron": "\ud800"}, "cron: a non-empty str"),
        ({"every": 5}, "every: a timedelta above zero is required; got 5"),
        ({"every": timedelta(0)}, "every: a timedelta above zero"),
        ({"every": HOUR, "catch_up": -HOUR}, "catch_up: a timedelta above zero"),
        ({"every": HOUR, "overlap": "never"}, "overlap: one of skip, buffer_one, allow"),
        ({"every": HOUR, "overlap": "unknown"}, "overlap: one of skip, buffer_one, allow"),
        ({"every": HOUR, "start": datetime(2026, 1, 1)}, "start: a datetime with a time zone"),
    ],
)
def test_what_the_client_refuses(client: Client, options: dict[str, Any], problem: str):
    with pytest.raises(ConfigurationError, match=problem):
        client.schedules.create("s", CALL, **options)


def test_a_call_that_the_client_refuses(client: Client):
    call = new_call("http://x", "f")
    call.function = "1"
    with pytest.raises(InvalidCallError, match=r"call\.function: a name"):
        client.schedules.create("s", call, every=HOUR)
    with pytest.raises(InvalidCallError, match="call: a Call, as new_call makes it"):
        client.schedules.create("s", "call", every=HOUR)
    with pytest.raises(ConfigurationError, match="limit: an int of 1 or more"):
        client.schedules.list(limit=0)
    with pytest.raises(ConfigurationError, match="name: a non-empty str"):
        client.schedules.get("")


def test_a_rule_of_a_later_version():
    message: Any = ScheduleInfoMessage()
    message.schedule.overlap = 9
    assert ScheduleInfo.of(message).overlap is Overlap.UNKNOWN


# Firing


def outputs(client: Client, name: str) -> dict[str, str]:
    """The outputs of the calls that have finished, by their ticks."""
    return {
        call.scheduled_time.isoformat(): unmarshal(
            client.get(call.dispatch_id).message.result.output
        )
        for call in client.list(schedule=name, state="finished")
        if call.scheduled_time is not None
    }


def test_the_function_knows_the_tick(client: Client, endpoint: Endpoint):
    call = endpoint.functions["tick"].call()
    created = client.schedules.create("s", call, every=SECOND)
    until(lambda: len(outputs(client, "s")) >= 2)
    client.schedules.pause("s")
    found = outputs(client, "s")
    assert all(tick == output for tick, output in found.items())
    assert created.next_times[0].isoformat() in found


def test_a_workflow_knows_the_tick_on_every_run_and_its_calls_have_none(
    client: Client, endpoint: Endpoint
):
    client.schedules.create("s", endpoint.functions["tick_twice"].call(), every=HOUR)
    id = client.schedules.trigger("s")
    before, child, after = client.wait(id, timeout=30)
    tick = client.get(id).scheduled_time
    assert tick is not None
    assert (before, child, after) == (tick.isoformat(), None, tick.isoformat())


def test_other_calls_have_no_tick(client: Client, endpoint: Endpoint):
    id = client.dispatch(endpoint.functions["tick"].call())
    assert client.wait(id, timeout=30) is None
    info = client.get(id)
    assert (info.schedule, info.scheduled_time) == (None, None)


@pytest.fixture
def held(client: Client) -> Iterator[tuple[str, Callable[[], None]]]:
    """A function that runs until it is told to end."""
    endpoint, end = Endpoint("http://127.0.0.1:1", env={}), threading.Event()

    @endpoint.function
    def hold() -> None:
        end.wait(60)

    with serve_app(endpoint.app) as server:
        yield server.url, end.set
        end.set()


def test_a_tick_is_skipped_while_the_call_runs(
    client: Client, held: tuple[str, Callable[[], None]]
):
    url, end = held
    client.schedules.create("s", new_call(url, "hold"), every=SECOND)
    until(lambda: client.schedules.get("s").skipped >= 2)
    assert client.schedules.get("s").fired == 1
    with pytest.raises(RPCError, match=r"allows no overlap, and its call .* has not finished") as e:
        client.schedules.trigger("s")
    assert e.value.code is Code.FAILED_PRECONDITION
    end()
    until(lambda: client.schedules.get("s").fired >= 2)


def test_one_tick_waits_for_the_call(client: Client, held: tuple[str, Callable[[], None]]):
    url, end = held
    # No tick comes before the update: the first one would be of the rule before.
    client.schedules.create("s", new_call(url, "hold"), every=timedelta(days=300))
    client.schedules.update("s", every=timedelta(seconds=2), overlap="buffer_one")
    until(lambda: client.schedules.get("s").skipped >= 1)
    # No more ticks for long: what is fired now is the one that waits.
    info = client.schedules.update("s", every=timedelta(days=300))
    assert info.fired == 1
    assert info.firings[0].scheduled_time is not None
    assert info.buffered_time == info.firings[0].scheduled_time + timedelta(seconds=2)
    end()
    until(lambda: client.schedules.get("s").fired == 2, seconds=10)
    after = client.schedules.get("s")
    assert (after.buffered_time, after.firings[0].scheduled_time) == (None, info.buffered_time)


def test_a_tick_that_waits_is_skipped_by_a_pause(
    client: Client, held: tuple[str, Callable[[], None]]
):
    client.schedules.create("s", new_call(held[0], "hold"), every=SECOND, overlap="buffer_one")
    until(lambda: client.schedules.get("s").buffered_time)
    before = client.schedules.get("s")
    paused = client.schedules.pause("s")
    assert paused.buffered_time is None
    assert paused.skipped > before.skipped


def test_calls_overlap(client: Client, held: tuple[str, Callable[[], None]]):
    client.schedules.create("s", new_call(held[0], "hold"), every=SECOND, overlap="allow")
    until(lambda: client.schedules.get("s").fired >= 3)
    client.schedules.trigger("s")
    paused = client.schedules.pause("s")
    assert paused.skipped == 0
    assert len({one.dispatch_id for one in paused.firings}) == paused.fired
    client.schedules.delete("s")  # and what runs goes on
    assert client.get(paused.firings[0].dispatch_id).finish_time is None


def test_a_trigger_that_is_repeated_fires_once(
    client: Client, held: tuple[str, Callable[[], None]]
):
    client.schedules.create("s", new_call(held[0], "hold"), every=HOUR)
    ids = {client.schedules.trigger("s", idempotency_key="k") for _ in range(3)}
    assert len(ids) == 1
    held[1]()
    client.wait(*ids, timeout=30)
    assert {client.schedules.trigger("s", idempotency_key="k")} == ids
    assert client.schedules.get("s").fired == 1
    client.schedules.pause("s")
    assert client.schedules.trigger("s") not in ids  # also when it is paused


def test_a_paused_schedule_fires_nothing(client: Client, endpoint: Endpoint):
    call = endpoint.functions["tick"].call()
    for name in ("paused", "witness"):
        client.schedules.create(name, call, every=SECOND, overlap="allow")
    paused = client.schedules.pause("paused")
    until(lambda: client.schedules.get("witness").fired >= 3)
    after = client.schedules.get("paused")
    assert (after.fired, after.missed, after.skipped) == (paused.fired, 0, paused.skipped)
    resumed = client.schedules.resume("paused")
    until(lambda: client.schedules.get("paused").fired > paused.fired)
    ticks = {one.scheduled_time for one in client.schedules.get("paused").firings}
    new = ticks - {one.scheduled_time for one in after.firings}
    assert all(one is not None and one >= resumed.next_times[0] for one in new)
