"""Public path of the signatures of requests: see `dispatch_grpc.endpoint.signature`."""

from dispatch_grpc.endpoint.signature import (
    KeyPair,
    new_key_pair,
    parse_signing_key,
    parse_verification_key,
    sign_request,
    verify_request,
)

__all__ = [
    "KeyPair",
    "new_key_pair",
    "parse_signing_key",
    "parse_verification_key",
    "sign_request",
    "verify_request",
]
