from dispatch.sdk.v1 import status_pb2 as _status_pb2
from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Compression(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPRESSION_UNSPECIFIED: _ClassVar[Compression]
    COMPRESSION_ZLIB: _ClassVar[Compression]

class CommandKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMMAND_KIND_UNSPECIFIED: _ClassVar[CommandKind]
    COMMAND_KIND_CALL: _ClassVar[CommandKind]
    COMMAND_KIND_STEP: _ClassVar[CommandKind]
    COMMAND_KIND_PATCH: _ClassVar[CommandKind]
COMPRESSION_UNSPECIFIED: Compression
COMPRESSION_ZLIB: Compression
COMMAND_KIND_UNSPECIFIED: CommandKind
COMMAND_KIND_CALL: CommandKind
COMMAND_KIND_STEP: CommandKind
COMMAND_KIND_PATCH: CommandKind

class State(_message.Message):
    __slots__ = ("version", "journal", "compression", "journal_bytes", "checksum")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    version: int
    journal: bytes
    compression: Compression
    journal_bytes: int
    checksum: int
    def __init__(self, version: _Optional[int] = ..., journal: _Optional[bytes] = ..., compression: _Optional[_Union[Compression, str]] = ..., journal_bytes: _Optional[int] = ..., checksum: _Optional[int] = ...) -> None: ...

class Journal(_message.Message):
    __slots__ = ("nonce", "input", "start_time", "code_version", "entries", "unsent", "polled")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    CODE_VERSION_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    UNSENT_FIELD_NUMBER: _ClassVar[int]
    POLLED_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    input: _any_pb2.Any
    start_time: _timestamp_pb2.Timestamp
    code_version: str
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    unsent: _containers.RepeatedScalarFieldContainer[int]
    polled: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, nonce: _Optional[bytes] = ..., input: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., code_version: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., unsent: _Optional[_Iterable[int]] = ..., polled: _Optional[_Iterable[int]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("command_id", "elapsed_us", "command", "outcome", "wake")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_US_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    WAKE_FIELD_NUMBER: _ClassVar[int]
    command_id: int
    elapsed_us: int
    command: Command
    outcome: Outcome
    wake: Wake
    def __init__(self, command_id: _Optional[int] = ..., elapsed_us: _Optional[int] = ..., command: _Optional[_Union[Command, _Mapping]] = ..., outcome: _Optional[_Union[Outcome, _Mapping]] = ..., wake: _Optional[_Union[Wake, _Mapping]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("kind", "name", "endpoint", "input_hash", "lane", "number")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    INPUT_HASH_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    kind: CommandKind
    name: str
    endpoint: str
    input_hash: int
    lane: str
    number: int
    def __init__(self, kind: _Optional[_Union[CommandKind, str]] = ..., name: _Optional[str] = ..., endpoint: _Optional[str] = ..., input_hash: _Optional[int] = ..., lane: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("output", "failure")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    output: _any_pb2.Any
    failure: Failure
    def __init__(self, output: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("type", "message", "status", "arguments", "traceback", "output")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    status: _status_pb2.Status
    arguments: _any_pb2.Any
    traceback: str
    output: _any_pb2.Any
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., status: _Optional[_Union[_status_pb2.Status, str]] = ..., arguments: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., traceback: _Optional[str] = ..., output: _Optional[_Union[_any_pb2.Any, _Mapping]] = ...) -> None: ...

class Wake(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
