"""An embedded database for the tests of the service, one for all of them."""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatch_grpc.service.database import Database
from tests.conftest import data_dir
from tests.service.browsing import browser, visit
from tests.service.page_calls import shown
from tests.service.processes import Process, endpoint

__all__ = ["browser", "shown", "visit"]  # fixtures


class Bench:
    """A database, and an event loop to use it in."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.folder = folder
        self.database = Database(None, folder)
        self.runner.run(self.database.open())

    def url(self, name: str = "postgres") -> str:
        """URL of a database, as another process would use it."""
        return f"postgresql://postgres@/{name}?host={self.folder / 'postgres'}"

    def run(self, act: Callable[[Any], Any]) -> Any:
        """Do something with a connection, in a transaction."""

        async def main() -> Any:
            async with self.database.transaction() as connection:
                return await act(connection)

        return self.runner.run(main())

    def clear(self) -> None:
        tables = "calls, finished, labels, minutes, requests, pgqueuer, pgqueuer_log"
        self.run(lambda c: c.execute(f"TRUNCATE {tables}"))

    def close(self) -> None:
        self.runner.run(self.database.close())
        self.runner.close()


@pytest.fixture(scope="session")
def embedded() -> Iterator[Bench]:
    """One embedded database for the session."""
    with data_dir() as folder:
        bench = Bench(folder)
        yield bench
        bench.close()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder whose path is short: some tests connect to the socket of a database by its path.

    That of pytest's own has the names of the user and of the test, and what TEMPROOT adds.
    """
    with tempfile.TemporaryDirectory(prefix="dispatch-grpc-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def end_databases(tmp_path: Path) -> Iterator[None]:
    """End the databases of services that were killed; a graceful end stops them itself."""
    yield
    for file in tmp_path.glob("*/postgres/postmaster.pid"):
        with contextlib.suppress(OSError):  # it may have ended just now
            os.kill(int(file.read_text().split()[0]), signal.SIGQUIT)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for embedded databases, that every user may enter, not one of pytest's."""
    with data_dir() as folder:
        folder.chmod(0o755)
        yield folder
        for file in folder.rglob("postmaster.pid"):  # a failed test has left a server
            with contextlib.suppress(OSError, ValueError):
                pid = int(file.read_text().split()[0])
                if os.path.samefile(f"/proc/{pid}/cwd", file.parent):
                    os.kill(pid, signal.SIGQUIT)


@pytest.fixture
def bench(embedded: Bench) -> Bench:
    """The embedded database, empty."""
    embedded.clear()
    return embedded


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The file in which the endpoint of `hosted` notes what it ran."""
    return tmp_path / "runs"


@pytest.fixture
def hosted(log: Path) -> Iterator[Process]:
    """An endpoint in a process of its own: see `hosted.py`."""
    with endpoint(log) as process:
        yield process
