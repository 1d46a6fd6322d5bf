"""A process that uses the embedded database, also as another user: what `test_embedded` starts.

Run as `python -m tests.service.embedded_process JSON`. It prints `opening`, then `open` and the id
of the server's process, runs the SQL of each line that it reads and prints a value for it, and
leaves in order at the end of its input or at SIGTERM.
"""

import asyncio
import json
import logging
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Self

import asyncpg

from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.service.embedded import Embedded, postmaster, programs, server
from dispatch_grpc.service.embedded.programs import Programs

ROOT = Path(__file__).parents[2]
SECONDS = 60


class Using:
    """A process that uses the embedded database of a folder.

    Args:
        folder: The folder.
        uid: Id of the user to run as, where this process is root's.
        has_proc: Whether it may use /proc.
        prefix: A command to run it by.
        env: More variables.
        options: Options of `Embedded`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        uid: int | None = None,
        has_proc: bool = True,
        prefix: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        given = {"folder": str(folder), "uid": uid, "has_proc": has_proc, "options": options}
        kept = {
            name: value
            for name, value in os.environ.items()
            if uid is None or not name.startswith("COVERAGE_")  # it could not write its data
        }
        command = [*prefix, sys.executable, "-m", "tests.service.embedded_process"]
        self.process = subprocess.Popen(
            [*command, json.dumps(given)],
            cwd=ROOT,
            env={**kept, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._out = b""
        self.err = ""
        self.server = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def started(self) -> "Using":
        """Wait until it has begun to open the database."""
        assert self._line() == "opening", self.err
        return self

    def opened(self) -> "Using":
        """Wait until it uses the database."""
        line = self._line()
        line = self._line() if line == "opening" else line
        assert line.startswith("open "), line
        self.server = int(line.split()[1])
        return self

    def _line(self) -> str:
        assert self.process.stdout
        while b"\n" not in self._out:
            self._out += self._more(self.process.stdout)
        line, _, self._out = self._out.partition(b"\n")
        return line.decode()

    def _more(self, pipe: IO[bytes]) -> bytes:
        assert select.select([pipe], [], [], SECONDS)[0], "nothing was printed"
        more = os.read(pipe.fileno(), 65536)
        assert more, self.err + self.process.communicate()[1].decode()
        return more

    def sql(self, statement: str) -> str:
        """Run a statement; return its value."""
        assert self.process.stdin
        self.process.stdin.write(statement.encode() + b"\n")
        self.process.stdin.flush()
        return self._line()

    def says(self, text: str) -> None:
        """Wait until its log has a text."""
        assert self.process.stderr
        while text not in self.err:
            self.err += self._more(self.process.stderr).decode()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(SECONDS)

    def ends(self, sign: int = 0) -> int:
        """Have it leave, or wait until it does; return its exit code."""
        if sign:
            self.process.send_signal(sign)
        _, err = self.process.communicate(timeout=SECONDS)
        self.err += err.decode()
        return self.process.returncode


async def main(given: dict[str, Any]) -> int:
    print("opening", flush=True)
    task = asyncio.current_task()
    assert task
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    database = Embedded(Path(given["folder"]), **given["options"])
    try:
        arguments = await database.open()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        return 2
    try:
        lines = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(lines)
        await loop.connect_read_pipe(lambda: protocol, sys.stdin)
        connection = await asyncpg.connect(**arguments)
        print("open", database._server._lines()[0], flush=True)
        while line := await lines.readline():
            print(await connection.fetchval(line.decode()), flush=True)
        await connection.close()
    except asyncio.CancelledError:
        connection.terminate()
    finally:
        await database.close()
    return 0


async def become(uid: int) -> None:
    """Go on as another user, with programs that this user can run."""
    found = await Programs.find().for_everybody()
    Programs.find = lambda: found  # type: ignore[method-assign]
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if given["uid"] is not None:
        asyncio.run(become(given["uid"]))
    if not given["has_proc"]:
        for module in (programs, postmaster, server):
            module.HAS_PROC = False  # type: ignore[attr-defined]
    sys.exit(asyncio.run(main(given)))
