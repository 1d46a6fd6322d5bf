"""The API keys that a server accepts."""

import hmac
from collections.abc import Iterator, Mapping


class KeyRing:
    """API keys by name, which can be replaced while a server runs.

    Args:
        keys: Names by key. Several keys may share a name, such as an old and a new one; unnamed
            ones have the empty name.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)

    def replace(self, keys: Mapping[str, str]) -> None:
        """Accept these keys from now on, and no others."""
        self._keys = dict(keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.name_of(key) is not None

    def name_of(self, key: str) -> str | None:
        """Return the name of a key, or None when it is not one of these."""
        given, name = key.encode(errors="surrogateescape"), None
        # Compare every key, in constant time, so that the time reveals nothing.
        for own, its_name in self._keys.items():
            if hmac.compare_digest(given, own.encode()):
                name = its_name
        return name
