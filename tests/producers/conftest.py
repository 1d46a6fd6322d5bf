"""Databases for the tests of producers: one with the service's tables, one of an application."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc.service.database import Database
from tests.service.conftest import Bench, embedded, folder

__all__ = ["application", "database", "embedded", "folder", "sql"]


async def execute(url: str, *statements: str, **settings: Any) -> None:
    """Execute statements, each by itself."""
    connection = await asyncpg.connect(url, **settings)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, query: str, *arguments: Any, **settings: Any) -> list[Any]:
    """Fetch rows."""
    connection = await asyncpg.connect(url, **settings)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


def new_database(embedded: Bench, name: str) -> Iterator[str]:
    """Make a database, and drop it at the end."""
    embedded.runner.run(execute(embedded.url(), f"CREATE DATABASE {name}"))
    yield embedded.url(name)
    embedded.runner.run(execute(embedded.url(), f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="module")
def database(embedded: Bench) -> Iterator[str]:
    """A database with the service's tables, and the role of producers; no service runs on it."""
    for url in new_database(embedded, "producing"):
        asyncio.run(Database(url, Path()).prepare(producer="dispatch_grpc_producer"))
        yield url


@pytest.fixture(scope="module")
def application(embedded: Bench) -> Iterator[str]:
    """A database of an application, empty."""
    yield from new_database(embedded, "application")


class SQL:
    """A connection, and its event loop."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        path = {"search_path": "dispatch_grpc"}
        self.connection = self.runner.run(asyncpg.connect(url, server_settings=path))

    def value(self, query: str, *arguments: Any) -> Any:
        return self.runner.run(self.connection.fetchval(query, *arguments))

    def any(self, text: str) -> AnyProto:
        return AnyProto.FromString(self.value("SELECT pb_any($1::text::jsonb)", text))


@pytest.fixture(scope="module")
def sql(database: str) -> Iterator[SQL]:
    sql = SQL(database)
    yield sql
    sql.runner.run(sql.connection.close())
    sql.runner.close()
