"""Delays, starts and labels: by both clients, over each protocol, on a real service."""

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatch_grpc import (
    AlreadyExistsError,
    CallState,
    Code,
    ConfigurationError,
    Endpoint,
    InvalidArgumentError,
    NotFoundError,
    RequestTooLargeError,
    UnavailableError,
    new_call,
)
from dispatch_grpc.testing import CallRecorder, RecordedRequest, Server
from tests.conftest import Driver, RunningService, parameter_id

CALL = new_call("http://127.0.0.1:9", "f", 1)
HOUR = timedelta(hours=1)


@pytest.fixture
def client(driver: Driver, service: RunningService) -> Any:
    return driver.client(service.url, service.api_key)


def get(driver: Driver, client: Any, id: str) -> Any:
    return driver.run(lambda: client.get(id))


def test_a_dispatch_with_a_delay_and_labels(driver: Driver, client: Any):
    before = datetime.now(UTC)
    ids = [
        driver.dispatch(client, CALL, delay=HOUR, labels={"a": driver.protocol}),
        driver.dispatch(client, CALL, delay=3600),
        driver.dispatch(client, CALL, delay=3600.0),
        driver.dispatch(client, CALL, at=before + HOUR),
    ]
    infos = [get(driver, client, id) for id in ids]
    for info in infos:
        assert info.state is CallState.QUEUED
        assert info.next_time == info.start_time
        assert abs(info.start_time - before - HOUR) < timedelta(minutes=5)
    assert infos[3].start_time == before + HOUR
    assert [info.labels for info in infos] == [{"a": driver.protocol}, {}, {}, {}]
    hash(infos[0])


def test_calls_are_listed_by_labels(driver: Driver, client: Any):
    mine = {"kind": driver.protocol, "async": str(driver.is_async)}
    ids = [driver.dispatch(client, CALL, labels={**mine, "n": str(n)}) for n in range(3)]
    found = driver.run(lambda: client.list(labels=mine))
    assert {info.dispatch_id for info in found} == set(ids)
    (one,) = driver.run(lambda: client.list(labels={**mine, "n": "1"}))
    assert (one.dispatch_id, one.labels) == (ids[1], {**mine, "n": "1"})
    assert driver.run(lambda: client.list(labels={"kind": "none"})) == []
    assert driver.run(lambda: client.list(labels={}, limit=1))
    with pytest.raises(ConfigurationError, match="labels: a key of 1 to 63"):
        driver.run(lambda: client.list(labels={"": ""}))


def test_a_batch_with_options_of_some_calls(driver: Driver, client: Any):
    batch = client.batch()
    batch.add(CALL)
    batch.add(CALL, CALL, delay=HOUR)
    batch.add(CALL, labels={"batch": "1"})
    batch.new_call("http://127.0.0.1:9", "g")
    ids = driver.dispatch(batch)
    infos = [get(driver, client, id) for id in ids]
    assert [info.function for info in infos] == ["f", "f", "f", "f", "g"]
    assert [info.start_time is not None for info in infos] == [False, True, True, False, False]
    assert [info.labels for info in infos] == [{}, {}, {}, {"batch": "1"}, {}]
    batch.add(CALL)
    (id,) = driver.dispatch(batch)  # without the options of those before
    assert get(driver, client, id).start_time is None


def test_a_failed_batch_keeps_its_options_and_its_key(driver: Driver, client: Any):
    batch = client.batch()
    batch.add(CALL, delay=HOUR)
    with pytest.raises(ConfigurationError):
        driver.dispatch(batch, metadata={"": ""})
    batch.add(CALL, labels={"added": "1"})
    ids = driver.dispatch(batch, idempotency_key=f"kept-{driver.protocol}-{driver.is_async}")
    infos = [get(driver, client, id) for id in ids]
    assert [info.start_time is not None for info in infos] == [True, False]
    assert [info.labels for info in infos] == [{}, {"added": "1"}]
    batch.add(CALL, delay=HOUR)
    batch.clear()
    batch.add(CALL)
    (id,) = driver.dispatch(batch)
    assert get(driver, client, id).start_time is None


def test_a_key_answers_the_same_id(driver: Driver, client: Any):
    options: Any = {"idempotency_key": f"{driver.protocol}-{driver.is_async}", "delay": HOUR}
    id = driver.dispatch(client, CALL, **options)
    assert driver.dispatch(client, CALL, **options) == id
    with pytest.raises(AlreadyExistsError):
        driver.dispatch(client, CALL, **{**options, "delay": 2 * HOUR})


def test_a_refusal_names_the_field(driver: Driver, client: Any):
    call = new_call("http://127.0.0.1:9", "f", expiration=timedelta(seconds=1))
    with pytest.raises(InvalidArgumentError, match=r"submissions\[0\]\.delay: the call would") as e:
        driver.dispatch(client, call, delay=2)
    assert "expiration" in str(e.value)
    assert e.value.idempotency_key


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"delay": -1},
            "delay: a timedelta or a number of seconds, zero or more, is required; got",
        ),
        ({"delay": timedelta(microseconds=-1)}, "delay: a timedelta"),
        ({"delay": math.nan}, "delay: a timedelta"),
        ({"delay": math.inf}, "delay: a timedelta"),
        ({"delay": True}, "delay: a timedelta"),
        ({"delay": "1h"}, "delay: a timedelta"),
        ({"at": datetime(2030, 1, 1)}, "at: a datetime with a time zone is required; got"),
        ({"at": "2030-01-01"}, "at: a datetime with a time zone is required"),
        (
            {"at": datetime(2030, 1, 1, tzinfo=UTC), "delay": 1},
            "delay and at cannot be used together",
        ),
        ({"labels": {"a": 1}}, "labels['a']: a text of up to 255 bytes"),
        ({"labels": {"a": "\udcff"}}, "labels['a']: a text of up to 255 bytes"),
        ({"labels": {1: "a"}}, "labels: a key of 1 to 63"),
        ({"labels": ["a"]}, "labels: a mapping of str to str is required; got list"),
    ],
    ids=parameter_id,
)
def test_an_invalid_option_sends_nothing(
    driver: Driver,
    dispatch_server: Server,
    dispatch_recorder: CallRecorder,
    options: Any,
    reason: str,
):
    client = driver.client(dispatch_server.url)
    with pytest.raises(ConfigurationError) as caught:
        driver.dispatch(client, CALL, **options)
    assert str(caught.value).startswith(reason)
    batch = client.batch()
    with pytest.raises(ConfigurationError):
        batch.add(CALL, **options)
    assert len(batch) == 0
    assert not dispatch_recorder.requests


def test_a_service_that_has_no_submit(
    driver: Driver, dispatch_server: Server, dispatch_recorder: CallRecorder
):
    client = driver.client(dispatch_server.url)
    some: list[dict[str, Any]] = [{"delay": 1}, {"labels": {}}]
    for options in some:
        with pytest.raises(NotFoundError) as caught:
            driver.dispatch(client, CALL, **options)
        assert caught.value.code is Code.UNIMPLEMENTED
        assert str(caught.value).startswith(f"{dispatch_server.url} cannot delay or label calls (")
        assert "nothing was recorded" in str(caught.value)
    assert not dispatch_recorder.requests
    driver.dispatch(client, CALL)  # without options nothing has changed
    dispatch_recorder.assert_requests(RecordedRequest([CALL]))


def test_other_errors_are_those_of_a_dispatch(driver: Driver, service: RunningService):
    small = driver.client(service.url, service.api_key, max_message_bytes=100)
    with pytest.raises(RequestTooLargeError, match="the request of 1 call "):
        driver.dispatch(small, new_call("http://x", "f", "a" * 100), delay=1)
    away = driver.client("http://127.0.0.1:9", retry=None)
    with pytest.raises(UnavailableError) as caught:
        driver.dispatch(away, CALL, delay=1)
    assert caught.value.idempotency_key


def test_options_of_a_function(service: RunningService):
    env = {"DISPATCH_API_KEY": service.api_key, "DISPATCH_API_URL": service.url}
    endpoint = Endpoint("http://127.0.0.1:9", env=env)

    @endpoint.function
    def f(x: int) -> int:
        return x

    later = f.with_options(delay=HOUR, labels={"order": "o1"})
    client = endpoint.client()
    info = client.get(later.dispatch(1))
    assert (info.labels, info.start_time is not None) == ({"order": "o1"}, True)
    info = client.get(later.with_options(delay=None, at=None, labels={}).dispatch(1))
    assert (info.labels, info.start_time) == ({}, None)
    client.close()

    async def main() -> Any:
        async with endpoint.async_client() as client:
            return await client.get(await later.dispatch_async(1))

    assert asyncio.run(main()).labels == {"order": "o1"}
