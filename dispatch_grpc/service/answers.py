"""The meaning of an endpoint's HTTP response, or of a failure to get one."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

from google.protobuf.message import DecodeError

from dispatch_grpc import tracing
from dispatch_grpc.calls import mask_urls
from dispatch_grpc.codes import Code, Status
from dispatch_grpc.endpoint.answers import respond
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.schema import RunResponse
from dispatch_grpc.service.http1 import Response
from dispatch_grpc.service.http1_errors import cause_of
from dispatch_grpc.service.machine import Answer
from dispatch_grpc.text import shorten

PATH = "/dispatch.sdk.v1.FunctionService/Run"
"""The path of a request, after the URL of the endpoint."""
_MAX_RETRY_AFTER = timedelta(days=1)

# The meaning of an HTTP status without a Connect error, a proxy's for example.
_BY_HTTP_STATUS = {
    400: Status.INVALID_ARGUMENT,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.NOT_FOUND,
    408: Status.TIMEOUT,
    429: Status.THROTTLED,
    502: Status.TEMPORARY_ERROR,
    503: Status.TEMPORARY_ERROR,
    504: Status.TIMEOUT,
}
# Statuses that a deploy, a proxy or a key rotation cause for a while; 400 only without a Connect
# error, by which the endpoint itself says that it does not accept the request.
_PASSING = {400, 401, 403, 404, 405, 415}
_AWAY = {502, 503}


def _traces(headers: Mapping[str, str], calls: int) -> Sequence[str]:
    """Return the contexts of the calls that an answer makes: one for each, or one for all."""
    traces = tracing.contexts_of(headers.get(tracing.CALLS, ""))
    if len(traces) in {1, calls}:
        return traces
    return tracing.contexts_of(headers.get(tracing.RESPONSE, ""))


def answer_of(url: str, function: str, response: Response) -> Answer:
    """Return the meaning of an HTTP answer."""
    status, headers = response.status, response.headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status == 200:
        if kind != "application/proto":
            text = f"{shorten(kind)}, not application/proto" if kind else "without a content type"
            return failure(
                Status.HTTP_ERROR,
                f"the answer of the endpoint is {text}: is its URL right?",
                passing=True,
            )
        if not response.body:
            return failure(
                Status.HTTP_ERROR,
                "the answer of the endpoint is empty: most often it is a proxy's",
            )
        try:
            found = RunResponse.FromString(response.body)
            traces = _traces(headers, len(found.poll.calls))
            return Answer(found, passing=_is_unknown(function, found), traces=traces)
        except DecodeError as error:
            return failure(
                Status.INVALID_RESPONSE, f"the answer of the endpoint is malformed: {error}"
            )
    passing = status in _PASSING
    wait = _retry_after(headers.get("retry-after")) if status in {429, 503} else None
    code, message = _connect_error(kind, response.body)
    if code is not None:
        return failure(
            Status.of(rpc_error(code, message)),
            message,
            kind=code.name.lower(),
            passing=passing and status != 400,
            retry_after=wait,
            host_failed=status in _AWAY,
        )
    text = f"the endpoint answered with HTTP status {status}"
    if status in {301, 302, 303, 307, 308} and (location := headers.get("location")):
        to = shorten(mask_urls(urljoin(url, location).removesuffix(PATH)), 500)
        text += f", a redirect to {to}: change the URL of the endpoint if it has moved"
    return failure(
        _BY_HTTP_STATUS.get(status, Status.HTTP_ERROR),
        text,
        passing=passing,
        retry_after=wait,
        host_failed=status in _AWAY,
    )


def _is_unknown(function: str, response: RunResponse) -> bool:
    """Return whether a response says that the endpoint does not have the function.

    dispatch-go says so by a status in HTTP 200, and by this text: other responses with the status
    are a function's own. dispatch-py and this project's endpoint answer with a Connect error.
    """
    return (
        response.status == Status.NOT_FOUND.value
        and f'function "{function}" not found' in response.exit.result.error.message
    )


def _retry_after(value: str | None) -> timedelta | None:
    """Parse a retry-after header: seconds or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    value = value.strip()
    try:
        if value.isascii() and value.isdigit():
            wait = timedelta(seconds=int(value[:9]))
        else:
            wait = parsedate_to_datetime(value) - datetime.now(UTC)
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return None
    return min(max(wait, timedelta(0)), _MAX_RETRY_AFTER)


def _connect_error(kind: str, content: bytes) -> tuple[Code | None, str]:
    """Return the code and message of a Connect error, or None and an empty text."""
    if kind != "application/json":
        return None, ""
    try:
        error: Any = json.loads(content)
        name = error["code"].upper().replace("CANCELED", "CANCELLED")
        return Code[name], str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, ""


def unreachable(error: OSError) -> Answer:
    """Return the failure to reach an endpoint."""
    text = f"the endpoint could not be reached: {mask_urls(cause_of(error))}"
    return failure(Status.TCP_ERROR, text, host_failed=True)


def failure(status: Status, message: str, *, kind: str = "", **details: Any) -> Answer:
    """Return a failure to run a call.

    Args:
        status: The status of the attempt.
        message: What happened.
        kind: The type of the error; the name of the status if it is empty.
        details: Those of `Answer`.
    """
    response = respond(status)
    response.exit.result.error.type = kind or status.name
    response.exit.result.error.message = message
    return Answer(response, **details)
