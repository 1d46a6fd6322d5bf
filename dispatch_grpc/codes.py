"""The status codes of requests (`Code`) and of calls (`Status`), and the statuses of exceptions."""

import enum
import re
import socket
import ssl
from typing import Any


class _Named(enum.IntEnum):
    """An int enum that is formatted as its name."""

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(int(self), spec) if spec else self.name


class Code(_Named):
    """The status codes of gRPC, which Connect shares."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Status(_Named):
    """The statuses of a call (`dispatch.sdk.v1.Status`)."""

    UNSPECIFIED = 0
    OK = 1
    TIMEOUT = 2
    THROTTLED = 3
    INVALID_ARGUMENT = 4
    INVALID_RESPONSE = 5
    TEMPORARY_ERROR = 6
    PERMANENT_ERROR = 7
    INCOMPATIBLE_STATE = 8
    DNS_ERROR = 9
    TCP_ERROR = 10
    TLS_ERROR = 11
    HTTP_ERROR = 12
    UNAUTHENTICATED = 13
    PERMISSION_DENIED = 14
    NOT_FOUND = 15

    @property
    def retryable(self) -> bool:
        """True if a Dispatch service tries a call again after this status."""
        return self in _RETRYABLE

    @classmethod
    def of(cls, error: BaseException) -> "Status":
        """Classify an exception.

        The first of these that applies: the exception's own attribute `status`, if it is a
        `Status`; the nearest of its classes that `register` knows; the `Code` of an `RPCError`;
        the class, the code or the HTTP status of an exception of httpx, requests, aiohttp, grpc,
        asyncpg or botocore; the builtin class. A group of exceptions has the first final status
        of its members, else the status of the first member.

        Args:
            error: The exception.

        Returns:
            The status that an endpoint reports. All other exceptions are a TEMPORARY_ERROR,
            after which a call is tried again.
        """
        own = getattr(error, "status", None)
        if isinstance(own, Status):
            return own
        for kind in type(error).__mro__:
            if kind in _registered:
                return _registered[kind]
        code = getattr(error, "code", None)
        if isinstance(code, Code):
            return _BY_CODE[code]
        for kind in type(error).__mro__:
            rule = _BY_LIBRARY.get(f"{kind.__module__}.{kind.__qualname__}")
            if rule is not None:
                return rule if isinstance(rule, Status) else rule(error)
        if isinstance(error, BaseExceptionGroup):
            statuses = [cls.of(member) for member in error.exceptions]
            return next((s for s in statuses if not s.retryable), statuses[0])
        for builtin, status in _BY_BUILTIN:
            if isinstance(error, builtin):
                return status
        return cls.TEMPORARY_ERROR

    @classmethod
    def register(cls, type: type[BaseException], status: "Status") -> None:
        """Set the status of a type of exceptions, and of its subclasses, for this process.

            Status.register(stripe.CardError, Status.PERMANENT_ERROR)

        A registered type takes precedence over everything but an exception's own `status`.
        Registering a type again replaces its status.

        Args:
            type: A class of exceptions.
            status: The status; any but OK and UNSPECIFIED.

        Raises:
            TypeError: `type` is not a class of exceptions, or `status` is not a `Status`.
            ValueError: `status` is OK or UNSPECIFIED.
        """
        if not (isinstance(type, _type) and issubclass(type, BaseException)):
            raise TypeError(f"type: a class of exceptions is required; got {_name(type)}")
        if not isinstance(status, Status):
            raise TypeError(f"status: a Status is required; got {_name(status)}")
        if status in {Status.OK, Status.UNSPECIFIED}:
            raise ValueError(f"status: a status of failure is required; got {status.name}")
        _registered[type] = status


_type = type  # the name of an argument of `register`


def _name(value: object) -> str:
    return value.__qualname__ if isinstance(value, type) else type(value).__qualname__


_registered: dict[Any, Status] = {}

_RETRYABLE = frozenset(
    {
        Status.TIMEOUT,
        Status.THROTTLED,
        Status.TEMPORARY_ERROR,
        Status.INCOMPATIBLE_STATE,
        Status.DNS_ERROR,
        Status.TCP_ERROR,
        Status.TLS_ERROR,
        Status.HTTP_ERROR,
    }
)

_BY_CODE = {
    Code.CANCELLED: Status.TIMEOUT,
    Code.UNKNOWN: Status.TEMPORARY_ERROR,
    Code.INVALID_ARGUMENT: Status.INVALID_ARGUMENT,
    Code.DEADLINE_EXCEEDED: Status.TIMEOUT,
    Code.NOT_FOUND: Status.NOT_FOUND,
    Code.ALREADY_EXISTS: Status.PERMANENT_ERROR,
    Code.PERMISSION_DENIED: Status.PERMISSION_DENIED,
    Code.RESOURCE_EXHAUSTED: Status.THROTTLED,
    Code.FAILED_PRECONDITION: Status.PERMANENT_ERROR,
    Code.ABORTED: Status.PERMANENT_ERROR,
    Code.OUT_OF_RANGE: Status.INVALID_ARGUMENT,
    Code.UNIMPLEMENTED: Status.NOT_FOUND,
    Code.INTERNAL: Status.TEMPORARY_ERROR,
    Code.UNAVAILABLE: Status.TEMPORARY_ERROR,
    Code.DATA_LOSS: Status.PERMANENT_ERROR,
    Code.UNAUTHENTICATED: Status.UNAUTHENTICATED,
}

# HTTP statuses of answers from other services. All others become HTTP_ERROR, which is retried.
_BY_HTTP_STATUS = {
    **dict.fromkeys((400, 422), Status.INVALID_ARGUMENT),
    **dict.fromkeys((401, 407), Status.UNAUTHENTICATED),
    403: Status.PERMISSION_DENIED,
    **dict.fromkeys((404, 410), Status.NOT_FOUND),
    **dict.fromkeys((408, 504), Status.TIMEOUT),
    429: Status.THROTTLED,
    **dict.fromkeys((405, 406, 411, 413, 414, 415, 431, 501, 505), Status.PERMANENT_ERROR),
    **dict.fromkeys((500, 502, 503), Status.TEMPORARY_ERROR),
}


def _by_http_status(status: Any) -> Status:
    return _BY_HTTP_STATUS.get(status, Status.HTTP_ERROR)


def _by_response(error: Any) -> Status:
    """Classify an error of httpx or requests that holds the response."""
    return _by_http_status(getattr(error.response, "status_code", None))


def _by_grpc_code(error: Any) -> Status:
    """Classify a `grpc.RpcError`, whose code is a `grpc.StatusCode`."""
    code = error.code() if callable(getattr(error, "code", None)) else None
    name = getattr(code, "name", "UNKNOWN")
    return _BY_CODE[Code[name]] if name in Code.__members__ else Status.TEMPORARY_ERROR


def _by_aws_code(error: Any) -> Status:
    """Classify a `ClientError` of botocore: AWS often answers 400 to requests beyond a limit."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    if re.search("Throttl|TooManyRequests|LimitExceeded|ThroughputExceeded|SlowDown", code):
        return Status.THROTTLED
    if code.startswith("RequestTimeout"):
        return Status.TIMEOUT
    return _by_http_status(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode"))


# Exceptions of libraries by the names of their classes, so that no library is imported. The
# nearest class in the order of inheritance decides.
_BY_LIBRARY: dict[str, Any] = {
    "httpx.TimeoutException": Status.TIMEOUT,
    "httpx.NetworkError": Status.TCP_ERROR,
    "httpx.ProxyError": Status.TCP_ERROR,
    "httpx.ProtocolError": Status.HTTP_ERROR,
    "httpx.HTTPStatusError": _by_response,
    "requests.exceptions.ConnectTimeout": Status.TIMEOUT,
    "requests.exceptions.Timeout": Status.TIMEOUT,
    "requests.exceptions.SSLError": Status.TLS_ERROR,
    "requests.exceptions.ConnectionError": Status.TCP_ERROR,
    "requests.exceptions.ChunkedEncodingError": Status.HTTP_ERROR,
    "requests.exceptions.ContentDecodingError": Status.HTTP_ERROR,
    "requests.exceptions.HTTPError": _by_response,
    "aiohttp.client_exceptions.ServerTimeoutError": Status.TIMEOUT,
    "aiohttp.client_exceptions.ClientConnectorDNSError": Status.DNS_ERROR,
    "aiohttp.client_exceptions.ClientSSLError": Status.TLS_ERROR,
    "aiohttp.client_exceptions.ClientConnectionError": Status.TCP_ERROR,
    "aiohttp.client_exceptions.ClientPayloadError": Status.HTTP_ERROR,
    "aiohttp.client_exceptions.ClientResponseError": lambda e: _by_http_status(e.status),
    "grpc.RpcError": _by_grpc_code,
    "grpc.FutureTimeoutError": Status.TIMEOUT,
    "asyncpg.exceptions.PostgresConnectionError": Status.TCP_ERROR,
    "asyncpg.exceptions.InsufficientResourcesError": Status.THROTTLED,
    "asyncpg.exceptions.QueryCanceledError": Status.TIMEOUT,
    "botocore.exceptions.ReadTimeoutError": Status.TIMEOUT,
    "botocore.exceptions.ConnectTimeoutError": Status.TIMEOUT,
    "botocore.exceptions.SSLError": Status.TLS_ERROR,
    "botocore.exceptions.ConnectionError": Status.TCP_ERROR,
    "botocore.exceptions.HTTPClientError": Status.TCP_ERROR,
    "botocore.exceptions.ClientError": _by_aws_code,
}

# The first match counts: SSLError and gaierror are OSErrors, UnavailableError a ConnectionError.
_BY_BUILTIN = (
    (ssl.SSLError, Status.TLS_ERROR),
    (socket.gaierror, Status.DNS_ERROR),
    (TimeoutError, Status.TIMEOUT),
    (ConnectionError, Status.TCP_ERROR),
)
