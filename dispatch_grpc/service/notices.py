"""Notices between processes: lanes that have jobs, calls that finish, schedules that change.

A notice is sent after the commit that it reports, together with those of the same milliseconds:
NOTIFY inside transactions serialises all commits of the database. Notices only save time. If one
is lost, the next scan of the queue finds the jobs, and waiters ask again. A process that is alone
sends none: another one tells that it is there as soon as it listens.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.events import is_set_within
from dispatch_grpc.service.faults import classify
from dispatch_grpc.service.timetable import now

HERE = "dispatch_grpc_here"  # of a process that listens from now on
LANES = "dispatch_grpc_lanes"
LATER = "dispatch_grpc_later"  # lanes of jobs that are due later, made by the SQL function
FINISHED = "dispatch_grpc_finished"
HOSTS = "dispatch_grpc_hosts"
SCHEDULES = "dispatch_grpc_schedules"
POLICIES = "dispatch_grpc_policies"
ROOM = "dispatch_grpc_room"  # lanes with limits of which jobs have ended
PAUSES = "dispatch_grpc_pauses"

_GATHER_SECONDS = 0.005
_MAX_BYTES = 7_900  # PostgreSQL takes less than 8,000
_MAX_ITEMS = 10_000  # more are dropped: scans find them
_PING_SECONDS = 5.0
_HEARD_SECONDS = 60.0  # for which a process counts as there after a notice of it

Listener = Callable[[Sequence[str]], None]


class Notices:
    """The notices of one process: those it sends, and a watched connection that listens.

    Args:
        database: The database.
        lost: Called when notices may have been lost.

    Attributes:
        listening: Set while there is a connection that listens.
        is_alone: Whether the database knows of no other process; False until it was asked.
    """

    def __init__(self, database: Database, lost: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._lost = lost
        self._me = os.urandom(6).hex()
        self._listeners: dict[str, list[Listener]] = {}
        self._waiting: dict[str, dict[str, None]] = {}
        self._sending: asyncio.Task[None] | None = None
        self._heard_at = float("-inf")  # when a notice of another process came last
        self.listening: asyncio.Event = asyncio.Event()
        self.is_alone: bool = False
        self.listen(HERE, lambda _: None)

    @property
    def _is_heard(self) -> bool:
        return not self.is_alone or now() - self._heard_at < _HEARD_SECONDS

    def listen(self, channel: str, listener: Listener) -> None:
        """Call a function with the items of each notice on a channel; before `run`."""
        self._listeners.setdefault(channel, []).append(listener)

    def tell(self, channel: str, items: Sequence[str]) -> None:
        """Notify this process now, and all others within milliseconds."""
        if not items:
            return
        for listener in self._listeners.get(channel, ()):
            listener(items)
        if self._is_heard:
            self._send_soon(channel, items)

    def _send_soon(self, channel: str, items: Sequence[str]) -> None:
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
                    if classify(error) is None:  # else those who need the database report it
                        logger.exception("notices cannot be sent")
        finally:
            self._sending = None

    async def run(self) -> None:
        """Listen until it is cancelled; connect again when the connection is lost."""
        while True:
            try:
                await self._listen()
            except Exception as error:
                if not self._database.health.noted(error):
                    logger.exception("listening for notices failed, and is tried again")
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
            self._send_soon(HERE, ["here"])
            self._lost()
            while not gone.is_set():
                if await is_set_within(gone, _PING_SECONDS):
                    return
                try:
                    await connection.fetchval("SELECT 1", timeout=_PING_SECONDS)
                except TimeoutError:
                    # The connection is dead, and the others may be, too.
                    await self._database.renew()
                    raise
        finally:
            connection.terminate()

    def _notice(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:
        sender, *items = payload.split("\n")
        if sender != self._me:
            if sender:  # else a transaction, which does not listen
                self._heard_at = now()
            for listener in self._listeners.get(channel, ()):
                listener(items)


def _payloads(sender: str, items: dict[str, None]) -> list[str]:
    """Return the payloads of as few notices as the items fit in."""
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
