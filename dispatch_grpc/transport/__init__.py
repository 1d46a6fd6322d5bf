"""Send a message, get a message or an error: by gRPC (`grpc`) or Connect (`connect`).

Only this room knows grpcio, connectrpc and the HTTP clients of the calling side.
"""

from dispatch_grpc.transport.protocols import AsyncTransport, Metadata, Method, Transport
from dispatch_grpc.transport.retry import RetryPolicy
from dispatch_grpc.transport.target import Target, is_loopback
from dispatch_grpc.transport.tls import TLSCredentials

__all__ = [
    "AsyncTransport",
    "Metadata",
    "Method",
    "RetryPolicy",
    "TLSCredentials",
    "Target",
    "Transport",
    "is_loopback",
]
