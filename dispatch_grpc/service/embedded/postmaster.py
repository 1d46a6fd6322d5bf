"""The process of the server: started, found, asked for its state, and signalled."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from dispatch_grpc.service.embedded import log
from dispatch_grpc.service.embedded.locks import Lock
from dispatch_grpc.service.embedded.programs import (
    HAS_PROC,
    Programs,
    environment,
    how_ended,
    working_directory,
)
from dispatch_grpc.service.embedded.users import User

_SETTINGS = {
    "lc_messages": "C",
    # Seven files, one for each day of the week, each written anew a week later.
    "logging_collector": "on",
    "log_directory": "logs",
    "log_filename": "postgresql-%a.log",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements have the inputs of calls
}
_ONLY_SOCKET = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
}
_SOCKET = ".s.PGSQL.5432"
_SOCKET_PATH = 100  # bytes; 103 on some systems, 107 on others


class Postmaster:
    """The server of one data folder, whoever has started it.

    Args:
        data: The data folder.
        tcp: Whether it listens on a port of 127.0.0.1, with a password; else on a socket in the
            data folder, which only its owner and root can reach.
        progress_seconds: Time between two lines of its log about its recovery.
    """

    def __init__(self, data: Path, *, tcp: bool, progress_seconds: float) -> None:
        self.data = data
        self._tcp = tcp
        self._progress_seconds = progress_seconds
        self._start_log = data.parent / "postgres.start.log"
        self._password = data.parent / "postgres.password"
        self._started: subprocess.Popen[Any] | None = None
        self._host = ""
        self._opened = ExitStack()

    async def start(self, programs: Programs, user: User | None, *, running: Lock) -> None:
        """Start the server.

        Args:
            programs: PostgreSQL's programs, which `user` can run.
            user: The owner of the data folder; None: the user of this process.
            running: The lock that the server holds as long as it runs.

        Raises:
            ConfigurationError, OSError: It cannot be started.
        """
        # By now a stranger may have the id that a killed server has left in its files. PostgreSQL
        # would take it for a server, but not its grandparent, as pg_ctl is one. It still looks
        # whether the shared memory of that server is in use.
        env = {**environment(), "PG_GRANDPARENT_PID": "".join(self._lines()[:1]).lstrip("-")}
        (self.data / f"{_SOCKET}.lock").unlink(missing_ok=True)
        settings = {
            **_SETTINGS,
            "log_startup_progress_interval": f"{max(self._progress_seconds * 500, 1):.0f}ms",
            **(await self._port(programs, user) if self._tcp else _ONLY_SOCKET),
        }
        self._start_log.unlink(missing_ok=True)  # root's, perhaps
        with self._start_log.open("wb") as output:
            self._started = programs.start(
                *("postgres", "-D", working_directory(), self._mark),
                *(f"--{name}={value}" for name, value in settings.items()),
                user=user,
                lock=running,
                env=env,
                cwd=self.data,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    async def _port(self, programs: Programs, user: User | None) -> dict[str, str]:
        """Return the settings of a server that listens on a free port, with a password."""
        if not self._password.exists():
            password = secrets.token_urlsafe(24)
            with tempfile.TemporaryFile() as statement:
                statement.write(f"ALTER ROLE postgres PASSWORD '{password}'\n".encode())
                statement.seek(0)
                await programs.run(
                    *("postgres", "--single", "-D", working_directory(), "postgres"),
                    user=user,
                    cwd=self.data,
                    stdin=statement,
                )
            fresh = self._password.with_suffix(".new")
            fresh.touch(0o600)
            fresh.write_text(password)
            fresh.replace(self._password)
        rules = self.data / "dispatch_hba.conf"
        rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        return {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "hba_file": rules.name,
        }

    @property
    def pid(self) -> int | None:
        """The id of the server's process; None unless that process is of this folder."""
        if self._started is not None and self._started.poll() is None:
            return self._started.pid
        with suppress(OSError, IndexError, ValueError):
            pid = int(self._lines()[0])
            if HAS_PROC:
                is_ours = f"\0{self._mark}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
            else:
                is_ours = sys.platform == "win32" or self._is_locked
            return pid if is_ours else None
        return None

    @property
    def _mark(self) -> str:
        """The argument by which a server tells the folder that it is of."""
        status = self.data.stat()
        return f"--dispatch.folder={status.st_dev}:{status.st_ino}"

    @property
    def is_running(self) -> bool:
        """Whether a server uses the folder, or what a crash has left of one."""
        return self._is_locked or self.pid is not None

    @property
    def _is_locked(self) -> bool:
        lock = self.lock()
        try:
            return not lock.try_take()
        finally:
            lock.close()

    def lock(self) -> Lock:
        """Return the lock that a server holds as long as it runs, not taken yet."""
        return Lock(self.data.parent / "postgres.running.lock")

    @property
    def is_ready(self) -> bool:
        """Whether the server says that it takes connections."""
        return self._lines()[7:8] == ["ready"]

    def _lines(self) -> list[str]:
        """The lines of postmaster.pid: first the id, fourth the port, eighth the state."""
        with suppress(OSError):
            text = (self.data / "postmaster.pid").read_text()
            return [line.strip() for line in text.splitlines()]
        return []

    @property
    def progress(self) -> str:
        """How far the start is."""
        segments = _statuses((self.data / "pg_wal").glob("[0-9A-F]" * 24))
        return log.progress(self.log, sum(status.st_size for _, status in segments))

    @property
    def log(self) -> str:
        """The log since the last start."""
        files = _statuses((self.data / "logs").glob("*.log"))
        newest = max(files, key=lambda found: found[1].st_mtime, default=None)
        return "" if newest is None else log.tail(newest[0])

    @property
    def failure(self) -> str | None:
        """Why the server that this process has started has ended; None if it has not."""
        if self._started is None or self._started.poll() is None:
            return None
        if sys.platform == "win32" and self.pid is not None:
            return None  # it ended because another one runs, which no lock tells there
        file, cause = self._start_log, log.cause(log.tail(self._start_log))
        if cause is None:
            file, cause = self.data / "logs", log.cause(self.log)
        cause = cause or f"PostgreSQL does not run: {how_ended(self._started.returncode)}"
        return f"{cause} (its log: {file})"

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments to connect with: all that variables and files could add otherwise."""
        self._host = self._host or ("127.0.0.1" if self._tcp else self._short())
        return {
            "host": self._host,
            "port": int(self._lines()[3]) if self._tcp else 5432,
            "password": self._password.read_text() if self._tcp else "",
            "user": "postgres",
            "database": "postgres",
            "ssl": False,
            "direct_tls": False,
            "target_session_attrs": "any",
            "gsslib": "gssapi",
        }

    def _short(self) -> str:
        """Return a path of the data folder that is short enough for the address of a socket."""
        if HAS_PROC:
            descriptor = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY)
            self._opened.callback(os.close, descriptor)
            return f"/proc/self/fd/{descriptor}"
        if len(os.fsencode(self.data / _SOCKET)) < _SOCKET_PATH:
            return str(self.data)
        folder = self._opened.enter_context(tempfile.TemporaryDirectory(prefix="dispatch-grpc-"))
        os.symlink(self.data, f"{folder}/data")
        return f"{folder}/data"

    async def signal(self, programs: Programs, number: signal.Signals) -> None:
        """Send a signal to the server, if there is one that this process can reach."""
        if (pid := self.pid) is None:
            return
        if sys.platform == "win32":
            await programs.run("pg_ctl", "kill", number.name.removeprefix("SIG"), str(pid))
        else:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def leave(self) -> None:
        """Give back what this process has of the server, which may go on running."""
        self._opened.close()
        if self._started is not None and self._started.poll() is None:
            self._started.returncode = 0  # it goes on without this process
        self._host, self._started = "", None


def _statuses(files: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """Look at files, without those that PostgreSQL renames or removes meanwhile."""
    for file in files:
        with suppress(FileNotFoundError):
            yield file, file.stat()
