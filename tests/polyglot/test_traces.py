"""A trace from Python through the service and a workflow to Go, and a retry there."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import data_dir
from tests.polyglot.conftest import require
from tests.polyglot.languages import EXAMPLES, run
from tests.tracing import scenario
from tests.tracing.test_trace import check_order, is_all

pytestmark = pytest.mark.timeout(600)


def test_an_order_with_a_retry_in_go_is_one_trace(tmp_path: Path):
    require("go")
    program = tmp_path / "endpoint"
    source = Path(__file__).parent / "traced_endpoint.go"
    run("go", "build", "-o", program, source, cwd=EXAMPLES / "go")
    with (
        data_dir() as folder,
        subprocess.Popen([program], stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout
        url = process.stdout.readline().strip()
        try:
            id, output, spans = scenario.run(folder, url, is_all)
        finally:
            process.kill()
        charges = process.stdout.read().splitlines()
    assert output == "paid"
    check_order(id, spans, charges, error_type="unavailable")
