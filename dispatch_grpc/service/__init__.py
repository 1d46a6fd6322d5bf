"""The durable Dispatch service: calls are kept in PostgreSQL, and run until they finish."""

from dispatch_grpc.service._service import Service
from dispatch_grpc.service.settings import ServiceSettings

__all__ = ["Service", "ServiceSettings"]
