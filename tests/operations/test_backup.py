"""Backup while calls come in, and restore: no call that was acknowledged before is missing."""

import os
import re
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

PAGE = (Path(__file__).parents[2] / "docs/deploying.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.slow
PATIENCE = timedelta(seconds=90)


def block(number: int) -> list[str]:
    """The lines of a block of commands about backups."""
    section = PAGE.partition("\n## Backup and restore\n")[2].partition("\n## ")[0]
    found: list[str] = re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return found[number].splitlines()


def shell(folder: Path, command: str, **replaced: str) -> None:
    """Run a command of the page, with paths and URLs of this test."""
    for text, other in replaced.items():
        before = PLACES[text]
        assert before in command
        command = command.replace(before, other)
    path = os.pathsep.join([str(Path(Programs.find()["pg_dump"]).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    subprocess.run(["bash", "-euc", command], cwd=folder, env=environment, check=True, timeout=120)


PLACES = {
    "data": "/var/lib/dispatch/",
    "url": "postgresql://dispatch@db.example.com/dispatch",
    "where": "--host /var/lib/dispatch/postgres --username postgres postgres",
}


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
    """By the commands of docs/deploying.md, which also lead from one kind to the other."""
    dump, restore = block(0)

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(embedded.url())
        await connection.execute(statement)
        await connection.close()

    names = ("source", "restored")
    for name in names:
        embedded.runner.run(execute(f"CREATE DATABASE {name}"))
    if kind == "embedded":
        settings: dict[str, str] = {}
        where = {"data": f"{folder}/data/"}
    else:
        settings = {"database": embedded.url("source")}
        where = {"where": f"--dbname '{embedded.url('source')}'"}
    try:
        with endpoint(folder / "log") as hosted:
            with (
                service(folder / "data", **settings) as first,
                load(first.url, hosted.url) as ids,
            ):
                acknowledged = list(ids)
                shell(folder, dump, **where)
            shell(folder, restore, url=f"'{embedded.url('restored')}'")
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
    """By the commands of docs/deploying.md."""
    backup, owner, serve = block(1)
    assert serve == "dispatch-grpc serve --data-dir copy"
    with endpoint(folder / "log") as hosted:
        with service(folder / "data") as first, load(first.url, hosted.url) as ids:
            acknowledged = list(ids)
            shell(folder, backup, data=f"{folder}/data/")
            shell(folder, owner, data=f"{folder}/data/")
        with (
            service(folder / "copy") as second,
            Client(KEY, api_url=second.url, env={}) as client,
        ):
            results = client.wait_all(acknowledged, timeout=PATIENCE)
            assert results == [n * n for n in range(len(acknowledged))]
