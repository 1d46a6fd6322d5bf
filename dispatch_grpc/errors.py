"""The errors that this library raises.

::

    DispatchError
    ├── ConfigurationError     a setting is missing or invalid         (also a ValueError)
    ├── InvalidCallError       a call breaks a rule of the schema      (also a ValueError)
    ├── MarshalError           a value has no representation           (also a ValueError)
    ├── UnmarshalError         a value is not of the requested type    (also a ValueError)
    ├── ClientStateError       closed, or used in another event loop   (also a RuntimeError)
    ├── CallError              a call failed: .type, .status, .traceback, .output
    ├── PermanentError         a function failed permanently: the call is not retried
    ├── EndpointError          a function is registered or used wrongly (also a RuntimeError)
    ├── SignatureError         the signature of a request is missing or invalid: .code
    └── RPCError               a request failed: .code, .message, .details
        ├── AuthenticationError      the API key was rejected
        ├── PermissionDeniedError    the API key does not allow the request
        ├── InvalidArgumentError     the service rejected a call as invalid
        ├── NotFoundError            the call or the method does not exist
        ├── AlreadyExistsError       the idempotency key was already used
        ├── ResourceExhaustedError   a quota or limit of the service is reached
        │   └── RequestTooLargeError     the request is larger than the service accepts
        ├── DeadlineExceededError    no answer in time                 (also a TimeoutError)
        ├── UnavailableError         no connection, or it broke        (also a ConnectionError)
        ├── CertificateError         a certificate was rejected
        └── ProtocolError            the server is not a Dispatch service

A plain RPCError is any other failure that the service reported. After a
DeadlineExceededError or an UnavailableError the service may have recorded the calls. To try
again without recording them twice, pass the error's ``idempotency_key`` to the next dispatch.
"""

import importlib.util
import re
from collections.abc import Sequence
from typing import Any

from dispatch_grpc.codes import Code, Status

__all__ = [
    "AlreadyExistsError",
    "AuthenticationError",
    "CallError",
    "CertificateError",
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
    "missing_extra",
    "rpc_error",
]


class DispatchError(Exception):
    """Base of every error of this library."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default cannot unpickle keyword-only arguments, and errors cross process pools.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    cls: type[DispatchError], args: tuple[Any, ...], state: dict[str, Any]
) -> DispatchError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(DispatchError, ValueError):
    """A setting is missing or invalid; the message names it and its source."""


class InvalidCallError(DispatchError, ValueError):
    """A call breaks a rule of the schema; the message names the field and the rule."""


class MarshalError(DispatchError, ValueError):
    """A value cannot be represented without loss; the message gives the path and the reason."""


class UnmarshalError(DispatchError, ValueError):
    """An `Any` does not hold the requested type; the message names the type that it holds."""


class ClientStateError(DispatchError, RuntimeError):
    """A client cannot be used: it is closed, or it belongs to another event loop.

    Attributes:
        idempotency_key: Idempotency key of a dispatch that was under way when the client was
            closed; None if nothing was sent.
    """

    idempotency_key: str | None = None


class CallError(DispatchError):
    """A call failed.

    Attributes:
        message: The function's description of the error.
        type: Name of the error's type, in the language of the function.
        status: Status of the call.
        traceback: Traceback of the error, as text; empty if the endpoint sent none.
        output: Partial result that the function returned with the error, or None.
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


class PermanentError(DispatchError):
    """A function on an endpoint failed permanently: raise it so that the call is not retried.

        raise PermanentError("the account does not exist") from error

    After other exceptions the call is retried: see `Status.of`. A subclass may set another final
    `status`.
    """

    status = Status.PERMANENT_ERROR


class EndpointError(DispatchError, RuntimeError):
    """A function cannot be registered, or is used in the wrong way."""


class SignatureError(DispatchError):
    """The signature of a request to an endpoint is missing or invalid.

    Attributes:
        code: UNAUTHENTICATED if the signature is missing or malformed, PERMISSION_DENIED if
            it is invalid.
    """

    def __init__(self, message: str, *, code: Code) -> None:
        super().__init__(message)
        self.code = code


class RPCError(DispatchError):
    """A request failed.

    Attributes:
        code: Status code.
        message: Description of the failure.
        details: Messages that the service attached, as `google.protobuf.Any`.
        idempotency_key: Idempotency key of the request, or None if it had none. Dispatching
            the same calls with it again records them once, if the service supports
            idempotency keys.
        retry_after: Seconds that the service asks to wait before a retry; negative if it asks
            for no retry, None if it asks for nothing.
        resent: Whether the request was sent more than once: what the service refused may be
            what an earlier attempt has done.
    """

    retry_after: float | None = None
    resent: bool = False

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
        self.details: tuple[Any, ...] = tuple(details)
        self.idempotency_key = idempotency_key

    def __str__(self) -> str:
        return f"{self.message} [{self.code.name}]"


class AuthenticationError(RPCError):
    """The service rejected the API key."""


class PermissionDeniedError(RPCError):
    """The API key is valid but does not allow the request."""


class InvalidArgumentError(RPCError):
    """The service rejected a call as invalid."""


class NotFoundError(RPCError):
    """The call or function does not exist, or the server does not have the method."""


class AlreadyExistsError(RPCError):
    """The idempotency key was already used for other calls."""


class ResourceExhaustedError(RPCError):
    """A quota or limit of the service is reached."""


class RequestTooLargeError(ResourceExhaustedError):
    """The request is larger than the service accepts; a batch is never split."""

    retry_after: float | None = -1.0


class DeadlineExceededError(RPCError, TimeoutError):
    """There was no answer in time. The calls may have been recorded."""


class UnavailableError(RPCError, ConnectionError):
    """The service could not be reached, or the connection broke."""


class CertificateError(RPCError):
    """The certificate of the server or the client was rejected; the request is not retried."""


class ProtocolError(RPCError):
    """The server at the API URL is not a Dispatch service."""


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


_HTTP_CODES = {  # as gRPC maps them
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    413: Code.RESOURCE_EXHAUSTED,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}

# The messages of gRPC and Connect servers for a message over their limit (RESOURCE_EXHAUSTED).
TOO_LARGE = r"message (?:size \d+ )?(?:is )?larger than (?:configured )?max\D*(?:\d+ vs\. )?(\d+)"


def rpc_error(code: Code, message: str, details: Sequence[Any] = ()) -> RPCError:
    """Make the error of a status code."""
    cls = _CLASSES.get(code, RPCError)
    if cls is ResourceExhaustedError and re.search(TOO_LARGE, message):
        cls = RequestTooLargeError
    return cls(message, code=code, details=details)


def http_error(status: int) -> RPCError:
    """Make the error for an answer that has only an HTTP status, such as a proxy's."""
    message = f"HTTP {status}"
    if status < 400 or status in {405, 406, 415}:
        return ProtocolError(message, code=Code.INTERNAL)
    if status == 413:
        return RequestTooLargeError(message, code=Code.RESOURCE_EXHAUSTED)
    return rpc_error(_HTTP_CODES.get(status, Code.UNKNOWN), message)


def missing_extra(error: ImportError, user: str, extra: str, note: str = "") -> ImportError:
    """Make the error for a dependency of an extra that cannot be imported.

    Args:
        error: The failed import: the dependency is missing, or its version is incompatible.
        user: The feature that needs the extra.
        extra: Name of the extra.
        note: Text after the command, such as another extra that suffices.
    """
    package = (error.name or "").partition(".")[0]
    if package in {"", "dispatch_grpc"}:  # already explained, or our own fault
        return ImportError(str(error))
    if isinstance(error, ModuleNotFoundError) and importlib.util.find_spec(package) is None:
        return ImportError(
            f"{user} needs an extra ({package} is missing): pip install 'dispatch-grpc[{extra}]'"
            f"{note}"
        )
    return ImportError(
        f"{user} needs another version of {package} ({error}): "
        f"pip install --upgrade 'dispatch-grpc[{extra}]'{note}"
    )
