"""Signatures of requests: what is accepted, what is refused and why; that no key is shown.

Signatures are made and checked here by hand, by RFC 9421, section 2.5, with `cryptography` and
`hashlib` alone: the library that `dispatch_grpc.signature` uses has no part in them.
"""

import base64
import hashlib
import pickle
import re
import subprocess
import sys
import traceback
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from dispatch_grpc.codes import Code
from dispatch_grpc.endpoint.signature_base import library_base, plain_base
from dispatch_grpc.errors import ConfigurationError, SignatureError
from dispatch_grpc.signature import (
    KeyPair,
    new_key_pair,
    parse_signing_key,
    parse_verification_key,
    sign_request,
    verify_request,
)

SEED = bytes(range(32))
PRIVATE = Ed25519PrivateKey.from_private_bytes(SEED)
PUBLIC = PRIVATE.public_key()
CREATED = 1_700_000_000
NOW = datetime.fromtimestamp(CREATED, UTC)

METHOD = "POST"
URL = "https://example.com:8443/dispatch.sdk.v1.FunctionService/Run"
BODY = b"\x0a\x04echo"
COVERED = ("@method", "@path", "@authority", "content-type", "content-digest")
PARAMETERS = f';created={CREATED};keyid="default";alg="ed25519"'

MISSING = Code.UNAUTHENTICATED
INVALID = Code.PERMISSION_DENIED


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def digest_of(body: bytes, algorithm: str = "sha-512") -> str:
    return f"{algorithm}=:{b64(hashlib.new(algorithm.replace('-', ''), body).digest())}:"


def base_of(components: Iterable[str], inner: str, values: Mapping[str, str]) -> bytes:
    """The signature base: RFC 9421, section 2.5."""
    lines = [f'"{name}": {values[name]}' for name in components]
    return "\n".join([*lines, f'"@signature-params": {inner}']).encode()


def signed(
    components: Iterable[str] = COVERED,
    parameters: str = PARAMETERS,
    values: Mapping[str, str] | None = None,
    *,
    key: Ed25519PrivateKey = PRIVATE,
    label: str = "dispatch",
) -> dict[str, str]:
    """The headers of a request that is signed by hand; values are those of components."""
    known = {
        "@method": METHOD,
        "@path": "/dispatch.sdk.v1.FunctionService/Run",
        "@authority": "example.com:8443",
        "@query": "?",
        "content-type": "application/proto",
        "content-digest": digest_of(BODY),
        **(values or {}),
    }
    components = tuple(components)
    inner = "(" + " ".join(f'"{name}"' for name in components) + ")" + parameters
    headers = {name: value for name, value in known.items() if name[0] != "@"}
    headers["signature-input"] = f"{label}={inner}"
    headers["signature"] = f"{label}=:{b64(key.sign(base_of(components, inner, known)))}:"
    return headers


def edited(headers: Mapping[str, str], name: str, old: str, new: str) -> dict[str, str]:
    """The headers of a request of which one was changed on the way."""
    assert old in headers[name]
    return {**headers, name: headers[name].replace(old, new)}


Headers = Mapping[str, str] | list[tuple[str, str]]


def verify(headers: Headers, **changed: Any) -> None:
    """Verify the request that `signed` signs, but for what is changed."""
    request = {"method": METHOD, "url": URL, "body": BODY, "key": PUBLIC, "now": NOW, **changed}
    pairs = list(headers.items()) if isinstance(headers, Mapping) else headers
    verify_request(headers=pairs, **request)


def refused(headers: Headers, code: Code, message: str, **changed: Any) -> None:
    with pytest.raises(SignatureError, match=re.escape(message)) as caught:
        verify(headers, **changed)
    assert caught.value.code is code
    assert b64(PUBLIC.public_bytes_raw()) not in str(caught.value)


# What is accepted.


@pytest.mark.parametrize(
    "components",
    [
        COVERED,
        COVERED[::-1],
        sorted(COVERED),
        (*COVERED, "@query"),
        ("x-request-id", *COVERED, "accept"),
    ],
)
def test_a_signature_made_by_hand_is_accepted(components: Iterable[str]):
    verify(signed(components, values={"accept": "*/*", "x-request-id": "7, 8"}))


@pytest.mark.parametrize(
    "parameters",
    [
        f';keyid="default";created={CREATED}',  # the key tells the algorithm
        f';alg="ed25519";keyid="default";created={CREATED}',
        f'{PARAMETERS};expires={CREATED + 60};nonce="n";tag="t"',
    ],
)
def test_parameters_come_in_any_order_and_some_are_optional(parameters: str):
    verify(signed(parameters=parameters))


def test_names_of_headers_have_no_case():
    verify({name.title(): value for name, value in signed().items()})


def test_a_second_digest_is_checked_too():
    both = f"{digest_of(BODY, 'sha-256')}, {digest_of(BODY)}"
    verify(signed(values={"content-digest": both}))
    wrong = f"{digest_of(b'other', 'sha-256')}, {digest_of(BODY)}"
    refused(signed(values={"content-digest": wrong}), INVALID, "content-digest")


# Made by dispatch.signature.sign_request of dispatch-py 0.8.0, which uses an older version of
# the library: two runs, which differ in the order of the components.
@pytest.mark.parametrize(
    ("components", "signature"),
    [
        (
            '"@method" "content-type" "content-digest" "@authority" "@path"',
            "GSB8cOTJOFOG36elH0RKCyb7n7ni8tKKlsAzuLHgSyGUPMMBY1Ai8YAy7lLzAvz/MNJ9nHLDpSZ0nycHYu4PCQ==",
        ),
        (
            '"@authority" "content-digest" "@path" "content-type" "@method"',
            "0hGkO1cARHC4t7dLiW3NpmkRJEbRy5VMXK+urdzstNuN7KCeQybYlcEFFRqxMCIU3DwAI/aCFX50Se7EAcY0Bw==",
        ),
    ],
)
def test_a_signature_of_dispatch_py_is_accepted(components: str, signature: str):
    headers = {
        "Content-Type": "application/proto",
        "Content-Digest": (
            "sha-512=:fsRugqyIJFIDOLlHzmGD4q/TOQRgFHZqjtyhzrPiiV/3A9up6f+9+g+yzUBR5ya0XHaST+wF2s8A2L"
            "5E2/NjOA==:"
        ),
        "Signature-Input": (
            f'dispatch=({components});created=1700000000;keyid="default";alg="ed25519"'
        ),
        "Signature": f"dispatch=:{signature}:",
    }
    key = parse_verification_key("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=")
    url = "https://example.com:8443/dispatch.sdk.v1.FunctionService/Run?x=1"
    verify(headers, key=key, url=url)
    refused(headers, INVALID, "does not fit", key=key, url=url.replace("Run", "run"))


def test_what_is_made_by_hand_here_is_what_the_rfc_has():
    # Appendices B.1.4 and B.2.6.
    private = parse_signing_key(
        "-----BEGIN PRIVATE KEY-----\n"
        "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n"
        "-----END PRIVATE KEY-----\n"
    )
    public = parse_verification_key(
        "-----BEGIN PUBLIC KEY-----\n"
        "MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n"
        "-----END PUBLIC KEY-----\n"
    )
    assert private.public_key().public_bytes_raw() == public.public_bytes_raw()
    values = {
        "date": "Tue, 20 Apr 2021 02:07:55 GMT",
        "@method": "POST",
        "@path": "/foo",
        "@authority": "example.com",
        "content-type": "application/json",
        "content-length": "18",
    }
    inner = (
        '("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"'
    )
    signature = (
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    )
    assert b64(private.sign(base_of(values, inner, values))) == signature
    headers = {name: value for name, value in values.items() if name[0] != "@"}
    headers |= {"signature-input": f"sig-b26={inner}", "signature": f"sig-b26=:{signature}:"}
    request: dict[str, Any] = {
        "url": "https://example.com/foo",
        "body": b'{"hello": "world"}',
        "key": public,
        "now": datetime.fromtimestamp(1618884473, UTC),
    }
    refused(headers, MISSING, "'dispatch'", **request)
    relabelled = {name: value.replace("sig-b26", "dispatch") for name, value in headers.items()}
    refused(relabelled, INVALID, "keyid", **request)


def test_what_is_signed_is_as_the_rfc_has_it():
    headers = {"Content-Type": " application/proto ", "accept": "*/*"}
    added = sign_request(METHOD, URL, headers, BODY, PRIVATE, created=NOW)
    assert list(added) == ["content-digest", "signature-input", "signature"]
    assert added["content-digest"] == digest_of(BODY)
    found = re.fullmatch(r"dispatch=(\((.*)\);(.*))", added["signature-input"])
    assert found
    inner, components, parameters = found.groups()
    assert components.split() == [f'"{name}"' for name in COVERED]
    assert sorted(parameters.split(";")) == [
        'alg="ed25519"',
        f"created={CREATED}",
        'keyid="default"',
    ]
    signature = re.fullmatch(r"dispatch=:([A-Za-z0-9+/]+=*):", added["signature"])
    assert signature
    values = {
        "@method": "POST",
        "@path": "/dispatch.sdk.v1.FunctionService/Run",
        "@authority": "example.com:8443",
        "content-type": "application/proto",
        "content-digest": digest_of(BODY),
    }
    PUBLIC.verify(base64.b64decode(signature[1]), base_of(COVERED, inner, values))
    verify({**headers, **added})


@pytest.mark.parametrize(
    ("url", "path", "authority"),
    [
        ("https://example.com", "/", "example.com"),
        ("HTTPS://Example.COM:443/", "/", "example.com"),
        ("http://example.com:80/a?b=c", "/a", "example.com"),
        ("http://example.com:443/a", "/a", "example.com:443"),
        ("http://[::1]:8000/a%20b//c/../d", "/a%20b//c/../d", "[::1]:8000"),
    ],
)
def test_path_and_authority_are_those_of_the_rfc(url: str, path: str, authority: str):
    # RFC 9421, sections 2.2.3 and 2.2.6.
    values = {"@path": path, "@authority": authority}
    verify(signed(values=values), url=url)
    headers = {"content-type": "application/proto"}
    verify(headers | sign_request(METHOD, url, headers, BODY, PRIVATE, created=NOW), url=url)
    values["@path"] += "x"
    refused(signed(values=values), INVALID, "does not fit", url=url)


def test_the_present_is_the_default():
    headers = {"content-type": "text/plain"}
    headers |= sign_request("PUT", "http://localhost/", headers, b"", PRIVATE)
    verify_request("PUT", "http://localhost/", headers.items(), b"", PUBLIC)
    with pytest.raises(SignatureError, match=r"the signature is \d+\.\d s old"):
        verify_request(METHOD, URL, signed().items(), BODY, PUBLIC)


# What was changed on the way.


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "PUT"},
        {"url": URL + "/"},
        {"url": URL.replace("Run", "run")},
        {"url": URL.replace("8443", "8444")},
        {"url": URL.replace(":8443", "")},
        {"url": URL.replace("example.com", "example.org")},
        {"key": Ed25519PrivateKey.generate().public_key()},
    ],
)
def test_a_request_that_was_changed_is_refused(changed: dict[str, Any]):
    refused(signed(), INVALID, "the signature does not fit this request", **changed)


def test_the_message_says_what_request_it_was_and_what_was_signed():
    refused(
        signed((*COVERED, "x-a"), values={"x-a": "1"}),
        INVALID,
        "this request, 'POST' 'http://10.0.0.1/': one of @method, @path, @authority, content-type, "
        "content-digest, x-a or a parameter was changed, or it was made with another key",
        url="http://10.0.0.1/",
    )


@pytest.mark.parametrize(
    ("header", "old", "new"),
    [
        ("content-type", "application/proto", "application/json"),
        ("content-type", "application/proto", "application/proto2"),
        ("content-digest", digest_of(BODY), digest_of(b"other")),
        ("content-digest", digest_of(BODY), f"{digest_of(BODY)};a"),
        ("x-a", "1", "2"),
        ("signature-input", f"{CREATED}", f"{CREATED + 1}"),
        ("signature-input", ';alg="ed25519"', ""),
        ("signature-input", ";keyid", ';nonce="1";keyid'),
        ("signature-input", ' "x-a"', ""),
        ("signature-input", '"@method" "@path"', '"@path" "@method"'),
    ],
)
def test_headers_that_were_changed_are_refused(header: str, old: str, new: str):
    headers = signed((*COVERED, "x-a"), values={"x-a": "1"})
    verify(headers)
    refused(edited(headers, header, old, new), INVALID, "the signature does not fit this request")


def test_a_digest_that_was_changed_with_the_body_is_refused():
    headers = {**signed(), "content-digest": digest_of(b"other")}
    refused(headers, INVALID, "does not fit", body=b"other")


@pytest.mark.parametrize("body", [b"", BODY + b"\0", BODY[:-1], BODY[::-1]])
def test_a_body_that_was_changed_is_refused(body: bytes):
    refused(signed(), INVALID, "Content-Digest does not match the message body", body=body)


def test_a_signature_that_was_changed_is_refused():
    headers = signed()
    good = base64.b64decode(headers["signature"].removeprefix("dispatch=:").rstrip(":"))
    for index in range(64):
        bad = bytearray(good)
        bad[index] ^= 1 << index % 8
        refused({**headers, "signature": f"dispatch=:{b64(bad)}:"}, INVALID, "does not fit")
    for other in (b"", good[:-1], good + b"\0", bytes(64)):
        refused({**headers, "signature": f"dispatch=:{b64(other)}:"}, INVALID, "does not fit")


# What was signed, but not as it has to be.


@pytest.mark.parametrize("component", COVERED)
def test_each_component_has_to_be_covered(component: str):
    rest = [name for name in COVERED if name != component]
    refused(signed(rest), INVALID, f"the signature does not cover {component}")
    left_out = edited(signed(), "signature-input", f'"{component}"', "")
    refused(left_out, INVALID, f"the signature does not cover {component}")
    absent = ", ".join(rest)
    refused(signed([component]), INVALID, f"the signature does not cover {absent}")
    refused(signed([]), INVALID, f"the signature does not cover {', '.join(COVERED)}")


@pytest.mark.parametrize("parameter", ["sf", 'key="sha-512"', "bs", "req", "tr"])
def test_a_component_with_a_parameter_is_another_component(parameter: str):
    headers = edited(signed(), "signature-input", '-digest"', f'-digest";{parameter}')
    refused(headers, INVALID, "the signature does not cover content-digest")


@pytest.mark.parametrize(
    ("component", "message"),
    [
        ("x-none", '"x-none" not found'),
        ("X-A", '"X-A" not found'),
        ("@nothing", "@nothing"),
        ("@status", "@status"),
        ("@signature-params", "cannot be verified"),
        ("content-type", 'Component ID ""content-type"" appeared multiple times'),
    ],
)
def test_a_component_that_there_is_not_is_refused(component: str, message: str):
    headers = edited(signed(), "signature-input", ")", f' "{component}")')
    refused(headers, INVALID, message)


@pytest.mark.parametrize("header", ["content-type", "content-digest"])
def test_a_covered_header_has_to_be_there(header: str):
    headers = {name: value for name, value in signed().items() if name != header}
    refused(headers, INVALID, f'"{header}" not found')


@pytest.mark.parametrize(
    ("keyid", "alg", "message"),
    [
        ("other", "ed25519", "the parameter keyid of the signature must be 'default'; got 'other'"),
        ("", "ed25519", "the parameter keyid of the signature must be 'default'; got ''"),
        ("Default", "ed25519", "got 'Default'"),
        ("default", "rsa-pss-sha512", "alg of the signature must be 'ed25519'; got 'rsa-pss"),
        ("default", "hmac-sha256", "alg of the signature must be 'ed25519'; got 'hmac-sha256'"),
        ("default", "", "alg of the signature must be 'ed25519'; got ''"),
    ],
)
def test_another_key_or_algorithm_is_refused(keyid: str, alg: str, message: str):
    parameters = f';created={CREATED};keyid="{keyid}";alg="{alg}"'
    refused(signed(parameters=parameters), INVALID, message)
    refused(edited(signed(), "signature-input", PARAMETERS, parameters), INVALID, message)


def test_a_parameter_that_nobody_knows_is_refused():
    refused(signed(parameters=f"{PARAMETERS};x=1"), INVALID, '"x"')


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("", "the signature has no parameter created"),
        (f";created={CREATED}", "the signature has no parameter keyid"),
        (';keyid="default"', "the signature has no parameter created"),
        (';created="now";keyid="default"', "the parameter created"),
        (f";created={CREATED}.0;keyid=" + '"default"', "the parameter created"),
        (f";created=@{CREATED};keyid=" + '"default"', "the parameter created"),
        (';created;keyid="default"', "must be of the type int; got True"),
        (f";created={CREATED};keyid=default", "the parameter keyid"),
        (f";created={CREATED};keyid=7", "must be of the type str; got 7"),
        (f"{PARAMETERS};alg=ed25519", "the parameter alg"),
        (f'{PARAMETERS};expires="1"', "the parameter expires"),
        (f"{PARAMETERS};nonce=1", "the parameter nonce"),
        (f"{PARAMETERS};tag=:YQ==:", "the parameter tag"),
    ],
)
def test_parameters_have_their_types(parameters: str, message: str):
    refused(signed(parameters=parameters), MISSING, message)


# When it was signed.


@pytest.mark.parametrize("seconds", [-5, -4.999999, 0, 0.5, 300, 305])
def test_a_signature_of_the_last_five_minutes_is_accepted(seconds: float):
    verify(signed(), now=NOW + timedelta(seconds=seconds))
    away = timezone(timedelta(hours=-7))
    verify(signed(), now=(NOW + timedelta(seconds=seconds)).astimezone(away))


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (305.000001, "the signature is 305.0 s old; 300 s and 5 s between clocks are allowed"),
        (412, "the signature is 412.0 s old"),
        (86400, "the signature is 86400.0 s old"),
        (-5.000001, "the signature was created 5.0 s in the future; 5 s between clocks"),
        (-301, "the signature was created 301.0 s in the future"),
    ],
)
def test_an_older_or_a_future_signature_is_refused(seconds: float, message: str):
    refused(signed(), INVALID, message, now=NOW + timedelta(seconds=seconds))
    refused(signed(), INVALID, "are the clocks right?", now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("created", [0, -1, 999_999_999_999_999, -999_999_999_999_999])
def test_a_time_out_of_bounds_is_refused(created: int):
    parameters = PARAMETERS.replace(str(CREATED), str(created))
    refused(signed(parameters=parameters), INVALID, "the signature ")


def test_a_signature_that_expired_is_refused():
    headers = signed(parameters=f"{PARAMETERS};expires={CREATED + 60}")
    verify(headers, now=NOW + timedelta(seconds=65))
    late = NOW + timedelta(seconds=65.5)
    refused(headers, INVALID, "the signature expired 5.5 s ago", now=late)
    headers = signed(parameters=f"{PARAMETERS};expires=-999999999999999")
    refused(headers, INVALID, "expired")


def test_times_without_a_zone_are_errors_of_the_caller():
    naive = datetime(2024, 1, 1)
    with pytest.raises(ConfigurationError, match="now: an aware datetime"):
        verify(signed(), now=naive)
    with pytest.raises(ConfigurationError, match="created: an aware datetime"):
        sign_request(METHOD, URL, {"content-type": "a/b"}, BODY, PRIVATE, created=naive)


# Other signatures beside ours.

OTHER = Ed25519PrivateKey.generate()


def joined(*several: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request with more than one signature."""
    names = ("signature-input", "signature")
    return {**several[0], **{name: ", ".join(h[name] for h in several) for name in names}}


def test_only_our_label_counts():
    by_us, by_other = signed(label="proxy"), signed(label="proxy", key=OTHER)
    refused(by_us, MISSING, "the header signature-input has no member 'dispatch'")
    forged = signed(key=OTHER)
    for headers in (joined(by_us, forged), joined(forged, by_us)):
        refused(headers, INVALID, "the signature does not fit")
    for headers in (joined(signed(), by_other), joined(by_other, signed())):
        verify(headers)
        refused(headers, INVALID, "the signature does not fit", key=OTHER.public_key())


def test_a_signature_counts_under_its_own_label_only():
    headers = joined(signed(key=OTHER), signed((*COVERED, "@query"), label="proxy"))
    swapped = headers["signature"].replace("dispatch=", "x=").replace("proxy=", "dispatch=")
    refused({**headers, "signature": swapped}, INVALID, "the signature does not fit")


@pytest.mark.parametrize("header", ["signature-input", "signature"])
def test_our_label_has_to_be_in_both_headers(header: str):
    headers = edited(signed(), header, "dispatch=", "dispatch2=")
    refused(headers, MISSING, f"the header {header} has no member 'dispatch'")


@pytest.mark.parametrize(
    ("header", "other"),
    [
        ("signature-input", "proxy=1"),
        ("signature-input", 'proxy=(1 2.5 token @3 :YQ==:);created="no";x'),
        ("signature-input", 'proxy=("@method" "@method");created=1;keyid="default"'),
        ("signature-input", "a=(), a=()"),
        ("signature-input", "a=();dispatch;dispatch, b;dispatch=1;dispatch=2"),
        ("signature", "proxy"),
        ("signature", 'proxy=("a" "b")'),
        ("signature", "a=:YQ==:, a=1"),
    ],
)
def test_what_others_signed_is_not_looked_at(header: str, other: str):
    headers = signed()
    verify({**headers, header: f"{headers[header]}, {other}"})
    verify({**headers, header: f"{other},{headers[header]}"})


@pytest.mark.parametrize("header", ["signature-input", "signature"])
def test_our_label_twice_is_malformed(header: str):
    value = signed()[header]
    for other in (value, "dispatch=1", "dispatch"):
        for both in (f"{value}, {other}", f"{other}, {value}"):
            headers = {**signed(), header: both}
            refused(headers, MISSING, f"the header {header} is malformed: 'dispatch' occurs twice")


# Headers that are repeated, missing, malformed.


@pytest.mark.parametrize(
    "header", ["signature", "signature-input", "content-type", "content-digest", "x-a"]
)
@pytest.mark.parametrize("value", [None, "", "other"])
def test_a_repeated_header_is_refused(header: str, value: str | None):
    headers = list(signed((*COVERED, "x-a"), values={"x-a": "1"}).items())
    verify(headers)
    again = (header.upper(), dict(headers)[header] if value is None else value)
    for pairs in ([*headers, again], [again, *headers]):
        refused(pairs, INVALID, f"the header {header} occurs 2 times; once is allowed")


def test_headers_that_are_not_covered_may_be_repeated():
    verify([("accept", "a"), *signed().items(), ("accept", "b"), ("é", "\ud800"), ("", "\n")])


@pytest.mark.parametrize("header", ["signature", "signature-input"])
def test_a_request_without_a_signature_is_refused(header: str):
    headers = {name: value for name, value in signed().items() if name != header}
    refused(headers, MISSING, f"the request is not signed: the header {header} is missing")
    refused({}, MISSING, "the request is not signed: the header signature-input is missing")


@pytest.mark.parametrize(
    ("header", "value", "message"),
    [
        ("signature-input", "", "has no member 'dispatch'"),
        ("signature-input", " ", "has no member 'dispatch'"),
        ("signature-input", "dispatch", "must be a list of strings"),
        ("signature-input", 'dispatch="@method"', "must be a list of strings"),
        ("signature-input", f"dispatch=(@1 token){PARAMETERS}", "must be a list of strings"),
        ("signature-input", f"dispatch=(1){PARAMETERS}", "must be a list of strings"),
        ("signature-input", "dispatch=(", "malformed"),
        ("signature-input", 'dispatch=("@method"', "malformed"),
        ("signature-input", "dispatch=();created=9999999999999999", "malformed"),
        ("signature-input", "dispatch=(),", "malformed"),
        ("signature-input", "Dispatch=()", "malformed"),
        ("signature-input", 'dispatch=("é")', "malformed"),
        ("signature-input", "dispatch=();\ud800", "malformed"),
        ("signature-input", "\0", "malformed"),
        ("signature", "", "has no member 'dispatch'"),
        ("signature", "dispatch", "must be a byte sequence"),
        ("signature", "dispatch=YQ==", "malformed"),
        ("signature", 'dispatch="YQ=="', "must be a byte sequence"),
        ("signature", "dispatch=(:YQ==:)", "must be a byte sequence"),
        ("signature", "dispatch=:YQ==", "malformed"),
        ("signature", "dispatch=:Y:", "malformed"),
        ("signature", "dispatch=:Y-_=:", "malformed"),
        ("signature", ":YQ==:", "malformed"),
        ("signature", "dispatch=:é:", "malformed"),
    ],
)
def test_malformed_headers_are_refused(header: str, value: str, message: str):
    refused({**signed(), header: value}, MISSING, f"the header {header}")
    refused({**signed(), header: value}, MISSING, message)


@pytest.mark.parametrize(
    ("digest", "message"),
    [
        (digest_of(BODY, "sha-256"), "sha-512 is required; got sha-256"),
        (digest_of(BODY, "md5"), "'md5'"),
        (f"{digest_of(BODY, 'md5')}, {digest_of(BODY)}", "'md5'"),
        ("unixsum=:YQ==:", "'unixsum'"),
        (digest_of(b"other"), "does not match the message body"),
        ("sha-512=:YQ==:", "Invalid sha-512 digest length"),
        ("sha-512=::", "Invalid sha-512 digest length"),
        ("sha-512", "byte sequences"),
        ('sha-512="a"', "byte sequences"),
        ("sha-512=(:YQ==:)", "byte sequences"),
        (f"{digest_of(BODY)}, {digest_of(BODY)}", "Duplicate"),
        (digest_of(BODY).replace("sha", "SHA"), "Malformed"),
        (b64(hashlib.sha512(BODY).digest()), "Malformed"),
        ("", "at least one digest"),
    ],
)
def test_a_digest_that_is_not_right_is_refused_though_signed(digest: str, message: str):
    headers = signed(values={"content-digest": digest})
    refused(headers, INVALID, "the header content-digest: ")
    refused(headers, INVALID, message)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"url": "/dispatch.sdk.v1.FunctionService/Run"}, "Invalid URL"),
        ({"url": ""}, "Invalid URL"),
        ({"url": "https://example.com:8443/é"}, "Invalid URL"),
        ({"url": "https://example.com:8443/%"}, "Invalid URL"),
        ({"url": "https://[::g]/"}, "Invalid URL"),
        ({"method": "post"}, "method must be an uppercase string"),
        ({"method": ""}, "does not fit"),
        ({"method": "P\nT"}, "cannot be verified"),
    ],
)
def test_a_request_that_cannot_be_a_signed_one_is_refused(changed: dict[str, str], message: str):
    refused(signed(), INVALID, message, **changed)


@pytest.mark.parametrize(
    "value", ["application/proto\n", "a\r\nb: c", "é", "\0", "\ud800", "a\x7f"]
)
def test_header_values_that_cannot_be_signed_are_refused(value: str):
    refused({**signed(), "content-type": value}, INVALID, "the signature cannot be verified: ")


# Signing.


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"headers": {}}, "headers: one content-type is required, which is signed; got 0"),
        ({"headers": {"Content-Type": "a/b", "content-type": "a/b"}}, "got 2"),
        ({"headers": {"content-type": "a\nb"}}, "cannot be signed: .*content-type"),
        ({"headers": {"content-type": "é"}}, "cannot be signed: .*ASCII"),
        ({"url": "/Run"}, "cannot be signed: Invalid URL"),
        ({"method": "post"}, "cannot be signed: HTTP request method must be an uppercase"),
    ],
)
def test_what_cannot_be_signed_is_an_error(changed: dict[str, Any], message: str):
    request: dict[str, Any] = {
        "method": METHOD,
        "url": URL,
        "headers": {"content-type": "a/b"},
        "body": BODY,
        "key": PRIVATE,
        **changed,
    }
    with pytest.raises(ConfigurationError, match=message):
        sign_request(**request)


def test_signing_anew_replaces_the_signature():
    headers = {"content-type": "a/b"}
    headers |= sign_request(METHOD, URL, headers, b"old", OTHER, created=NOW - timedelta(days=1))
    headers |= sign_request(METHOD, URL, headers, BODY, PRIVATE, created=NOW)
    verify(headers)


# Keys.


def pem(key: Any, *, private: bool = False, password: bytes = b"") -> str:
    if private:
        encryption: Any = BestAvailableEncryption(password) if password else NoEncryption()
        data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    else:
        data = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return str(data.decode())


PUBLIC_PEM, PRIVATE_PEM = pem(PUBLIC), pem(PRIVATE, private=True)
PUBLIC_B64, PRIVATE_B64 = b64(PUBLIC.public_bytes_raw()), b64(SEED)
RSA = rsa.generate_private_key(65537, 2048)


def forms(text_pem: str, text_b64: str) -> list[str | bytes]:
    return [
        text_pem,
        text_pem.strip(),
        f"\n  {text_pem}\n",
        text_pem.replace("\n", "\r\n"),
        text_pem.replace("\n", "\\n"),
        text_pem.encode(),
        text_pem.replace("\n", "\\n").encode(),
        text_b64,
        f" {text_b64}\n",
        text_b64.encode(),
        f" {text_b64}\n".encode(),
    ]


@pytest.mark.parametrize("key", forms(PUBLIC_PEM, PUBLIC_B64))
def test_forms_of_the_verification_key(key: str | bytes):
    assert parse_verification_key(key).public_bytes_raw() == PUBLIC.public_bytes_raw()


@pytest.mark.parametrize("key", forms(PRIVATE_PEM, PRIVATE_B64))
def test_forms_of_the_signing_key(key: str | bytes):
    assert parse_signing_key(key).private_bytes_raw() == SEED


def test_keys_that_were_read_before():
    assert parse_verification_key(PUBLIC) is PUBLIC
    assert parse_signing_key(PRIVATE) is PRIVATE
    both = PUBLIC_PEM + PRIVATE_PEM
    assert parse_signing_key(both).private_bytes_raw() == SEED
    with pytest.raises(ConfigurationError, match="is a signing key"):
        parse_verification_key(both)


PUBLIC_RULE = "an Ed25519 public key is required, as PEM or as base64 of its 32 bytes"
PRIVATE_RULE = "an Ed25519 private key is required, as PEM (PKCS#8) or as base64 of its 32 bytes"
UNREADABLE = [
    "",
    " \n",
    b"",
    "é" + PUBLIC_B64[1:],
    PRIVATE_B64[:-1],
    PRIVATE_B64[:-4],
    PRIVATE_B64 + PRIVATE_B64,
    PRIVATE_B64[:20] + "\n" + PRIVATE_B64[20:],
    b64(SEED + b"\0"),
    b64(b"\xff" * 32).replace("/", "_"),
    SEED,
    PUBLIC.public_bytes_raw(),
    "\ud800",
    SEED.hex(),
    PUBLIC_PEM[:60],
    PRIVATE_PEM[:60],
    PRIVATE_PEM.replace("MC4", "M\0\0"),
    PUBLIC_PEM.replace("MCo", "M-_"),
    PRIVATE_PEM.replace("VwBCIE", "VxBCIE"),  # of Ed448, too short
    PUBLIC_PEM.replace("MCowBQYDK2Vw", "MCowBQYDK2Vx"),
    PUBLIC_PEM.replace("MCowBQYDK2Vw", "MCowBQYDK2V5"),  # of no algorithm
    PUBLIC_PEM.replace("PUBLIC KEY", "CERTIFICATE"),
]


@pytest.mark.parametrize("key", UNREADABLE)
def test_a_key_that_cannot_be_read_is_refused(key: str | bytes):
    with pytest.raises(ConfigurationError) as caught:
        parse_verification_key(key)
    shows_no_key(caught.value)
    assert str(caught.value) == (
        f"the verification key from verification_key= cannot be read: {PUBLIC_RULE}"
    )
    with pytest.raises(ConfigurationError) as caught:
        parse_signing_key(key, "DISPATCH_SIGNING_KEY")
    shows_no_key(caught.value)
    assert str(caught.value) == (
        f"the signing key from DISPATCH_SIGNING_KEY cannot be read: {PRIVATE_RULE}"
    )


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (PRIVATE_PEM, "is a signing key: only its public half belongs here"),
        (PRIVATE_PEM.replace("\n", "\\n"), "is a signing key: only its public half belongs here"),
        (PRIVATE, "is a signing key: only its public half belongs here"),
        (
            pem(PRIVATE, private=True, password=b"x"),
            f"is encrypted, and cannot be read: {PUBLIC_RULE}",
        ),
        (pem(RSA.public_key()), f"is of the type RSAPublicKey: {PUBLIC_RULE}"),
        (pem(RSA, private=True), f"is of the type RSAPrivateKey: {PUBLIC_RULE}"),
        (pem(ec.generate_private_key(ec.SECP256R1()).public_key()), "is of the type ECPublicKey"),
        (pem(ed448.Ed448PrivateKey.generate().public_key()), "is of the type Ed448PublicKey"),
        (pem(x25519.X25519PrivateKey.generate().public_key()), "is of the type X25519PublicKey"),
        (None, f"is of the type NoneType: {PUBLIC_RULE}"),
        (7, f"is of the type int: {PUBLIC_RULE}"),
        (bytearray(PUBLIC_B64.encode()), "is of the type bytearray"),
    ],
)
def test_a_verification_key_that_is_something_else_is_refused(key: Any, message: str):
    for source in ("verification_key=", "DISPATCH_VERIFICATION_KEY"):
        with pytest.raises(ConfigurationError) as caught:
            parse_verification_key(key, source)
        assert str(caught.value).startswith(f"the verification key from {source} {message}")
        shows_no_key(caught.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (PUBLIC_PEM, f"is a verification key, the public half: {PRIVATE_RULE}"),
        (PUBLIC, f"is a verification key, the public half: {PRIVATE_RULE}"),
        (pem(PRIVATE, private=True, password=b"x"), "is encrypted, and cannot be read"),
        (pem(RSA, private=True, password=b"x"), "is encrypted, and cannot be read"),
        (pem(RSA, private=True), f"is of the type RSAPrivateKey: {PRIVATE_RULE}"),
        (pem(RSA.public_key()), f"is of the type RSAPublicKey: {PRIVATE_RULE}"),
        (pem(x25519.X25519PrivateKey.generate(), private=True), "is of the type X25519PrivateKey"),
        (None, f"is of the type NoneType: {PRIVATE_RULE}"),
    ],
)
def test_a_signing_key_that_is_something_else_is_refused(key: Any, message: str):
    for source in ("signing_key=", "the file key.pem"):
        with pytest.raises(ConfigurationError) as caught:
            parse_signing_key(key, source)
        assert str(caught.value).startswith(f"the signing key from {source} {message}")
        shows_no_key(caught.value)


def shows_no_key(error: BaseException) -> None:
    """Neither the error, nor what a traceback shows of those before it, tells of the key."""
    shown = "".join(traceback.format_exception(error)) + repr(error)
    for text in (PUBLIC_B64, PRIVATE_B64, SEED.hex(), *PRIVATE_PEM.split(), *PUBLIC_PEM.split()):
        if len(text) > 10:
            assert text[:8] not in shown
            assert text[-9:-1] not in shown
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


def test_a_new_pair_of_keys():
    pair = new_key_pair()
    signing, verification = (
        parse_signing_key(pair.signing_key),
        parse_verification_key(pair.verification_key),
    )
    assert signing.public_key().public_bytes_raw() == verification.public_bytes_raw()
    for key in (pair.signing_key, pair.verification_key):
        assert re.fullmatch(r"[A-Za-z0-9+/]{43}=", key)
    headers = {"content-type": "a/b"}
    verify(
        headers | sign_request(METHOD, URL, headers, BODY, signing, created=NOW), key=verification
    )
    assert new_key_pair() != pair


def test_a_pair_of_keys_does_not_show_the_private_one():
    pair = new_key_pair()
    for shown in (repr(pair), str(pair), f"{pair}"):
        assert shown == f"KeyPair(verification_key={pair.verification_key!r})"
    assert pickle.loads(pickle.dumps(pair)) == pair
    with pytest.raises(AttributeError):
        pair.signing_key = "other"  # type: ignore[misc]
    assert KeyPair("a", "b").signing_key == "a"


# Whatever comes in.

ODD = st.text(max_size=20) | st.sampled_from(
    [
        *('"', "(", ")", ";", ",", "=", ":", "*", "?1", "@1", "1.5", "-", " ", "\\", "\t", "\0"),
        *("\ud800", "é", '"x"', '"@query"', ";sf", ";bs", ";req", ';key="a"', ', a=("b" 1);c'),
        *(";expires=1", ";tag=t", ";created=999999999999999", "dispatch=", "dispatch=()"),
        *('"@query-param";name="a"', '"signature";key="dispatch"', '%"a"', "sha-256=:YQ==:"),
    ]
)


@st.composite
def changed_text(draw: st.DrawFn, text: str) -> str:
    start = draw(st.integers(0, len(text)))
    stop = draw(st.integers(start, min(len(text), start + 3)))
    return text[:start] + draw(ODD) + text[stop:]


@st.composite
def changed_request(draw: st.DrawFn) -> tuple[str, str, list[tuple[str, str]]]:
    headers = list(signed().items())
    for _ in range(draw(st.integers(0, 3))):
        index = draw(st.integers(0, len(headers) - 1))
        name, value = headers[index]
        headers[index : index + 1] = draw(
            st.sampled_from([[(name, draw(changed_text(value)))]] * 5 + [[], [headers[index]] * 2])
            | st.lists(st.tuples(st.sampled_from([name]) | ODD, ODD | st.text()), max_size=3)
        ) or [("", "")]
    method = draw(st.just(METHOD) | changed_text(METHOD) | st.text())
    return method, draw(st.just(URL) | changed_text(URL) | st.text()), headers


@given(changed_request(), st.just(BODY) | st.binary())
def test_whatever_comes_in_is_accepted_or_a_signature_error(request, body):
    method, url, headers = request
    try:
        verify(headers, method=method, url=url, body=body)
    except SignatureError as error:
        refusal = error
    else:
        assert (method, body) == (METHOD, BODY)
        return
    assert refusal.code in {MISSING, INVALID}
    assert str(refusal).isprintable()
    assert len(str(refusal).encode()) < 1000


@given(
    st.binary(),
    st.text("abcXYZ019-._~!$&'()*+,;=:@/", max_size=30),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)),
    st.data(),
)
def test_a_signed_request_is_accepted_and_no_other_body(body, path, content_type, data):
    url = f"http://example.com/{path}"
    headers = {"content-type": content_type}
    headers |= sign_request(METHOD, url, headers, body, PRIVATE, created=NOW)
    verify(headers, url=url, body=body)
    if body:
        index = data.draw(st.integers(0, len(body) - 1))
        other = bytearray(body)
        other[index] ^= data.draw(st.integers(1, 255))
        refused(headers, INVALID, "content-digest", url=url, body=bytes(other))
    refused(headers, INVALID, "content-digest", url=url, body=body + b"\0")
    refused(headers, INVALID, "does not fit", url=f"{url}x", body=body)


@given(
    st.sampled_from(["GET", "POST", "post", "", "M-SEARCH"]) | st.text(max_size=5),
    st.text("abcXYZ019-._~!$&'()*+,;=:@/%?#[]é ", max_size=30),
    st.sampled_from(["http://", "https://", "HTTP://", "//", "ftp://"]),
    st.text(st.characters(max_codepoint=0xFF), max_size=10),
)
def test_what_is_put_together_here_is_what_the_library_makes(method, rest, scheme, content_type):
    url, fields = scheme + rest, {"content-type": content_type, "content-digest": digest_of(BODY)}
    parameters = f';created={CREATED};keyid="default";alg="ed25519"'
    plain = plain_base(method, url, fields, COVERED, parameters)
    if plain is not None:
        base, inner = library_base(method, url, fields, CREATED)
        assert plain == base
        assert inner.endswith(parameters)


def test_another_url_may_be_the_one_that_was_signed():
    inner, outer = "http://10.0.0.1:8000/Run", URL
    verify(signed(), url=inner, other_urls=[outer])
    verify(signed(), url=inner, other_urls=["http://other/", outer])
    headers = signed((*COVERED, "@query"))  # for the library
    verify(headers, url=inner, other_urls=["no url", outer])
    for urls in (["https://example.org/"], [f"{outer}/x", ""]):
        refused(signed(), INVALID, f"{inner!r} or {urls[0]!r}", url=inner, other_urls=urls)
        refused(signed(), INVALID, "does not fit this request", url=inner, other_urls=urls)
    wrong = {"url": inner, "other_urls": [outer]}
    refused(signed(), INVALID, "content-digest", body=b"other", **wrong)
    refused(signed(key=OTHER), INVALID, "does not fit", **wrong)
    refused(signed(), INVALID, "s old", now=NOW + timedelta(minutes=6), **wrong)


@pytest.mark.parametrize("missing", ["http_message_signatures", "http_sf", "cryptography"])
def test_a_missing_extra_is_named(missing: str):
    code = f"import sys; sys.modules[{missing!r}] = None; import dispatch_grpc.signature"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert (
        "ImportError: signatures need an extra: pip install 'dispatch-grpc[endpoint]'"
        in done.stderr
    )
