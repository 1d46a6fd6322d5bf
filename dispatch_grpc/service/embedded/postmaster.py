"""The process of the server: started, found, asked for its state, and stopped."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from dispatch_grpc.service.embedded import log
from dispatch_grpc.service.embedded.locks import Lock
from dispatch_grpc.service.embedded.programs import (
    HAS_PROC,
    Programs,
    User,
    environment,
    working_directory,
)

_SETTINGS = {
    "lc_messages": "C",
    # Seven files, one for each day of the week, each written anew a week later.
    "logging_collector": "on",
    "log_destination": "stderr",
    "log_directory": "logs",
    "log_filename": "postgresql-%a.log",
    "log_file_mode": "0600",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements have the inputs of calls
}
_SOCKET = ".s.PGSQL.5432"
_SOCKET_PATH = 100  # bytes; 103 on some systems, 107 on others


class Postmaster:
    """The server of one data folder, whoever started it.

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
        self._started: subprocess.Popen[Any] | None = None
        self._link: tempfile.TemporaryDirectory[str] | None = None
        self._descriptor: int | None = None

    async def start(self, programs: Programs, user: User | None) -> bool:
        """Start the server, unless one runs; return whether it was started.

        Args:
            programs: PostgreSQL's programs.
            user: User to run it as; None for that of this process.

        Raises:
            ConfigurationError, OSError: It cannot be started.
        """
        running = self._lock()
        try:
            if not running.try_exclusive():
                return False
            lines = self._lines()
            known = self._is_of_folder(int(lines[0])) if lines and HAS_PROC else False
            if known:  # an earlier version has started it, without the lock
                return False
            if known is False:
                # By now a stranger may have the id that a crash has left in these files, and
                # PostgreSQL would take it for a server.
                for name in ("postmaster.pid", f"{_SOCKET}.lock"):
                    (self.data / name).unlink(missing_ok=True)
            settings = {
                **_SETTINGS,
                "log_startup_progress_interval": f"{max(self._progress_seconds * 500, 1):.0f}ms",
                "dispatch.folder": self._mark,
                **(await self._port(programs, user) if self._tcp else _ONLY_SOCKET),
            }
            self._start_log.unlink(missing_ok=True)  # root's, perhaps
            with self._start_log.open("wb") as output:
                self._started = subprocess.Popen(  # noqa: S603 (a program of the wheel)
                    [
                        *(programs["postgres"], "-D", working_directory(self.data)),
                        *(f"--{name}={value}" for name, value in settings.items()),
                    ],
                    env=environment(),
                    cwd=self.data,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # It holds the lock from now on, and its children do, until the last one ends.
                    pass_fds=[] if sys.platform == "win32" else [running.descriptor],
                    start_new_session=True,  # away from the Ctrl-C of a terminal
                    **(user.options if user else {}),
                )
            return True
        finally:
            running.close()

    async def _port(self, programs: Programs, user: User | None) -> dict[str, str]:
        """Return the settings of a server that listens on a free port, with a password."""
        if not self._password.exists():
            password = secrets.token_urlsafe(24)
            await programs.run(
                "postgres",
                *("--single", "-D", working_directory(self.data), "postgres"),
                user=user,
                cwd=self.data,
                text=f"ALTER ROLE postgres PASSWORD '{password}'\n",
            )
            descriptor = os.open(self._password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(password)
        rules = self.data / "dispatch_hba.conf"
        rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        return {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "hba_file": rules.name,
        }

    # Its state

    @property
    def pid(self) -> int | None:
        """The id of the server's process; None unless the folder of that process is this one."""
        started = self._started if self._started and self._started.poll() is None else None
        if not (lines := self._lines()):
            return started.pid if started else None
        pid = int(lines[0])
        return pid if (started and started.pid == pid) or self._is_of_folder(pid) else None

    def _is_of_folder(self, pid: int) -> bool | None:
        """Return whether a process runs in this folder; None if that is not known."""
        if not HAS_PROC:
            return self.is_locked
        try:
            return os.path.samefile(f"/proc/{pid}/cwd", self.data)
        except PermissionError:  # root in a container may not look into processes of others
            pass
        except OSError:  # there is no such process, or it has ended and nobody has waited for it
            return False
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if f"--dispatch.folder={self._mark}".encode() in words:
                return True
            if b"postgres" not in words[0]:
                return False
        return None

    @property
    def has_failed(self) -> bool:
        """Whether this process has started the server, and it has ended."""
        return self._started is not None and self._started.poll() is not None

    @property
    def is_locked(self) -> bool:
        """Whether a server, or what a crash has left of one, holds the lock."""
        lock = self._lock()
        try:
            return not lock.try_exclusive()
        finally:
            lock.close()

    @property
    def is_running(self) -> bool:
        """Whether a server uses the folder, or what a crash has left of one."""
        self.has_failed  # noqa: B018 (which collects its exit code)
        return self.is_locked or self.pid is not None

    @property
    def is_ready(self) -> bool:
        """Whether the server says that it takes connections."""
        return self._lines()[7:8] == ["ready"]

    @property
    def progress(self) -> str:
        """How far the start is."""
        segments = (self.data / "pg_wal").glob("[0-9A-F]" * 24)
        return log.progress(self.log, sum(file.stat().st_size for file in segments))

    @property
    def log(self) -> str:
        """The log since the last start."""
        files = sorted((self.data / "logs").glob("*.log"), key=lambda file: file.stat().st_mtime)
        return log.tail(files[-1]) if files else ""

    @property
    def failure(self) -> str:
        """Why the server has ended, and where its log is."""
        file, cause = self._start_log, log.cause(log.tail(self._start_log))
        if cause is None:
            file, cause = self.data / "logs", log.cause(self.log)
        return f"{cause or 'PostgreSQL ended'} (its log: {file})"

    def _lines(self) -> list[str]:
        """The lines of postmaster.pid; none unless the first is an id. The eighth is the state."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []
        return [line.strip() for line in lines] if lines and lines[0].strip().isdigit() else []

    @cached_property
    def _mark(self) -> str:
        """What the command line of the server has, to be told by which folder it is of."""
        status = self.data.stat()
        return f"{status.st_dev}:{status.st_ino}"

    def _lock(self) -> Lock:
        return Lock(self.data.parent / "postgres.running.lock")

    @property
    def _start_log(self) -> Path:
        return self.data.parent / "postgres.start.log"

    @property
    def _password(self) -> Path:
        return self.data.parent / "postgres.password"

    # Its use

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments to connect with: all that variables and files could add otherwise."""
        return {
            "host": "127.0.0.1" if self._tcp else self._host(),
            "port": int(self._lines()[3]) if self._tcp else 5432,
            "password": self._password.read_text() if self._tcp else "",
            "user": "postgres",
            "database": "postgres",
            "ssl": False,
            "direct_tls": False,
            "target_session_attrs": "any",
            "krbsrvname": "postgres",
            "gsslib": "gssapi",
        }

    def _host(self) -> str:
        """Return a path of the data folder that is short enough for the address of a socket."""
        if HAS_PROC:
            if self._descriptor is None:
                self._descriptor = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY)
            return f"/proc/self/fd/{self._descriptor}"
        if len(os.fsencode(self.data / _SOCKET)) < _SOCKET_PATH:
            return str(self.data)
        if self._link is None:
            self._link = tempfile.TemporaryDirectory(prefix="dispatch-grpc-")
            os.symlink(self.data, Path(self._link.name, "data"))
        return f"{self._link.name}/data"

    async def signal(self, programs: Programs, number: signal.Signals) -> bool:
        """Send a signal to the server; return whether there is one that this process can reach."""
        if (pid := self.pid) is None:
            return False
        if sys.platform == "win32":
            await programs.run("pg_ctl", "kill", number.name.removeprefix("SIG"), str(pid))
            return True
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def leave(self) -> None:
        """Give back what this process has of the server, which may go on running."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        if self._link is not None:
            self._link.cleanup()
        if self._started is not None and self._started.poll() is None:
            self._started.returncode = 0  # it goes on without this process
        self._descriptor = self._link = self._started = None


_ONLY_SOCKET = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
}
