"""The page at `/`: to look at calls with a browser, and at nothing else.

It is made of HTML and one style sheet, without any script. Whoever has an API key may see it: by
signing in, or by sending the key as clients do. What calls hold is somebody else's text, and is
escaped by the templates.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlencode
from uuid import UUID

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.message import Message
from jinja2 import Environment, PackageLoader, StrictUndefined

from dispatch_grpc._calls_proto import CallInfo, CallState
from dispatch_grpc._function_proto import Error
from dispatch_grpc.errors import UnmarshalError
from dispatch_grpc.service import store
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.ids import parse_id
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.worker import AWAY
from dispatch_grpc.status import Status
from dispatch_grpc.values import unmarshal

logger = logging.getLogger("dispatch_grpc.service")

HOME, CALLS, LOGIN, LOGOUT, STYLE = (
    "/",
    "/calls/",
    "/calls/login",
    "/calls/logout",
    "/calls/style.css",
)
COOKIE = "dispatch_session"
SESSION = timedelta(hours=12)

_PAGE_SIZE = 50
_MAX_FORM_BYTES = 8192
_MAX_SHOWN_BYTES = 100_000  # of a value: decoding a larger one would hold up the service
_MAX_SHOWN_CHARACTERS = 20_000
_MAX_NAME_CHARACTERS = 200
_MAX_SECONDS = 10
_REFRESH_SECONDS = 5

_STATES = {"queued": 1, "running": 2, "waiting": 3, "finished": 4}
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


class Sessions:
    """Those who have signed in. Nothing is kept here: it is all in the tokens they were given.

    A token says when it expires, and is signed by a key made of the API key that was given for it.
    So it is good in every process that takes this API key, and no longer than they take it.

    Args:
        keys: The API keys.
        now: The time, in seconds since 1970.
    """

    def __init__(self, keys: Collection[str], now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._digests = [_digest(key) for key in keys]
        self._secrets = [
            hmac.digest(key.encode(), b"dispatch-grpc: a session of the page", "sha256")
            for key in keys
        ]

    def takes(self, key: str) -> bool:
        """Whether a key is an API key."""
        return self._secret(key) is not None

    def begin(self, key: str) -> str | None:
        """Make a token for the one who gives this key; None when it is no API key."""
        secret = self._secret(key)
        if secret is None:
            return None
        expiry = str(int(self._now() + SESSION.total_seconds()))
        return f"{expiry}.{_sign(secret, expiry)}"

    def is_valid(self, token: str) -> bool:
        """Whether a token was made by `begin`, and has not expired."""
        expiry, _, signature = token.partition(".")
        given = signature.encode()
        # As for the keys: all are compared, in constant time.
        signed = [hmac.compare_digest(given, _sign(key, expiry).encode()) for key in self._secrets]
        return any(signed) and self._now() < int(expiry)

    def _secret(self, key: str) -> bytes | None:
        digest = _digest(key)
        found = None
        for own, secret in zip(self._digests, self._secrets, strict=True):
            if hmac.compare_digest(digest, own):
                found = secret
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _sign(secret: bytes, text: str) -> str:
    return hmac.digest(secret, text.encode(), "sha256").hex()


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
    """

    def __init__(self, database: Database, metrics: Metrics, keys: Collection[str]) -> None:
        self._database = database
        self._metrics = metrics
        self._sessions = Sessions(keys)
        self._templates = Environment(
            loader=PackageLoader("dispatch_grpc.service"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(age=_age, took=_took, utc=_utc, iso=datetime.isoformat)

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
        allowed = {LOGIN: ("GET", "HEAD", "POST"), LOGOUT: ("POST",)}.get(path, ("GET", "HEAD"))
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
        try:
            async with asyncio.timeout(_MAX_SECONDS):
                if path == HOME:
                    return await self._home(query)
                if id := _call_of(path):
                    return await self._call(id, query)
        except AWAY as error:
            logger.warning("the page is not shown, since the database is away: %s", error)
            raise _Refused(
                503, "The database is away, or takes too long. Try again.", ("retry-after", "5")
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
            now=datetime.now(UTC),
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
        return any(self._sessions.is_valid(token) for token in _cookies(scope))

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
        token = self._sessions.begin(form.get("key", "").strip())
        if token is None:
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

    # What there is to see

    async def _home(self, query: Mapping[str, str]) -> _Answer:
        filters = _filters(query)
        async with self._database.relaxed.acquire() as connection:
            backlog = self._metrics.counts or await store.count(connection)
            finished = await store.finished_by_status(connection)
            found, more = await store.recent(connection, filters, _PAGE_SIZE)
        chosen = {name: query.get(name, "") for name in ("state", "status", "function", "refresh")}
        is_first = "before" not in filters
        return self._render(
            "home.html",
            backlog=[(name, backlog.get(name, 0)) for name in _BACKLOG],
            finished=[(_status(status), number) for status, number in finished.numbers.items()],
            finished_total=sum(finished.numbers.values()),
            finished_since=finished.since,
            rows=[_row(info) for info in found],
            states=list(_STATES),
            statuses=[(status.name, _status(status)) for status in Status],
            chosen=chosen,
            is_filtered=any(chosen[name] for name in ("state", "status", "function")),
            newest="" if is_first else _link(HOME, **chosen),
            older=_link(HOME, **chosen, before=str(more)) if more else "",
            # Where a page begins at a call, nothing new comes.
            refresh=_link(HOME, **chosen) if chosen["refresh"] and is_first else None,
        )

    async def _call(self, id: UUID, query: Mapping[str, str]) -> _Answer:
        before = _before(query)
        async with self._database.relaxed.acquire() as connection:
            details = await store.details(connection, id, max_input_bytes=_MAX_SHOWN_BYTES)
            if details is None:
                raise _Refused(404, "There is no call of this id. It may have been deleted.")
            by_state = await store.children_by_state(connection, id)
            found, more = await store.children(connection, id, before, _PAGE_SIZE)
        info = details.info
        here = f"{CALLS}{id}"
        is_finished = info.state == CallState.CALL_STATE_FINISHED
        refreshes = bool(query.get("refresh")) and not is_finished
        return self._render(
            "call.html",
            call=_row(info),
            info=info,
            details=details,
            input=_input(details),
            output=_value(info.result.output) if info.result.HasField("output") else None,
            error_=_error(info.result.error) if info.result.HasField("error") else None,
            last_error=_error(info.last_error) if info.HasField("last_error") else None,
            by_state=[
                (_state(state), _status(status) if state == store.FINISHED else None, number)
                for (state, status), number in by_state.items()
            ],
            children_counted=sum(by_state.values()),
            children_bound=store.CHILDREN_COUNTED,
            rows=[_row(child) for child in found],
            newest="" if before is None else here,
            older=_link(here, before=str(more)) if more else "",
            here=here,
            may_refresh=not is_finished,
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
    secure = "; Secure" if scope["scheme"] == "https" else ""
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
        if state not in _STATES:
            raise _Refused(400, "There is no such state.")
        filters["state"] = _STATES[state]
    if status := query.get("status"):
        if status not in Status.__members__:
            raise _Refused(400, "There is no such status.")
        filters["status"] = Status[status].value
    if function := query.get("function"):
        if "\0" in function:  # which PostgreSQL has not
            raise _Refused(400, "There is no such function.")
        filters["function"] = function
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


# What is shown


@dataclass(frozen=True, slots=True)
class _Word:
    """A word, and the class of style that colours it."""

    text: str
    style: str


@dataclass(frozen=True, slots=True)
class _Text:
    """A text of a call, or what is shown of it."""

    text: str
    kind: str = ""
    note: str = ""


def _state(state: int) -> _Word:
    names = {number: name for name, number in _STATES.items()}
    return _Word(names[state], names[state])


def _status(number: int) -> _Word:
    try:
        status = Status(number)
    except ValueError:  # of a later version of the schema
        return _Word(str(number), "failed")
    if status is Status.UNSPECIFIED:
        return _Word("no run yet", "none")
    style = "ok" if status is Status.OK else "retried" if status.retryable else "failed"
    return _Word(status.name, style)


def _row(info: CallInfo) -> dict[str, Any]:
    return {
        "id": info.dispatch_id,
        "function": _short(info.function),
        "endpoint": _short(re.sub(r"//[^/]*@", "//…@", info.endpoint)),  # without a password
        "version": _short(info.version),
        "state": _state(info.state),
        "status": _status(info.status),
        "runs": info.runs,
        "parent": info.parent_dispatch_id,
        "root": info.root_dispatch_id,
        **{
            name: getattr(info, field).ToDatetime(tzinfo=UTC) if info.HasField(field) else None
            for name, field in (
                ("created", "creation_time"),
                ("expires", "expiration_time"),
                ("next", "next_time"),
                ("finished", "finish_time"),
            )
        },
    }


def _error(error: Error) -> dict[str, Any]:
    return {
        "type": _short(error.type),
        "message": _cut(error.message),
        "traceback": _cut(error.traceback.decode("utf-8", "replace")),
        "value_bytes": len(error.value),
    }


def _input(details: store.Details) -> _Text:
    if details.input is None:
        return _Text("", "", f"{details.input_bytes:,} bytes: too large to be shown here.")
    return _value(AnyProto.FromString(details.input))


def _value(any: AnyProto) -> _Text:
    """A value as it would be written down, or what can be said of it."""
    kind, size = any.type_url.rpartition("/")[2], len(any.value)
    if size > _MAX_SHOWN_BYTES:
        return _Text("", kind, f"{size:,} bytes: too large to be shown here.")
    try:
        value = unmarshal(any)
    except UnmarshalError:
        return _Text("", kind or "no type", f"{size:,} bytes, which are no value known here.")
    shown = _cut(_written(value))
    return _Text(shown.text, kind, shown.note)


def _written(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes: {value[:64].hex(' ')}{' …' if len(value) > 64 else ''}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if isinstance(value, Message):
        return str(value)
    if isinstance(value, str) and "\n" in value:
        return value
    return json.dumps(value, indent=2, ensure_ascii=False)


def _cut(text: str) -> _Text:
    if len(text) <= _MAX_SHOWN_CHARACTERS:
        return _Text(text)
    note = f"The first {_MAX_SHOWN_CHARACTERS:,} of {len(text):,} characters."
    return _Text(text[:_MAX_SHOWN_CHARACTERS], "", note)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_NAME_CHARACTERS else text[:_MAX_NAME_CHARACTERS] + "…"


def _utc(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def _age(when: datetime, now: datetime) -> str:
    seconds = (now - when).total_seconds()
    text = _took(timedelta(seconds=int(abs(seconds))))
    if abs(seconds) < 1:
        return "now"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def _took(duration: timedelta) -> str:
    seconds = max(duration.total_seconds(), 0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s"
