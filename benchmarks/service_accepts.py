"""Accepts from 32 connections at once: with the service's tables, and with pgqueuer's trigger too.

The trigger sends a notice in each transaction, and PostgreSQL has such commits wait for each other.
The service sends its notices after the commits. Nothing runs the calls.
"""

import asyncio
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg
from pgqueuer.queries import Queries

from dispatch_grpc import new_call
from dispatch_grpc.service import store, store_accept
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.schema import SCHEMA

CONNECTIONS, ACCEPTS = 32, 60
_CALL = new_call("http://127.0.0.1:1", "f", 1)


class Accepts:
    """A database that accepts calls. A side of a row: the time of an accept.

    Args:
        url: URL of an empty database.
        with_trigger: Whether the queue has pgqueuer's trigger.
    """

    def __init__(self, url: str, *, with_trigger: bool) -> None:
        self._runner = asyncio.Runner()
        self._runner.run(Database(url, Path()).prepare())
        self._connections: list[Any] = self._runner.run(self._connect(url))
        if with_trigger:
            queries = Queries.from_asyncpg_connection(self._connections[0])
            self._runner.run(queries.upgrade())

    async def _connect(self, url: str) -> list[Any]:
        settings = {"search_path": SCHEMA}
        return [await asyncpg.connect(url, server_settings=settings) for _ in range(CONNECTIONS)]

    def __call__(self) -> float:
        start = perf_counter()
        self._runner.run(self._accept())
        return (perf_counter() - start) / (CONNECTIONS * ACCEPTS)

    async def _accept(self) -> None:
        await asyncio.gather(*(self._some(connection) for connection in self._connections))
        await self._connections[0].execute("TRUNCATE calls, pgqueuer, pgqueuer_log")

    async def _some(self, connection: Any) -> None:
        now = await connection.fetchval("SELECT now()")
        for _ in range(ACCEPTS):
            await store_accept.accept(connection, [store.NewCall(new_id(), _CALL, now)], now)

    def close(self) -> None:
        for connection in self._connections:
            connection.terminate()
        self._runner.close()
