"""The helper packages beside the stubs of Go and TypeScript."""

import json
import re
import struct
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.message import Message

from dispatch_grpc import marshal, new_call, unmarshal
from dispatch_grpc.endpoint.keys import new_key_pair, parse_signing_key
from dispatch_grpc.endpoint.signature import sign_request
from dispatch_grpc.schema import RunRequest
from dispatch_grpc.testing.conformance import Result, conformance
from dispatch_grpc.testing.conformance.reading import is_same
from dispatch_grpc.testing.conformance.subject import RUN
from tests.hostile import unused_port
from tests.polyglot.languages import EXAMPLES, ROOT, Programs, run
from tests.polyglot.service import Service
from tests.polyglot.test_values import TEXT, VECTORS

pytestmark = pytest.mark.timeout(600)
HELPERS = pytest.mark.parametrize("programs", ["go", "ts"], indirect=True)
PAIR = new_key_pair()
# JavaScript has one type of number: an integral double becomes an integer.
ONE_TYPE_OF_NUMBER = {"float zero": {"int": "0"}, "float integral": {"int": "2"}}
GOOGLE = "type.googleapis.com/google.protobuf."


def form(value: Any, *, inside: bool = False) -> Any:
    """What the programs print of a value."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int) and not inside:
        return {"int": str(value)}
    if isinstance(value, int | float):
        return {"float": struct.pack(">d", value).hex()}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, datetime):
        value -= datetime(1970, 1, 1, tzinfo=UTC)
        micros = value // timedelta(microseconds=1)
        return {"time": f"{micros // 10**6} {micros % 10**6 * 1000}"}
    if isinstance(value, timedelta):
        micros = value // timedelta(microseconds=1)
        sign = -1 if micros < 0 else 1
        return {"duration": f"{abs(micros) // 10**6 * sign} {abs(micros) % 10**6 * 1000 * sign}"}
    if isinstance(value, list):
        return [form(item, inside=True) for item in value]
    if isinstance(value, dict):
        return {"object": {key: form(item, inside=True) for key, item in value.items()}}
    assert isinstance(value, Message)
    return {"message": value.DESCRIPTOR.full_name}


def results_of(programs: Programs, service: Service, folder: Path) -> Any:
    if programs.language == "go":
        program = folder / "helpers"
        source = ROOT / "tests/polyglot/helpers.go"
        run("go", "build", "-o", program, source, cwd=EXAMPLES / "go")
        return json.loads(run(program, input=TEXT, **service.env))
    program = EXAMPLES / "ts/target/helpers.mjs"  # where it finds the packages
    program.write_text((ROOT / "tests/polyglot/helpers.mjs").read_text(encoding="utf-8"))
    return json.loads(run("node", program, input=TEXT, **service.env))


@HELPERS
def test_values_and_calls(programs: Programs, service: Service, tmp_path: Path):
    results = results_of(programs, service, tmp_path)
    for vector, found in zip(VECTORS, results["vectors"], strict=True):
        name = vector["name"]
        given, again = (
            AnyProto(type_url=one["type_url"], value=bytes.fromhex(one["value"]))
            for one in (vector, found)
        )
        if programs.language == "ts" and name in ONE_TYPE_OF_NUMBER:
            assert (found["name"], found["form"]) == (name, ONE_TYPE_OF_NUMBER[name])
            assert again.type_url == GOOGLE + "Int64Value"
        else:
            assert (found["name"], found["form"]) == (name, form(unmarshal(given))), name
            assert again.type_url.rpartition("/")[2] == given.type_url.rpartition("/")[2]
        assert is_same(given, again), name

    errors: dict[str, str] = results["errors"]
    for key, pattern in ERRORS.items():
        name, _, only = key.partition("/")
        if only not in {"", programs.language}:
            continue
        assert re.search(pattern, errors.pop(name)), (name, pattern)
    assert errors == {}
    assert "secret" not in str(results["errors"])

    expected = {"type_url": "Empty"}
    assert results["typed"]["order"]["object"]["more"] == {"object": {"n": None}}
    assert results["typed"]["order"]["object"]["note"] == "/w=="
    assert results["typed"]["order"]["object"]["when"].startswith("1970-01-01T00:00:00.00")
    kinds = {n: t for n, t in results["typed"].items() if isinstance(t, str)}
    if programs.language == "go":
        assert results["typed"]["round trip"] is True
        assert (results["typed"]["floats"], results["typed"]["int8"]) == ([1, 2.5], 7)
        assert "Hidden" not in results["typed"]["order"]["object"]
        assert "price" not in results["typed"]["order"]["object"]
        expected = {"pointer": "Int64Value", "nil pointer": "Empty", "named": "StringValue"}
        expected |= {"float32": "DoubleValue", "url": "StringValue"}
        expected |= {"token": "BytesValue", "ip": "StringValue"}
        assert results["typed"]["token inside"] == ["eA=="]
        assert results["typed"]["wrapped"] == [True, "STATUS_TIMEOUT"]
    else:
        assert "left" not in results["typed"]["order"]["object"]
        assert results["typed"]["wrapped"] is True
        expected = {"undefined": "Empty", "url": "StringValue", "date": "Timestamp"}
        expected |= {"safe": "Int64Value", "unsafe": "DoubleValue"}
    assert kinds == {name: GOOGLE + kind for name, kind in expected.items()}

    call = new_call(
        "http://example.com",
        "greet",
        {"name": "Ada"},
        expiration=timedelta(seconds=1.5),
        version="v1",
    )
    assert [request.calls for request in service.requests] == [[call], [call]]
    assert results["ids"] == [id for request in service.requests for id in request.dispatch_ids]
    keys = [request.metadata["idempotency-key"] for request in service.requests]
    assert len(set(keys)) == 2
    assert all(re.fullmatch("[!-~]{16,255}", key) for key in keys)


ERRORS = {
    "nan in a list": r"^\$\[1\]: JSON has no NaN",
    "int beyond a double": r"^\$\.n\[0\]: a double cannot hold 9007199254740993 exactly",
    "beyond uint64/ts": r"18446744073709551616 is beyond 64 bits",
    "not a text": r"^\$\[1\]: ",
    "not a text alone": r"^\$: ",
    "too deep": "nested too deep",
    "cycle": "nested too deep",
    "no form": r"^\$\.f: there is no form",
    "keys/go": r"^\$: the keys must be strings, and not int",
    "undefined/ts": r"^\$\[0\]: there is no form in JSON for undefined",
    "map/ts": r"^\$: there is no form in JSON for Map",
    "time": "timestamp|the date is not valid",
    "unknown type": "acme.Thing|unable to resolve|not found",
    "empty any": "",
    "malformed": "",
    "nothing": "there is no value",
    "another type/go": "cannot unmarshal number into Go value of type string",
    "overflow/go": "cannot unmarshal number 300 into Go value of type int8",
    "not whole/go": "cannot unmarshal number 1.5 into Go value of type int",
    "bytes as text/go": r"there is a \[\]uint8, and a string is needed",
    "another message": "dispatch.sdk.v1.Call",
    "no pointer/go": "a pointer is needed",
    "function": r"^function: .*got \"f\\n\"",
    "endpoint": "^endpoint: ",
    "host": "^endpoint: ",
    "input": r"^(input: )?\$: there is no form",
    "expiration": r"^expiration(Ms)?: 0 or more is required; got -1",
    "key/ts": "an Ed25519 public key is required",
    "name/ts": 'not valid, or taken: "f"',
}


@contextmanager
def hosted(programs: Programs, program: str, **env: str) -> Iterator[str]:
    """Run an endpoint of the example on a free port; yields its URL."""
    address = f"127.0.0.1:{unused_port()}"
    with subprocess.Popen(
        programs.commands[program],
        env={"PATH": "/usr/bin:/bin", "DISPATCH_ENDPOINT_ADDR": address, **env},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        try:
            lines = iter(process.stderr.readline, "")
            assert any("listening on" in line for line in lines), "the endpoint did not start"
            yield f"http://{address}"
        finally:
            process.kill()


def failures(url: str, *, signed: bool) -> dict[str, str]:
    """The checks that an endpoint does not pass."""
    key = parse_signing_key(PAIR.signing_key) if signed else None
    return {
        outcome.check: outcome.reason or f"expected {outcome.expected}; got {outcome.got}"
        for outcome in conformance(url, signing_key=key)
        if outcome.result is not Result.PASSED
    }


@HELPERS
@pytest.mark.parametrize("form", ["base64", "PEM"])
def test_the_example_passes_the_conformance(programs: Programs, form: str):
    key = PAIR.verification_key
    if form == "PEM":
        body = "MCowBQYDK2VwAyEA" + key  # the algorithm, and the 32 bytes
        key = f"-----BEGIN PUBLIC KEY-----\\n{body}\\n-----END PUBLIC KEY-----\\n"
    with hosted(programs, "conformance", DISPATCH_VERIFICATION_KEY=key) as url:
        assert failures(url, signed=True) == {}


@HELPERS
def test_without_a_key_requests_are_not_verified(programs: Programs):
    with hosted(programs, "conformance") as url:
        assert set(failures(url, signed=False).values()) == {
            "there is no signing key to check it with"
        }
        found = failures(url, signed=True)
        assert found.keys() > {"signatures: none"}
        assert all(name.startswith("signatures: ") for name in found)


@HELPERS
def test_a_url_of_its_own_may_be_signed_instead(programs: Programs):
    """As behind a proxy that changes the Host and the path."""
    own = "https://example.com/base"
    env = {"DISPATCH_VERIFICATION_KEY": PAIR.verification_key, "DISPATCH_ENDPOINT_URL": own}
    body = RunRequest(function="echo", input=marshal("x")).SerializeToString()
    headers = {"content-type": "application/proto"}
    key = parse_signing_key(PAIR.signing_key)
    with hosted(programs, "conformance", **env) as url:
        for signed_for, status in ((own, 200), ("https://example.com", 403)):
            signature = sign_request("POST", signed_for + RUN, headers, body, key)
            request = urllib.request.Request(url + RUN, body, {**headers, **signature})
            try:
                with urllib.request.urlopen(request) as response:
                    found = response.status
            except urllib.error.HTTPError as error:
                found = error.status
                error.close()
            assert found == status


@HELPERS
def test_a_body_over_the_limit_is_refused(programs: Programs):
    body = RunRequest(function="echo", input=marshal(bytes(17_000_000))).SerializeToString()
    request_headers = {"content-type": "application/proto"}
    env = {"DISPATCH_VERIFICATION_KEY": PAIR.verification_key}
    with hosted(programs, "conformance", **env) as url:
        request = urllib.request.Request(url + RUN, body, request_headers)
        # Go closes the connection before all was sent, and the client may not see the answer.
        with pytest.raises((urllib.error.URLError, ConnectionError)) as caught:
            urllib.request.urlopen(request)
        if programs.language == "ts" or isinstance(caught.value, urllib.error.HTTPError):
            assert isinstance(caught.value, urllib.error.HTTPError)
            assert caught.value.status == 400
            caught.value.close()
        assert failures(url, signed=True) == {}


@pytest.mark.parametrize("programs", ["ts"], indirect=True)
@pytest.mark.parametrize("path", ["//", "//[", "/%"])
def test_a_path_that_is_no_url_is_not_found(programs: Programs, path: str):
    with hosted(programs, "conformance") as url:
        connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
        try:
            connection.request("POST", path, b"", {"content-type": "application/proto"})
            assert connection.getresponse().status == 404
        finally:
            connection.close()


def test_the_examples_are_short():
    for name in ("go/conformance/main.go", "ts/src/conformance.ts"):
        assert len((EXAMPLES / name).read_text().splitlines()) <= 40
