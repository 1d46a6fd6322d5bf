"""An endpoint as an ASGI application: FunctionService, behind the check of signatures."""

import asyncio
import json
import re
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from dispatch.sdk.v1.function_connect import FunctionServiceASGIApplication

from dispatch_grpc import tracing
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import RPCError, SignatureError, rpc_error
from dispatch_grpc.log import logger
from dispatch_grpc.schema import RunRequest, RunResponse, load_all
from dispatch_grpc.serving import LARGE_BYTES
from dispatch_grpc.serving.codecs import LATE_CODECS, decoded, encoded
from dispatch_grpc.serving.dispatch_service import connect_error
from dispatch_grpc.text import quoted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_PATH = "/dispatch.sdk.v1.FunctionService/Run"
_HTTP_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.UNAVAILABLE: 503,
}
# Statuses that connectrpc answers without a body.
_REFUSALS = {
    404: f"there is no such method: the endpoint serves POST {_PATH} below its URL",
    405: f"the method of HTTP is not allowed: the endpoint serves POST {_PATH}",
    415: "the content-type is not supported: application/proto, application/json, or one of gRPC "
    "is required",
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

    async def run(
        self,
        request: RunRequest,
        *,
        attempt: int | None = None,
        scheduled_time: datetime | None = None,
    ) -> RunResponse:
        """Run a function."""
        ...


class Application:
    """FunctionService over the functions of an endpoint, behind the check of signatures."""

    def __init__(self, endpoint: Host) -> None:
        load_all()  # JSON needs the types inside an Any
        self._limit = endpoint.max_request_bytes
        self._key = endpoint.verification_key
        own = endpoint.url + _PATH
        self._own_urls = [own] if own.startswith(("http://", "https://")) else []  # or bridge://
        self._service = FunctionServiceASGIApplication(
            _Service(endpoint), read_max_bytes=self._limit, compressions=None, codecs=LATE_CODECS
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
            send = _explaining(send)
        await self._service(scope, receive, send)

    async def _check(self, scope: Any, receive: Any) -> Any:
        """Check the size of a request and, if there is a key for it, its signature."""
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if not all(length.isdigit() and len(length) < 20 for length in lengths):
            raise _RefusedError(Code.INVALID_ARGUMENT, "the Content-Length is not a number")
        if lengths and int(lengths[0]) > self._limit:
            raise self._too_large(int(lengths[0]))
        if self._key is None:
            return receive if lengths else self._bounded(receive)
        body = await self._read(receive)
        if len(body) >= LARGE_BYTES:
            await asyncio.to_thread(self._verify, scope, body, self._key)
        else:
            self._verify(scope, body, self._key)
        return _replay(body, receive)

    async def _read(self, receive: Any) -> bytes:
        """Read a body, up to the limit."""
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body = message.get("body", b"")
            if len(body) > self._limit:
                raise self._too_large(len(body))
            return bytes(body)
        whole = bytearray()
        while True:
            if message["type"] == "http.disconnect":
                raise _RefusedError(Code.INVALID_ARGUMENT, "the request ended before its body did")
            whole += message.get("body", b"")
            if len(whole) > self._limit:
                raise self._too_large(len(whole))
            if not message.get("more_body"):
                return bytes(whole)
            message = await receive()

    def _bounded(self, receive: Any) -> Any:
        """Return a `receive` for a body of unknown size, which refuses one over the limit."""
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
            f"the request has {size} bytes or more; the endpoint accepts {self._limit}",
        )

    def _verify(self, scope: Any, body: bytes, key: "Ed25519PublicKey") -> None:
        from dispatch_grpc.endpoint.signature import verify_request

        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        hosts = [value for name, value in headers if name == "host"]
        if len(hosts) != 1:
            raise _RefusedError(Code.INVALID_ARGUMENT, f"one Host is required; got {len(hosts)}")
        if not re.fullmatch(r"[^/?#@\\\s]+", hosts[0]):  # else it could contain a part of the path
            raise _RefusedError(Code.INVALID_ARGUMENT, f"the Host {quoted(hosts[0])} is not valid")
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
        path = raw_path.decode("latin-1").partition("?")[0]
        scheme, target = scope.get("scheme", "http"), f"{hosts[0]}{path}"
        others = self._own_urls if path.endswith(_PATH) else []
        if scheme == "http" and hosts[0].endswith(":443"):
            # A proxy that ends TLS may keep the port in Host, where the signature has none.
            others = [f"https://{target}", *others]
        try:
            verify_request(
                scope["method"],
                f"{scheme}://{target}",
                headers,
                body,
                key,
                other_urls=others,
            )
        except SignatureError as error:
            logger.warning("refused a request: %s", error)
            raise _RefusedError(error.code, str(error)) from error


class _Service:
    def __init__(self, endpoint: Host) -> None:
        self._endpoint = endpoint

    async def run(self, request: Any, ctx: Any) -> Any:
        request = await decoded(request)
        headers = ctx.request_headers
        given, time = headers.get("dispatch-attempt"), headers.get("dispatch-scheduled-time")
        attempt = int(given) if given and re.fullmatch("[1-9][0-9]{0,8}", given) else None
        scheduled_time = _time_of(time) if time else None
        running = self._endpoint.run(request, attempt=attempt, scheduled_time=scheduled_time)
        try:
            if tracing.is_imported():
                running = _traced(running, request, attempt, ctx)
            response = await running
        except RPCError as error:
            raise connect_error(error) from error
        return await encoded(response, ctx)


async def _traced(
    running: Awaitable[RunResponse], request: RunRequest, attempt: int | None, ctx: Any
) -> RunResponse:
    """Await the run of a function in a span."""
    from dispatch_grpc.tracing import spans

    with spans.running(
        request.function,
        request.dispatch_id,
        request.root_dispatch_id,
        attempt,
        ctx.request_headers,
    ) as span:
        response = await running
        span.answered(response)
        if span.context is not None:
            parent = tracing.headers_of(span.context)["traceparent"]
            ctx.response_headers[tracing.RESPONSE] = parent
        if contexts := spans.called(response.poll.calls):
            ctx.response_headers[tracing.CALLS] = ",".join(contexts)
        return response


def _time_of(text: str) -> datetime | None:
    """Return the time in a header, in UTC; None if it holds none."""
    try:
        time = datetime.fromisoformat(text)
        return None if time.utcoffset() is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class _RefusedError(Exception):
    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def _replay(body: bytes, receive: Any) -> Any:
    """Return a `receive` that repeats a body already read, then returns later messages."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Any:
        return messages.pop() if messages else await receive()

    return replay


def _explaining(send: Any) -> Any:
    """Return a `send` that adds Connect's JSON error to the answers in `_REFUSALS`."""
    is_refused = False

    async def explaining(message: Any) -> None:
        nonlocal is_refused
        text = _REFUSALS.get(message.get("status"))
        if text is not None:
            headers = [
                (name, value)
                for name, value in message.get("headers", ())
                if name not in {b"content-type", b"content-length"}
                or (name, value) == (b"content-type", b"application/json")
            ]
            if (b"content-type", b"application/json") not in headers:
                is_refused = True
                body = _error("unimplemented", text)
                await answer(send, message["status"], b"application/json", body, headers)
                return
        if not is_refused:
            await send(message)

    return explaining


def _error(code: str, message: str) -> bytes:
    return json.dumps({"code": code, "message": message}).encode()


async def refuse(send: Any, code: Code, message: str) -> None:
    """Answer with an error in Connect's JSON."""
    body = _error(code.name.lower(), message)
    await answer(send, _HTTP_STATUS[code], b"application/json", body)


async def answer(
    send: Any, status: int, content_type: bytes, body: bytes, headers: Any = ()
) -> None:
    """Send a whole answer. The server discards the unread part of the request."""
    length = str(len(body)).encode()
    headers = [*headers, (b"content-type", content_type), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
