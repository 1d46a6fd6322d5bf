"""What the tests share: one way to drive the sync and the async client, over each protocol."""

import asyncio
import contextlib
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dispatch_grpc import AsyncClient, Client

# What a shell runs in its background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROTOCOLS = ("grpc", "connect", "connect+json")
KEY = "sk-test-0123456789"


# Their tests kill, freeze and cut processes and connections, which takes minutes. They run once:
# `make test-lowest` and `make test-newest` leave them out.
SLOW_FILES = {
    "cli/test_serve_processes.py",
    "operations/test_rolling_upgrade.py",
    "service/test_chaos.py",
    "service/test_database_faults.py",
    "service/test_embedded.py",
    "service/test_embedded_sharing.py",
    "service/test_faults.py",
    "service/test_host_faults.py",
    "service/test_outages.py",
    "transport/test_silent.py",
    "transport/test_waits.py",
    "workflow/test_through_service.py",
    "service/test_wire.py",
    "producers/test_kills.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow."""
    for item in items:
        if "/".join(item.path.parts[-2:]) in SLOW_FILES:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in the captured logs, which a worker cannot send."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long texts by their argument: keys differ from worker to worker."""
    return argname if isinstance(val, str | bytes) and len(val) > 100 else None


def parameter_id(value: object) -> str:
    """Name a parameter by its repr without addresses, since every worker must find equal names."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class Driver:
    """Makes clients of one kind, and waits for what the async one returns."""

    def __init__(self, protocol: str, *, is_async: bool) -> None:
        self.protocol = protocol
        self.is_async = is_async
        self._runner = asyncio.Runner() if is_async else None
        self._clients: list[Any] = []

    def client(self, api_url: str | None, api_key: str | None = KEY, **settings: Any) -> Any:
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


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that runs: its API URL, and a key that it takes."""

    url: str
    api_key: str


@contextlib.contextmanager
def run_service(data_dir: Path, **settings: Any) -> Iterator[RunningService]:
    """Run a service with its embedded database, in a thread with an event loop of its own.

    Whatever goes wrong in the thread, at the start or at the end, is raised here.
    """
    from dispatch_grpc.service import Service, ServiceSettings

    started: Future[tuple[RunningService, Callable[[], object]]] = Future()
    ended: Future[None] = Future()

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        options = {"data_dir": data_dir, "port": 0, **settings}
        async with Service.open(ServiceSettings(**options)) as service:
            running = RunningService(service.url, service.api_keys[0])
            started.set_result((running, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            (ended if started.done() else started).set_exception(error)
        else:
            ended.set_result(None)

    threading.Thread(target=run, name="service", daemon=True).start()
    running, stop = started.result(60)
    try:
        yield running
    finally:
        with contextlib.suppress(RuntimeError):  # its loop has ended: `ended` tells why
            stop()
        ended.result(60)


@contextlib.contextmanager
def data_dir() -> Iterator[Path]:
    """A folder for an embedded database.

    Not one of pytest's, to which every session that begins denies other users the access: root
    has PostgreSQL run as another user, also while a second session begins.
    """
    with tempfile.TemporaryDirectory(prefix="dispatch-grpc-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    """One running service for the tests of a module. The calls of other tests are in it too.

    Not for the session: its queue draws from Python's shared random numbers in the background,
    which Hypothesis does not allow while property tests run.
    """
    with data_dir() as folder, run_service(folder) as running:
        yield running
