"""A workflow that waits for functions of dispatch-py 0.8, in a virtual environment of its own."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatch_grpc import CallError, Client, Endpoint, new_call, workflow
from dispatch_grpc.testing import serve_app
from tests.conftest import data_dir, run_service
from tests.polyglot.languages import ROOT

PYTHON = ROOT / ".venv-peer" / "bin" / "python"

pytestmark = pytest.mark.skipif(
    "POLYGLOT_LANGS" not in os.environ, reason="`make test-polyglot` runs these"
)


@pytest.fixture
def peer() -> Iterator[str]:
    script = Path(__file__).with_name("dispatch_py_endpoint.py")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DISPATCH_")}
    with subprocess.Popen(
        [PYTHON, script],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, "the endpoint of dispatch-py did not start"
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_a_workflow_waits_for_its_primitive(peer: str):
    ours = Endpoint("http://127.0.0.1:1", env={})

    @ours.workflow
    async def call_both(url: str, text: str) -> list[str]:
        found = await workflow.run(new_call(url, "shout", {"text": text}), str)
        try:
            await workflow.run(new_call(url, "ordinary", text))
        except CallError as error:
            return [found, error.message]
        return [found]

    with (
        data_dir() as folder,
        run_service(folder) as service,
        serve_app(ours.app) as server,
        Client(service.api_key, api_url=service.url) as client,
    ):
        ours.url = server.url
        found = client.wait(client.dispatch(call_both.call(peer, "hello")), list[str])
    assert found == ["HELLO!", "input does not hold arguments"]
