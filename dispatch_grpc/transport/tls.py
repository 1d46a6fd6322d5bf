"""Certificates for https."""

from dispatch_grpc.errors import ConfigurationError


class TLSCredentials:
    """Certificates for `https`, each as PEM bytes.

    Attributes:
        root_certificates: Authorities to trust instead of the system's.
        certificate_chain: Certificate by which the client shows who it is.
        private_key: Key of that certificate.
    """

    def __init__(
        self,
        *,
        root_certificates: bytes | None = None,
        certificate_chain: bytes | None = None,
        private_key: bytes | None = None,
    ) -> None:
        for name, value in (
            ("root_certificates", root_certificates),
            ("certificate_chain", certificate_chain),
            ("private_key", private_key),
        ):
            if value is not None and not (isinstance(value, bytes) and b"-----BEGIN" in value):
                raise ConfigurationError(
                    f"credentials: {name} must be bytes in PEM form; got "
                    f"{type(value).__name__} without a '-----BEGIN' line"
                )
        if (certificate_chain is None) != (private_key is None):
            raise ConfigurationError(
                "credentials: certificate_chain and private_key go together; got one of them"
            )
        self.root_certificates = root_certificates
        self.certificate_chain = certificate_chain
        self.private_key = private_key
