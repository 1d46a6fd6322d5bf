"""Endpoints: Python functions that a Dispatch service can call.

    endpoint = Endpoint("http://127.0.0.1:8000")

    @endpoint.function
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    greet.dispatch("World")  # by endpoint.client()
    endpoint.serve()

An endpoint is served by `Endpoint.serve`, or by any ASGI server: `Endpoint.app`.
"""

from dispatch_grpc.endpoint.call_log import CallLogFilter
from dispatch_grpc.endpoint.endpoint import Endpoint
from dispatch_grpc.endpoint.executor import CurrentCall, current_call
from dispatch_grpc.endpoint.function import Function
from dispatch_grpc.endpoint.pending import Pending
from dispatch_grpc.endpoint.remote import Remote
from dispatch_grpc.endpoint.workflows import Workflow

__all__ = [
    "CallLogFilter",
    "CurrentCall",
    "Endpoint",
    "Function",
    "Pending",
    "Remote",
    "Workflow",
    "current_call",
]
