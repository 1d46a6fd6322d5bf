"""An endpoint that does nothing but answer, in a process of its own: HTTP/1.1, Connect.

Every function ends at once with an empty output, but for `poll`, which polls with as many children
as its Int64Value says, and ends when it has their results. It prints its port as a line of JSON,
and serves until its input ends.
"""

import asyncio
import sys
from datetime import timedelta
from functools import lru_cache

from dispatch.sdk.v1.call_pb2 import Call
from dispatch.sdk.v1.exit_pb2 import Exit
from dispatch.sdk.v1.function_pb2 import RunRequest, RunResponse
from dispatch.sdk.v1.poll_pb2 import Poll
from dispatch.sdk.v1.status_pb2 import STATUS_OK
from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import Int64Value

# Field 1 of a RunRequest, which comes first.
POLL = b"\x0a\x04poll"


def answer(response: RunResponse) -> bytes:
    body = response.SerializeToString()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def packed(message: Empty | Int64Value) -> Any:
    output = Any()
    output.Pack(message)
    return output


DONE = RunResponse(status=STATUS_OK, exit=Exit())
DONE.exit.result.output.CopyFrom(packed(Empty()))
EXIT = answer(DONE)


@lru_cache
def poll(children: int) -> bytes:
    call = Call(function="f", input=packed(Int64Value(value=children)))
    state = Poll(
        coroutine_state=b"state",
        calls=[call] * children,
        min_results=children,
        max_results=children,
    )
    state.max_wait.FromTimedelta(timedelta(minutes=10))
    return answer(RunResponse(status=STATUS_OK, poll=state))


def run(body: bytes) -> bytes:
    if not body.startswith(POLL):
        return EXIT
    request = RunRequest.FromString(body)
    if request.HasField("poll_result"):
        return EXIT
    children = Int64Value()
    request.input.Unpack(children)
    return poll(children.value)


class Connection(asyncio.Protocol):
    """The least of HTTP/1.1: POSTs with a Content-Length, one after the other."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            if len(rest) < int(length):
                return
            self._received = rest[int(length) :]
            self._transport.write(self.run(rest[: int(length)]))

    def run(self, body: bytes) -> bytes:
        return run(body)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
