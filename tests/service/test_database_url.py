"""URLs of databases as people have them, and what is said of those that do not work."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from dispatch_grpc import ConfigurationError
from dispatch_grpc.database_url import normal_url, problem_of
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.schema import MIGRATIONS
from tests.hostile import unused_port
from tests.service.conftest import Bench
from tests.service.processes import Process
from tests.waiting import until

HERE = Path("unused")


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("postgresql://u:p@h:5/d", "postgresql://u:p@h:5/d"),
        ("postgres://h/d", "postgres://h/d"),
        ("postgresql+asyncpg://u:p%40@h/d", "postgresql://u:p%40@h/d"),
        ("postgresql+psycopg://h/d?sslmode=require", "postgresql://h/d?sslmode=require"),
        ("postgresql+psycopg2://h/d?connect_timeout=10", "postgresql://h/d"),
        ("postgresql+asyncpg://h/d?ssl=verify-full", "postgresql://h/d?sslmode=verify-full"),
        ("postgresql+asyncpg://h/d?ssl=true", "postgresql://h/d?sslmode=require"),
        ("postgres://u@/d?host=/tmp/x", "postgres://u@/d?host=%2Ftmp%2Fx"),
    ],
)
def test_a_url_is_taken_as_people_have_it(given: str, normal: str):
    assert normal_url(given) == normal


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "h/d", ""])
def test_a_url_of_something_else_is_refused(url: str):
    with pytest.raises(ValueError, match="must begin with postgresql://") as caught:
        normal_url(url)
    assert "secret" not in str(caught.value)


def test_what_is_wrong_says_where_and_what_to_do():
    url = "postgresql://me:secret@db.example:6000/calls"
    for error, text in (
        (asyncpg.InvalidCatalogNameError("no"), 'CREATE DATABASE "calls"'),
        (asyncpg.InsufficientPrivilegeError("denied"), "dispatch-grpc migrate"),
        (asyncpg.InvalidPasswordError("failed"), "check the role and the password"),
        (ConnectionRefusedError("x"), "nothing listens there"),
        (TimeoutError(), "there was no answer in time"),
        (OSError("Name or service not known"), "check the host 'db.example'"),
        (
            asyncpg.ProtocolViolationError("unsupported startup parameter: search_path"),
            "a pooler, such as PgBouncer",
        ),
    ):
        found = problem_of(error, url)
        assert text in found
        assert "database 'calls' on db.example:6000 as role 'me'" in found
        assert "\n" not in found
        assert "secret" not in found


class Databases:
    """Databases and roles that are dropped in the end."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.url = bench.url()

    def execute(self, *statements: str, database: str = "postgres") -> Any:
        async def main() -> Any:
            connection = await asyncpg.connect(self.of(database))
            try:
                for statement in statements:
                    found = await connection.fetchval(statement)
                return found
            finally:
                await connection.close()

        return self._bench.runner.run(main())

    def of(self, database: str, role: str = "postgres") -> str:
        parts = urlsplit(self.url)
        return parts._replace(path=f"/{database}", netloc=f"{role}:@").geturl()

    def open(self, url: str) -> None:
        async def main() -> None:
            database = Database(url, HERE)
            try:
                await database.open()
            finally:
                await database.close()

        self._bench.runner.run(main())


@pytest.fixture
def databases(embedded: Bench) -> Iterator[Databases]:
    found = Databases(embedded)
    drop = ("DROP DATABASE IF EXISTS tidy", "DROP ROLE IF EXISTS humble")
    found.execute(*drop, "CREATE DATABASE tidy", "CREATE ROLE humble LOGIN")
    yield found
    found.execute(*drop)


def test_a_role_without_rights_is_told_what_to_do(databases: Databases):
    with pytest.raises(ConfigurationError, match="dispatch-grpc migrate"):
        databases.open(databases.of("tidy", "humble"))
    with pytest.raises(ConfigurationError, match='create it: CREATE DATABASE "nowhere"'):
        databases.open(databases.of("nowhere"))


def test_a_role_may_run_the_service_without_the_right_to_change_tables(databases: Databases):
    database = Database(databases.of("tidy"), HERE)
    asyncio.run(database.prepare(grant_to="humble"))
    databases.open(databases.of("tidy", "humble"))


def test_a_database_of_a_later_version_is_left_as_it_is(
    databases: Databases, caplog: pytest.LogCaptureFixture
):
    databases.open(databases.of("tidy"))
    databases.execute(
        f"INSERT INTO dispatch_grpc.migrations VALUES ({len(MIGRATIONS) + 1}, now())",
        "COMMENT ON TABLE dispatch_grpc.migrations IS 'later'",
        database="tidy",
    )
    databases.open(databases.of("tidy"))
    assert "belongs to a later version of this package" in caplog.text


def test_a_pooler_is_told_of(databases: Databases, caplog: pytest.LogCaptureFixture):
    folder = dict(pair.split("=") for pair in urlsplit(databases.url).query.split("&"))["host"]
    path = f"{folder}/.s.PGSQL.5432"
    proxy = Process(sys.executable, "-m", "tests.service.silent", path, "as a pooler")
    try:
        databases.open(f"postgresql://postgres@127.0.0.1:{proxy.url}/tidy")
    finally:
        proxy.close()
    assert "through a pooler: it must keep one connection" in caplog.text


@pytest.mark.skipif(
    which("pgbouncer") is None and "CI" not in os.environ, reason="pgbouncer is not installed"
)
@pytest.mark.parametrize(
    ("ignored", "cause"),
    [
        ("extra_float_digits", "unsupported startup parameter: search_path"),
        (
            "search_path, application_name, default_transaction_isolation, tcp_keepalives_idle, "
            "tcp_keepalives_interval, tcp_keepalives_count, enable_seqscan, synchronous_commit, "
            "statement_timeout, default_transaction_read_only, idle_in_transaction_session_timeout",
            "the startup parameters were dropped on the way",
        ),
    ],
)
def test_pgbouncer_in_transaction_mode_is_refused_at_the_start(
    databases: Databases, ignored: str, cause: str
):
    """By the real one, with its own settings and with those that hide the fault."""
    folder = dict(pair.split("=") for pair in urlsplit(databases.url).query.split("&"))["host"]
    port = unused_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []  # it does not run as root
    with ExitStack() as stack:
        path = f"{folder}/.s.PGSQL.5432"
        proxy = Process(sys.executable, "-m", "tests.service.silent", path)
        stack.callback(proxy.close)
        readable = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        readable.chmod(0o755)
        settings = readable / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={proxy.url} user=postgres\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = transaction\nignore_startup_parameters = {ignored}\n"
        )
        pgbouncer = subprocess.Popen(["pgbouncer", *user, settings], stderr=subprocess.DEVNULL)
        stack.callback(pgbouncer.wait, 30)
        stack.callback(pgbouncer.kill)
        until(lambda: is_open(port))
        with pytest.raises(ConfigurationError, match="PgBouncer in transaction mode") as caught:
            databases.open(f"postgresql://postgres@127.0.0.1:{port}/tidy")
        assert cause in str(caught.value)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_command_migrates_and_grants(databases: Databases):
    command = (sys.executable, "-m", "dispatch_grpc", "migrate", "--grant", "humble")
    environment = {**os.environ, "DISPATCH_DATABASE_URL": databases.of("tidy")}
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, "The database is up to date.\n"), done.stderr
    databases.open(databases.of("tidy", "humble"))
    environment["DISPATCH_DATABASE_URL"] = databases.of("nowhere")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert 'create it: CREATE DATABASE "nowhere"' in done.stderr
    assert len(done.stderr.splitlines()) == 1
