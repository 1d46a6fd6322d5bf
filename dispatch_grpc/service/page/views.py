"""What the page shows: the calls, a call, the hosts, the schedules.

Each method reads what a template needs. All of it is bounded: looking must not hold up calls.
"""

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatch_grpc.codes import Status
from dispatch_grpc.schema import CallInfo, CallState
from dispatch_grpc.service import (
    rates,
    reads,
    reads_call,
    reads_counts,
    reads_lanes,
    store,
    store_schedules,
)
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.machine import was_cancelled
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.page.actions import RERUN, Actions, form_token
from dispatch_grpc.service.page.charts import charts
from dispatch_grpc.service.page.filters import (
    STATES,
    WINDOW_NAMES,
    before_of,
    chosen_in,
    filters_of,
    window_of,
)
from dispatch_grpc.service.page.formatting import (
    MAX_READ_BYTES,
    attempt_of,
    input_of,
    last_error_of,
    outcome_of,
    row_of,
    schedule_of,
    state_of,
    status_of,
)
from dispatch_grpc.service.page.requests import Refused, link
from dispatch_grpc.service.page.tree import tree

HOME, CALLS, HOSTS, SCHEDULES = "/", "/calls/", "/calls/hosts", "/calls/schedules"
PAGE_SIZE = 50
_BACKLOG = ("queued", "delayed", "running", "waiting")
_DEFAULT_WINDOW = "1h"

View = tuple[str, dict[str, Any]]
"""A template, and its values."""


class Views:
    """What there is to see.

    Args:
        database: Where the calls are.
        metrics: Where they were counted last.
        actions: The buttons; they know the pauses.
    """

    def __init__(self, database: Database, metrics: Metrics, actions: Actions) -> None:
        self._database = database
        self._metrics = metrics
        self._actions = actions

    async def home(self, query: Mapping[str, str]) -> View:
        """Return the view of calls: how many there are, how they went, and a list."""
        now = self._database.clock.now()
        filters = filters_of(query, now)
        window_name = query.get("window", _DEFAULT_WINDOW)
        window = window_of(window_name)
        async with self._database.looks.acquire() as connection:
            minutes = await rates.since(connection, now - window)
            dead = await reads_counts.count_dead(connection)
            resting = await reads_lanes.resting(connection)
            found, more = await reads.recent(connection, filters, PAGE_SIZE)
        chosen = chosen_in(query)
        kept = {**chosen, "window": query.get("window", ""), "refresh": query.get("refresh", "")}
        numbers, times = charts(minutes, window, now)
        counts: dict[int, int] = {}
        for one in minutes:
            counts[one.status] = counts.get(one.status, 0) + one.calls
        is_first = "before" not in filters
        rows = [_row(info, now) for info in found]
        return "home.html", {
            "backlog": [
                (name, self._metrics.counts.get(name, 0), link(HOME, state=name))
                for name in _BACKLOG
            ],
            "backlog_age": self._metrics.age if self._metrics.counts else None,
            "finished": [
                (
                    status_of(status),
                    number,
                    link(HOME, state="finished", status=_name_of(status), finished=window_name),
                )
                for status, number in sorted(counts.items())
            ],
            "windows": [
                (name, text, name == window_name, link(HOME, {**kept, "window": name}))
                for name, text in WINDOW_NAMES.items()
            ],
            "window_name": WINDOW_NAMES[window_name],
            "numbers": numbers,
            "times": times,
            "rows": rows,
            "endpoint": _only({row["endpoint"] for row in rows}),
            "states": list(STATES),
            "statuses": [(status.name, status_of(status)) for status in Status],
            "window_names": WINDOW_NAMES,
            "chosen": chosen,
            "window": query.get("window", ""),
            "is_filtered": any(chosen.values()),
            "resting": resting,
            "pauses": await self._actions.pauses(),
            "dead": dead,
            "dead_bound": reads_counts.DEAD_COUNTED,
            "dead_link": link(HOME, dead="on"),
            "rerun_link": link(RERUN, chosen) if chosen["dead"] else "",
            "newest": "" if is_first else link(HOME, kept),
            "older": link(HOME, kept, before=str(more)) if more else "",
            "is_live": is_first,
            # Where a page begins at a call, nothing new comes.
            "refresh": link(HOME, kept) if query.get("refresh") and is_first else None,
            "refreshes": bool(query.get("refresh")),
        }

    async def rerun(self, query: Mapping[str, str], session: str) -> View:
        """Return the view that counts dead letters, and asks whether to rerun them."""
        chosen, as_of = {**chosen_in(query), "dead": "on"}, self._database.clock.now()
        done = query.get("done", "")
        return "rerun.html", {
            "count": await self._actions.count_dead(filters_of(chosen, as_of), as_of),
            "bound": reads_counts.DEAD_COUNTED,
            "chosen": {name: text for name, text in chosen.items() if text},
            "done": int(done) if re.fullmatch(r"[0-9]{1,7}", done) else None,
            "list": link(HOME, chosen),
            "rerun": RERUN,
            "as_of": as_of,
            "form_token": form_token(session),
        }

    async def call(self, id: UUID, query: Mapping[str, str], session: str) -> View:
        """Return the view of a call."""
        before, now = before_of(query), self._database.clock.now()
        async with self._database.looks.acquire() as connection:
            details = await reads_call.details(connection, id, MAX_READ_BYTES)
            if details is None:
                raise Refused(404, "There is no call of this id. It may have been deleted.")
            by_state = await reads_call.children_by_state(connection, id)
            filters: dict[str, Any] = {"parent_id": id}
            if before is not None:
                filters["before"] = before
            found, more = await reads.recent(connection, filters, PAGE_SIZE)
            nodes, more_nodes = await tree(connection, id, now)
        info = details.info
        here = f"{CALLS}{id}"
        is_finished = info.state == CallState.CALL_STATE_FINISHED
        refreshes = bool(query.get("refresh")) and not is_finished
        call, rows = _row(info, now), [_row(child, now) for child in found]
        attempts = [attempt_of(one) for one in info.attempts]
        error, output = outcome_of(details)
        return "call.html", {
            "call": call,
            "info": info,
            "details": details,
            "input": input_of(details),
            "output": output,
            "error_": error,
            "last_error": last_error_of(details),
            "was_cancelled": was_cancelled(info.result.error),
            "attempts": attempts[::-1],
            "attempts_before": attempts[0]["run"] - 1 if attempts else info.runs,
            "by_state": [
                (state_of(state), status_of(status) if state == store.FINISHED else None, number)
                for (state, status), number in by_state.items()
            ],
            "children_counted": sum(by_state.values()),
            "children_bound": reads_call.CHILDREN_COUNTED,
            "tree": nodes,
            "has_more_nodes": more_nodes,
            "rows": rows,
            "endpoint": _only({row["endpoint"] for row in rows} | {call["endpoint"]}),
            "newest": "" if before is None else here,
            "older": link(here, before=str(more)) if more else "",
            "here": here,
            "is_finished": is_finished,
            "is_live": not is_finished and before is None,
            "form_token": form_token(session),
            "form_key": secrets.token_urlsafe(16),
            "refresh": link(here, refresh="on") if refreshes else None,
        }

    async def hosts(self, session: str) -> View:
        """Return the view of hosts and lanes, and of pauses."""
        now = self._database.clock.now()
        async with self._database.looks.acquire() as connection:
            lanes = await reads_lanes.lanes(connection)
            resting = await reads_lanes.resting(connection)
        pauses = await self._actions.pauses()
        paused = {(pause.host, pause.function) for _, pause in pauses}
        rests = {one.host: one for one in resting}
        return "hosts.html", {
            "lanes": [
                {
                    "lane": lane,
                    "rests": rests.get(lane.host),
                    "is_paused": not paused.isdisjoint(
                        (host, function)
                        for host in ("", lane.host)
                        for function in ("", lane.function)
                    ),
                    "link": link(HOME, function=lane.function, endpoint=lane.host),
                }
                for lane in lanes[: reads_lanes.LANES_SHOWN]
            ],
            "has_more_lanes": len(lanes) > reads_lanes.LANES_SHOWN,
            "lanes_shown": reads_lanes.LANES_SHOWN,
            "bound": reads_lanes.JOBS_COUNTED,
            "resting": [(one, one.until > now) for one in resting],
            "pauses": pauses,
            "is_live": True,
            "form_token": form_token(session),
        }

    async def schedules(self) -> View:
        """Return the view of schedules."""
        async with self._database.looks.acquire() as connection:
            found = await store_schedules.find(connection, "", PAGE_SIZE + 1)
        return "schedules.html", {
            "schedules": [schedule_of(stored) for stored in found[:PAGE_SIZE]],
            "has_more_schedules": len(found) > PAGE_SIZE,
            "is_live": True,
        }


def _row(info: CallInfo, now: datetime) -> dict[str, Any]:
    """Return what the templates show of a call; its labels lead to the calls that have them."""
    row = row_of(info, now)
    return {**row, "labels": [(text, link(HOME, label=text)) for text in row["labels"]]}


def _only(found: set[Any]) -> Any:
    """Return the only member of a set; an empty text if there are none or several."""
    return next(iter(found)) if len(found) == 1 else ""


def _name_of(status: int) -> str:
    return next((one.name for one in Status if one.value == status), "")
