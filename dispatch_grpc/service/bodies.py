"""The bodies of requests under way, and of answers, within the memory that large values may take.

A request takes memory as soon as more than a little of its body has arrived, as much as it will
become, and gives it back when it has been answered. While it waits nothing more of it is read. A
large answer takes memory before it is read from the database, until it has been sent. When nothing
more of either passes for a while, the connection is closed.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

from dispatch_grpc.service.memory import FREE_BYTES, Memory, Share
from dispatch_grpc.serving import ASGIApplication

_SILENT_SECONDS = 30.0
_PIECE = 256 * 1024
_current: ContextVar[Share] = ContextVar("share")

_Message = MutableMapping[str, Any]


class Bodies:
    """An ASGI application whose requests and answers share the memory for large values.

    Args:
        app: The application.
        memory: The memory. Clients take turns, as hosts do, by their addresses.
        most: Largest request that the application reads.
    """

    def __init__(self, app: ASGIApplication, memory: Memory, most: int) -> None:
        self._app = app
        self._memory = memory
        self._most = most

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Any) -> None:
        """Answer a request of ASGI."""
        client = scope.get("client")
        share = self._memory.share(f"client {client[0] if client else ''}")
        read = _Reader(scope, receive, share, self._most)
        token = _current.set(share)
        try:
            await self._app(scope, read, _in_pieces(send))
        finally:
            _current.reset(token)
            share.give_back()


async def hold(size: int) -> None:
    """Take memory for the answer to the request under way, until it has been sent."""
    if (share := _current.get(None)) is not None:
        share.answer.give_back()  # who waits holds nothing, not for its request either
        await share.request.take(size)


class _Reader:
    """Receives a request; what is large takes memory."""

    def __init__(
        self, scope: Any, receive: Callable[[], Awaitable[_Message]], share: Share, most: int
    ) -> None:
        headers = dict(scope.get("headers", ()))
        length = headers.get(b"content-length", b"")
        self._known = int(length) if length.isdigit() else 0
        self._is_grpc = headers.get(b"content-type", b"").startswith(b"application/grpc")
        self._receive = receive
        self._held = share.answer
        self._most = most
        self._size = 0

    async def __call__(self) -> _Message:
        if not self._held.size:
            message = await self._receive()
        else:
            try:
                async with asyncio.timeout(_SILENT_SECONDS):
                    message = await self._receive()
            except TimeoutError:
                return {"type": "http.disconnect"}
        body = message.get("body", b"")
        if not self._size and self._is_grpc and len(body) >= 5:  # the length of the message
            self._known = self._known or 5 + int.from_bytes(body[1:5])
        self._size += len(body)
        if not message.get("more_body", False):
            self._held.keep(max(self._size, FREE_BYTES))
        elif self._size > FREE_BYTES:
            await self._held.take(min(self._known or self._most, self._most))
        return message


def _in_pieces(send: Callable[[_Message], Awaitable[None]]) -> Callable[[_Message], Any]:
    """Send large bodies in pieces, so that the server holds no more than the client reads."""

    async def send_all(message: _Message) -> None:
        body = message.get("body", b"")
        if len(body) <= _PIECE:
            await send(message)
            return
        rest = memoryview(body)
        while rest:
            piece, rest = rest[:_PIECE], rest[_PIECE:]
            more = bool(rest) or message.get("more_body", False)
            async with asyncio.timeout(_SILENT_SECONDS):
                await send({**message, "body": bytes(piece), "more_body": more})

    return send_all
