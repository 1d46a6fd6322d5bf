"""Signatures of the requests from a Dispatch service to an endpoint.

HTTP Message Signatures (RFC 9421) by Ed25519, labelled `dispatch`. They cover the method, the
path, the authority, the content-type and, by a SHA-512 digest (RFC 9530), the body.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from dispatch_grpc.errors import missing_extra

try:
    import http_sf
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from http_message_signatures.algorithms import (
        ED25519,  # pyright: ignore[reportPrivateImportUsage]
    )
    from http_message_signatures.digests import ContentDigest
    from http_message_signatures.exceptions import HTTPMessageSignaturesException
    from http_message_signatures.resolvers import MappingKeyResolver
    from http_message_signatures.signatures import HTTPMessageSigner, HTTPMessageVerifier
except ImportError as _error:
    raise missing_extra(_error, "the signing of requests", "endpoint") from _error

from dispatch_grpc.codes import Code
from dispatch_grpc.endpoint.keys import (
    KeyPair,
    new_key_pair,
    parse_signing_key,
    parse_verification_key,
)
from dispatch_grpc.errors import ConfigurationError, SignatureError

__all__ = [
    "KeyPair",
    "new_key_pair",
    "parse_signing_key",
    "parse_verification_key",
    "sign_request",
    "verify_request",
]

_LABEL = "dispatch"
_KEY_ID = "default"
_COVERED = ("@method", "@path", "@authority", "content-type", "content-digest")
_MAX_AGE_SECONDS = 300
_CLOCK_SKEW_SECONDS = 5
_PARAMETERS = {"created": int, "keyid": str, "alg": str, "expires": int, "nonce": str, "tag": str}
_SIGNER = HTTPMessageSigner(signature_algorithm=ED25519)


def sign_request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    key: Ed25519PrivateKey,
    *,
    created: datetime | None = None,
) -> dict[str, str]:
    """Sign a request.

    Args:
        method: Method, in upper case.
        url: Absolute URL, encoded as it is sent.
        headers: Headers of the request, one content-type among them.
        body: Body, as it is sent.
        key: Private key.
        created: Time of the signature, an aware datetime; None is now.

    Returns:
        The headers to add: `content-digest`, `signature-input` and `signature`.

    Raises:
        ConfigurationError: The request cannot be signed; the message says why.
    """
    types = [value for name, value in headers.items() if name.lower() == "content-type"]
    if len(types) != 1:
        raise ConfigurationError(
            f"headers: one content-type is required, which is signed; got {len(types)}"
        )
    digest = f"sha-512=:{_base64(hashlib.sha512(body).digest())}:"
    fields = {"content-type": types[0], "content-digest": digest}
    try:
        prepared = _SIGNER.prepare(
            SimpleNamespace(method=method, url=url, headers=fields),
            key_id=_KEY_ID,
            created=_time("created", created),
            covered_component_ids=_COVERED,
            use_existing_digest=True,
        )
    except HTTPMessageSignaturesException as error:
        raise ConfigurationError(f"the request cannot be signed: {error}") from error
    return {
        "content-digest": digest,
        "signature-input": f"{_LABEL}={prepared.signature_params}",
        "signature": f"{_LABEL}=:{_base64(key.sign(prepared.signature_base))}:",
    }


def verify_request(
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    key: Ed25519PublicKey,
    *,
    now: datetime | None = None,
) -> None:
    """Verify that a request was signed with a key, lately, and is as it was then.

    Only the signature labelled `dispatch` counts (RFC 9421, section 4.3). It may be 5 minutes
    old, and clocks may differ by 5 s.

    Args:
        method: Method of the request.
        url: Its absolute URL, encoded as it was received.
        headers: Its headers, repeated ones repeatedly.
        body: Its body, as it was received.
        key: Public key.
        now: Time of the verification, an aware datetime; None is now.

    Raises:
        SignatureError: The signature is missing or malformed (UNAUTHENTICATED), or it is not
            valid (PERMISSION_DENIED); the message says why.
    """
    fields: dict[str, list[str]] = {}
    for name, value in headers:
        fields.setdefault(name.lower(), []).append(value)
    components, parameters = _member(fields, "signature-input")
    signature, _ = _member(fields, "signature")
    if not isinstance(components, list) or not all(isinstance(name, str) for name, _ in components):
        raise _malformed(f"{_LABEL!r} in the header signature-input must be a list of strings")
    if not isinstance(signature, bytes):
        raise _malformed(f"{_LABEL!r} in the header signature must be a byte sequence")
    _check_parameters(parameters, _time("now", now).timestamp())
    if absent := [name for name in _COVERED if (name, {}) not in components]:
        raise _invalid(f"the signature does not cover {', '.join(absent)}")
    for name, _ in components:
        _refuse_repeated(fields, name)
    # The library gets this signature only: among several it wants to choose by a tag, which
    # peers do not set.
    covered = {name: fields[name][0] for name, _ in components if name in fields}
    covered["signature-input"] = http_sf.ser({_LABEL: (components, parameters)})
    covered["signature"] = http_sf.ser({_LABEL: signature})
    resolver = MappingKeyResolver(public_keys={_KEY_ID: key}, private_keys={})
    try:
        _Verifier(signature_algorithm=ED25519, key_resolver=resolver).verify(
            SimpleNamespace(method=method, url=url, headers=covered), max_age=None
        )
    except HTTPMessageSignaturesException as error:
        if isinstance(error.__cause__, InvalidSignature):
            names = ", ".join(name for name, _ in components)
            raise _invalid(
                f"the signature does not fit this request, {method!r:.20} {url!r:.200}: one of "
                f"{names:.200} or a parameter was changed, or it was made with another key"
            ) from error
        raise _invalid(f"the signature cannot be verified: {error!s:.200}") from error
    # Last, so that nobody without the key has large bodies hashed.
    try:
        ContentDigest.verify(covered["content-digest"], body)
    except HTTPMessageSignaturesException as error:
        raise _invalid(f"the header content-digest: {error!s:.200}") from error
    digests: Any = http_sf.parse(covered["content-digest"].encode(), tltype="dictionary")
    if "sha-512" not in digests:
        raise _invalid(f"the header content-digest: sha-512 is required; got {', '.join(digests)}")


def _member(fields: Mapping[str, list[str]], header: str) -> tuple[Any, dict[str, Any]]:
    """What a header has under our label: a value and its parameters."""
    if header not in fields:
        raise _malformed(f"the request is not signed: the header {header} is missing")
    _refuse_repeated(fields, header)

    def refuse_repeated_label(key: str, context: str) -> None:
        if (key, context) == (_LABEL, "dictionary"):
            raise ValueError(f"{_LABEL!r} occurs twice")

    try:
        members: Any = http_sf.parse(
            fields[header][0].encode(), tltype="dictionary", on_duplicate_key=refuse_repeated_label
        )
    except ValueError as error:
        raise _malformed(f"the header {header} is malformed: {error!s:.200}") from error
    if _LABEL not in members:
        raise _malformed(f"the header {header} has no member {_LABEL!r}")
    value, parameters = members[_LABEL]
    return value, parameters


def _refuse_repeated(fields: Mapping[str, list[str]], header: str) -> None:
    # RFC 9421 joins repeated headers; who reads them later may take the first one or the last.
    if (times := len(fields.get(header, ()))) > 1:
        raise _invalid(f"the header {header} occurs {times} times; once is allowed")


def _check_parameters(parameters: Mapping[str, Any], now: float) -> None:
    """Check those of `_PARAMETERS`; the library refuses every other."""
    for name in ("created", "keyid"):
        if name not in parameters:
            raise _malformed(f"the signature has no parameter {name}")
    for name, kind in _PARAMETERS.items():
        if type(value := parameters.get(name, kind())) is not kind:  # a boolean is no integer
            raise _malformed(
                f"the parameter {name} of the signature must be of the type {kind.__name__}; "
                f"got {value!r:.80}"
            )
    for name, allowed in (("keyid", _KEY_ID), ("alg", ED25519.algorithm_id)):
        if (given := parameters.get(name, allowed)) != allowed:
            raise _invalid(
                f"the parameter {name} of the signature must be {allowed!r}; got {given!r:.80}"
            )
    age = now - parameters["created"]
    expired = now - parameters.get("expires", now)
    clocks = f"{_CLOCK_SKEW_SECONDS} s between clocks are allowed: are the clocks right?"
    if age > _MAX_AGE_SECONDS + _CLOCK_SKEW_SECONDS:
        raise _invalid(f"the signature is {age:.1f} s old; {_MAX_AGE_SECONDS} s and {clocks}")
    if -age > _CLOCK_SKEW_SECONDS:
        raise _invalid(f"the signature was created {-age:.1f} s in the future; {clocks}")
    if expired > _CLOCK_SKEW_SECONDS:
        raise _invalid(f"the signature expired {expired:.1f} s ago; {clocks}")


def _time(name: str, value: datetime | None) -> datetime:
    if value is None:
        return datetime.now(UTC)
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ConfigurationError(f"{name}: an aware datetime or None is required; got {value!r}")
    return value


def _malformed(message: str) -> SignatureError:
    return SignatureError(message, code=Code.UNAUTHENTICATED)


def _invalid(message: str) -> SignatureError:
    return SignatureError(message, code=Code.PERMISSION_DENIED)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class _Verifier(HTTPMessageVerifier):
    """The library's verifier, but for its clock: `_check_parameters` has one that can be set."""

    def validate_created_and_expires(self, sig_input: object, max_age: object = None) -> None:
        pass
