"""What the tests share: one way to drive the sync and the async client, over each protocol."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dispatch_grpc import AsyncClient, Client

PROTOCOLS = ("grpc", "connect", "connect+json")
KEY = "sk-test-0123456789"


class Driver:
    """Makes clients of one kind, and waits for what the async one returns."""

    def __init__(self, protocol: str, *, is_async: bool) -> None:
        self.protocol = protocol
        self.is_async = is_async
        self._runner = asyncio.Runner() if is_async else None
        self._clients: list[Any] = []

    def client(self, api_url: str, api_key: str | None = KEY, **settings: Any) -> Any:
        """Make a client, which is closed at the end of the test."""
        cls = AsyncClient if self.is_async else Client
        client = cls(api_key, api_url=api_url, **{"protocol": self.protocol, "env": {}, **settings})
        self._clients.append(client)
        return client

    def run(self, call: Callable[[], Any]) -> Any:
        """Call a function; if it returns an awaitable, wait for it in this driver's event loop."""
        if self._runner is None:
            return call()

        async def main() -> Any:
            return await call()

        return self._runner.run(main())

    def dispatch(self, target: Any, *args: Any, **options: Any) -> Any:
        """Do `target.dispatch(…)`, of a client or a batch."""
        return self.run(lambda: target.dispatch(*args, **options))

    def close(self) -> None:
        for client in self._clients:
            self.run(client.close)
        if self._runner is not None:
            self._runner.close()


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    """Every protocol."""
    return str(request.param)


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest, protocol: str) -> Iterator[Driver]:
    """Every protocol, by the sync and by the async client."""
    driver = Driver(protocol, is_async=request.param == "async")
    yield driver
    driver.close()
