"""The client for threads.

Its methods about recorded calls are in `sync_following` and `sync_operations`, its settings in
`base`.
"""

import os
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from google.protobuf.message import Message

from dispatch_grpc.client import explain, settings
from dispatch_grpc.client.batch import Batch
from dispatch_grpc.client.settings import NOT_GIVEN, Timeout
from dispatch_grpc.client.sync_following import Following
from dispatch_grpc.errors import ClientStateError, RPCError
from dispatch_grpc.schema import Call, DispatchRequest
from dispatch_grpc.transport.grpc import GRPCTransport
from dispatch_grpc.transport.protocols import Method, Transport

if TYPE_CHECKING:
    from dispatch_grpc.client.later import Delay
    from dispatch_grpc.client.schedules import Schedules


class Client(Following):
    """A client of the Dispatch API.

    Threads may share it. After `os.fork`, the child opens its own connection.
    Close it with `close`, or use it as a context manager.
    Each dispatch is a request of its own: to send many calls together, use a batch, or an
    `AsyncClient` with `coalesce`.

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
        channel: A channel of `grpc` to use, with its own options and retries. The client
            does not close it, and sends every request over it: servers limit the requests of a
            connection at a time, often to 128, and each `wait` is one.

    Raises:
        ConfigurationError: A setting is missing or invalid.
        ImportError: The protocol is Connect, and its extra is not installed.
    """

    def dispatch(
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
        request: explain.Request = self._request(call)
        key = settings.idempotency_key(idempotency_key)
        seconds = self._settings.seconds(timeout)
        if not (delay is None and at is None and labels is None):
            from dispatch_grpc.client import later

            request = later.submit_request([call], {0: later.options_of(delay, at, labels)})
        return self._send(request, seconds, metadata, key)[0]

    def batch(self) -> Batch:
        """Make an empty batch: its calls are recorded together, all or none.

        Raises:
            ClientStateError: The client is closed.
        """
        self._check_open()
        return Batch(self._send, self._settings.seconds)

    @property
    def schedules(self) -> "Schedules":
        """The schedules of the service, by which it dispatches calls again and again."""
        from dispatch_grpc.client.schedules import Schedules

        return Schedules(self._call, self._settings)

    def _send(
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
            if self._closed or self._pid != os.getpid():
                self._recover()
            try:
                response = self._transport.call(method, request, pairs, seconds)
            except RPCError as error:
                explained = explain.explain_dispatch(self._settings, error, request, key)
                raise explained from error.__cause__
            except ClientStateError as error:
                error.idempotency_key = key
                raise
            return self._ids(request, response, key, span)

    def _call(
        self, method: Method, request: Message, seconds: float | None, key: str | None = None
    ) -> Any:
        """Send a CallService request. Every request but a dispatch goes through here."""
        own = self._settings
        if self._closed or self._pid != os.getpid():
            self._recover()
        pairs = own.metadata if key is None else (*own.metadata, ("idempotency-key", key))
        try:
            return self._transport.call(method, request, pairs, seconds)
        except RPCError as error:
            raise explain.explain_call(own, error, request, key) from error.__cause__
        except ClientStateError as error:
            error.idempotency_key = explain.key_of(request, key)
            raise

    def _recover(self) -> None:
        """Open another connection after a fork, unless the client is closed."""
        self._check_open()
        if not self._settings.own_connection:
            raise ClientStateError(
                "the channel of this client belongs to the process that made it: "
                "make another client after a fork"
            )
        self._open()  # the connection of the parent stays open

    def _open(self) -> None:
        connection = self._settings.connection
        if self._settings.protocol == "grpc":
            self._transport: Transport = GRPCTransport(connection, channel=self._channel)
        else:
            from dispatch_grpc.transport.connect_sync import ConnectTransport

            self._transport = ConnectTransport(connection)
        self._pid = os.getpid()

    def close(self) -> None:
        """Close the connection. The client cannot be used afterwards; closing it again is fine."""
        if not self._closed and self._pid == os.getpid():
            self._transport.close()
        self._closed = True

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
