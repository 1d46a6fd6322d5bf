"""Texts of error messages: long ones are cut."""


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
