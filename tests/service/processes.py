"""Processes of the service and of an endpoint, to be killed by tests."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

KEY = "sk-test-0123456789"
MINE = "application_name = 'dispatch-grpc' AND pid <> pg_backend_pid()"
"""The sessions of the service in pg_stat_activity, as SQL."""

SERVICE = """
import asyncio, json, logging, pathlib, sys, uvloop
from datetime import UTC, datetime, timedelta
from dispatch_grpc.service import Service, ServiceSettings, database, dequeue, worker
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.settings import Settings

logging.basicConfig(level=logging.INFO)
given = json.loads(sys.argv[1])
dequeue._LOOK_SECONDS = given.pop("look_seconds", dequeue._LOOK_SECONDS)
worker._READY_SECONDS = given.pop("ready_seconds", worker._READY_SECONDS)
ahead = timedelta(seconds=given.pop("ahead_seconds", 0))
database.local_now = lambda: datetime.now(UTC) + ahead
database.COMMAND_SECONDS = given.pop("command_seconds", database.COMMAND_SECONDS)
limits = Limits(
    first_backoff=timedelta(milliseconds=50),
    max_backoff=timedelta(milliseconds=500),
    max_pickups=given.pop("max_pickups", 5),
)
worker = Settings(
    heartbeat_timeout=timedelta(seconds=given.pop("heartbeat_seconds", 2)),
    shutdown_timeout=timedelta(seconds=given.pop("shutdown_seconds", 5)),
    run_timeout=timedelta(seconds=given.pop("run_seconds", 300)),
    limits=limits,
    concurrency=given.pop("concurrency", 256),
    host_concurrency=given.pop("host_concurrency", 128),
    batch_size=given.pop("batch_size", 100),
    memory=given.pop("memory", Settings().memory),
)
settings = ServiceSettings(
    data_dir=pathlib.Path(given.pop("data_dir")),
    worker=worker,
    api_keys=[given.pop("key")],
    **given,
)

async def main():
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(15, stop.set)
    async with Service.open(settings) as service:
        print(service.url, flush=True)
        await stop.wait()

# The loop that `dispatch-grpc serve` uses.
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


class Process:
    """A process that tells its URL as its first line."""

    def __init__(
        self, *command: str, env: dict[str, str] | None = None, log: Path | None = None
    ) -> None:
        with log.open("w") if log else nullcontext() as err:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            self.close()
            raise AssertionError("the process did not start")

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self, seconds: float = 30) -> int:
        """End it gracefully; returns its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def service_command(data_dir: Path, **settings: Any) -> list[str]:
    """The command of a process of the service."""
    given = json.dumps({"data_dir": str(data_dir), "port": 0, "key": KEY, **settings})
    return [sys.executable, "-c", SERVICE, given]


@contextmanager
def service(data_dir: Path, *, log: Path | None = None, **settings: Any) -> Iterator[Process]:
    """A process of the service; what it logs goes to a file if one is given."""
    process = Process(*service_command(data_dir, **settings), log=log)
    try:
        yield process
        process.stop()  # and with it the database, unless the process was killed
    finally:
        process.close()


class Restarted:
    """A process that is started again with the same arguments after it was killed.

    Args:
        folder: Folder for what it logs.
        name: Its name.
        command: Its command.
    """

    def __init__(self, folder: Path, name: str, command: Sequence[str]) -> None:
        self._folder, self._name, self._command = folder, name, command
        self._process: Process | None = None
        self._starts = 0
        self._lock = asyncio.Lock()

    @property
    def url(self) -> str:
        """The URL that it tells; while it runs."""
        assert self._process is not None
        return self._process.url

    async def start(self) -> None:
        """Start it, again and again while the database does not let it."""
        async with self._lock:
            while self._process is None:
                self._starts += 1
                log = self._folder / f"{self._name}-{self._starts}.log"
                with suppress(AssertionError):
                    self._process = await asyncio.to_thread(Process, *self._command, log=log)

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.process.send_signal(number)

    async def kill(self) -> None:
        async with self._lock:
            process, self._process = self._process, None
            if process is not None:
                await asyncio.to_thread(process.close)

    async def stop(self) -> int | None:
        """Have it end by itself; returns its exit code."""
        async with self._lock:
            process, self._process = self._process, None
            if process is None:
                return None
            try:
                return await asyncio.to_thread(process.stop)
            finally:
                process.close()


@contextmanager
def endpoint(log: Path, port: int = 0) -> Iterator[Process]:
    """A process of the endpoint in `hosted.py`; it notes in a file what it ran."""
    process = Process(sys.executable, "-m", "tests.service.hosted", str(log), str(port))
    try:
        yield process
    finally:
        process.close()
