"""Python client for the Dispatch API, over gRPC and Connect.

    from dispatch_grpc import Client, new_call

    client = Client()  # the key comes from DISPATCH_API_KEY
    dispatch_id = client.dispatch(new_call("https://example.com", "myFunction", 23))

`Client` and `AsyncClient` dispatch the calls that `new_call` makes, one by one or as a batch;
`marshal` and `unmarshal` convert Python values to the schema's and back; `Endpoint` hosts
functions; `errors` holds the tree of exceptions; `testing` helps to test programs that use this
library.
"""

import importlib
from typing import TYPE_CHECKING, Any

from dispatch_grpc.version import __version__

if TYPE_CHECKING:
    from dispatch_grpc.calls import new_call
    from dispatch_grpc.client import (
        AsyncBatch,
        AsyncClient,
        Attempt,
        Batch,
        CallInfo,
        CallState,
        Client,
        Coalesce,
        DispatchID,
        Firing,
        Overlap,
        ScheduleInfo,
    )
    from dispatch_grpc.codes import Code, Status
    from dispatch_grpc.endpoint import Endpoint, Function, Pending, current_call
    from dispatch_grpc.errors import (
        AlreadyExistsError,
        AuthenticationError,
        CallError,
        CertificateError,
        ClientStateError,
        ConfigurationError,
        DeadlineExceededError,
        DispatchError,
        EndpointError,
        InvalidArgumentError,
        InvalidCallError,
        MarshalError,
        NotFoundError,
        PermanentError,
        PermissionDeniedError,
        ProtocolError,
        RequestTooLargeError,
        ResourceExhaustedError,
        RPCError,
        SignatureError,
        UnavailableError,
        UnmarshalError,
    )
    from dispatch_grpc.schema import Call
    from dispatch_grpc.transport import RetryPolicy, TLSCredentials
    from dispatch_grpc.values import marshal, unmarshal

__all__ = [
    "AlreadyExistsError",
    "AsyncBatch",
    "AsyncClient",
    "Attempt",
    "AuthenticationError",
    "Batch",
    "Call",
    "CallError",
    "CallInfo",
    "CallState",
    "CertificateError",
    "Client",
    "ClientStateError",
    "Coalesce",
    "Code",
    "ConfigurationError",
    "DeadlineExceededError",
    "DispatchError",
    "DispatchID",
    "Endpoint",
    "EndpointError",
    "Firing",
    "Function",
    "InvalidArgumentError",
    "InvalidCallError",
    "MarshalError",
    "NotFoundError",
    "Overlap",
    "Pending",
    "PermanentError",
    "PermissionDeniedError",
    "ProtocolError",
    "RPCError",
    "RequestTooLargeError",
    "ResourceExhaustedError",
    "RetryPolicy",
    "ScheduleInfo",
    "SignatureError",
    "Status",
    "TLSCredentials",
    "UnavailableError",
    "UnmarshalError",
    "__version__",
    "current_call",
    "marshal",
    "new_call",
    "unmarshal",
]

# Which room each name comes from; all others are errors.
_ROOMS = {
    **dict.fromkeys(("AsyncBatch", "AsyncClient", "Batch", "Client", "DispatchID"), "client"),
    **dict.fromkeys(("Attempt", "CallInfo", "CallState", "Coalesce"), "client"),
    **dict.fromkeys(("Firing", "Overlap", "ScheduleInfo"), "client"),
    **dict.fromkeys(("Endpoint", "Function", "Pending", "current_call"), "endpoint"),
    **dict.fromkeys(("Code", "Status"), "codes"),
    **dict.fromkeys(("RetryPolicy", "TLSCredentials"), "transport"),
    **dict.fromkeys(("marshal", "unmarshal"), "values"),
    "Call": "schema",
    "new_call": "calls",
}


if not TYPE_CHECKING:  # or type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Import a public name when it is used first: programs pay for what they use."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        room = _ROOMS.get(name, "errors")
        if room not in {"codes", "errors"}:
            importlib.import_module(
                "dispatch_grpc.schema"
            )  # its error names a module that hides ours
        value = globals()[name] = getattr(importlib.import_module(f"dispatch_grpc.{room}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
