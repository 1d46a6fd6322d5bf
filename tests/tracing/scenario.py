"""An order through all parts, each a process that exports its spans.

The client dispatches `order`, a workflow on our endpoint. A step of it dispatches `ship`; then it
calls `charge` on another endpoint, which fails at first. `dispatch-grpc serve` runs under
`opentelemetry-instrument`, with the SDK's console exporter.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.service.processes import KEY, Process
from tests.tracing.files import Found, spans_in
from tests.waiting import until

BIN = Path(sys.executable).parent


@contextmanager
def traced_service(folder: Path, *options: str) -> Iterator[tuple[str, Path]]:
    """The service as a team runs it; yields its URL, and the file with its spans."""
    command = [
        *(BIN / "opentelemetry-instrument", "--traces_exporter", "console"),
        *("--metrics_exporter", "none", "--logs_exporter", "none"),
        *(BIN / "dispatch-grpc", "serve", "--port", "0", "--data-dir", folder / "data"),
        *("--log-format", "json", *options),
    ]
    environment = {
        **os.environ,
        "DISPATCH_API_KEY": KEY,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "PYTHONUNBUFFERED": "1",
    }
    out, err = folder / "service.out", folder / "service.err"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment)
    try:

        def url() -> str | None:
            assert process.poll() is None, err.read_text()
            _, found, rest = out.read_text().partition('"message": "URL: ')
            return rest.partition('"')[0] if found else None

        yield until(url, problem=err.read_text), out
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(10)


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The log of the service, which is JSON."""
    return [json.loads(line) for line in (folder / "service.err").read_text().splitlines()]


def run(
    folder: Path, charges: str, ended: Callable[[list[Found]], bool], *options: str
) -> tuple[Any, ...]:
    """Run an order.

    Args:
        folder: A folder for files.
        charges: URL of the endpoint with `charge`.
        ended: Whether these are all spans.
        options: Options of the service.

    Returns:
        The output of the order, and the spans.
    """
    files = [folder / name for name in ("client", "endpoint")]
    with traced_service(folder, *options) as (url, third):
        env = {"DISPATCH_API_URL": url, "DISPATCH_API_KEY": KEY}
        endpoint = Process(sys.executable, "-m", "tests.tracing.hosted", str(files[1]), env=env)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "tests.tracing.client", files[0], endpoint.url, charges],
                env={**os.environ, **env},
                capture_output=True,
                text=True,
                timeout=110,
            )
            assert done.returncode == 0, done.stderr

            def names() -> list[str]:
                return [span.name for span in spans_in(*files, third)]

            until(lambda: ended(spans_in(*files, third)), problem=names)
        finally:
            endpoint.close()
    id, _, output = done.stdout.partition(" ")
    return id, output, spans_in(*files, third)
