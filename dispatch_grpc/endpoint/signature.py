"""Signatures of the requests from a Dispatch service to an endpoint.

HTTP Message Signatures (RFC 9421) by Ed25519, labelled `dispatch`. They cover the method, the
path, the authority, the content-type and, by a SHA-512 digest (RFC 9530), the body.
"""

import hashlib
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from dispatch_grpc.errors import missing_extra

try:
    import http_sf
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from http_message_signatures.digests import ContentDigest
    from http_message_signatures.exceptions import HTTPMessageSignaturesException
except ImportError as _error:
    raise missing_extra(_error, "the signing of requests", "endpoint") from _error

from dispatch_grpc.calls import mask_urls
from dispatch_grpc.codes import Code
from dispatch_grpc.endpoint.keys import (
    KeyPair,
    base64_text,
    new_key_pair,
    parse_signing_key,
    parse_verification_key,
)
from dispatch_grpc.endpoint.signature_base import (
    ALGORITHM,
    COVERED,
    DERIVED,
    KEY_ID,
    LABEL,
    library_base,
    plain_base,
    verify_by_library,
)
from dispatch_grpc.errors import ConfigurationError, SignatureError
from dispatch_grpc.text import quoted, shorten

__all__ = [
    "KeyPair",
    "new_key_pair",
    "parse_signing_key",
    "parse_verification_key",
    "sign_request",
    "verify_request",
]

_MAX_AGE_SECONDS = 300
_CLOCK_SKEW_SECONDS = 5
_PARAMETERS = {"created": int, "keyid": str, "alg": str, "expires": int, "nonce": str, "tag": str}
_FIELD = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_ALONE = re.compile(rf"{LABEL}=:([A-Za-z0-9+/]{{86}}==):")
_INNER = "(" + " ".join(f'"{name}"' for name in COVERED) + ")"


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
    digest = _digest(body)
    fields = {"content-type": types[0].strip(), "content-digest": digest}
    seconds = int(_seconds("created", created))
    parameters = f';created={seconds};keyid="{KEY_ID}";alg="{ALGORITHM}"'
    base, inner = plain_base(method, url, fields, COVERED, parameters), f"{_INNER}{parameters}"
    if base is None:
        base, inner = library_base(method, url, fields, seconds)
    return {
        "content-digest": digest,
        "signature-input": f"{LABEL}={inner}",
        "signature": f"{LABEL}=:{base64_text(key.sign(base))}:",
    }


def verify_request(
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    key: Ed25519PublicKey,
    *,
    now: datetime | None = None,
    other_urls: Sequence[str] = (),
) -> None:
    """Verify that a request was signed with a key in the last 5 minutes, and not changed since.

    Only the signature labelled `dispatch` counts (RFC 9421, section 4.3). Clocks may differ by
    5 s.

    Args:
        method: Method of the request.
        url: Its absolute URL, encoded as it was received.
        headers: Its headers; one that occurs twice is in them twice.
        body: Its body, as it was received.
        key: Public key.
        now: Time of the verification, an aware datetime; None is now.
        other_urls: URLs that the request may have been signed for instead: behind a proxy that
            changes the Host or the path, the URL that its clients use.

    Raises:
        SignatureError: The signature is missing or malformed (UNAUTHENTICATED), or it is not
            valid (PERMISSION_DENIED); the message says why.
    """
    fields: dict[str, list[str]] = {}
    for name, value in headers:
        fields.setdefault(name.lower(), []).append(value)
    components, parameters, inner, plain = _signature_input(_header(fields, "signature-input"))
    signature = _signature(_header(fields, "signature"))
    _check_parameters(parameters, _seconds("now", now))
    if absent := [name for name in COVERED if (name, {}) not in components]:
        raise _invalid(f"the signature does not cover {', '.join(absent)}")
    for name, _ in components:
        _refuse_repeated(fields, name)
    covered = {name: fields[name][0] for name, _ in components if name in fields}
    refusal = None
    for candidate in (url, *other_urls):
        base = plain_base(method, candidate, covered, plain, inner) if plain else None
        try:
            if base is not None:
                key.verify(signature, base)
            else:
                given: Any = (components, parameters)
                signed = {**covered, "signature-input": http_sf.ser({LABEL: given})}
                signed["signature"] = http_sf.ser({LABEL: signature})
                verify_by_library(method, candidate, signed, key)
            break
        except (InvalidSignature, HTTPMessageSignaturesException) as error:
            refusal = refusal or error
    else:
        urls = " or ".join(f"{quoted(mask_urls(tried), 200)}" for tried in (url, *other_urls))
        raise _unfit(refusal, method, urls, components) from refusal
    _check_digest(covered["content-digest"], body)


def _check_digest(header: str, body: bytes) -> None:
    """Compare a body with its digest, after the signature: hashing for strangers costs time."""
    if header == _digest(body):
        return
    try:
        ContentDigest.verify(header, body)
    except HTTPMessageSignaturesException as error:
        raise _invalid(f"the header content-digest: {shorten(str(error), 200)}") from error
    digests: Any = http_sf.parse(header.encode(), tltype="dictionary")
    if "sha-512" not in digests:
        raise _invalid(f"the header content-digest: sha-512 is required; got {', '.join(digests)}")


def _digest(body: bytes) -> str:
    return f"sha-512=:{base64_text(hashlib.sha512(body).digest())}:"


def _unfit(error: Any, method: str, urls: str, components: Any) -> SignatureError:
    if isinstance(error, InvalidSignature) or isinstance(error.__cause__, InvalidSignature):
        names = ", ".join(name for name, _ in components)
        return _invalid(
            f"the signature does not fit this request, {quoted(method, 20)} {urls}: one of "
            f"{shorten(names, 200)} or a parameter was changed, or it was made with another key"
        )
    return _invalid(f"the signature cannot be verified: {shorten(str(error), 200)}")


@lru_cache(maxsize=128)  # those of one second are alike
def _signature_input(header: str) -> tuple[Any, Mapping[str, Any], str, tuple[str, ...] | None]:
    """Parse the signature input with our label.

    Returns:
        The components, the parameters, the parameters as text, and the names of the components
        if all are plain: once each, without parameters.
    """
    components, parameters = _member(header, "signature-input")
    if not isinstance(components, list) or not all(isinstance(name, str) for name, _ in components):
        raise _malformed(f"{LABEL!r} in the header signature-input must be a list of strings")
    names = tuple(name for name, _ in components)
    text = http_sf.ser({LABEL: (components, parameters)}).rpartition(")")[2]
    is_plain = (
        len(set(names)) == len(names)
        and not any(attributes for _, attributes in components)
        and all(name in DERIVED or _FIELD.fullmatch(name) for name in names)
        and parameters.keys() <= _PARAMETERS.keys()
        and not any(")" in value for value in parameters.values() if isinstance(value, str))
    )
    return components, parameters, text, names if is_plain else None


def _signature(header: str) -> bytes:
    """Parse the signature with our label."""
    if alone := _ALONE.fullmatch(header):  # as most are; the library takes 6 µs for it
        return b64decode(alone[1])
    signature, _ = _member(header, "signature")
    if not isinstance(signature, bytes):
        raise _malformed(f"{LABEL!r} in the header signature must be a byte sequence")
    return signature


def _header(fields: Mapping[str, list[str]], name: str) -> str:
    if name not in fields:
        raise _malformed(f"the request is not signed: the header {name} is missing")
    _refuse_repeated(fields, name)
    return fields[name][0]


def _member(value: str, header: str) -> tuple[Any, dict[str, Any]]:
    """Parse a header, and return the value with our label and its parameters."""

    def refuse_repeated_label(key: str, context: str) -> None:
        if (key, context) == (LABEL, "dictionary"):
            raise ValueError(f"{LABEL!r} occurs twice")

    try:
        members: Any = http_sf.parse(
            value.encode(), tltype="dictionary", on_duplicate_key=refuse_repeated_label
        )
    except ValueError as error:
        raise _malformed(f"the header {header} is malformed: {shorten(str(error), 200)}") from error
    if LABEL not in members:
        raise _malformed(f"the header {header} has no member {LABEL!r}")
    found, parameters = members[LABEL]
    return found, parameters


def _refuse_repeated(fields: Mapping[str, list[str]], header: str) -> None:
    # RFC 9421 joins repeated headers; later readers may take the first or the last one.
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
                f"got {quoted(value)}"
            )
    for name, allowed in (("keyid", KEY_ID), ("alg", ALGORITHM)):
        if (given := parameters.get(name, allowed)) != allowed:
            raise _invalid(
                f"the parameter {name} of the signature must be {allowed!r}; got {quoted(given)}"
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


def _seconds(name: str, value: datetime | None) -> float:
    if value is None:
        return datetime.now(UTC).timestamp()
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ConfigurationError(f"{name}: an aware datetime or None is required; got {value!r}")
    return value.timestamp()


def _malformed(message: str) -> SignatureError:
    return SignatureError(message, code=Code.UNAUTHENTICATED)


def _invalid(message: str) -> SignatureError:
    return SignatureError(message, code=Code.PERMISSION_DENIED)
