"""What the checks are made of: requests, answers, and the endpoint that is checked."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatch_grpc.endpoint.signature import sign_request
from dispatch_grpc.schema import RunRequest
from dispatch_grpc.values import marshal

RUN = "/dispatch.sdk.v1.FunctionService/Run"


@dataclass(frozen=True, slots=True)
class Request:
    """A request of HTTP to send to the endpoint.

    Attributes:
        path: Path below the URL of the endpoint.
        headers: Headers, but for those about the connection and the body's length.
        body: The body.
        version: Version of HTTP, 1.0 or 1.1.
        is_chunked: Whether the body is sent in chunks, and not with its length.
    """

    path: str
    headers: Mapping[str, str]
    body: bytes
    version: str = "1.1"
    is_chunked: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request.

    Attributes:
        status: Status of HTTP; 0 if there was no answer.
        content_type: The content type, in lower case and without parameters.
        body: The body.
        problem: Why there is no answer.
    """

    status: int
    content_type: str = ""
    body: bytes = b""
    problem: str = ""


class Unmet(Exception):  # noqa: N818 (a finding, not an error of this program)
    """An answer is not the expected one."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}; got {got}")
        self.expected = expected
        self.got = got


class Inapplicable(Exception):  # noqa: N818
    """The endpoint lacks something optional that the check is about."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The endpoint, as the checks see it.

    Attributes:
        url: Its URL, without a slash at the end.
        key: The key that requests to it are signed with, or None.
        other_key: A key that it does not know.
        now: The time.
        dispatch_id: Id of the call in its requests; each check has another.
    """

    url: str
    key: Ed25519PrivateKey | None
    other_key: Ed25519PrivateKey
    now: datetime
    dispatch_id: str

    def request(
        self, message: RunRequest | bytes, *, content_type: str = "application/proto"
    ) -> Request:
        """Make a request as the service does: with a signature if there is a key."""
        body = message if isinstance(message, bytes) else message.SerializeToString()
        headers = {
            "content-type": content_type,
            "connect-protocol-version": "1",
            "accept-encoding": "identity",
            "dispatch-attempt": "1",
        }
        if self.key is not None:
            headers |= self.signed(headers, body, self.key)
        return Request(RUN, headers, body)

    def signed(
        self,
        headers: Mapping[str, str],
        body: bytes,
        key: Ed25519PrivateKey,
        *,
        path: str = RUN,
        age: timedelta = timedelta(0),
    ) -> dict[str, str]:
        """Return the headers of a signature."""
        return sign_request("POST", self.url + path, headers, body, key, created=self.now - age)

    def run(self, function: str, input: Any) -> RunRequest:
        """Make the first request of a call, for a function."""
        request = RunRequest(
            function=function, dispatch_id=self.dispatch_id, root_dispatch_id=self.dispatch_id
        )
        request.input.CopyFrom(marshal(input))
        request.creation_time.FromDatetime(self.now)
        request.expiration_time.FromDatetime(self.now + timedelta(hours=1))
        return request


Steps = Generator[list[Request], list[Answer], None]
"""A check under way. All requests that it yields together are sent at the same time."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that a service expects of an endpoint.

    Attributes:
        name: Its group and what is checked, such as "values: int zero".
        steps: Begins the check of an endpoint.
        needs: The function that it calls.
        is_signed: Whether it is about signatures, and so needs a key.
    """

    name: str
    steps: Callable[[Subject], Steps] = field(repr=False)
    needs: str | None = None
    is_signed: bool = False
