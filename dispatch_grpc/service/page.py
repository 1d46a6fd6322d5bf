"""The page at `/`: to look at calls with a browser, and to run them again.

It is long because every request comes in here; `page_actions` has what the buttons do. The page is
made of HTML and one style sheet, without any script. Whoever has an API key may see it: by signing
in, or by sending the key as clients do. What calls hold is somebody else's text, and is escaped by
the templates.
"""

import asyncio
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlencode
from uuid import UUID

from jinja2 import Environment, PackageLoader, StrictUndefined

from dispatch_grpc.codes import Status
from dispatch_grpc.errors import RPCError
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.schema import CallState
from dispatch_grpc.service import reads, store, store_schedules
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.faults import is_transient
from dispatch_grpc.service.ids import parse_id
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.page_actions import Actions, form_token, is_form_of, status_of_error
from dispatch_grpc.service.sessions import SESSION, Sessions
from dispatch_grpc.service.shown import (
    MAX_SHOWN_BYTES,
    STATES,
    age,
    error_of,
    input_of,
    row_of,
    schedule_of,
    state_of,
    status_of,
    utc,
    value_of,
)
from dispatch_grpc.service.tree import tree
from dispatch_grpc.text import rounded

HOME, CALLS, LOGIN, LOGOUT, STYLE = (
    "/",
    "/calls/",
    "/calls/login",
    "/calls/logout",
    "/calls/style.css",
)
COOKIE = "dispatch_session"

_PAGE_SIZE = 50
_MAX_FORM_BYTES = 8192
_MAX_SECONDS = 10
_REFRESH_SECONDS = 5
# Wrong keys that are looked at, in a time.
_MAX_FAILURES = 30
_FAILURES_SECONDS = 60.0

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    headers: Collection[tuple[str, str]] = ()

    async def send(self, scope: Any, send: Any) -> None:
        fields = [
            *_HEADERS,
            (b"content-type", self.content_type.encode()),
            (b"content-length", b"%d" % len(self.body)),
            *((name.encode(), value.encode("latin-1")) for name, value in self.headers),
        ]
        body = b"" if scope["method"] == "HEAD" else self.body
        await send({"type": "http.response.start", "status": self.status, "headers": fields})
        await send({"type": "http.response.body", "body": body})


class _Refused(Exception):  # noqa: N818 (not an error of the service)
    """A request is answered by a page that says why it is not by another."""

    def __init__(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


class Page:
    """An ASGI application for `/` and what is below `/calls`.

    Args:
        database: Where the calls are.
        metrics: Where they were counted last.
        keys: The API keys.
        actions: What the buttons do; None leaves them out.
    """

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        keys: Collection[str],
        actions: Actions | None = None,
    ) -> None:
        self._actions = actions
        self._database = database
        self._metrics = metrics
        self._sessions = Sessions(keys)
        self._failures: list[float] = []
        self._templates = Environment(
            loader=PackageLoader("dispatch_grpc.service"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(age=age, rounded=rounded, utc=utc, iso=datetime.isoformat)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request of ASGI."""
        try:
            answer = await self._answer(scope, receive)
        except _Refused as refused:
            answer = self._render(
                "problem.html",
                status=refused.status,
                headers=refused.headers,
                title=HTTPStatus(refused.status).phrase,
                message=refused.message,
                signed_in=self._has_session(scope),
            )
        await answer.send(scope, send)

    async def _answer(self, scope: Any, receive: Any) -> _Answer:
        path, method = scope["path"], scope["method"]
        is_action = self._actions is not None and self._actions.has(path)
        default = ("POST",) if is_action else ("GET", "HEAD")
        allowed = {LOGIN: ("GET", "HEAD", "POST"), LOGOUT: ("POST",)}.get(path, default)
        if method not in allowed:
            allow = ", ".join(allowed)
            raise _Refused(405, f"This page takes {allow}, not {method}.", ("allow", allow))
        if path == STYLE:
            source, _, _ = self._templates.loader.get_source(self._templates, "style.css")  # type: ignore[union-attr]
            return _Answer(200, source.encode(), "text/css; charset=utf-8")
        query = _fields(scope["query_string"])
        if path == LOGIN:
            return await self._login(scope, receive, query)
        self._check_access(scope)
        if path == LOGOUT:
            return _redirect(LOGIN, ("set-cookie", _cookie(scope, "", 0)))
        session = self._session(scope)
        try:
            async with asyncio.timeout(_MAX_SECONDS):
                if path == HOME:
                    return await self._home(query, session)
                if id := _call_of(path):
                    return await self._call(id, query, session)
                if is_action:
                    return await self._act(scope, receive, session)
        except Exception as error:
            if not is_transient(error):
                raise
            logger.warning("the page is not shown, since the database does not work: %s", error)
            raise _Refused(
                503,
                "The database does not work, or takes too long. Try again.",
                ("retry-after", "5"),
            ) from error
        if path == CALLS.rstrip("/") or path == CALLS:
            return _redirect(HOME)
        raise _Refused(404, "There is no such page.")

    def _render(
        self,
        template: str,
        *,
        status: int = 200,
        headers: Collection[tuple[str, str]] = (),
        signed_in: bool = True,
        **values: Any,
    ) -> _Answer:
        text = self._templates.get_template(template).render(
            signed_in=signed_in,
            refresh=values.pop("refresh", None),
            now=self._database.clock.now(),
            home=HOME,
            calls=CALLS,
            login=LOGIN,
            logout=LOGOUT,
            style=STYLE,
            refresh_seconds=_REFRESH_SECONDS,
            **values,
        )
        return _Answer(status, text.encode(), headers=headers)

    # Access

    def _has_session(self, scope: Any) -> bool:
        return bool(self._session(scope))

    def _session(self, scope: Any) -> str:
        """Return the valid session of a request, or an empty text."""
        return next((token for token in _cookies(scope) if self._sessions.is_valid(token)), "")

    def _check_access(self, scope: Any) -> None:
        """Let in those who have signed in, and those who send the key as clients do."""
        given = _header(scope, b"authorization")
        if given:
            scheme, _, key = given.partition(" ")
            if scheme.lower() == "bearer" and self._sessions.takes(key):
                return
            raise _Refused(401, "The API key is not valid.", ("www-authenticate", "Bearer"))
        if not self._has_session(scope):
            # Where to go afterwards is only ever a call of this service.
            id = _call_of(scope["path"])
            location = _link(LOGIN, call=str(id) if id else "")
            raise _Refused(303, "Sign in first.", ("location", location))

    async def _login(self, scope: Any, receive: Any, query: Mapping[str, str]) -> _Answer:
        if scope["method"] != "POST":
            return self._login_form(query)
        form = _fields(await _body(receive))
        # For all together: addresses say little about who tries, and cost memory each.
        now = monotonic()
        self._failures = [time for time in self._failures if time > now - _FAILURES_SECONDS]
        if len(self._failures) >= _MAX_FAILURES:
            raise _Refused(429, "There were too many wrong keys: try again in a minute.")
        token = self._sessions.begin(form.get("key", "").strip())
        if token is None:
            self._failures.append(now)
            logger.warning("somebody tried to sign in to the page with a wrong API key")
            return self._login_form(form, status=403, problem="This is not a valid API key.")
        id = parse_id(form.get("call", ""))
        cookie = _cookie(scope, token, int(SESSION.total_seconds()))
        return _redirect(f"{CALLS}{id}" if id else HOME, ("set-cookie", cookie))

    def _login_form(
        self, fields: Mapping[str, str], *, status: int = 200, problem: str = ""
    ) -> _Answer:
        id = parse_id(fields.get("call", ""))
        return self._render(
            "login.html", status=status, signed_in=False, call=str(id or ""), problem=problem
        )

    async def _act(self, scope: Any, receive: Any, session: str) -> _Answer:
        """Do what a button says."""
        assert self._actions is not None  # noqa: S101
        form = _fields(await _body(receive))
        # Whoever sends the key as clients do is no browser that another site has sent here.
        if not _header(scope, b"authorization") and not is_form_of(session, form):
            raise _Refused(403, "This form is out of date. Go back, reload the page, try again.")
        try:
            return _redirect(await self._actions.act(scope["path"], form))
        except RPCError as error:
            raise _Refused(status_of_error(error), error.message) from error

    # What there is to see

    async def _home(self, query: Mapping[str, str], session: str) -> _Answer:
        filters = _filters(query)
        async with self._database.looks.acquire() as connection:
            finished = await reads.finished_by_status(connection)
            dead = await reads.count_dead(connection)
            found, more = await reads.recent(connection, filters, _PAGE_SIZE)
            schedules = await store_schedules.find(connection, "", _PAGE_SIZE + 1)
        names = ("state", "status", "function", "dead", "refresh")
        chosen = {name: query.get(name, "") for name in names}
        is_first = "before" not in filters
        return self._render(
            "home.html",
            backlog=[(name, self._metrics.counts.get(name, 0)) for name in _BACKLOG],
            backlog_age=self._metrics.age if self._metrics.counts else None,
            finished=[(status_of(status), number) for status, number in finished.numbers.items()],
            finished_total=sum(finished.numbers.values()),
            finished_since=finished.since,
            schedules=[schedule_of(stored) for stored in schedules[:_PAGE_SIZE]],
            has_more_schedules=len(schedules) > _PAGE_SIZE,
            rows=[row_of(info) for info in found],
            states=list(STATES),
            statuses=[(status.name, status_of(status)) for status in Status],
            chosen=chosen,
            is_filtered=any(chosen[name] for name in ("state", "status", "function", "dead")),
            dead=dead,
            pauses=[] if self._actions is None else await self._actions.pauses(),
            form_token=form_token(session),
            may_pause=self._actions is not None,
            dead_bound=reads.DEAD_COUNTED,
            dead_link=_link(HOME, dead="on"),
            newest="" if is_first else _link(HOME, **chosen),
            older=_link(HOME, **chosen, before=str(more)) if more else "",
            # Where a page begins at a call, nothing new comes.
            refresh=_link(HOME, **chosen) if chosen["refresh"] and is_first else None,
        )

    async def _call(self, id: UUID, query: Mapping[str, str], session: str) -> _Answer:
        before = _before(query)
        async with self._database.looks.acquire() as connection:
            details = await reads.details(connection, id, max_input_bytes=MAX_SHOWN_BYTES)
            if details is None:
                raise _Refused(404, "There is no call of this id. It may have been deleted.")
            by_state = await reads.children_by_state(connection, id)
            filters: dict[str, Any] = {"parent_id": id}
            if before is not None:
                filters["before"] = before
            found, more = await reads.recent(connection, filters, _PAGE_SIZE)
            nodes, more_nodes = await tree(connection, id, self._database.clock.now())
        info = details.info
        here = f"{CALLS}{id}"
        is_finished = info.state == CallState.CALL_STATE_FINISHED
        refreshes = bool(query.get("refresh")) and not is_finished
        return self._render(
            "call.html",
            call=row_of(info),
            info=info,
            details=details,
            input=input_of(details),
            output=value_of(info.result.output) if info.result.HasField("output") else None,
            error_=error_of(info.result.error) if info.result.HasField("error") else None,
            last_error=error_of(info.last_error) if info.HasField("last_error") else None,
            by_state=[
                (state_of(state), status_of(status) if state == store.FINISHED else None, number)
                for (state, status), number in by_state.items()
            ],
            children_counted=sum(by_state.values()),
            children_bound=reads.CHILDREN_COUNTED,
            tree=nodes,
            has_more_nodes=more_nodes,
            rows=[row_of(child) for child in found],
            newest="" if before is None else here,
            older=_link(here, before=str(more)) if more else "",
            here=here,
            may_refresh=not is_finished,
            may_rerun=is_finished and self._actions is not None,
            form_token=form_token(session),
            form_key=secrets.token_urlsafe(16),
            refresh=_link(here, refresh="on") if refreshes else None,
        )


_BACKLOG = ("queued", "delayed", "running", "waiting")


# Requests


def _header(scope: Any, name: bytes) -> str:
    # In HTTP/2 a browser may split its cookies (RFC 9113, section 8.2.3).
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return "; ".join(values)


def _cookies(scope: Any) -> list[str]:
    """The session tokens of a request."""
    pairs = [part.strip().partition("=") for part in _header(scope, b"cookie").split(";")]
    return [value for name, _, value in pairs if name == COOKIE]


def _cookie(scope: Any, value: str, seconds: int) -> str:
    # Behind a proxy that ends TLS the request itself is http. Whoever forges the header gets a
    # cookie that their browser sends by https only.
    forwarded = _header(scope, b"x-forwarded-proto").split(",")[0].strip().lower()
    secure = "; Secure" if "https" in {scope["scheme"], forwarded} else ""
    return f"{COOKIE}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}"


def _fields(encoded: bytes) -> dict[str, str]:
    """The fields of a query or form, the first of each name; those that are empty are left out."""
    try:
        found = parse_qs(encoded.decode("latin-1"), max_num_fields=20)
    except ValueError as error:
        raise _Refused(400, "These are too many fields.") from error
    return {name: values[0] for name, values in found.items()}


async def _body(receive: Any) -> bytes:
    body = bytearray()
    while True:
        event = await receive()
        body += event.get("body", b"")
        if len(body) > _MAX_FORM_BYTES:
            raise _Refused(413, "This form is too large.")
        if not event.get("more_body", False):  # also when the client has gone
            return bytes(body)


def _call_of(path: str) -> UUID | None:
    """The id of the call that a path is of."""
    return parse_id(path.removeprefix(CALLS)) if path.startswith(CALLS) else None


def _filters(query: Mapping[str, str]) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    if state := query.get("state"):
        if state not in STATES:
            raise _Refused(400, "There is no such state.")
        filters["state"] = STATES[state]
    if status := query.get("status"):
        if status not in Status.__members__:
            raise _Refused(400, "There is no such status.")
        filters["status"] = Status[status].value
    if function := query.get("function"):
        if "\0" in function:  # which PostgreSQL has not
            raise _Refused(400, "There is no such function.")
        filters["function"] = function
    if query.get("dead"):
        filters["dead"] = True
    if before := _before(query):
        filters["before"] = before
    return filters


def _before(query: Mapping[str, str]) -> UUID | None:
    before = parse_id(query.get("before", ""))
    if before is None and "before" in query:
        raise _Refused(400, "There is no such page of calls.")
    return before


def _link(path: str, **fields: str) -> str:
    query = urlencode({name: value for name, value in fields.items() if value})
    return f"{path}?{query}" if query else path


def _redirect(location: str, *headers: tuple[str, str]) -> _Answer:
    return _Answer(303, headers=(("location", location), *headers))
