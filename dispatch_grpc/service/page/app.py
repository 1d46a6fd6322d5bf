"""The page as an ASGI application: it checks access, and leads each request to its view or action.

The page works without a script; with its one script, it keeps itself up to date. It is open to
those who have an API key: they sign in, or send the key as clients do. The templates escape all
text that comes from calls.
"""

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime
from http import HTTPStatus
from time import monotonic
from typing import Any
from uuid import UUID

from jinja2 import Environment, PackageLoader, StrictUndefined

from dispatch_grpc.errors import RPCError
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.faults import is_transient
from dispatch_grpc.service.ids import parse_id
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.page.actions import RERUN, Actions, is_form_of, status_of_error
from dispatch_grpc.service.page.formatting import age, utc
from dispatch_grpc.service.page.requests import (
    Answer,
    Refused,
    body_of,
    cookie,
    cookies,
    fields_of,
    header,
    link,
    redirect,
)
from dispatch_grpc.service.page.sessions import SESSION, Sessions
from dispatch_grpc.service.page.views import CALLS, HOME, HOSTS, SCHEDULES, View, Views
from dispatch_grpc.text import rounded

LOGIN, LOGOUT = "/calls/login", "/calls/logout"
_FILES = {
    "/calls/style.css": ("style.css", "text/css; charset=utf-8"),
    "/calls/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_MAX_SECONDS = 10
_REFRESH_SECONDS = 5
_MAX_FAILURES = 30  # wrong keys, in so many seconds
_FAILURES_SECONDS = 60.0


class Page:
    """An ASGI application for `/` and what is below `/calls`.

    Args:
        database: Where the calls are.
        metrics: Where they were counted last.
        keys: The API keys.
        actions: What the buttons do.
    """

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        keys: Collection[str],
        actions: Actions,
    ) -> None:
        self._actions = actions
        self._views = Views(database, metrics, actions)
        self._database = database
        self._sessions = Sessions(keys)
        self._failures: list[float] = []
        self._loader = PackageLoader("dispatch_grpc.service.page")
        self._templates = Environment(
            loader=self._loader,
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            age=age, rounded=rounded, utc=utc, iso=datetime.isoformat, thousands="{:,}".format
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request of ASGI."""
        try:
            answer = await self._answer(scope, receive)
        except Refused as refused:
            answer = self._render(
                "problem.html",
                status=refused.status,
                headers=refused.headers,
                title=HTTPStatus(refused.status).phrase,
                message=refused.message,
                signed_in=self._has_session(scope),
            )
        await answer.send(scope, send)

    async def _answer(self, scope: Any, receive: Any) -> Answer:
        path, method = scope["path"], scope["method"]
        is_action = self._actions.has(path)
        default = ("POST",) if is_action else ("GET", "HEAD")
        both = ("GET", "HEAD", "POST")
        allowed = {LOGIN: both, RERUN: both, LOGOUT: ("POST",)}.get(path, default)
        if method not in allowed:
            allow = ", ".join(allowed)
            message = f"The method {method} is not allowed here; allowed: {allow}."
            raise Refused(405, message, ("allow", allow))
        if path in _FILES:
            name, content_type = _FILES[path]
            source, _, _ = self._loader.get_source(self._templates, name)
            return Answer(200, source.encode(), content_type)
        query = fields_of(scope["query_string"])
        if path == LOGIN:
            return await self._login(scope, receive, query)
        self._check_access(scope)
        if path == LOGOUT:
            return redirect(LOGIN, ("set-cookie", cookie(scope, "", 0)))
        session = self._session(scope)
        try:
            async with asyncio.timeout(_MAX_SECONDS):
                if is_action and method == "POST":
                    return await self._act(scope, receive, session)
                if path == HOME and (id := parse_id(query.get("id", "").strip())):
                    return redirect(f"{CALLS}{id}")
                if (view := await self._view(path, query, session)) is not None:
                    template, values = view
                    return self._render(template, at=path, **values)
        except Exception as error:
            if not is_transient(error):
                raise
            logger.warning("the page cannot be shown: the database does not work: %s", error)
            raise Refused(
                503,
                "The database does not answer. Try again in a few seconds.",
                ("retry-after", "5"),
            ) from error
        if path == CALLS.rstrip("/") or path == CALLS:
            return redirect(HOME)
        raise Refused(404, "There is no such page.")

    async def _view(self, path: str, query: Mapping[str, str], session: str) -> View | None:
        """Return the view at a path; None if there is none."""
        if path == HOME:
            return await self._views.home(query)
        if id := _call_of(path):
            return await self._views.call(id, query, session)
        if path == RERUN:
            return await self._views.rerun(query, session)
        if path == HOSTS:
            return await self._views.hosts(session)
        if path == SCHEDULES:
            return await self._views.schedules()
        return None

    def _render(
        self,
        template: str,
        *,
        status: int = 200,
        headers: Collection[tuple[str, str]] = (),
        signed_in: bool = True,
        **values: Any,
    ) -> Answer:
        text = self._templates.get_template(template).render(
            signed_in=signed_in,
            refresh=values.pop("refresh", None),
            is_live=values.pop("is_live", False),
            at=values.pop("at", ""),
            now=self._database.clock.now(),
            home=HOME,
            calls=CALLS,
            login=LOGIN,
            logout=LOGOUT,
            hosts=HOSTS,
            all_schedules=SCHEDULES,
            refresh_seconds=_REFRESH_SECONDS,
            **values,
        )
        return Answer(status, text.encode(), headers=headers)

    # Access

    def _has_session(self, scope: Any) -> bool:
        return bool(self._session(scope))

    def _session(self, scope: Any) -> str:
        """Return the valid session of a request, or an empty text."""
        return next((token for token in cookies(scope) if self._sessions.is_valid(token)), "")

    def _check_access(self, scope: Any) -> None:
        """Check that a request carries a session, or an API key as clients send it."""
        given = header(scope, b"authorization")
        if given:
            scheme, _, key = given.partition(" ")
            if scheme.lower() == "bearer" and self._sessions.takes(key):
                return
            raise Refused(401, "The API key is not valid.", ("www-authenticate", "Bearer"))
        if not self._has_session(scope):
            # The one place that signing in leads to, beside the list, is a call of this service.
            id = _call_of(scope["path"])
            location = link(LOGIN, call=str(id) if id else "")
            raise Refused(303, "Sign in first.", ("location", location))

    async def _login(self, scope: Any, receive: Any, query: Mapping[str, str]) -> Answer:
        if scope["method"] != "POST":
            return self._login_form(query)
        form = fields_of(await body_of(receive))
        # Counted for all addresses together: an attacker has many, and each would take memory.
        now = monotonic()
        self._failures = [time for time in self._failures if time > now - _FAILURES_SECONDS]
        if len(self._failures) >= _MAX_FAILURES:
            raise Refused(429, "Too many wrong keys were given. Try again in a minute.")
        token = self._sessions.begin(form.get("key", "").strip())
        if token is None:
            self._failures.append(now)
            logger.warning("somebody tried to sign in to the page with a wrong API key")
            return self._login_form(form, status=403, problem="This is not a valid API key.")
        id = parse_id(form.get("call", ""))
        set_cookie = cookie(scope, token, int(SESSION.total_seconds()))
        return redirect(f"{CALLS}{id}" if id else HOME, ("set-cookie", set_cookie))

    def _login_form(
        self, fields: Mapping[str, str], *, status: int = 200, problem: str = ""
    ) -> Answer:
        id = parse_id(fields.get("call", ""))
        return self._render(
            "login.html", status=status, signed_in=False, call=str(id or ""), problem=problem
        )

    async def _act(self, scope: Any, receive: Any, session: str) -> Answer:
        """Do what a button asks for."""
        form = fields_of(await body_of(receive))
        # A request with the key in a header is no form that another site has had a browser send.
        if not header(scope, b"authorization") and not is_form_of(session, form):
            raise Refused(403, "This form is out of date. Go back, reload the page, try again.")
        try:
            return redirect(await self._actions.act(scope["path"], form))
        except RPCError as error:
            raise Refused(status_of_error(error), error.message) from error


def _call_of(path: str) -> UUID | None:
    """Return the id of the call whose page a path is."""
    return parse_id(path.removeprefix(CALLS)) if path.startswith(CALLS) else None
