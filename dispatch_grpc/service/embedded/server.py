"""The life cycle of an embedded PostgreSQL: initialise, start, share, stop.

Three file locks order what processes do. Who starts or stops the server holds `begin`; who uses it
shares `users`; the server and its children hold `running`, which they inherit. The kernel drops a
lock when its last holder ends, however it ends. So the last process out stops the server, a server
that outlived the processes that used it is adopted, and no second one is started beside what is
left of a first.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.embedded import log
from dispatch_grpc.service.embedded.initialise import check_version, initialise, is_root, owner
from dispatch_grpc.service.embedded.locks import Lock
from dispatch_grpc.service.embedded.postmaster import Postmaster
from dispatch_grpc.service.embedded.programs import HAS_PROC, Programs, User

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
        self._programs: Programs
        self._user: User | None
        self._begin: Lock
        self._users: Lock
        self._is_open = False
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
            self._begin = Lock(self._folder / "postgres.begin.lock")
            self._users = Lock(self._folder / "postgres.users.lock")
            self._is_open = True
            await self._until(lambda: self._users.try_take(shared=True))
            async with self._alone():
                await self._initialise()
                await self._start()
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
        if not self._is_open or self._server.is_running:
            return
        try:
            async with self._alone():
                await self._start()
        except (ConfigurationError, OSError, asyncpg.PostgresError) as error:
            if not self._is_away:
                logger.error("the embedded database has died, and does not start: %s", error)  # noqa: TRY400
            self._is_away = True
        else:
            logger.warning("the embedded database had died, and was started again")
            self._is_away = False

    async def close(self) -> None:
        """Leave the server; stop it if no other process uses it."""
        if not self._is_open:
            return
        self._is_open = False
        self._users.release()
        # Who starts the server, or waits for that, is a user too, and need not be waited for.
        while not (is_alone := self._begin.try_take()) and self._users.try_take():
            self._users.release()
            await asyncio.sleep(_PAUSE)
        if is_alone and self._users.try_take():
            await self._stop()
        self._server.leave()
        for lock in (self._users, self._begin):
            lock.release()  # also for a child of this process
            lock.close()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Keep other processes from starting and stopping the server meanwhile."""
        await self._until(self._begin.try_take)
        try:
            yield
        finally:
            self._begin.release()

    async def _until(self, has_lock: Callable[[], bool]) -> None:
        report = self._reporter("another process starts or stops the embedded database")
        while not has_lock():
            report()
            await asyncio.sleep(_PAUSE)

    async def _initialise(self) -> None:
        started = time.monotonic()
        # What a kill leaves of initdb holds the lock, and so keeps the next process waiting.
        descriptors = [] if sys.platform == "win32" else [self._begin.descriptor]
        await initialise(self._data, self._programs, pass_fds=descriptors)
        self._user = owner(self._data)
        if self._user is not None:
            self._programs = await self._programs.reachable_by(self._user)
        check_version(self._data, self._programs)
        if (seconds := time.monotonic() - started) > 1:
            logger.info("the embedded database was initialised in %.1f s", seconds)

    async def _start(self) -> None:
        """Wait until the server takes connections; start it, unless one runs."""
        begin = time.monotonic()
        report = self._reporter("the embedded database is starting", lambda: self._server.progress)
        started = False
        while not await self._answers():
            started = started or await self._server.start(self._programs, self._user)
            if started and self._server.has_failed:
                raise ConfigurationError(self._server.failure)
            report()
            await asyncio.sleep(_PAUSE)
        if (seconds := time.monotonic() - begin) > 1:
            what = "recovered from a crash" if log.is_recovering(self._server.log) else "started"
            logger.info("the embedded database %s in %.1f s", what, seconds)

    async def _answers(self) -> bool:
        """Return whether the server takes connections."""
        if self._server.is_ready:
            with suppress(*_NOT_YET):
                connection = await asyncpg.connect(**self._server.arguments, timeout=10)
                await connection.close()
                return True
        return False

    async def _stop(self) -> None:
        report = self._reporter("the embedded database is stopping")
        for number, seconds in _STOPS:
            await self._server.signal(self._programs, number)
            deadline = time.monotonic() + seconds
            while self._server.is_running:
                if time.monotonic() > deadline:
                    break
                report()
                await asyncio.sleep(_PAUSE)
            else:
                return
        logger.warning(
            "the embedded database in %s goes on running: it cannot be stopped", self._data
        )

    def _reporter(self, text: str, describe: Callable[[], str] | None = None) -> Callable[[], None]:
        """Return a function that logs, every ten seconds, what is waited for."""
        begin = last = time.monotonic()

        def report() -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= self._progress_seconds:
                last = now
                more = f": {describe()}" if describe else ""
                logger.info("%s, for %.0f s%s", text, now - begin, more)

        return report
