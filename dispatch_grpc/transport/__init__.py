"""Send a message, get a message or an error: by gRPC (`grpc`) or Connect (`connect`).

Only this room knows grpcio and the HTTP of the calling side.
"""

from dispatch_grpc.transport.protocols import (
    AsyncTransport,
    ConnectionSettings,
    Metadata,
    Method,
    Transport,
)
from dispatch_grpc.transport.proxy import proxy_of
from dispatch_grpc.transport.retry import RetryPolicy
from dispatch_grpc.transport.target import Target, is_loopback
from dispatch_grpc.transport.tls import TLSCredentials, with_roots

__all__ = [
    "AsyncTransport",
    "ConnectionSettings",
    "Metadata",
    "Method",
    "RetryPolicy",
    "TLSCredentials",
    "Target",
    "Transport",
    "is_loopback",
    "proxy_of",
    "with_roots",
]
