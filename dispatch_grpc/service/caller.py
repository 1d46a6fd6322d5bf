"""Run a call on its endpoint: one Connect request, and the meaning of its answer or failure.

By HTTP itself and not by a generated client: the signature covers the bytes that are sent, and
the speed of the service depends on this path.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import aiohttp
from google.protobuf.message import DecodeError

from dispatch_grpc import tracing
from dispatch_grpc.calls import mask_urls
from dispatch_grpc.codes import Code, Status
from dispatch_grpc.endpoint.answers import respond
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.schema import RunRequest, RunResponse
from dispatch_grpc.service import http1
from dispatch_grpc.service.certificates import problem_of_certificate
from dispatch_grpc.service.machine import Answer
from dispatch_grpc.service.memory import Share
from dispatch_grpc.service.store import Loaded
from dispatch_grpc.service.urls import ForbiddenAddressError, Network, check_address
from dispatch_grpc.text import shorten

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PATH = "/dispatch.sdk.v1.FunctionService/Run"
# Proxies are asked not to compress; what they compress nevertheless is decoded.
_HEADERS = {
    "content-type": "application/proto",
    "connect-protocol-version": "1",
    "accept-encoding": "identity",
}
_CONNECT_SECONDS = 10.0
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


class Caller:
    """Calls endpoints.

    Args:
        signing_key: Key to sign requests with; None disables signing.
        allow_metadata: Whether link-local and metadata addresses may be called.
        max_response_bytes: Largest answer to read.
        run_timeout: How long an attempt may take.
        now: Returns the time by which calls expire.
        networks: Networks that endpoints must be in; empty allows all.
        proxy: URL of an HTTP proxy to call endpoints through; it resolves their names.
    """

    def __init__(
        self,
        *,
        signing_key: "Ed25519PrivateKey | None",
        allow_metadata: bool,
        max_response_bytes: int,
        run_timeout: timedelta = timedelta(minutes=5),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        networks: Sequence[Network] = (),
        proxy: str | None = None,
    ) -> None:
        self._now = now
        self._signing_key = signing_key
        self._limit = max_response_bytes
        self._run_seconds = run_timeout.total_seconds()
        self._client = http1.Client(
            check=lambda host, address: check_address(
                host, address, allow_metadata=allow_metadata, networks=networks
            ),
            max_response_bytes=max_response_bytes,
            connect_seconds=_CONNECT_SECONDS,
            proxy=proxy,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def run(
        self,
        loaded: Loaded,
        share: Share,
        begin: Callable[[], Awaitable[None]] = http1.nothing,
        load: Callable[[], Awaitable[Loaded]] | None = None,
        *,
        run_timeout: timedelta | None = None,
        trace: str | None = None,
    ) -> Answer:
        """Run a call. A failure to do so is returned like one of the function.

        Args:
            loaded: The call.
            share: The memory that the request and the answer may hold; the answer's is held on.
            begin: Awaited when the request is about to be sent.
            load: Loads what the request holds, if that is large.
            run_timeout: How long the attempt may take, if not as long as others.
            trace: The context of the attempt, if it has one of its own.
        """
        most = self._run_seconds if run_timeout is None else run_timeout.total_seconds()
        seconds = self._seconds_of(loaded, most)
        if seconds <= 0:
            return _failure(Status.TIMEOUT, "the call expired")
        bound = "the call expired"
        if seconds == most:
            bound = f"the time limit of an attempt, {seconds:g} s, was over"
        endpoint = loaded.running.endpoint
        clock = _Clock(seconds)
        share.answer.waiting = clock.stopped

        async def begin_in_time() -> None:
            """Begin, however long the database takes: the attempt's time starts then."""
            with clock.stopped():
                await begin()
            clock.restart(self._seconds_of(loaded, most))

        async def whole() -> Loaded:
            if load is None:
                return loaded
            with clock.stopped():
                return await load()

        try:
            async with clock.expiry:
                return await self._post(
                    endpoint,
                    loaded,
                    share,
                    most=most,
                    begin=begin_in_time,
                    whole=whole,
                    trace=trace,
                )
        except aiohttp.ConnectionTimeoutError:
            text = f"the endpoint could not be reached within {_CONNECT_SECONDS:g} s"
            return _failure(Status.TCP_ERROR, text, host_failed=True)
        except TimeoutError as error:
            if clock.expiry.expired():
                text = f"the endpoint did not answer before {bound}"
                return _failure(Status.TIMEOUT, text)
            return _unreachable(error)
        except socket.gaierror as error:
            text = f"the host of the endpoint is not known: {error.strerror or error}"
            return _failure(Status.DNS_ERROR, text, host_failed=True)
        except ForbiddenAddressError as error:
            return _failure(Status.PERMISSION_DENIED, str(error))
        except ssl.SSLError as error:
            text = await self._tls_text(endpoint, error)
            return _failure(Status.TLS_ERROR, text, host_failed=True)
        except http1.TooLargeError:
            text = f"the response of the endpoint is larger than {self._limit} bytes"
            return _failure(Status.INVALID_RESPONSE, text)
        except http1.AnswerError as error:
            return _failure(Status.HTTP_ERROR, str(error))
        except OSError as error:
            return _unreachable(error)
        except ValueError as error:  # a URL that cannot be called
            text = f"the endpoint could not be called: {mask_urls(str(error))}"
            return _failure(Status.HTTP_ERROR, text)
        except Exception as error:
            logger.exception("a call failed for a reason of the service's own")
            text = f"the endpoint could not be called: {type(error).__name__}"
            return _failure(Status.HTTP_ERROR, text)
        finally:
            # The clock holds the task, and this the answer, longer than they are needed.
            share.answer.waiting = nullcontext

    def _seconds_of(self, loaded: Loaded, most: float) -> float:
        """Return the seconds that an attempt may take; negative for a call that has expired."""
        return min((loaded.running.expires_at - self._now()).total_seconds(), most)

    async def _tls_text(self, endpoint: str, error: ssl.SSLError) -> str:
        if not isinstance(error, ssl.SSLCertVerificationError):
            reason = (error.reason or str(error)).lower().replace("_", " ")
            hint = ""
            if error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}:
                hint = "; does it serve http:// and not https://?"
            return f"the endpoint could not be reached: TLS failed: {reason}{hint}"
        target = http1.target_of(endpoint)
        certificate = await self._client.peer_certificate(target)
        problem = problem_of_certificate(target.url.raw_host or "", error, certificate)
        return f"the endpoint could not be reached: {problem}"

    async def _post(
        self,
        endpoint: str,
        loaded: Loaded,
        share: Share,
        *,
        most: float,
        begin: Callable[[], Awaitable[None]],
        whole: Callable[[], Awaitable[Loaded]],
        trace: str | None,
    ) -> Answer:
        url = endpoint.rstrip("/") + _PATH

        async def make() -> http1.Request:
            body = _request(await whole()).SerializeToString()
            milliseconds = round(self._seconds_of(loaded, most) * 1000)
            headers = dict(_HEADERS)
            headers["connect-timeout-ms"] = str(min(max(milliseconds, 1), 9_999_999_999))
            headers["dispatch-attempt"] = str(loaded.running.attempt)
            headers |= tracing.headers_of(trace or loaded.trace)
            if trace and loaded.trace:
                headers[tracing.CREATION] = tracing.headers_of(loaded.trace)["traceparent"]
            if loaded.scheduled_at is not None:
                headers["dispatch-scheduled-time"] = loaded.scheduled_at.astimezone(UTC).isoformat()
            if self._signing_key is not None:
                from dispatch_grpc.endpoint.signature import sign_request

                headers |= sign_request("POST", url, headers, body, self._signing_key)
            return http1.Request(headers, body)

        response = await self._client.post(http1.target_of(url), make, share, begin)
        return _answer(url, loaded.function, response)


class _Clock:
    """The time limit of an attempt, which stands still while the attempt waits for the service."""

    def __init__(self, seconds: float) -> None:
        self.expiry = asyncio.timeout(seconds)

    def restart(self, seconds: float) -> None:
        """Let it begin again."""
        if not self.expiry.expired():
            self.expiry.reschedule(asyncio.get_running_loop().time() + seconds)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let it stand still."""
        until = self.expiry.when()
        if until is None or self.expiry.expired():
            yield
            return
        left = until - asyncio.get_running_loop().time()
        self.expiry.reschedule(None)
        try:
            yield
        finally:
            self.restart(left)


def _request(loaded: Loaded) -> RunRequest:
    request = RunRequest(
        function=loaded.function,
        dispatch_id=str(loaded.running.id),
        parent_dispatch_id=str(loaded.parent_id or ""),
        root_dispatch_id=str(loaded.root_id),
    )
    request.creation_time.FromDatetime(loaded.created_at.astimezone(UTC))
    request.expiration_time.FromDatetime(loaded.running.expires_at.astimezone(UTC))
    if loaded.poll is None:
        request.input.ParseFromString(loaded.input or b"")
        request.input.SetInParent()
        return request
    result = request.poll_result
    result.results.extend(loaded.results)
    if loaded.poll.HasField("typed_coroutine_state"):
        result.typed_coroutine_state.CopyFrom(loaded.poll.typed_coroutine_state)
    else:
        result.coroutine_state = loaded.poll.coroutine_state
    if loaded.poll_error is not None:
        result.error.CopyFrom(loaded.poll_error)
    result.SetInParent()
    return request


def _traces(headers: Mapping[str, str], calls: int) -> Sequence[str]:
    """Return the contexts of the calls that an answer makes: one for each, or one for all."""
    traces = tracing.contexts_of(headers.get(tracing.CALLS, ""))
    if len(traces) in {1, calls}:
        return traces
    return tracing.contexts_of(headers.get(tracing.RESPONSE, ""))


def _answer(url: str, function: str, response: http1.Response) -> Answer:
    """Return the meaning of an HTTP answer."""
    status, headers = response.status, response.headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status == 200:
        if kind != "application/proto":
            text = f"{shorten(kind)}, not application/proto" if kind else "without a content type"
            return _failure(
                Status.HTTP_ERROR,
                f"the answer of the endpoint is {text}: is its URL right?",
                passing=True,
            )
        if not response.body:
            return _failure(
                Status.HTTP_ERROR,
                "the answer of the endpoint is empty: most often it is a proxy's",
            )
        try:
            found = RunResponse.FromString(response.body)
            traces = _traces(headers, len(found.poll.calls))
            return Answer(found, passing=_is_unknown(function, found), traces=traces)
        except DecodeError as error:
            return _failure(
                Status.INVALID_RESPONSE, f"the answer of the endpoint is malformed: {error}"
            )
    passing = status in _PASSING
    wait = _retry_after(headers.get("retry-after")) if status in {429, 503} else None
    code, message = _connect_error(kind, response.body)
    if code is not None:
        return _failure(
            Status.of(rpc_error(code, message)),
            message,
            kind=code.name.lower(),
            passing=passing and status != 400,
            retry_after=wait,
            host_failed=status in _AWAY,
        )
    text = f"the endpoint answered with HTTP status {status}"
    if status in {301, 302, 303, 307, 308} and (location := headers.get("location")):
        to = shorten(mask_urls(urljoin(url, location).removesuffix(_PATH)), 500)
        text += f", a redirect to {to}: change the URL of the endpoint if it has moved"
    return _failure(
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


def _unreachable(error: OSError) -> Answer:
    text = f"the endpoint could not be reached: {mask_urls(http1.cause_of(error))}"
    return _failure(Status.TCP_ERROR, text, host_failed=True)


def _failure(status: Status, message: str, *, kind: str = "", **details: Any) -> Answer:
    response = respond(status)
    response.exit.result.error.type = kind or status.name
    response.exit.result.error.message = message
    return Answer(response, **details)
