"""The codecs of the servers: binary, and JSON as every protobuf library reads it."""

from typing import Any

from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from google.protobuf.message import Message

from dispatch_grpc.schema import to_json


class _JSONCodec:
    """The JSON codec of the server library, with messages written by `to_json`."""

    def __init__(self) -> None:
        self._codec = google_protobuf_json_codec()

    def name(self) -> str:
        return self._codec.name()

    def encode(self, message: Message) -> bytes:
        return to_json(message).encode()

    def decode(self, data: bytes | bytearray, message_class: Any) -> Any:
        return self._codec.decode(data, message_class)


CODECS = (google_protobuf_binary_codec(), _JSONCodec())
