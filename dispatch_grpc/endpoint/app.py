"""An endpoint as an ASGI application, and its serving."""

import asyncio
import json
import re
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import (
    ConfigurationError,
    EndpointError,
    RPCError,
    SignatureError,
    rpc_error,
)
from dispatch_grpc.log import logger
from dispatch_grpc.schema import RunRequest, RunResponse, load_all
from dispatch_grpc.serving import ASGIApplication, one_port
from dispatch_grpc.serving.codecs import CODECS
from dispatch_grpc.serving.dispatch_service import connect_error

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dispatch.sdk.v1.function_connect import FunctionServiceASGIApplication

_HTTP_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.UNAVAILABLE: 503,
}


class Host(Protocol):
    """The part of an endpoint that its application uses."""

    url: str
    max_request_bytes: int
    verification_key: "Ed25519PublicKey | None"

    @property
    def functions(self) -> Mapping[str, Any]:
        """The functions by name."""
        ...

    async def run(self, request: RunRequest) -> RunResponse:
        """Run a function."""
        ...


class Application:
    """FunctionService over the functions of an endpoint, behind the check of signatures."""

    def __init__(self, endpoint: Host) -> None:
        load_all()  # JSON needs the types inside of an Any
        self._limit = endpoint.max_request_bytes
        self._key = endpoint.verification_key
        self._service = FunctionServiceASGIApplication(
            _Service(endpoint), read_max_bytes=self._limit, compressions=None, codecs=CODECS
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request (ASGI 3)."""
        if scope["type"] == "websocket":  # of an application in which this one is mounted
            await receive()
            await send({"type": "websocket.close"})
            return
        if scope["type"] == "http":
            try:
                receive = await self._check(scope, receive)
            except _RefusedError as refused:
                await refuse(send, refused.code, str(refused))
                return
        await self._service(scope, receive, send)

    async def _check(self, scope: Any, receive: Any) -> Any:
        """Check the size of a request and, if there is a key for it, its signature."""
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if not all(length.isdigit() and len(length) < 20 for length in lengths):
            raise _RefusedError(Code.INVALID_ARGUMENT, "the Content-Length is not acceptable")
        if lengths and int(lengths[0]) > self._limit:
            raise self._too_large(int(lengths[0]))
        if self._key is None:
            return receive if lengths else self._bounded(receive)
        if not lengths and scope["http_version"] in {"1.0", "1.1"}:
            raise _RefusedError(Code.INVALID_ARGUMENT, "a Content-Length is required")
        body = await self._read(receive)
        self._verify(scope, body, self._key)
        return _replay(body, receive)

    async def _read(self, receive: Any) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _RefusedError(Code.INVALID_ARGUMENT, "the request ended before its body did")
            body += message.get("body", b"")
            if len(body) > self._limit:
                raise self._too_large(len(body))
            if not message.get("more_body"):
                return bytes(body)

    def _bounded(self, receive: Any) -> Any:
        """Receive a body of unknown size, up to the limit."""
        size = 0

        async def bounded() -> Any:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit:
                refused = self._too_large(size)
                raise connect_error(rpc_error(refused.code, str(refused)))
            return message

        return bounded

    def _too_large(self, size: int) -> "_RefusedError":
        return _RefusedError(
            Code.INVALID_ARGUMENT,
            f"the request has {size} bytes or more, the endpoint takes {self._limit}",
        )

    def _verify(self, scope: Any, body: bytes, key: "Ed25519PublicKey") -> None:
        from dispatch_grpc.endpoint.signature import verify_request

        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        hosts = [value for name, value in headers if name == "host"]
        if len(hosts) != 1:
            raise _RefusedError(Code.INVALID_ARGUMENT, f"one Host is required; got {len(hosts)}")
        if not re.fullmatch(r"[^/?#@\\\s]+", hosts[0]):  # or a part of the path could hide in it
            raise _RefusedError(Code.INVALID_ARGUMENT, f"the Host {hosts[0]!r:.80} is none")
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
        path = raw_path.decode("latin-1").partition("?")[0]
        url = f"{scope.get('scheme', 'http')}://{hosts[0]}{path}"
        try:
            verify_request(scope["method"], url, headers, body, key)
        except SignatureError as error:
            logger.warning("refused a request: %s", error)
            raise _RefusedError(error.code, str(error)) from error


class _Service:
    def __init__(self, endpoint: Host) -> None:
        self._endpoint = endpoint

    async def run(self, request: RunRequest, ctx: Any) -> RunResponse:  # noqa: ARG002
        try:
            return await self._endpoint.run(request)
        except RPCError as error:
            raise connect_error(error) from error


class _RefusedError(Exception):
    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def _replay(body: bytes, receive: Any) -> Any:
    """Receive a body that was read already, and then what follows."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Any:
        return messages.pop() if messages else await receive()

    return replay


async def refuse(send: Any, code: Code, message: str) -> None:
    """Answer with an error as Connect writes it."""
    body = json.dumps({"code": code.name.lower(), "message": message}).encode()
    await answer(send, _HTTP_STATUS[code], b"application/json", body)


async def answer(send: Any, status: int, content_type: bytes, body: bytes) -> None:
    """Answer a request whose body may not have been read; the server reads the rest away."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def serve(
    endpoint: Host, app: ASGIApplication, host: str, port: int, shutdown_timeout: timedelta
) -> None:
    """Serve an endpoint until a signal: see `Endpoint.serve`."""
    if threading.current_thread() is not threading.main_thread():
        raise EndpointError(
            "serve() works in the main thread only, since signals end it; elsewhere run "
            "endpoint.app by an ASGI server"
        )
    try:
        listener = one_port.listen(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}"
        ) from error
    one_port.run(_serve(endpoint, app, listener, shutdown_timeout.total_seconds()))


async def _serve(
    endpoint: Host, app: ASGIApplication, listener: socket.socket, seconds: float
) -> None:
    stop = asyncio.Event()
    serving = _Serving(app, stop)
    host, port = listener.getsockname()[:2]
    with _signals(stop):
        logger.info(
            "serving %d functions at http://%s:%d (%s)",
            len(endpoint.functions),
            f"[{host}]" if ":" in host else host,
            port,
            ", ".join(endpoint.functions) or "none",
        )
        await one_port.serve(serving, listener, until=stop.wait, graceful_seconds=seconds)
    logger.info("stopped")


class _Serving:
    """An application with `/healthz`, that refuses requests once it is to stop."""

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
    """Set an event on SIGTERM and SIGINT; a second one ends the process at once."""
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
