"""The codecs of the servers: binary, and JSON that every protobuf library reads."""

import asyncio
import base64
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from connectrpc.code import Code
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from dispatch_grpc.schema import to_json
from dispatch_grpc.serving import LARGE_BYTES

_Path = tuple[str | int, ...]


class _JSONCodec:
    """The JSON codec of the server library; it writes a value of an unknown type as its bytes."""

    def __init__(self) -> None:
        self._codec = google_protobuf_json_codec()

    def name(self) -> str:
        return self._codec.name()

    def encode(self, message: Message) -> bytes:
        try:
            return to_json(message).encode()
        except TypeError:  # an Any of an unknown type
            return _encode_unknown(message)

    def decode(self, data: bytes | bytearray, message_class: Any) -> Any:
        return self._codec.decode(data, message_class)


def _encode_unknown(message: Message) -> bytes:
    copy = type(message)()
    copy.CopyFrom(message)
    unknown: list[tuple[_Path, dict[str, str]]] = []
    for path, value in list(_values(copy, ())):
        try:
            MessageToDict(value)
        except TypeError:
            encoded = base64.b64encode(value.value).decode()
            unknown.append((path, {"@type": value.type_url, "value": encoded}))
            value.Clear()
    document = json.loads(to_json(copy))
    for path, found in unknown:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = found
    return json.dumps(document).encode()


def _values(message: Message, path: _Path) -> Iterator[tuple[_Path, AnyProto]]:
    """Yield the Anys of a message with the paths that they have in its JSON."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        inner = (*path, field.json_name)
        items = ((None, value),) if isinstance(value, Message) else enumerate(value)
        for index, item in items:
            where = inner if index is None else (*inner, index)
            if isinstance(item, AnyProto):
                yield where, item
            elif isinstance(item, Message):
                yield from _values(item, where)


class _LateJSONCodec(_JSONCodec):
    """Leaves large messages to `decoded` and `encoded`, as JSON in Python is slow."""

    def encode(self, message: Any) -> bytes:
        return message if isinstance(message, bytes) else super().encode(message)

    def decode(self, data: bytes | bytearray, message_class: Any) -> Any:
        decode = super().decode
        if len(data) < LARGE_BYTES:
            return decode(data, message_class)
        return partial(decode, data, message_class)


async def decoded(request: Any) -> Any:
    """Return a request that `LATE_CODECS` read; large JSON is decoded in a thread.

    Raises:
        ConnectError: The JSON is not that of the request.
    """
    if not isinstance(request, partial):
        return request
    try:
        return await asyncio.to_thread(request)
    except Exception as error:  # as the library answers smaller ones
        raise ConnectError(Code.INVALID_ARGUMENT, f"unmarshal message: {error}") from error


async def encoded(response: Message, ctx: Any) -> Message | bytes:
    """Return a response for `LATE_CODECS` to send; large JSON is encoded in a thread."""
    if "json" in ctx.request_headers.get("content-type", "") and response.ByteSize() >= LARGE_BYTES:
        return await asyncio.to_thread(_JSONCodec().encode, response)
    return response


LATE_CODECS = (google_protobuf_binary_codec(), _LateJSONCodec())
"""For services that pass requests through `decoded`, and responses through `encoded`."""
