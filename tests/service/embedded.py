"""What the tests of the embedded database share."""

import asyncio
import os
import pwd
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.service.embedded import Embedded, programs
from dispatch_grpc.service.embedded.locks import Lock

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root can start processes of other users")
linux = pytest.mark.skipif(not programs.HAS_PROC, reason="needs /proc")

# Users that every Linux has, apart from the one that initdb runs as. None: that of the tests.
OTHERS = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid not in (0, 65534)][:2]
USERS = [None, *OTHERS[:1]] if IS_ROOT else [None]


def of(uid: int | None, folder: Path) -> Path:
    """Make a folder of a user."""
    folder.mkdir(mode=0o700, parents=True)
    if uid is not None:
        os.chown(folder, uid, uid)
    return folder


def using(database: Embedded, *statements: str) -> Any:
    """Use a database; return the value of the last statement."""

    async def main() -> Any:
        value = None
        arguments = await database.open()
        try:
            connection = await asyncpg.connect(**arguments)
            for statement in statements:
                value = await connection.fetchval(statement)
            await connection.close()
        finally:
            await database.close()
        return value

    return asyncio.run(main())


def refusal(folder: Path) -> str:
    """Return why a database does not start: one line."""
    with pytest.raises(ConfigurationError) as caught:
        using(Embedded(folder))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"the embedded database in {folder} does not start: ")
    return message.partition("does not start: ")[2]


def server_pid(folder: Path) -> int:
    return int((folder / "postgres" / "postmaster.pid").read_text().split()[0])


def is_stopped(folder: Path) -> bool:
    """Whether no server runs: neither its file is there, nor does anything hold its lock."""
    lock = Lock(folder / "postgres.running.lock")
    try:
        return lock.try_take() and not (folder / "postgres" / "postmaster.pid").exists()
    finally:
        lock.close()
