"""docs/observing.md: its commands for spans on a terminal are followed."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import data_dir
from tests.hostile import unused_port
from tests.waiting import until

PAGE = (Path(__file__).parents[2] / "docs/observing.md").read_text(encoding="utf-8")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
APP = """
from dispatch_grpc import Endpoint
endpoint = Endpoint("http://127.0.0.1:8000")

@endpoint.function
def greet(name: str) -> str:
    return f"Hello, {name}!"
"""


@contextmanager
def terminal(code: str, folder: Path, name: str, ready: str) -> Iterator[Path]:
    """Run a command in a terminal of its own until the end; the path is that of its output."""
    log = folder / name
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-euc", code],
            cwd=folder,
            env={**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: ready in log.read_text(), 120, problem=log.read_text)
        yield log
    finally:
        process.terminate()
        process.wait(60)


def test_the_spans_of_a_call_are_printed_in_each_terminal():
    (code,) = re.findall(r"^```\n(export OTEL_.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exports, serve, run, call = code.splitlines()
    port, address = unused_port(), f"127.0.0.1:{unused_port()}"
    with data_dir() as folder, ExitStack() as stack:
        folder.chmod(0o755)
        (folder / "app.py").write_text(APP.replace("127.0.0.1:8000", address))
        variables = f"DISPATCH_API_URL=http://127.0.0.1:{port} DISPATCH_ENDPOINT_ADDR={address}"
        before = f"{exports}\nexport {variables} DISPATCH_API_KEY=sk-test-0123456789\nexec "
        logs = [
            stack.enter_context(terminal(before + line, folder, name, ready))
            for line, name, ready in (
                (f"{serve} --port {port}", "service", "URL: "),
                (run, "endpoint", "serving 1 function"),
                (f"{call} --wait".replace("127.0.0.1:8000", address), "client", "Hello, Ada!"),
            )
        ]
        names = ("attempt greet", "run greet", "dispatch greet")
        for log, name in zip(logs, names, strict=True):
            until(lambda log=log, name=name: f'"name": "{name}"' in log.read_text(), 60)
        traces = [re.findall(r'"trace_id": "(0x\w+)"', log.read_text()) for log in logs]
        assert len({traces[0][0], traces[1][0], traces[2][0]}) == 1
