"""Python client for the Dispatch API, over gRPC and Connect.

    from dispatch_grpc import Client, new_call

    client = Client()  # the key from DISPATCH_API_KEY
    dispatch_id = client.dispatch(new_call("https://example.com", "myFunction", 23))

`Client` and `AsyncClient` dispatch calls that `new_call` makes, one by one or as a batch;
`marshal` and `unmarshal` turn Python values into the schema's and back; `errors` is the tree
of what can go wrong; `testing` is for the tests of programs that use this library.
"""

from typing import TYPE_CHECKING, Any

from dispatch_grpc._config import RetryPolicy, TLSCredentials
from dispatch_grpc._proto import Call
from dispatch_grpc.batch import AsyncBatch, Batch, DispatchID
from dispatch_grpc.calls import new_call
from dispatch_grpc.client import AsyncClient, Client
from dispatch_grpc.errors import (
    AlreadyExistsError,
    AuthenticationError,
    CallError,
    ClientStateError,
    Code,
    ConfigurationError,
    DeadlineExceededError,
    DispatchError,
    EndpointError,
    InvalidArgumentError,
    InvalidCallError,
    MarshalError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RequestTooLargeError,
    ResourceExhaustedError,
    RPCError,
    SignatureError,
    UnavailableError,
    UnmarshalError,
)
from dispatch_grpc.status import Status
from dispatch_grpc.values import marshal, unmarshal

if TYPE_CHECKING:
    from dispatch_grpc.endpoint import Endpoint, Function, current_call

__all__ = [
    "AlreadyExistsError",
    "AsyncBatch",
    "AsyncClient",
    "AuthenticationError",
    "Batch",
    "Call",
    "CallError",
    "Client",
    "ClientStateError",
    "Code",
    "ConfigurationError",
    "DeadlineExceededError",
    "DispatchError",
    "DispatchID",
    "Endpoint",
    "EndpointError",
    "Function",
    "InvalidArgumentError",
    "InvalidCallError",
    "MarshalError",
    "NotFoundError",
    "PermissionDeniedError",
    "ProtocolError",
    "RPCError",
    "RequestTooLargeError",
    "ResourceExhaustedError",
    "RetryPolicy",
    "SignatureError",
    "Status",
    "TLSCredentials",
    "UnavailableError",
    "UnmarshalError",
    "current_call",
    "marshal",
    "new_call",
    "unmarshal",
]


def __getattr__(name: str) -> Any:
    """Import what only endpoints need when it is used: clients start faster without."""
    if name in {"Endpoint", "Function", "current_call"}:
        from dispatch_grpc import endpoint

        return getattr(endpoint, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
