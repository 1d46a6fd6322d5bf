"""The findings of the checks: what an answer or an error means, and what to do about it."""

import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from dispatch_grpc import ConfigurationError, RPCError
from dispatch_grpc.client.settings import APIKey
from dispatch_grpc.text import rounded
from dispatch_grpc.transport import Target

RUN = "/dispatch.sdk.v1.FunctionService/Run"
"""The path below the URL of an endpoint that runs a function."""

_SKEW_SECONDS = 6  # signatures allow 5 s, and a Date has whole seconds


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


def unchecked_key(key: APIKey | ConfigurationError) -> Finding:
    """Return the finding of a key that no service has seen, or of one that is missing."""
    if isinstance(key, ConfigurationError):
        return Finding("key", False, str(key))
    return Finding("key", None, f"not checked: the service did not answer ({key.source} is set)")


def clock(url: str, date: str, now: datetime) -> Finding:
    """Compare the Date of an answer with the time of this machine."""
    try:
        ahead = parsedate_to_datetime(date) - now
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


def no_connection(error: OSError, target: Target, seconds: float, what: str) -> str:
    """Return why there is no connection, and what to do."""
    if isinstance(error, socket.gaierror):
        return f"the name {target.host} is not known: check the URL, and DNS"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on port {target.port}: start {what}, or correct the URL"
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s: check host, port and firewall"
    return f"there is no connection: {error.strerror or error}: check host, port and firewall"


def no_endpoint(status: int, text: str) -> str:
    """Return that an answer is none of an endpoint, and what to do."""
    return (
        f"it answers with HTTP {status}{f' ({text})' if text else ''}, not like an endpoint: check "
        f"host, port and path; an endpoint serves POST {RUN} below its URL"
    )


def no_answer(error: Exception, target: Target, seconds: float) -> str:
    """Return why an endpoint has not answered, and what to do."""
    if isinstance(error, RPCError):
        return error.message
    if isinstance(error, OSError) and not isinstance(error, ConnectionResetError | BrokenPipeError):
        return no_connection(error, target, seconds, "the endpoint ('dispatch-grpc run')")
    text = str(error) if isinstance(error, ConfigurationError) else type(error).__name__
    return f"it does not speak HTTP ({text}): check the port"


def unsigned(shown: str, *, has_key: bool) -> Finding:
    """Return the finding of an endpoint that accepts requests without a signature.

    Args:
        shown: Its URL.
        has_key: Whether the environment has a key for signatures.
    """
    if has_key:
        text = (
            f"{shown} accepts requests that are not signed: set DISPATCH_VERIFICATION_KEY where it "
            f"runs, and start it again"
        )
        return Finding("signature", False, text)
    text = f"{shown} accepts unsigned requests; 'dispatch-grpc keypair' makes keys"
    return Finding("signature", None, text)


def signed(shown: str, status: int, text: str) -> Finding:
    """Return the finding of an endpoint that was sent a request with a signature."""
    if status == 200:
        return Finding("signature", True, f"{shown} accepts requests signed by this key only")
    return Finding(
        "signature",
        False,
        f"{shown} refuses requests signed with DISPATCH_SIGNING_KEY ({text}): it needs the "
        f"DISPATCH_VERIFICATION_KEY of the same pair",
    )
