"""The tree of errors, and the statuses that exceptions stand for."""

import copy
import inspect
import pickle
import re
import socket
import ssl
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import asyncpg
import grpc
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


def library_error(name: str, *bases: type[BaseException], **attributes: Any) -> Any:
    """An exception with the name and the module of a library that is not installed here."""
    module, _, cls = name.rpartition(".")
    error = type(cls, bases or (Exception,), {"__module__": module})("x")
    vars(error).update(attributes)
    return error


def http_status(status: int) -> Any:
    return SimpleNamespace(status_code=status)


def grpc_error(code: Any) -> Any:
    return library_error("some.Error", grpc.RpcError, code=code and (lambda: code))


def aws_error(code: str, status: int) -> Any:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return library_error("botocore.exceptions.ClientError", response=response)


RESPONSE = "aiohttp.client_exceptions.ClientResponseError"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TimeoutError(), "TIMEOUT"),
        (ConnectionResetError(), "TCP_ERROR"),
        (socket.gaierror(), "DNS_ERROR"),
        (ssl.SSLError(), "TLS_ERROR"),
        (ssl.SSLCertVerificationError(), "TLS_ERROR"),
        *(
            (error, "TEMPORARY_ERROR")
            for error in (
                TypeError(),
                ValueError(),
                PermissionError(),
                FileNotFoundError(),
                MemoryError(),
                EOFError(),
                InterruptedError(),
                KeyboardInterrupt(),
                OSError(),
                KeyError(),
                Exception(),
                errors.MarshalError(),
                WithAnotherStatusError(),
            )
        ),
        (WithStatusError(), "HTTP_ERROR"),
        (errors.PermanentError(), "PERMANENT_ERROR"),
        # Groups: what is final in them is final.
        (ExceptionGroup("", [TimeoutError(), KeyError()]), "TIMEOUT"),
        (ExceptionGroup("", [TimeoutError(), errors.PermanentError()]), "PERMANENT_ERROR"),
        (ExceptionGroup("", [ExceptionGroup("", [errors.PermanentError()])]), "PERMANENT_ERROR"),
        # What servers answered to libraries.
        (library_error("httpx.HTTPStatusError", response=http_status(404)), "NOT_FOUND"),
        (library_error("httpx.HTTPStatusError", response=http_status(429)), "THROTTLED"),
        (library_error("httpx.HTTPStatusError", response=http_status(503)), "TEMPORARY_ERROR"),
        (library_error("httpx.HTTPStatusError", response=http_status(409)), "HTTP_ERROR"),
        (
            library_error("requests.exceptions.HTTPError", OSError, response=http_status(401)),
            "UNAUTHENTICATED",
        ),
        (library_error("requests.exceptions.HTTPError", OSError, response=None), "HTTP_ERROR"),
        (library_error(RESPONSE, status=422), "INVALID_ARGUMENT"),
        (library_error(RESPONSE, status=504), "TIMEOUT"),
        (aws_error("ThrottlingException", 400), "THROTTLED"),
        (aws_error("ProvisionedThroughputExceededException", 400), "THROTTLED"),
        (aws_error("RequestTimeout", 400), "TIMEOUT"),
        (aws_error("ValidationException", 400), "INVALID_ARGUMENT"),
        (aws_error("AccessDenied", 403), "PERMISSION_DENIED"),
        (grpc_error(grpc.StatusCode.UNAVAILABLE), "TEMPORARY_ERROR"),
        (grpc_error(grpc.StatusCode.NOT_FOUND), "NOT_FOUND"),
        (grpc_error(grpc.StatusCode.OK), "TEMPORARY_ERROR"),
        (grpc_error(None), "TEMPORARY_ERROR"),
        # Connections of libraries.
        (library_error("httpx.TimeoutException"), "TIMEOUT"),
        (library_error("httpx.NetworkError"), "TCP_ERROR"),
        (library_error("httpx.ProtocolError"), "HTTP_ERROR"),
        (library_error("requests.exceptions.Timeout", OSError), "TIMEOUT"),
        (library_error("requests.exceptions.SSLError", OSError), "TLS_ERROR"),
        (library_error("requests.exceptions.ConnectionError", OSError), "TCP_ERROR"),
        (library_error("aiohttp.client_exceptions.ClientConnectorDNSError", OSError), "DNS_ERROR"),
        (library_error("aiohttp.client_exceptions.ClientConnectionError"), "TCP_ERROR"),
        (library_error("botocore.exceptions.ConnectTimeoutError"), "TIMEOUT"),
        (library_error("botocore.exceptions.ConnectionError"), "TCP_ERROR"),
        (grpc.FutureTimeoutError(), "TIMEOUT"),
        (asyncpg.QueryCanceledError(), "TIMEOUT"),
        (asyncpg.TooManyConnectionsError(), "THROTTLED"),
        (asyncpg.ConnectionDoesNotExistError(), "TCP_ERROR"),
        (asyncpg.UniqueViolationError(), "TEMPORARY_ERROR"),
    ],
    ids=repr,
)
def test_the_status_of_exceptions(error: BaseException, status: str):
    assert Status.of(error) is Status[status]
    subclass: Any = type("Own", (type(error),), {})
    if not isinstance(error, BaseExceptionGroup):
        inherited = subclass.__new__(subclass)
        vars(inherited).update(vars(error))
        assert Status.of(inherited) is Status[status]


def test_a_program_registers_the_statuses_of_its_own_types():
    class DeclinedError(Exception): ...

    class SoftlyDeclinedError(DeclinedError): ...

    class ExpiredSoftlyError(SoftlyDeclinedError, TimeoutError): ...

    Status.register(DeclinedError, Status.PERMANENT_ERROR)
    assert Status.of(ExpiredSoftlyError()) is Status.PERMANENT_ERROR
    Status.register(SoftlyDeclinedError, Status.THROTTLED)
    assert Status.of(DeclinedError()) is Status.PERMANENT_ERROR
    assert Status.of(ExpiredSoftlyError()) is Status.THROTTLED  # the nearest class
    Status.register(DeclinedError, Status.NOT_FOUND)
    assert Status.of(DeclinedError()) is Status.NOT_FOUND
    own = DeclinedError()
    own.status = Status.TIMEOUT  # type: ignore[attr-defined]
    assert Status.of(own) is Status.TIMEOUT


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("ValueError", Status.TIMEOUT, "type: a class of exceptions is required; got str"),
        (int, Status.TIMEOUT, "type: a class of exceptions is required; got int"),
        (ValueError(), Status.TIMEOUT, "type: a class of exceptions"),
        (KeyError, 7, "status: a Status is required; got int"),
        (KeyError, Status.OK, "status: a status of failure is required; got OK"),
        (KeyError, Status.UNSPECIFIED, "status: a status of failure is required"),
    ],
)
def test_what_cannot_be_registered(kind: Any, status: Any, error: str):
    with pytest.raises((TypeError, ValueError), match=re.escape(error)):
        Status.register(kind, status)
    assert Status.of(KeyError()) is Status.TEMPORARY_ERROR


def test_no_library_is_imported_to_classify_its_exceptions():
    code = (
        "import sys; from dispatch_grpc.codes import Status; Status.of(ValueError()); "
        "print({'grpc', 'httpx', 'asyncpg'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
