"""The meaning of an endpoint's answers, and their description in a few words."""

import json
import math
from typing import Any

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from dispatch_grpc.codes import Code, Status
from dispatch_grpc.endpoint.answers import problem_of_response
from dispatch_grpc.errors import UnmarshalError
from dispatch_grpc.schema import RunResponse, load_all
from dispatch_grpc.testing.conformance.subject import Answer, Unmet
from dispatch_grpc.text import shorten
from dispatch_grpc.values import unmarshal

_NUMBERS = frozenset({"Int64Value", "UInt64Value", "DoubleValue"})


def ran(answer: Answer, expected: str) -> RunResponse:
    """Return the message in the answer to a request that ran a function."""
    if answer.status != 200 or answer.content_type != "application/proto":
        raise Unmet(expected, described(answer))
    try:
        response = RunResponse.FromString(answer.body)
    except DecodeError:
        raise Unmet(expected, "HTTP 200 with a body that is not a RunResponse") from None
    if problem := problem_of_response(response):
        raise Unmet(expected, f"a RunResponse that breaks the protocol: {problem}")
    return response


def output_of(answer: Answer, expected: str) -> AnyProto:
    """Return the output of a function that succeeded."""
    response = ran(answer, expected)
    result = response.exit.result
    if response.status != Status.OK.value or result.HasField("error"):
        raise Unmet(expected, described(answer))
    if not result.HasField("output"):
        raise Unmet(expected, "STATUS_OK without exit.result.output")
    return result.output


def failed(answer: Answer, expected: str) -> RunResponse:
    """Return the message of a function that failed; its error has a type and a message."""
    response = ran(answer, expected)
    error = response.exit.result.error
    if response.status == Status.OK.value or not response.HasField("exit"):
        raise Unmet(expected, described(answer))
    if not (error.type and error.message):
        raise Unmet(f"{expected}, with the type and the message of the error", described(answer))
    return response


def is_not_found(answer: Answer) -> bool:
    """Tell whether an answer says that there is no such function."""
    if answer.status == 200:
        try:
            return RunResponse.FromString(answer.body).status == Status.NOT_FOUND.value
        except DecodeError:
            return False
    return answer.status == 404


def described(answer: Answer) -> str:
    """Describe an answer in a few words."""
    if not answer.status:
        return answer.problem
    kind = answer.content_type or "no content type"
    if answer.status != 200:
        code, message = connect_error(answer)
        about = f"{code}: {shorten(message, 100)}" if code else f"{kind}, not an error of Connect"
        return f"HTTP {answer.status} ({about})"
    if answer.content_type != "application/proto":
        return f"HTTP 200 with {kind}"
    try:
        response = RunResponse.FromString(answer.body)
    except DecodeError:
        return "HTTP 200 with a body that is not a RunResponse"
    status = _status_name(response.status)
    if response.HasField("poll"):
        return f"{status} with a poll of {len(response.poll.calls)} calls"
    result = response.exit.result
    if result.HasField("error"):
        error = result.error
        return f"{status} ({error.type or 'no type'}: {shorten(error.message, 100)})"
    return f"{status} with {shown(result.output) if result.HasField('output') else 'no output'}"


def connect_error(answer: Answer) -> tuple[str, str]:
    """Return the code and the message of an error of Connect; both are empty if it is none."""
    try:
        error: Any = json.loads(answer.body)
        code, message = error["code"], error.get("message", "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", ""
    known = {code.name.lower().replace("cancelled", "canceled") for code in Code}
    if answer.content_type != "application/json" or code not in known:
        return "", ""
    return code, str(message)


def shown(any: AnyProto) -> str:
    """Describe a value in a few words."""
    name = _type_name(any).rpartition(".")[2] or "an Any without a type"
    try:
        value = unmarshal(any)
    except UnmarshalError as error:
        return f"{name}, which cannot be read: {shorten(str(error), 60)}"
    return f"{name} {shorten(' '.join(repr(value).split()), 60)}"


def is_same(given: AnyProto, found: AnyProto) -> bool:
    """Compare two values by their meaning.

    Numbers outside lists and objects may change between integers and doubles, as long as they are
    equal: some languages have one type of number.
    """
    names = _type_name(given), _type_name(found)
    try:
        if names[0] == names[1]:
            return _canonical(given) == _canonical(found)
        if not {name.removeprefix("google.protobuf.") for name in names} <= _NUMBERS:
            return False
        one, other = unmarshal(given), unmarshal(found)
        return bool(one == other) and math.copysign(1, one) == math.copysign(1, other)
    except (UnmarshalError, DecodeError, KeyError):
        return False


def _canonical(any: AnyProto) -> bytes:
    load_all()
    message = GetMessageClass(Default().FindMessageTypeByName(_type_name(any)))
    return message.FromString(any.value).SerializeToString(deterministic=True)


def _type_name(any: AnyProto) -> str:
    return any.type_url.rpartition("/")[2]


def _status_name(number: int) -> str:
    try:
        return f"STATUS_{Status(number).name}"
    except ValueError:
        return f"the unknown status {number}"


def require_same(answer: Answer, value: AnyProto) -> None:
    """Require the answer of `echo` to this value."""
    expected = f"the input unchanged, {shown(value)}"
    found = output_of(answer, expected)
    if not is_same(value, found):
        raise Unmet(expected, shown(found))
