"""Commands: what a workflow asks for, and how it is recognised when the code is run again."""

import hashlib
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from dispatch_grpc.schema import Command, CommandKind

CALL = CommandKind.COMMAND_KIND_CALL
STEP = CommandKind.COMMAND_KIND_STEP
PATCH = CommandKind.COMMAND_KIND_PATCH
_KIND_NAMES = {CALL: "the call of", STEP: "the step", PATCH: "the patch"}
_STRUCTURES = {
    f"type.googleapis.com/{kind.DESCRIPTOR.full_name}": kind for kind in (Value, Struct, ListValue)
}

Fields = tuple[int, str, str, int, str, int]
"""Those of a Command: they are compared without making one."""


def make(fields: Fields) -> Command:
    """Make a command of its fields."""
    kind, name, endpoint, input_hash, lane, number = fields
    return Command(
        kind=kind,  # type: ignore[arg-type]  # its values are ints
        name=name,
        endpoint=endpoint,
        input_hash=input_hash,
        lane=lane,
        number=number,
    )


def fields_of(c: Command) -> Fields:
    """Return the fields of a command."""
    return c.kind, c.name, c.endpoint, c.input_hash, c.lane, c.number


def name_of(function: Any) -> str:
    """Return the name of a step."""
    while not hasattr(function, "__qualname__") and hasattr(function, "func"):
        function = function.func  # of functools.partial
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def digest(input: AnyProto) -> int:
    """Hash the argument of a call; equal dicts have one hash, however they are laid out."""
    data = input.value
    structure = _STRUCTURES.get(input.type_url)
    if structure is not None:
        data = structure.FromString(data).SerializeToString(deterministic=True)
    digest = hashlib.blake2b(input.type_url.encode(), digest_size=8)
    digest.update(data)
    return int.from_bytes(digest.digest(), "big")


def describe(command: Command | None) -> str:
    """Describe a command for an error message."""
    if command is None:
        return "nothing more"
    text = f"{_KIND_NAMES.get(command.kind, 'an unknown')} {command.name!r}"
    if command.kind == CALL:
        where = f"at {command.endpoint}" if command.endpoint else "of its endpoint"
        text += f" {where} with input {command.input_hash:016x}"
    if command.lane:
        text += f" (command {command.number} of task {command.lane})"
    return text
