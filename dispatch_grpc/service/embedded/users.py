"""The user that PostgreSQL's programs run as, and its files belong to: as root, another one."""

import os
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from dispatch_grpc.errors import ConfigurationError

_FREE_IDS = range(60_706, 61_184)  # which neither systemd nor a distribution gives to anybody
_OLD_ACCOUNT = "pgserver"  # made by earlier versions of this package, as root

STAYS_ROOT = "a root without the right to change its user"
_AS_USER = f"""
import os, signal, sys
for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
    signal.signal(number, signal.SIG_DFL)
try:
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[1]))
except PermissionError:
    sys.exit("PostgreSQL does not run as root, and this is {STAYS_ROOT}: run the service as an "
             "ordinary user, or give it CAP_SETUID and CAP_SETGID")
try:
    os.execv(sys.argv[3], sys.argv[3:])
except OSError as error:
    sys.exit(f"error: {{error}}")
"""


class User(NamedTuple):
    """A user that root runs a program as."""

    uid: int
    gid: int

    def running(self, *command: str) -> list[str]:
        """Return a command that becomes another one, run by this user.

        The arguments of `Popen` for that would have it call fork instead of vfork. A forked child
        runs handlers of the libraries in the process, such as grpcio's: it was seen to crash and
        to hang before it ran the program.
        """
        return [sys.executable, "-I", "-S", "-c", _AS_USER, *map(str, self), *command]


NOBODY = User(65_534, 65_534)


def is_root() -> bool:
    """Return whether this process is root's."""
    return sys.platform != "win32" and os.geteuid() == 0


def initialiser() -> User | None:
    """Return the user to run initdb as; None: that of this process.

    Raises:
        ConfigurationError: It has no entry in /etc/passwd, which initdb needs.
    """
    if sys.platform == "win32":
        return None
    import pwd

    try:
        entry = pwd.getpwnam("nobody") if is_root() else pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ConfigurationError(
            "PostgreSQL's initdb needs an entry in /etc/passwd for the user "
            f"{'nobody' if is_root() else os.geteuid()}: add one, or give the URL of a PostgreSQL "
            "of your own by --database"
        ) from None
    return User(entry.pw_uid, entry.pw_gid) if is_root() else None


def owner(data: Path) -> User | None:
    """Return the user to run the server as, the owner of its files; None: that of this process.

    Raises:
        ConfigurationError: This process cannot run a server as their owner.
    """
    if sys.platform == "win32":
        return None
    status = data.stat()
    if is_root():
        if status.st_uid == 0 or _name(status.st_uid) == _OLD_ACCOUNT:
            return hand_over(data)
        return User(status.st_uid, status.st_gid)
    if status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{data} belongs to the user {_name(status.st_uid)}, this process to "
            f"{_name(os.geteuid())}: run it as the owner, or change the owner as root: "
            f"chown -R {os.geteuid()} {shlex.quote(str(data.parent))}"
        )
    return None


def hand_over(folder: Path) -> User:
    """Give a folder to a user id that is nobody's."""
    uid = next(uid for uid in _FREE_IDS if _name(uid) == str(uid))
    for _, folders, files, descriptor in os.fwalk(folder):
        for name in (*folders, *files):
            os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)
    os.chown(folder, uid, uid)
    return User(uid, uid)


def _name(uid: int) -> str:
    import pwd  # which Windows has not

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
