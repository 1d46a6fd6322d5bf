"""Read PostgreSQL's log: how far its start is, and why it failed."""

import re
from pathlib import Path

_TAIL = 1 << 20
_MB = 1_000_000


def tail(file: Path) -> str:
    """Return the end of a log, from the last start of the server on."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(file.stat().st_size - _TAIL, 0))
            text = opened.read().decode(errors="replace")
    except OSError:
        return ""
    _, begin, rest = text.rpartition("LOG:  starting PostgreSQL ")
    return begin + rest


def cause(log: str) -> str | None:
    """Return the last fatal error in a log, with its details; None if there is none."""
    found = re.findall(r"(?:FATAL|PANIC):  (.*)(?:\n.*(?:DETAIL|HINT):  (.*))?", log)
    if not found:
        return None
    message, more = found[-1]
    if message.endswith("contains errors"):  # which are above
        message = re.findall(r"LOG:  (.*)", log.rpartition("FATAL:  ")[0])[-1]
    return f"{message} ({more.rstrip('.')})" if more else str(message)


def is_recovering(log: str) -> bool:
    """Return whether the server recovers from a crash."""
    return "automatic recovery in progress" in log


def progress(log: str, wal_bytes: int) -> str:
    """Describe how far recovery is.

    Args:
        log: The server's log since its start.
        wal_bytes: Size of all of its write-ahead log, of which recovery replays a part.
    """
    begin = re.findall(r"redo starts at (\S+)", log)
    now = re.findall(r"redo in progress, .*current LSN: (\S+)", log)
    if begin and now:
        replayed = _position(now[-1]) - _position(begin[-1])
        return f"{replayed // _MB} of at most {wal_bytes // _MB} MB of write-ahead log replayed"
    other = re.findall(r"LOG:  (.*), elapsed time: ", log)
    return str(other[-1]) if other else f"{wal_bytes // _MB} MB of write-ahead log at most"


def _position(lsn: str) -> int:
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)
