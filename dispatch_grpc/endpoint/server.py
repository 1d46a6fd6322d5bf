"""Serving an endpoint until a signal: see `Endpoint.serve`."""

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from dispatch_grpc.codes import Code
from dispatch_grpc.endpoint.app import Host, answer, refuse
from dispatch_grpc.errors import EndpointError
from dispatch_grpc.log import logger
from dispatch_grpc.serving import ASGIApplication, one_port, sockets
from dispatch_grpc.text import counted


def serve(
    endpoint: Host, app: ASGIApplication, host: str, port: int, shutdown_timeout: timedelta
) -> None:
    """Serve an endpoint until a signal: see `Endpoint.serve`."""
    if threading.current_thread() is not threading.main_thread():
        raise EndpointError(
            "serve() works only in the main thread, where it handles signals; in another thread, "
            "run endpoint.app with an ASGI server"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise EndpointError(
            "serve() starts its own event loop, but one is already running here: call it "
            "outside of asyncio.run(), or run endpoint.app with an ASGI server in this loop, as "
            "in 'await uvicorn.Server(uvicorn.Config(endpoint.app)).serve()'"
        )
    listener = sockets.listen(host, port)
    one_port.run(_serve(endpoint, app, listener, shutdown_timeout.total_seconds()))


async def _serve(
    endpoint: Host, app: ASGIApplication, listener: socket.socket, seconds: float
) -> None:
    stop = asyncio.Event()
    serving = _Serving(app, stop)
    host, port = listener.getsockname()[:2]
    with _signals(stop):
        logger.info(
            "serving %s at http://%s:%d (%s)",
            counted(len(endpoint.functions), "function"),
            f"[{host}]" if ":" in host else host,
            port,
            ", ".join(endpoint.functions) or "none",
        )
        await one_port.serve(serving, listener, until=stop.wait, graceful_seconds=seconds)
    logger.info("stopped")


class _Serving:
    """An application with `/healthz`, which refuses requests while the server stops."""

    def __init__(self, app: ASGIApplication, stop: asyncio.Event) -> None:
        self._app, self._stop = app, stop

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._stop.is_set():
            await refuse(send, Code.UNAVAILABLE, "the endpoint is shutting down")
        elif scope["path"] == "/healthz":
            await answer(send, 200, b"text/plain", b"ok\n")
        else:
            await self._app(scope, receive, send)


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """Set an event on SIGTERM and SIGINT; a second one ends the process immediately."""
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT]
    previous = [signal.getsignal(number) for number in numbers]

    def handle(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop.set)

    try:
        for number in numbers:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
