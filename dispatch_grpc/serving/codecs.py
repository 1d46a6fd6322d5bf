"""The codecs of the servers: binary, and JSON that every protobuf library reads."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from dispatch_grpc.schema import to_json

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


CODECS = (google_protobuf_binary_codec(), _JSONCodec())
