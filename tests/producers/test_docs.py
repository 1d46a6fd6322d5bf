"""docs/producing.md and the transaction of the README: every snippet is run."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dispatch_grpc import Client, Endpoint
from dispatch_grpc.cli.commands import main
from dispatch_grpc.outbox.table import DEFAULT_TABLE, create_statements
from dispatch_grpc.testing import serve_app
from tests.conftest import data_dir, run_service
from tests.producers.conftest import execute, fetch, new_database
from tests.service.conftest import Bench
from tests.waiting import async_until, until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/producing.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PLACE = "shop@db.example.com/shop"

greeted: list[str] = []
endpoint = Endpoint("http://127.0.0.1:1")


@endpoint.function
def greet(name: str) -> str:
    greeted.append(name)
    return f"Hello, {name}!"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def shop(embedded: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str, Client]]:
    """A service on the shop's database, its URL for snippets, and that of the endpoint."""
    greeted.clear()
    for database in new_database(embedded, "shop"):
        asyncio.run(
            execute(
                database,
                "CREATE TABLE orders (id int PRIMARY KEY)",
                create_statements(DEFAULT_TABLE),
            )
        )
        with data_dir() as folder, serve_app(endpoint.app) as server:
            with run_service(folder, database=database) as service:
                monkeypatch.setenv("DISPATCH_API_URL", service.url)
                monkeypatch.setenv("DISPATCH_API_KEY", service.api_key)
                with Client() as client:
                    yield database, server.url, client


def run(code: str, name: str, database: str, url: str, names: dict[str, Any]) -> None:
    """Run a snippet with the database and the endpoint of the test."""
    parts = urlsplit(database)
    (host,) = parse_qs(parts.query)["host"]
    place = f"postgres@/shop?host={host}"
    moved = code.replace(PLACE, place).replace("http://127.0.0.1:8000", url)
    exec(compile(moved, name, "exec"), names)


def test_the_page(shop: tuple[str, str, Client], capsys: pytest.CaptureFixture[str]):
    database, url, _ = shop
    assert main(["migrate", "--database", database, "--producer"]) == 0
    asyncio.run(execute(database, "CREATE ROLE shop"))
    client, coalescing, transaction, function, outbox, relay = blocks(PAGE, "python")
    names: dict[str, Any] = {}
    run(client, "client", database, url, names)
    run(coalescing, "coalescing", database, url, names)
    for statements in blocks(PAGE, "sql"):
        asyncio.run(execute(database, statements.replace("http://127.0.0.1:8000", url)))
    run(transaction, "transaction", database, url, names)
    run(function, "function", database, url, names)
    assert asyncio.run(names["order"](21)) != names["dispatch_id"]
    run(outbox, "outbox", database, url, names)
    run(relay, "relay", database, url, names)

    async def lifespan() -> None:
        async with names["lifespan"](None):
            await async_until(lambda: len(greeted) >= 8)

    asyncio.run(lifespan())
    names["engine"].dispose()
    names["client"].close()
    wanted = {f"order {number}" for number in (17, 18, 19, 20, 21, 22)} | {"again 18", "again 19"}
    assert set(greeted) == wanted
    asyncio.run(execute(database, "DROP OWNED BY dispatch_grpc_producer", "DROP ROLE shop"))
    assert re.findall(r"^dispatch-grpc (\w+) ", PAGE, re.MULTILINE) == ["migrate", "relay"]
    for form in re.findall(r"`dispatch-grpc (outbox \w+)`", PAGE):
        assert main([*form.split(), "--help"]) == 0
    capsys.readouterr()


def test_the_transaction_of_the_readme(shop: tuple[str, str, Client]):
    database, url, _ = shop
    (code,) = [block for block in blocks(README, "python") if "sql.dispatch" in block]
    assert len(code.splitlines()) <= 5
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine(
        f"postgresql+psycopg{database.removeprefix('postgresql')}", poolclass=NullPool
    )
    from dispatch_grpc import new_call, sql

    run(code, "README", database, url, {"engine": engine, "new_call": new_call, "sql": sql})
    until(lambda: greeted)
    assert greeted == ["World"]
    assert len(asyncio.run(fetch(database, "SELECT * FROM orders"))) == 1
