"""Closing a client: one behaviour, by every protocol, sync and async."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from dispatch_grpc import ClientStateError, new_call
from tests import hostile
from tests.conftest import Driver

CALL = new_call("http://example.com", "f")


def test_requests_under_way_end_in_an_error_with_their_key(driver: Driver):
    with hostile.serving(hostile.hangs) as server:
        client = driver.client(server.url, timeout=timedelta(seconds=60))
        keys = [f"key-{number}" for number in range(3)]
        start = time.monotonic()
        if driver.is_async:
            found: list[Any] = []

            async def dispatch(key: str) -> None:
                try:
                    await client.dispatch(CALL, idempotency_key=key)
                except ClientStateError as error:
                    found.append(error)

            async def main() -> None:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(dispatch(key)) for key in keys]
                    await asyncio.sleep(0.5)
                    await client.close()
                assert not any(task.cancelled() for task in tasks)

            driver.run(main)
        else:
            with ThreadPoolExecutor(3) as pool:
                futures = [pool.submit(client.dispatch, CALL, idempotency_key=key) for key in keys]
                timer = threading.Timer(0.5, client.close)
                timer.start()
                found = [error for future in futures if (error := future.exception(30))]
                timer.join()
        assert time.monotonic() - start < 20
        assert {type(error) for error in found} == {ClientStateError}
        assert {error.idempotency_key for error in found} == set(keys)
        assert {str(error) for error in found} == {
            "the client was closed while the request was under way"
        }


def test_a_task_that_is_cancelled_stays_cancelled(protocol: str):
    driver = Driver(protocol, is_async=True)
    with hostile.serving(hostile.hangs) as server:
        client = driver.client(server.url)

        async def main() -> bool:
            task = asyncio.create_task(client.dispatch(CALL))
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        assert driver.run(main)
    driver.close()


def test_a_closed_client_is_of_no_use(driver: Driver):
    client = driver.client("http://127.0.0.1:1")
    driver.run(client.close)
    driver.run(client.close)
    with pytest.raises(ClientStateError, match="the client is closed") as caught:
        driver.dispatch(client, CALL)
    assert caught.value.idempotency_key is None
    with pytest.raises(ClientStateError, match="the client is closed"):
        client.batch()
    with pytest.raises(ClientStateError, match="the client is closed"):
        driver.run(client.__aenter__ if driver.is_async else client.__enter__)
