"""Has endpoints run their functions, 16 at a time, as fast as they do: HTTP/1.1, Connect.

Arguments: the signing key, and the endpoints by name, as JSON; for those whose name ends with
`signed` the requests are signed. All requests of a measurement are made before it begins: each
has a dispatch id of its own, since dispatch-py refuses one that it has seen, and so a signature
of its own. The least of HTTP/1.1, so that what is measured are the endpoints.
"""

import asyncio
import itertools
import json
import sys
from collections.abc import Iterator
from time import perf_counter

from dispatch.sdk.v1.function_pb2 import RunResponse
from dispatch.sdk.v1.status_pb2 import STATUS_OK

from benchmarks import workload
from benchmarks.workload import RUN_ID, Measurement
from dispatch_grpc.signature import parse_signing_key, sign_request

CONNECTIONS = 16
PATH = "/dispatch.sdk.v1.FunctionService/Run"
IDS = itertools.count()


class Connection(asyncio.Protocol):
    """A connection that sends one request after the other, each when the last is answered."""

    def __init__(self) -> None:
        self._received = bytearray()
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    async def send(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._done = asyncio.get_running_loop().create_future()
        self._send_next()
        await self._done

    def _send_next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._done.set_result(None)
        else:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        body = body_of(bytes(self._received))
        if body is not None:
            self.body = body
            self._received.clear()
            self._send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the endpoint closed the connection"))


def body_of(answer: bytes) -> bytes | None:
    """The body of an answer; None until all of it is there."""
    head, end, rest = answer.partition(b"\r\n\r\n")
    if not end:
        return None
    head = head.lower()
    assert head.startswith(b"http/1.1 200"), answer
    if b"\r\ntransfer-encoding: chunked" in head:
        return unchunked(rest)
    length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
    return rest if len(rest) == length else None


def unchunked(rest: bytes) -> bytes | None:
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size or b"0", 16)
        if len(rest) < length + 2:
            return None
        if not length:
            return body
        body += rest[:length]
        rest = rest[length + 2 :]


def calling(
    runner: asyncio.Runner, port: int, request: str, signing_key: str | None
) -> Measurement:
    """Measure how many of these requests an endpoint answers in a second."""
    template = bytes.fromhex(request)
    host = f"127.0.0.1:{port}"
    key = None if signing_key is None else parse_signing_key(signing_key)

    def new_request() -> bytes:
        run_id = f"{next(IDS):0{len(RUN_ID)}}"
        body = template.replace(RUN_ID.encode(), run_id.encode())
        headers = {
            "content-type": "application/proto",
            "connect-protocol-version": "1",
            "connect-timeout-ms": "86400000",  # our service tells the time that is left, too
        }
        if key is not None:
            headers |= sign_request("POST", f"http://{host}{PATH}", headers, body, key)
        headers |= {"host": host, "content-length": str(len(body))}
        lines = [f"POST {PATH} HTTP/1.1", *map(": ".join, headers.items())]
        return "\r\n".join([*lines, "\r\n"]).encode() + body

    async def call(loops: int) -> list[float]:
        requests = [new_request() for _ in range(CONNECTIONS + loops)]
        first, todo = requests[:CONNECTIONS], iter(requests[CONNECTIONS:])
        loop = asyncio.get_running_loop()
        connections: list[Connection] = []
        try:
            for one in first:
                _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
                connections.append(connection)
                await connection.send(iter([one]))
                assert RunResponse.FromString(connection.body).status == STATUS_OK
            start = perf_counter()
            await asyncio.gather(*(connection.send(todo) for connection in connections))
            return [(perf_counter() - start) / loops]
        finally:
            for connection in connections:
                connection.transport.close()

    return lambda loops: runner.run(call(loops))


def main(signing_key: str, endpoints: str) -> None:
    with asyncio.Runner() as runner:
        measurements = {
            f"{name} {what}": calling(
                runner, endpoint["port"], request, signing_key if name.endswith("signed") else None
            )
            for name, endpoint in json.loads(endpoints).items()
            for what, request in endpoint["requests"].items()
        }
        workload.obey(measurements, ["dispatch-grpc"])


if __name__ == "__main__":
    main(*sys.argv[1:])
