"""Dispatching calls, by every protocol and both clients, against a real server."""

import asyncio
import logging
import pickle
import re
import threading
import traceback
from datetime import timedelta

import pytest
from google.protobuf.any_pb2 import Any

from dispatch_grpc import (
    AsyncClient,
    AuthenticationError,
    Call,
    Client,
    ClientStateError,
    Code,
    ConfigurationError,
    DispatchError,
    InvalidCallError,
    MarshalError,
    RequestTooLargeError,
    RPCError,
    UnavailableError,
    marshal,
    new_call,
)
from dispatch_grpc.client import settings as client_settings
from dispatch_grpc.testing import CallRecorder, RecordedRequest, Server, serve
from tests import hostile
from tests.client.test_batch import milliseconds
from tests.conftest import KEY, PROTOCOLS, Driver

CALL = new_call("http://example.com", "myFunction", 23)


def test_the_guide(driver: Driver, dispatch_recorder: CallRecorder, dispatch_server: Server):
    client = driver.client(dispatch_server.url)
    call = new_call(
        "https://example.com/path?query=1",
        "module.function",
        marshal({"items": [1, 2.5, "é", None, True]}),
        expiration=timedelta(minutes=1, microseconds=7),
        version="v1",
        correlation_id=2**64 - 1,
    )
    dispatch_id = driver.dispatch(client, call)
    assert type(dispatch_id) is str
    assert [dispatch_id] == dispatch_recorder.requests[0].dispatch_ids
    dispatch_recorder.assert_requests(RecordedRequest([call]))


@pytest.mark.parametrize(
    "value",
    [None, True, 1, 2**64 - 1, 1.5, "text", b"bytes", timedelta(seconds=-1.5), [1], {"a": {}}],
    ids=repr,
)
def test_every_kind_of_input_arrives(
    driver: Driver, value: object, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    driver.dispatch(driver.client(dispatch_server.url), new_call("http://x", "f", value))
    assert dispatch_recorder.calls[0].input == marshal(value)


def test_metadata_of_a_request(
    driver: Driver, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    client = driver.client(dispatch_server.url, metadata={"X-Client": "one", "shared": "client"})
    driver.dispatch(client, CALL, metadata={"x-call": "two"})
    driver.dispatch(client, CALL, idempotency_key="my-own-key")
    first, second = (request.metadata for request in dispatch_recorder.requests)
    assert first["x-client"] == "one"
    assert first["x-call"] == "two"
    assert "x-call" not in second
    assert re.fullmatch("[0-9a-f]{32}", first["idempotency-key"])
    assert second["idempotency-key"] == "my-own-key"


def test_the_key_reaches_the_server(driver: Driver, dispatch_recorder: CallRecorder):
    with serve(dispatch_recorder, api_key=KEY) as server:
        driver.dispatch(driver.client(server.url), CALL)
        assert len(dispatch_recorder.requests) == 1
        assert "authorization" not in dispatch_recorder.requests[0].metadata


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        ({"api_key": "sk-wrong-999"}, "api_key="),
        ({"api_key": None, "env": {"DISPATCH_API_KEY": "sk-wrong-999"}}, "DISPATCH_API_KEY"),
    ],
)
def test_a_rejected_key(
    driver: Driver,
    settings: dict[str, object],
    source: str,
    dispatch_recorder: CallRecorder,
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.DEBUG, logger="dispatch_grpc")
    with serve(dispatch_recorder, api_key=KEY) as server:
        client = driver.client(server.url, **settings)
        with pytest.raises(AuthenticationError, match=re.escape(source)) as caught:
            driver.dispatch(client, CALL)
    assert caught.value.code is Code.UNAUTHENTICATED
    assert "sk-********" in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value)) + repr(client) + caplog.text
    assert "dispatching 1 call failed" in caplog.text
    assert "wrong-999" not in shown
    assert not dispatch_recorder.requests


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.UNAUTHENTICATED])
def test_every_code_arrives(
    driver: Driver, code: Code, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    dispatch_recorder.fail_next(code, 'the "reason"')
    client = driver.client(dispatch_server.url, retry=None)
    with pytest.raises(RPCError) as caught:
        driver.dispatch(client, CALL, idempotency_key="key")
    assert caught.value.code is code
    assert 'the "reason"' in str(caught.value)
    assert caught.value.idempotency_key == "key"
    assert len(dispatch_recorder.refused) == 1
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy), copy.code) == (type(caught.value), str(caught.value), code)


def test_a_call_of_the_wrong_kind_is_not_sent(
    driver: Driver, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    client = driver.client(dispatch_server.url)
    for wrong in (None, "call", Call(), Call(endpoint="ftp://x", function="f")):
        with pytest.raises(InvalidCallError, match=r"^calls\[0\]"):
            driver.dispatch(client, wrong)
    for options in (
        {"idempotency_key": ""},
        {"idempotency_key": "two words"},
        {"timeout": timedelta(0)},
        {"timeout": -5},
        {"timeout": "5"},
        {"timeout": True},
        {"timeout": float("nan")},
        {"metadata": {"authorization": "Bearer other"}},
        {"metadata": {"idempotency-key": "x"}},
        {"metadata": {"grpc-timeout": "1S"}},
        {"metadata": {"a b": "x"}},
        {"metadata": {"a": "x\ny"}},
        {"metadata": {"a-bin": "x"}},
        {"metadata": ["a"]},
    ):
        with pytest.raises(ConfigurationError, match=r"idempotency_key|timeout|metadata"):
            driver.dispatch(client, CALL, **options)
    assert not dispatch_recorder.requests


def test_a_request_above_our_own_bound_is_not_sent(
    driver: Driver, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    client = driver.client(dispatch_server.url, max_message_bytes=1000)
    with pytest.raises(RequestTooLargeError, match=r"\(10\d\d bytes\) is larger than the 1000 "):
        driver.dispatch(client, new_call("http://x", "f", b"." * 1000))
    assert not dispatch_recorder.requests


def test_a_request_above_the_bound_of_the_service(driver: Driver, dispatch_recorder: CallRecorder):
    with serve(dispatch_recorder, max_request_bytes=1000) as server:
        client = driver.client(server.url, retry=None)
        batch = client.batch()
        batch.add(*[new_call("http://x", "f", b"." * 600)] * 2)
        with pytest.raises(
            RequestTooLargeError, match=r"\(\d{4} bytes\) is larger than the 1000 bytes that http"
        ):
            driver.dispatch(batch)
    assert len(batch) == 2
    assert not dispatch_recorder.requests


@pytest.mark.parametrize(
    ("code", "message", "limit"),
    [
        (Code.RESOURCE_EXHAUSTED, "Received message larger than max (70 vs. 60)", "60"),
        (Code.RESOURCE_EXHAUSTED, "message size 70 is larger than configured max 60", "60"),
        (Code.RESOURCE_EXHAUSTED, "message is larger than configured max 60", "60"),
        (Code.RESOURCE_EXHAUSTED, "the backlog is larger than max 60", None),
        (Code.INVALID_ARGUMENT, "message is larger than configured max 60", None),
    ],
)
def test_what_servers_say_of_large_requests(
    driver: Driver, code: Code, message: str, limit: str | None, dispatch_recorder, dispatch_server
):
    dispatch_recorder.fail_next(code, message)
    with pytest.raises(RPCError, match=re.escape(message)) as caught:
        driver.dispatch(driver.client(dispatch_server.url, retry=None), CALL)
    assert isinstance(caught.value, RequestTooLargeError) == (limit is not None)
    if limit is not None:
        assert f"larger than the {limit} bytes that" in str(caught.value)


def test_large_requests_and_answers(
    driver: Driver, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    batch = driver.client(dispatch_server.url).batch()
    calls = [new_call("http://x", "f", b"." * 200) for _ in range(10_000)]
    batch.add(*calls)
    ids = driver.dispatch(batch)
    assert len(set(ids)) == 10_000
    assert list(ids) == dispatch_recorder.requests[0].dispatch_ids


def test_no_deadline(driver: Driver, dispatch_recorder: CallRecorder, dispatch_server: Server):
    """Without a deadline none is sent, neither by the client's timeout nor by the call's."""
    client = driver.client(dispatch_server.url, timeout=None)
    driver.dispatch(client, CALL)
    driver.dispatch(client, CALL, timeout=timedelta(seconds=30))
    driver.dispatch(driver.client(dispatch_server.url), CALL, timeout=None)
    driver.dispatch(client, CALL, timeout=timedelta.max)  # later than gRPC can tell
    header = "grpc-timeout" if driver.protocol == "grpc" else "connect-timeout-ms"
    sent = [request.metadata.get(header) for request in dispatch_recorder.requests]
    assert [value is None for value in sent] == [True, False, True, False]


def test_an_input_of_a_type_that_json_cannot_show(
    driver: Driver, dispatch_recorder, dispatch_server
):
    """JSON needs the definition of every type in an Any; binary does not."""
    call = new_call("http://x", "f", Any(type_url="example.com/not.Known", value=b"1"))
    client = driver.client(dispatch_server.url)
    if driver.protocol == "connect+json":
        with pytest.raises(MarshalError, match=r"has no JSON form: .*not\.Known"):
            driver.dispatch(client, call)
        assert not dispatch_recorder.requests
    else:
        driver.dispatch(client, call)
        (found,) = dispatch_recorder.calls
        assert found.SerializeToString() == call.SerializeToString()


def test_a_closed_client(driver: Driver, dispatch_recorder: CallRecorder, dispatch_server: Server):
    client = driver.client(dispatch_server.url)
    driver.dispatch(client, CALL)
    driver.run(client.close)
    driver.run(client.close)
    with pytest.raises(ClientStateError, match="closed"):
        driver.dispatch(client, CALL)
    assert len(dispatch_recorder.requests) == 1


def test_a_closed_client_is_not_entered_and_makes_no_batch(driver: Driver):
    client = driver.client("http://127.0.0.1:1")
    driver.run(client.close)
    with pytest.raises(ClientStateError, match="the client is closed"):
        client.batch()
    with pytest.raises(ClientStateError, match="the client is closed"):
        driver.run(client.__aenter__ if driver.is_async else client.__enter__)


def test_timeouts_in_seconds(
    driver: Driver, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    client = driver.client(dispatch_server.url, timeout=1000)
    driver.dispatch(client, CALL)
    driver.dispatch(client, CALL, timeout=50.5)
    batch = client.batch()
    batch.add(CALL)
    driver.dispatch(batch, timeout=0.5 + 50)
    header = "grpc-timeout" if driver.protocol == "grpc" else "connect-timeout-ms"
    sent = [milliseconds(request.metadata[header]) for request in dispatch_recorder.requests]
    assert sent == pytest.approx([1_000_000, 50_500, 50_500], rel=0.1)  # gRPC rounds


def test_passwords_in_the_url_of_an_endpoint_are_masked(driver: Driver):
    client = driver.client("http://127.0.0.1:1")
    for url in (
        "https://me:hidden@host/ path",
        "https://me:hid/den@host/ path",
        "https://me:hid den@host",
        "https://me:hid#den@host/ path",
        "ftp://me:hidden@host",
    ):
        with pytest.raises(InvalidCallError, match=r"//\*{8}@host") as caught:
            new_call(url, "f")
        assert "hid" not in str(caught.value)
        with pytest.raises(InvalidCallError, match=r"//\*{8}@host") as caught:
            driver.dispatch(client, Call(endpoint=url, function="f"))
        assert "hid" not in str(caught.value)


def test_the_default_url(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, dispatch_recorder: CallRecorder
):
    """Nothing answers at the default URL: its errors say what to do instead."""
    remedy = r"'dispatch-grpc serve' and set DISPATCH_API_URL to its URL, or pass api_url="
    monkeypatch.setattr(
        client_settings, "DEFAULT_API_URL", f"http://127.0.0.1:{hostile.unused_port()}"
    )
    client = driver.client(None, retry=None)
    with pytest.raises(UnavailableError, match=f"is not available.*{remedy}"):
        driver.dispatch(client, CALL)
    with hostile.serving(hostile.plain(404, b"<!doctype html>", "text/html")) as server:
        monkeypatch.setattr(client_settings, "DEFAULT_API_URL", server.url)
        with pytest.raises(RPCError, match=f"not a Dispatch service.*{remedy}"):
            driver.dispatch(driver.client(""), CALL)
    with serve(dispatch_recorder, api_key="another") as served:
        monkeypatch.setattr(client_settings, "DEFAULT_API_URL", served.url)
        with pytest.raises(AuthenticationError) as caught:
            driver.dispatch(driver.client(None), CALL)
        assert "dispatch-grpc serve" not in str(caught.value)
    with pytest.raises(UnavailableError) as unavailable:
        driver.dispatch(driver.client(f"http://127.0.0.1:{hostile.unused_port()}"), CALL)
    assert "dispatch-grpc serve" not in str(unavailable.value)


def test_context_managers(protocol: str, dispatch_recorder: CallRecorder, dispatch_server: Server):
    options = {"api_url": dispatch_server.url, "protocol": protocol}
    with Client(KEY, **options) as client:
        client.dispatch(CALL)
    with pytest.raises(ClientStateError):
        client.dispatch(CALL)

    async def main() -> None:
        async with AsyncClient(KEY, **options) as client:
            await client.dispatch(CALL)
        with pytest.raises(ClientStateError):
            await client.dispatch(CALL)

    asyncio.run(main())
    assert len(dispatch_recorder.requests) == 2


def test_many_threads_share_a_client(
    protocol: str, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    ids: list[str] = []
    with Client(KEY, api_url=dispatch_server.url, protocol=protocol) as client:

        def work(number: int) -> None:
            ids.extend(client.dispatch(new_call("http://x", "f", number)) for _ in range(10))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(ids)) == 160
    assert len(dispatch_recorder.requests) == 160


def test_many_tasks_share_a_client(
    protocol: str, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    async def main() -> list[str]:
        async with AsyncClient(KEY, api_url=dispatch_server.url, protocol=protocol) as client:
            return await asyncio.gather(*[client.dispatch(CALL) for _ in range(200)])

    assert len(set(asyncio.run(main()))) == 200


def test_an_async_client_belongs_to_one_event_loop(protocol: str, dispatch_server: Server):
    client = AsyncClient(KEY, api_url=dispatch_server.url, protocol=protocol)

    async def first() -> None:
        await client.dispatch(CALL)

    async def second() -> None:
        with pytest.raises(ClientStateError, match="another event loop"):
            await client.dispatch(CALL)

    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(first())
        other.run(second())
        one.run(first())
        one.run(client.close())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_cancelled_task_stays_cancelled(protocol: str):
    async def main(url: str) -> None:
        async with AsyncClient(KEY, api_url=url, protocol=protocol) as client:
            batch = client.batch()
            batch.add(CALL)
            for awaitable in (client.dispatch(CALL), batch.dispatch()):
                task = asyncio.ensure_future(awaitable)
                await asyncio.sleep(0.2)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert len(batch) == 1

            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.1):
                    await client.dispatch(CALL)
            assert not isinstance(caught.value, DispatchError)

    with hostile.serving(hostile.hangs) as server:
        asyncio.run(main(server.url))


def test_dispatches_are_logged_without_the_key(
    driver: Driver, dispatch_server: Server, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, logger="dispatch_grpc")
    dispatch_id = driver.dispatch(driver.client(dispatch_server.url), CALL)
    assert dispatch_id in caplog.text
    assert KEY not in caplog.text


def test_a_channel_of_the_caller_is_used_and_left_open(
    dispatch_recorder: CallRecorder, dispatch_server: Server
):
    import grpc

    authority = dispatch_server.url.removeprefix("http://")
    channel = grpc.insecure_channel(authority)
    for _ in range(2):
        with Client(KEY, api_url=dispatch_server.url, channel=channel) as client:
            client.dispatch(CALL)
    channel.close()
    with Client(KEY, api_url=dispatch_server.url, channel=channel) as client:
        with pytest.raises(ClientStateError, match="channel"):
            client.dispatch(CALL)

    async def main() -> None:
        channel = grpc.aio.insecure_channel(authority)
        for _ in range(2):
            async with AsyncClient(KEY, api_url=dispatch_server.url, channel=channel) as client:
                await client.dispatch(CALL)
        await channel.close()
        async with AsyncClient(KEY, api_url=dispatch_server.url, channel=channel) as client:
            with pytest.raises(ClientStateError, match="channel"):
                await client.dispatch(CALL)

    asyncio.run(main())
    assert len(dispatch_recorder.requests) == 4
