"""Serving a connection by HTTP/2, with hypercorn."""

import asyncio
from typing import TYPE_CHECKING

from dispatch_grpc.errors import missing_extra

try:
    from h2.events import DataReceived, StreamReset
    from h2.events import Event as HTTP2Event
    from hypercorn.asyncio.task_group import TaskGroup
    from hypercorn.asyncio.tcp_server import TCPServer
    from hypercorn.asyncio.worker_context import WorkerContext
    from hypercorn.events import Closed, Event, Updated
    from hypercorn.protocol.events import Event as StreamEvent
    from hypercorn.protocol.h2 import H2Protocol
    from hypercorn.typing import ConnectionState
    from hypercorn.utils import parse_socket_addr
except ImportError as _error:
    raise missing_extra(_error, "serving", "endpoint") from _error

if TYPE_CHECKING:
    from hypercorn.protocol import ProtocolWrapper


class HTTP2Server(TCPServer):
    """A connection of HTTP/2: hypercorn's, with a graceful end."""

    async def run(self) -> None:
        """Serve the connection until it ends."""
        address = self.writer.get_extra_info("socket")
        try:
            async with TaskGroup(self.loop) as task_group:
                self._task_group = task_group
                self._http2 = _HTTP2(
                    self.app,
                    self.config,
                    # Not the server's own context, which at the end would reset new requests and
                    # the connection. They are answered until none is under way.
                    WorkerContext(None),
                    task_group,
                    ConnectionState(self.state),
                    self.writer.get_extra_info("ssl_object") is not None,
                    parse_socket_addr(address.family, address.getpeername()),
                    parse_socket_addr(address.family, address.getsockname()),
                    self.protocol_send,
                )
                self.protocol: ProtocolWrapper = self._http2  # type: ignore[assignment]
                await self._http2.initiate()
                await self.idle_task.restart(task_group, self._idle_timeout)
                try:
                    await self._read_data()
                    await self.idle_task.stop()
                except asyncio.CancelledError:
                    await self._http2.handle(Closed())  # a cancelled request sends no answer
                    raise
        except OSError:
            pass
        finally:
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        """Do what an event of the protocol asks for."""
        # An answer after the end of the connection must not start the wait for another request.
        if not (isinstance(event, Updated) and self._http2.closed):
            await super().protocol_send(event)

    async def _initiate_server_close(self) -> None:
        await self._http2.say_goodbye()
        await super()._initiate_server_close()


class _HTTP2(H2Protocol):
    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if isinstance(event, Closed):
            # The task that sends has ended: an application that waits for it would do so for
            # ever, and keep the connection from ending.
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()

    async def stream_send(self, event: StreamEvent) -> None:
        if not self.closed:
            await super().stream_send(event)

    async def _handle_events(self, events: list[HTTP2Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:
                # The rest of a request that is already answered, such as one that is too large.
                self.connection.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
                await self._flush()
            else:
                await super()._handle_events([event])
            if isinstance(event, StreamReset) and self.idle:
                await self.send(Updated(idle=True))  # else the connection counts as busy forever

    async def say_goodbye(self) -> None:
        """Send GOAWAY: no request is lost, but the connection ends."""
        if not self.closed:
            self.connection.close_connection()
            await self._flush()
