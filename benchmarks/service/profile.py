"""A flame graph of the service."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.processes import Start
from benchmarks.service.load import KEY, Load
from benchmarks.service.postgres import Postgres
from benchmarks.service.table import rate

PROFILE = Path(tempfile.gettempdir()) / "dispatch-grpc-service.svg"
PROFILE_SECONDS = 20


def profile(server: Postgres, start: Start) -> None:
    """Have calls run, single ones and batches, and write a flame graph of the service."""
    endpoint = start(sys.executable, "service.endpoint").hello
    service = start(sys.executable, "service.process", server.url("ours"), KEY)
    load = Load(service.hello["url"], f"http://127.0.0.1:{endpoint}", server.watch_queue())
    command = ("record", "--pid", str(service.pid), "--format", "flamegraph", "--output", PROFILE)
    program = Path(sys.executable).with_name("py-spy")
    with subprocess.Popen([program, *command, "--duration", str(PROFILE_SECONDS)]) as recording:
        while recording.poll() is None:
            print(f"{rate(load.singles('grpc'))} single calls, {rate(load.complete())} in batches")
    if recording.returncode:
        sys.exit("py-spy could not record; on some systems it needs the rights of root")
    print(f"The flame graph is in {PROFILE}.")
