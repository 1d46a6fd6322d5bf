"""Errors of requests that record a call have its idempotency key, to try again with it."""

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dispatch_grpc import ClientStateError, DeadlineExceededError
from tests.conftest import Driver

ACTS: dict[str, Callable[..., Any]] = {
    "rerun": lambda client, **options: client.rerun("id", **options),
    "trigger": lambda client, **options: client.schedules.trigger("s", **options),
}


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("act", ACTS)
def test_an_error_has_the_idempotency_key(driver: Driver, silent: str, act: str):
    client = driver.client(silent, retry=None, timeout=0.5)
    with pytest.raises(DeadlineExceededError) as caught:
        driver.run(lambda: ACTS[act](client, idempotency_key="k"))
    assert caught.value.idempotency_key == "k"
    with pytest.raises(DeadlineExceededError) as caught:
        driver.run(lambda: ACTS[act](client))
    assert re.fullmatch("[0-9a-f]{32}", caught.value.idempotency_key or "")


@pytest.mark.parametrize("act", ACTS)
def test_a_client_that_is_closed_meanwhile(driver: Driver, silent: str, act: str):
    client = driver.client(silent)

    async def both() -> None:
        task = asyncio.ensure_future(ACTS[act](client, idempotency_key="k"))
        await asyncio.sleep(0.3)
        await client.close()
        await task

    with pytest.raises(ClientStateError, match="closed while the request was under way") as caught:
        if driver.is_async:
            driver.run(both)
        else:
            timer = threading.Timer(0.3, client.close)
            timer.start()
            ACTS[act](client, idempotency_key="k")
    assert caught.value.idempotency_key == "k"
