"""gRPC, by grpcio."""

import asyncio
import re
import time
from functools import lru_cache
from typing import Any

import grpc
import grpc.aio
from dispatch.sdk.v1.dispatch_pb2_grpc import DispatchServiceStub
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import ClientStateError, ProtocolError, RPCError, http_error, rpc_error
from dispatch_grpc.transport.protocols import Metadata, Method
from dispatch_grpc.transport.retry import RetryPolicy
from dispatch_grpc.transport.target import Target
from dispatch_grpc.transport.tls import TLSCredentials

_RETRYABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})


class GRPCTransport:
    """Sends requests over a channel of grpcio."""

    def __init__(
        self,
        target: Target,
        *,
        credentials: TLSCredentials | None,
        retry: RetryPolicy | None,
        max_message_bytes: int,
        channel: grpc.Channel | None,
    ) -> None:
        self._owned = channel is None
        if channel is None:
            options = _options(retry, max_message_bytes)
            if target.secure:
                channel = grpc.secure_channel(target.authority, _tls(credentials), options)
            else:
                channel = grpc.insecure_channel(target.authority, options)
        self._retry = retry if self._owned else None
        self._channel = channel
        self._calls: dict[Method, _Method] = {}
        self.send: Any = _Method(DispatchServiceStub(channel).Dispatch, self._retry).send

    def call(
        self, method: Method, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request of CallService and return its answer."""
        if (found := self._calls.get(method)) is None:
            found = self._calls[method] = _Method(_of_calls(self._channel, method), self._retry)
        return found.send(request, metadata, timeout)

    def close(self) -> None:
        """Close the connections that the transport opened itself."""
        if self._owned:
            self._channel.close()


class AsyncGRPCTransport:
    """Sends requests over a channel of grpc.aio; belongs to the event loop that made it."""

    def __init__(
        self,
        target: Target,
        *,
        credentials: TLSCredentials | None,
        retry: RetryPolicy | None,
        max_message_bytes: int,
        channel: grpc.aio.Channel | None,
    ) -> None:
        self._owned = channel is None
        if channel is None:
            options = _options(retry, max_message_bytes)
            if target.secure:
                channel = grpc.aio.secure_channel(target.authority, _tls(credentials), options)
            else:
                channel = grpc.aio.insecure_channel(target.authority, options)
        self._retry = retry if self._owned else None
        self._channel = channel
        self._calls: dict[Method, _AsyncMethod] = {}
        self.send: Any = _AsyncMethod(DispatchServiceStub(channel).Dispatch, self._retry).send

    async def call(
        self, method: Method, request: Message, metadata: Metadata, timeout: float | None
    ) -> Any:
        """Send a request of CallService and return its answer."""
        if (found := self._calls.get(method)) is None:
            rpc = _of_calls(self._channel, method)
            found = self._calls[method] = _AsyncMethod(rpc, self._retry)
        return await found.send(request, metadata, timeout)

    async def close(self) -> None:
        """Close the connections that the transport opened itself."""
        if self._owned:
            await self._channel.close()


class _Method:
    """A method of a service, with the retries that gRPC leaves to us."""

    def __init__(self, rpc: Any, retry: RetryPolicy | None) -> None:
        self._rpc = rpc
        self._retry = retry

    def send(self, request: Message, metadata: Metadata, timeout: float | None) -> Any:
        started, left = time.monotonic(), timeout
        again: _Again | None = None
        while True:
            try:
                return self._rpc(request, timeout=left, metadata=metadata)
            except grpc.RpcError as error:
                again = again or _Again(self._retry, timeout, started)
                wait = again.wait(error)
                if wait is None:
                    raise _translate(error) from error
            except ValueError as error:  # grpcio's way to say that the channel is closed
                raise ClientStateError(f"the gRPC channel cannot be used: {error}") from error
            time.sleep(wait)
            left = again.left()


class _AsyncMethod:
    """The same by `await`."""

    def __init__(self, rpc: Any, retry: RetryPolicy | None) -> None:
        self._rpc = rpc
        self._retry = retry

    async def send(self, request: Message, metadata: Metadata, timeout: float | None) -> Any:
        started, left = time.monotonic(), timeout
        again: _Again | None = None
        while True:
            try:
                response = await self._rpc(request, timeout=left, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                again = again or _Again(self._retry, timeout, started)
                wait = again.wait(error)
                if wait is None:
                    raise _translate(error) from error
            except grpc.aio.UsageError as error:
                raise ClientStateError(f"the gRPC channel cannot be used: {error}") from error
            else:
                if response is None:  # grpc.aio's way to say that it could not decode it
                    raise ProtocolError("malformed message", code=Code.INTERNAL)
                return response
            await asyncio.sleep(wait)
            left = again.left()


def _of_calls(channel: Any, method: Method) -> Any:
    """A method of CallService, whose messages are imported when they are needed first.

    Not by the generated stub: it registers its methods, which ends the process by a segmentation
    fault when the channel is closed already.
    """
    from dispatch_grpc import schema

    return channel.unary_unary(
        f"/dispatch.calls.v1.CallService/{method}",
        request_serializer=getattr(schema, f"{method}Request").SerializeToString,
        response_deserializer=getattr(schema, f"{method}Response").FromString,
    )


class _Again:
    """Decides on the retries that gRPC leaves to us.

    gRPC does not try again once the headers of an answer have arrived (gRFC A6), and servers
    built on Connect send headers before every error. Such an error is tried again here, by the
    same policy as the channel's.
    """

    def __init__(self, retry: RetryPolicy | None, timeout: float | None, started: float) -> None:
        self._retry = retry
        self._attempts = 1
        self._deadline = None if timeout is None else started + timeout

    def left(self) -> float | None:
        """Seconds until the deadline."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def wait(self, error: Any) -> float | None:
        """Seconds to wait before the next attempt; None to give up."""
        retry = self._retry
        if (
            retry is None
            or self._attempts == retry.max_attempts
            or error.code() not in _RETRYABLE
            or not error.initial_metadata()
        ):
            return None
        import random

        bound = retry.initial_backoff * 2 ** (self._attempts - 1)
        wait = random.uniform(0, min(bound, retry.max_backoff).total_seconds())  # noqa: S311
        left = self.left()
        if left is not None and wait >= left:
            return None
        self._attempts += 1
        return wait


def _options(retry: RetryPolicy | None, max_message_bytes: int) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", max_message_bytes),
        # Connections are shared by all channels of a process, and so with a forked child, where
        # they are broken; a pool of its own lets a child open new ones.
        ("grpc.use_local_subchannel_pool", 1),
        # Connect anew soon, so that a retry finds a service that came back (default: 1 to 120 s).
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5000),
    ]
    if retry is None:
        return [*options, ("grpc.enable_retries", 0)]
    import json

    policy = {
        "maxAttempts": retry.max_attempts,
        "initialBackoff": f"{retry.initial_backoff.total_seconds()}s",
        "maxBackoff": f"{retry.max_backoff.total_seconds()}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": sorted(code.name for code in _RETRYABLE),
    }
    names = ("dispatch.sdk.v1.DispatchService", "dispatch.calls.v1.CallService")
    services = [{"service": name} for name in names]
    config = {"methodConfig": [{"name": services, "retryPolicy": policy}]}
    return [
        *options,
        ("grpc.service_config", json.dumps(config)),
        # A request that does not fit here is not sent again (the default is 256 KiB).
        ("grpc.per_rpc_retry_buffer_size", 2 * max_message_bytes),
    ]


def _tls(credentials: TLSCredentials | None) -> grpc.ChannelCredentials:
    tls = credentials or TLSCredentials()
    return grpc.ssl_channel_credentials(
        tls.root_certificates, tls.private_key, tls.certificate_chain
    )


def _translate(error: Any) -> RPCError:
    code, message = Code(error.code().value[0]), error.details() or "no reason given"
    if http := re.search(r"^Received http2 header with status: (\d+)", message):
        return http_error(int(http[1]), code)
    if message.startswith(_NO_ANSWER) and code is not Code.DEADLINE_EXCEEDED:
        return ProtocolError(message, code=Code.INTERNAL)
    return rpc_error(code, message, _details(error.trailing_metadata() or ()))


# What versions of grpcio say of answers without a status of gRPC, of bytes that are no message,
# and of messages that are too large for us.
_NO_ANSWER = ("Stream removed", "Exception deserializing response", "CLIENT: Received message")


def _details(trailers: Any) -> list[any_pb2.Any]:
    """Read the messages attached to an error (a google.rpc.Status in the trailers)."""
    for key, value in trailers:
        if key == "grpc-status-details-bin":
            try:
                status = _status_class().FromString(value)
            except DecodeError:
                return []
            return [any_pb2.Any(type_url=d.type_url, value=d.value) for d in status.details]
    return []


@lru_cache(maxsize=1)
def _status_class() -> Any:
    """The message google.rpc.Status, in a pool of its own: programs may have their copy."""
    from google.protobuf import descriptor_pb2, message_factory
    from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="google/rpc/status.proto",
        package="google.rpc",
        syntax="proto3",
        dependency=["google/protobuf/any.proto"],
    )
    message = file.message_type.add(name="Status")
    kind = descriptor_pb2.FieldDescriptorProto
    message.field.add(name="code", number=1, type=kind.TYPE_INT32, label=kind.LABEL_OPTIONAL)
    message.field.add(name="message", number=2, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    message.field.add(
        name="details",
        number=3,
        type=kind.TYPE_MESSAGE,
        label=kind.LABEL_REPEATED,
        type_name=".google.protobuf.Any",
    )
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("google.rpc.Status"))
