"""Connect for asyncio, by aiohttp: the twin of `connect_sync`."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from google.protobuf.message import Message

from dispatch_grpc.errors import missing_extra

try:
    import aiohttp
except ImportError as _error:
    raise missing_extra(_error, "the Connect protocol", "connect") from _error

from dispatch_grpc.text import shorten
from dispatch_grpc.transport.connect import (
    CHUNK_BYTES,
    MAX_IDLE_SECONDS,
    Answer,
    BrokenError,
    ClosedError,
    Connect,
    ConnectMethod,
    Exchange,
    UnsentError,
)
from dispatch_grpc.transport.protocols import ConnectionSettings, Metadata
from dispatch_grpc.transport.retry import async_sender

if TYPE_CHECKING:
    from aiohttp.connector import Connection


class _UnsentError(aiohttp.ServerDisconnectedError):
    """The connection had unread bytes."""


class CheckedRequest(aiohttp.ClientRequest):
    """A request that is not sent over a connection with unread bytes.

    Bytes that arrive on an idle connection would be the answer to the next request: aiohttp 3.14
    does not check (its issue 13656).
    """

    async def send(self, conn: "Connection") -> aiohttp.ClientResponse:
        """Send the request."""
        protocol = conn.protocol
        if protocol is not None and protocol.should_close and protocol.exception() is None:
            raise _UnsentError
        return await super().send(conn)


_exchange: ContextVar[Exchange] = ContextVar("exchange")
_used: WeakSet[asyncio.BaseProtocol] = WeakSet()  # connections that a request was sent over


class _Request(CheckedRequest):
    """A request that notes whether its connection was used before.

    aiohttp's traces tell it as well, but take a tenth of the time of a request.
    """

    async def send(self, conn: "Connection") -> aiohttp.ClientResponse:
        """Send the request."""
        if (protocol := conn.protocol) is not None:
            _exchange.get().reused = protocol in _used
            _used.add(protocol)
        return await super().send(conn)


class AsyncConnectTransport(Connect):
    """Sends requests by HTTP POST; belongs to the event loop that made it."""

    def __init__(self, settings: ConnectionSettings) -> None:
        super().__init__(settings, async_sender)
        self._requests: Counter[aiohttp.ClientSession] = Counter()  # under way in each session
        self._session = self._new_session()

    async def _attempt(
        self, method: ConnectMethod, message: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        headers, body = method.request(message, metadata, timeout)
        exchange = method.exchange(timeout)
        while True:
            if self._closed:  # during the backoff
                raise self._failure(ClosedError(), exchange.deadline)
            session = self._session
            self._requests[session] += 1
            try:
                answer = await self._post(session, method.url, headers, body, exchange)
                break
            except (aiohttp.ClientError, OSError) as error:
                if session is self._session and not self._closed:
                    self._session = self._new_session()  # its other connections are broken, too
                cause = self._cause(error)
                if not self._is_sent_again(cause, exchange):
                    if self._context is None:
                        raise self._failure(cause, exchange.deadline) from error
                    failure = await asyncio.to_thread(self._failure, cause, exchange.deadline)
                    raise failure from error
            finally:
                self._requests[session] -= 1
                if session is not self._session and not self._requests[session]:
                    del self._requests[session]
                    await session.close()
            exchange = exchange.again()
        return method.message(answer, exchange)

    async def _post(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: dict[str, str],
        body: bytes,
        exchange: Exchange,
    ) -> Answer:
        loop = asyncio.get_running_loop()
        whole = bytearray()

        def go_on() -> None:
            """Give the next step its time."""
            seconds = exchange.seconds()
            silence.reschedule(None if seconds is None else loop.time() + seconds)

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(body), CHUNK_BYTES):
                go_on()
                yield body[start : start + CHUNK_BYTES]
            exchange.sent = len(body)
            go_on()

        exchange.reused = False
        _exchange.set(exchange)
        async with asyncio.timeout(exchange.seconds()) as silence:
            async with session.post(
                url,
                data=body if len(body) <= CHUNK_BYTES else pieces(),
                headers={**headers, "content-length": str(len(body))},
                allow_redirects=False,
                proxy=self._settings.proxy,
            ) as response:
                exchange.begun, exchange.sent = True, 0
                async for data in response.content.iter_any():
                    self._read(whole, data)
                    if not response.content.is_eof():
                        go_on()
                return Answer(response.status, response.headers, bytes(whole))

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=MAX_IDLE_SECONDS,
                resolver=aiohttp.ThreadedResolver(),
                ssl=self._context or True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            request_class=_Request,
            trust_env=False,
        )

    def _cause(self, error: BaseException) -> OSError:
        """Return the error of a socket that made aiohttp fail."""
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return self._refused(f"{error.status}")
        if isinstance(error, _UnsentError):
            return UnsentError()
        if isinstance(error, aiohttp.ServerDisconnectedError):
            return ClosedError()
        if isinstance(error, aiohttp.ClientPayloadError):
            return BrokenError()
        while isinstance(error, aiohttp.ClientError) and error.__cause__ is not None:
            error = error.__cause__
        if isinstance(error, OSError):
            return error
        return OSError(f"the answer is not HTTP/1.1 ({shorten(str(error))})")

    async def close(self) -> None:
        """Close the connections; requests under way end in a ClientStateError."""
        self._closed = True
        for session in {*self._requests, self._session}:
            await session.close()
