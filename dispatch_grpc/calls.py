"""Calls: how to make one, and the rules that every one must keep."""

import re
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from functools import lru_cache
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc.errors import InvalidCallError
from dispatch_grpc.schema import Call
from dispatch_grpc.values import DURATION_MAX_SECONDS, duration_parts, encode

inside_function: ContextVar[bool] = ContextVar("dispatch_grpc_inside_function", default=False)
"""Whether a function of an endpoint runs here, and so holds a slot of the service."""

_MAX_UINT64 = 2**64 - 1
_FUNCTION = r"[a-zA-Z_][a-zA-Z0-9_<>.]*"

# RFC 3986, section 3 and appendix A, for the schemes that endpoints have.
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
_FUNCTION_RULE = "a name that matches [a-zA-Z_][a-zA-Z0-9_<>.]* is required"


def new_call(
    endpoint: str,
    function: str,
    input: Any = None,
    *,
    expiration: timedelta | None = None,
    version: str = "",
    correlation_id: int = 0,
) -> Call:
    """Make a call of a function that an endpoint hosts.

    Args:
        endpoint: URI of the endpoint (RFC 3986); begins with `http://`, `https://`,
            `bridge://` or `arn:aws:lambda`.
        function: Name of the function; matches `[a-zA-Z_][a-zA-Z0-9_<>.]*`.
        input: Argument of the function. An `Any` goes in as it is, every other value as
            `marshal` makes it.
        expiration: Longest time that the function may take, zero or more; None leaves it
            to the service.
        version: Version of the application that the call is meant for.
        correlation_id: Number that comes back in the CallResult, from 0 to 2**64 - 1.

    Returns:
        The generated message `dispatch.sdk.v1.Call`.

    Raises:
        InvalidCallError: An argument breaks one of these rules; the message names it.
        MarshalError: The input has no representation.
    """
    try:
        problem = _problem(endpoint, function)
    except TypeError:  # not even hashable
        problem = endpoint_problem(endpoint) or function_problem(function)
    if problem:
        raise InvalidCallError(problem)
    call = Call()
    call.endpoint = endpoint
    call.function = function
    slot = call.input
    if isinstance(input, AnyProto):
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
    return call


def check_call(call: Call, index: int) -> None:
    """Check a call that goes into a DispatchRequest.

    Args:
        call: The call, perhaps not made by `new_call`.
        index: Its place in the request, for the message.

    Raises:
        InvalidCallError: It is not a Call, or breaks a rule.
    """
    if problem := problem_of(call):
        raise InvalidCallError(f"calls[{index}]{problem}")


def problem_of(call: Call, *, nested: bool = False) -> str | None:
    """What is wrong with a call (rules: the comments of `call.proto`); None if nothing is.

    Args:
        call: The call.
        nested: Whether a function makes it, and may leave out its own endpoint.
    """
    if type(call) is not Call:
        return f": a Call is required, as new_call makes it; got {_given(call)}"
    endpoint = call.endpoint
    if nested and not endpoint:
        endpoint = "http://endpoint"
    if problem := _problem(endpoint, call.function):
        return f".{problem}"
    if call.HasField("expiration"):
        seconds, nanos = call.expiration.seconds, call.expiration.nanos
        if not (0 <= seconds <= DURATION_MAX_SECONDS and 0 <= nanos < 1_000_000_000):
            return (
                f".expiration: a duration of zero or more is required; "
                f"got seconds={seconds}, nanos={nanos}"
            )
    return None


@lru_cache(maxsize=1024)
def _problem(endpoint: str, function: str) -> str | None:
    """What is wrong with the endpoint or the function of a call; None if nothing is."""
    return endpoint_problem(endpoint) or function_problem(function)


def endpoint_problem(endpoint: str) -> str | None:
    """What is wrong with the URI of an endpoint; None if nothing is."""
    if not (isinstance(endpoint, str) and re.fullmatch(_ENDPOINT, endpoint)):
        return f"endpoint: {_ENDPOINT_RULE}; got {_given(endpoint)}"
    return None


def function_problem(function: str) -> str | None:
    """What is wrong with the name of a function; None if nothing is."""
    if not (isinstance(function, str) and re.fullmatch(_FUNCTION, function)):
        return f"function: {_FUNCTION_RULE}; got {_given(function)}"
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
    except UnicodeEncodeError as error:  # a lone surrogate, which UTF-8 cannot carry
        raise InvalidCallError(f"{field}: {rule}; got {_given(value)}") from error


def _given(value: object) -> str:
    text = re.sub(r"//[^/?#]*@", "//********@", repr(value))  # a URL may hold a password
    if len(text) > 200:
        text = text[:200] + "…"
    return text if isinstance(value, str) else f"{type(value).__name__} {text}"
