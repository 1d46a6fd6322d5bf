"""The pings of our gRPC clients, and the servers of grpc-go, which allow few of them."""

import logging
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from dispatch_grpc import DeadlineExceededError, new_call
from tests import hostile
from tests.conftest import Driver
from tests.polyglot.conftest import require
from tests.polyglot.languages import EXAMPLES, run
from tests.transport.test_silent import together

pytestmark = pytest.mark.timeout(600)
CALL = new_call("http://example.com", "f")


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of grpc-go with its defaults."""
    require("go")
    program = tmp_path_factory.mktemp("go") / "strict_server"
    source = Path(__file__).parent / "strict_server.go"
    run("go", "build", "-o", program, source, cwd=EXAMPLES / "go")
    with subprocess.Popen([program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.kill()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("count", [1, 5])
def test_they_are_kind_to_waits_and_slow_dispatches(
    strict_server: str, is_async: bool, count: int, caplog: pytest.LogCaptureFixture
):
    """No connection is closed for them."""
    caplog.set_level(logging.WARNING)
    driver = Driver("grpc", is_async=is_async)
    with hostile.silent_proxy(strict_server) as proxy:
        try:
            client = driver.client(proxy.url, timeout=timedelta(seconds=10))
            assert together(driver, [partial(client.dispatch, CALL)] * count) == ["0"] * count
            waits = [
                partial(client.wait_all, ["id"], timeout=10 + number, return_exceptions=True)
                for number in range(count)
            ]
            errors = [error for (error,) in together(driver, waits)]
        finally:
            driver.close()
        assert [type(error) for error in errors] == [DeadlineExceededError] * count
        assert proxy.connections == 1
    assert caplog.messages == []
