"""Types of pydantic, by pydantic's own JSON mode.

Two things differ, so that nothing is lost: bytes are base64, as everywhere in a Value, unless the
configuration of a model sets another form; secrets are written unmasked. pydantic is imported
only for its own types.
"""

import base64
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from dispatch_grpc.errors import UnmarshalError

_R = TypeVar("_R")

# Parts of a core schema that hold no other schemas.
_LEAVES = frozenset({"cls", "config", "default", "expected", "function", "metadata", "members"})
_MODELS = frozenset({"model", "dataclass", "typed-dict"})
_BYTES_MODES = frozenset({"ser_json_bytes", "val_json_bytes"})


def cached(function: Callable[[Any], _R]) -> Callable[[Any], _R]:
    """Cache a function of a type; a type with unhashable metadata is not cached."""
    kept = lru_cache(maxsize=1024)(function)

    def call(wanted: Any) -> _R:
        try:
            hash(wanted)
        except TypeError:
            return function(wanted)
        return kept(wanted)

    return call


def is_pydantic(wanted: Any) -> bool:
    """Return whether a type belongs to pydantic, or is annotated for it."""
    return "pydantic" in sys.modules and (
        hasattr(wanted, "__pydantic_core_schema__")
        or hasattr(wanted, "__get_pydantic_core_schema__")
        or any(
            type(extra).__module__.startswith(("pydantic.", "annotated_types"))
            for extra in getattr(wanted, "__metadata__", ())
        )
    )


def encode(value: Any) -> Any:
    """Convert a value by pydantic's JSON mode.

    Raises:
        TypeError: The value has no JSON form.
    """
    kind: Any = type(value)
    dump, _ = _codec(kind)
    try:
        return dump(value, mode="json", by_alias=True, round_trip=True, warnings="error")
    except ValueError as error:
        raise TypeError(f"{kind.__qualname__} cannot be written as JSON: {error}") from error


def decoder(wanted: Any) -> Callable[[Any], Any] | None:
    """Return a decoder for a type, or None if pydantic does not support it."""
    from pydantic import PydanticSchemaGenerationError, ValidationError

    try:
        _, validate = _codec(wanted)
    except PydanticSchemaGenerationError:
        return None

    def decode(value: Any) -> Any:
        try:
            return validate(json.dumps(value, default=msgspec.to_builtins))
        except ValidationError as error:
            raise UnmarshalError(_problems(error)) from error
        except (TypeError, UnicodeError) as error:  # a message; the text of a validator's error
            raise UnmarshalError(str(error)) from error

    return decode


def _problems(error: Any) -> str:
    """Describe a ValidationError in one line, without the values."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    texts = [f"{'.'.join(map(str, one['loc'])) or '$'}: {one['msg']}" for one in found[:5]]
    if len(found) > len(texts):
        texts.append(f"and {len(found) - len(texts)} more")
    return "; ".join(texts)


def name_of(wanted: Any) -> str:
    """Return the name of a type for an error message."""
    return wanted.__qualname__ if isinstance(wanted, type) else str(wanted)


@cached
def _codec(wanted: Any) -> tuple[Callable[..., Any], Callable[[str], Any]]:
    """Return functions that dump a type to plain values and validate its JSON."""
    from pydantic import TypeAdapter
    from pydantic_core import SchemaSerializer, SchemaValidator

    adapter = TypeAdapter(wanted)
    schema: Any = _exact(adapter.core_schema, text=True)
    if schema == adapter.core_schema:
        return adapter.dump_python, adapter.validate_json
    with _rebuilt(adapter.core_schema):
        return SchemaSerializer(schema).to_python, SchemaValidator(schema).validate_json


_rebuilding = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child must not inherit it locked
    os.register_at_fork(
        before=_rebuilding.acquire,
        after_in_parent=_rebuilding.release,
        after_in_child=_rebuilding.release,
    )


@contextmanager
def _rebuilt(schema: Any) -> Iterator[None]:
    """Make pydantic build models from a schema, and ignore the validators cached in each class."""
    with _rebuilding:
        classes = [cls for cls in _classes(schema) if vars(cls).get("__pydantic_complete__")]
        try:
            for cls in classes:
                cls.__pydantic_complete__ = False
            yield
        finally:
            for cls in classes:
                cls.__pydantic_complete__ = True


def _classes(schema: Any) -> Iterator[Any]:
    """Yield the classes of the models in a core schema."""
    if isinstance(schema, Mapping):
        if schema.get("type") in _MODELS and "cls" in schema:
            yield schema["cls"]
        schema = list(schema.values())
    for one in schema if isinstance(schema, list | tuple) else ():
        yield from _classes(one)


def _exact(schema: Any, *, text: bool) -> Any:
    """Return a core schema with bytes as base64 text, and secrets as they are."""
    if isinstance(schema, list | tuple):
        return type(schema)(_exact(one, text=text) for one in schema)
    if not isinstance(schema, Mapping):
        return schema
    kind = schema.get("type")
    if not isinstance(kind, str):  # schemas by the names of fields, or by tags
        return {key: _exact(one, text=text) for key, one in schema.items()}
    if kind in _MODELS:
        text = _BYTES_MODES.isdisjoint(schema.get("config") or {})
    changed = dict(schema)
    if serialization := schema.get("serialization"):
        function = serialization.get("function")
        if "secret" in getattr(function, "__qualname__", "").lower() and _is_pydantics(function):
            changed["serialization"] = {**serialization, "function": _reveal}
        else:
            text = False  # the type defines its own JSON form
    elif kind == "bytes" and text:
        changed.pop("ref", None)
        return {
            "type": "function-before",
            "function": {"type": "no-info", "function": _from_base64},
            "schema": changed,
            "serialization": {"type": "function-plain", "function": _to_base64},
            **({"ref": schema["ref"]} if "ref" in schema else {}),
        }
    for key, one in changed.items():
        if key not in _LEAVES and key != "serialization":
            changed[key] = _exact(one, text=text)
    return changed


def _is_pydantics(thing: Any) -> bool:
    return getattr(thing, "__module__", "").startswith("pydantic.")


def _to_base64(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _from_base64(value: Any) -> Any:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def _reveal(value: Any, *_: Any) -> Any:
    return _to_base64(value.get_secret_value())
