"""The value vectors: the file is what marshal writes, and what unmarshal reads back."""

import json
import math
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.internal import api_implementation
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value

from dispatch_grpc import marshal, testing, unmarshal
from dispatch_grpc.values import scalars
from tests.value_vectors import VALUE, VECTORS, Vector, entry

KEPT = json.loads((Path(testing.__file__).parent / "values.json").read_text(encoding="utf-8"))


def test_there_is_one_for_each_value():
    """`make vectors` writes the file anew."""
    assert [vector["name"] for vector in KEPT] == [vector.name for vector in VECTORS]
    assert set(scalars._ENCODERS) <= {type(vector.value) for vector in VECTORS}


@pytest.mark.parametrize(
    ("vector", "kept"), list(zip(VECTORS, KEPT, strict=False)), ids=[v.name for v in VECTORS]
)
def test_python_writes_and_reads_it(vector: Vector, kept: dict[str, str]):
    written = entry(vector)
    if api_implementation.Type() == "python" and kept["type_url"] == VALUE:
        # It writes the fields of a dict in another order: `meaning`, below, has to be the same.
        assert sorted(written["value"]) == sorted(kept["value"])
        written = {**written, "value": kept["value"]}
    assert json.dumps(written) == json.dumps(kept)  # 0.0 == -0.0, but not in JSON

    any = Any(type_url=kept["type_url"], value=bytes.fromhex(kept["value"]))
    by_json = ParseDict(kept["json"], Any())
    for found in (any, by_json, marshal(vector.value)):
        assert found.type_url == any.type_url
        assert same(unmarshal(found, vector.T), vector.value)
        assert meaning(found) == meaning(any)


def meaning(any: Any) -> object:
    """What an any holds; the fields of a dict have no order."""
    return Value.FromString(any.value) if any.type_url == VALUE else any.value


def same(found: object, value: object) -> bool:
    if isinstance(value, Any):
        return isinstance(found, Message) and found.SerializeToString() == value.value
    if isinstance(value, float):
        assert isinstance(found, float)
        return (math.isnan(found) and math.isnan(value)) or (
            found == value and math.copysign(1, found) == math.copysign(1, value)
        )
    return found == value
