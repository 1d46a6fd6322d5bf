"""The settings that both clients share."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from dispatch_grpc import tracing
from dispatch_grpc.calls import check_call
from dispatch_grpc.client import explain, settings
from dispatch_grpc.client.settings import (
    NOT_GIVEN,
    ClientSettings,
    LoadBalancing,
    Protocol,
    Timeout,
)
from dispatch_grpc.errors import ClientStateError, ConfigurationError
from dispatch_grpc.log import logger
from dispatch_grpc.schema import Call, DispatchRequest, DispatchResponse
from dispatch_grpc.transport import (
    ConnectionSettings,
    Metadata,
    RetryPolicy,
    TLSCredentials,
    proxy_of,
    with_roots,
)
from dispatch_grpc.version import __version__

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dispatch_grpc.schema import SubmitResponse
    from dispatch_grpc.tracing.spans import Traced

_Channel = TypeVar("_Channel")


class BaseClient(ABC, Generic[_Channel]):
    """The base of both clients: it has settings, but sends nothing."""

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
        channel: _Channel | None = None,
    ) -> None:
        env = settings.environment(env)
        key = settings.resolve_api_key(api_key, env)
        chosen = settings.resolve_protocol(protocol, env)
        target = settings.resolve_api_url(
            api_url, env, protocol=chosen, allow_plaintext=allow_plaintext
        )
        seconds = settings.timeout_seconds(timeout)
        sending, reading = settings.message_bounds(max_message_bytes, max_response_bytes)
        settings.check_type("credentials", credentials, TLSCredentials)
        settings.check_type("retry", retry, RetryPolicy)
        settings.check_load_balancing(load_balancing, chosen)
        if credentials is not None and not target.secure:
            raise ConfigurationError(f"credentials are for https, but the API URL is {target.url}")
        own = channel is None
        if not own and chosen != "grpc":
            raise ConfigurationError(f"channel cannot be used with protocol={chosen!r}")
        for name, option in (
            ("credentials", credentials),
            ("proxy", proxy),
            ("load_balancing", load_balancing),
        ):
            if option and not own:
                raise ConfigurationError(f"{name} cannot be used with a channel, which has its own")
        roots = ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "SSL_CERT_FILE")[chosen != "grpc" :]
        connection = ConnectionSettings(
            target=target,
            tls=with_roots(credentials, env, *roots) if target.secure and own else TLSCredentials(),
            proxy=proxy_of(
                target,
                proxy=proxy,
                trust_env=trust_env and own,
                allow_plaintext=allow_plaintext,
                env=env,
            ),
            retry=retry,
            timeout=seconds,
            max_response_bytes=reading,
            user_agent=f"dispatch-grpc/{__version__}",
            json=chosen == "connect+json",
            load_balancing=load_balancing,
        )
        headers = (("authorization", f"Bearer {key.value}"), *settings.check_metadata(metadata))
        self._settings = ClientSettings(
            key, chosen, target, seconds, headers, sending, reading, connection, own
        )
        self._channel = channel
        self._closed = False
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Open the connection, or import its modules if it is opened later."""

    def _check_open(self) -> None:
        if self._closed:
            raise ClientStateError("the client is closed: make another one")

    def _request(self, call: Call) -> DispatchRequest:
        """Check a call, and return a request with a copy of it."""
        check_call(call, 0)
        request = DispatchRequest()
        request.calls.add().CopyFrom(call)  # half the time of the constructor
        return request

    def _span(self, request: explain.Request) -> "AbstractContextManager[Traced | None]":
        """Begin the span of a dispatch, if the process uses OpenTelemetry."""
        if not tracing.is_imported():
            return tracing.NO_SPAN
        from dispatch_grpc.tracing import spans

        calls = explain.calls_of(request)
        functions = {call.function for call in calls}
        return spans.dispatching(functions, len(calls), self._settings.target.url)

    def _traced(self, metadata: Mapping[str, str] | None, span: "Traced") -> Mapping[str, str]:
        """Add the context of a span to metadata, unless the caller has set one."""
        given = metadata or {}
        if "traceparent" in dict((*self._settings.metadata, *settings.check_metadata(given))):
            return given
        return {**given, **tracing.headers_of(span.context)}

    def _metadata(
        self,
        request: explain.Request,
        metadata: Mapping[str, str] | None,
        key: str,
        span: "Traced | None",
    ) -> Metadata:
        """Check the size of a request, and return its metadata."""
        own = self._settings
        if span is not None:
            metadata = self._traced(metadata, span)
        if request.ByteSize() > own.max_message_bytes:
            raise explain.too_large(own, request, key)
        pairs = (*own.metadata, ("idempotency-key", str(key)))  # not a GroupKey
        return pairs if metadata is None else pairs + settings.check_metadata(metadata)

    def _ids(
        self,
        request: explain.Request,
        response: "DispatchResponse | SubmitResponse",
        key: str,
        span: "Traced | None",
    ) -> list[str]:
        """Check that there is an id for each call, and return the ids."""
        ids = response.dispatch_ids[:]
        if len(ids) != explain.calls_in(request):
            raise explain.miscounted(self._settings, request, len(ids), key)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("dispatched to %s: %s", self._settings.target.url, ids)
        if span is not None:
            span.dispatched(ids)
        return ids

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._settings}>"
