"""A service with an endpoint whose functions fail as they are told."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dispatch_grpc import Client, Endpoint, PermanentError
from dispatch_grpc.primitives import RunRequest, RunResponse, exit_, poll, tail_call
from dispatch_grpc.testing import serve_app
from tests.conftest import RunningService
from tests.service.conftest import bench, embedded, end_databases, folder  # noqa: F401 (fixtures)


class Functions:
    """An endpoint. While `fails` is set, `charge` fails."""

    def __init__(self) -> None:
        self.endpoint = endpoint = Endpoint("http://127.0.0.1:1", env={})
        self.fails = threading.Event()
        self.runs: list[Any] = []
        self.release = threading.Event()

        @endpoint.function
        def charge(order: Any) -> str:
            self.runs.append(order)
            if self.fails.is_set():
                raise PermanentError(f"declined: {order}")
            return f"charged {order}"

        @endpoint.function
        def other(order: Any) -> int:
            self.runs.append(order)
            if self.fails.is_set():
                raise PermanentError("no")
            return 1

        @endpoint.function
        def hold() -> str:
            self.release.wait(60)
            return "released"

        @endpoint.primitive
        def parent(request: RunRequest) -> RunResponse:
            if request.HasField("input"):
                return poll([charge.call("child")], min_results=1)
            return exit_("the child has ended")

        @endpoint.primitive
        def hops(_: RunRequest) -> RunResponse:
            return tail_call(charge.call("the last"))

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        function = self.endpoint.functions[name]
        return (function.with_options(**options) if options else function).call(*args)


@pytest.fixture(scope="module")
def functions() -> Iterator[Functions]:
    found = Functions()
    with serve_app(found.endpoint.app) as server:
        found.endpoint.url = server.url
        yield found
        found.release.set()


@pytest.fixture
def failing(functions: Functions) -> Iterator[Functions]:
    """The same, while `charge` fails; the test says when no longer."""
    functions.fails.set()
    functions.runs.clear()
    yield functions
    functions.fails.clear()


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.api_key, api_url=service.url, env={}) as client:
        yield client
