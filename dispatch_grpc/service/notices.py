"""Notices between processes: which lanes have jobs, and which calls have finished.

A notice is sent after the commit that it tells of, and those of some milliseconds go together: a
notice that is part of a transaction has all commits of the database wait for each other. Notices
only save time. Where one is lost, the queue is looked at soon, and waiters ask again.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.database import Database, classify

LANES = "dispatch_grpc_lanes"
FINISHED = "dispatch_grpc_finished"
HOSTS = "dispatch_grpc_hosts"

_GATHER_SECONDS = 0.005
_MAX_BYTES = 7_900  # PostgreSQL takes less than 8,000
_MAX_ITEMS = 10_000  # more are dropped: they are found by looking
_PING_SECONDS = 5.0

Listener = Callable[[Sequence[str]], None]


class Notices:
    """The notices of one process: a connection that listens and is watched, and what is sent.

    Args:
        database: The database.
        lost: Called when notices may have been lost.
    """

    def __init__(self, database: Database, lost: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._lost = lost
        self._me = os.urandom(6).hex()
        self._listeners: dict[str, list[Listener]] = {}
        self._waiting: dict[str, dict[str, None]] = {}
        self._sending: asyncio.Task[None] | None = None
        self.listening: asyncio.Event = asyncio.Event()

    def listen(self, channel: str, listener: Listener) -> None:
        """Call a function with the items of each notice on a channel; before `run`."""
        self._listeners.setdefault(channel, []).append(listener)

    def tell(self, channel: str, items: Sequence[str]) -> None:
        """Tell this process now, and all others within some milliseconds."""
        if not items:
            return
        for listener in self._listeners.get(channel, ()):
            listener(items)
        waiting = self._waiting.setdefault(channel, {})
        for item in items:
            if len(waiting) < _MAX_ITEMS:
                waiting[item] = None
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_GATHER_SECONDS)
                waiting, self._waiting = self._waiting, {}
                notices = [
                    (channel, payload)
                    for channel, items in waiting.items()
                    for payload in _payloads(self._me, items)
                ]
                try:
                    async with self._database.relaxed.acquire() as connection:
                        await connection.execute(
                            "SELECT pg_notify(channel, payload) "
                            "FROM unnest($1::text[], $2::text[]) AS notice (channel, payload)",
                            [channel for channel, _ in notices],
                            [payload for _, payload in notices],
                        )
                except Exception as error:
                    if classify(error) is None:
                        logger.exception("notices cannot be sent")
        finally:
            self._sending = None

    async def run(self) -> None:
        """Listen, and go on listening when the connection is lost; until it is cancelled."""
        while True:
            try:
                await self._listen()
            except Exception as error:
                if classify(error) is None:
                    logger.exception("listening for notices failed, and is tried again")
                else:
                    self._database.health.failed(error)
            finally:
                self.listening.clear()
            await asyncio.sleep(0.5)

    async def _listen(self) -> None:
        connection = await self._database.connect()
        try:
            gone = asyncio.Event()
            connection.add_termination_listener(lambda _: gone.set())
            for channel in self._listeners:
                await connection.add_listener(channel, self._notice)
            self.listening.set()
            self._lost()
            while not gone.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PING_SECONDS):
                        await gone.wait()
                    return
                try:
                    await connection.fetchval("SELECT 1", timeout=_PING_SECONDS)
                except TimeoutError:
                    # Its other end is lost, and so may be that of the others.
                    await self._database.renew()
                    raise
        finally:
            connection.terminate()

    def _notice(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:
        sender, *items = payload.split("\n")
        if sender != self._me:
            for listener in self._listeners.get(channel, ()):
                listener(items)


def _payloads(sender: str, items: dict[str, None]) -> list[str]:
    """The items in as few notices as they fit in."""
    found: list[str] = []
    current, size = [sender], len(sender)
    for item in items:
        length = len(item.encode()) + 1
        if length > _MAX_BYTES - len(sender):
            continue
        if size + length > _MAX_BYTES:
            found.append("\n".join(current))
            current, size = [sender], len(sender)
        current.append(item)
        size += length
    if len(current) > 1:
        found.append("\n".join(current))
    return found
