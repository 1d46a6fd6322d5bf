"""The data folder: initialised in one step, or checked for its version and its owner."""

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.service.embedded.programs import Programs, User, working_directory

_FRESH = "postgres.new-"
_OLD_ACCOUNT = "pgserver"  # made by earlier versions of this package, as root
_FREE_IDS = range(60_706, 61_184)  # which neither systemd nor a distribution gives to anybody


async def initialise(data: Path, programs: Programs, *, pass_fds: Sequence[int]) -> None:
    """Make a database, unless there is one: in a fresh folder, renamed when it is complete.

    Args:
        data: Folder of the database.
        programs: PostgreSQL's programs, which the user that initialises can run.
        pass_fds: File descriptors that initdb inherits: a lock that it holds while it runs, and
            also what a kill leaves of it.

    Raises:
        ConfigurationError: It cannot be made here.
    """
    for unfinished in data.parent.glob(f"{_FRESH}*"):
        shutil.rmtree(unfinished)
    with suppress(OSError):
        data.rmdir()  # an empty folder
    if data.exists():
        return
    user = _initialiser()
    fresh = Path(tempfile.mkdtemp(prefix=_FRESH, dir=data.parent))
    try:
        if user is not None:
            os.chown(fresh, user.uid, user.gid)
        with tempfile.TemporaryDirectory(prefix="dispatch-grpc-") as folder:
            await programs.for_initdb(Path(folder)).run(
                *("initdb", "--pgdata", working_directory(fresh), "--username=postgres"),
                *("--auth=trust", "--no-locale", "--encoding=UTF8", "--no-instructions"),
                user=user,
                cwd=fresh,
                pass_fds=pass_fds,
            )
        if user is not None:
            _hand_over(fresh)
        fresh.rename(data)
        _sync(data.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _initialiser() -> User | None:
    """Return the user to run initdb as, which wants one with an entry in /etc/passwd."""
    if sys.platform == "win32":
        return None
    import pwd

    names = ("nobody", "daemon") if is_root() else (_name(os.geteuid()),)
    for name in names:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return User(entry.pw_uid, entry.pw_gid) if is_root() else None
    raise ConfigurationError(
        f"PostgreSQL's initdb needs an entry in /etc/passwd for the user {names[0]}: add one, or "
        "give the URL of a PostgreSQL of your own by --database"
    )


def owner(data: Path) -> User | None:
    """Return the user that the server runs as, the owner of its files; None: that of this process.

    Raises:
        ConfigurationError: This process cannot run a server as their owner.
    """
    if sys.platform == "win32":
        return None
    status = data.stat()
    if is_root():
        if status.st_uid == 0 or _name(status.st_uid) == _OLD_ACCOUNT:
            return _hand_over(data)
        return User(status.st_uid, status.st_gid)
    if status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{data} belongs to the user {_name(status.st_uid)}, this process to "
            f"{_name(os.geteuid())}: run it as the owner, or change the owner as root: "
            f"chown -R {os.geteuid()} {shlex.quote(str(data.parent))}"
        )
    return None


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


def is_root() -> bool:
    """Return whether this process is root's."""
    return sys.platform != "win32" and os.geteuid() == 0


def _sync(folder: Path) -> None:
    """Have the names in a folder on disk; PostgreSQL does so for all that is below."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _name(uid: int) -> str:
    import pwd  # which Windows has not

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _hand_over(folder: Path) -> User:
    """Give a folder to a user id that is nobody's."""
    uid = next(uid for uid in _FREE_IDS if _name(uid) == str(uid))
    for _, folders, files, descriptor in os.fwalk(folder):
        for name in (*folders, *files):
            os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)
    os.chown(folder, uid, uid)
    return User(uid, uid)
