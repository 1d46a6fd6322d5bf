"""The embedded database, as the tests of the service have it, and empty of schedules."""

from collections.abc import Iterator

import pytest

from tests.conftest import RunningService, data_dir, run_service
from tests.service.conftest import Bench, embedded, end_databases, hosted, log

__all__ = ["bench", "embedded", "end_databases", "hosted", "log", "served"]


@pytest.fixture
def bench(embedded: Bench) -> Iterator[Bench]:
    """The embedded database, empty."""
    embedded.clear()
    embedded.run(lambda c: c.execute("TRUNCATE schedules"))
    yield embedded
    embedded.runner.run(embedded.database.renew())  # a test may have cut its connections off


@pytest.fixture(scope="module")
def served() -> Iterator[RunningService]:
    """One running service for the tests of a module, with few schedules."""
    from dispatch_grpc.service.settings import Settings

    with data_dir() as folder, run_service(folder, worker=Settings(max_schedules=20)) as running:
        yield running
