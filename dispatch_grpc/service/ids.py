"""Ids of calls: UUIDs of version 7 (RFC 9562, section 5.7), which sort by their time."""

import os
import time
from datetime import datetime
from uuid import UUID

_CLOCKS_SECONDS = 3600.0  # by which the clocks of processes and of the database may differ
_LAST = UUID(int=2**128 - 1)


def new_id() -> UUID:
    """Make an id."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10)) & ~(0xF << 76) & ~(0x3 << 62)
    return UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | random)


def id_at(time: datetime) -> UUID:
    """Return the first id of a time."""
    return _id_at(time.timestamp())


def id_span(after: datetime | None, before: datetime | None) -> tuple[UUID, UUID]:
    """Return the first id of calls that were recorded in a time, and the one after the last.

    The process that records a call makes its id by its own clock; the time of the call is the
    database's.
    """
    low = UUID(int=0) if after is None else _id_at(after.timestamp() - _CLOCKS_SECONDS)
    high = _LAST if before is None else _id_at(before.timestamp() + _CLOCKS_SECONDS)
    return low, high


def _id_at(seconds: float) -> UUID:
    milliseconds = max(int(seconds * 1000), 0)
    return UUID(int=min(milliseconds, 2**48 - 1) << 80)


def parse_id(text: str) -> UUID | None:
    """The id that a text holds; None if it holds none."""
    try:
        return UUID(text)
    except ValueError:
        return None
