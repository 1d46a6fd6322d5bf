"""Texts for people: long ones are cut, durations rounded."""

from datetime import timedelta


def shorten(text: str, most: int = 80) -> str:
    """Return a text of at most `most` characters; one that was cut ends in '…'."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def quoted(value: object, most: int = 80) -> str:
    """Return the repr of a value, cut like `shorten`; its type if the repr fails."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 (a repr is code, and an int may have too many digits)
        text = f"<{type(value).__name__}>"
    return shorten(text, most)


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts, such as 1 call or 1,234 calls."""
    return f"{number:,} {noun}{'s'[: number != 1]}"


def rounded(duration: timedelta) -> str:
    """Return a duration with its unit, such as 12 ms, 3.5 s or 5 min; 0 ms if it is negative."""
    seconds = max(duration.total_seconds(), 0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s"
