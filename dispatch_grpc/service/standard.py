"""The services that every gRPC server has: health and reflection. Neither needs an API key."""

import asyncio
from collections.abc import Callable, Sequence

from google.protobuf import empty_pb2, struct_pb2, wrappers_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2

from dispatch_grpc import schema
from dispatch_grpc.serving import ASGIApplication, health
from dispatch_grpc.serving.reflection import Reflection


def standard_services(
    names: Sequence[str], is_ready: Callable[[], bool], stopping: asyncio.Event
) -> dict[str, ASGIApplication]:
    """Make the applications, by the paths of their services.

    Args:
        names: The full names of the server's own services.
        is_ready: Whether it serves.
        stopping: Set when it stops.
    """
    # With the types that an Any may hold: of inputs, of outputs, of the details of errors.
    messages = (
        schema.DispatchRequest,
        schema.SubmitRequest,
        schema.CreateScheduleRequest,
        schema.State,
    )
    files = (
        *(message.DESCRIPTOR.file for message in messages),
        *(one.DESCRIPTOR for one in (empty_pb2, struct_pb2, wrappers_pb2, error_details_pb2)),
        health_pb2.DESCRIPTOR,
    )
    found = Reflection([*names, health.NAME], files, stopping).apps
    found[health.NAME] = health.Health(names, is_ready, stopping).app
    return {f"/{name}": app for name, app in found.items()}
