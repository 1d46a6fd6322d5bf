"""What `Client` and `AsyncClient` do the same: settings, and both ends of a request. No I/O."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from google.protobuf.message import Message

from dispatch_grpc.client import settings
from dispatch_grpc.client.settings import NOT_GIVEN, Protocol
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import (
    TOO_LARGE,
    AuthenticationError,
    CertificateError,
    ConfigurationError,
    DeadlineExceededError,
    ProtocolError,
    RequestTooLargeError,
    RPCError,
    UnavailableError,
)
from dispatch_grpc.log import logger
from dispatch_grpc.schema import DispatchRequest
from dispatch_grpc.transport import (
    ConnectionSettings,
    RetryPolicy,
    TLSCredentials,
    proxy_of,
    with_roots,
)
from dispatch_grpc.version import __version__

DEFAULT_TIMEOUT = timedelta(seconds=10)
DEFAULT_RETRY = RetryPolicy()

_NEVER_SPLIT = (
    "calls that are dispatched together are never split: dispatch fewer, or make inputs smaller"
)


class Core:
    """The settings of a client, checked, and what it does with them."""

    def __init__(
        self,
        *,
        api_key: str | None,
        api_url: str | None,
        protocol: Protocol | None,
        timeout: timedelta | None,
        metadata: Mapping[str, str] | None,
        retry: RetryPolicy | None,
        credentials: TLSCredentials | None,
        allow_plaintext: bool,
        max_message_bytes: int,
        max_response_bytes: int,
        proxy: str | None,
        trust_env: bool,
        env: Mapping[str, str] | None,
        channel: object,
        http_client: object,
    ) -> None:
        env = settings.environment(env)
        self.key = settings.api_key(api_key, env)
        self.protocol = settings.protocol(protocol, env)
        self.target = settings.api_url(
            api_url, env, protocol=self.protocol, allow_plaintext=allow_plaintext
        )
        self.timeout = settings.timeout(timeout)
        self.max_message_bytes, self.max_response_bytes = settings.message_bounds(
            max_message_bytes, max_response_bytes
        )
        settings.instance("credentials", credentials, TLSCredentials)
        settings.instance("retry", retry, RetryPolicy)
        if credentials is not None and not self.target.secure:
            raise ConfigurationError(
                f"credentials are for https, but the API URL is {self.target.url}"
            )
        for name, given, wanted in (
            ("channel", channel, self.protocol == "grpc"),
            ("http_client", http_client, self.protocol != "grpc"),
        ):
            if given is not None and not wanted:
                raise ConfigurationError(f"{name} does not go with protocol={self.protocol!r}")
        if self.protocol != "grpc":
            import dispatch_grpc.transport.connect  # noqa: F401 (is the extra installed?)
        self.own_connection = channel is None and http_client is None
        if credentials is not None and not self.own_connection:
            raise ConfigurationError(
                "credentials do not go with a channel or http_client, which has its own"
            )
        if proxy and not self.own_connection:
            raise ConfigurationError(
                "proxy does not go with a channel or http_client, which has its own"
            )
        roots = ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "SSL_CERT_FILE")
        own_tls = self.target.secure and self.own_connection
        self.connection = ConnectionSettings(
            target=self.target,
            tls=with_roots(credentials, env, *roots[self.protocol != "grpc" :])
            if own_tls
            else TLSCredentials(),
            proxy=proxy_of(
                self.target,
                proxy=proxy,
                trust_env=trust_env and self.own_connection,
                allow_plaintext=allow_plaintext,
                env=env,
            ),
            retry=retry,
            timeout=self.timeout,
            max_response_bytes=self.max_response_bytes,
            user_agent=f"dispatch-grpc/{__version__}",
            json=self.protocol == "connect+json",
        )
        self.metadata: tuple[tuple[str, str], ...] = (
            ("authorization", f"Bearer {self.key.value}"),
            *settings.metadata(metadata),
        )

    def seconds(self, timeout: Any) -> float | None:
        """The seconds that a dispatch may take, by its timeout or else the client's."""
        return self.timeout if timeout is NOT_GIVEN else settings.timeout(timeout)

    def too_large(self, request: DispatchRequest, key: str) -> RequestTooLargeError:
        """The error of a request that is larger than we allow."""
        return RequestTooLargeError(
            f"the request of {len(request.calls)} calls has {request.ByteSize()} bytes, more than "
            f"the {self.max_message_bytes} allowed by max_message_bytes=; {_NEVER_SPLIT}",
            code=Code.RESOURCE_EXHAUSTED,
            idempotency_key=key,
        )

    def miscounted(self, request: DispatchRequest, ids: list[str], key: str) -> ProtocolError:
        """The error of an answer that has not one id for each call."""
        return ProtocolError(
            f"{self.target.url} answered {len(request.calls)} calls with {len(ids)} ids; "
            f"the calls may have been recorded",
            code=Code.INTERNAL,
            idempotency_key=key,
        )

    def explain(self, error: RPCError, request: DispatchRequest, key: str) -> RPCError:
        """Add to an error of the transport what only the client knows."""
        url, limit = self.target.url, None
        if error.code is Code.RESOURCE_EXHAUSTED:
            limit = re.search(TOO_LARGE, error.message)
        if limit or isinstance(error, RequestTooLargeError):
            cause = error.__cause__
            error = RequestTooLargeError(
                f"the request of {len(request.calls)} calls has {self._size(request)} bytes, more "
                f"than the {limit[1] if limit else 'number'} that {url} takes "
                f"({error.message}); {_NEVER_SPLIT}",
                code=Code.RESOURCE_EXHAUSTED,
                details=error.details,
            )
            error.__cause__ = cause
        elif error.code is Code.UNIMPLEMENTED:
            error.message = f"{url} is no Dispatch service ({error.message}): is the URL right?"
        else:
            self._tell(error)
        error.idempotency_key = key
        logger.debug("dispatching %d calls failed: %s", len(request.calls), error)
        return error

    def explain_call(self, error: RPCError, request: Message) -> RPCError:
        """The same for an error of CallService."""
        url, dispatch_id = self.target.url, getattr(request, "dispatch_id", "")
        if error.code is Code.UNIMPLEMENTED:
            error.message = (
                f"{url} has no CallService: dispatch.run's API does not offer wait, get, list and "
                f"cancel, the service of this package (dispatch-grpc serve) does"
            )
        elif error.code is Code.NOT_FOUND and dispatch_id:
            error.message = (
                f"{url} has no call {dispatch_id!r:.80}: there never was one of this id, or it was "
                f"deleted some time after it had finished"
            )
        elif isinstance(error, ProtocolError) and re.search(TOO_LARGE, error.message):
            error.message = (
                f"the answer of {url} is larger than the {self.max_response_bytes} bytes that "
                f"max_response_bytes= allows ({error.message})"
            )
        else:
            self._tell(error)
        logger.debug("%s failed: %s", type(request).__name__, error)
        return error

    def _tell(self, error: RPCError) -> None:
        """Say whose error it is."""
        url = self.target.url
        if isinstance(error, ProtocolError):
            error.message = (
                f"{url} answered something that is no answer of a Dispatch service "
                f"({error.message}): is the API URL right?"
            )
        elif isinstance(error, AuthenticationError):
            error.message = (
                f"{url} rejected the API key {self.key.redacted} (from {self.key.source}): "
                f"{error.message}"
            )
        elif isinstance(error, DeadlineExceededError):
            error.message = f"no answer from {url} in time: {error.message}"
        elif isinstance(error, UnavailableError):
            error.message = f"{url} is not available: {error.message}"
        elif isinstance(error, CertificateError):
            error.message = f"{url} cannot be used: {error.message}"
        else:
            error.message = f"{url} answered: {error.message}"

    def _size(self, request: DispatchRequest) -> int:
        """Bytes of a request as it is sent."""
        if self.protocol == "connect+json":
            from google.protobuf.json_format import MessageToJson

            return len(MessageToJson(request, indent=None))
        return request.ByteSize()

    def __repr__(self) -> str:
        return (
            f"api_url={self.target.url!r}, protocol={self.protocol!r}, "
            f"api_key={self.key.redacted!r}"
        )
