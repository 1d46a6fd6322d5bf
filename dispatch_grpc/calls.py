"""`new_call`, and the rules for every call."""

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from functools import lru_cache
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc.errors import InvalidCallError
from dispatch_grpc.schema import Call
from dispatch_grpc.text import quoted
from dispatch_grpc.values import DURATION_MAX_SECONDS, duration_parts, encode

inside_function: ContextVar[bool] = ContextVar("dispatch_grpc_inside_function", default=False)
"""True while a function of an endpoint runs here and holds a slot of the service."""

_MAX_UINT64 = 2**64 - 1
FUNCTION = r"[a-zA-Z_][a-zA-Z0-9_<>.]*"

# RFC 3986, section 3 and appendix A, for the schemes of endpoints.
_PCHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
_REG_NAME = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"
_TAIL = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
_ENDPOINT = (
    rf"(?:https?|bridge)://"
    rf"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{{2}})*@)?"
    rf"(?:\[[0-9A-Fa-f:.]+\]|{_REG_NAME})(?::[0-9]*)?"
    rf"(?:/{_PCHAR}*)*{_TAIL}"
    rf"|arn:aws:lambda(?:{_PCHAR}|/)*{_TAIL}"
)
_ENDPOINT_RULE = (
    "a URI (RFC 3986) that begins with http://, https://, bridge:// or arn:aws:lambda is required"
)
FUNCTION_RULE = "a name that matches [a-zA-Z_][a-zA-Z0-9_<>.]* is required"


def new_call(
    endpoint: str,
    function: str,
    input: Any = None,
    *,
    expiration: timedelta | None = None,
    version: str = "",
    correlation_id: int = 0,
) -> Call:
    """Make a call to a function that an endpoint hosts.

    Args:
        endpoint: URI of the endpoint (RFC 3986); begins with `http://`, `https://`,
            `bridge://` or `arn:aws:lambda`.
        function: Name of the function; matches `[a-zA-Z_][a-zA-Z0-9_<>.]*`.
        input: Argument of the function: an `Any` unchanged, every other value by `marshal`.
        expiration: Longest time that the function may take, zero or more; None leaves it
            to the service.
        version: Version of the application that the call is meant for.
        correlation_id: Number that the CallResult repeats, from 0 to 2**64 - 1.

    Returns:
        The generated message `dispatch.sdk.v1.Call`.

    Raises:
        InvalidCallError: An argument breaks one of these rules; the message names it.
        MarshalError: The input has no representation.
    """
    call = Call()
    fill_call(call, endpoint, function, input, expiration, version, correlation_id)
    return call


def fill_call(  # noqa: PLR0917 (keywords would cost time)
    call: Call,
    endpoint: str,
    function: str,
    input: Any,
    expiration: timedelta | None,
    version: str,
    correlation_id: int,
) -> None:
    """Set the fields of an empty call; arguments and errors are those of `new_call`.

    After an error, some of them may be set.
    """
    if problem := _problem_of_names(endpoint, function):
        raise InvalidCallError(problem)
    call.endpoint = endpoint
    call.function = function
    slot = call.input
    if type(input) is AnyProto:
        slot.CopyFrom(input)
    else:
        slot.type_url, slot.value = encode(input)
    if expiration is not None:
        _set_expiration(call, expiration)
    if version != "":
        _assign(call, "version", version, lambda v: isinstance(v, str), "a str is required")
    if correlation_id != 0:
        _assign(
            call,
            "correlation_id",
            correlation_id,
            lambda v: isinstance(v, int) and 0 <= v <= _MAX_UINT64,
            "an int from 0 to 2**64 - 1 is required",
        )


def check_call(call: Call, index: int) -> None:
    """Check a call of a DispatchRequest.

    Args:
        call: The call, made by `new_call` or by hand.
        index: Its position in the request, for the error message.

    Raises:
        InvalidCallError: The object is not a Call, or breaks a rule.
    """
    if problem := problem_of(call):
        raise InvalidCallError(f"calls[{index}]{problem}")


def problem_of(call: Call, *, nested: bool = False) -> str | None:
    """Return the reason to reject a call, or None; the rules are in `call.proto`.

    Args:
        call: The call.
        nested: True for a call that a function makes: it may omit its own endpoint.
    """
    if type(call) is not Call:
        return f": a Call, as new_call makes it, is required; got {_given(call)}"
    endpoint = call.endpoint
    if nested and not endpoint:
        endpoint = "http://endpoint"
    if problem := _problem_of_names(endpoint, call.function):
        return f".{problem}"
    if call.HasField("expiration"):
        seconds, nanos = call.expiration.seconds, call.expiration.nanos
        if not (0 <= seconds <= DURATION_MAX_SECONDS and 0 <= nanos < 1_000_000_000):
            return (
                f".expiration: a duration of zero or more is required; "
                f"got seconds={seconds}, nanos={nanos}"
            )
    return None


MAX_LABELS = 16
_LABEL_KEY = r"[A-Za-z0-9_.\-/]{1,63}"
_MAX_LABEL_BYTES = 255


def labels_problem(labels: Any) -> str | None:
    """Return the reason to reject the labels of a call, or None; the rules are in `calls.proto`."""
    if not isinstance(labels, Mapping):
        return f"labels: a mapping of str to str is required; got {type(labels).__name__}"
    if len(labels) > MAX_LABELS:
        return f"labels: at most {MAX_LABELS} are allowed; got {len(labels)}"
    for key, value in labels.items():
        if not (isinstance(key, str) and re.fullmatch(_LABEL_KEY, key)):
            return (
                f"labels: a key of 1 to 63 letters, digits, '_', '.', '-' and '/' is required; "
                f"got {_given(key)}"
            )
        if not (isinstance(value, str) and _is_label_value(value)):
            return (
                f"labels[{key!r}]: a text of up to {_MAX_LABEL_BYTES} bytes of UTF-8 without "
                f"control characters is required; got {_given(value)}"
            )
    return None


def _is_label_value(value: str) -> bool:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return size <= _MAX_LABEL_BYTES and not re.search(r"[\x00-\x1f\x7f]", value)


def _problem(endpoint: str, function: str) -> str | None:
    """Return the reason to reject an endpoint or a function, or None."""
    return endpoint_problem(endpoint) or function_problem(function)


_MOST_REMEMBERED = 4096  # characters
_remembered = lru_cache(maxsize=1024)(_problem)


def _problem_of_names(endpoint: str, function: str) -> str | None:
    """Do the same as `_problem`, and remember the answer: most calls name the same few."""
    try:
        # Long texts are not remembered: a client can send megabytes of them.
        if len(endpoint) + len(function) <= _MOST_REMEMBERED:
            return _remembered(endpoint, function)
    except TypeError:  # neither is a text
        pass
    return _problem(endpoint, function)


_MAX_ENDPOINT = 65_536  # characters: to match the pattern with 4 MB takes a second


def endpoint_problem(endpoint: str) -> str | None:
    """Return the reason to reject the URI of an endpoint, or None."""
    if isinstance(endpoint, str) and len(endpoint) > _MAX_ENDPOINT:
        return f"endpoint: at most {_MAX_ENDPOINT} characters are allowed; got {len(endpoint)}"
    if not (isinstance(endpoint, str) and re.fullmatch(_ENDPOINT, endpoint)):
        shown = mask_url(endpoint) if isinstance(endpoint, str) else endpoint
        return f"endpoint: {_ENDPOINT_RULE}; got {_given(shown)}"
    return None


def function_problem(function: str) -> str | None:
    """Return the reason to reject the name of a function, or None."""
    if not (isinstance(function, str) and re.fullmatch(FUNCTION, function)):
        return f"function: {FUNCTION_RULE}; got {_given(function)}"
    return None


def _set_expiration(call: Call, expiration: timedelta) -> None:
    if not isinstance(expiration, timedelta) or expiration < timedelta(0):
        raise InvalidCallError(
            f"expiration: a timedelta of zero or more is required; got {_given(expiration)}"
        )
    seconds, nanos = duration_parts(expiration)
    if seconds > DURATION_MAX_SECONDS:
        raise InvalidCallError(
            f"expiration: at most {DURATION_MAX_SECONDS} seconds are possible; "
            f"got {_given(expiration)}"
        )
    call.expiration.seconds = seconds
    call.expiration.nanos = nanos
    call.expiration.SetInParent()  # zero is not the same as unset


def _assign(
    call: Call, field: str, value: object, allowed: Callable[[Any], bool], rule: str
) -> None:
    if not allowed(value):
        raise InvalidCallError(f"{field}: {rule}; got {_given(value)}")
    try:
        setattr(call, field, value)
    except ValueError as error:  # a lone surrogate, which UTF-8 cannot carry
        raise InvalidCallError(f"{field}: {rule}; got {_given(value)}") from error


def mask_url(url: str) -> str:
    """Return a URL, perhaps an invalid one, with its credentials masked."""
    return re.sub(r"//.*@", "//********@", url, flags=re.DOTALL)


def mask_urls(text: str) -> str:
    """Return a text with the credentials of the URLs in it masked."""
    return re.sub(r"//[^/?#\s]*@", "//********@", text)


def _given(value: object) -> str:
    text = quoted(value, 200)
    return text if isinstance(value, str) else f"{type(value).__name__} {text}"
