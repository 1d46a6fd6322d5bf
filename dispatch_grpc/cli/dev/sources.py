"""The source files in folders: they are looked at, which needs no library, twice a second."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_SUFFIXES = (".py", ".go", ".ts", ".tsx", ".js", ".mjs", ".java", ".kt", ".rs", ".toml", ".env")
_IGNORED = {"__pycache__", "node_modules", "site-packages"}
_LOOK_SECONDS = 0.5


class Sources:
    """The source files in some folders, and what has changed of them.

    Args:
        folders: The folders, which are looked at when this is made for the first time.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._seen = self._look()

    async def changed(self) -> Path:
        """Wait until files have changed, and rest; return one of them."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            before, self._seen = self._seen, await asyncio.to_thread(self._look)
            if self._seen == before:
                continue
            changed = {path for path, _ in self._seen.items() ^ before.items()}
            while (found := await asyncio.to_thread(self._look)) != self._seen:
                self._seen = found
                await asyncio.sleep(_LOOK_SECONDS)
            return min(changed)

    def _look(self) -> dict[Path, tuple[int, int]]:
        found = {}
        for folder in self._folders:
            for root, folders, files in os.walk(folder):
                folders[:] = [name for name in folders if _is_own(Path(root, name))]
                for path in (Path(root, name) for name in files if name.endswith(_SUFFIXES)):
                    with suppress(OSError):  # it has just been deleted
                        status = path.stat()
                        found[path] = (status.st_mtime_ns, status.st_size)
        return found


def _is_own(folder: Path) -> bool:
    """Return whether a folder may have sources of the project itself."""
    return not (
        folder.name.startswith(".") or folder.name in _IGNORED or (folder / "pyvenv.cfg").exists()
    )
