"""File locks, which the kernel drops when the last process that holds them ends."""

import os
import sys
from pathlib import Path


class Lock:
    """A lock on a file, never waited for.

    A child process that inherits `descriptor` holds the lock too, until it ends (not on Windows).
    """

    def __init__(self, path: Path) -> None:
        self.descriptor: int = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if sys.platform != "win32" and os.geteuid() == 0:  # in a user's folder it is that user's
            folder = path.parent.stat()
            os.fchown(self.descriptor, folder.st_uid, folder.st_gid)

    def close(self) -> None:
        """Give back the lock, unless a child process holds it too."""
        os.close(self.descriptor)

    if sys.platform == "win32":
        import msvcrt

        # Windows has no shared locks here: who shares locks one byte, an exclusive lock is on all.
        _BYTES = 1 << 16
        _held: tuple[int, int] | None = None

        def try_exclusive(self) -> bool:
            """Take the lock for this process alone; return whether it was free."""
            return self._try(0, self._BYTES)

        def try_shared(self) -> bool:
            """Take the lock along with others that share it; return whether it could be taken."""
            first = os.getpid() % self._BYTES
            return any(self._try((first + n) % self._BYTES, 1) for n in range(64))

        def _try(self, start: int, size: int) -> bool:
            os.lseek(self.descriptor, start, os.SEEK_SET)
            try:
                self.msvcrt.locking(self.descriptor, self.msvcrt.LK_NBLCK, size)
            except OSError:
                return False
            self._held = (start, size)
            return True

        def release(self) -> None:
            """Give back the lock, if it is held."""
            if self._held is None:
                return
            start, size = self._held
            self._held = None
            os.lseek(self.descriptor, start, os.SEEK_SET)
            self.msvcrt.locking(self.descriptor, self.msvcrt.LK_UNLCK, size)

    else:
        import fcntl

        def try_exclusive(self) -> bool:
            """Take the lock for this process alone; return whether it was free."""
            return self._try(self.fcntl.LOCK_EX)

        def try_shared(self) -> bool:
            """Take the lock along with others that share it; return whether it could be taken."""
            return self._try(self.fcntl.LOCK_SH)

        def _try(self, kind: int) -> bool:
            try:
                self.fcntl.flock(self.descriptor, kind | self.fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        def release(self) -> None:
            """Give back the lock, if it is held, also on behalf of child processes."""
            self.fcntl.flock(self.descriptor, self.fcntl.LOCK_UN)
