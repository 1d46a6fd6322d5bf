"""grpc.health.v1.Health, for probes and load balancers of gRPC."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.method import StreamType

from dispatch_grpc.errors import missing_extra
from dispatch_grpc.serving import ASGIApplication
from dispatch_grpc.serving.streams import application
from dispatch_grpc.text import quoted

try:
    from grpc_health.v1 import health_pb2
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
except ImportError as _error:
    raise missing_extra(_error, "the service", "service") from _error

NAME = "grpc.health.v1.Health"
# The schema of older releases has no List.
_ListRequest: Any = getattr(health_pb2, "HealthListRequest", None)
_ListResponse: Any = getattr(health_pb2, "HealthListResponse", None)
_LOOK_SECONDS = 0.5


class Health:
    """The health of a server, which all its services share.

    Args:
        services: The full names of its services; the server as a whole has the empty name.
        is_ready: Whether it serves.
        stopping: Set when it stops, which ends the streams.
    """

    def __init__(
        self, services: Collection[str], is_ready: Callable[[], bool], stopping: asyncio.Event
    ) -> None:
        self._services = ("", *services)
        self._is_ready = is_ready
        self._stopping = stopping

    @property
    def app(self) -> ASGIApplication:
        """The ASGI application."""
        request, response = HealthCheckRequest, HealthCheckResponse
        methods: dict[str, Any] = {
            "Check": (StreamType.UNARY, request, response, self._check),
            "Watch": (StreamType.SERVER_STREAM, request, response, self._watch),
        }
        if _ListRequest is not None:
            methods["List"] = (StreamType.UNARY, _ListRequest, _ListResponse, self._list)
        return application(NAME, methods)

    def _status(self) -> Any:
        status = HealthCheckResponse.ServingStatus
        return status.SERVING if self._is_ready() else status.NOT_SERVING

    async def _check(self, request: Any, _: Any) -> Any:
        if request.service not in self._services:
            raise ConnectError(
                Code.NOT_FOUND, f"service: there is no service {quoted(request.service)}"
            )
        return HealthCheckResponse(status=self._status())

    async def _list(self, _: Any, __: Any) -> Any:
        found = HealthCheckResponse(status=self._status())
        return _ListResponse(statuses=dict.fromkeys(self._services, found))

    async def _watch(self, request: Any, _: Any) -> AsyncIterator[Any]:
        """Yield the status, and again when it changes."""
        last = None
        while True:
            status = self._status()
            if request.service not in self._services:
                status = HealthCheckResponse.ServingStatus.SERVICE_UNKNOWN
            if status != last:
                yield HealthCheckResponse(status=status)
                last = status
            if self._stopping.is_set():
                return
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                pass
