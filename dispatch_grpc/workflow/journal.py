"""The journal of a workflow: all that it took from outside, and its way through a service.

The bytes come back from the service, so they are untrusted: sizes are bounded, nothing in them is
code, and all that does not fit together is a `JournalError`.
"""

import zlib
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.message import DecodeError

from dispatch_grpc.schema import CommandKind, Journal, State
from dispatch_grpc.text import shorten
from dispatch_grpc.workflow.errors import JournalError

FORMAT = 1
NONCE_BYTES = 16
MAX_BYTES = 4_000_000
"""Largest journal unless a workflow says otherwise."""
WARN_BYTES = 256 * 1024
LIMIT_BYTES = 64_000_000
"""Largest journal that is read at all."""

STATE_URL = "type.googleapis.com/dispatch.workflow.v1.State"
_COMPRESS_FROM = 4096
_KINDS = frozenset(
    (
        CommandKind.COMMAND_KIND_CALL,
        CommandKind.COMMAND_KIND_STEP,
        CommandKind.COMMAND_KIND_PATCH,
    )
)


def new_journal(nonce: bytes, input: AnyProto, start_us: int, code_version: str) -> Journal:
    """Make the journal of a workflow that is about to begin.

    Args:
        nonce: 16 random bytes.
        input: Argument of the workflow.
        start_us: The time, in microseconds since 1970.
        code_version: Version that the code gives itself.
    """
    journal = Journal(nonce=nonce, code_version=code_version)
    journal.input.CopyFrom(input)
    journal.start_time.FromMicroseconds(start_us)
    return journal


def encode(journal: Journal) -> AnyProto:
    """Encode a journal as the state of a Poll, compressed when it is large."""
    data = journal.SerializeToString()
    state = State(version=FORMAT, journal_bytes=len(data), checksum=zlib.crc32(data))
    if len(data) >= _COMPRESS_FROM:
        packed = zlib.compress(data, 1)
        if len(packed) < len(data):
            data = packed
            state.compression = "COMPRESSION_ZLIB"  # type: ignore[assignment]
    state.journal = data
    return AnyProto(type_url=STATE_URL, value=state.SerializeToString())


def decode(value: AnyProto, *, limit: int = LIMIT_BYTES) -> Journal:
    """Decode the state of a Poll.

    Args:
        value: What came back from the service.
        limit: Largest journal to read, in bytes.

    Raises:
        JournalError: It is no journal, of another version, damaged, or does not fit together.
    """
    if value.type_url.rpartition("/")[2] != STATE_URL.rpartition("/")[2]:
        kind = shorten(value.type_url, 200) or "nothing"
        raise JournalError(f"the state that came back is {kind}, not the journal of a workflow")
    try:
        state = State.FromString(value.value)
        if state.version != FORMAT:
            raise JournalError(
                f"the journal has version {state.version}, and this library reads version "
                f"{FORMAT}: run the version that wrote it"
            )
        if state.journal_bytes > limit:
            raise JournalError(
                f"the journal has {state.journal_bytes} bytes, more than the {limit} that are read"
            )
        data = _unpack(state)
        if len(data) != state.journal_bytes or zlib.crc32(data) != state.checksum:
            raise JournalError("the journal is damaged: its size or checksum is wrong")
        journal = Journal.FromString(data)
    except DecodeError as error:
        raise JournalError("the journal is damaged: it cannot be decoded") from error
    _check(journal)
    return journal


def _unpack(state: Any) -> bytes:
    data: bytes = state.journal
    if state.compression == 0:
        return data
    if state.compression != 1:
        raise JournalError(f"the journal is packed in an unknown way ({state.compression})")
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, state.journal_bytes + 1)
    except zlib.error as error:
        raise JournalError("the journal is damaged: it cannot be unpacked") from error
    if not unpacker.eof:
        raise JournalError("the journal is damaged: it does not end where it says")
    return unpacked


def _check(journal: Journal) -> None:
    """Check that the parts of a journal fit together."""
    if len(journal.nonce) != NONCE_BYTES:
        raise JournalError(f"nonce: {NONCE_BYTES} bytes are required; got {len(journal.nonce)}")
    try:
        journal.start_time.ToMicroseconds()
    except ValueError as error:
        raise JournalError("start_time: not a time") from error
    commands: set[int] = set()
    open_: set[int] = set()
    elapsed = 0
    for index, entry in enumerate(journal.entries):
        kind = entry.WhichOneof("kind")
        if kind == "command":
            if entry.command.kind not in _KINDS:
                raise JournalError(f"entries[{index}]: unknown kind {entry.command.kind}")
            if entry.command_id in commands:
                raise JournalError(f"entries[{index}]: two commands have one id")
            commands.add(entry.command_id)
            open_.add(entry.command_id)
        elif kind == "outcome":
            if entry.command_id not in open_:
                raise JournalError(f"entries[{index}]: the outcome of no command")
            if entry.outcome.WhichOneof("result") is None:
                raise JournalError(f"entries[{index}]: an outcome without a result")
            open_.discard(entry.command_id)
        elif kind is None:
            raise JournalError(f"entries[{index}]: unknown kind of entry")
        if kind != "command":
            if entry.elapsed_us < elapsed:
                raise JournalError(f"entries[{index}]: time goes back")
            elapsed = entry.elapsed_us
    for name in ("unsent", "polled"):
        if unknown := set(getattr(journal, name)) - commands:
            raise JournalError(f"{name}: {len(unknown)} ids of no command")
