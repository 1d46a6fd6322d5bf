"""The status codes of requests (`Code`) and of calls (`Status`), and how they map."""

import enum
import socket
import ssl


class _Named(enum.IntEnum):
    """An int that appears in texts by its name."""

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
    """The statuses of the schema (`dispatch.sdk.v1.Status`)."""

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
        """Whether a Dispatch service tries a call again after this status."""
        return self in _RETRYABLE

    @classmethod
    def of(cls, error: BaseException) -> "Status":
        """Classify an exception.

        Args:
            error: An exception. One that has an attribute `status` of this type says
                itself how it is to be classified.

        Returns:
            The status that an endpoint reports for the exception.
        """
        own = getattr(error, "status", None)
        if isinstance(own, Status):
            return own
        code = getattr(error, "code", None)
        if isinstance(code, Code):
            return _BY_CODE[code]
        for kinds, status in _BY_EXCEPTION:
            if isinstance(error, kinds):
                return status
        return cls.PERMANENT_ERROR


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

# The first match counts: ssl.SSLError, gaierror and the like are OSErrors, some of them
# ValueErrors as well.
_BY_EXCEPTION: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Status], ...] = (
    (ssl.SSLError, Status.TLS_ERROR),
    (socket.gaierror, Status.DNS_ERROR),
    (TimeoutError, Status.TIMEOUT),
    (ConnectionError, Status.TCP_ERROR),
    (PermissionError, Status.PERMISSION_DENIED),
    (FileNotFoundError, Status.NOT_FOUND),
    (
        (MemoryError, EOFError, InterruptedError, KeyboardInterrupt, OSError),
        Status.TEMPORARY_ERROR,
    ),
    ((TypeError, ValueError), Status.INVALID_ARGUMENT),
)
