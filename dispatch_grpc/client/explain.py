"""Explain errors of the transport: add what only the client knows, such as its URL and key."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from google.protobuf.message import Message

from dispatch_grpc.client import settings
from dispatch_grpc.client.settings import ClientSettings
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import (
    TOO_LARGE,
    AuthenticationError,
    CertificateError,
    DeadlineExceededError,
    ProtocolError,
    RequestTooLargeError,
    RPCError,
    UnavailableError,
)
from dispatch_grpc.log import logger
from dispatch_grpc.schema import Call, DispatchRequest, to_json
from dispatch_grpc.text import counted, quoted

if TYPE_CHECKING:
    from dispatch_grpc.schema import SubmitRequest

Request: TypeAlias = "DispatchRequest | SubmitRequest"
"""A request that records calls."""

_NEVER_SPLIT = "a batch is never split: put fewer calls into it, or make their inputs smaller"


def too_large(client: ClientSettings, request: Request, key: str) -> RequestTooLargeError:
    """Return the error for a request that exceeds the client's own limit."""
    return RequestTooLargeError(
        f"{_request(request, request.ByteSize())} is larger than the {client.max_message_bytes} "
        f"bytes allowed by max_message_bytes=; {_NEVER_SPLIT}",
        code=Code.RESOURCE_EXHAUSTED,
        idempotency_key=key,
    )


def miscounted(client: ClientSettings, request: Request, ids: int, key: str) -> ProtocolError:
    """Return the error for an answer with more or fewer ids than calls."""
    return ProtocolError(
        f"{client.target.url} returned {ids} ids for {_calls(request)}; "
        f"the calls may have been recorded",
        code=Code.INTERNAL,
        idempotency_key=key,
    )


def explain_dispatch(
    client: ClientSettings, error: RPCError, request: Request, key: str
) -> RPCError:
    """Add context to the error of a Dispatch or a Submit; return the error to raise."""
    url, limit = client.target.url, None
    if error.code is Code.RESOURCE_EXHAUSTED:
        limit = re.search(TOO_LARGE, error.message)
    if limit or isinstance(error, RequestTooLargeError):
        cause = error.__cause__
        error = RequestTooLargeError(
            f"{_request(request, _sent_bytes(client, request))} is larger than "
            f"{f'the {limit[1]} bytes that {url} accepts' if limit else f'{url} accepts'} "
            f"({error.message}); {_NEVER_SPLIT}",
            code=Code.RESOURCE_EXHAUSTED,
            details=error.details,
        )
        error.__cause__ = cause
    elif error.code is Code.UNIMPLEMENTED and not isinstance(request, DispatchRequest):
        error.message = (
            f"{url} cannot delay or label calls ({error.message}), and nothing was recorded: leave "
            f"out delay, at and labels, or use the service that 'dispatch-grpc serve' runs"
        )
    elif error.code is Code.UNIMPLEMENTED:
        error.message = f"{url} is not a Dispatch service ({error.message}): {_check_url(client)}"
    else:
        _add_url(client, error)
    error.idempotency_key = key
    logger.debug("dispatching %s failed: %s", _calls(request), error)
    return error


def explain_call(
    client: ClientSettings, error: RPCError, request: Message, key: str | None = None
) -> RPCError:
    """Add context to the error of a CallService request; return the error to raise."""
    error.idempotency_key = key_of(request, key)
    url, dispatch_id = client.target.url, getattr(request, "dispatch_id", "")
    if error.code is Code.UNIMPLEMENTED:
        method = type(request).__name__.removesuffix("Request")
        service = "ScheduleService" if "Schedule" in method else "CallService"
        error.message = (
            f"{url} does not have {service}.{method}: it is older than this library, or not the "
            f"service that 'dispatch-grpc serve' runs"
        )
    elif error.code is Code.NOT_FOUND and dispatch_id:
        error.message = (
            f"{url} has no call {quoted(dispatch_id)}: the id is wrong, or the service has deleted "
            f"the call some time after it finished"
        )
    elif isinstance(error, RequestTooLargeError):
        limit = re.search(TOO_LARGE, error.message)
        error.message = (
            f"the request ({request.ByteSize()} bytes) is larger than "
            f"{f'the {limit[1]} bytes that {url} accepts' if limit else f'{url} accepts'}"
        )
    elif isinstance(error, ProtocolError) and re.search(TOO_LARGE, error.message):
        error.message = (
            f"the answer of {url} is larger than the {client.max_response_bytes} bytes allowed by "
            f"max_response_bytes= ({error.message})"
        )
    else:
        _add_url(client, error)
    logger.debug("%s failed: %s", type(request).__name__, error)
    return error


def key_of(request: Message, key: str | None) -> str | None:
    """Return the idempotency key of a CallService request: that of its metadata, or its own."""
    return key or getattr(request, "idempotency_key", None)


def _add_url(client: ClientSettings, error: RPCError) -> None:
    """Add to the message the URL of the service, and advice."""
    url, message = client.target.url, error.message
    if isinstance(error, ProtocolError):
        text = f"{url} did not answer like a Dispatch service ({message})"
        error.message = f"{text}: {_check_url(client)}"
    elif isinstance(error, AuthenticationError):
        key = client.key
        error.message = f"{url} rejected the API key {key.redacted} (from {key.source}): {message}"
    elif isinstance(error, DeadlineExceededError):
        error.message = f"no answer from {url} in time: {message}{_own_service(client)}"
    elif isinstance(error, UnavailableError):
        error.message = f"{url} is not available: {message}{_own_service(client)}"
    elif isinstance(error, CertificateError):
        error.message = f"{url} cannot be used: {message}"
    else:
        error.message = f"{url} answered: {message}"


def _check_url(client: ClientSettings) -> str:
    return f"check the API URL{_own_service(client)}"


def _own_service(client: ClientSettings) -> str:
    """Return advice to run a service, for clients that use the default URL."""
    if client.target.url != settings.DEFAULT_API_URL:
        return ""
    return (
        "; this is the default API URL, which is out of service: run your own service with "
        "'dispatch-grpc serve' and set DISPATCH_API_URL to its URL, or pass api_url="
    )


def calls_in(request: Request) -> int:
    """Return the number of calls in a request."""
    return len(request.calls if isinstance(request, DispatchRequest) else request.submissions)


def calls_of(request: Request) -> Sequence[Call]:
    """Return the calls in a request."""
    if isinstance(request, DispatchRequest):
        return request.calls
    return [submission.call for submission in request.submissions]


def _calls(request: Request) -> str:
    return counted(calls_in(request), "call")


def _request(request: Request, size: int) -> str:
    return f"the request of {_calls(request)} ({size} bytes)"


def _sent_bytes(client: ClientSettings, request: Request) -> int:
    """Return the size of a request as it is sent."""
    if client.protocol == "connect+json":
        return len(to_json(request))
    return request.ByteSize()
