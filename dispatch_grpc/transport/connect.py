"""Connect, by unary requests of HTTP/1.1: https://connectrpc.com/docs/protocol."""

import asyncio
import json
import time
from base64 import b64decode
from functools import partial
from types import SimpleNamespace
from typing import Any

from google.protobuf import any_pb2, json_format
from google.protobuf.message import DecodeError, Message

from dispatch_grpc.errors import missing_extra

try:
    from dispatch_grpc.transport.http1 import Origin, Request
    from dispatch_grpc.transport.http1_async import AsyncHTTPClient
    from dispatch_grpc.transport.http1_sync import HTTPClient
except ImportError as _error:
    raise missing_extra(_error, "the Connect protocol", "connect") from _error

from dispatch_grpc import schema
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import (
    ClientStateError,
    DeadlineExceededError,
    MarshalError,
    ProtocolError,
    RPCError,
    http_error,
    rpc_error,
)
from dispatch_grpc.text import shorten
from dispatch_grpc.transport.protocols import ConnectionSettings, Metadata, Method
from dispatch_grpc.transport.retry import async_sender, retry_after, sender

_MAX_TIMEOUT_MS = 9_999_999_999  # Connect-Timeout-Ms has ten digits at most
_PATIENCE = 0.3  # of the time of a request: then it is sent on another connection too
_MAX_PATIENCE_SECONDS = 10.0
_CODES = {code.name.lower(): code for code in Code} | {"canceled": Code.CANCELLED}


class _Method:
    """A method of a service: its requests and its answers, as they go over HTTP."""

    def __init__(self, settings: ConnectionSettings, method: str) -> None:
        package = "dispatch.sdk.v1.Dispatch" if method == "Dispatch" else "dispatch.calls.v1.Call"
        _, _, rest = settings.target.url.partition("://")
        host, slash, prefix = rest.partition("/")
        self._path = f"{slash}{prefix}/{package}Service/{method}"
        self._class = getattr(schema, f"{method}Response")
        self._json = settings.json
        self._content_type = "application/json" if self._json else "application/proto"
        self._headers = {
            "host": host,
            "user-agent": settings.user_agent,
            "content-type": self._content_type,
            "connect-protocol-version": "1",
        }
        if self._json:
            schema.load_all()
        # A WaitCall is answered late as a rule, and is bounded by whoever waits.
        self.is_patient = settings.retry is None or method == "WaitCall"

    def request(self, message: Message, metadata: Metadata, timeout: float | None) -> Request:
        """Make the request for a message."""
        headers = {**self._headers, **dict(metadata)}
        if timeout is not None:
            headers["connect-timeout-ms"] = str(min(int(timeout * 1000), _MAX_TIMEOUT_MS))
        if not self._json:
            return Request(self._path, headers, message.SerializeToString())
        try:
            text = schema.to_json(message)
        except Exception as error:
            raise MarshalError(f"the request has no JSON form: {error}") from error
        return Request(self._path, headers, text.encode())

    def message(self, answer: Any) -> Any:
        """Return the message of an answer.

        Raises:
            RPCError: The answer is an error, or not one of Connect.
        """
        coding = answer.headers.get("content-encoding", "identity")
        if coding != "identity":  # although none was asked for
            raise ProtocolError(
                f"its content-encoding {shorten(coding, 20)} is unknown", code=Code.INTERNAL
            )
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if answer.status != 200:
            raise _error_of(answer, is_json=kind == "application/json")
        if kind != self._content_type:
            raise ProtocolError(
                f"its content-type is {shorten(kind) or 'missing'}", code=Code.INTERNAL
            )
        try:
            if self._json:
                return json_format.Parse(answer.body, self._class(), ignore_unknown_fields=True)
            return self._class.FromString(bytes(answer.body))
        except (DecodeError, json_format.ParseError, ValueError) as error:
            raise ProtocolError("malformed message", code=Code.INTERNAL) from error


def _error_of(answer: Any, *, is_json: bool) -> RPCError:
    """Return the error of an answer: Connect's, or else that of its HTTP status."""
    error = http_error(answer.status)
    if is_json and answer.status >= 400:
        try:
            body = json.loads(answer.body)
            code, text = _CODES[body["code"]], str(body.get("message") or "no reason given")
            error = rpc_error(code, text, [_detail(one) for one in body.get("details", ())])
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # JSON of something else
    if error.retry_after is None:
        error.retry_after = retry_after(answer.headers.get)
    return error


def _detail(detail: Any) -> any_pb2.Any:
    value = b64decode(detail["value"] + "=" * (-len(detail["value"]) % 4))
    return any_pb2.Any(type_url=f"type.googleapis.com/{detail['type']}", value=value)


class _Connect:
    """What both transports have."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._origin = Origin(
            settings.target, settings.proxy, settings.tls, settings.max_response_bytes
        )
        self._closed = False
        self._senders: dict[Method, Any] = {}

    def _limits(self, method: _Method, timeout: float | None) -> tuple[float, float | None]:
        """Return the deadline of an attempt, and its patience."""
        if timeout is None:
            return float("inf"), None if method.is_patient else _MAX_PATIENCE_SECONDS
        patience = None if method.is_patient else min(_PATIENCE * timeout, _MAX_PATIENCE_SECONDS)
        return time.monotonic() + timeout, patience

    def _failure(self, error: OSError, deadline: float) -> Exception:
        """Return the error to raise for one of a connection. May connect, to find the cause."""
        if self._closed:
            return ClientStateError("the client was closed while the request was under way")
        if isinstance(error, TimeoutError) and time.monotonic() >= deadline - 0.01:
            return DeadlineExceededError("the deadline is over", code=Code.DEADLINE_EXCEEDED)
        return self._origin.explain(error, max(min(deadline - time.monotonic(), 3.0), 0.1))


class ConnectTransport(_Connect):
    """Sends requests by HTTP POST, each over a connection of a pool."""

    def __init__(self, settings: ConnectionSettings, *, http_client: Any = None) -> None:
        super().__init__(settings)
        self._http: Any = HTTPClient(self._origin, repeat=settings.retry is not None)
        if http_client is not None:
            self._http = _GivenClient(http_client, settings.target.url)
        self.send: Any = self._sender("Dispatch")

    def call(
        self, method: Method, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request of CallService and return its answer."""
        if (found := self._senders.get(method)) is None:
            found = self._senders[method] = self._sender(method)
        return found(request, metadata, timeout)

    def _sender(self, method: str) -> Any:
        attempt = partial(self._attempt, _Method(self._settings, method))
        return sender(attempt, self._settings.retry)

    def _attempt(
        self, method: _Method, message: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        request = method.request(message, metadata, timeout)
        deadline, patience = self._limits(method, timeout)
        try:
            answer = self._http.send(request, deadline, patience)
        except RPCError:  # some are OSErrors
            raise
        except OSError as error:
            raise self._failure(error, deadline) from error
        return method.message(answer)

    def close(self) -> None:
        """Close the connections; requests under way end in a ClientStateError."""
        self._closed = True
        self._http.close()


class AsyncConnectTransport(_Connect):
    """The same by `await`."""

    def __init__(self, settings: ConnectionSettings, *, http_client: Any = None) -> None:
        super().__init__(settings)
        self._http: Any = AsyncHTTPClient(self._origin, repeat=settings.retry is not None)
        if http_client is not None:
            self._http = _AsyncGivenClient(http_client, settings.target.url)
        self.send: Any = self._sender("Dispatch")

    async def call(
        self, method: Method, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request of CallService and return its answer."""
        if (found := self._senders.get(method)) is None:
            found = self._senders[method] = self._sender(method)
        return await found(request, metadata, timeout)

    def _sender(self, method: str) -> Any:
        attempt = partial(self._attempt, _Method(self._settings, method))
        return async_sender(attempt, self._settings.retry)

    async def _attempt(
        self, method: _Method, message: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        request = method.request(message, metadata, timeout)
        deadline, patience = self._limits(method, timeout)
        try:
            answer = await self._http.send(request, deadline, patience)
        except RPCError:
            raise
        except OSError as error:
            if self._origin.context is None:
                raise self._failure(error, deadline) from error
            raise await asyncio.to_thread(self._failure, error, deadline) from error
        return method.message(answer)

    async def close(self) -> None:
        """Close the connections; requests under way end in a ClientStateError."""
        self._closed = True
        self._http.close()


class _GivenClient:
    """A client of pyqwest that the caller made, with the interface of `HTTPClient`."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._origin = "/".join(url.split("/", 3)[:3])

    def send(self, request: Request, deadline: float, patience: float | None) -> Any:
        del request.headers["host"], patience  # pyqwest's own
        seconds = None if deadline == float("inf") else max(deadline - time.monotonic(), 0)
        url = self._origin + request.path
        try:
            response = self._client.post(url, request.headers, request.body, timeout=seconds)
        except OSError:
            raise
        except Exception as error:
            raise ConnectionError(str(error)) from error
        return SimpleNamespace(
            status=response.status, headers=response.headers, body=response.content
        )

    def close(self) -> None:
        """Leave the connections to the caller."""


class _AsyncGivenClient(_GivenClient):
    """The same by `await`."""

    async def send(self, request: Request, deadline: float, patience: float | None) -> Any:
        del request.headers["host"], patience
        seconds = None if deadline == float("inf") else max(deadline - time.monotonic(), 0)
        url = self._origin + request.path
        try:
            async with asyncio.timeout(seconds):
                response = await self._client.post(url, request.headers, request.body)
        except OSError:
            raise
        except Exception as error:
            raise ConnectionError(str(error)) from error
        return SimpleNamespace(
            status=response.status, headers=response.headers, body=response.content
        )
