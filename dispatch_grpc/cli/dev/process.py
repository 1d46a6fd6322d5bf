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
        self.variables = dict(variables)
        self._sources = sources
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def keep(self) -> None:
        """Run the process; start it again after each change."""
        while True:
            changed = asyncio.create_task(self._sources.changed())
            try:
                ended = await self._start()
                await asyncio.wait({changed, ended}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    self._end_the_rest()
                if not changed.done():
                    complain(
                        f"the endpoint ended {how_ended(ended.result())}; it starts again when a "
                        f"source file changes",
                        0,
                    )
                path = await changed
            finally:
                changed.cancel()
            complain(f"{path} has changed: the endpoint starts again", 0)
            await self._stop()

    async def _start(self) -> "asyncio.Task[int]":
        # A session of its own: Ctrl-C is for this program, which ends everything in order.
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            env={**os.environ, **self.variables},
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        return asyncio.create_task(self._process.wait())

    def _end_the_rest(self) -> None:
        """End what a process that has ended has left: later its id may be another's."""
        process, self._process = self._process, None
        if process is not None:
            _signal(process, "SIGKILL")

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _signal(process, "SIGTERM")
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
        finally:
            _signal(process, "SIGKILL")  # also what the process has started
            await process.wait()


def _signal(process: asyncio.subprocess.Process, name: str) -> None:
    """Send a signal to a process and to those that it has started."""
    with suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, getattr(signal, name))
