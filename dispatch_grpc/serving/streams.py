"""gRPC services with streams, as ASGI applications."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from connectrpc.compat import google_protobuf_codecs
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectASGIApplication, Endpoint

from dispatch_grpc.serving import ASGIApplication
from dispatch_grpc.serving.grpc_rules import GRPCRules

_T = TypeVar("_T")

_MAX_REQUEST_BYTES = 64 * 1024  # no key is needed for these services
_KINDS: Mapping[StreamType, Callable[..., Any]] = {
    StreamType.UNARY: Endpoint.unary,
    StreamType.SERVER_STREAM: Endpoint.server_stream,
    StreamType.BIDI_STREAM: Endpoint.bidi_stream,
}


class _Application(ConnectASGIApplication[None]):
    def __init__(self, path: str, endpoints: Mapping[str, Any]) -> None:
        self._path = path
        super().__init__(
            service=None,
            endpoints=lambda _: endpoints,
            read_max_bytes=_MAX_REQUEST_BYTES,
            codecs=google_protobuf_codecs(),
        )

    @property
    def path(self) -> str:
        return self._path


def application(
    service: str, methods: Mapping[str, tuple[StreamType, Any, Any, Callable[..., Any]]]
) -> ASGIApplication:
    """Make the application of a service.

    Args:
        service: Its full name.
        methods: By name, the kind of each method, the classes of its request and its answer, and
            the function that answers.
    """
    endpoints = {
        f"/{service}/{name}": _KINDS[kind](
            MethodInfo(
                name=name,
                service_name=service,
                input=request,
                output=response,
                idempotency_level=IdempotencyLevel.UNKNOWN,
                stream_type=kind,
            ),
            function,
        )
        for name, (kind, request, response, function) in methods.items()
    }
    return GRPCRules(_Application(f"/{service}", endpoints), list(endpoints))


async def until(stopping: asyncio.Event, items: AsyncIterator[_T]) -> AsyncIterator[_T]:
    """Yield items until there are no more, or the server stops: an open stream would delay that."""
    stop = asyncio.ensure_future(stopping.wait())
    try:
        while True:
            item = asyncio.ensure_future(anext(items, None))
            try:
                await asyncio.wait({item, stop}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                item.cancel()
            if not item.done() or (found := item.result()) is None:
                return
            yield found
    finally:
        stop.cancel()
