"""Health and reflection of the service, asked by the tools that people of gRPC use."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.conftest import data_dir, run_service
from tests.polyglot.conftest import require
from tests.polyglot.languages import run

pytestmark = pytest.mark.timeout(600)
GRPCURL = ("go", "run", "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3", "-plaintext")
PROBE = ("go", "run", "github.com/grpc-ecosystem/grpc-health-probe@v0.4.62")
KEY = "sk-test-0123456789"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a service."""
    require("go")
    with data_dir() as folder, run_service(folder, api_keys=[KEY]) as running:
        yield running.url.removeprefix("http://")


def test_grpcurl_lists_the_services(address: str):
    assert run(*GRPCURL, address, "list").split() == [
        "dispatch.calls.v1.CallService",
        "dispatch.calls.v1.ScheduleService",
        "dispatch.sdk.v1.DispatchService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    shown = run(*GRPCURL, address, "describe")
    assert "rpc Dispatch ( .dispatch.sdk.v1.DispatchRequest )" in shown
    assert "service ServerReflection" in shown


def test_grpcurl_calls_a_method_and_shows_the_details_of_its_errors(address: str):
    method = (address, "dispatch.sdk.v1.DispatchService/Dispatch")
    key = ("-H", f"authorization: Bearer {KEY}")

    def data(endpoint: str) -> tuple[str, str]:
        return "-d", json.dumps({"calls": [{"endpoint": endpoint, "function": "f"}]})

    answer = json.loads(run(*GRPCURL, *key, *data("http://example.com"), *method))
    assert len(answer["dispatchIds"]) == 1
    done = subprocess.run(
        [*GRPCURL, *key, *data("bridge://x"), *method],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "InvalidArgument" in done.stderr
    assert '"@type":"type.googleapis.com/google.rpc.BadRequest"' in done.stderr.replace(": ", ":")
    assert "calls[0].endpoint" in done.stderr


@pytest.mark.parametrize("name", ["", "dispatch.calls.v1.CallService"])
def test_the_probe_of_grpc(address: str, name: str):
    done = subprocess.run(
        [*PROBE, f"-addr={address}", f"-service={name}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "status: SERVING" in done.stdout + done.stderr
    assert done.returncode == 0
