"""Servers on the loopback interface, each in a thread."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dispatch_grpc.client.settings import DEFAULT_MAX_MESSAGE_BYTES
from dispatch_grpc.serving import ASGIApplication, one_port, sockets
from dispatch_grpc.serving.dispatch_service import Handler, dispatch_app

_START_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Server:
    """A server that `serve` runs.

    Attributes:
        url: Its API URL, for `Client(api_url=…)`.
    """

    url: str


@contextlib.contextmanager
def serve(
    handler: Handler,
    api_key: str | None = None,
    *,
    max_request_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
) -> Iterator[Server]:
    """Serve DispatchService on a free port of the loopback interface, in a thread.

    The server speaks gRPC, Connect and gRPC-Web at the same URL.

    Args:
        handler: Records the calls: a `CallRecorder`, or a `Handler` of your own.
        api_key: The valid API key; None disables authentication.
        max_request_bytes: Largest request to read.

    Yields:
        The running server; it is stopped at the end of the `with` block.
    """
    app = dispatch_app(
        handler,
        api_keys=None if api_key is None else [api_key],
        max_request_bytes=max_request_bytes,
    )
    with serve_app(app) as server:
        yield server


@contextlib.contextmanager
def serve_app(app: ASGIApplication, **tls: Any) -> Iterator[Server]:
    """Serve any ASGI application in a thread, like `serve`.

    Args:
        app: The application.
        tls: Arguments for TLS, as for `one_port.serve`; the server then speaks https.

    Yields:
        The running server.
    """
    listener = sockets.listen()
    scheme, port = "https" if tls else "http", listener.getsockname()[1]
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    started = threading.Event()

    async def main() -> None:
        event = asyncio.Event()
        stop.append((asyncio.get_running_loop(), event))

        async def until() -> None:
            started.set()
            await event.wait()

        await one_port.serve(app, listener, until=until, **tls)

    thread = threading.Thread(
        target=asyncio.run, args=(main(),), name="dispatch-server", daemon=True
    )
    thread.start()
    try:
        if not started.wait(_START_SECONDS):
            raise RuntimeError("the server did not start")
        yield Server(f"{scheme}://localhost:{port}" if tls else f"http://127.0.0.1:{port}")
    finally:
        for loop, event in stop:
            loop.call_soon_threadsafe(event.set)
        thread.join(_START_SECONDS)
