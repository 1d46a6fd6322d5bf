"""The SQL functions write the bytes that `marshal` writes."""

import json
import math
from typing import Any

import asyncpg
import pytest
from google.protobuf.any_pb2 import Any as AnyProto
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch_grpc import MarshalError, marshal, new_call, unmarshal
from dispatch_grpc.schema import DispatchRequest
from tests.producers.conftest import SQL

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
EXACT = st.integers(-(2**53), 2**53)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | EXACT | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(TEXTS, inner, max_size=8),
    max_leaves=40,
)


def as_jsonb(value: Any) -> Any:
    """The value as jsonb keeps it: numbers without a fraction are integers."""
    if isinstance(value, float) and value.is_integer():
        text = json.dumps(value)
        return int(value) if "e" in text else abs(value) if value == 0 else value
    if isinstance(value, list):
        return [as_jsonb(item) for item in value]
    if isinstance(value, dict):
        return {key: as_jsonb(item) for key, item in value.items()}
    return value


def is_plain(value: Any) -> bool:
    """Whether `marshal` has one way only to write a value: dicts have no order."""
    if isinstance(value, list):
        return all(map(is_plain, value))
    return not isinstance(value, dict) or (len(value) <= 1 and all(map(is_plain, value.values())))


def is_in_reach(value: Any) -> bool:
    """Whether all floats of a value are exact as jsonb's decimals, or beyond 64 bits."""
    if isinstance(value, list):
        return all(map(is_in_reach, value))
    if isinstance(value, dict):
        return all(map(is_in_reach, value.values()))
    if isinstance(value, float) and "e" in json.dumps(value) and 2**53 < abs(value) < 2**64:
        return False
    return not isinstance(value, float) or value == 0 or abs(value) > 1e-300


@settings(max_examples=200, deadline=None)
@given(value=JSON.filter(is_in_reach))
def test_jsonb_becomes_what_marshal_writes(sql: SQL, value: Any):
    found = sql.any(json.dumps(value))
    wanted = as_jsonb(value)
    if isinstance(wanted, int) and not -(2**63) <= wanted < 2**64:  # `marshal` takes no such int
        assert unmarshal(found) == value
        return
    if isinstance(value, list | dict):
        wanted = value
    assert found.type_url == marshal(wanted).type_url
    assert unmarshal(found) == unmarshal(marshal(wanted))
    if is_plain(wanted) and "-0.0" not in json.dumps(value):
        assert found == marshal(wanted)


@pytest.mark.parametrize(
    "number", [0, 1, 127, 128, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -1, -(2**63)]
)
def test_integers_are_exact(sql: SQL, number: int):
    assert sql.any(str(number)) == marshal(number)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "[1, {'a b': [9007199254740993]}]",
            r"\$\[1\]\['a b'\]\[0\]: an integer inside .* a double",
        ),
        ("{'items': {'n': 18446744073709551615}}", r"\$\.items\.n: an integer .* got 184467440737"),
        ("1" + "0" * 400, r"\$: a number must be within the range of a double"),
        ("1e-400", r"\$: a number must be within the range of a double"),
        ("123456789012345678901234567890", r"an integer inside"),
        ("[" * 46 + "]" * 46, "nested too deep"),
        ("{'a':" * 31 + "1" + "}" * 31, "nested too deep"),
    ],
)
def test_what_would_lose_something_is_refused(sql: SQL, text: str, error: str):
    with pytest.raises(asyncpg.InvalidParameterValueError, match=rf"^input: .*{error}"):
        sql.any(text.replace("'", '"'))


@pytest.mark.parametrize("text", ["[" * 45 + "]" * 45, '{"a":' * 30 + "1" + "}" * 30])
def test_values_are_nested_as_deep_as_marshal_takes_them(sql: SQL, text: str):
    assert sql.any(text) == marshal(json.loads(text))
    with pytest.raises(MarshalError):
        marshal([json.loads(text)])


def test_doubles_are_exact(sql: SQL):
    for number in (0.1, -1.5, 1e300, 5e-324, math.pi, 1.7976931348623157e308, 2.0**70):
        (found,) = unmarshal(sql.any(json.dumps([number])))
        assert found == number


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=40) | JSON.map(lambda value: marshal(value).SerializeToString()))
def test_bytes_that_are_no_any_are_refused(sql: SQL, data: bytes):
    problem = sql.value("SELECT problem_of_any($1)", data)
    if problem is None:
        assert AnyProto.FromString(data).SerializeToString() in {data, data.replace(b"\x12\0", b"")}


@settings(max_examples=100, deadline=None)
@given(value=JSON, number=st.integers(0, 2**64 - 1), seconds=st.none() | st.integers(0, 10**6))
def test_a_request_has_the_digest_of_the_same_request_by_a_client(
    sql: SQL, value: Any, number: int, seconds: int | None
):
    """So that a key that was used by the one is known to the other."""
    call = new_call("http://here", "f", value, version="1.2", correlation_id=number)
    if seconds is not None:
        call.expiration.FromMicroseconds(seconds * 1001)
        call.expiration.SetInParent()
    found = sql.value(
        "SELECT pb_request('{http://here}', '{f}', $1, '{1.2}', "
        "ARRAY[$2::numeric * interval '1 us'], $3)",
        [call.input.SerializeToString()],
        None if seconds is None else seconds * 1001,
        [number - 2**64 if number >= 2**63 else number],
    )
    assert found == DispatchRequest(calls=[call]).SerializeToString(deterministic=True)
