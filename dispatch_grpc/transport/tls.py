"""Certificates for https: which authorities are trusted, and what is wrong with a certificate."""

import contextlib
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from socket import socket
from typing import Any

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import CertificateError, ConfigurationError, RPCError, UnavailableError
from dispatch_grpc.text import shorten

# The files in which Linux distributions keep the system's roots: the ones that Go reads.
_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat, Fedora
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",  # Alpine
)
_NO_TIME_CHECK = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which the module ssl does not name
_ALERT_SECONDS = 1.0  # a server that refuses the client's certificate says so within a round trip


@dataclass(frozen=True, kw_only=True, repr=False)  # a repr would show the key
class TLSCredentials:
    """Certificates for `https`, each as PEM bytes.

    Attributes:
        root_certificates: Authorities to trust instead of the system's.
        certificate_chain: The client's own certificate, with the intermediate ones.
        private_key: Key of that certificate, not encrypted.
    """

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = None

    def __post_init__(self) -> None:
        for name in ("root_certificates", "certificate_chain", "private_key"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, bytes) and b"-----BEGIN" in value):
                raise ConfigurationError(
                    f"credentials: {name} must be bytes in PEM form; got "
                    f"{type(value).__name__} without a '-----BEGIN' line"
                )
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ConfigurationError(
                "credentials: certificate_chain and private_key go together; got one of them"
            )


def with_roots(
    tls: TLSCredentials | None, env: Mapping[str, str], *variables: str
) -> TLSCredentials:
    """Return credentials with roots: the given ones, else the environment's, else the system's.

    Args:
        tls: The credentials of the client.
        env: The environment.
        variables: Names of the variables that may hold the path of a file of roots.

    Returns:
        Credentials whose roots are None only where neither a variable nor a file of the system
        names any: then the libraries' own are trusted.
    """
    tls = tls or TLSCredentials()
    roots = tls.root_certificates
    for name in variables if roots is None else ():
        if path := env.get(name, "").strip():
            try:
                roots = Path(path).read_bytes()
            except OSError as error:
                raise ConfigurationError(f"{name}: cannot read {path}: {error.strerror}") from error
            break
    for path in _SYSTEM_ROOTS if roots is None else ():
        with contextlib.suppress(OSError):
            roots = Path(path).read_bytes()
            break
    return replace(tls, root_certificates=roots)


def context_of(tls: TLSCredentials) -> ssl.SSLContext:
    """Make the context of the module ssl for credentials."""
    try:
        roots = tls.root_certificates
        context = ssl.create_default_context(
            cadata=None if roots is None else roots.decode("ascii", "replace")
        )
        if tls.certificate_chain is not None and tls.private_key is not None:
            with tempfile.TemporaryDirectory() as folder:  # ssl reads them from files only
                file = Path(folder, "client.pem")
                file.touch(mode=0o600)
                file.write_bytes(tls.private_key + b"\n" + tls.certificate_chain)
                context.load_cert_chain(file, password="")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigurationError(f"credentials: not usable certificates: {reason}") from error
    return context


def diagnose(connect: Callable[[], socket], host: str, context: ssl.SSLContext) -> RPCError | None:
    """Find out by a handshake of our own what is wrong with the TLS of a server.

    Args:
        connect: Opens a connection to the server.
        host: Name to check the certificate for.
        context: The authorities to trust, and the client's certificate.

    Returns:
        The error to raise, or None if TLS works or no connection can be opened.
    """
    closed = False
    try:
        sock = connect()
    except OSError:
        return None
    try:
        with context.wrap_socket(sock, server_hostname=host) as tls:
            if tls.version() == "TLSv1.3":  # the server checks our certificate after its handshake
                tls.settimeout(_ALERT_SECONDS)
                closed = not tls.recv(1)
    except ssl.SSLError as error:
        if not is_end(error):
            return explain(error, connect, host)
        closed = True
    except (ConnectionResetError, BrokenPipeError):
        closed = True
    except OSError:
        pass
    if not closed:
        return None
    return UnavailableError(
        f"{host} closed the connection during or right after the TLS handshake: it may require a "
        f"client certificate (pass certificate_chain and private_key from an authority that the "
        f"server trusts), or not serve TLS",
        code=Code.UNAVAILABLE,
    )


def is_end(error: BaseException) -> bool:
    """Return whether the peer just closed; Python 3.15 raises no SSLEOFError for it."""
    return isinstance(error, ssl.SSLError) and (
        isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING"
    )


def explain(error: ssl.SSLError, connect: Callable[[], socket], host: str) -> RPCError:
    """Return the error of a handshake that failed, with its cause and the remedy."""
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = _problem(error.verify_code, host, _certificate(connect, host))
        found: RPCError = CertificateError(message, code=Code.UNAVAILABLE)
    elif "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        found = CertificateError(
            f"{host} did not accept the client's certificate "
            f"({reason.partition('ALERT_')[2].replace('_', ' ').lower()}): pass "
            f"certificate_chain and private_key from an authority that the server trusts",
            code=Code.UNAVAILABLE,
        )
    elif "WRONG_VERSION" in reason or "HTTP_REQUEST" in reason or "RECORD_LAYER" in reason:
        found = UnavailableError(
            f"{host} answers without TLS: use http:// if it is meant to be plaintext",
            code=Code.UNAVAILABLE,
        )
    else:
        text = reason.replace("_", " ").lower() or str(error)
        return UnavailableError(f"the TLS handshake failed: {text}", code=Code.UNAVAILABLE)
    found.retry_after = -1.0  # a retry cannot succeed
    return found


def _problem(verify_code: int, host: str, certificate: dict[str, Any]) -> str:
    """Say what is wrong with a certificate, and what to do."""
    if verify_code == 10:
        until = certificate.get("notAfter", "an unknown day")
        return f"the certificate of {host} expired on {until}: the server needs a new one"
    if verify_code == 9:
        since = certificate.get("notBefore", "an unknown day")
        return f"the certificate of {host} is valid from {since} on: is this machine's clock right?"
    if verify_code in {62, 64}:
        names = shorten(", ".join(name for _, name in certificate.get("subjectAltName", ())), 200)
        return (
            f"the certificate of {host} is for another name ({names or 'it holds none'}): use a "
            f"URL with that name, or a certificate for {host}"
        )
    issuer = {key: value for pairs in certificate.get("issuer", ()) for key, value in pairs}
    name = issuer.get("commonName") or issuer.get("organizationName") or "unknown"
    return (
        f"the certificate of {host} is not trusted (issuer {name}): pass root_certificates, or "
        f"add the authority to the system's store"
    )


def _certificate(connect: Callable[[], socket], host: str) -> dict[str, Any]:
    """Return the fields of a server's certificate, which the module ssl decodes only if trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(connect(), server_hostname=host) as tls:
            der = tls.getpeercert(binary_form=True) or b""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_TIME_CHECK
        context.load_verify_locations(cadata=der)
        with context.wrap_socket(connect(), server_hostname=host) as tls:
            return tls.getpeercert() or {}
    except (OSError, ValueError):
        return {}
