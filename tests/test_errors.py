"""The tree of errors, and the statuses that exceptions stand for."""

import copy
import inspect
import pickle
import socket
import ssl

import pytest
from dispatch.sdk.v1.status_pb2 import Status as StatusProto

from dispatch_grpc import Code, DispatchError, RPCError, Status, errors
from dispatch_grpc.errors import http_error, rpc_error

CLASSES = [
    cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, Exception)
]


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = {}
    above: list[str] = []
    assert errors.__doc__ is not None
    for line in errors.__doc__.split("::", 1)[1].splitlines():
        if "Error" not in line or not line.startswith("    ") or line.strip()[0] not in "D├└│":
            continue
        name = next(word for word in line.split() if word.endswith("Error"))
        depth = (line.index(name) - 4) // 4
        del above[depth:]
        drawn[name] = above[-1] if above else "Exception"
        above.append(name)
    assert drawn == {cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES}


@pytest.mark.parametrize("code", list(Code))
def test_errors_of_codes(code: Code):
    error = rpc_error(code, "why", ["detail"])
    assert (error.code, error.message, error.details) == (code, "why", ("detail",))
    assert str(error) == f"why [{code.name}]"
    assert isinstance(error, DispatchError)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert vars(other) == vars(error)
        assert other.args == error.args


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_errors_keep_their_arguments_when_they_are_pickled(cls: type[DispatchError]):
    """Also when the message was changed since."""
    options = {
        errors.CallError: {"type": "T", "status": Status.TIMEOUT},
        errors.SignatureError: {"code": Code.UNAUTHENTICATED},
    }.get(cls, {"code": Code.INTERNAL} if issubclass(cls, RPCError) else {})
    error = cls("first", **options)
    error.__dict__.update({"message": "second"} if hasattr(error, "message") else {})
    error.add_note("a note")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(other), other.args, str(other)) == (cls, ("first",), str(error))
        assert vars(other) == vars(error)


@pytest.mark.parametrize("member", [*Code, *Status], ids=repr)
def test_codes_and_statuses_appear_by_name_in_texts(member: Code | Status):
    assert f"{member}" == str(member) == "%s" % member == member.name  # noqa: UP031
    assert f"{member:d}" == str(int(member))
    assert pickle.loads(pickle.dumps(member)) is member


def test_errors_are_builtin_errors_too():
    assert isinstance(rpc_error(Code.DEADLINE_EXCEEDED, ""), TimeoutError)
    assert isinstance(rpc_error(Code.UNAVAILABLE, ""), ConnectionError)
    for name in ("ConfigurationError", "InvalidCallError", "MarshalError", "UnmarshalError"):
        assert issubclass(getattr(errors, name), ValueError)
    assert issubclass(errors.ClientStateError, RuntimeError)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (302, errors.ProtocolError, Code.INTERNAL),
        (413, errors.RequestTooLargeError, Code.RESOURCE_EXHAUSTED),
        (502, errors.UnavailableError, Code.UNAVAILABLE),
    ],
)
def test_errors_of_http(status: int, kind: type[RPCError], code: Code):
    error = http_error(status)
    assert (type(error), error.code, error.message) == (kind, code, f"HTTP {status}")


def test_statuses_are_those_of_the_schema():
    names = {name.removeprefix("STATUS_"): number for name, number in StatusProto.items()}
    assert {status.name: status.value for status in Status} == names


RETRYABLE = (
    "TIMEOUT THROTTLED TEMPORARY_ERROR INCOMPATIBLE_STATE DNS_ERROR TCP_ERROR TLS_ERROR HTTP_ERROR"
)


def test_the_statuses_that_are_tried_again():
    assert {status.name for status in Status if status.retryable} == set(RETRYABLE.split())


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        ("CANCELLED DEADLINE_EXCEEDED", "TIMEOUT"),
        ("UNKNOWN INTERNAL UNAVAILABLE", "TEMPORARY_ERROR"),
        ("RESOURCE_EXHAUSTED", "THROTTLED"),
        ("INVALID_ARGUMENT OUT_OF_RANGE", "INVALID_ARGUMENT"),
        ("NOT_FOUND UNIMPLEMENTED", "NOT_FOUND"),
        ("PERMISSION_DENIED", "PERMISSION_DENIED"),
        ("UNAUTHENTICATED", "UNAUTHENTICATED"),
        ("ALREADY_EXISTS FAILED_PRECONDITION ABORTED DATA_LOSS", "PERMANENT_ERROR"),
    ],
)
def test_the_status_of_every_code(codes: str, status: str):
    for code in codes.split():
        assert Status.of(rpc_error(Code[code], "")) is Status[status]


class WithStatusError(Exception):
    status = Status.HTTP_ERROR


class WithAnotherStatusError(ValueError):
    status = 404


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TimeoutError(), "TIMEOUT"),
        (TypeError(), "INVALID_ARGUMENT"),
        (ValueError(), "INVALID_ARGUMENT"),
        (ConnectionResetError(), "TCP_ERROR"),
        (socket.gaierror(), "DNS_ERROR"),
        (ssl.SSLError(), "TLS_ERROR"),
        (ssl.SSLCertVerificationError(), "TLS_ERROR"),
        (PermissionError(), "PERMISSION_DENIED"),
        (FileNotFoundError(), "NOT_FOUND"),
        (MemoryError(), "TEMPORARY_ERROR"),
        (EOFError(), "TEMPORARY_ERROR"),
        (InterruptedError(), "TEMPORARY_ERROR"),
        (KeyboardInterrupt(), "TEMPORARY_ERROR"),
        (OSError(), "TEMPORARY_ERROR"),
        (KeyError(), "PERMANENT_ERROR"),
        (Exception(), "PERMANENT_ERROR"),
        (WithStatusError(), "HTTP_ERROR"),
        (WithAnotherStatusError(), "INVALID_ARGUMENT"),
    ],
    ids=repr,
)
def test_the_status_of_exceptions(error: BaseException, status: str):
    assert Status.of(error) is Status[status]
