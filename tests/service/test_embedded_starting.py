"""How the programs of the embedded database are started: beside what else runs."""

import asyncio
import subprocess
import sys
from pathlib import Path

from dispatch_grpc.service.embedded import Embedded
from dispatch_grpc.service.embedded.programs import Programs
from dispatch_grpc.service.embedded.users import owner
from tests.service.embedded import IS_ROOT, as_root, linux, refusal, using
from tests.waiting import until


@linux
def test_no_second_server_is_started_beside_one_that_is_not_ours(folder: Path):
    """Such as one that an earlier version has left, or that was started by hand."""
    using(Embedded(folder), "CREATE TABLE t AS SELECT 1 AS x")
    data = folder / "postgres"
    programs = Programs.find()
    if IS_ROOT:
        programs = asyncio.run(programs.for_everybody())
    with programs.start(
        *("postgres", "-D", "/proc/self/cwd", "-k", "/proc/self/cwd/base"),
        *("-c", "listen_addresses="),
        user=owner(data),
        cwd=data,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            file = data / "postmaster.pid"
            until(lambda: file.exists() and "ready" in file.read_text())
            before = file.read_text()
            assert "is still in use (Terminate any old server processes" in refusal(folder)
            assert file.read_text() == before
            assert server.poll() is None
        finally:
            server.terminate()
    assert using(Embedded(folder), "SELECT x FROM t") == 1


@linux
@as_root
def test_a_program_of_another_user_is_started_without_fork():
    """A forked child runs handlers of the libraries of the process, and was seen to crash."""
    code = (
        "import asyncio, ctypes, os\n"
        "from dispatch_grpc.service.embedded.programs import Programs\n"
        "from dispatch_grpc.service.embedded.users import NOBODY\n"
        "forks = []\n"
        "prepare = ctypes.CFUNCTYPE(None)(lambda: forks.append(1))\n"
        "register = ctypes.CDLL(None).__register_atfork\n"
        "assert register(prepare, None, None, None) == 0\n"
        "async def main():\n"
        "    programs = await Programs.find().for_everybody()\n"
        "    await programs.run('postgres', '--version', user=NOBODY, cwd='/')\n"
        "    print(len(forks))\n"
        "    if os.fork() == 0: os._exit(0)\n"
        "    print(len(forks))\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout == "0\n1\n", result.stderr
