"""File locks, which the kernel drops when the last process that holds them ends."""

import os
import secrets
import sys
from pathlib import Path

from dispatch_grpc.service.embedded.users import is_root

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class Lock:
    """A lock on a file, never waited for.

    Attributes:
        inheritable: The file descriptors that have a child process hold the lock too, until it
            ends; none on Windows.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.inheritable: list[int] = [] if sys.platform == "win32" else [self._descriptor]
        if is_root():  # in a user's folder it is that user's
            folder = path.parent.stat()
            os.fchown(self._descriptor, folder.st_uid, folder.st_gid)

    def close(self) -> None:
        """Close the file, and so give back the lock, unless a child process holds it too."""
        os.close(self._descriptor)

    if sys.platform == "win32":
        # There are no shared locks here: sharing one is to lock a byte, an exclusive one all bytes.
        _ALL = (0, 1 << 30)
        _held: tuple[int, int] | None = None

        def try_take(self, *, shared: bool = False) -> bool:
            """Take the lock, alone or along with others; return whether it was free."""
            start, size = (secrets.randbelow(1 << 30), 1) if shared else self._ALL
            os.lseek(self._descriptor, start, os.SEEK_SET)
            try:
                msvcrt.locking(self._descriptor, msvcrt.LK_NBLCK, size)
            except OSError:
                return False
            self._held = (start, size)
            return True

        def release(self) -> None:
            """Give back the lock, if it is held."""
            if self._held is not None:
                os.lseek(self._descriptor, self._held[0], os.SEEK_SET)
                msvcrt.locking(self._descriptor, msvcrt.LK_UNLCK, self._held[1])
                self._held = None

    else:

        def try_take(self, *, shared: bool = False) -> bool:
            """Take the lock, alone or along with others; return whether it was free."""
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            try:
                fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        def release(self) -> None:
            """Give back the lock, if it is held, also on behalf of child processes."""
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
