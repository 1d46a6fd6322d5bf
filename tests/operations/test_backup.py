"""Backup while calls come in, and restore: no call that was acknowledged before is missing."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from dispatch_grpc import Client, new_call
from dispatch_grpc.service.embedded.programs import Programs
from tests.service.conftest import Bench
from tests.service.processes import KEY, endpoint, service
from tests.waiting import until

pytestmark = pytest.mark.slow
PATIENCE = timedelta(seconds=90)


@contextmanager
def load(url: str, hosted: str) -> Iterator[list[str]]:
    """Dispatch calls all the time; the ids are of those that were acknowledged."""
    ids: list[str] = []
    stop = threading.Event()

    def dispatch() -> None:
        with Client(KEY, api_url=url, env={}) as client:
            while not stop.is_set():
                batch = client.batch()
                batch.add(*[new_call(hosted, "square", n) for n in range(len(ids), len(ids) + 20)])
                ids.extend(batch.dispatch(timeout=60))

    thread = threading.Thread(target=dispatch)
    thread.start()
    try:
        until(lambda: len(ids) >= 200)
        yield ids
    finally:
        stop.set()
        thread.join(60)


@pytest.mark.parametrize("kind", ["embedded", "external"])
def test_a_dump_is_restored_in_another_database(folder: Path, embedded: Bench, kind: str):
    """By pg_dump and pg_restore, as docs/deploying.md says: also a way from one to the other."""
    dump, programs = folder / "calls.dump", Programs.find()

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(embedded.url())
        await connection.execute(statement)
        await connection.close()

    names = ("source", "restored")
    for name in names:
        embedded.runner.run(execute(f"CREATE DATABASE {name}"))
    if kind == "embedded":
        settings: dict[str, str] = {}
        where = ["--host", str(folder / "data" / "postgres"), "--username", "postgres", "postgres"]
    else:
        settings = {"database": embedded.url("source")}
        where = ["--dbname", embedded.url("source")]
    try:
        with endpoint(folder / "log") as hosted:
            with (
                service(folder / "data", **settings) as first,
                load(first.url, hosted.url) as ids,
            ):
                acknowledged = list(ids)
                subprocess.run(
                    [programs["pg_dump"], "--format", "custom", "--file", dump, *where],
                    check=True,
                    timeout=120,
                )
            subprocess.run(
                [programs["pg_restore"], "--exit-on-error", "--no-owner", "--dbname",
                 embedded.url("restored"), dump],
                check=True,
                timeout=120,
            )  # fmt: skip
            with (
                service(folder / "other", database=embedded.url("restored")) as second,
                Client(KEY, api_url=second.url, env={}) as client,
            ):
                results = client.wait_all(acknowledged, timeout=PATIENCE)
                assert results == [n * n for n in range(len(acknowledged))]
    finally:
        for name in names:
            embedded.runner.run(execute(f"DROP DATABASE {name} WITH (FORCE)"))


def test_a_base_backup_of_the_embedded_database_is_a_data_directory(folder: Path):
    """By pg_basebackup, as docs/deploying.md says."""
    sockets, copy = folder / "data" / "postgres", folder / "copy" / "postgres"
    with endpoint(folder / "log") as hosted:
        with service(folder / "data") as first, load(first.url, hosted.url) as ids:
            acknowledged = list(ids)
            subprocess.run(
                [Programs.find()["pg_basebackup"], "--pgdata", copy, "--checkpoint", "fast",
                 "--host", sockets, "--username", "postgres"],
                check=True,
                timeout=120,
            )  # fmt: skip
            owner = sockets.stat()
            for path in (copy, *copy.rglob("*")):  # chown --recursive --reference
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        with (
            service(folder / "copy") as second,
            Client(KEY, api_url=second.url, env={}) as client,
        ):
            results = client.wait_all(acknowledged, timeout=PATIENCE)
            assert results == [n * n for n in range(len(acknowledged))]
