"""A TCP proxy for tests of faults: it cuts, swallows, holds back, slows down or refuses."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """The two sides of a connection through the proxy."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.is_silent = False

    def abort(self) -> None:
        """Reset it."""
        for writer in self.writers:
            writer.transport.abort()


class FaultyProxy:
    """A proxy on 127.0.0.1 whose faults a test switches on and off.

    Args:
        connect: Connects to the server.

    Attributes:
        port: Its port.
        delay: Seconds by which each chunk of bytes is late.
        refuses: Whether new connections are closed at once.
        status: HTTP status that new connections answer with, instead of the server; 0 for none.
    """

    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        self.port = 0
        self.delay = 0.0
        self.refuses = False
        self.status = 0
        self._connect = connect
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._server: asyncio.Server

    async def start(self) -> None:
        """Begin to listen."""
        self.heal()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset all connections."""
        for connection in self._open:
            connection.abort()

    def fall_silent(self) -> None:
        """Swallow all that is sent on the connections that there are.

        Half a minute later they are reset, as where keepalive finds that the other end is lost.
        """
        for connection in self._open:
            connection.is_silent = True
            asyncio.get_running_loop().call_later(30, connection.abort)

    def hold(self) -> None:
        """Keep back all that is sent, until `heal`."""
        self._flows.clear()

    def heal(self) -> None:
        """Let everything through again. Connections that fell silent stay so."""
        self.delay, self.refuses, self.status = 0.0, False, 0
        self._flows.set()

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = _Connection()
        connection.writers.append(writer)
        self._open.add(connection)
        try:
            if self.refuses:
                return
            if self.status:
                await reader.read(65536)
                head = f"HTTP/1.1 {self.status} Away\r\ncontent-length: 0\r\nconnection: close\r\n"
                writer.write(f"{head}\r\n".encode())
                await writer.drain()
                writer.close()
                await writer.wait_closed()
                return
            there, back = await self._connect()
            connection.writers.append(back)
            await asyncio.gather(
                self._copy(reader, back, connection), self._copy(there, writer, connection)
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            connection.abort()
            self._open.discard(connection)
            self._tasks.discard(task)

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if connection.is_silent:
                    continue
                await self._flows.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
        if not connection.is_silent:
            writer.close()
