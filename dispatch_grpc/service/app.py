"""The service as an ASGI application: its services, health, metrics, the page."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dispatch.calls.v1.calls_connect import CallServiceASGIApplication
from dispatch.calls.v1.schedules_connect import ScheduleServiceASGIApplication

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import RPCError, rpc_error
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.accepting import Accepting
from dispatch_grpc.service.faults import is_transient
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.standard import standard_services
from dispatch_grpc.serving import ASGIApplication
from dispatch_grpc.serving.access import KeyRing
from dispatch_grpc.serving.codecs import LATE_CODECS, decoded
from dispatch_grpc.serving.details import RETRY_SECONDS, reason
from dispatch_grpc.serving.dispatch_service import (
    Authenticate,
    answering,
    connect_error,
    dispatch_app,
    idempotency_key,
)
from dispatch_grpc.serving.grpc_rules import GRPCRules

_DISPATCH_SERVICE = "dispatch.sdk.v1.DispatchService"

Method = Callable[[Any, str | None], Awaitable[Any]]
"""A method of a service: takes the request and its idempotency key."""


def unkeyed(method: Callable[[Any], Awaitable[Any]]) -> Method:
    """Make a method of one that takes no idempotency key."""
    return lambda request, _: method(request)


class _Translated:
    """The methods of a service; their errors become those of the server's library."""

    def __init__(self, methods: Mapping[str, Method], keys: KeyRing) -> None:
        for name, method in methods.items():
            setattr(self, re.sub("(?<!^)(?=[A-Z])", "_", name).lower(), _translated(method, keys))


def _translated(method: Method, keys: KeyRing) -> Callable[[Any, Any], Any]:
    async def call(request: Any, ctx: Any) -> Any:
        try:
            key = idempotency_key(ctx.request_headers, keys)
            return await method(await decoded(request), key)
        except RPCError as error:
            raise connect_error(error) from error
        except Exception as error:
            if is_transient(error):
                raise connect_error(_unavailable()) from error
            logger.exception("a request failed")
            raise connect_error(rpc_error(Code.INTERNAL, "internal error")) from error

    return call


def _unavailable() -> RPCError:
    message = f"the database is unavailable; try again in {RETRY_SECONDS} s"
    error = rpc_error(Code.UNAVAILABLE, message, [reason("DATABASE_UNAVAILABLE")])
    error.retry_after = RETRY_SECONDS
    return error


class Application:
    """Routes each request: to a service, to health and metrics, or to the page.

    Args:
        accepting: Dispatch and Submit.
        calls: The other methods of CallService, by their names.
        schedules: The methods of ScheduleService, by their names.
        metrics: The metrics at `/metrics`.
        keys: The API keys.
        max_request_bytes: Largest request to read.
        is_ready: What `/readyz` and grpc.health.v1.Health answer.
        is_alive: What `/healthz` answers.
        stopping: Set when the process stops.
        page: The page at `/`.
    """

    def __init__(
        self,
        accepting: Accepting,
        calls: Mapping[str, Method],
        schedules: Mapping[str, Method],
        metrics: Metrics,
        *,
        keys: KeyRing,
        max_request_bytes: int,
        is_ready: Callable[[], bool],
        is_alive: Callable[[], bool],
        stopping: asyncio.Event,
        page: ASGIApplication,
    ) -> None:
        self._dispatch = dispatch_app(accepting, api_keys=keys, max_request_bytes=max_request_bytes)
        self._services: dict[str, ASGIApplication] = {}
        call_service: Any = _Translated(calls, keys)
        call_service.submit = answering(accepting.submit, keys)
        for cls, service, names in (
            (CallServiceASGIApplication, call_service, ("Submit", *calls)),
            (ScheduleServiceASGIApplication, _Translated(schedules, keys), tuple(schedules)),
        ):
            make: Any = cls
            found = make(
                service,
                interceptors=(Authenticate(keys),),
                read_max_bytes=max_request_bytes,
                compressions=None,
                codecs=LATE_CODECS,
            )
            self._services[found.path] = GRPCRules(
                found, [f"{found.path}/{name}" for name in names]
            )
        own = [_DISPATCH_SERVICE, *(path.removeprefix("/") for path in self._services)]
        self._services |= standard_services(own, is_ready, stopping)
        self._metrics = metrics
        self._is_ready = is_ready
        self._is_alive = is_alive
        self._page = page

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request of ASGI."""
        path = scope["path"]
        if (service := self._services.get(path.rpartition("/")[0])) is not None:
            await service(scope, receive, send)
        elif path == "/healthz":
            alive = self._is_alive()
            await answer(send, 200 if alive else 503, b"ok\n" if alive else b"not alive\n")
        elif path == "/readyz":
            ready = self._is_ready()
            await answer(send, 200 if ready else 503, b"ready\n" if ready else b"not ready\n")
        elif path == "/metrics":
            kind = b"text/plain; version=0.0.4; charset=utf-8"
            await answer(send, 200, self._metrics.render(), kind)
        elif path == "/" or path.startswith("/calls"):
            await self._page(scope, receive, send)
        else:
            await self._dispatch(scope, receive, send)


async def answer(
    send: Any,
    status: int,
    body: bytes,
    content_type: bytes = b"text/plain",
    *headers: tuple[bytes, bytes],
) -> None:
    """Answer a request."""
    fields = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
