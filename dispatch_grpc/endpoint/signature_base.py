"""The signature base of a request, over which the signature is made: RFC 9421, section 2.5.

`http_message_signatures` makes it for every component that there is, in about a millisecond. The
components of almost all requests are put together here, in some microseconds. Whatever looks
unusual is left to the library, and so are the messages that say what is wrong.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

try:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from http_message_signatures.algorithms import (
        ED25519,  # pyright: ignore[reportPrivateImportUsage]
    )
    from http_message_signatures.exceptions import HTTPMessageSignaturesException
    from http_message_signatures.resolvers import (
        HTTPSignatureComponentResolver,
        MappingKeyResolver,
    )
    from http_message_signatures.signatures import HTTPMessageSigner, HTTPMessageVerifier
except ImportError as missing:
    raise ImportError(
        "signatures need an extra: pip install 'dispatch-grpc[endpoint]'"
    ) from missing

from dispatch_grpc.errors import ConfigurationError

LABEL = "dispatch"
KEY_ID = "default"
ALGORITHM = ED25519.algorithm_id
COVERED = ("@method", "@path", "@authority", "content-type", "content-digest")
DERIVED = frozenset({"@method", "@path", "@authority"})
"""Components that `plain_base` derives from the request; all others are headers."""

_METHOD = re.compile("[A-Z]+")
_SIGNER = HTTPMessageSigner(signature_algorithm=ED25519)
_RESOLVER: Any = HTTPSignatureComponentResolver


def plain_base(
    method: str, url: str, fields: Mapping[str, str], names: Iterable[str], parameters: str
) -> bytes | None:
    """Return the signature base of plain components.

    Args:
        method: Method of the request.
        url: Its absolute URL.
        fields: Its headers by lower-case name.
        names: Names of the components, each once, in lower case and without parameters.
        parameters: Parameters of the signature, as they are serialized.

    Returns:
        The base, or None if the library has to make it or to say what is wrong.
    """
    target = _target(url)
    if target is None or not _METHOD.fullmatch(method):
        return None
    path, authority = target
    derived = {"@method": method, "@path": path, "@authority": authority}
    lines = []
    for name in names:
        value = derived[name] if name in DERIVED else fields.get(name)
        if value is None or not value.isascii() or not value.isprintable():
            return None
        if value != value.strip():
            return None
        lines.append(f'"{name}": {value}\n')
    inner = " ".join(f'"{name}"' for name in names)
    return f'{"".join(lines)}"@signature-params": ({inner}){parameters}'.encode()


@lru_cache(maxsize=128)
def _target(url: str) -> tuple[str, str] | None:
    """Return the path and the authority of a URL, as they are signed."""
    try:
        resolver = _RESOLVER(SimpleNamespace(method="POST", url=url, headers={}))
        return resolver.get_path(), resolver.get_authority()
    except HTTPMessageSignaturesException:
        return None


def library_base(
    method: str, url: str, fields: Mapping[str, str], created: int
) -> tuple[bytes, str]:
    """Return the signature base to sign, and its components and parameters.

    Raises:
        ConfigurationError: The request cannot be signed; the message says why.
    """
    try:
        prepared = _SIGNER.prepare(
            SimpleNamespace(method=method, url=url, headers=fields),
            key_id=KEY_ID,
            created=datetime.fromtimestamp(created, UTC),
            covered_component_ids=COVERED,
            use_existing_digest=True,
        )
    except HTTPMessageSignaturesException as error:
        raise ConfigurationError(f"the request cannot be signed: {error}") from error
    return prepared.signature_base, str(prepared.signature_params)


def verify_by_library(
    method: str, url: str, headers: Mapping[str, str], key: Ed25519PublicKey
) -> None:
    """Verify the only signature in these headers.

    One and no more: among several, the library wants to choose by a tag, which peers do not set.

    Raises:
        HTTPMessageSignaturesException: The signature is not valid, or cannot be verified.
    """
    resolver = MappingKeyResolver(public_keys={KEY_ID: key}, private_keys={})
    _Verifier(signature_algorithm=ED25519, key_resolver=resolver).verify(
        SimpleNamespace(method=method, url=url, headers=headers), max_age=None
    )


class _Verifier(HTTPMessageVerifier):
    """The library's verifier without its clock: `signature` has one that can be set."""

    def validate_created_and_expires(self, sig_input: object, max_age: object = None) -> None:
        pass
