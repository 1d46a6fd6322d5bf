"""Look at an endpoint: whether it answers, and whether it verifies signatures."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from urllib.parse import urlsplit

from dispatch_grpc import ConfigurationError, DispatchError, RPCError
from dispatch_grpc.calls import mask_url
from dispatch_grpc.cli.doctor.findings import (
    RUN,
    Finding,
    no_answer,
    no_endpoint,
    signed,
    unsigned,
)
from dispatch_grpc.cli.doctor.requests import ask
from dispatch_grpc.client.settings import resolve_endpoint_url
from dispatch_grpc.schema import RunRequest
from dispatch_grpc.text import shorten
from dispatch_grpc.transport import Target, tls, with_roots
from dispatch_grpc.transport.connecting import open_socket

_PROBE = "dispatch_grpc.doctor"  # a function that no endpoint has


def check_endpoint(url: str | None, seconds: float, env: Mapping[str, str]) -> Iterator[Finding]:
    """Check whether an endpoint answers, and whether it verifies signatures.

    Args:
        url: Its URL; None or empty if there is none to check.
        seconds: Longest time of each step.
        env: The environment.
    """
    if not (url or "").strip():
        yield Finding("endpoint", None, "not checked: give --endpoint or DISPATCH_ENDPOINT_URL")
        return
    try:
        url = resolve_endpoint_url(url, {})
    except ConfigurationError as error:
        yield Finding("endpoint", False, str(error).removeprefix("url= "))
        return
    if not url.startswith(("http://", "https://")):
        yield Finding("endpoint", None, f"not checked: {url} is reached by the service only")
        return
    shown = mask_url(url)
    try:
        status, text = _run(url, seconds, env)
        problem = None if status in {200, 401} else no_endpoint(status, text)
    except (OSError, HTTPException, RPCError, ConfigurationError) as error:
        status, problem = 0, no_answer(error, _target(url), seconds)
    if problem is not None:
        yield Finding("endpoint", False, f"{shown}: {problem}")
        return
    yield Finding("endpoint", True, f"{shown} answers")
    key = env.get("DISPATCH_SIGNING_KEY", "").strip()
    if status == 200:
        has_key = bool(key or env.get("DISPATCH_VERIFICATION_KEY", "").strip())
        yield unsigned(shown, has_key=has_key)
    elif not key:
        text = f"not checked: {shown} verifies signatures; set DISPATCH_SIGNING_KEY to make one"
        yield Finding("signature", None, text)
    else:
        yield _check_signature(url, key, seconds, env)


def _check_signature(url: str, key: str, seconds: float, env: Mapping[str, str]) -> Finding:
    try:
        from dispatch_grpc.endpoint.keys import parse_signing_key
        from dispatch_grpc.endpoint.signature import sign_request

        private = parse_signing_key(key, "DISPATCH_SIGNING_KEY")

        def sign(headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
            return sign_request("POST", f"{url}{RUN}", headers, body, private)

        status, text = _run(url, seconds, env, sign)
    except (DispatchError, OSError, HTTPException, ImportError) as error:
        return Finding("signature", False, str(error))
    return signed(mask_url(url), status, text)


def _run(
    url: str,
    seconds: float,
    env: Mapping[str, str],
    sign: Callable[[Mapping[str, str], bytes], Mapping[str, str]] | None = None,
) -> tuple[int, str]:
    """Ask an endpoint to run a function that it has not; return the HTTP status and its error."""
    target, path = _target(url), urlsplit(url).path
    body = RunRequest(function=_PROBE).SerializeToString()
    headers = {"content-type": "application/proto"}
    if sign is not None:
        headers.update(sign(headers, body))

    def connect() -> socket.socket:
        return open_socket(target, None, seconds)  # the service uses no proxy either

    context = None
    if target.secure:
        context = tls.context_of(with_roots(None, env, "SSL_CERT_FILE"))
        if (problem := tls.diagnose(connect, target.host, context)) is not None:
            raise problem
    status, _, answer = ask(connect, target, context, f"{path}{RUN}", headers=headers, body=body)
    code, text = _error_in(answer)
    # Endpoints of other languages answer so for a function that they do not have.
    return (200 if code == "not_found" else status), text


def _target(url: str) -> Target:
    parts = urlsplit(url)
    secure, host = parts.scheme == "https", parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    authority = f"{host}:{parts.port or (443 if secure else 80)}"
    return Target(url=url, authority=authority, secure=secure)


def _error_in(answer: bytes) -> tuple[str, str]:
    """Return the code and the message of an error in Connect's JSON, empty for another answer."""
    try:
        found = json.loads(answer)
        return str(found.get("code", "")), shorten(str(found.get("message", "")), 300)
    except (ValueError, AttributeError):
        return "", ""
