"""Connect, by connectrpc and its HTTP client pyqwest."""

import asyncio
import os
import time
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.message import Message

from dispatch_grpc.errors import missing_extra

try:
    from connectrpc.client import ResponseMetadata
    from connectrpc.code import Code as ConnectCode
    from connectrpc.codec import Codec
    from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
    from connectrpc.errors import ConnectError
    from dispatch.sdk.v1.dispatch_connect import DispatchServiceClient, DispatchServiceClientSync
    from pyqwest import Client, HTTPTransport, SyncClient, SyncHTTPTransport
    from tenacity import AsyncRetrying, RetryCallState, Retrying
    from tenacity.retry import retry_if_exception
    from tenacity.stop import stop_after_attempt
    from tenacity.wait import wait_random_exponential

    from dispatch_grpc.transport.forked import ForkedTransport
except ImportError as _error:
    raise missing_extra(_error, "the Connect protocol", "connect") from _error

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import (
    ClientStateError,
    ConfigurationError,
    DispatchError,
    MarshalError,
    ProtocolError,
    RPCError,
    http_error,
    rpc_error,
)
from dispatch_grpc.schema import load_all, to_json
from dispatch_grpc.transport.protocols import Metadata, Method
from dispatch_grpc.transport.retry import RetryPolicy
from dispatch_grpc.transport.target import Target
from dispatch_grpc.transport.thread_exit import settle_at_exit
from dispatch_grpc.transport.tls import TLSCredentials

_MAX_TIMEOUT_MS = 9_999_999_999  # Connect-Timeout-Ms has ten digits at most

settle_at_exit()


class ConnectTransport:
    """Sends requests by HTTP POST, each over a connection of a pool."""

    def __init__(
        self,
        target: Target,
        *,
        json: bool,
        credentials: TLSCredentials | None,
        retry: RetryPolicy | None,
        max_message_bytes: int,
        http_client: SyncClient | None,
    ) -> None:
        self._opened: SyncHTTPTransport | ForkedTransport | None = None
        if http_client is None:
            if _inherited():
                self._opened = ForkedTransport(credentials)
            else:
                self._opened = _open(SyncHTTPTransport, target, credentials)
            http_client = SyncClient(self._opened)
        self._settings: dict[str, Any] = {
            "address": target.url,
            "codec": _codec(json=json),
            "accept_compression": (),
            "send_compression": None,
            "read_max_bytes": max_message_bytes,
            "http_client": http_client,
        }
        self._retry = retry
        self._calls: dict[Method, _Method] = {}
        self.send: Any = _Method(DispatchServiceClientSync(**self._settings).dispatch, retry).send

    def call(
        self, method: Method, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request of CallService and return its answer."""
        if (found := self._calls.get(method)) is None:
            from dispatch.calls.v1.calls_connect import CallServiceClientSync

            client = CallServiceClientSync(**self._settings)
            rpc = getattr(client, _ATTRIBUTES[method])
            found = self._calls[method] = _Method(rpc, self._retry)
        return found.send(request, metadata, timeout)

    def close(self) -> None:
        """Close the connections that the transport opened itself."""
        if self._opened is not None:
            self._opened.close()


class AsyncConnectTransport:
    """The same by `await`."""

    def __init__(
        self,
        target: Target,
        *,
        json: bool,
        credentials: TLSCredentials | None,
        retry: RetryPolicy | None,
        max_message_bytes: int,
        http_client: Client | None,
    ) -> None:
        self._opened: HTTPTransport | None = None
        if http_client is None:
            if _inherited():
                raise ClientStateError(
                    "Connect for asyncio cannot be used in a child that was forked after its "
                    "parent used Connect: use protocol='grpc', or the start method 'spawn'"
                )
            self._opened = _open(HTTPTransport, target, credentials)
            http_client = Client(self._opened)
        self._settings: dict[str, Any] = {
            "address": target.url,
            "codec": _codec(json=json),
            "accept_compression": (),
            "send_compression": None,
            "read_max_bytes": max_message_bytes,
            "http_client": http_client,
        }
        self._retry = retry
        self._calls: dict[Method, _AsyncMethod] = {}
        self.send: Any = _AsyncMethod(DispatchServiceClient(**self._settings).dispatch, retry).send

    async def call(
        self, method: Method, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request of CallService and return its answer."""
        if (found := self._calls.get(method)) is None:
            from dispatch.calls.v1.calls_connect import CallServiceClient

            client = CallServiceClient(**self._settings)
            rpc = getattr(client, _ATTRIBUTES[method])
            found = self._calls[method] = _AsyncMethod(rpc, self._retry)
        return await found.send(request, metadata, timeout)

    async def close(self) -> None:
        """Close the connections that the transport opened itself."""
        if self._opened is not None:
            await self._opened.aclose()


_ATTRIBUTES: dict[Method, str] = {
    "GetCall": "get_call",
    "ListCalls": "list_calls",
    "WaitCall": "wait_call",
    "CancelCall": "cancel_call",
}


class _Method:
    """A method of a service, with its retries."""

    def __init__(self, rpc: Any, retry: RetryPolicy | None) -> None:
        self._rpc = rpc
        self._retrying = None if retry is None else Retrying(**_retrying(retry))

    def send(self, request: Message, metadata: Metadata, timeout: float | None) -> Any:
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._retrying is None:
            return self._attempt(request, dict(metadata), deadline)
        return self._retrying(self._attempt, request, dict(metadata), deadline)

    def _attempt(self, request: Message, headers: dict[str, str], deadline: float | None) -> Any:
        with ResponseMetadata() as response:
            try:
                return self._rpc(request, headers=headers, timeout_ms=_remaining_ms(deadline))
            except ConnectError as error:
                raise _translate(error, response) from error


class _AsyncMethod:
    """The same by `await`."""

    def __init__(self, rpc: Any, retry: RetryPolicy | None) -> None:
        self._rpc = rpc
        self._retrying = None if retry is None else AsyncRetrying(**_retrying(retry))

    async def send(self, request: Message, metadata: Metadata, timeout: float | None) -> Any:
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._retrying is None:
            return await self._attempt(request, dict(metadata), deadline)
        return await self._retrying(self._attempt, request, dict(metadata), deadline)

    async def _attempt(
        self, request: Message, headers: dict[str, str], deadline: float | None
    ) -> Any:
        with ResponseMetadata() as response:
            try:
                return await self._rpc(request, headers=headers, timeout_ms=_remaining_ms(deadline))
            except ConnectError as error:
                if isinstance(error.__cause__, asyncio.CancelledError):
                    raise error.__cause__ from None  # a cancelled task stays cancelled
                raise _translate(error, response) from error


# The process whose threads pyqwest uses: the first that opened a transport. State of the
# module, because it is the state of a library that has one set of threads for all clients.
_owner: list[int] = []


def _inherited() -> bool:
    """Whether this is a child of a process that has used pyqwest."""
    return bool(_owner) and _owner[0] != os.getpid()


def _open(cls: Any, target: Target, credentials: TLSCredentials | None) -> Any:
    tls = credentials or TLSCredentials()
    if not _owner:
        _owner.append(os.getpid())
    try:
        return cls(
            tls_ca_cert=tls.root_certificates,
            tls_include_system_certs=target.secure and tls.root_certificates is None,
            tls_cert=tls.certificate_chain,
            tls_key=tls.private_key,
            connect_timeout=None,  # the deadline covers it
            pool_max_idle_per_host=100,
            enable_gzip=False,
            enable_brotli=False,
            enable_zstd=False,
            follow_redirects=False,  # the key goes to no other place than the API URL
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigurationError(f"credentials: {error}") from error


class _JSONCodec:
    """The JSON codec, telling what could not be encoded from what could not be sent."""

    def __init__(self) -> None:
        load_all()
        self._codec = google_protobuf_json_codec()

    def name(self) -> str:
        return self._codec.name()

    def encode(self, message: Message) -> bytes:
        try:
            return to_json(message).encode()
        except Exception as error:
            raise MarshalError(f"the request has no JSON form: {error}") from error

    def decode(self, data: bytes | bytearray, message_class: Any) -> Any:
        return self._codec.decode(data, message_class)


def _codec(*, json: bool) -> Codec:
    return _JSONCodec() if json else google_protobuf_binary_codec()


def _retrying(retry: RetryPolicy) -> dict[str, Any]:
    attempts = stop_after_attempt(retry.max_attempts)

    def stop(state: RetryCallState) -> bool:
        deadline = state.args[2]
        late = deadline is not None and time.monotonic() + state.upcoming_sleep >= deadline
        return late or attempts(state)

    return {
        "retry": retry_if_exception(_is_retryable),
        "wait": wait_random_exponential(retry.initial_backoff.total_seconds(), retry.max_backoff),
        "stop": stop,
        "reraise": True,
    }


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, RPCError) and error.code in {
        Code.UNAVAILABLE,
        Code.RESOURCE_EXHAUSTED,
    }


def _remaining_ms(deadline: float | None) -> int | None:
    if deadline is None:
        return None
    return min(max(round((deadline - time.monotonic()) * 1000), 0), _MAX_TIMEOUT_MS)


def _translate(error: ConnectError, response: ResponseMetadata) -> DispatchError:
    if isinstance(error.__cause__, DispatchError):
        return error.__cause__
    status, message = response.http_status, error.message or "no reason given"
    code = Code["CANCELLED" if error.code is ConnectCode.CANCELED else error.code.name]
    if status == 200:
        return ProtocolError(message, code=Code.INTERNAL)
    is_connect = response.headers.get("content-type", "").startswith("application/json")
    if status is not None and not (is_connect and status >= 400):
        return http_error(status, code, message)
    details = [
        AnyProto(type_url=f"type.googleapis.com/{detail.type_name}", value=detail.message_bytes)
        for detail in error.details
    ]
    return rpc_error(code, message, details)
