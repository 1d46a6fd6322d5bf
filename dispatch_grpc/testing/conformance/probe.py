"""Sends the requests of the checks to an endpoint, and says what came of each check.

The requests are written to the socket here: some of them are such as no client of HTTP sends.
"""

import enum
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException, HTTPResponse
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatch_grpc.calls import endpoint_problem, mask_url
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import ConfigurationError, UnavailableError
from dispatch_grpc.testing.conformance.checks import OPTIONAL, checks
from dispatch_grpc.testing.conformance.subject import (
    Answer,
    Check,
    Inapplicable,
    Request,
    Subject,
    Unmet,
)

DEFAULT_TIMEOUT = timedelta(seconds=10)
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024


class Result(enum.StrEnum):
    """The result of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check.

    Attributes:
        check: Its name.
        result: Whether the endpoint passed it.
        expected: What a check that failed expected.
        got: What it got instead.
        reason: Why a check was skipped.
    """

    check: str
    result: Result
    expected: str = ""
    got: str = ""
    reason: str = ""


def conformance(
    url: str,
    *,
    signing_key: Ed25519PrivateKey | None = None,
    timeout: timedelta = DEFAULT_TIMEOUT,
    root_certificates: bytes | None = None,
) -> Iterator[Outcome]:
    """Check an endpoint in any language.

    Args:
        url: URL of the endpoint, http:// or https://.
        signing_key: The key whose public half the endpoint has; None skips the checks of
            signatures, and sends requests without them.
        timeout: How long the endpoint may take for each answer.
        root_certificates: Certificate authorities to trust, as PEM; None are the system's.

    Returns:
        The outcomes, as the checks end.

    Raises:
        ConfigurationError: The URL or the certificates are not valid.
        UnavailableError: The endpoint cannot be reached.
    """
    if not url.startswith(("http://", "https://")) or endpoint_problem(url):
        raise ConfigurationError(
            f"url: an http:// or https:// URL is required; got {mask_url(url)}"
        )
    context = None
    if url.startswith("https://"):
        context = ssl.create_default_context()
        if root_certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            try:
                context.load_verify_locations(cadata=root_certificates.decode("ascii", "replace"))
            except (ValueError, ssl.SSLError) as error:
                raise ConfigurationError(f"root_certificates: not in PEM form: {error}") from error
    prober = _Prober(urlsplit(url.rstrip("/")), timeout.total_seconds(), context)
    try:
        prober.connect().close()
    except OSError as error:
        reason = f"cannot reach the endpoint {mask_url(url)}: {error.strerror or error}"
        raise UnavailableError(reason, code=Code.UNAVAILABLE) from error
    return _run(prober, lambda: _subject(url.rstrip("/"), signing_key))


def _subject(url: str, key: Ed25519PrivateKey | None) -> Subject:
    return Subject(url, key, Ed25519PrivateKey.generate(), datetime.now(UTC), str(uuid4()))


def _run(prober: "_Prober", subject: Callable[[], Subject]) -> Iterator[Outcome]:
    missing: set[str] = set()
    for check in checks():
        if check.needs in missing:
            optional = ", which is optional" if check.needs in OPTIONAL else ""
            reason = f"there is no function {check.needs!r}{optional}"
            yield Outcome(check.name, Result.SKIPPED, reason=reason)
            continue
        now = subject()
        if check.is_signed and now.key is None:
            reason = "there is no signing key to check it with"
            yield Outcome(check.name, Result.SKIPPED, reason=reason)
            continue
        found = _outcome(check, now, prober)
        group, _, name = check.name.partition(": ")
        if group == "functions" and found.result is Result.FAILED:
            missing.add(name)
            if name in OPTIONAL:
                reason = f"there is no function {name!r}, which is optional"
                found = Outcome(check.name, Result.SKIPPED, reason=reason)
        yield found


def _outcome(check: Check, subject: Subject, prober: "_Prober") -> Outcome:
    """Run a check to its end."""
    steps = check.steps(subject)
    try:
        requests = next(steps)
        while True:
            requests = steps.send(prober.send_all(requests))
    except StopIteration:
        return Outcome(check.name, Result.PASSED)
    except Unmet as found:
        return Outcome(check.name, Result.FAILED, found.expected, found.got)
    except Inapplicable as found:
        return Outcome(check.name, Result.SKIPPED, reason=str(found))


class _Prober:
    """Sends requests, each by a connection of its own."""

    def __init__(self, url: SplitResult, seconds: float, tls: ssl.SSLContext | None) -> None:
        self._url = url
        self._seconds = seconds
        self._tls = tls

    def connect(self) -> socket.socket:
        host = self._url.hostname or ""
        port = self._url.port or (443 if self._tls else 80)
        connection = socket.create_connection((host, port), self._seconds)
        if self._tls is None:
            return connection
        try:
            return self._tls.wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise

    def send_all(self, requests: Sequence[Request]) -> list[Answer]:
        """Send requests at the same time, and return their answers."""
        if len(requests) == 1:
            return [self._send(requests[0])]
        with ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(self._send, requests))

    def _send(self, request: Request) -> Answer:
        head = {
            "host": self._url.netloc.rpartition("@")[2],
            **request.headers,
            "connection": "close",
        }
        if request.is_chunked:
            head["transfer-encoding"] = "chunked"
            parts = [
                request.body[start : start + _CHUNK_BYTES]
                for start in range(0, len(request.body), _CHUNK_BYTES)
            ]
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])
        else:
            head["content-length"] = str(len(request.body))
            body = request.body
        lines = [f"POST {self._url.path}{request.path} HTTP/{request.version}"]
        lines += [f"{name}: {value}" for name, value in head.items()]
        data = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        try:
            with closing(self.connect()) as connection:
                with suppress(BrokenPipeError, ConnectionResetError):  # it may refuse early
                    connection.sendall(data)
                return _read(connection)
        except TimeoutError:
            return Answer(0, problem=f"no answer within {self._seconds:g} s")
        except (OSError, HTTPException) as error:
            reason = str(error) or type(error).__name__
            return Answer(0, problem=f"no answer of HTTP: {reason}")


def _read(connection: socket.socket) -> Answer:
    response = HTTPResponse(connection, method="POST")
    with closing(response):
        response.begin()
        body = response.read(_MAX_ANSWER_BYTES)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Answer(response.status, kind, body)
