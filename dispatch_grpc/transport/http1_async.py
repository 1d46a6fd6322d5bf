"""HTTP/1.1 for asyncio: the twin of `http1_sync`."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from dispatch_grpc.errors import RPCError
from dispatch_grpc.transport.http1 import (
    MAX_IDLE_CONNECTIONS,
    MAX_IDLE_SECONDS,
    Answer,
    ClosedError,
    Origin,
    Request,
    time_left,
)


class AsyncConnection(asyncio.Protocol):
    """A connection for asyncio; one request at a time."""

    def __init__(self, max_bytes: int, lost: Callable[["AsyncConnection"], None]) -> None:
        self._max_bytes = max_bytes
        self._lost = lost
        self._transport: Any = None
        self._done: asyncio.Future[Answer] | None = None
        self.answer: Answer = Answer(max_bytes)
        self.idle_since: float = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        if self.answer.complete:  # more than was asked for
            self.close()
            return
        try:
            if self.answer.feed(data):
                self._resolve(None)
        except RPCError as error:
            self._resolve(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end of the connection."""
        self._lost(self)
        if not self.answer.complete:
            try:
                if exc is None:
                    self.answer.feed(b"")
            except ConnectionError as error:
                exc = error
            self._resolve(exc)

    def start(self, data: bytes) -> None:
        """Send a request."""
        self.answer = Answer(self._max_bytes)
        self._done = None
        self._transport.write(data)

    async def finish(self, seconds: float | None) -> Answer:
        """Wait until the answer is complete."""
        if self.answer.complete:
            return self.answer
        if self._transport.is_closing():
            raise ClosedError("the server closed the connection without an answer")
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, self._resolve, TimeoutError())
        try:
            return await self._done
        finally:
            if timer is not None:
                timer.cancel()

    def _resolve(self, error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            if error is None:
                self._done.set_result(self.answer)
            else:
                self._done.set_exception(error)

    def unsent(self) -> int:
        """Return the number of bytes of the request that wait to be sent."""
        return int(self._transport.get_write_buffer_size())

    def is_closed(self) -> bool:
        """Whether the connection is closed."""
        return bool(self._transport.is_closing())

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()


class AsyncHTTPClient:
    """Sends requests over connections that are kept; for asyncio. The twin of `HTTPClient`."""

    def __init__(self, origin: Origin, *, repeat: bool) -> None:
        self._origin = origin
        self._repeat = repeat  # a request whose connection was closed before an answer had begun
        self._idle: list[AsyncConnection] = []
        self._busy: set[AsyncConnection] = set()
        self._closed = False

    async def send(self, request: Request, deadline: float, patience: float | None) -> Answer:
        """Send a request and return its answer, as `HTTPClient.send` does."""
        data = request.data()
        used: list[AsyncConnection] = []
        try:
            if (first := self._reuse()) is not None:
                used.append(first)
                try:
                    return await self._exchange(used, data, deadline, patience)
                except (ClosedError, ConnectionResetError, BrokenPipeError):
                    if first.answer.begun or not self._repeat:
                        raise
            used.append(await self._open(deadline))
            return await self._exchange(used, data, deadline, patience)
        finally:
            for connection in used:
                self._busy.discard(connection)
                answer = connection.answer
                if answer.complete and answer.keep_alive and len(self._idle) < MAX_IDLE_CONNECTIONS:
                    connection.idle_since = time.monotonic()
                    self._idle.append(connection)
                else:
                    connection.close()

    async def _exchange(
        self, used: list[AsyncConnection], data: bytes, deadline: float, patience: float | None
    ) -> Answer:
        first = used[-1]
        first.start(data)
        unsent = len(data) + 1
        while (now := first.unsent()) < unsent:  # it goes on
            unsent, left = now, time_left(deadline)
            try:
                if patience is None:
                    return await first.finish(left)
                return await first.finish(min(left or patience, patience))
            except TimeoutError:
                if patience is None or time.monotonic() >= deadline:
                    self._close_idle()
                    raise
        self._close_idle()  # they may have fallen silent with this one
        if first.answer.begun:
            return await first.finish(time_left(deadline))
        try:
            used.append(await self._open(deadline))
        except OSError:
            return await first.finish(time_left(deadline))
        used[-1].start(data)
        return await _first_of(used[-2:], deadline)

    def _reuse(self) -> AsyncConnection | None:
        while self._idle:
            connection = self._idle.pop()
            late = time.monotonic() - connection.idle_since > MAX_IDLE_SECONDS
            if not late and not connection.is_closed():
                self._busy.add(connection)
                return connection
            connection.close()
        return None

    async def _open(self, deadline: float) -> AsyncConnection:
        if self._closed:
            raise ClosedError("the client is closed")
        origin, loop = self._origin, asyncio.get_running_loop()
        where: dict[str, Any] = {"host": origin.target.host, "port": origin.target.port}
        if origin.proxy is not None:
            sock = await asyncio.to_thread(origin.open, time_left(deadline))
            where = {"sock": sock}
        if origin.context is not None:
            where |= {"ssl": origin.context, "server_hostname": origin.target.host}
        async with asyncio.timeout(time_left(deadline)):
            _, connection = await loop.create_connection(
                lambda: AsyncConnection(origin.max_bytes, self._forget), **where
            )
        self._busy.add(connection)
        return connection

    def _forget(self, connection: AsyncConnection) -> None:
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def _close_idle(self) -> None:
        for connection in self._idle[:]:
            connection.close()
        self._idle.clear()

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        self._close_idle()
        for connection in list(self._busy):
            connection.close()


async def _first_of(connections: list[AsyncConnection], deadline: float) -> Answer:
    """Return the answer that is complete first."""
    left = time_left(deadline)
    waiting = {asyncio.ensure_future(connection.finish(left)) for connection in connections}
    try:
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            answers = [task for task in done if task.exception() is None]
            if answers or not waiting:
                return (answers or [*done])[0].result()
    finally:
        for task in waiting:
            task.cancel()
