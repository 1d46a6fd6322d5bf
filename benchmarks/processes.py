"""The processes of the benchmarks, and the machine on which they run."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent


class Child:
    """A process of this package, and the line that it began with."""

    def __init__(self, pid: int, stdin: IO[str], stdout: IO[str]) -> None:
        self.pid, self._stdin, self._stdout = pid, stdin, stdout
        self.hello = json.loads(stdout.readline())

    def stay(self, core: int) -> None:
        """Keep to a core the main thread, and threads that it starts from now on."""
        if sys.platform == "linux":
            os.sched_setaffinity(self.pid, {core})

    def ask(self, name: str, loops: int) -> list[float]:
        self._stdin.write(json.dumps([name, loops]) + "\n")
        self._stdin.flush()
        samples: list[float] = json.loads(self._stdout.readline())
        return samples


@contextmanager
def started(
    python: Path | str, module: str, *arguments: str, path: Sequence[Path] = ()
) -> Iterator[Child]:
    """Start a process of this package, which ends when its input does.

    Args:
        python: Runs it.
        module: What it runs, of this package.
        arguments: Its arguments.
        path: Folders in which it looks for other packages before it looks here.
    """
    process = subprocess.Popen(
        [python, "-P", "-m", f"benchmarks.{module}", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT))),
            "no_proxy": "127.0.0.1",  # so that no proxy is asked for the way to this machine
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Child(process.pid, process.stdin, process.stdout)
        process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()


Start = Callable[..., Child]
"""Starts a process as `started` does; it ends with the benchmark."""


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used, on Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def show(versions: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
