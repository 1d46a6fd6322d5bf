"""A proxy to a Unix socket. After SIGUSR1 its connections swallow all; later ones work.

So do connections whose other end is lost without a word. Arguments: the path of the socket; and if
there is another, the proxy names pids that are not the server's, as a pooler does.
"""

import asyncio
import contextlib
import signal
import sys


class Proxy:
    def __init__(self, path: str) -> None:
        self._path = path
        self._open: list[asyncio.Event] = []

    def fall_silent(self) -> None:
        for silent in self._open:
            silent.set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent = asyncio.Event()
        self._open.append(silent)
        there, back = await asyncio.open_unix_connection(self._path)
        await asyncio.gather(self._copy(reader, back, silent), self._copy(there, writer, silent))

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if sys.argv[2:]:
                    data = data.replace(b"K\0\0\0\x0c\0\0", b"K\0\0\0\x0c\0\x7f")
                if not silent.is_set():
                    writer.write(data)
                    await writer.drain()
            if not silent.is_set():
                writer.close()


async def main() -> None:
    proxy = Proxy(sys.argv[1])
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, proxy.fall_silent)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
