"""Dispatch calls in a database transaction of your own, if the service uses the same database.

    from dispatch_grpc import new_call, sql

    with engine.begin() as connection:
        connection.execute(...)  # your own statements
        dispatch_id = sql.dispatch(connection, new_call("https://example.com", "greet", "World"))

The call is recorded if and only if the transaction commits, and runs after that. The SQL function
`dispatch_grpc.dispatch`, which any language can call, does the work. Connections are those of
asyncpg, psycopg 3, SQLAlchemy and Django.
"""

import json
from base64 import b64encode
from collections.abc import Awaitable, Iterable
from datetime import timedelta
from typing import Any, overload

from dispatch_grpc.calls import check_call
from dispatch_grpc.client import DispatchID
from dispatch_grpc.client.settings import idempotency_key as checked_key
from dispatch_grpc.errors import InvalidCallError
from dispatch_grpc.schema import Call
from dispatch_grpc.sql.drivers import AsyncConnection, SyncConnection, execute
from dispatch_grpc.text import quoted
from dispatch_grpc.tracing.by_sql import dispatched

__all__ = ["dispatch", "dispatch_many"]

# Arrays as text, since drivers read them differently. A database that an earlier version made
# refuses calls with a trace.
_STATEMENT = (
    "SELECT array_to_string(dispatch_grpc.dispatch_many(ARRAY("
    "SELECT CASE WHEN to_regproc('dispatch_grpc.problem_of_traceparent') IS NULL "
    "THEN call - 'traceparent' ELSE call END "
    "FROM jsonb_array_elements(CAST(CAST({} AS text) AS jsonb)) AS call"
    "), CAST({} AS text)), ' ')"
)


@overload
def dispatch(
    connection: AsyncConnection,
    call: Call,
    *,
    idempotency_key: str | None = None,
    delay: timedelta | None = None,
) -> Awaitable[DispatchID[Any]]: ...
@overload
def dispatch(
    connection: SyncConnection,
    call: Call,
    *,
    idempotency_key: str | None = None,
    delay: timedelta | None = None,
) -> DispatchID[Any]: ...
def dispatch(
    connection: Any,
    call: Call,
    *,
    idempotency_key: str | None = None,
    delay: timedelta | None = None,
) -> DispatchID[Any] | Awaitable[DispatchID[Any]]:
    """Record a call in the transaction of a connection: it runs if the transaction commits.

    Args:
        connection: A connection of asyncpg, psycopg 3, SQLAlchemy or Django, or a session of
            SQLAlchemy. Without a transaction, or with autocommit, the call is recorded at once.
        call: The call, as `new_call` makes it.
        idempotency_key: Key by which a repeated call is recognised. Another transaction with the
            same key waits for the end of this one.
        delay: Time after which the call begins.

    Returns:
        The id of the call; an awaitable of it for a connection whose statements are awaited.

    Raises:
        InvalidCallError: The call or the delay breaks a rule; nothing was sent.
        ConfigurationError: Another argument is invalid; nothing was sent.
        Exception: An error of the driver. The database refused the call, and its text says why; or
            its role may not call the function: see `dispatch-grpc migrate --producer`.
    """
    text, key = _request([call], delay), _key(idempotency_key)
    return execute(connection, _STATEMENT, [text, key], DispatchID)


@overload
def dispatch_many(
    connection: AsyncConnection,
    calls: Iterable[Call],
    *,
    idempotency_key: str | None = None,
    delay: timedelta | None = None,
) -> Awaitable[list[DispatchID[Any]]]: ...
@overload
def dispatch_many(
    connection: SyncConnection,
    calls: Iterable[Call],
    *,
    idempotency_key: str | None = None,
    delay: timedelta | None = None,
) -> list[DispatchID[Any]]: ...
def dispatch_many(
    connection: Any,
    calls: Iterable[Call],
    *,
    idempotency_key: str | None = None,
    delay: timedelta | None = None,
) -> list[DispatchID[Any]] | Awaitable[list[DispatchID[Any]]]:
    """Record calls in the transaction of a connection: they run if the transaction commits.

    Args:
        connection: As for `dispatch`.
        calls: The calls.
        idempotency_key: As for `dispatch`, for all of them together.
        delay: As for `dispatch`, for each of them.

    Returns:
        The ids of the calls, in their order; an awaitable of them for a connection whose
        statements are awaited.

    Raises:
        InvalidCallError: A call or the delay breaks a rule; nothing was sent.
        ConfigurationError: Another argument is invalid; nothing was sent.
        Exception: An error of the driver, as for `dispatch`.
    """
    text, key = _request(list(calls), delay), _key(idempotency_key)
    return execute(connection, _STATEMENT, [text, key], _ids)


def _ids(text: str) -> list[DispatchID[Any]]:
    return [DispatchID(one) for one in text.split()]


def _key(given: str | None) -> str | None:
    return None if given is None else checked_key(given)


def _request(calls: list[Call], delay: timedelta | None) -> str:
    """Return the argument of `dispatch_many` as JSON."""
    later: dict[str, str] = {}
    if delay is not None:
        if not isinstance(delay, timedelta) or delay < timedelta(0):
            raise InvalidCallError(
                f"delay: a timedelta of zero or more is required; got {quoted(delay)}"
            )
        later["delay"] = f"{delay // timedelta(microseconds=1)} us"
    found = []
    for index, call in enumerate(calls):
        check_call(call, index)
        if "\0" in call.version:
            raise InvalidCallError(
                f"calls[{index}].version: a text without NUL is required; "
                f"got {quoted(call.version)}"
            )
        fields = {
            "endpoint": call.endpoint,
            "function": call.function,
            "any": b64encode(call.input.SerializeToString()).decode(),
            "version": call.version,
            **later,
        }
        if call.HasField("expiration"):
            time = call.expiration
            fields["expiration"] = f"{time.seconds}.{time.nanos // 1000:06d} s"
        if number := call.correlation_id:  # the database has signed integers only
            fields["correlation_id"] = str(number - 2**64 if number >= 2**63 else number)
        found.append(fields)
    if found and (trace := dispatched(calls)):
        found = [{**fields, "traceparent": trace} for fields in found]
    return json.dumps(found)
