"""dispatch-py's client and functions on this service, signed: `make test-peers`.

In a venv of its own, since the two distributions exclude each other.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from dispatch_grpc import Client
from dispatch_grpc.endpoint.keys import new_key_pair
from tests import hostile
from tests.conftest import KEY, data_dir, run_service
from tests.waiting import until

PYTHON = os.environ.get("PEER_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="`make test-peers` runs these")
PROGRAM = Path(__file__).with_name("endpoint.py")
TIMEOUT = timedelta(seconds=60)
RESULTS = {
    "double": 42,
    "gathers": 380,
    "takes_any": 8,
    "races": 6,
    "nested": 8,
    "catches": "caught crosses",
    "awaits_in_turn": 8,
    "resets": 3,
}


@pytest.fixture(scope="module")
def peer() -> Iterator[tuple[Client, dict[str, str]]]:
    """A client of the service, and the ids of dispatch-py's calls by function."""
    pair = new_key_pair()
    with (
        data_dir() as folder,
        run_service(folder, api_keys=[KEY], signing_key=pair.signing_key) as service,
    ):
        command = [PYTHON, str(PROGRAM), str(hostile.unused_port()), pair.verification_key]
        env = {**os.environ, "DISPATCH_API_URL": service.url, "DISPATCH_API_KEY": KEY}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                ids = json.loads(process.stdout.readline())
                with Client(KEY, api_url=service.url, env={}) as client:
                    yield client, ids
            finally:
                process.kill()


@pytest.mark.parametrize("function", RESULTS)
def test_a_function_runs_to_its_end(peer: tuple[Client, dict[str, str]], function: str):
    client, ids = peer
    assert client.wait(ids[function], timeout=TIMEOUT) == RESULTS[function]


def test_an_exception_ends_its_call(peer: tuple[Client, dict[str, str]]):
    client, ids = peer
    until(lambda: client.get(ids["fails"]).error is not None)
    info = client.get(ids["fails"])
    assert not info.status.retryable
    assert info.error is not None
    assert info.error.message == "final"
