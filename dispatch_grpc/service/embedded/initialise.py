"""The data folder: initialised in one step, or checked for its version."""

import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.embedded.locks import Lock
from dispatch_grpc.service.embedded.programs import Programs, working_directory
from dispatch_grpc.service.embedded.users import hand_over, initialiser

_FRESH = "postgres.new-"


async def initialise(data: Path, programs: Programs, *, running: Lock) -> None:
    """Make a database, unless there is one: in a fresh folder, renamed when it is complete.

    Args:
        data: Folder of the database.
        programs: PostgreSQL's programs, which the user that initialises can run.
        running: The lock that initdb inherits, and what a kill leaves of it.

    Raises:
        ConfigurationError: It cannot be made here.
    """
    for unfinished in data.parent.glob(f"{_FRESH}*"):
        shutil.rmtree(unfinished)
    with suppress(OSError):
        data.rmdir()  # an empty folder
    if data.exists():
        return
    begin, user = time.monotonic(), initialiser()
    with (
        # Nothing is left to clean up once it is renamed.
        tempfile.TemporaryDirectory(prefix=_FRESH, dir=data.parent) as name,
        tempfile.TemporaryDirectory(prefix="dispatch-grpc-") as folder,
    ):
        if user is not None:
            os.chown(name, *user)
        await programs.for_initdb(Path(folder)).run(
            *("initdb", "--pgdata", working_directory(), "--username=postgres"),
            *("--auth=trust", "--no-locale", "--encoding=UTF8", "--no-instructions"),
            user=user,
            cwd=name,
            lock=running,
        )
        if user is not None:
            hand_over(Path(name))
        Path(name).rename(data)
        _sync(data.parent)
    if (seconds := time.monotonic() - begin) > 1:
        logger.info("the embedded database was initialised in %.1f s", seconds)


def check_version(data: Path, programs: Programs) -> None:
    """Raise ConfigurationError for a database of another major version than the programs'."""
    try:
        found = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise ConfigurationError(
            f"{data} has files but no PG_VERSION, so it is no complete database: move it away to "
            "begin with a new one"
        ) from None
    if found != programs.major:
        raise ConfigurationError(
            f"{data} is a database of PostgreSQL {found}, and the programs here are of "
            f"{programs.major}: dump it with pg_dumpall of PostgreSQL {found}, and load that into "
            "a new data folder; nothing in it was changed"
        )


def _sync(folder: Path) -> None:
    """Have the names in a folder on disk; PostgreSQL does so for all that is below."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
