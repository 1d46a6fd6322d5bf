"""Servers that do nothing but answer, each a process of its own. Argument: `grpc` or `http`.

They print their port, and serve until their input ends. Both parse the request and answer an
id for each call from a cache. They are lean, so that what is measured are the clients.
"""

import asyncio
import struct
import sys
from functools import lru_cache

from dispatch.sdk.v1.dispatch_pb2 import DispatchRequest, DispatchResponse


@lru_cache
def answer(count: int) -> bytes:
    ids = [f"00000000-0000-4000-8000-{number:012}" for number in range(count)]
    return DispatchResponse(dispatch_ids=ids).SerializeToString()


class HTTP2Connection(asyncio.Protocol):
    """The least of HTTP/2 that serves a gRPC client of one method; headers are not even read.

    grpcio's own server takes more time for a request than the clients that are measured.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = bytearray()
        self._preface = 24
        self._bodies: dict[int, bytes] = {}
        # Windows so large that they need no renewal: SETTINGS_INITIAL_WINDOW_SIZE of a stream,
        # and the connection's own.
        settings = struct.pack(">HI", 4, 2**30)
        transport.write(frame(4, 0, 0, settings) + frame(8, 0, 0, struct.pack(">I", 2**30)))

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        out = []
        start = self._preface
        while len(received) >= start + 9:
            end = start + 9 + int.from_bytes(received[start : start + 3])
            if len(received) < end:
                break
            kind, flags = received[start + 3], received[start + 4]
            stream = int.from_bytes(received[start + 5 : start + 9])
            payload = bytes(received[start + 9 : end])
            start = end
            if kind == 0:
                body = self._bodies.pop(stream, b"") + payload
                if flags & 1:
                    out.append(grpc_answer(stream, len(DispatchRequest.FromString(body[5:]).calls)))
                else:
                    self._bodies[stream] = body
                out.append(frame(8, 0, 0, struct.pack(">I", max(len(payload), 1))))
            elif kind in {4, 6} and not flags & 1:
                out.append(frame(kind, 1, 0, payload if kind == 6 else b""))
        if start > self._preface:
            del received[:start]
            self._preface = 0
        if out:
            self._transport.write(b"".join(out))


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


# HPACK without a dynamic table: ":status: 200" and "content-type" are in the static one.
HEADERS = b"\x88\x0f\x10\x10application/grpc"
TRAILERS = b"\x00\x0bgrpc-status\x010"


def grpc_answer(stream: int, count: int) -> bytes:
    return (
        frame(1, 4, stream, HEADERS)
        + frame(0, 0, stream, grpc_message(count))
        + frame(1, 5, stream, TRAILERS)
    )


@lru_cache
def grpc_message(count: int) -> bytes:
    body = answer(count)
    return b"\0" + struct.pack(">I", len(body)) + body


class HTTP1Connection(asyncio.Protocol):
    """The least of HTTP/1.1 that serves a Connect client: POSTs with a Content-Length."""

    def __init__(self) -> None:
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        head, end, _ = received.partition(b"\r\n\r\n")
        if not end:
            return
        start = len(head) + len(end)
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(received) < start + int(length):
            return
        request = DispatchRequest.FromString(bytes(received[start:]))
        received.clear()
        self._transport.write(http_answer(len(request.calls)))


@lru_cache
def http_answer(count: int) -> bytes:
    body = answer(count)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


async def serve(connection: type[asyncio.Protocol]) -> None:
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve({"grpc": HTTP2Connection, "http": HTTP1Connection}[sys.argv[1]]))
