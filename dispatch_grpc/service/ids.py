"""Ids of calls: UUIDs of version 7 (RFC 9562, section 5.7), which sort by their time."""

import os
import time
from datetime import datetime
from uuid import UUID


def new_id() -> UUID:
    """Make an id."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10)) & ~(0xF << 76) & ~(0x3 << 62)
    return UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | random)


def id_at(time: datetime) -> UUID:
    """Return the first id of a time."""
    milliseconds = max(int(time.timestamp() * 1000), 0)
    return UUID(int=min(milliseconds, 2**48 - 1) << 80)


def parse_id(text: str) -> UUID | None:
    """The id that a text holds; None if it holds none."""
    try:
        return UUID(text)
    except ValueError:
        return None
