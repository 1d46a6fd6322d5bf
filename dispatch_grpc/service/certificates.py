"""What is wrong with the certificate of an endpoint, in plain words."""

import ssl
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dispatch_grpc.text import shorten

if TYPE_CHECKING:
    from cryptography import x509

# OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME = {62, 64}


def problem_of_certificate(
    host: str, error: ssl.SSLCertVerificationError, certificate: bytes | None
) -> str:
    """Say why a certificate was refused.

    Args:
        host: The host that was called.
        error: The error of the TLS handshake.
        certificate: The certificate (DER) that the host shows, if it could be read.
    """
    from cryptography import x509

    found = None
    if certificate is not None:
        with suppress(ValueError):
            found = x509.load_der_x509_certificate(certificate)
    of = f"the certificate of {host}"
    if error.verify_code == _EXPIRED:
        on = f" on {_day(found.not_valid_after_utc)}" if found else ""
        return f"{of} expired{on}"
    if error.verify_code == _NOT_YET_VALID:
        on = f" before {_day(found.not_valid_before_utc)}" if found else " yet"
        return f"{of} is not valid{on}"
    if error.verify_code in _OTHER_NAME:
        names = _names(found) if found else []
        return f"{of} is for another name" + (
            f": {shorten(', '.join(names), 200)}" if names else ""
        )
    issuer = f" (issuer {shorten(found.issuer.rfc4514_string(), 200)})" if found else ""
    return (
        f"{of} is not trusted{issuer}: add the authority to the system's store, or name its file "
        f"in SSL_CERT_FILE; {error.verify_message}"
    )


def _day(time: datetime) -> str:
    return time.astimezone(UTC).date().isoformat()


def _names(certificate: "x509.Certificate") -> list[str]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *map(str, addresses)]
