"""gRPC, by grpcio.

A connection may have fallen silent without a word (NAT, load balancers, crashed hosts). Measured
with grpcio 1.85 and a proxy that falls silent: without pings every call fails at its deadline.
keepalive_time decides when a call without an answer is followed by a ping; not keepalive_timeout
but http2.ping_timeout (60 s by default) ends the connection. Then the call fails with
UNAVAILABLE, and its retry connects anew. A ping tells a dead connection from a slow server, so a
slow call is never sent twice. Pings are rare: only a call that lasts longer than a second sends
any, and two until there is more data (the default of http2.max_pings_without_data).

Servers that allow one ping in five minutes, as those of grpcio and grpc-go do by default, tolerate
three until they send data; the fourth is answered with GOAWAY 'too_many_pings'. Measured with
grpc-go 1.80: with three pings of keepalive the second request of a connection ended so, since
grpcio also sends a ping when data arrives (its estimate of the bandwidth); with two none did, in
requests of `wait` that follow each other, one or four at a time. Silence that begins after both
pings shows at the end of the request, which for `wait` is after 6 seconds (`client.following`); the
pings of its next request then end the connection within three.

Requests of `wait` beyond a few go over channels of their own (`wait_places`), each of which has a
connection of its own and stays open until the client is closed.
"""

import asyncio
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from dispatch_grpc.transport.quiet import grpc  # before the stub, which imports grpcio too

# isort: split
from dispatch.sdk.v1.dispatch_pb2_grpc import DispatchServiceStub
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import (
    ClientStateError,
    ProtocolError,
    RPCError,
    UnavailableError,
    http_error,
    rpc_error,
)
from dispatch_grpc.transport import tls
from dispatch_grpc.transport.connecting import open_socket
from dispatch_grpc.transport.protocols import (
    CLOSED,
    ConnectionSettings,
    Metadata,
    Method,
    path_of,
)
from dispatch_grpc.transport.retry import async_sender, retry_after, sender
from dispatch_grpc.transport.wait_places import WaitPlaces


class _GRPC(ABC):
    """The part that both transports share."""

    def __init__(self, settings: ConnectionSettings, channel: Any, module: Any) -> None:
        self._owned = channel is None
        self._module = module
        self._settings = settings
        self._retry = settings.retry if self._owned else None
        self._closed = False
        first = self._new_channel() if channel is None else channel
        self._channels = [first]  # the further ones carry waits only
        self._places = WaitPlaces()
        self._lock = threading.RLock()  # of both; a signal handler may close the client
        self._senders: dict[Method, Any] = {
            "Dispatch": self._sender(DispatchServiceStub(first).Dispatch)
        }

    def call(
        self, method: Method, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request and return its answer."""
        return (self._senders.get(method) or self._method(method))(request, metadata, timeout)

    @abstractmethod
    def _sender(self, rpc: Any) -> Any:
        """Return the retry loop around a method."""

    @abstractmethod
    def _wait(self, request: Message, *, timeout: float | None, metadata: Metadata) -> Any:
        """Do WaitCall on a channel that has room; the async twin returns an awaitable."""

    def _method(self, method: Method) -> Any:
        """Return the sender of a method of CallService."""
        has_places = method == "WaitCall" and self._owned
        rpc = self._wait if has_places else _rpc(self._channels[0], method)
        found = self._senders[method] = self._sender(rpc)
        return found

    @contextmanager
    def _place(self) -> Iterator[Any]:
        """Take a place for a request of `wait`: yields WaitCall on its channel."""
        with self._lock:
            number = self._places.take()
        try:
            yield self._wait_rpc(number)
        finally:
            with self._lock:
                self._places.release(number)

    def _wait_rpc(self, number: int) -> Any:
        """Return WaitCall on a channel, which is opened if it does not exist yet."""
        with self._lock:
            if self._closed:
                raise ClientStateError(CLOSED)
            while number >= len(self._channels):
                self._channels.append(self._new_channel())
            return _rpc(self._channels[number], "WaitCall")

    def _closing(self) -> list[Any]:
        """Open no further channel; return those to close."""
        with self._lock:
            self._closed = True
            return self._channels if self._owned else []

    def _new_channel(self) -> Any:
        settings = self._settings
        address, options = settings.target.authority, _options(settings)
        if settings.target.secure:
            return self._module.secure_channel(address, _credentials(settings.tls), options)
        return self._module.insecure_channel(address, options)

    def _unusable(self, error: Exception) -> ClientStateError:
        text = f"the gRPC channel cannot be used: {error}"
        return ClientStateError(CLOSED if self._closed and self._owned else text)

    def _failure(self, error: Any) -> Exception:
        """Return the error to raise for one of grpcio. May connect, to find the cause."""
        if self._closed and self._owned:
            return ClientStateError(CLOSED)
        found = _translate(error)
        if isinstance(found, UnavailableError) and not error.initial_metadata():
            target, proxy = self._settings.target, self._settings.proxy
            if target.secure and _NO_CONNECTION.match(error.details() or ""):
                connect = partial(open_socket, target, proxy, _DIAGNOSIS_SECONDS)
                context = tls.context_of(self._settings.tls)
                return tls.diagnose(connect, target.host, context) or found
        return found


class GRPCTransport(_GRPC):
    """Sends requests over a channel of grpcio."""

    def __init__(
        self, settings: ConnectionSettings, *, channel: grpc.Channel | None = None
    ) -> None:
        super().__init__(settings, channel, grpc)

    def _sender(self, rpc: Any) -> Any:
        return sender(partial(self._attempt, rpc), self._retry)

    def _attempt(
        self, rpc: Any, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        try:
            return rpc(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            raise self._failure(error) from error
        except ValueError as error:  # grpcio's way to say that the channel is closed
            raise self._unusable(error) from error

    def _wait(self, request: Message, *, timeout: float | None, metadata: Metadata) -> Any:
        with self._place() as rpc:
            return rpc(request, timeout=timeout, metadata=metadata)

    def close(self) -> None:
        """Close the connections; requests under way end in a ClientStateError."""
        for channel in self._closing():
            channel.close()


class AsyncGRPCTransport(_GRPC):
    """Sends requests over a channel of grpc.aio; belongs to the event loop that made it."""

    def __init__(
        self, settings: ConnectionSettings, *, channel: grpc.aio.Channel | None = None
    ) -> None:
        super().__init__(settings, channel, grpc.aio)

    def _sender(self, rpc: Any) -> Any:
        return async_sender(partial(self._attempt, rpc), self._retry)

    async def _attempt(
        self, rpc: Any, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        try:
            response = await rpc(request, timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if self._settings.target.secure:
                raise await asyncio.to_thread(self._failure, error) from error
            raise self._failure(error) from error
        except grpc.aio.UsageError as error:
            raise self._unusable(error) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and self._owned and not (task and task.cancelling()):
                raise ClientStateError(CLOSED) from None  # close() cancels what is under way
            raise
        if response is None:  # grpc.aio's way to say that it could not decode it
            raise ProtocolError("malformed message", code=Code.INTERNAL)
        return response

    async def _wait(self, request: Message, *, timeout: float | None, metadata: Metadata) -> Any:
        with self._place() as rpc:
            return await rpc(request, timeout=timeout, metadata=metadata)

    async def close(self) -> None:
        """Close the connections; requests under way end in a ClientStateError."""
        for channel in self._closing():
            await channel.close()


def _rpc(channel: Any, method: Method) -> Any:
    """Return a method of CallService, whose messages are imported when needed.

    Not by the generated stub: it registers its methods, which ends the process by a segmentation
    fault when the channel is closed already.
    """
    from dispatch_grpc import schema

    return channel.unary_unary(
        path_of(method),
        request_serializer=getattr(schema, f"{method}Request").SerializeToString,
        response_deserializer=getattr(schema, f"{method}Response").FromString,
    )


def _options(settings: ConnectionSettings) -> list[tuple[str, Any]]:
    timeout = min(settings.timeout or 10.0, 10.0)
    proxy = ("grpc.http_proxy", settings.proxy) if settings.proxy else None
    return [
        ("grpc.primary_user_agent", settings.user_agent),
        ("grpc.max_receive_message_length", settings.max_response_bytes),
        # Connections are shared by all channels of a process, and so with a forked child, where
        # they are broken; a pool of its own lets a child open new ones.
        ("grpc.use_local_subchannel_pool", 1),
        # Connect anew soon, so that a retry finds a service that came back (default: 1 to 120 s).
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5000),
        # A silent connection is found within a third of a call's time.
        ("grpc.keepalive_time_ms", int(100 * timeout)),
        ("grpc.http2.ping_timeout_ms", int(200 * timeout)),
        # Only `transport.proxy` decides on proxies.
        proxy or ("grpc.enable_http_proxy", 0),
        ("grpc.lb_policy_name", settings.load_balancing or "pick_first"),
    ]


def _credentials(credentials: tls.TLSCredentials) -> grpc.ChannelCredentials:
    if credentials.certificate_chain is not None:
        tls.context_of(credentials)  # refuses what is not usable, which grpcio would not tell
    return grpc.ssl_channel_credentials(
        credentials.root_certificates, credentials.private_key, credentials.certificate_chain
    )


def _translate(error: Any) -> RPCError:
    """Return the error to raise for one of grpcio, in plain words."""
    code, message = Code(error.code().value[0]), error.details() or "no reason given"
    trailers = error.trailing_metadata() or ()
    if http := re.search(r"^Received http2 header with status: (\d+)", message):
        found = http_error(int(http[1]))
    elif message.startswith(_NO_ANSWER) and code not in _NO_CONNECTION_CODES:
        found = ProtocolError(message, code=Code.INTERNAL)
    else:
        found = rpc_error(code, _plain(message), _details(trailers))
    headers = dict((*(error.initial_metadata() or ()), *trailers))
    if found.retry_after is None:
        found.retry_after = retry_after(headers.get)
    if _HTTP1.search(message):
        found.retry_after = -1.0
    return found


_NO_CONNECTION_CODES = frozenset({Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE})
_DIAGNOSIS_SECONDS = 3.0
_NO_CONNECTION = re.compile(r"failed to connect|.*(andshake|Socket closed|Connection reset)")
_HTTP1 = re.compile(
    r"Expected SETTINGS frame as the first frame|http1\.x server|Failed parsing HTTP/2"
)

# What versions of grpcio say of answers without a status of gRPC, of bytes that are no message,
# and of messages that are too large for us.
_NO_ANSWER = ("Stream removed", "Exception deserializing response", "CLIENT: Received message")

_PLAIN = (
    (
        _HTTP1,
        "it answers by HTTP/1.1, which gRPC does not use: pass protocol='connect', or the URL of "
        "a gRPC server",
    ),
    (re.compile(r"Connection refused"), "connection refused"),
    (
        re.compile(r"errors resolving ([^ ]+):\d+: |DNS resolution failed for ([^ ]+):\d+"),
        "the host name {0} cannot be resolved",
    ),
    (
        re.compile(r"HTTP proxy returned response code (\d+)"),
        "the proxy refused to connect to the service: HTTP {0}",
    ),
    (re.compile(r"ping timeout"), "its connection has fallen silent"),
    (re.compile(r"Socket closed|Connection reset|GOAWAY"), "the connection was closed"),
)


def _plain(message: str) -> str:
    """Return a text of the C core in plain words, or the text without its prefixes."""
    for pattern, text in _PLAIN:
        if found := pattern.search(message):
            return text.format(*filter(None, found.groups()))
    return re.sub(r"^failed to connect to all addresses; last error: [A-Z]+: \S+: ", "", message)


_DETAILS = 3  # the number of the field `details` in google.rpc.Status


def _details(trailers: Any) -> list[AnyProto]:
    """Read the messages attached to an error: the details of a google.rpc.Status in the trailers.

    The message itself is not needed: every field is unknown to Empty.
    """
    # Not by dict(): the metadata of grpc.aio is a mapping of lists that yields pairs.
    data = next((value for key, value in trailers if key == "grpc-status-details-bin"), b"")
    try:
        fields = UnknownFieldSet(Empty.FromString(data))
        found = (fields[index] for index in range(len(fields)))
        return [AnyProto.FromString(one.data) for one in found if one.field_number == _DETAILS]
    except (DecodeError, TypeError):  # malformed, or another message
        return []
