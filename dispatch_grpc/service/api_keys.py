"""The API keys of the service: given, read from a file, or made and kept."""

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from dispatch_grpc.client.settings import resolve_api_key
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.log import service_logger as logger

_NAMED = re.compile(r"([A-Za-z0-9_-]{1,64}):(.+)")


def read_key_file(file: Path) -> dict[str, str]:
    """Read the keys of a file, one `key` or `name:key` a line; `#` begins a comment.

    Returns:
        The names by key; an unnamed key has the empty name.

    Raises:
        ConfigurationError: The file cannot be read, a line is no key, or there is none.
    """
    found: dict[str, str] = {}
    try:
        text = file.read_text("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise ConfigurationError(
            f"the API keys in {file} cannot be read: {error.strerror or error}"
        ) from error
    for number, line in enumerate(text.splitlines(), 1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        name = ""
        if named := _NAMED.fullmatch(key):
            name, key = named.groups()
        try:
            found[resolve_api_key(key, {}).value] = name
        except ConfigurationError as error:
            problem = str(error).replace("api_key=", "this line")
            raise ConfigurationError(f"{file}:{number}: {problem}") from error
    if not found:
        raise ConfigurationError(f"there is no API key in {file}: write one, or delete the file")
    return found


class ApiKeys:
    """Where the keys of a process come from.

    Args:
        given: Keys that do not change.
        file: File of more keys; None has none.
        data_dir: Folder in which a key is made and kept if there is no other.
    """

    def __init__(self, given: Sequence[str], file: Path | None, data_dir: Path) -> None:
        nothing: Mapping[str, str] = {}
        self._given = {resolve_api_key(key, nothing).value: "" for key in given}
        self._file = file
        self._kept = None if self._given or file else data_dir / "api-key"
        self.made: bool = False

    def load(self) -> dict[str, str]:
        """Return the names by key.

        Raises:
            ConfigurationError: The keys cannot be read, or none can be made.
        """
        if self._kept is not None:
            return self._load_kept(self._kept)
        return self._given | (read_key_file(self._file) if self._file else {})

    @property
    def is_reloadable(self) -> bool:
        """Whether the keys are in a file."""
        return self._file is not None or self._kept is not None

    def _load_kept(self, file: Path) -> dict[str, str]:
        if not file.exists():
            self.made = _make(file)
        elif file.stat().st_mode & 0o077:
            logger.warning("the API key in %s can be read by others: chmod 600", file)
        return read_key_file(file)


def _make(file: Path) -> bool:
    """Make a key; returns False when another process was quicker."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that begin at once: the file is there whole, or not at all.
        temporary = file.with_name(f"api-key.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_urlsafe(32) + "\n")
        try:
            os.link(temporary, file)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
    except OSError as error:
        raise ConfigurationError(f"the API key cannot be kept in {file}: {error}") from error
    return True
