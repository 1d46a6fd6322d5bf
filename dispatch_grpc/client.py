"""Clients of the Dispatch API."""

import asyncio
import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dispatch_grpc import _config
from dispatch_grpc._config import NOT_GIVEN, Protocol, RetryPolicy, TLSCredentials
from dispatch_grpc._config import new_idempotency_key as new_key
from dispatch_grpc._core import Core, logger
from dispatch_grpc._grpc import AsyncGRPCTransport, GRPCTransport
from dispatch_grpc._proto import Call, DispatchRequest
from dispatch_grpc._transport import AsyncTransport, Transport
from dispatch_grpc.batch import AsyncBatch, Batch, DispatchID
from dispatch_grpc.calls import check_call
from dispatch_grpc.errors import (
    ClientStateError,
    RPCError,
)

if TYPE_CHECKING:
    import grpc
    import grpc.aio
    import pyqwest

_TIMEOUT = timedelta(seconds=10)
_RETRY = RetryPolicy()


class Client:
    """A client of the Dispatch API.

    May be used from many threads. After `os.fork`, a child opens a connection of its own.
    Close it with `close`, or use it as a context manager.

    Args:
        api_key: The API key; else `DISPATCH_API_KEY`.
        api_url: Where the API is; else `DISPATCH_API_URL`, else `https://api.dispatch.run`.
        protocol: `"grpc"`, `"connect"` or `"connect+json"`; else `DISPATCH_PROTOCOL`, else gRPC.
            Connect needs the extra: `pip install 'dispatch-grpc[connect]'`.
        timeout: Time that a dispatch may take, with all its retries; None is no limit.
        metadata: Metadata (HTTP headers) to send with every request.
        retry: When a failed request is sent again; None is never. With a service that
            ignores idempotency keys, calls can be recorded twice if an answer got lost on
            its way and the request was sent again.
        credentials: Certificates for `https`; else the system's authorities are trusted.
        allow_plaintext: Whether the key may be sent by `http` to another machine.
        max_message_bytes: Largest request to send and answer to read; gRPC servers take
            4 MiB (the default) unless told otherwise.
        env: Variables to read instead of the process's environment.
        channel: A channel of `grpc` to use; its options and retries are its own, and it
            is not closed with the client.
        http_client: A `pyqwest.SyncClient` to use for Connect, not closed with the client.

    Raises:
        ConfigurationError: A setting is missing or not acceptable.
        ImportError: Connect is not installed.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        api_url: str | None = None,
        protocol: Protocol | None = None,
        timeout: timedelta | None = _TIMEOUT,
        metadata: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = _RETRY,
        credentials: TLSCredentials | None = None,
        allow_plaintext: bool = False,
        max_message_bytes: int = _config.DEFAULT_MAX_MESSAGE_BYTES,
        env: Mapping[str, str] | None = None,
        channel: "grpc.Channel | None" = None,
        http_client: "pyqwest.SyncClient | None" = None,
    ) -> None:
        self._core = Core(
            api_key=api_key,
            api_url=api_url,
            protocol=protocol,
            timeout=timeout,
            metadata=metadata,
            retry=retry,
            credentials=credentials,
            allow_plaintext=allow_plaintext,
            max_message_bytes=max_message_bytes,
            env=env,
            channel=channel,
            http_client=http_client,
        )
        self._channel = channel
        self._http_client = http_client
        self._closed = False
        self._open()

    def dispatch(
        self,
        call: Call,
        *,
        timeout: timedelta | None = NOT_GIVEN,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> DispatchID:
        """Dispatch a call: the service records it and runs it asynchronously.

        Args:
            call: The call, as `new_call` makes it.
            timeout: Time that this dispatch may take, with all its retries, instead of the
                client's; None is no limit.
            metadata: Metadata to send beside the client's.
            idempotency_key: Key by which the service knows a request that it has seen; else
                one is made. It stays the same for all retries.

        Returns:
            The id that the service gave to the call. The call is recorded by then.

        Raises:
            InvalidCallError: The call breaks a rule of the schema; nothing was sent.
            ConfigurationError: Another argument is not acceptable; nothing was sent.
            ClientStateError: The client is closed.
            AuthenticationError: The service rejected the API key.
            RequestTooLargeError: The call has too many bytes.
            DeadlineExceededError: There was no answer in time.
            UnavailableError: The service could not be reached.
            ProtocolError: What answered is not a Dispatch service.
            RPCError: Any other failure: see `dispatch_grpc.errors`.
        """
        check_call(call, 0)
        key = new_key() if idempotency_key is None else _config.idempotency_key(idempotency_key)
        return self._send(DispatchRequest(calls=[call]), timeout, metadata, key)[0]

    def batch(self) -> Batch:
        """Make an empty batch: calls to record together, all or none."""
        return Batch(self)

    def _send(
        self, request: DispatchRequest, timeout: Any, metadata: Mapping[str, str] | None, key: str
    ) -> list[DispatchID]:
        """Send a request and return its ids. Every request of the client goes through here."""
        core = self._core
        if request.ByteSize() > core.max_message_bytes:
            raise core.too_large(request, key)
        pairs = (*core.metadata, ("idempotency-key", key))
        if metadata is not None:
            pairs += _config.metadata(metadata)
        seconds = core.timeout if timeout is NOT_GIVEN else _config.timeout(timeout)
        if self._closed or self._pid != os.getpid():
            self._recover()
        try:
            response = self._transport.send(request, pairs, seconds)
        except RPCError as error:
            raise core.explain(error, request, key) from error.__cause__
        ids = list(response.dispatch_ids)
        if len(ids) != len(request.calls):
            raise core.miscounted(request, ids, key)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("dispatched %d calls to %s: %s", len(ids), core.target.url, ids)
        return ids

    def _recover(self) -> None:
        """Open a connection of this process's own after a fork, unless the client is closed."""
        if self._closed:
            raise ClientStateError("the client is closed")
        if not self._core.own_connection:
            raise ClientStateError(
                "the channel or http_client handed to this client belongs to the process "
                "that made it: make another client after a fork"
            )
        self._open()  # what the parent opened stays its own

    def _open(self) -> None:
        core = self._core
        if core.protocol == "grpc":
            self._transport: Transport = GRPCTransport(
                core.target,
                credentials=core.credentials,
                retry=core.retry,
                max_message_bytes=core.max_message_bytes,
                channel=self._channel,
            )
        else:
            from dispatch_grpc._connect import ConnectTransport

            self._transport = ConnectTransport(
                core.target,
                json=core.protocol == "connect+json",
                credentials=core.credentials,
                retry=core.retry,
                max_message_bytes=core.max_message_bytes,
                http_client=self._http_client,
            )
        self._pid = os.getpid()

    def close(self) -> None:
        """Close the connection. Closing twice is fine; dispatching afterwards is an error."""
        if not self._closed and self._pid == os.getpid():
            self._transport.close()
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._core!r}>"


class AsyncClient:
    """A client of the Dispatch API, for asyncio.

    Belongs to the event loop that first uses it: make one for each.
    Close it with `close`, or use it as a context manager.

    Args:
        api_key: The API key; else `DISPATCH_API_KEY`.
        api_url: Where the API is; else `DISPATCH_API_URL`, else `https://api.dispatch.run`.
        protocol: `"grpc"`, `"connect"` or `"connect+json"`; else `DISPATCH_PROTOCOL`, else gRPC.
            Connect needs the extra: `pip install 'dispatch-grpc[connect]'`.
        timeout: Time that a dispatch may take, with all its retries; None is no limit.
        metadata: Metadata (HTTP headers) to send with every request.
        retry: When a failed request is sent again; None is never. With a service that
            ignores idempotency keys, calls can be recorded twice if an answer got lost on
            its way and the request was sent again.
        credentials: Certificates for `https`; else the system's authorities are trusted.
        allow_plaintext: Whether the key may be sent by `http` to another machine.
        max_message_bytes: Largest request to send and answer to read; gRPC servers take
            4 MiB (the default) unless told otherwise.
        env: Variables to read instead of the process's environment.
        channel: A channel of `grpc.aio` to use; its options and retries are its own, and it
            is not closed with the client.
        http_client: A `pyqwest.Client` to use for Connect, not closed with the client.

    Raises:
        ConfigurationError: A setting is missing or not acceptable.
        ImportError: Connect is not installed.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        api_url: str | None = None,
        protocol: Protocol | None = None,
        timeout: timedelta | None = _TIMEOUT,
        metadata: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = _RETRY,
        credentials: TLSCredentials | None = None,
        allow_plaintext: bool = False,
        max_message_bytes: int = _config.DEFAULT_MAX_MESSAGE_BYTES,
        env: Mapping[str, str] | None = None,
        channel: "grpc.aio.Channel | None" = None,
        http_client: "pyqwest.Client | None" = None,
    ) -> None:
        self._core = Core(
            api_key=api_key,
            api_url=api_url,
            protocol=protocol,
            timeout=timeout,
            metadata=metadata,
            retry=retry,
            credentials=credentials,
            allow_plaintext=allow_plaintext,
            max_message_bytes=max_message_bytes,
            env=env,
            channel=channel,
            http_client=http_client,
        )
        self._channel = channel
        self._http_client = http_client
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._transport: AsyncTransport | None = None

    async def dispatch(
        self,
        call: Call,
        *,
        timeout: timedelta | None = NOT_GIVEN,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> DispatchID:
        """Dispatch a call: the service records it and runs it asynchronously.

        Args:
            call: The call, as `new_call` makes it.
            timeout: Time that this dispatch may take, with all its retries, instead of the
                client's; None is no limit.
            metadata: Metadata to send beside the client's.
            idempotency_key: Key by which the service knows a request that it has seen; else
                one is made. It stays the same for all retries.

        Returns:
            The id that the service gave to the call. The call is recorded by then.

        Raises:
            InvalidCallError: The call breaks a rule of the schema; nothing was sent.
            ConfigurationError: Another argument is not acceptable; nothing was sent.
            ClientStateError: The client is closed.
            AuthenticationError: The service rejected the API key.
            RequestTooLargeError: The call has too many bytes.
            DeadlineExceededError: There was no answer in time.
            UnavailableError: The service could not be reached.
            ProtocolError: What answered is not a Dispatch service.
            RPCError: Any other failure: see `dispatch_grpc.errors`.
        """
        check_call(call, 0)
        key = new_key() if idempotency_key is None else _config.idempotency_key(idempotency_key)
        return (await self._send(DispatchRequest(calls=[call]), timeout, metadata, key))[0]

    def batch(self) -> AsyncBatch:
        """Make an empty batch: calls to record together, all or none."""
        return AsyncBatch(self)

    async def _send(
        self, request: DispatchRequest, timeout: Any, metadata: Mapping[str, str] | None, key: str
    ) -> list[DispatchID]:
        """Send a request and return its ids. Every request of the client goes through here."""
        core = self._core
        if request.ByteSize() > core.max_message_bytes:
            raise core.too_large(request, key)
        pairs = (*core.metadata, ("idempotency-key", key))
        if metadata is not None:
            pairs += _config.metadata(metadata)
        seconds = core.timeout if timeout is NOT_GIVEN else _config.timeout(timeout)
        transport = self._transport
        if transport is None or self._loop is not asyncio.get_running_loop():
            transport = self._start()
        try:
            response = await transport.send(request, pairs, seconds)
        except RPCError as error:
            raise core.explain(error, request, key) from error.__cause__
        ids = list(response.dispatch_ids)
        if len(ids) != len(request.calls):
            raise core.miscounted(request, ids, key)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("dispatched %d calls to %s: %s", len(ids), core.target.url, ids)
        return ids

    def _start(self) -> AsyncTransport:
        """Open the connection in the running event loop, which the client then belongs to."""
        if self._closed:
            raise ClientStateError("the client is closed")
        if self._loop is not None:
            raise ClientStateError(
                "the client belongs to another event loop: make one AsyncClient for each"
            )
        self._transport = self._open()
        self._loop = asyncio.get_running_loop()
        return self._transport

    def _open(self) -> AsyncTransport:
        core = self._core
        if core.protocol == "grpc":
            return AsyncGRPCTransport(
                core.target,
                credentials=core.credentials,
                retry=core.retry,
                max_message_bytes=core.max_message_bytes,
                channel=self._channel,
            )
        from dispatch_grpc._connect import AsyncConnectTransport

        return AsyncConnectTransport(
            core.target,
            json=core.protocol == "connect+json",
            credentials=core.credentials,
            retry=core.retry,
            max_message_bytes=core.max_message_bytes,
            http_client=self._http_client,
        )

    async def close(self) -> None:
        """Close the connection. Closing twice is fine; dispatching afterwards is an error."""
        self._closed = True
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient {self._core!r}>"
