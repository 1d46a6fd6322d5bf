"""The checks of signatures, RFC 9421."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatch_grpc.endpoint.keys import base64_text
from dispatch_grpc.endpoint.signature_base import COVERED, plain_base
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.testing.conformance.reading import connect_error, described, require_same
from dispatch_grpc.testing.conformance.subject import RUN, Check, Request, Steps, Subject, Unmet
from dispatch_grpc.values import marshal


def _signature(
    sign: Callable[[Subject, dict[str, str], bytes], None], status: int, subject: Subject
) -> Steps:
    body = subject.run("echo", "signed").SerializeToString()
    headers = dict(subject.request(body).headers)
    sign(subject, headers, body)
    (answer,) = yield [Request(RUN, headers, body)]
    if status == 200:
        require_same(answer, marshal("signed"))
    elif answer.status != status or not connect_error(answer)[0]:
        raise Unmet(f"HTTP {status} with a JSON error", described(answer))


def _own_key(subject: Subject) -> Ed25519PrivateKey:
    if subject.key is None:
        raise ValueError("signatures are checked with a key only")
    return subject.key


def _right(_: Subject, __: dict[str, str], ___: bytes) -> None:
    pass


def _remove(name: str, _: Subject, headers: dict[str, str], __: bytes) -> None:
    for header in ("signature", "signature-input", "content-digest"):
        if name in {header, "all"}:
            del headers[header]


def _malformed(_: Subject, headers: dict[str, str], __: bytes) -> None:
    headers["signature"] = "dispatch=:not base64:"


def _other_label(_: Subject, headers: dict[str, str], __: bytes) -> None:
    for header in ("signature", "signature-input"):
        headers[header] = "sig1" + headers[header].removeprefix("dispatch")


def _two_labels(_: Subject, headers: dict[str, str], __: bytes) -> None:
    other = "sig1=" + headers["signature-input"].removeprefix("dispatch=")
    headers["signature-input"] = f"{other}, {headers['signature-input']}"
    headers["signature"] = f"sig1=:{base64_text(bytes(64))}:, {headers['signature']}"


def _wrong_key(subject: Subject, headers: dict[str, str], body: bytes) -> None:
    headers |= subject.signed(headers, body, subject.other_key)


def _aged(age: timedelta, subject: Subject, headers: dict[str, str], body: bytes) -> None:
    headers |= subject.signed(headers, body, _own_key(subject), age=age)


def _other_body(subject: Subject, headers: dict[str, str], _: bytes) -> None:
    headers |= subject.signed(headers, b"another body", _own_key(subject))


def _other_digest(subject: Subject, headers: dict[str, str], _: bytes) -> None:
    changed = subject.signed(headers, b"another body", subject.other_key)
    headers["content-digest"] = changed["content-digest"]


def _other_path(subject: Subject, headers: dict[str, str], body: bytes) -> None:
    headers |= subject.signed(headers, body, _own_key(subject), path=RUN + "Other")


def _parameters(form: str, subject: Subject, headers: dict[str, str], _: bytes) -> None:
    _sign_by_hand(subject, headers, COVERED, form)


def _not_covered(name: str, subject: Subject, headers: dict[str, str], _: bytes) -> None:
    names = tuple(covered for covered in COVERED if covered != name)
    _sign_by_hand(subject, headers, names, ';created=CREATED;keyid="default"')


def _sign_by_hand(
    subject: Subject, headers: dict[str, str], names: tuple[str, ...], form: str
) -> None:
    """Sign a request as `sign_request` never does."""
    parameters = form.replace("CREATED", str(int(subject.now.timestamp())))
    base = plain_base("POST", subject.url + RUN, headers, names, parameters)
    if base is None:
        raise ConfigurationError(f"requests to {subject.url} cannot be signed: is the URL valid?")
    inner = " ".join(f'"{name}"' for name in names)
    headers["signature-input"] = f"dispatch=({inner}){parameters}"
    headers["signature"] = f"dispatch=:{base64_text(_own_key(subject).sign(base))}:"


def checks() -> list[Check]:
    """Return the checks of signatures."""
    minute = timedelta(minutes=1)
    cases: list[tuple[str, Any, int]] = [
        ("a right one", _right, 200),
        ("a right one, beside one of another label", _two_labels, 200),
        (
            "a right one, with its parameters in another order",
            partial(_parameters, ';keyid="default";alg="ed25519";created=CREATED'),
            200,
        ),
        (
            "a right one, without a parameter alg",
            partial(_parameters, ';created=CREATED;keyid="default"'),
            200,
        ),
        ("a right one, 4 minutes old", partial(_aged, 4 * minute), 200),
        ("none", partial(_remove, "all"), 401),
        ("only its input", partial(_remove, "signature"), 401),
        ("a malformed one", _malformed, 401),
        ("one of another label only", _other_label, 401),
        ("one without a time", partial(_parameters, ';keyid="default"'), 401),
        ("one by another key", _wrong_key, 403),
        ("one of another keyid", partial(_parameters, ';created=CREATED;keyid="other"'), 403),
        (
            "one of another algorithm",
            partial(_parameters, ';created=CREATED;keyid="default";alg="rsa-v1_5-sha256"'),
            403,
        ),
        (
            "one that has expired",
            partial(_parameters, ';created=CREATED;keyid="default";expires=1'),
            403,
        ),
        ("one that is 10 minutes old", partial(_aged, 10 * minute), 403),
        ("one from 10 minutes ahead", partial(_aged, -10 * minute), 403),
        ("one of another body", _other_body, 403),
        ("a digest of another body", _other_digest, 403),
        ("one of another path", _other_path, 403),
        *(
            (f"one that does not cover {name}", partial(_not_covered, name), 403)
            for name in COVERED
        ),
    ]
    return [
        Check(f"signatures: {name}", partial(_signature, sign, status), "echo", is_signed=True)
        for name, sign, status in cases
    ]
