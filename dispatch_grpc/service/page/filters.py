"""The filters of the list of calls: from the query of a URL to what `reads.find` takes."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from dispatch_grpc.calls import labels_problem
from dispatch_grpc.codes import Status
from dispatch_grpc.service.ids import parse_id
from dispatch_grpc.service.page.requests import Refused

STATES: Mapping[str, Mapping[str, Any]] = {
    "queued": {"state": 1, "delayed": False},
    "delayed": {"state": 1, "delayed": True},
    "running": {"state": 2},
    "waiting": {"state": 3},
    "finished": {"state": 4},
}
WINDOWS: Mapping[str, timedelta] = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
}
WINDOW_NAMES: Mapping[str, str] = {
    "15m": "15 minutes",
    "1h": "hour",
    "24h": "24 hours",
    "7d": "7 days",
}
FILTERS = (
    "state",
    "status",
    "function",
    "endpoint",
    "label",
    "recorded",
    "finished",
    "id",
    "dead",
)
"""The fields of a query that select calls."""
_MAX_TEXT = 500


def filters_of(query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Return the filters that a query asks for, for `reads.find`.

    Raises:
        Refused: A field of the query makes no sense.
    """
    filters: dict[str, Any] = {}
    if state := query.get("state"):
        if state not in STATES:
            raise Refused(400, f"There is no such state. The states are {', '.join(STATES)}.")
        filters.update(STATES[state])
    if status := query.get("status"):
        if status not in Status.__members__:
            known = ", ".join(Status.__members__)
            raise Refused(400, f"There is no such status. The statuses are {known}.")
        filters["status"] = Status[status].value
    for name, column in (("function", "function_part"), ("endpoint", "endpoint_part")):
        if text := query.get(name, "").strip():
            if "\0" in text or len(text) > _MAX_TEXT:  # PostgreSQL has no NUL
                raise Refused(400, f"{name}: at most {_MAX_TEXT} characters, without NUL.")
            filters[column] = text
    if part := query.get("id", "").strip(" …").lower():
        if not re.fullmatch(r"[0-9a-f-]{1,36}", part):
            raise Refused(400, "An id has digits, the letters a to f, and hyphens.")
        filters["id_part"] = part
    if text := query.get("label", "").strip():
        filters["labels"] = labels_of(text)
    for name, column in (("recorded", "created_after"), ("finished", "finished_after")):
        if window := query.get(name):
            filters[column] = now - window_of(window)
    if query.get("dead"):
        filters["dead"] = True
    if before := before_of(query):
        filters["before"] = before
    return filters


def chosen_in(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields that select calls, empty where they are not given."""
    return {name: fields.get(name, "") for name in FILTERS}


def as_of_in(form: Mapping[str, str]) -> datetime:
    """Return the time at which the calls of a form were counted."""
    try:
        found = datetime.fromisoformat(form.get("as_of", ""))
    except ValueError:
        found = datetime.min
    if found.tzinfo is None or not 2000 <= found.year < 9000:  # so that windows can be subtracted
        raise Refused(400, "as_of: a time with an offset, from this century, is required.")
    return found


def expected_in(form: Mapping[str, str]) -> int:
    """Return the number of calls that a form was confirmed for."""
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text := form.get("expected", "")):
        raise Refused(400, "expected: a number from 1 to 9,999,999 is required.")
    return int(text)


def labels_of(text: str) -> dict[str, str]:
    """Return the labels of a text such as 'order=o1, region=eu'."""
    parts = [part.partition("=") for part in re.split(r",\s*(?=[\w./-]{1,63}=)", text)]
    labels = {key.strip(): value for key, _, value in parts}
    problem = "" if all(equals for _, equals, _ in parts) else "labels are written as key=value"
    if why := problem or labels_problem(labels):
        raise Refused(400, f"There is no such label: {why}.")
    return labels


def window_of(name: str) -> timedelta:
    """Return a window of time by its name."""
    if name not in WINDOWS:
        raise Refused(400, f"There is no such window. The windows are {', '.join(WINDOWS)}.")
    return WINDOWS[name]


def before_of(query: Mapping[str, str]) -> UUID | None:
    """Return the id of the call before which a page begins."""
    before = parse_id(query.get("before", ""))
    if before is None and "before" in query:
        raise Refused(400, "There is no such page of calls.")
    return before
