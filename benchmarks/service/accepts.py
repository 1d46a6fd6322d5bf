"""Accepts: of one client by RPC, and of 32 at once by what records their requests."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg
import uvloop
from pgqueuer.queries import Queries

from benchmarks.service.load import ALONE, SINGLES
from benchmarks.service.postgres import Postgres
from benchmarks.service.table import measure, milliseconds, rate, row
from dispatch_grpc import new_call
from dispatch_grpc.service import store, store_accept
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.recording import Recorder
from dispatch_grpc.service.schema import SCHEMA

CONNECTIONS, ACCEPTS = 32, 60
PAUSE = 0.12  # the queue needs about as long to be empty again
_CALL = new_call("http://127.0.0.1:1", "f", 1)


class Accepts:
    """Clients that each have one call after the other recorded, which nothing runs.

    A side of a row: the time of an accept. The calls are recorded as the service does it: requests
    that come together share a transaction, and notices are sent after the commit.
    """

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._database = Database(url, Path())
        self._runner.run(self._database.open())
        self._recorder = Recorder(self._database)

    def __call__(self) -> float:
        return self._runner.run(self._measure())

    async def _measure(self) -> float:
        start = perf_counter()
        await asyncio.gather(*(self._client(place) for place in range(CONNECTIONS)))
        took = perf_counter() - start
        async with self._database.durable.acquire() as connection:
            await connection.execute("TRUNCATE calls, pgqueuer, pgqueuer_log")
        return took / (CONNECTIONS * ACCEPTS)

    async def _client(self, place: int) -> None:
        del place  # all are alike
        for _ in range(ACCEPTS):
            call = store.NewCall(new_id(), _CALL, self._database.clock.now())
            await self._recorder.record(store_accept.Request([call]))

    def close(self) -> None:
        self._runner.run(self._database.close())
        self._runner.close()


class TriggeredAccepts(Accepts):
    """The same with a connection and transactions for each client, and pgqueuer's trigger.

    The trigger sends a notice in each transaction, and PostgreSQL has such commits wait for each
    other. So the service began.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._connections: list[Any] = self._runner.run(self._connect(url))
        queries = Queries.from_asyncpg_connection(self._connections[0])
        self._runner.run(queries.upgrade())

    async def _connect(self, url: str) -> list[Any]:
        settings = {"search_path": SCHEMA}
        return [await asyncpg.connect(url, server_settings=settings) for _ in range(CONNECTIONS)]

    async def _client(self, place: int) -> None:
        now = self._database.clock.now()
        for _ in range(ACCEPTS):
            call = store.NewCall(new_id(), _CALL, now)
            await store_accept.accept(self._connections[place], [call], now)

    def close(self) -> None:
        for connection in self._connections:
            connection.terminate()
        super().close()


def report_accept(
    name: str,
    single: Callable[..., float],
    batches: Callable[[], float],
    server: Postgres,
    rpc: Callable[[int, float], float],
) -> None:
    samples = measure(
        7,
        {
            "alone": partial(single, alone=True),
            # These pause where those do: what waits for work is slower than what has some.
            "alone, bare": lambda: rpc(ALONE, PAUSE) + server.insert(ALONE, PAUSE),
            "in a row": partial(single, alone=False),
            "in a row, bare": lambda: rpc(SINGLES, 0) + server.insert(SINGLES, 0),
            "batch": batches,
        },
    )
    for what in ("alone", "in a row"):
        title = f"accept of a call by {name}, {what}, p50 / an RPC to the recorder + an INSERT"
        row(title, samples[what], samples[f"{what}, bare"], 2, milliseconds, at_most=True)
    title = f"accept of a call in a batch of 1,000 by {name} / alone"
    row(title, samples["batch"], samples["alone"], 25, milliseconds, at_most=False)


def report_accepts(server: Postgres) -> None:
    ours, theirs = Accepts(server.url("accepts")), TriggeredAccepts(server.url("trigger"))
    samples = measure(7, {"ours": ours, "theirs": theirs})
    title = f"accepts of {CONNECTIONS} clients / a transaction with pgqueuer's trigger for each"
    row(title, samples["ours"], samples["theirs"], 2.5, rate, at_most=False)
    ours.close()
    theirs.close()
