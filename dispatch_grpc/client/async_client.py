"""The client for asyncio: the twin of `Client`.

Its methods about recorded calls are in `async_following` and `async_operations`, its settings in
`base`.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from google.protobuf.message import Message

from dispatch_grpc import tracing
from dispatch_grpc.calls import check_call
from dispatch_grpc.client import explain, settings
from dispatch_grpc.client.async_following import AsyncFollowing
from dispatch_grpc.client.batch import AsyncBatch
from dispatch_grpc.client.grouping import Coalesce, GroupKey, coalesce_of
from dispatch_grpc.client.settings import NOT_GIVEN, LoadBalancing, Protocol, Timeout
from dispatch_grpc.errors import ClientStateError, RPCError
from dispatch_grpc.schema import Call, DispatchRequest
from dispatch_grpc.transport import RetryPolicy, TLSCredentials
from dispatch_grpc.transport.grpc import AsyncGRPCTransport
from dispatch_grpc.transport.protocols import AsyncTransport, Method

if TYPE_CHECKING:
    import grpc.aio

    from dispatch_grpc.client.coalescing import Coalescer
    from dispatch_grpc.client.later import Delay
    from dispatch_grpc.client.schedules import AsyncSchedules


class AsyncClient(AsyncFollowing):
    """A client of the Dispatch API, for asyncio.

    It belongs to the event loop that uses it first: make one for each event loop.
    Close it with `close`, or use it as a context manager.

    Args:
        api_key: The API key; else `DISPATCH_API_KEY`.
        api_url: The URL of the service; else `DISPATCH_API_URL`, else
            `https://api.dispatch.run`, which is out of service.
        protocol: `"grpc"`, `"connect"` or `"connect+json"`; else `DISPATCH_PROTOCOL`, else gRPC.
            Connect needs an extra: `pip install 'dispatch-grpc[connect]'`.
        timeout: Longest time for a dispatch with all its retries, and for a wait: a timedelta
            or a number of seconds; None means no limit.
        metadata: Metadata (HTTP headers) to send with every request.
        retry: When to retry a failed request; None means never. A service that ignores
            idempotency keys may record calls twice if an answer is lost and the request is
            retried.
        credentials: Certificates for `https`; by default, the system's certificate authorities
            are trusted.
        allow_plaintext: Whether to send the key by `http` to another machine.
        max_message_bytes: Largest request to send; by default 4 MiB, the usual limit of gRPC
            servers.
        max_response_bytes: Largest answer to read; else `max_message_bytes` if that is given,
            else 20 MiB, as the service keeps outputs of up to 16 MB.
        proxy: URL of an HTTP proxy to use instead of the environment's.
        trust_env: Whether to use the proxies in `https_proxy`, `http_proxy`, `all_proxy` and
            `no_proxy`. They never apply to loopback, and to `http` only with
            `allow_plaintext`.
        env: Variables to read instead of the process's environment.
        load_balancing: How gRPC spreads requests over the addresses that DNS gives for the host:
            `"round_robin"` over all of them; `"pick_first"`, the default of gRPC, keeps to one.
        channel: A channel of `grpc.aio` to use, with its own options and retries. The client
            does not close it, and sends every request over it: servers limit the requests of a
            connection at a time, often to 128, and each `wait` is one.
        coalesce: Whether dispatches that are made while a request is under way leave together, as
            the next request: True, or a `Coalesce` with its bounds. Each is recorded or refused by
            itself. Batches, and dispatches with a delay, labels, metadata, an idempotency key or a
            trace of their own, are requests of their own. The idempotency key in an error stands
            for all calls of the request: pass the object on as it is, not a copy of its text.

    Raises:
        ConfigurationError: A setting is missing or invalid.
        ImportError: The protocol is Connect, and its extra is not installed.
    """

    _loop: asyncio.AbstractEventLoop | None = None
    _transport: AsyncTransport | None = None
    _coalescer: "Coalescer | None" = None

    def __init__(
        self,
        api_key: str | None = None,
        *,
        api_url: str | None = None,
        protocol: Protocol | None = None,
        timeout: Timeout = settings.DEFAULT_TIMEOUT,
        metadata: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = settings.DEFAULT_RETRY,
        credentials: TLSCredentials | None = None,
        allow_plaintext: bool = False,
        max_message_bytes: int = NOT_GIVEN,
        max_response_bytes: int = NOT_GIVEN,
        proxy: str | None = None,
        trust_env: bool = True,
        env: Mapping[str, str] | None = None,
        load_balancing: LoadBalancing | None = None,
        channel: "grpc.aio.Channel | None" = None,
        coalesce: bool | Coalesce = False,
    ) -> None:
        rules = coalesce_of(coalesce)
        super().__init__(
            api_key,
            api_url=api_url,
            protocol=protocol,
            timeout=timeout,
            metadata=metadata,
            retry=retry,
            credentials=credentials,
            allow_plaintext=allow_plaintext,
            max_message_bytes=max_message_bytes,
            max_response_bytes=max_response_bytes,
            proxy=proxy,
            trust_env=trust_env,
            env=env,
            load_balancing=load_balancing,
            channel=channel,
        )
        if rules is not None:
            from dispatch_grpc.client.coalescing import Coalescer

            self._coalescer = Coalescer(rules, self._settings, self._send)

    async def dispatch(
        self,
        call: Call,
        *,
        delay: "Delay | None" = None,
        at: datetime | None = None,
        labels: Mapping[str, str] | None = None,
        timeout: Timeout = NOT_GIVEN,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Dispatch a call: the service records it and runs it asynchronously.

        Args:
            call: The call, as `new_call` makes it.
            delay: How long after it is recorded the call begins: a timedelta or a number of
                seconds, counted by the service's clock.
            at: When the call begins instead: a datetime with a time zone; one that has passed
                means now. The call's expiration counts from when it is recorded.
            labels: Up to 16 labels, to find the call by: keys of 1 to 63 letters, digits, `_`,
                `.`, `-` and `/`, values of up to 255 bytes.
            timeout: Longest time for this dispatch with all its retries, instead of the
                client's timeout: a timedelta or a number of seconds; None means no limit.
            metadata: Metadata to send in addition to the client's.
            idempotency_key: Key by which the service recognises a repeated request; by default a
                new one. All retries send the same key.

        Returns:
            The id of the call, which the service has recorded.

        Raises:
            InvalidCallError: The call breaks a rule of the schema; nothing was sent.
            ConfigurationError: Another argument is invalid; nothing was sent.
            ClientStateError: The client is closed.
            AuthenticationError: The service rejected the API key.
            RequestTooLargeError: The call is too large.
            DeadlineExceededError: There was no answer in time.
            UnavailableError: The service could not be reached.
            ProtocolError: The server at the API URL is not a Dispatch service.
            NotFoundError: The service cannot delay or label calls (UNIMPLEMENTED); it has recorded
                nothing.
            RPCError: Any other failure: see `dispatch_grpc.errors`.
        """
        is_plain = delay is None and at is None and labels is None
        if self._coalescer and is_plain and not (metadata or idempotency_key or _is_traced()):
            check_call(call, 0)
            seconds = self._settings.seconds(timeout)
            self._connected()
            one = self._coalescer.add(call, seconds)
            try:
                return await one.answer
            except BaseException:
                self._coalescer.give_up(one)
                raise
        single = self._request(call)
        request: explain.Request = single
        seconds = self._settings.seconds(timeout)
        place = 0
        if not is_plain:
            from dispatch_grpc.client import later

            request = later.submit_request([call], {0: later.options_of(delay, at, labels)})
        elif isinstance(idempotency_key, GroupKey):
            request, place = idempotency_key.request_for(call) or (single, 0)
        key = settings.idempotency_key(idempotency_key)
        return (await self._send(request, seconds, metadata, key))[place]

    def batch(self) -> AsyncBatch:
        """Make an empty batch: its calls are recorded together, all or none.

        Raises:
            ClientStateError: The client is closed.
        """
        self._check_open()
        return AsyncBatch(self._send, self._settings.seconds)

    @property
    def schedules(self) -> "AsyncSchedules":
        """The schedules of the service, by which it dispatches calls again and again."""
        from dispatch_grpc.client.schedules import AsyncSchedules

        return AsyncSchedules(self._call, self._settings)

    async def _send(
        self,
        request: explain.Request,
        seconds: float | None,
        metadata: Mapping[str, str] | None,
        key: str,
    ) -> list[str]:
        """Send a request and return its ids. Every dispatch of the client goes through here."""
        with self._span(request) as span:
            pairs = self._metadata(request, metadata, key, span)
            method: Method = "Dispatch" if isinstance(request, DispatchRequest) else "Submit"
            transport = self._connected()
            try:
                response = await transport.call(method, request, pairs, seconds)
            except RPCError as error:
                explained = explain.explain_dispatch(self._settings, error, request, key)
                raise explained from error.__cause__
            except ClientStateError as error:
                error.idempotency_key = key
                raise
            return self._ids(request, response, key, span)

    async def _call(
        self, method: Method, request: Message, seconds: float | None, key: str | None = None
    ) -> Any:
        """Send a CallService request. Every request but a dispatch goes through here."""
        own = self._settings
        transport = self._connected()
        pairs = own.metadata if key is None else (*own.metadata, ("idempotency-key", key))
        try:
            return await transport.call(method, request, pairs, seconds)
        except RPCError as error:
            raise explain.explain_call(own, error, request, key) from error.__cause__
        except ClientStateError as error:
            error.idempotency_key = explain.key_of(request, key)
            raise

    def _connected(self) -> AsyncTransport:
        """Return the connection. The first time opens it, in the event loop that it belongs to."""
        loop = asyncio.get_running_loop()
        if self._transport is not None and self._loop is loop:
            return self._transport
        self._check_open()
        if self._loop is not None:
            raise ClientStateError(
                "the client belongs to another event loop: make an AsyncClient for each event loop"
            )
        self._transport, self._loop = self._connect(), loop
        return self._transport

    def _open(self) -> None:
        if self._settings.protocol != "grpc":
            import dispatch_grpc.transport.connect_async  # noqa: F401 (is the extra installed?)

    def _connect(self) -> AsyncTransport:
        connection = self._settings.connection
        if self._settings.protocol == "grpc":
            return AsyncGRPCTransport(connection, channel=self._channel)
        from dispatch_grpc.transport.connect_async import AsyncConnectTransport

        return AsyncConnectTransport(connection)

    async def close(self) -> None:
        """Close the connection. The client cannot be used afterwards; closing it again is fine."""
        self._closed = True
        transport, self._transport = self._transport, None
        if transport is not None:
            if self._coalescer is not None:
                await self._coalescer.close()
            await transport.close()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _is_traced() -> bool:
    """Return whether a dispatch has a trace, which is its request's."""
    if not tracing.is_imported():
        return False
    from dispatch_grpc.tracing import spans

    return spans.is_traced()
