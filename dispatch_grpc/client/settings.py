"""Settings of a client: an argument, else the environment, else a default.

An empty string counts as not given, in both. Surrounding whitespace is stripped.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from dispatch_grpc.calls import endpoint_problem, mask_url
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.text import quoted
from dispatch_grpc.transport import (
    ConnectionSettings,
    Metadata,
    RetryPolicy,
    Target,
    is_loopback,
)

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

DEFAULT_API_URL = "https://api.dispatch.run"
DEFAULT_TIMEOUT = timedelta(seconds=10)
DEFAULT_RETRY = RetryPolicy()
DEFAULT_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest request that gRPC servers, and connectrpc's, accept by default."""
DEFAULT_MAX_RESPONSE_BYTES = 20 * 1024 * 1024
"""The service keeps outputs of up to 16 MB; the rest is room for what comes with them."""

_MAX_TIMEOUT_SECONDS = 365 * 24 * 3600  # gRPC treats a much later deadline as past

Timeout: TypeAlias = timedelta | float | None
"""A duration, a number of seconds, or None for no limit."""

Protocol = Literal["grpc", "connect", "connect+json"]
_PROTOCOLS = ("grpc", "connect", "connect+json")

LoadBalancing = Literal["pick_first", "round_robin"]


class _NotGiven:
    def __repr__(self) -> str:
        return "<not given>"


NOT_GIVEN: Any = _NotGiven()
"""The default of arguments for which None has a meaning."""


@dataclass(frozen=True, slots=True)
class APIKey:
    """An API key and its source."""

    value: str = field(repr=False)
    source: str

    @property
    def redacted(self) -> str:
        """The key as messages may show it."""
        return f"{self.value[:3] if len(self.value) >= 12 else ''}********"


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """The checked settings of a client."""

    key: APIKey
    protocol: str
    target: Target
    timeout: float | None
    metadata: Metadata
    max_message_bytes: int
    max_response_bytes: int
    connection: ConnectionSettings
    own_connection: bool

    def seconds(self, timeout: Timeout) -> float | None:
        """Return a request's timeout in seconds; if it is not given, the client's."""
        return self.timeout if timeout is NOT_GIVEN else timeout_seconds(timeout)

    def __str__(self) -> str:
        return (
            f"api_url={self.target.url!r}, protocol={self.protocol!r}, "
            f"api_key={self.key.redacted!r}"
        )


def environment(env: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the environment to read: the given one, else the process's."""
    return os.environ if env is None else env


def _setting(argument: object, name: str, env: Mapping[str, str], variable: str) -> tuple[str, str]:
    """Return a setting and the name of its source; both empty when it is not given."""
    if argument is not None and not isinstance(argument, str):
        raise ConfigurationError(f"{name}: a str is required; got {type(argument).__name__}")
    if argument and argument.strip():
        return argument.strip(), f"{name}="
    value = env.get(variable, "").strip()
    return (value, variable) if value else ("", "")


def resolve_api_key(argument: str | None, env: Mapping[str, str]) -> APIKey:
    """Resolve the API key."""
    value, source = _setting(argument, "api_key", env, "DISPATCH_API_KEY")
    if not value:
        raise ConfigurationError(
            "an API key is required: set the environment variable DISPATCH_API_KEY or pass api_key="
            " ('dispatch-grpc serve' prints the key of its service)"
        )
    if not re.fullmatch(r"[\x20-\x7e]+", value):
        raise ConfigurationError(
            f"the API key from {source} contains control or non-ASCII characters, which a header "
            f"cannot carry: check that it was copied correctly"
        )
    return APIKey(value, source)


def resolve_protocol(argument: str | None, env: Mapping[str, str]) -> str:
    """Resolve the protocol."""
    value, source = _setting(argument, "protocol", env, "DISPATCH_PROTOCOL")
    if value and value not in _PROTOCOLS:
        raise ConfigurationError(
            f"{source} must be one of {', '.join(_PROTOCOLS)}; got {quoted(value)}"
        )
    return value or "grpc"


def resolve_api_url(
    argument: str | None, env: Mapping[str, str], *, protocol: str, allow_plaintext: bool
) -> Target:
    """Resolve and check the API URL."""
    from urllib.parse import urlsplit

    url, source = _setting(argument, "api_url", env, "DISPATCH_API_URL")
    url, source = (url, source) if url else (DEFAULT_API_URL, "the default")

    def refuse(reason: str) -> ConfigurationError:
        return ConfigurationError(f"the API URL {mask_url(url)!r} (from {source}) {reason}")

    if re.search(r"[^\x21-\x7e]", url):
        raise refuse("contains whitespace, control or non-ASCII characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise refuse(f"is not a URL: {error}") from error
    if parts.scheme not in {"http", "https"}:
        raise refuse("must begin with https:// or http://")
    if "@" in parts.netloc:
        raise refuse("must not contain credentials; pass api_key= instead")
    if not host or port == 0:
        raise refuse("must have a host, and no port 0")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise refuse("must not have a query or a fragment")
    path = parts.path.rstrip("/")
    if path and protocol == "grpc":
        raise refuse("must not have a path with gRPC; with Connect it may")
    secure = parts.scheme == "https"
    if not secure and not allow_plaintext and not is_loopback(host):
        raise refuse(
            "would send the API key in clear text over the network: use https://, or pass "
            "allow_plaintext=True if something else encrypts the connection"
        )
    host = f"[{host}]" if ":" in host else host
    authority = f"{host}:{port or (443 if secure else 80)}"
    netloc = authority if port else host
    url = f"{parts.scheme}://{netloc}{path}"
    return Target(url=url, authority=authority, secure=secure)


def resolve_endpoint_url(argument: str | None, env: Mapping[str, str]) -> str:
    """Resolve and check the URL of an endpoint, by the rule for calls."""
    url, source = _setting(argument, "url", env, "DISPATCH_ENDPOINT_URL")
    if not url:
        raise ConfigurationError(
            "an endpoint URL is required: set the environment variable DISPATCH_ENDPOINT_URL, "
            "or pass url="
        )
    if problem := endpoint_problem(url):
        raise ConfigurationError(f"{source} {problem}")
    return url.rstrip("/")


def resolve_address(argument: str | None, env: Mapping[str, str]) -> tuple[str, int]:
    """Resolve the address to listen on; return its host and port."""
    value, source = _setting(argument, "address", env, "DISPATCH_ENDPOINT_ADDR")
    if not value:
        return "127.0.0.1", 8000
    host, _, port = value.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ConfigurationError(
            f"{source} HOST:PORT is required, such as 127.0.0.1:8000 or [::1]:8000; "
            f"got {quoted(value)}"
        )
    return host, int(port)


def positive(name: str, value: int) -> int:
    """Check an int that must be 1 or more."""
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{name}: an int of 1 or more is required; got {quoted(value)}")
    return value


def timeout_seconds(value: Timeout) -> float | None:
    """Check a timeout and return it in seconds; None means no limit."""
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not (isinstance(seconds, int | float) and type(seconds) is not bool and seconds > 0):
        raise ConfigurationError(
            f"timeout: a timedelta or a number of seconds, greater than zero, or None for no "
            f"limit is required; got {quoted(value)}"
        )
    return min(seconds, _MAX_TIMEOUT_SECONDS)


def message_bounds(sending: Any, reading: Any) -> tuple[int, int]:
    """Check the limits of requests and answers; a limit of requests alone applies to both."""
    reading = sending if reading is NOT_GIVEN else reading
    defaults = (DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_MAX_RESPONSE_BYTES)
    bounds = []
    for name, value, default in zip(
        ("max_message_bytes", "max_response_bytes"), (sending, reading), defaults, strict=True
    ):
        number = default if value is NOT_GIVEN else value
        if not (isinstance(number, int) and 1 <= number < 2**30):
            raise ConfigurationError(
                f"{name}: an int from 1 to 2**30 - 1 is required; got {quoted(value)}"
            )
        bounds.append(number)
    return bounds[0], bounds[1]


def check_type(name: str, value: object, cls: type) -> None:
    """Check the type of an optional setting."""
    if value is not None and not isinstance(value, cls):
        raise ConfigurationError(
            f"{name}: a {cls.__name__} or None is required; got {type(value).__name__}"
        )


def check_load_balancing(value: str | None, protocol: str) -> None:
    """Check how gRPC spreads requests; None is gRPC's own default."""
    if value is None:
        return
    if value not in get_args(LoadBalancing):
        raise ConfigurationError(
            f"load_balancing: one of {', '.join(get_args(LoadBalancing))} or None is required; "
            f"got {quoted(value)}"
        )
    if protocol != "grpc":
        raise ConfigurationError(f"load_balancing cannot be used with protocol={protocol!r}")


_RESERVED = {"authorization", "idempotency-key", "content-type", "content-length", "te", "host"}


def check_metadata(value: Mapping[str, str] | None) -> Metadata:
    """Check metadata and return it as pairs of lower-case key and value."""
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"metadata: a mapping of str to str is required; got {type(value).__name__}"
        )
    pairs = []
    for key, text in value.items():
        name = key.lower() if isinstance(key, str) else ""
        if not re.fullmatch(r"[a-z0-9_.-]+", name) or name.endswith("-bin"):
            raise ConfigurationError(
                f"metadata: a key of letters, digits, '-', '_' and '.' that does not end in "
                f"'-bin' is required; got {quoted(key)}"
            )
        if name in _RESERVED or name.startswith(("grpc-", "connect-")):
            raise ConfigurationError(
                f"metadata: the client itself sets {key!r}"
                + {
                    "authorization": "; pass api_key= to the client",
                    "idempotency-key": "; pass idempotency_key= to dispatch",
                }.get(name, "")
            )
        if not (isinstance(text, str) and re.fullmatch(r"[\x20-\x7e]*", text)):
            raise ConfigurationError(
                f"metadata: a str of printable ASCII characters is required as the value of {key!r}"
            )
        pairs.append((name, text.strip()))
    return tuple(pairs)


def idempotency_key(value: str | None) -> str:
    """Check the idempotency key of the caller, or make one."""
    if value is None:
        return os.urandom(16).hex()  # as random as a UUID, in a fifth of its time
    if not (isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]{1,255}", value)):
        raise ConfigurationError(
            f"idempotency_key: 1 to 255 printable ASCII characters without spaces are required; "
            f"got {quoted(value)}"
        )
    return value


def check_text(name: str, value: str) -> str:
    """Check an id or the value of a filter."""
    if isinstance(value, str) and value:
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise ConfigurationError(f"{name}: a non-empty str is required; got {quoted(value)}")


def timestamp(name: str, value: datetime) -> "Timestamp":
    """Check a time and return it as the schema has it."""
    from google.protobuf.timestamp_pb2 import Timestamp

    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ConfigurationError(
            f"{name}: a datetime with a time zone is required; got {quoted(value)}"
        )
    found = Timestamp()
    try:
        found.FromDatetime(value)
    except (OverflowError, ValueError) as error:
        raise ConfigurationError(f"{name}: {value} is not in the years 1 to 9999") from error
    return found
