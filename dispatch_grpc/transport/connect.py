"""Connect, by unary requests of HTTP/1.1: https://connectrpc.com/docs/protocol.

What the twins `connect_sync` (urllib3) and `connect_async` (aiohttp) share.

A connection may fall silent unnoticed (NAT, load balancers, crashed hosts), and HTTP/1.1 has no
ping. If nothing moves on a connection for the request's patience, the request is sent a second
time, on a new connection. The patience is short, so that a slow server has time to answer the
second request. The idempotency key prevents duplicates. A kept connection that closes before the
answer begins is handled in the same way, immediately, unless retries are off.
"""

import json
import socket
import ssl
import time
from abc import ABC, abstractmethod
from base64 import b64decode
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from google.protobuf import any_pb2, json_format
from google.protobuf.message import DecodeError, Message

from dispatch_grpc import schema
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import (
    ClientStateError,
    DeadlineExceededError,
    MarshalError,
    ProtocolError,
    RPCError,
    UnavailableError,
    http_error,
    rpc_error,
)
from dispatch_grpc.text import shorten
from dispatch_grpc.transport import tls
from dispatch_grpc.transport.connecting import open_socket
from dispatch_grpc.transport.protocols import (
    CLOSED,
    ConnectionSettings,
    Metadata,
    Method,
    path_of,
)
from dispatch_grpc.transport.retry import retry_after

MAX_IDLE_SECONDS = 30.0  # below the idle timeouts of NAT and load balancers
MAX_IDLE_CONNECTIONS = 1000  # urllib3 warns of each one beyond, and closes it
CHUNK_BYTES = 65_536
_PATIENCE = 0.125  # of the time of a request
_MIN_PATIENCE_SECONDS, _MAX_PATIENCE_SECONDS = 1.0, 10.0
_BYTES_PER_SECOND = 1_000_000  # that a server under load decodes and records at least
_MAX_TIMEOUT_MS = 9_999_999_999  # Connect-Timeout-Ms has ten digits at most
# WaitCall is slow by design, and `Waiting` bounds it. The others would find less a second time, or
# nothing, and their answers would say so.
_ASKED_ONCE = {"WaitCall", "RerunCalls", "PurgeCalls", "ResumeCalls", "DeleteSchedule"}
_CODES = {code.name.lower(): code for code in Code} | {"canceled": Code.CANCELLED}


class ClosedError(ConnectionError):
    """The connection was closed before an answer had begun."""

    def __init__(self) -> None:
        super().__init__("the server closed the connection without an answer")


class UnsentError(ClosedError):
    """The connection was of no use, and the request was not sent."""


class BrokenError(ConnectionError):
    """The connection was closed later."""

    def __init__(self) -> None:
        super().__init__("the connection was closed in the middle of the answer")


class Answer(NamedTuple):
    """An answer of HTTP; the names of its headers have any case."""

    status: int
    headers: Any
    body: bytes


class Exchange:
    """An attempt to get an answer.

    Attributes:
        deadline: Time by which the answer must be there.
        patience: Seconds without progress before the request is sent again; None for never.
        reused: Whether it goes over a connection that was used before.
        sent: Size of a request that was sent and has no answer yet: a server reads and stores a
            large one before it answers.
        begun: Whether the answer has begun.
        second: Whether the request is sent again.
    """

    def __init__(self, deadline: float, patience: float | None, *, second: bool = False) -> None:
        self.deadline = deadline
        self.patience = patience
        self.second = second
        self.reused: bool = not second  # set to False when a connection is opened
        self.sent = 0
        self.begun = False

    def again(self) -> "Exchange":
        """Return the attempt on a new connection, which has all the time that is left."""
        return Exchange(self.deadline, None, second=True)

    def seconds(self) -> float | None:
        """Return the timeout of the next step in seconds; None is no limit.

        Raises:
            TimeoutError: The deadline has passed.
        """
        left = self.left()
        if self.patience is None:
            return left
        patience = self.patience + self.sent / _BYTES_PER_SECOND
        return patience if left is None else min(left, patience)

    def left(self) -> float | None:
        """Return the seconds until the deadline; None without one.

        Raises:
            TimeoutError: The deadline has passed.
        """
        if self.deadline == float("inf"):
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class ConnectMethod:
    """A method of a service: its requests and its answers, as they go over HTTP."""

    def __init__(self, settings: ConnectionSettings, method: Method) -> None:
        self.path: str = path_of(method)
        self.url: str = settings.target.url + self.path
        self._class = getattr(schema, f"{method}Response")
        self._json = settings.json
        self._content_type = "application/json" if self._json else "application/proto"
        self._headers = {
            "user-agent": settings.user_agent,
            "content-type": self._content_type,
            "accept-encoding": "identity",
            "connect-protocol-version": "1",
        }
        if self._json:
            schema.load_all()
        self._sends_again = settings.retry is not None and method not in _ASKED_ONCE

    def exchange(self, timeout: float | None) -> Exchange:
        """Make the exchange for a request with a timeout in seconds; None is no limit."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        if not self._sends_again:
            return Exchange(deadline, None)
        share = _MAX_PATIENCE_SECONDS if timeout is None else _PATIENCE * timeout
        return Exchange(deadline, min(max(share, _MIN_PATIENCE_SECONDS), _MAX_PATIENCE_SECONDS))

    def request(
        self, message: Message, metadata: Metadata, timeout: float | None
    ) -> tuple[dict[str, str], bytes]:
        """Return the headers and the body of a request."""
        headers = {**self._headers, **dict(metadata)}
        if timeout is not None:
            headers["connect-timeout-ms"] = str(min(int(timeout * 1000), _MAX_TIMEOUT_MS))
        if not self._json:
            return headers, message.SerializeToString()
        try:
            return headers, schema.to_json(message).encode()
        except Exception as error:
            raise MarshalError(f"the request has no JSON form: {error}") from error

    def message(self, answer: Answer, exchange: Exchange) -> Any:
        """Return the message of the answer that an exchange has brought.

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
            error = _error_of(answer, is_json=kind == "application/json")
            error.resent = exchange.second
            raise error
        if kind != self._content_type:
            raise ProtocolError(
                f"its content-type is {shorten(kind) or 'missing'}", code=Code.INTERNAL
            )
        try:
            if self._json:
                return json_format.Parse(answer.body, self._class(), ignore_unknown_fields=True)
            return self._class.FromString(answer.body)
        except (DecodeError, json_format.ParseError, ValueError) as error:
            raise ProtocolError("malformed message", code=Code.INTERNAL) from error


def _error_of(answer: Answer, *, is_json: bool) -> RPCError:
    """Return the error of an answer: Connect's, or else that of its HTTP status."""
    if answer.status == 407:
        return UnavailableError("the proxy refused the request: HTTP 407", code=Code.UNAVAILABLE)
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


class Connect(ABC):
    """The part that both transports share."""

    def __init__(self, settings: ConnectionSettings, make_sender: Any) -> None:
        self._make_sender = make_sender
        self._settings = settings
        self._context = tls.context_of(settings.tls) if settings.target.secure else None
        self._closed = False
        self._senders: dict[Method, Any] = {}

    @abstractmethod
    def _attempt(
        self, method: ConnectMethod, message: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request and return its answer; the async twin returns an awaitable."""

    def call(
        self, method: Method, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request and return its answer."""
        if (found := self._senders.get(method)) is None:
            attempt = partial(self._attempt, ConnectMethod(self._settings, method))
            found = self._senders[method] = self._make_sender(attempt, self._settings.retry)
        return found(request, metadata, timeout)

    def _is_sent_again(self, error: OSError, exchange: Exchange) -> bool:
        """Return whether to send a failed request again, on a new connection."""
        if self._closed:
            return False
        if isinstance(error, TimeoutError):
            return exchange.patience is not None and time.monotonic() < exchange.deadline
        closed = isinstance(error, ConnectionResetError | BrokenPipeError | ClosedError)
        may = self._settings.retry is not None or isinstance(error, UnsentError)
        return closed and may and exchange.reused and not exchange.begun

    def _read(self, body: bytearray, data: bytes) -> None:
        """Append data to the body of an answer; raise if it exceeds the limit."""
        body += data
        if len(body) > self._settings.max_response_bytes:
            raise ProtocolError(
                f"message is larger than configured max {self._settings.max_response_bytes}",
                code=Code.INTERNAL,
            )

    def _failure(self, error: OSError, deadline: float) -> Exception:
        """Return the error to raise for one of a connection. May connect, to find the cause."""
        if self._closed:
            return ClientStateError(CLOSED)
        left = deadline - time.monotonic()
        if isinstance(error, TimeoutError) and left <= 0.01:
            return DeadlineExceededError("the deadline has passed", code=Code.DEADLINE_EXCEEDED)
        target, proxy = self._settings.target, self._settings.proxy

        def connect() -> socket.socket:
            return open_socket(target, proxy, max(min(left, 3.0), 0.1))

        if isinstance(error, ssl.SSLError):
            return tls.explain(error, connect, target.host)
        if self._context is not None and isinstance(error, ClosedError | ConnectionResetError):
            found = tls.diagnose(connect, target.host, self._context)
            if found is not None:
                return found
        if isinstance(error, socket.gaierror):
            text = f"the host name {urlsplit(proxy or target.url).hostname} cannot be resolved"
        elif isinstance(error, ConnectionRefusedError):
            text = "connection refused"
        else:
            text = error.strerror or str(error) or type(error).__name__
        return UnavailableError(text, code=Code.UNAVAILABLE)

    def _refused(self, status: str) -> OSError:
        """Return the error for a proxy that refuses."""
        target, proxy = self._settings.target, urlsplit(self._settings.proxy or "")
        return OSError(
            f"the proxy {proxy.hostname}:{proxy.port} refused to connect to {target.authority}: "
            f"HTTP {shorten(status, 20)}"
        )
