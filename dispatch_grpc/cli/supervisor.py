"""Run several processes of the service on one port: `dispatch-grpc serve --processes N`.

The kernel spreads connections over the processes, by SO_REUSEPORT of Linux. The supervisor holds
the port, replaces processes that end unexpectedly, and tells all when to stop. It tells them over
pipes: if the supervisor itself is killed, the pipes close, and the processes stop gracefully.
A signal to all of them while a process starts waits until the process can heed it.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import click

from dispatch_grpc import ConfigurationError
from dispatch_grpc.cli.output import complain, print_lines
from dispatch_grpc.cli.service_process import (
    SIGNALS,
    Signals,
    announcement,
    how_ended,
    in_format,
    is_reloadable,
    log,
    loop_factory,
    run_service,
)
from dispatch_grpc.log import service_logger as logger

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from dispatch_grpc.service import ServiceSettings

_FIRST_BACKOFF, _MAX_BACKOFF = 1.0, 30.0  # seconds
_END_SECONDS = 15.0  # what a process needs to end beside its shutdown timeout


async def supervise(
    settings: "ServiceSettings", source: str, count: int, log_options: tuple[str, str]
) -> int:
    """Run processes of the service until a signal; returns the exit code."""
    from dispatch_grpc.service.api_keys import ApiKeys
    from dispatch_grpc.serving import sockets

    keys = ApiKeys(settings.api_keys, settings.api_key_file, settings.data_dir)
    made = next(iter(keys.load()))  # before the processes, which would all make one
    with (
        sockets.reserve(settings.host, settings.port) as reserved,
        tempfile.TemporaryDirectory(prefix="dispatch-grpc-metrics-") as metrics,
        Signals(is_reloadable=is_reloadable(settings)) as signals,
    ):
        settings = replace(settings, port=reserved.getsockname()[1], share_port=True)
        # The processes inherit it. By its files, each of them tells the metrics of all.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
        supervisor = _Supervisor(settings, log_options)

        def announce() -> None:
            signals.started = True
            signals.reload_by(supervisor.reload)
            lines = announcement(settings, settings.url, source, made if keys.made else None)
            print_lines(in_format(lines, log_options[1]))

        try:
            return await supervisor.run(count, announce, signals.stop)
        except asyncio.CancelledError as cancelled:
            return signals.exit_code(cancelled)


class _Supervisor:
    def __init__(self, settings: "ServiceSettings", log_options: tuple[str, str]) -> None:
        self._settings = settings
        self._log_options = log_options
        self._running: dict[int, tuple[SpawnProcess, Connection]] = {}  # by number
        self._stop = asyncio.Event()
        self._failed = False

    async def run(self, count: int, announce: Callable[[], None], stop: asyncio.Event) -> int:
        """Keep processes running until `stop` is set; returns the exit code."""
        ready = [asyncio.Event() for _ in range(count)]
        keeping = [asyncio.create_task(self._keep(n, ready[n])) for n in range(count)]
        try:
            for event in ready:
                await event.wait()
            if not self._failed:
                announce()
                await stop.wait()
            self._stop.set()
            self._tell("stop")
            seconds = self._settings.worker.shutdown_timeout.total_seconds() + _END_SECONDS
            await asyncio.wait(keeping, timeout=seconds)
        finally:
            self._stop.set()
            self._tell("cancel")
            with suppress(asyncio.CancelledError):  # the second signal; this takes seconds at most
                await asyncio.wait(keeping, timeout=_END_SECONDS)
            for process, _ in self._running.values():
                logger.error("the process %d does not end: it is killed", process.pid)
                process.kill()
            await asyncio.gather(*keeping)
        return 1 if self._failed else 0

    def reload(self) -> None:
        """Have all processes load again what is in files."""
        self._tell("reload")

    def _tell(self, word: str) -> None:
        for _, connection in self._running.values():
            with suppress(OSError):  # it has ended
                connection.send(word)

    async def _keep(self, number: int, ready: asyncio.Event) -> None:
        """Run a process, again and again, until the supervisor stops."""
        from prometheus_client.multiprocess import mark_process_dead

        loop = asyncio.get_running_loop()
        backoff = _FIRST_BACKOFF
        while not self._stop.is_set():
            began = loop.time()
            try:
                process = await self._run(number, ready)
            except OSError as error:
                code, what = 0, f"a process cannot start: {error}"
            else:
                mark_process_dead(process.pid)
                code = process.exitcode or 0
                when = "unexpectedly" if ready.is_set() else "before it had started"
                what = f"the process {process.pid} ended {when} ({how_ended(code)})"
            if self._stop.is_set():
                break
            if not ready.is_set():
                if code <= 0:  # else it has said why
                    logger.error(what)
                self._failed = True
                ready.set()
                break
            if loop.time() - began > _MAX_BACKOFF:
                backoff = _FIRST_BACKOFF
            logger.warning("%s; another one starts in %g s", what, backoff)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), backoff)
            backoff = min(2 * backoff, _MAX_BACKOFF)

    async def _run(self, number: int, ready: asyncio.Event) -> "SpawnProcess":
        """Run a process until it ends."""
        loop = asyncio.get_running_loop()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(self._settings, self._log_options, theirs))
        with theirs, _held_back():
            process.start()
        ended = asyncio.Event()

        def hear() -> None:
            try:
                ours.recv()  # that it is ready
            except (EOFError, OSError):
                loop.remove_reader(ours.fileno())
            else:
                ready.set()

        loop.add_reader(ours.fileno(), hear)
        loop.add_reader(process.sentinel, ended.set)
        self._running[number] = process, ours
        try:
            await ended.wait()
        finally:
            del self._running[number]
            loop.remove_reader(process.sentinel)
            loop.remove_reader(ours.fileno())
            ours.close()
        process.join()
        return process


@contextmanager
def _held_back() -> Iterator[None]:
    """Block signals: a process that starts here inherits that, and `Signals.obey` ends it there."""
    resource_tracker.ensure_running()  # a process of its own, whose start unblocks some of them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(
    settings: "ServiceSettings", log_options: tuple[str, str], supervisor: Connection
) -> None:
    """Run one process of the service: what a process starts with."""
    log(*log_options)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            code = runner.run(run_service(settings, lambda _: supervisor.send("ready"), supervisor))
    except click.ClickException as error:
        code = complain(error.format_message(), error.exit_code)
    except (ConfigurationError, OSError, ImportError) as error:
        code = complain(str(error), 1)
    sys.exit(code)
