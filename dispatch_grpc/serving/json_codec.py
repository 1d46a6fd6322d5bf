"""JSON of answers that hold values of types that the server does not know."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from connectrpc.compat import google_protobuf_codecs
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.json_format import MessageToDict, MessageToJson
from google.protobuf.message import Message

_Path = tuple[str | int, ...]


def codecs() -> list[Any]:
    """Return the codecs of a server: binary, and JSON that never fails for an unknown type."""
    json_codec = next(codec for codec in google_protobuf_codecs() if codec.name() == "json")
    others = [codec for codec in google_protobuf_codecs() if codec is not json_codec]
    return [*others, _JSONCodec(json_codec)]


class _JSONCodec:
    """Writes a value of an unknown type as its type and its bytes."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec

    def name(self) -> str:
        return "json"

    def decode(self, data: bytes | bytearray, message_class: type[Message]) -> Message:
        decoded: Message = self._codec.decode(data, message_class)
        return decoded

    def encode(self, message: Message) -> bytes:
        try:
            return MessageToJson(message).encode()
        except TypeError:  # an Any of an unknown type
            return _encode_unknown(message)


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
    document = MessageToDict(copy)
    for path, found in unknown:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = found
    return json.dumps(document, indent=2).encode()


def _values(message: Message, path: _Path) -> Iterator[tuple[_Path, AnyProto]]:
    """Yield the Anys of a message with the paths that they have in its JSON."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        inner = (*path, field.json_name)
        items = enumerate(value) if field.is_repeated else ((None, value),)
        for index, item in items:
            where = inner if index is None else (*inner, index)
            if isinstance(item, AnyProto):
                yield where, item
            elif isinstance(item, Message):
                yield from _values(item, where)
