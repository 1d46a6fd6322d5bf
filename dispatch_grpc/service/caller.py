"""Run a call on its endpoint: one Connect request. `answers` has the meaning of its answer.

By HTTP itself and not by a generated client: the signature covers the bytes that are sent, and
the speed of the service depends on this path.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import aiohttp

from dispatch_grpc import tracing
from dispatch_grpc.calls import mask_urls
from dispatch_grpc.codes import Status
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.schema import RunRequest
from dispatch_grpc.service import http1
from dispatch_grpc.service.answers import PATH, answer_of, failure, unreachable
from dispatch_grpc.service.certificates import problem_of_certificate
from dispatch_grpc.service.http1_errors import AnswerError, TooLargeError
from dispatch_grpc.service.machine import Answer
from dispatch_grpc.service.memory import Share
from dispatch_grpc.service.store import Loaded
from dispatch_grpc.service.urls import ForbiddenAddressError, Network, check_address

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# Proxies are asked not to compress; what they compress nevertheless is decoded.
_HEADERS = {
    "content-type": "application/proto",
    "connect-protocol-version": "1",
    "accept-encoding": "identity",
}
_CONNECT_SECONDS = 10.0


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
            return failure(Status.TIMEOUT, "the call expired")
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
            return failure(Status.TCP_ERROR, text, host_failed=True)
        except TimeoutError as error:
            if clock.expiry.expired():
                text = f"the endpoint did not answer before {bound}"
                return failure(Status.TIMEOUT, text)
            return unreachable(error)
        except socket.gaierror as error:
            text = f"the host of the endpoint is not known: {error.strerror or error}"
            return failure(Status.DNS_ERROR, text, host_failed=True)
        except ForbiddenAddressError as error:
            return failure(Status.PERMISSION_DENIED, str(error))
        except ssl.SSLError as error:
            text = await self._tls_text(endpoint, error)
            return failure(Status.TLS_ERROR, text, host_failed=True)
        except TooLargeError:
            text = f"the response of the endpoint is larger than {self._limit} bytes"
            return failure(Status.INVALID_RESPONSE, text)
        except AnswerError as error:
            return failure(Status.HTTP_ERROR, str(error))
        except OSError as error:
            return unreachable(error)
        except ValueError as error:  # a URL that cannot be called
            text = f"the endpoint could not be called: {mask_urls(str(error))}"
            return failure(Status.HTTP_ERROR, text)
        except Exception as error:
            logger.exception("a call failed for a reason of the service's own")
            text = f"the endpoint could not be called: {type(error).__name__}"
            return failure(Status.HTTP_ERROR, text)
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
        url = endpoint.rstrip("/") + PATH

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
        return answer_of(url, loaded.function, response)


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
