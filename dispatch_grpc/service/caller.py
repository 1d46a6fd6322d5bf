"""Running a call on its endpoint: one Connect request, and what its answer or failure stands for.

By HTTP itself rather than by a generated client: the signature is of the bytes that are sent, and
this path is what the speed of the service hangs on.
"""

import asyncio
import json
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyqwest
from google.protobuf.message import DecodeError
from pyqwest import Headers, HTTPTransport, Request, Response

from dispatch_grpc.calls import mask_urls
from dispatch_grpc.codes import Code, Status
from dispatch_grpc.endpoint.answers import respond
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.schema import PollResult, RunRequest, RunResponse
from dispatch_grpc.service.store import Loaded
from dispatch_grpc.service.thread_exit import settle_at_exit
from dispatch_grpc.service.urls import ForbiddenAddressError, check_addresses, host_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

settle_at_exit()

_PATH = "/dispatch.sdk.v1.FunctionService/Run"
_HEADERS = {"content-type": "application/proto", "connect-protocol-version": "1"}
_CONNECT_SECONDS = 10.0
_RESOLVED_SECONDS = 30

# What an HTTP status stands for that comes without an error of Connect: a proxy's, say.
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


class Caller:
    """Calls endpoints.

    Args:
        signing_key: Key to sign requests with; None signs none.
        allow_metadata: Whether link-local and metadata addresses may be called.
        max_response_bytes: Largest answer to read.
    """

    def __init__(
        self,
        *,
        signing_key: "Ed25519PrivateKey | None",
        allow_metadata: bool,
        max_response_bytes: int,
    ) -> None:
        self._signing_key = signing_key
        self._allow_metadata = allow_metadata
        self._limit = max_response_bytes
        self._transport = HTTPTransport(
            tls_include_system_certs=True,
            connect_timeout=_CONNECT_SECONDS,
            pool_max_idle_per_host=64,
            follow_redirects=False,
            enable_gzip=False,
            enable_brotli=False,
            enable_zstd=False,
        )
        self._resolved: dict[str, float] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def run(self, loaded: Loaded) -> RunResponse:
        """Run a call. A failure to do so is answered like one of the function."""
        request = _request(loaded)
        seconds = (loaded.running.expires_at - datetime.now(UTC)).total_seconds()
        if seconds <= 0:
            return _failure(Status.TIMEOUT, "the call expired")
        expiry = asyncio.timeout(seconds)
        try:
            async with expiry:
                if not self._allow_metadata:
                    await self._check(loaded.running.endpoint)
                return await self._post(loaded.running.endpoint, request, seconds)
        except TimeoutError:
            if expiry.expired():
                text = "the endpoint did not answer before the call expired"
                return _failure(Status.TIMEOUT, text)
            text = f"the endpoint could not be reached within {_CONNECT_SECONDS:g} s"
            return _failure(Status.TCP_ERROR, text)
        except socket.gaierror as error:
            return _failure(Status.DNS_ERROR, f"the host of the endpoint is not known: {error}")
        except ForbiddenAddressError as error:
            return _failure(Status.PERMISSION_DENIED, str(error))
        except pyqwest.RemoteProtocolError as error:
            return _failure(Status.HTTP_ERROR, f"the endpoint does not speak HTTP: {error}")
        except (ConnectionError, OSError, pyqwest.StreamError) as error:
            text = str(error)
            # When it connects: what goes wrong below TLS is told by the operating system.
            is_tls = "(Connect)" in text and "os error" not in text
            is_tls = is_tls and loaded.running.endpoint.startswith("https")
            status = Status.TLS_ERROR if is_tls else Status.TCP_ERROR
            return _failure(status, f"the endpoint could not be reached: {mask_urls(text)}")
        except Exception as error:  # noqa: BLE001 (of the HTTP client: a URL it does not take)
            text = mask_urls(str(error))
            return _failure(Status.HTTP_ERROR, f"the endpoint could not be called: {text}")

    async def _check(self, endpoint: str) -> None:
        """Check the addresses of a host, once in a while."""
        host, now = host_of(endpoint), time.monotonic()
        if self._resolved.get(host, 0) < now:
            await check_addresses(endpoint)
            if len(self._resolved) > 10_000:
                self._resolved.clear()
            self._resolved[host] = now + _RESOLVED_SECONDS

    async def _post(self, endpoint: str, request: RunRequest, seconds: float) -> RunResponse:
        url, body = endpoint.rstrip("/") + _PATH, request.SerializeToString()
        headers = dict(_HEADERS)
        headers["connect-timeout-ms"] = str(min(max(round(seconds * 1000), 1), 9_999_999_999))
        if self._signing_key is not None:
            from dispatch_grpc.endpoint.signature import sign_request

            headers |= sign_request("POST", url, headers, body, self._signing_key)
        response = await self._transport.execute(
            Request("POST", url, headers=Headers(headers.items()), content=body)
        )
        content = await self._read(response)
        if content is None:
            return _failure(
                Status.INVALID_RESPONSE,
                f"the answer of the endpoint has more than {self._limit} bytes",
            )
        return _answer(response.status, response.headers.get("content-type", ""), content)

    async def _read(self, response: Response) -> bytes | None:
        """The body of an answer; None when it is too large."""
        length = int(response.headers.get("content-length", -1))
        content, is_whole = bytearray(), False
        try:
            async for chunk in response.content:
                content += chunk
                if max(len(content), length) > self._limit:
                    return None
                if len(content) == length:
                    break  # to wait for the end too would take as long again
            is_whole = True
        finally:
            if not is_whole:
                await response.aclose()
        return bytes(content)


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
        request.input.ParseFromString(loaded.input)
        request.input.SetInParent()
        return request
    result = PollResult(results=loaded.results)
    if loaded.poll.HasField("typed_coroutine_state"):
        result.typed_coroutine_state.CopyFrom(loaded.poll.typed_coroutine_state)
    else:
        result.coroutine_state = loaded.poll.coroutine_state
    if loaded.poll_error is not None:
        result.error.CopyFrom(loaded.poll_error)
    request.poll_result.CopyFrom(result)
    return request


def _answer(status: int, content_type: str, content: bytes) -> RunResponse:
    """What an HTTP answer stands for."""
    kind = content_type.partition(";")[0].strip().lower()
    if status == 200:
        if kind != "application/proto":
            return _failure(
                Status.HTTP_ERROR,
                f"the answer of the endpoint is {kind or 'of no type'}, not application/proto: is "
                f"its URL right?",
            )
        try:
            return RunResponse.FromString(content)
        except DecodeError as error:
            return _failure(
                Status.INVALID_RESPONSE, f"the answer of the endpoint is malformed: {error}"
            )
    code, message = _connect_error(kind, content)
    if code is not None:
        return _failure(Status.of(rpc_error(code, message)), message, kind=code.name.lower())
    found = _BY_HTTP_STATUS.get(status, Status.HTTP_ERROR)
    return _failure(found, f"the endpoint answered with HTTP status {status}")


def _connect_error(kind: str, content: bytes) -> tuple[Code | None, str]:
    """The code and message of an error as Connect writes it, if it is one."""
    if kind != "application/json":
        return None, ""
    try:
        error: Any = json.loads(content)
        name = error["code"].upper().replace("CANCELED", "CANCELLED")
        return Code[name], str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, ""


def _failure(status: Status, message: str, kind: str = "") -> RunResponse:
    response = respond(status)
    response.exit.result.error.type = kind or status.name
    response.exit.result.error.message = message
    return response
