"""The process of the endpoint, which starts again when a source file changes."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Self

from dispatch_grpc.cli.dev.sources import Sources
from dispatch_grpc.cli.output import complain
from dispatch_grpc.cli.service_process import how_ended

_STOP_SECONDS = 5.0


class Process:
    """A process, and those that it starts; all of them end with this context manager.

    Args:
        command: The command that starts it.
        variables: Variables that are added to its environment.
        sources: The files whose changes start it again.
    """

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str], sources: Sources
    ) -> None:
        self.command = command
        self.variables: dict[str, str] = dict(variables)
        self._sources = sources
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[int]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def keep(self) -> None:
        """Run the process; start it again after each change."""
        while True:
            changed = asyncio.create_task(self._sources.changed())
            try:
                await self._start()
                await asyncio.wait({changed, self._ended}, return_when=asyncio.FIRST_COMPLETED)
                if not changed.done():
                    complain(
                        f"the endpoint ended {how_ended(self._ended.result())}; it starts again "
                        f"when a source file changes",
                        0,
                    )
                path = await changed
            finally:
                changed.cancel()
            complain(f"{path} has changed: the endpoint starts again", 0)
            await self._stop()

    async def _start(self) -> None:
        # A session of its own: Ctrl-C is for this program, which ends everything in order.
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            env={**os.environ, **self.variables},
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        self._ended = asyncio.create_task(_end(self._process))

    async def _stop(self) -> None:
        if self._process is None:
            return
        try:
            _signal(self._process, "SIGTERM")
            await asyncio.wait({self._ended}, timeout=_STOP_SECONDS)
        finally:
            _signal(self._process, "SIGKILL")
            await asyncio.wait({self._ended})


async def _end(process: asyncio.subprocess.Process) -> int:
    """Wait until a process has ended, and end those that it has left; return its exit code."""
    code = await process.wait()
    _signal_group(process, "SIGKILL")  # at once: later its id may be another's
    return code


def _signal(process: asyncio.subprocess.Process, name: str) -> None:
    """Send a signal to a process and to those that it has started, unless it has ended."""
    if process.returncode is None:
        _signal_group(process, name)


def _signal_group(process: asyncio.subprocess.Process, name: str) -> None:
    with suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, getattr(signal, name))
