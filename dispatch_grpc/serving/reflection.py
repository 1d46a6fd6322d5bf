"""Server reflection of gRPC: the services and their schema, for tools such as grpcurl.

In version v1, and in v1alpha for older tools. The messages of both are the same.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Any

from connectrpc.method import StreamType
from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor_pool import DescriptorPool

from dispatch_grpc.errors import missing_extra
from dispatch_grpc.serving import ASGIApplication
from dispatch_grpc.serving.streams import application, until

try:
    from grpc_reflection.v1alpha import reflection_pb2
except ImportError as _error:
    raise missing_extra(_error, "the service", "service") from _error

NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class Reflection:
    """Reflection of a server. It is public, as the schema is.

    Args:
        services: The full names of its services, beside those of reflection itself.
        files: The descriptors of its files; their dependencies are added to them.
        stopping: Set when the server stops, which ends the streams.
    """

    def __init__(
        self, services: Collection[str], files: Iterable[Any], stopping: asyncio.Event
    ) -> None:
        self._services = sorted((*services, *NAMES))
        self._files = files
        self._stopping = stopping
        self._servicer: Any = None

    @property
    def apps(self) -> dict[str, ASGIApplication]:
        """The ASGI applications by the names of their services."""
        request = reflection_pb2.ServerReflectionRequest
        response = reflection_pb2.ServerReflectionResponse
        method = (StreamType.BIDI_STREAM, request, response, self._answer)
        return {name: application(name, {"ServerReflectionInfo": method}) for name in NAMES}

    async def _answer(self, requests: AsyncIterator[Any], _: Any) -> AsyncIterator[Any]:
        async for request in until(self._stopping, requests):
            for answer in self._answers([request]):
                yield answer

    def _answers(self, requests: Iterable[Any]) -> Iterable[Any]:
        if self._servicer is None:
            # Late: it imports grpcio, which the service needs for nothing else.
            from grpc_reflection.v1alpha.reflection import ReflectionServicer

            self._servicer = ReflectionServicer(self._services, pool=_pool(self._files))
        answers: Iterable[Any] = self._servicer.ServerReflectionInfo(iter(requests), None)
        return answers


def _pool(files: Iterable[Any]) -> DescriptorPool:
    """Return a pool with some files and their dependencies, and with both versions of reflection.

    The default pool would also show everything else that this process has imported.
    """
    pool, added = DescriptorPool(), set[str]()

    def add(file: Any) -> None:
        if file.name not in added:
            added.add(file.name)
            for dependency in file.dependencies:
                add(dependency)
            pool.AddSerializedFile(file.serialized_pb)

    for file in (*files, reflection_pb2.DESCRIPTOR):
        add(file)
    v1alpha, v1 = descriptor_pb2.FileDescriptorProto(), descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(v1alpha)
    text_format.Parse(text_format.MessageToString(v1alpha).replace("v1alpha", "v1"), v1)
    pool.AddSerializedFile(v1.SerializeToString())
    return pool
