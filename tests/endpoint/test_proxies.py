"""Signed requests to an endpoint behind a reverse proxy, and what is refused there."""

import asyncio
import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from dispatch_grpc import Endpoint, Status, marshal, unmarshal
from dispatch_grpc.schema import RunRequest, RunResponse
from dispatch_grpc.signature import new_key_pair, parse_signing_key, sign_request
from dispatch_grpc.testing import serve_app

PATH = "/dispatch.sdk.v1.FunctionService/Run"
PROTO = "application/proto"
KEYS, OTHER_KEYS = new_key_pair(), new_key_pair()
BODY = RunRequest(function="greet", input=marshal("World")).SerializeToString()
PUBLIC = "https://functions.example.com"
"""What clients of the proxy call it; TLS ends there."""


class Proxy:
    """A reverse proxy as an ASGI application, which changes requests as such proxies do.

    Args:
        upstream: URL to which it sends requests.
        strip: Prefix of paths that it takes away.
        prefix: What it puts before them instead.
        host: Host that it sends; None keeps that of the request.
        chunked: Whether it sends bodies on before it has read them.
    """

    def __init__(
        self,
        upstream: str,
        *,
        strip: str = "",
        prefix: str = "",
        host: str | None = None,
        chunked: bool = False,
    ) -> None:
        self.authority = urlsplit(upstream).netloc
        self.strip, self.prefix, self.host, self.chunked = strip, prefix, host, chunked

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body")
        response, content = await asyncio.to_thread(self.forward, scope, body)
        headers = [(k.lower().encode(), v.encode()) for k, v in response.getheaders()]
        headers = [(name, value) for name, value in headers if name == b"content-type"]
        start = {"type": "http.response.start", "status": response.status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": content})

    def forward(self, scope: Any, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        path = self.prefix + scope["raw_path"].decode().removeprefix(self.strip)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        headers["host"] = headers["host"] if self.host is None else self.host
        headers |= {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.1"}
        data: Any = body
        if self.chunked:
            del headers["content-length"]
            data = iter([body[:9], body[9:]])
        connection = http.client.HTTPConnection(self.authority, timeout=30)
        with contextlib.closing(connection):
            connection.request(scope["method"], path, data, headers, encode_chunked=self.chunked)
            response = connection.getresponse()
            return response, response.read()


def make(url: str) -> Endpoint:
    endpoint = Endpoint(url, verification_key=KEYS.verification_key, env={})
    endpoint.function(name="greet")(lambda name: f"Hello, {name}!")
    return endpoint


@contextlib.contextmanager
def behind(endpoint: Any, **changes: Any) -> Iterator[str]:
    """URL of a proxy, with an endpoint behind it."""
    app = endpoint.app if isinstance(endpoint, Endpoint) else endpoint
    with serve_app(app) as upstream:
        if changes.get("host") == "upstream":
            changes["host"] = urlsplit(upstream.url).netloc
        with serve_app(Proxy(upstream.url, **changes)) as proxy:
            yield proxy.url


def send(
    url: str,
    public: str,
    *,
    signed: str | None = None,
    body: bytes = BODY,
    key: str = KEYS.signing_key,
    content_type: str = PROTO,
) -> tuple[int, bytes]:
    """Send a request to a proxy as one for its public URL, and return status and content."""
    headers = {"content-type": PROTO}
    where = (public if signed is None else signed) + PATH
    headers |= sign_request("POST", where, headers, BODY, parse_signing_key(key))
    headers |= {"host": urlsplit(public).netloc, "content-type": content_type}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", urlsplit(public).path + PATH, body, headers)
        response = connection.getresponse()
        return response.status, response.read()


def runs(url: str, public: str, **options: Any) -> None:
    status, content = send(url, public, **options)
    assert status == 200, content
    response = RunResponse.FromString(content)
    assert Status(response.status) is Status.OK
    assert unmarshal(response.exit.result.output) == "Hello, World!"


def refused(url: str, public: str, **options: Any) -> None:
    status, content = send(url, public, **options)
    assert status == 403, content
    assert json.loads(content)["code"] == "permission_denied"
    assert b"does not fit" in content or b"content-digest" in content


CHANGES: list[tuple[str, dict[str, Any]]] = [
    (PUBLIC, {}),
    (PUBLIC, {"host": "upstream"}),  # as nginx does unless told otherwise
    (PUBLIC, {"host": "backend"}),
    (PUBLIC, {"host": "functions.example.com:443"}),
    (PUBLIC, {"chunked": True}),
    (f"{PUBLIC}/dispatch", {"strip": "/dispatch"}),
    (f"{PUBLIC}/dispatch", {"strip": "/dispatch", "host": "upstream", "chunked": True}),
    (f"{PUBLIC}/a%20b", {"strip": "/a%20b", "host": "backend:8000"}),
    (f"{PUBLIC}:8443/x", {"strip": "/x", "host": "functions.example.com"}),
    ("http://functions.example.com:80", {"host": "upstream"}),
]


@pytest.mark.parametrize(("public", "changes"), CHANGES, ids=repr)
def test_a_request_that_is_authentic_runs_behind_a_proxy(public: str, changes: Any):
    with behind(make(public), **changes) as url:
        runs(url, public)


@pytest.mark.parametrize(("public", "changes"), CHANGES, ids=repr)
def test_a_request_that_is_not_authentic_is_refused_behind_a_proxy(public: str, changes: Any):
    with behind(make(public), **changes) as url:
        refused(url, public, body=BODY.replace(b"World", b"Mars!"))
        refused(url, public, content_type="application/json")
        refused(url, public, key=OTHER_KEYS.signing_key)
        refused(url, public, signed=f"{public}/x")
        refused(url, public, signed="https://functions.example.org")
        refused(url, public, signed=f"{PUBLIC}:444")


def test_a_host_with_the_port_of_https_is_that_of_the_signature():
    """Also where the endpoint does not know its public URL."""
    with behind(make("http://10.0.0.1:8000"), host="functions.example.com:443") as url:
        runs(url, PUBLIC)
        refused(url, PUBLIC, signed="https://functions.example.org")
        refused(url, PUBLIC, signed=f"{PUBLIC}:444")


def test_a_path_below_which_the_proxy_puts_the_endpoint():
    endpoint = make(PUBLIC)
    app = Starlette(routes=[Mount("/internal", endpoint.app)])
    with behind(app, prefix="/internal", host="upstream") as url:
        runs(url, PUBLIC)
        refused(url, PUBLIC, signed=f"{PUBLIC}/internal")


def test_a_request_for_another_endpoint_is_refused():
    """Two endpoints with one key, at one proxy: each runs only what was signed for it."""
    ours, theirs = f"{PUBLIC}/a", f"{PUBLIC}/b"
    app = Starlette(routes=[Mount("/a", make(ours).app), Mount("/b", make(theirs).app)])
    with behind(app, host="upstream") as url:
        runs(url, ours)
        runs(url, theirs)
        refused(url, ours, signed=theirs)
        refused(url, theirs, signed=ours)


def test_the_url_of_the_endpoint_does_not_cover_other_paths():
    with behind(make(PUBLIC), prefix="/other") as url:
        assert send(url, PUBLIC)[0] == 404  # it is authentic, but there is nothing to run
    with serve_app(make(PUBLIC).app) as server:
        for path in ("/", "/healthz", f"{PATH}/x", PATH.replace("Run", "Walk")):
            headers = {"content-type": PROTO, "host": "functions.example.com"}
            key = parse_signing_key(KEYS.signing_key)
            headers |= sign_request("POST", PUBLIC + PATH, headers, BODY, key)
            connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
            with contextlib.closing(connection):
                connection.request("POST", path, BODY, headers)
                assert connection.getresponse().status == 403
