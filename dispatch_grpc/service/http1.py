"""HTTP/1.1 requests to endpoints: aiohttp's client, with the rules of the service.

- An address is checked when a name is resolved and when a socket is made for it: a name may lead
  elsewhere the next time.
- A request on a kept connection that closes before the answer begins is sent once more, on a new
  connection: the endpoint most likely closed it as idle.
- An answer is bounded, also after decompression. A large one is read once there is memory for it.
- A large request is sent in pieces, and is not held any more once it has been sent.
"""

import asyncio
import base64
import ipaddress
import os
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter, ResolveResult
from yarl import URL

from dispatch_grpc.service.http1_errors import AnswerError, TooLargeError, UnansweredError, plain
from dispatch_grpc.service.memory import FREE_BYTES, Held, Share
from dispatch_grpc.text import quoted
from dispatch_grpc.transport import with_roots
from dispatch_grpc.transport.connect_async import CheckedRequest
from dispatch_grpc.transport.tls import context_of

if TYPE_CHECKING:
    from aiohttp.connector import Connection

# Servers close connections that are idle: uvicorn after 5 s, load balancers after a minute. Others
# lose them without a word. A new connection costs less than the failures of a stale one.
_IDLE_SECONDS = 4.0
# A host that has crashed, or a NAT that has forgotten a connection, is found out by these.
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
_STALL_SECONDS = 30.0  # a large answer holds memory: as for a request, by TCP_USER_TIMEOUT
_PIECE = 2**16  # what is larger is sent in pieces
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's, for each content-encoding


async def nothing() -> None:
    """Do nothing."""


class Target(NamedTuple):
    """A URL, its path byte for byte as given, and the headers that follow from it."""

    url: URL
    headers: Mapping[str, str]


class Request(NamedTuple):
    """The headers of a request, and its body."""

    headers: Mapping[str, str]
    body: bytes


class Response(NamedTuple):
    """An answer; its body is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@lru_cache(maxsize=1024)
def target_of(url: str) -> Target:
    """Parse a URL.

    Raises:
        ValueError: The URL cannot be called.
    """
    parts = urlsplit(url)
    host, path = (parts.hostname or "").encode("idna").decode(), parts.path or "/"
    if not path.isascii() or any(ord(character) <= 32 for character in host + path):
        raise ValueError("a character in the URL must be percent-encoded")
    authority = f"[{host}]" if ":" in host else host
    if parts.port not in {None, 443 if parts.scheme == "https" else 80}:
        authority += f":{parts.port}"
    headers = {"Host": authority}
    if parts.username is not None:
        userinfo = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(userinfo.encode()).decode()}"
    return Target(URL(f"{parts.scheme}://{authority}{path}", encoded=True), headers)


@dataclass(slots=True)
class _Sending:
    """What the parts of a request share: whether its connection is new, and what comes before."""

    before: Callable[[], Awaitable[None]]
    share: Share
    is_new: bool = False


_sending: ContextVar[_Sending] = ContextVar("_sending")


class Client:
    """Posts requests, and keeps connections for the next ones.

    Args:
        check: Raises an `OSError` for a host and its address that must not be connected to.
        max_response_bytes: Largest answer to read.
        connect_seconds: Time for resolving a name, connecting and TLS.
        proxy: URL of the HTTP proxy to go through, which resolves names: nothing is checked.
    """

    def __init__(
        self,
        *,
        check: Callable[[str, str], None],
        max_response_bytes: int,
        connect_seconds: float,
        proxy: str | None = None,
    ) -> None:
        self._check = check if proxy is None else lambda *_: None
        self._limit = max_response_bytes
        self._seconds = connect_seconds
        self._proxy = proxy
        self._resolver = _Resolver(self._check)
        self._kept = self._session(keepalive_timeout=_IDLE_SECONDS)
        self._new = self._session(force_close=True)

    def _session(self, **options: Any) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # the worker bounds what runs, for each host and in total
            resolver=self._resolver,
            ttl_dns_cache=1,  # those who ask for a name at once share one thread
            socket_factory=self._socket,
            **options,
        )
        return aiohttp.ClientSession(
            connector=connector,
            proxy=self._proxy,
            request_class=_Request,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            timeout=aiohttp.ClientTimeout(connect=self._seconds, ceil_threshold=3600),
        )

    async def post(
        self,
        target: Target,
        make: Callable[[], Awaitable[Request]],
        share: Share,
        before_sending: Callable[[], Awaitable[None]] = nothing,
    ) -> Response:
        """Post a request.

        Args:
            target: Where to.
            make: Makes the request, with the headers that do not follow from the target; once more
                when it is to be sent again.
            share: The memory that it may hold.
            before_sending: Awaited once, when there is a connection to send the request by.

        Raises:
            AnswerError: The answer cannot be read.
            TooLargeError: The answer is larger than the limit.
            aiohttp.ConnectionTimeoutError: No connection was established in time.
            OSError: There is no connection, its address is refused, or it closed: a
                `socket.gaierror`, `ssl.SSLError`, `ClosedError` or other one.
        """
        sending = _Sending(before_sending, share)
        _sending.set(sending)
        try:
            return await self._post(self._kept, target, *await make())
        except UnansweredError:
            if sending.is_new:  # the request may have ended the endpoint
                raise
        share.request.give_back()
        return await self._post(self._new, target, *await make())

    async def _post(
        self,
        session: aiohttp.ClientSession,
        target: Target,
        headers: Mapping[str, str],
        content: bytes,
    ) -> Response:
        share = _sending.get().share
        body: bytes | _Body = content
        if len(content) > _PIECE:
            body = _Body(content, share.request.give_back)
        del content  # or it would be held until the answer is there
        try:
            async with session.post(
                target.url,
                data=body,
                headers={**target.headers, **headers},
                allow_redirects=False,
                ssl=self._tls if target.url.scheme == "https" else True,
            ) as response:
                found = await self._read(response, share.answer)
                return Response(response.status, response.headers, found)
        except aiohttp.ClientError as error:
            raise plain(error) from error

    async def _read(self, response: aiohttp.ClientResponse, held: Held) -> bytes:
        parts, size, known = [], 0, response.content_length or 0
        coding = response.headers.get("content-encoding", "").strip().lower()
        if known > self._limit:
            raise TooLargeError
        if known > FREE_BYTES:
            await held.take(self._limit if coding else known)
        while part := await _more(response, held):
            parts.append(part)
            size += len(part)
            if size > self._limit:
                raise TooLargeError
            if size > max(known, FREE_BYTES):
                await held.take(self._limit)
        found = b"".join(parts)
        parts.clear()
        if coding:
            with suppress(TooLargeError):
                return _decoded(found, coding, min(self._limit, FREE_BYTES))
            await held.take(self._limit)
            found = _decoded(found, coding, self._limit)
        held.keep(len(found))
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._kept.close()
        await self._new.close()

    async def peer_certificate(self, target: Target) -> bytes | None:
        """Return the certificate that a host shows (DER), trusted or not, to say why it is not."""
        if self._proxy is not None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        host, port = target.url.raw_host or "", target.url.port or 443
        with suppress(OSError):
            async with asyncio.timeout(self._seconds):
                for found in await self._resolver.resolve(host, port):
                    with suppress(ConnectionError):
                        _, writer = await asyncio.open_connection(
                            found["host"], port, ssl=context, server_hostname=host
                        )
                        writer.transport.abort()
                        return bytes(writer.get_extra_info("ssl_object").getpeercert(True))
        return None

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return context_of(with_roots(None, os.environ, "SSL_CERT_FILE"))

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """Make the socket for a connection to an address, whether it was resolved or in a URL."""
        family, kind, protocol, _, address = info
        host = str(address[0])
        # A short form, such as 127.1, would be resolved after the check. Some versions of aiohttp
        # take it for an address.
        ipaddress.ip_address(host.partition("%")[0])
        self._check(host, host)
        made = socket.socket(family, kind, protocol)
        _sending.get().is_new = True
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return made


async def _more(response: aiohttp.ClientResponse, held: Held) -> bytes:
    """Return more of an answer, nothing at its end; no memory is held for one that stalls."""
    try:
        async with asyncio.timeout(_STALL_SECONDS if held.size else None):
            return await response.content.readany()
    except TimeoutError as error:
        text = f"no more of the answer came within {_STALL_SECONDS:g} s"
        raise ConnectionError(text) from error


class _Request(CheckedRequest):
    async def send(self, conn: "Connection") -> aiohttp.ClientResponse:
        """Send the request, after `before_sending`."""
        sending = _sending.get()
        await sending.before()
        sending.before = nothing
        return await super().send(conn)


class _Body(aiohttp.payload.Payload):
    """A large body, which is forgotten once it has been sent."""

    def __init__(self, content: bytes, sent: Callable[[], None]) -> None:
        super().__init__(None)
        self._content = content
        self._size = len(content)
        self._sent = sent

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as a text."""
        return self._content.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body in pieces."""
        for start in range(0, len(self._content), _PIECE):
            await writer.write(self._content[start : start + _PIECE])
        self._content = b""
        self._sent()


class _Resolver(aiohttp.ThreadedResolver):
    """Resolves names, and refuses those with an address that is not called."""

    def __init__(self, check: Callable[[str, str], None]) -> None:
        super().__init__()
        self._check = check

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve a name."""
        found = await super().resolve(host, port, family)
        for one in found:
            self._check(host, one["host"])
        return found


def _decoded(body: bytes, coding: str, limit: int) -> bytes:
    """Decompress a body, which proxies compress without being asked."""
    if coding in {"", "identity"} or not body:
        return body
    problem = "the answer of the endpoint cannot be decompressed:"
    if coding not in _WINDOW_BITS:
        known = "only gzip and deflate can be decoded"
        raise AnswerError(f"{problem} its content-encoding is {quoted(coding)}; {known}")
    found = b""
    while body:
        decoder = zlib.decompressobj(_WINDOW_BITS[coding])
        try:
            found += decoder.decompress(body, limit + 1 - len(found))
        except zlib.error as error:
            raise AnswerError(f"{problem} its {coding} content is malformed: {error}") from error
        if len(found) > limit:
            raise TooLargeError
        if not decoder.eof:
            raise AnswerError(f"{problem} its {coding} content is incomplete")
        body = decoder.unused_data
    return found
