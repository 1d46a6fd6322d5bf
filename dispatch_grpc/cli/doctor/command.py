"""The command that finds out why nothing works: `dispatch-grpc doctor`."""

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from dispatch_grpc import (
    AuthenticationError,
    Code,
    ConfigurationError,
    DispatchError,
    PermissionDeniedError,
    RPCError,
    TLSCredentials,
)
from dispatch_grpc.calls import mask_url
from dispatch_grpc.cli.calls import (
    MAX_TIMEOUT_DAYS,
    connection_options,
    make_client,
    take_credentials,
    with_client,
)
from dispatch_grpc.cli.input import duration_option, json_option
from dispatch_grpc.cli.output import one_line, print_lines
from dispatch_grpc.client.settings import (
    DEFAULT_API_URL,
    APIKey,
    resolve_api_key,
    resolve_api_url,
    resolve_endpoint_url,
    resolve_protocol,
)
from dispatch_grpc.errors import missing_extra
from dispatch_grpc.schema import RunRequest
from dispatch_grpc.text import rounded, shorten
from dispatch_grpc.transport import Target, proxy_of, tls, with_roots
from dispatch_grpc.transport.connecting import open_socket

_RUN = "/dispatch.sdk.v1.FunctionService/Run"
_PROBE = "dispatch_grpc.doctor"  # a function that no endpoint has
_SKEW_SECONDS = 6  # signatures allow 5 s, and a Date has whole seconds
_MOST_BYTES = 64 * 1024
_NO_URL = (
    "set DISPATCH_API_URL to the URL of your service, as 'dispatch-grpc serve' prints it; the "
    "default is out of service"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of a check.

    Attributes:
        check: Its name.
        ok: Whether all is well; None if it was not checked.
        message: What was found, and what to do about it.
    """

    check: str
    ok: bool | None
    message: str


@click.command()
@click.option(
    "--database",
    envvar="DISPATCH_DATABASE_URL",
    metavar="URL",
    help="PostgreSQL of the service (default: DISPATCH_DATABASE_URL, else it is not checked).",
)
@click.option(
    "--endpoint",
    envvar="DISPATCH_ENDPOINT_URL",
    metavar="URL",
    help="Endpoint to reach (default: DISPATCH_ENDPOINT_URL, else it is not checked).",
)
@connection_options
@click.option(
    "--timeout",
    metavar="DURATION",
    default="5s",
    callback=duration_option(MAX_TIMEOUT_DAYS),
    help="Time limit for each step of a check (default: 5s).",
)
@json_option('Print {"check": …, "ok": true, false or null, "message": …} for each check.')
def doctor(
    *,
    database: str | None,
    endpoint: str | None,
    timeout: timedelta,
    as_json: bool,
    **settings: Any,
) -> int:
    """Check the API key, URL, TLS, clock, database and endpoint.

    Each check is a line that says what is wrong and what to do. The endpoint is called from this
    machine, signed with DISPATCH_SIGNING_KEY if it is set; no function runs. The exit code is 1
    if something is wrong.
    """
    seconds = timeout.total_seconds()
    found = [*check_service(settings, seconds, os.environ)]
    found.append(_check_database(database, seconds))
    found += check_endpoint(endpoint, seconds, os.environ)
    if as_json:
        shown = [Finding(one.check, one.ok, one_line(one.message)) for one in found]
        print_lines([json.dumps(asdict(one)) for one in shown])
    else:
        print_lines([_line(one) for one in found])
    return int(any(one.ok is False for one in found))


def _line(finding: Finding) -> str:
    word, colour = {True: ("ok", "green"), False: ("WRONG", "red"), None: ("-", None)}[finding.ok]
    return f"{click.style(word.ljust(5), colour)}  {finding.check:9}  {one_line(finding.message)}"


# The service


def check_service(
    settings: Mapping[str, Any], seconds: float, env: Mapping[str, str]
) -> Iterator[Finding]:
    """Check the API key, the URL, TLS and the clock."""
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
        yield _key_finding(key)
        yield Finding("url", False, str(error))
        return
    if target.url == DEFAULT_API_URL:
        yield _key_finding(key)
        yield Finding("url", False, _NO_URL)
        return
    url, security, clock = _probe(target, proxy, credentials, seconds, env)
    if url.ok is False or security.ok is False or isinstance(key, ConfigurationError):
        yield _key_finding(key)
        yield from (url, security, clock)
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
    elif problem.code is Code.UNIMPLEMENTED:  # a service of another make: its Dispatch may work
        yield Finding("key", None, f"not checked: {problem.message}")
    else:
        yield _key_finding(key)
        url = Finding("url", False, str(problem))
    yield from (url, security, clock)


def _key_finding(key: APIKey | ConfigurationError) -> Finding:
    if isinstance(key, ConfigurationError):
        return Finding("key", False, str(key))
    return Finding("key", None, f"not checked: the service did not answer ({key.source} is set)")


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
        text = _reason(error, target, seconds, "the service ('dispatch-grpc serve')")
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
        _, headers, _ = _ask(connect, target, context, "/healthz")
    except (OSError, HTTPException):
        if not target.secure and _serves_tls(connect, target.host):
            advice = f"{target.url} serves TLS: use https:// instead of http://"
            return url, Finding("tls", False, advice), skipped
        return url, security, Finding("clock", None, "not checked: no answer over HTTP/1.1")
    return url, security, _clock(target.url, headers.get("date", ""))


def _serves_tls(connect: Callable[[], socket.socket], host: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        context.wrap_socket(connect(), server_hostname=host).close()
    except OSError as error:
        # A server that requires a certificate of the client answers with an alert.
        return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")
    return True


def _clock(url: str, date: str) -> Finding:
    """Compare the Date of an answer with the time of this machine."""
    try:
        ahead = parsedate_to_datetime(date) - datetime.now(UTC)
    except (ValueError, TypeError):  # there is none, or one without a time zone
        return Finding("clock", None, f"not checked: {url} sends no Date")
    if abs(ahead.total_seconds()) <= _SKEW_SECONDS:
        return Finding("clock", True, f"the clocks of this machine and of {url} agree")
    direction = "ahead of" if ahead > timedelta(0) else "behind"
    return Finding(
        "clock",
        False,
        f"the clock of {url} is {rounded(abs(ahead))} {direction} this machine's, and signatures "
        f"allow 5 s: set both by NTP (see 'timedatectl')",
    )


# The database


def _check_database(url: str | None, seconds: float) -> Finding:
    if not (url or "").strip():
        text = "not checked: give --database or DISPATCH_DATABASE_URL where the service runs"
        return Finding("database", None, text)
    try:
        from dispatch_grpc.service.diagnosis import examine
    except ImportError as error:
        return Finding("database", None, str(missing_extra(error, "this check", "service")))
    return Finding("database", *asyncio.run(examine(str(url).strip(), seconds)))


# The endpoint


def check_endpoint(url: str | None, seconds: float, env: Mapping[str, str]) -> Iterator[Finding]:
    """Check whether an endpoint answers, and whether it verifies signatures."""
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
        status, text = _run(url, {}, seconds, env)
        problem = None if status in {200, 401} else _not_an_endpoint(status, text)
    except (OSError, HTTPException, RPCError, ConfigurationError) as error:
        status, problem = 0, _endpoint_problem(error, url, seconds)
    if problem is not None:
        yield Finding("endpoint", False, f"{shown}: {problem}")
        return
    yield Finding("endpoint", True, f"{shown} answers")
    yield _check_signature(url, status == 401, seconds, env)


def _check_signature(
    url: str, is_verified: bool, seconds: float, env: Mapping[str, str]
) -> Finding:
    shown, key = mask_url(url), env.get("DISPATCH_SIGNING_KEY", "").strip()
    if not is_verified:
        if key or env.get("DISPATCH_VERIFICATION_KEY", "").strip():
            return Finding(
                "signature",
                False,
                f"{shown} accepts requests that are not signed: set DISPATCH_VERIFICATION_KEY "
                f"where it runs, and start it again",
            )
        text = f"{shown} accepts unsigned requests; 'dispatch-grpc keypair' makes keys"
        return Finding("signature", None, text)
    if not key:
        text = f"not checked: {shown} verifies signatures; set DISPATCH_SIGNING_KEY to make one"
        return Finding("signature", None, text)
    try:
        from dispatch_grpc.endpoint.keys import parse_signing_key
        from dispatch_grpc.endpoint.signature import sign_request

        private = parse_signing_key(key, "DISPATCH_SIGNING_KEY")

        def sign(headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
            return sign_request("POST", f"{url}{_RUN}", headers, body, private)

        status, text = _run(url, {}, seconds, env, sign)
    except (DispatchError, OSError, HTTPException, ImportError) as error:
        return Finding("signature", False, str(error))
    if status == 200:
        return Finding("signature", True, f"{shown} accepts requests signed by this key only")
    return Finding(
        "signature",
        False,
        f"{shown} refuses requests signed with DISPATCH_SIGNING_KEY ({text}): it needs the "
        f"DISPATCH_VERIFICATION_KEY of the same pair",
    )


def _run(
    url: str,
    headers: Mapping[str, str],
    seconds: float,
    env: Mapping[str, str],
    sign: Callable[[Mapping[str, str], bytes], Mapping[str, str]] | None = None,
) -> tuple[int, str]:
    """Ask an endpoint to run a function that it has not; return the HTTP status and its error."""
    target, path = _target(url), urlsplit(url).path
    body = RunRequest(function=_PROBE).SerializeToString()
    headers = {"content-type": "application/proto", **headers}
    if sign is not None:
        headers = {**headers, **sign(headers, body)}

    def connect() -> socket.socket:
        return open_socket(target, None, seconds)  # the service uses no proxy either

    context = None
    if target.secure:
        context = tls.context_of(with_roots(None, env, "SSL_CERT_FILE"))
        if (problem := tls.diagnose(connect, target.host, context)) is not None:
            raise problem
    status, _, answer = _ask(connect, target, context, f"{path}{_RUN}", headers=headers, body=body)
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


def _not_an_endpoint(status: int, text: str) -> str:
    return (
        f"it answers with HTTP {status}{f' ({text})' if text else ''}, not like an endpoint: check "
        f"host, port and path; an endpoint serves POST {_RUN} below its URL"
    )


def _endpoint_problem(error: Exception, url: str, seconds: float) -> str:
    if isinstance(error, RPCError):
        return error.message
    if isinstance(error, OSError) and not isinstance(error, ConnectionResetError | BrokenPipeError):
        return _reason(error, _target(url), seconds, "the endpoint ('dispatch-grpc run')")
    text = str(error) if isinstance(error, ConfigurationError) else type(error).__name__
    return f"it does not speak HTTP ({text}): check the port"


# Requests


def _ask(
    connect: Callable[[], socket.socket],
    target: Target,
    context: ssl.SSLContext | None,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> tuple[int, HTTPMessage, bytes]:
    """GET or POST over HTTP/1.1; return the status, the headers and the first bytes of the body."""
    sock = connect()
    connection = HTTPConnection(target.host, target.port)
    try:
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=target.host)
        connection.sock = sock
        named = {"host": urlsplit(target.url).netloc.rpartition("@")[2], **(headers or {})}
        connection.request("GET" if body is None else "POST", path, body, named)
        response = connection.getresponse()
        return response.status, response.headers, response.read(_MOST_BYTES)
    finally:
        connection.close()
        sock.close()


def _reason(error: OSError, target: Target, seconds: float, what: str) -> str:
    """Return why there is no connection, and what to do."""
    if isinstance(error, socket.gaierror):
        return f"the name {target.host} is not known: check the URL, and DNS"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on port {target.port}: start {what}, or correct the URL"
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s: check host, port and firewall"
    return f"there is no connection: {error.strerror or error}: check host, port and firewall"
