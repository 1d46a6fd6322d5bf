"""The keys of signatures: Ed25519, as PEM or base64."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field

try:
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
except ImportError as missing:
    raise ImportError(
        "signatures need an extra: pip install 'dispatch-grpc[endpoint]'"
    ) from missing

from dispatch_grpc.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The signing key of a service, and the verification key of its endpoints.

    Attributes:
        signing_key: The private key, base64 of 32 bytes.
        verification_key: The public key, base64 of 32 bytes.
    """

    signing_key: str = field(repr=False)
    verification_key: str


def new_key_pair() -> KeyPair:
    """Make a pair of keys at random.

    Returns:
        The keys as `parse_signing_key` and `parse_verification_key` take them.
    """
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    return KeyPair(base64_text(key.private_bytes_raw()), base64_text(public))


def parse_verification_key(
    key: str | bytes | Ed25519PublicKey, source: str = "verification_key="
) -> Ed25519PublicKey:
    r"""Read the public key with which an endpoint verifies requests.

    Args:
        key: PEM, where a literal `\n` is a newline too, or base64 of the 32 bytes. Whitespace
            around is stripped.
        source: Where the key came from, for the message.

    Returns:
        The key.

    Raises:
        ConfigurationError: It is not such a key. The message does not show it.
    """
    rule = "an Ed25519 public key is required, as PEM or as base64 of its 32 bytes"
    what = f"the verification key from {source}"
    found = _read_key(key, what, rule, Ed25519PublicKey.from_public_bytes)
    if isinstance(found, Ed25519PrivateKey):
        raise ConfigurationError(f"{what} is a signing key: only its public half belongs here")
    if not isinstance(found, Ed25519PublicKey):
        raise ConfigurationError(f"{what} is of the type {type(found).__name__}: {rule}")
    return found


def parse_signing_key(
    key: str | bytes | Ed25519PrivateKey, source: str = "signing_key="
) -> Ed25519PrivateKey:
    r"""Read the private key with which a service signs requests.

    Args:
        key: PEM (PKCS#8, not encrypted), where a literal `\n` is a newline too, or base64 of
            the 32 bytes. Whitespace around is stripped.
        source: Where the key came from, for the message.

    Returns:
        The key.

    Raises:
        ConfigurationError: It is not such a key. The message does not show it.
    """
    rule = "an Ed25519 private key is required, as PEM (PKCS#8) or as base64 of its 32 bytes"
    what = f"the signing key from {source}"
    found = _read_key(key, what, rule, Ed25519PrivateKey.from_private_bytes)
    if isinstance(found, Ed25519PublicKey):
        raise ConfigurationError(f"{what} is a verification key, the public half: {rule}")
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigurationError(f"{what} is of the type {type(found).__name__}: {rule}")
    return found


def _read_key(key: object, what: str, rule: str, load_raw: Callable[[bytes], object]) -> object:
    """Read the key in a text, of any type; other values are returned unchanged."""
    if isinstance(key, str):
        key = key.encode("ascii", "replace")
    if not isinstance(key, bytes):
        return key
    text = key.strip()
    # The errors of the libraries are not chained: they may show characters of the key.
    try:
        if b"-----BEGIN" not in text:
            return load_raw(base64.b64decode(text, validate=True))
        pem = text.replace(b"\\n", b"\n")
        if b"PRIVATE KEY-----" in pem:
            return serialization.load_pem_private_key(pem, password=None)
        return serialization.load_pem_public_key(pem)
    except TypeError:
        raise ConfigurationError(f"{what} is encrypted, and cannot be read: {rule}") from None
    except (ValueError, UnsupportedAlgorithm, InternalError):
        raise ConfigurationError(f"{what} cannot be read: {rule}") from None


def base64_text(data: bytes) -> str:
    """Encode bytes in base64."""
    return base64.b64encode(data).decode()
