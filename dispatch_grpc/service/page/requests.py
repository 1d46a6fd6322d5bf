"""Requests and answers of the page, as HTTP."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

COOKIE = "dispatch_session"
_MAX_FORM_BYTES = 8192
_MAX_FIELDS = 20

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request."""

    status: int
    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    headers: Collection[tuple[str, str]] = ()

    async def send(self, scope: Any, send: Any) -> None:
        """Send it; without its body to HEAD."""
        fields = [
            *_HEADERS,
            (b"content-type", self.content_type.encode()),
            (b"content-length", b"%d" % len(self.body)),
            *((name.encode(), value.encode("latin-1")) for name, value in self.headers),
        ]
        body = b"" if scope["method"] == "HEAD" else self.body
        await send({"type": "http.response.start", "status": self.status, "headers": fields})
        await send({"type": "http.response.body", "body": body})


class Refused(Exception):  # noqa: N818 (not an error of the service)
    """A request that is refused: the answer is a page that says why."""

    def __init__(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


def header(scope: Any, name: bytes) -> str:
    """Return a header of a request, empty without one."""
    # In HTTP/2 a browser may split its cookies (RFC 9113, section 8.2.3).
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return "; ".join(values)


def cookies(scope: Any) -> list[str]:
    """Return the session tokens of a request."""
    pairs = [part.strip().partition("=") for part in header(scope, b"cookie").split(";")]
    return [value for name, _, value in pairs if name == COOKIE]


def cookie(scope: Any, value: str, seconds: int) -> str:
    """Return a header that sets the cookie of a session."""
    # Behind a proxy that ends TLS the request itself is http. Whoever forges the header gets a
    # cookie that their browser sends by https only.
    forwarded = header(scope, b"x-forwarded-proto").split(",")[0].strip().lower()
    secure = "; Secure" if "https" in {scope["scheme"], forwarded} else ""
    return f"{COOKIE}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}"


def fields_of(encoded: bytes) -> dict[str, str]:
    """Return the fields of a query or form, the first of each name, without the empty ones."""
    try:
        found = parse_qs(encoded.decode("latin-1"), max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise Refused(400, f"There are more than {_MAX_FIELDS} fields.") from error
    return {name: values[0] for name, values in found.items()}


async def body_of(receive: Any) -> bytes:
    """Return the body of a form."""
    body = bytearray()
    while True:
        event = await receive()
        body += event.get("body", b"")
        if len(body) > _MAX_FORM_BYTES:
            raise Refused(413, f"The form is larger than {_MAX_FORM_BYTES:,} bytes.")
        if not event.get("more_body", False):  # also when the client has gone
            return bytes(body)


def link(path: str, fields: Mapping[str, str] | None = None, **more: str) -> str:
    """Return a path with a query, without the fields that are empty."""
    query = urlencode({name: text for name, text in {**(fields or {}), **more}.items() if text})
    return f"{path}?{query}" if query else path


def redirect(location: str, *headers: tuple[str, str]) -> Answer:
    """Return an answer that leads elsewhere."""
    return Answer(303, headers=(("location", location), *headers))
