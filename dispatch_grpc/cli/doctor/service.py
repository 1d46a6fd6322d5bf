"""Look at a service: its URL, its certificate, its clock, and whether it accepts the API key."""

import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any

from dispatch_grpc import (
    AuthenticationError,
    Code,
    ConfigurationError,
    PermissionDeniedError,
    RPCError,
    TLSCredentials,
)
from dispatch_grpc.cli.connection import make_client, take_credentials, with_client
from dispatch_grpc.cli.doctor.findings import Finding, clock, no_connection, unchecked_key
from dispatch_grpc.cli.doctor.requests import ask, serves_tls
from dispatch_grpc.client.settings import (
    DEFAULT_API_URL,
    APIKey,
    resolve_api_key,
    resolve_api_url,
    resolve_protocol,
)
from dispatch_grpc.transport import Target, proxy_of, tls, with_roots
from dispatch_grpc.transport.connecting import open_socket

_SET_URL = "set DISPATCH_API_URL to the URL of your service, as 'dispatch-grpc serve' prints it"
_NO_URL = f"{_SET_URL}; the default is out of service"


def check_service(
    settings: Mapping[str, Any], seconds: float, env: Mapping[str, str]
) -> Iterator[Finding]:
    """Check the API key, the URL, TLS and the clock.

    Args:
        settings: The options of the connection.
        seconds: Longest time of each step.
        env: The environment.
    """
    given = dict(settings)
    key: APIKey | ConfigurationError
    try:
        key = resolve_api_key(given["api_key"], env)
    except ConfigurationError as error:
        key = error
    try:
        credentials = take_credentials(given)
        protocol = resolve_protocol(given["protocol"], env)
        plaintext = given["allow_plaintext"]
        target = resolve_api_url(
            given["api_url"], env, protocol=protocol, allow_plaintext=plaintext
        )
        proxy = proxy_of(target, proxy=None, trust_env=True, allow_plaintext=plaintext, env=env)
    except ConfigurationError as error:
        yield unchecked_key(key)
        yield Finding("url", False, str(error))
        return
    if target.url == DEFAULT_API_URL:
        yield unchecked_key(key)
        yield Finding("url", False, _NO_URL)
        return
    url, security, time = _probe(target, proxy, credentials, seconds, env)
    if url.ok is False or security.ok is False or isinstance(key, ConfigurationError):
        yield unchecked_key(key)
        yield from (url, security, time)
        return
    limits = {"credentials": credentials, "timeout": timedelta(seconds=seconds)}
    client = make_client({**given, **limits}, retry=None)
    problem: RPCError | None = None
    try:
        with_client(client, lambda: client.list(limit=1))
    except RPCError as error:
        problem = error
    if isinstance(problem, AuthenticationError | PermissionDeniedError):
        yield Finding("key", False, f"{problem.message}: {_where_is_the_key()}")
    elif problem is None:
        yield Finding("key", True, f"{key.redacted} from {key.source} is accepted")
    elif problem.code is Code.UNIMPLEMENTED and not _dispatches(
        target, proxy, credentials, seconds, env
    ):
        yield unchecked_key(key)
        url = Finding("url", False, f"{target.url} answers, but is no Dispatch service: {_SET_URL}")
    elif problem.code is Code.UNIMPLEMENTED:  # a service of another make: its Dispatch may work
        yield Finding("key", None, f"not checked: {problem.message}")
    else:
        yield unchecked_key(key)
        url = Finding("url", False, str(problem))
    yield from (url, security, time)


def _dispatches(
    target: Target,
    proxy: str | None,
    credentials: TLSCredentials | None,
    seconds: float,
    env: Mapping[str, str],
) -> bool:
    """Return whether a server may have Dispatch: False if it answers that there is no such path."""
    context = None
    if target.secure:
        context = tls.context_of(with_roots(credentials, env, "SSL_CERT_FILE"))
    try:
        status, _, _ = ask(
            lambda: open_socket(target, proxy, seconds),
            target,
            context,
            "/dispatch.sdk.v1.DispatchService/Dispatch",
            headers={"content-type": "application/json"},
            body=b"{}",  # no calls, and no key: a service refuses it
        )
    except (OSError, HTTPException):  # it may speak HTTP/2 only
        return True
    return status not in {404, 405}


def _where_is_the_key() -> str:
    if (file := Path(".dispatch", "api-key")).exists():
        return f"the service of this folder has its key in {file}; set DISPATCH_API_KEY to it"
    return "set DISPATCH_API_KEY to a key of this service; 'dispatch-grpc serve' says where it is"


def _probe(
    target: Target,
    proxy: str | None,
    credentials: TLSCredentials | None,
    seconds: float,
    env: Mapping[str, str],
) -> tuple[Finding, Finding, Finding]:
    """Connect, and look at the certificate and the clock."""
    skipped = Finding("clock", None, "not checked: the service did not answer")

    def connect() -> socket.socket:
        return open_socket(target, proxy, seconds)

    no_tls = Finding("tls", None, "not checked: there is no connection")
    try:
        connect().close()
    except OSError as error:
        text = no_connection(error, target, seconds, "the service ('dispatch-grpc serve')")
        return Finding("url", False, f"{target.url}: {text}"), no_tls, skipped
    url, context = Finding("url", True, f"{target.url} answers"), None
    security = Finding("tls", None, "not used: the URL begins with http://")
    if target.secure:
        try:
            context = tls.context_of(with_roots(credentials, env, "SSL_CERT_FILE"))
        except ConfigurationError as error:
            return url, Finding("tls", False, str(error)), skipped
        if (problem := tls.diagnose(connect, target.host, context)) is not None:
            return url, Finding("tls", False, problem.message), skipped
        security = Finding("tls", True, f"the certificate of {target.host} is valid")
    try:
        _, headers, _ = ask(connect, target, context, "/healthz")
    except (OSError, HTTPException):
        if not target.secure and serves_tls(connect, target.host):
            advice = f"{target.url} serves TLS: use https:// instead of http://"
            return url, Finding("tls", False, advice), skipped
        return url, security, Finding("clock", None, "not checked: no answer over HTTP/1.1")
    return url, security, clock(target.url, headers.get("date", ""), datetime.now(UTC))
