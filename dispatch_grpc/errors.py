"""Everything that this library raises.

::

    DispatchError
    ├── ConfigurationError     a setting is missing or not acceptable  (also a ValueError)
    ├── InvalidCallError       a call breaks a rule of the schema      (also a ValueError)
    ├── MarshalError           a value has no representation           (also a ValueError)
    ├── UnmarshalError         a representation has no such value      (also a ValueError)
    ├── ClientStateError       a closed client, another event loop     (also a RuntimeError)
    ├── CallError              a call failed: .type, .status, .traceback, .output
    ├── PermanentError         a function failed for good: the call is not tried again
    ├── EndpointError          a function is registered or used wrongly (also a RuntimeError)
    ├── SignatureError         a request is not signed as it has to be: .code
    └── RPCError               a request failed: .code, .message, .details
        ├── AuthenticationError      the API key was rejected
        ├── PermissionDeniedError    the API key does not allow the request
        ├── InvalidArgumentError     the service found a call invalid
        ├── NotFoundError            nothing of that name, or no such method
        ├── AlreadyExistsError       the idempotency key was used for other calls
        ├── ResourceExhaustedError   a quota or a bound of the service is reached
        │   └── RequestTooLargeError     the request has more bytes than are taken
        ├── DeadlineExceededError    no answer in time                 (also a TimeoutError)
        ├── UnavailableError         no connection, or it broke        (also a ConnectionError)
        └── ProtocolError            the answer is not one of a Dispatch service

An RPCError of no class below it is any other failure that the service reported. Whether
the calls of a failed request were recorded is known only where the service said so:
after a DeadlineExceededError or an UnavailableError they may have been. To try again
without recording them twice, pass the error's ``idempotency_key`` along.
"""

from collections.abc import Sequence
from typing import Any

from dispatch_grpc.codes import Code, Status

__all__ = [
    "AlreadyExistsError",
    "AuthenticationError",
    "CallError",
    "ClientStateError",
    "Code",
    "ConfigurationError",
    "DeadlineExceededError",
    "DispatchError",
    "EndpointError",
    "InvalidArgumentError",
    "InvalidCallError",
    "MarshalError",
    "NotFoundError",
    "PermanentError",
    "PermissionDeniedError",
    "ProtocolError",
    "RPCError",
    "RequestTooLargeError",
    "ResourceExhaustedError",
    "SignatureError",
    "UnavailableError",
    "UnmarshalError",
    "http_error",
    "rpc_error",
]


class DispatchError(Exception):
    """Base of every error of this library."""


class ConfigurationError(DispatchError, ValueError):
    """A setting is missing or not acceptable; the message names it and where it came from."""


class InvalidCallError(DispatchError, ValueError):
    """A call breaks a rule of the schema; the message names the field and the rule."""


class MarshalError(DispatchError, ValueError):
    """A value cannot be represented without loss; the message says where in it and why."""


class UnmarshalError(DispatchError, ValueError):
    """What an `Any` holds is not the value asked for; the message says what was found."""


class ClientStateError(DispatchError, RuntimeError):
    """A client is used after it was closed, or where it cannot be used."""


class CallError(DispatchError):
    """A call has ended, and failed.

    Attributes:
        message: What happened, as the function told it.
        type: Name of the type of the error, in the function's language.
        status: How the call went, as a `Status`.
        traceback: Text of where the error was raised; empty if the endpoint told nothing.
        output: What the function returned beside the error, a partial result; None if nothing.
    """

    def __init__(
        self,
        message: str,
        *,
        type: str,
        status: Status,
        traceback: str = "",
        output: Any = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.type = type
        self.status = status
        self.traceback = traceback
        self.output = output

    def __str__(self) -> str:
        return f"{self.type}: {self.message} [{self.status.name}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (self.__class__, self.message, self.__dict__))


class PermanentError(DispatchError):
    """A function on an endpoint failed for good: raise it to have the call not tried again.

        raise PermanentError("there is no such account") from error

    Other exceptions are tried again: see `Status.of`. A subclass may set another final `status`.
    """

    status = Status.PERMANENT_ERROR


class EndpointError(DispatchError, RuntimeError):
    """A function cannot be registered, or is used where it cannot be."""


class SignatureError(DispatchError):
    """A request to an endpoint is not signed as it has to be.

    Attributes:
        code: UNAUTHENTICATED when the signature is missing or malformed, PERMISSION_DENIED
            when it is not valid.
    """

    def __init__(self, message: str, *, code: Code) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), str(self), self.__dict__))


class RPCError(DispatchError):
    """A request failed.

    Attributes:
        code: The status code, by which programs decide what to do.
        message: What happened, for a person.
        details: Messages that the service attached, as `google.protobuf.Any`.
        idempotency_key: The key that the request carried, or None when none was sent.
            Dispatching the same calls with it again records them once, if the service
            supports idempotency keys.
    """

    def __init__(
        self,
        message: str,
        *,
        code: Code,
        details: Sequence[Any] = (),
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = tuple(details)
        self.idempotency_key = idempotency_key

    def __str__(self) -> str:
        return f"{self.message} [{self.code.name}]"

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments are lost by the default: errors cross process pools.
        return (_rebuild, (type(self), self.message, self.__dict__))


def _rebuild(cls: type[DispatchError], message: str, state: dict[str, Any]) -> DispatchError:
    error = cls.__new__(cls, message)
    error.__dict__.update(state)
    return error


class AuthenticationError(RPCError):
    """The service rejected the API key."""


class PermissionDeniedError(RPCError):
    """The API key is valid but does not allow the request."""


class InvalidArgumentError(RPCError):
    """The service found a call invalid."""


class NotFoundError(RPCError):
    """What the request names does not exist, or the server has no such method."""


class AlreadyExistsError(RPCError):
    """The idempotency key was used before, for other calls."""


class ResourceExhaustedError(RPCError):
    """A quota or a bound of the service is reached."""


class RequestTooLargeError(ResourceExhaustedError):
    """The request has more bytes than are taken; calls of a batch are never split."""


class DeadlineExceededError(RPCError, TimeoutError):
    """There was no answer in time. The calls may have been recorded."""


class UnavailableError(RPCError, ConnectionError):
    """The service could not be reached, or the connection broke."""


class ProtocolError(RPCError):
    """The answer is not one of a Dispatch service: is the API URL right?"""


_CLASSES: dict[Code, type[RPCError]] = {
    Code.UNAUTHENTICATED: AuthenticationError,
    Code.PERMISSION_DENIED: PermissionDeniedError,
    Code.INVALID_ARGUMENT: InvalidArgumentError,
    Code.OUT_OF_RANGE: InvalidArgumentError,
    Code.NOT_FOUND: NotFoundError,
    Code.UNIMPLEMENTED: NotFoundError,
    Code.ALREADY_EXISTS: AlreadyExistsError,
    Code.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    Code.DEADLINE_EXCEEDED: DeadlineExceededError,
    Code.UNAVAILABLE: UnavailableError,
}


def rpc_error(code: Code, message: str, details: Sequence[Any] = ()) -> RPCError:
    """Make the error of a status code."""
    return _CLASSES.get(code, RPCError)(message, code=code, details=details)


def http_error(status: int, code: Code, reason: str = "") -> RPCError:
    """Make the error of an answer that has no status but HTTP's: a proxy's, say.

    Args:
        status: The status of HTTP.
        code: The status code that the protocol derives from it.
        reason: Reason phrase.
    """
    message = f"HTTP {status} {reason}".rstrip()
    if status < 400:
        return ProtocolError(message, code=Code.INTERNAL)
    if status == 413:
        return RequestTooLargeError(message, code=Code.RESOURCE_EXHAUSTED)
    return rpc_error(code, message)
