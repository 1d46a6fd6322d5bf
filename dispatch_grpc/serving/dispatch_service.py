"""DispatchService as an ASGI application: gRPC, Connect and gRPC-Web on one port.

The application checks API keys and calls; a `Handler` records the calls.
gRPC needs an ASGI server with HTTP/2 trailers, such as the one of `serving.one_port`.
"""

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any, Protocol

from dispatch_grpc.errors import missing_extra

try:
    from connectrpc.code import Code as ConnectCode
    from connectrpc.errors import ConnectError
    from dispatch.sdk.v1.dispatch_connect import DispatchServiceASGIApplication
except ImportError as _error:
    raise missing_extra(_error, "serving", "endpoint") from _error

from dispatch_grpc.calls import check_call
from dispatch_grpc.client.settings import DEFAULT_MAX_MESSAGE_BYTES
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import InvalidCallError, RPCError, rpc_error
from dispatch_grpc.log import logger
from dispatch_grpc.schema import DispatchRequest, DispatchResponse
from dispatch_grpc.serving import ASGIApplication
from dispatch_grpc.serving.access import KeyRing
from dispatch_grpc.serving.codecs import LATE_CODECS, decoded
from dispatch_grpc.serving.details import RETRY_SECONDS, details_of, reason
from dispatch_grpc.serving.grpc_rules import GRPCRules

KEY_NAME = "dispatch-api-key-name"
"""The metadata key of the name of the API key."""


class Handler(Protocol):
    """The part of a server that records the calls."""

    async def dispatch(
        self, request: DispatchRequest, metadata: Mapping[str, str]
    ) -> DispatchResponse:
        """Record the calls of a request, all or none.

        Args:
            request: The calls, which satisfy the rules of the schema.
            metadata: Metadata of the request by lower-case key, without the API key. `KEY_NAME`
                holds the name of the key; it is empty if the key has none.

        Returns:
            One id for each call, in the order of the calls.

        Raises:
            RPCError: The request fails with this error. After RESOURCE_EXHAUSTED and UNAVAILABLE
                the answer asks for a pause (`retry-after`, for gRPC `grpc-retry-pushback-ms`).
                Any other exception is logged, and answered with INTERNAL without its text.
        """
        ...


def dispatch_app(
    handler: Handler,
    *,
    api_keys: Collection[str] | KeyRing | None = None,
    max_request_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
) -> ASGIApplication:
    """Make the ASGI application.

    Args:
        handler: Records the calls.
        api_keys: The valid API keys; None disables authentication.
        max_request_bytes: Largest request to read.

    Returns:
        An ASGI 3 application.
    """
    keys = api_keys
    if keys is not None and not isinstance(keys, KeyRing):
        keys = KeyRing(dict.fromkeys(keys, ""))
    app = DispatchServiceASGIApplication(
        _Service(handler, keys),
        interceptors=() if keys is None else (Authenticate(keys),),
        read_max_bytes=max_request_bytes,
        compressions=None,
        codecs=LATE_CODECS,
    )
    return GRPCRules(app, [f"{app.path}/Dispatch"])


class Authenticate:
    """Checks the API key before the body of a request is read."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    async def on_start(self, ctx: Any) -> None:
        """Refuse the request unless it carries one of the keys."""
        given = ctx.request_headers.get("authorization", "")
        if _name_of(given, self._keys) is None:
            message, name = "the request has no API key", "API_KEY_MISSING"
            if given:
                message, name = "the API key is invalid", "API_KEY_INVALID"
            raise connect_error(rpc_error(Code.UNAUTHENTICATED, message, [reason(name)]))

    async def on_end(self, token: None, ctx: Any, error: Exception | None) -> None:
        """Do nothing."""


def _name_of(authorization: str, keys: KeyRing) -> str | None:
    """Return the name of the API key that a request carries."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "bearer":  # RFC 9110, section 11.1: in any case
        return None
    return keys.name_of(credentials.lstrip(" "))


def idempotency_key(headers: Mapping[str, str], keys: KeyRing) -> str | None:
    """Return the idempotency key of a request; each name of API keys has keys of its own."""
    key = headers.get("idempotency-key")
    name = _name_of(headers.get("authorization", ""), keys)
    return f"{name}\0{key}" if key is not None and name else key


class _Service:
    def __init__(self, handler: Handler, keys: KeyRing | None) -> None:
        self._answer = answering(partial(_checked, handler), keys)

    async def dispatch(self, request: Any, ctx: Any) -> DispatchResponse:
        response: DispatchResponse = await self._answer(request, ctx)
        return response


async def _checked(
    handler: Handler, request: DispatchRequest, metadata: Mapping[str, str]
) -> DispatchResponse:
    for index, call in enumerate(request.calls):
        check_call(call, index)
    return await handler.dispatch(request, metadata)


def answering(
    handle: Callable[[Any, Mapping[str, str]], Awaitable[Any]], keys: KeyRing | None
) -> Callable[[Any, Any], Coroutine[Any, Any, Any]]:
    """Make the method of a server that accepts calls: with metadata, and with times to wait.

    Args:
        handle: Takes a request and its metadata, as a `Handler` does, and returns the answer.
        keys: The API keys; None disables authentication.
    """

    async def answer(request: Any, ctx: Any) -> Any:
        metadata = dict(ctx.request_headers.items())
        authorization = metadata.pop("authorization", "")
        name = None if keys is None else _name_of(authorization, keys)
        metadata[KEY_NAME] = name or ""  # never what the request says
        request = await decoded(request)
        try:
            return await handle(request, metadata)
        except InvalidCallError as error:
            raise connect_error(rpc_error(Code.INVALID_ARGUMENT, str(error))) from error
        except RPCError as error:
            if error.code in {Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE}:
                ctx.response_headers["retry-after"] = str(RETRY_SECONDS)
                ctx.response_trailers["grpc-retry-pushback-ms"] = str(RETRY_SECONDS * 1000)
                if error.retry_after is None:
                    error.retry_after = RETRY_SECONDS
            raise connect_error(error) from error
        except Exception as error:
            logger.exception("the handler failed")
            raise ConnectError(ConnectCode.INTERNAL, "internal error") from error

    return answer


def connect_error(error: RPCError) -> ConnectError:
    """Convert an error to the one of connectrpc, with its details."""
    code = error.code
    return ConnectError(
        ConnectCode["CANCELED" if code is Code.CANCELLED else code.name],
        error.message,
        details_of(error),
    )
