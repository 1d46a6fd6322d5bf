"""The service beside an earlier version of it, whose code comes from the history.

`python -m benchmarks.service earlier` takes the last version that recorded each request by itself
and served HTTP/2 by hypercorn; a commit as the next argument is another one.
"""

import asyncio
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.processes import ROOT, Child, Start, cpu_seconds
from benchmarks.service.completion import ONE_TASK_CALLS
from benchmarks.service.dispatches import TASKS, Dispatches
from benchmarks.service.load import KEY, SINGLE_CALLS, SINGLE_TASKS, Load
from benchmarks.service.neighbours import CALLS, CALLS_P50, Neighbours
from benchmarks.service.postgres import Postgres
from benchmarks.service.table import measure, milliseconds, rate, row

VERSION = "59481e7354c7e892bf31935f9870f9465379558a"
ROUNDS = 5


def extracted(version: str, folder: Path) -> Sequence[Path]:
    """Write the code of a version into a folder, and return where its packages are."""
    stubs = "generated/python"
    archive = subprocess.run(
        ["git", "archive", version, "dispatch_grpc", stubs],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder, folder / stubs


class Version:
    """A process of the service, and what asks it."""

    def __init__(self, process: Child, port: int, server: Postgres, database: str) -> None:
        self._pid = process.pid
        url, endpoint = process.hello["url"], f"http://127.0.0.1:{port}"
        self._load = Load(url, endpoint, server.watch_queue(database))
        self._one_by_one = Neighbours(url, KEY, endpoint)

    def by_grpc(self) -> float:
        """The time for a call of 64 tasks, to completion."""
        return self._load.singles("grpc")

    def by_connect(self) -> float:
        """The same by Connect."""
        return self._load.singles("connect")

    def one_task(self) -> float:
        """The time for a call of one task, to completion."""
        return self._load.singles("grpc", ONE_TASK_CALLS, 1)

    def cpu(self) -> float:
        """The CPU time that the service takes for a call of 64 tasks."""
        before = cpu_seconds(self._pid)
        self._load.singles("grpc")
        return (cpu_seconds(self._pid) - before) / SINGLE_CALLS

    def idle(self) -> float:
        """The time from a dispatch to its result, p50."""
        self._load.expect(CALLS)
        return self._one_by_one.times()[CALLS_P50]


def earlier(server: Postgres, start: Start) -> None:
    """Print the rows, each of which is measured in turns."""
    version = sys.argv[2] if sys.argv[2:] else VERSION
    port = start(sys.executable, "service.endpoint").hello
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = extracted(version, Path(folder))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))

        def side(database: str, path: Sequence[Path] = ()) -> tuple[Version, Dispatches]:
            url = server.url(database)
            process = start(sys.executable, "service.process", url, KEY, path=path)
            asked = Version(process, port, server, database)
            # An earlier version may have no pauses: neither has one.
            dispatches = Dispatches(runner, process.hello["url"], KEY, url, can_pause=False)
            stack.callback(dispatches.close)
            return asked, dispatches

        now, now_dispatches = side("ours")
        before, before_dispatches = side("earlier", path)
        print(f"| measured / at {version[:7]} | now | then | ratio (of rounds) | target | |")
        print("|---|--:|--:|--:|--:|---|", flush=True)

        def report(
            title: str,
            act: Callable[[Any], float],
            target: float,
            show: Callable[[float], str],
            *,
            at_most: bool = False,
            sides: Sequence[Any] = (now, before),
        ) -> None:
            samples = measure(
                ROUNDS, {"now": partial(act, sides[0]), "then": partial(act, sides[1])}
            )
            row(title, samples["now"], samples["then"], target, show, at_most=at_most)

        single = f"single calls of {SINGLE_TASKS} tasks"
        report(f"{single} by gRPC, to completion", Version.by_grpc, 4, rate)
        report(f"{single} by Connect, to completion", Version.by_connect, 3, rate)
        report("single calls of one task by gRPC, to completion", Version.one_task, 2.5, rate)
        title = f"CPU of the service, a call; {single} by gRPC"
        report(title, Version.cpu, 0.26, milliseconds, at_most=True)
        title = "dispatch to result on an idle service, p50"
        report(title, Version.idle, 1, milliseconds, at_most=True)
        dispatches = now_dispatches, before_dispatches
        title = f"{TASKS} single dispatches at once, a request each"
        report(title, Dispatches.at_once, 3, rate, sides=dispatches)
        title = "one dispatch alone, p50"
        report(title, Dispatches.alone, 1.05, milliseconds, at_most=True, sides=dispatches)
