"""The sessions of the page: who has signed in."""

import hashlib
import hmac
import time
from collections.abc import Callable, Collection
from datetime import timedelta

SESSION = timedelta(hours=12)


class Sessions:
    """The sessions. Nothing is kept here: a token holds all that there is of its session.

    A token has its expiry, and is signed with a key derived from the API key that was used to sign
    in. So it is valid in every process that accepts this API key, and as long as they accept it.

    Args:
        keys: The API keys, which may change.
        now: The time, in seconds since 1970.
    """

    def __init__(self, keys: Collection[str], now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._keys = keys

    def takes(self, key: str) -> bool:
        """Return whether a key is an API key."""
        return self._secret(key) is not None

    def begin(self, key: str) -> str | None:
        """Make a token for an API key; None if the key is not valid."""
        secret = self._secret(key)
        if secret is None:
            return None
        expiry = str(int(self._now() + SESSION.total_seconds()))
        return f"{expiry}.{_sign(secret, expiry)}"

    def is_valid(self, token: str) -> bool:
        """Return whether a token was made by `begin`, and has not expired."""
        expiry, _, signature = token.partition(".")
        given = signature.encode()
        # As for the keys: all are compared, in constant time.
        signed = [
            hmac.compare_digest(given, _sign(_secret_of(key), expiry).encode())
            for key in self._keys
        ]
        return any(signed) and self._now() < int(expiry)

    def _secret(self, key: str) -> bytes | None:
        digest = _digest(key)
        found = None
        for own in self._keys:
            if hmac.compare_digest(digest, _digest(own)):
                found = _secret_of(own)
        return found


def _secret_of(key: str) -> bytes:
    return hmac.digest(key.encode(), b"dispatch-grpc: a session of the page", "sha256")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _sign(secret: bytes, text: str) -> str:
    return hmac.digest(secret, text.encode(), "sha256").hex()
