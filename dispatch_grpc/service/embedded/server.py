"""The life cycle of an embedded PostgreSQL: initialise, start, share, stop.

Two file locks order what processes do. Who uses the server shares `users`. Who initialises or
starts it holds `running`, which the server and its children inherit. The kernel drops a lock when
its last holder ends, however it ends. So the last process out stops the server, a server that
outlived the processes that used it is adopted, and no second one is started beside what is left of
a first.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg

from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.embedded import log
from dispatch_grpc.service.embedded.initialise import check_version, initialise
from dispatch_grpc.service.embedded.locks import Lock
from dispatch_grpc.service.embedded.postmaster import Postmaster
from dispatch_grpc.service.embedded.programs import HAS_PROC, Programs
from dispatch_grpc.service.embedded.users import is_root, owner

_PAUSE = 0.02
_NOT_YET = (OSError, IndexError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError)
# How a server is stopped, and how many seconds it has for that: in order, then at once.
_STOPS = ((signal.SIGINT, 60), (getattr(signal, "SIGQUIT", signal.SIGTERM), 20))


class Embedded:
    """The embedded PostgreSQL of one folder, which any number of processes share.

    Args:
        folder: Folder that has the database in `postgres`, and the locks beside it.
        tcp: Whether the server listens on a port of 127.0.0.1, with a password, as on Windows;
            else on a socket that only its user and root reach.
        progress_seconds: Time between two log lines about something that takes long.
    """

    def __init__(
        self, folder: Path, *, tcp: bool = sys.platform == "win32", progress_seconds: float = 10
    ) -> None:
        self._folder = folder.absolute()
        self._data = self._folder / "postgres"
        self._progress_seconds = progress_seconds
        self._server = Postmaster(self._data, tcp=tcp, progress_seconds=progress_seconds)
        self._users: Lock | None = None  # from `open` to `close`
        self._is_away = False

    async def open(self) -> dict[str, Any]:
        """Start the server, or join the one that runs.

        Returns:
            The arguments of `asyncpg.connect`; no PG* variable counts beside them.

        Raises:
            ConfigurationError: The server cannot be started.
            ImportError: PostgreSQL's programs are not installed.
        """
        if is_root() and not HAS_PROC:
            raise ConfigurationError(
                "PostgreSQL does not run as root here: run the service as an ordinary user, or "
                "give the URL of a PostgreSQL of your own by --database"
            )
        self._programs = Programs.find()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._users = Lock(self._folder / "postgres.users.lock")
            wait = self._waiting("another process stops the embedded database")
            while not self._users.try_take(shared=True):
                await wait()
            await self._start(initialises=True)
        except BaseException as error:
            await self.close()
            if isinstance(error, OSError | ConfigurationError | asyncpg.PostgresError):
                raise ConfigurationError(
                    f"the embedded database in {self._folder} does not start: {error}"
                ) from error
            raise
        return self._server.arguments

    async def revive(self) -> None:
        """Start the server again if it has died, and try that again when it fails.

        Two lines are logged about an outage, however often this is called: its cause and its end.
        """
        if self._users is None or self._server.is_running:
            return
        try:
            await self._start(initialises=False)
        except (ConfigurationError, OSError, asyncpg.PostgresError) as error:
            if not self._is_away:
                logger.error("the embedded database has died, and does not start: %s", error)  # noqa: TRY400
            self._is_away = True
        else:
            logger.warning("the embedded database had died, and was started again")
            self._is_away = False

    async def close(self) -> None:
        """Leave the server; stop it if no other process uses it."""
        if self._users is None:
            return
        users, self._users = self._users, None
        users.release()
        if users.try_take():  # nobody uses the server, or is about to
            await self._stop()
        self._server.leave()
        users.release()  # also for a child of this process
        users.close()

    async def _start(self, *, initialises: bool) -> None:
        """Wait until the server takes connections; start it, unless another process does."""
        begin = time.monotonic()
        wait = self._waiting("the embedded database is starting", lambda: self._server.progress)
        running, started = self._server.lock(), False
        try:
            while not await self._answers():
                if not started and running.try_take():
                    await self._launch(running, initialises=initialises)
                    started, begin = True, time.monotonic()
                elif started and (failure := self._server.failure):
                    raise ConfigurationError(failure)
                await wait()
        finally:
            running.close()  # the server holds it, too
        if (seconds := time.monotonic() - begin) > 1:
            what = "recovered from a crash" if log.is_recovering(self._server.log) else "started"
            logger.info("the embedded database %s in %.1f s", what, seconds)

    async def _launch(self, running: Lock, *, initialises: bool) -> None:
        """Start the server, after the initialisation if need be."""
        programs = self._programs
        if is_root():
            programs = await programs.for_everybody()
        if initialises:
            await initialise(self._data, programs, running=running)
        user = owner(self._data)
        check_version(self._data, programs)
        await self._server.start(programs, user, running=running)

    async def _answers(self) -> bool:
        """Return whether the server takes connections."""
        if self._server.is_ready:
            with suppress(*_NOT_YET):
                connection = await asyncpg.connect(**self._server.arguments, timeout=10)
                await connection.close()
                return True
        return False

    async def _stop(self) -> None:
        wait = self._waiting("the embedded database is stopping")
        for number, seconds in _STOPS:
            await self._server.signal(self._programs, number)
            deadline = time.monotonic() + seconds
            while self._server.is_running and time.monotonic() < deadline:
                await wait()
        if self._server.is_running:
            logger.warning(
                "the embedded database in %s goes on running: it cannot be stopped", self._data
            )

    def _waiting(
        self, text: str, describe: Callable[[], str] | None = None
    ) -> Callable[[], Awaitable[None]]:
        """Return a function that waits a moment, and logs every ten seconds what is waited for."""
        begin = last = time.monotonic()

        async def wait() -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= self._progress_seconds:
                last = now
                more = f": {describe()}" if describe else ""
                logger.info("%s, for %.0f s%s", text, now - begin, more)
            await asyncio.sleep(_PAUSE)

        return wait
