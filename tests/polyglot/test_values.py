"""The value vectors in every language: what each library reads and writes means the same."""

import json

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict

from dispatch_grpc.schema import load_all
from tests.polyglot.languages import ROOT, Programs

pytestmark = pytest.mark.timeout(600)
TEXT = (ROOT / "dispatch_grpc/testing/values.json").read_text(encoding="utf-8")
VECTORS = json.loads(TEXT)
READ, PARSED, PRINTED = "the bytes written after reading bytes", "… JSON", "the JSON of the bytes"

# docs/polyglot.md names these.
KNOWN = {
    # {"@type": …, "value": {}}, where the others leave the value out; all of them read both.
    "go": {("none", PRINTED)},
    # JSON.stringify writes -0 as 0.
    "ts": {("float negative zero", PRINTED), ("list of doubles at their limits", PRINTED)},
    # Its JSON reader makes 0.0 of -0.0 in a DoubleValue.
    "java": {("float negative zero", PARSED)},
}


def exact(form: object) -> str:
    """JSON as text, by its meaning: 2 is 2.0, but 0.0 is not -0.0, and keys have no order."""
    return json.dumps(json.loads(json.dumps(form), parse_int=float), sort_keys=True)


def form(vector: dict[str, object], data: str) -> object:
    load_all()
    return MessageToDict(Any(type_url=str(vector["type_url"]), value=bytes.fromhex(data)))


@pytest.mark.parametrize("programs", ["go", "ts", "java"], indirect=True)
def test_the_vectors_keep_their_meaning(programs: Programs):
    results = json.loads(programs.run("values", input=TEXT), parse_int=float)
    assert [result["name"] for result in results] == [vector["name"] for vector in VECTORS]
    differences = {
        (vector["name"], what): f"{found} instead of {vector['json']}"
        for vector, result in zip(VECTORS, results, strict=True)
        for what, found in (
            (READ, form(vector, result["binary"])),
            (PARSED, form(vector, result["parsed"])),
            (PRINTED, result["json"]),
        )
        if exact(found) != exact(vector["json"])
    }
    assert differences.keys() == KNOWN[programs.language], differences
