"""The rules for endpoint URLs: their form, their hosts, and the addresses that are not called."""

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from dispatch_grpc.calls import problem_of
from dispatch_grpc.schema import Call
from dispatch_grpc.text import quoted

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Addresses of cloud metadata and platform services beside the link-local ones: Alibaba, Azure,
# Oracle, AWS (IPv6), Google (IPv6).
_METADATA = {
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
}
_METADATA_NAMES = {"metadata", "metadata.google.internal", "metadata.goog", "instance-data"}
# IPv6 networks whose last 32 bits are an IPv4 address: compatible (RFC 4291), NAT64 (RFC 6052).
_EMBEDDING = [ipaddress.IPv6Network(text) for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48")]
_MAX_LENGTHS = (("endpoint", 2048), ("function", 1024), ("version", 1024))


class ForbiddenAddressError(OSError):
    """A host has an address that the service does not call."""


@lru_cache(maxsize=4096)
def host_of(endpoint: str) -> str:
    """Return the host of an endpoint with scheme and port, by which concurrency is bounded."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def problem_of_call(call: Call, *, allow_metadata: bool = False) -> str | None:
    """Return why the service does not accept a call, or None."""
    # Before the rest: what is this long is neither parsed nor kept in a cache.
    for name, limit in _MAX_LENGTHS:
        if len(text := getattr(call, name)) > limit:
            return f"{name}: at most {limit} characters are allowed; got {len(text)}"
    if problem := problem_of(call):
        return problem.removeprefix(".")
    if "\0" in call.version:
        return f"version: a text without NUL is required; got {quoted(call.version)}"
    return problem_of_endpoint(call.endpoint, allow_metadata=allow_metadata)


@lru_cache(maxsize=4096)
def problem_of_endpoint(endpoint: str, *, allow_metadata: bool) -> str | None:
    """Return why the service cannot call an endpoint, or None."""
    if not endpoint.startswith(("http://", "https://")):
        return f"endpoint: this service calls http:// and https:// endpoints only; got {endpoint!r}"
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"endpoint: {error}; got {endpoint!r}"
    if not host:
        return f"endpoint: a host is required; got {endpoint!r}"
    if parts.query or parts.fragment:
        return f"endpoint: a query or a fragment is not allowed; got {endpoint!r}"
    if not allow_metadata and _is_metadata(host):
        return (
            f"endpoint: link-local and metadata addresses are not called by this service; "
            f"got {endpoint!r}"
        )
    return None


def _is_metadata(host: str) -> bool:
    if host.rstrip(".").lower() in _METADATA_NAMES:
        return True
    try:
        # As the system reads it: also 0xa9fea9fe and 2852039166 are 169.254.169.254.
        address: _Address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return False
    return is_forbidden(address)


def is_forbidden(address: _Address) -> bool:
    """Whether an address is link-local or one of cloud metadata, also inside an IPv6 address."""
    found = {address, *_embedded(address)}
    return any(one.is_link_local for one in found) or not _METADATA.isdisjoint(found)


def _embedded(address: _Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address leads to by translation or tunnels."""
    if not isinstance(address, ipaddress.IPv6Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if any(address in network for network in _EMBEDDING):
        yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def check_address(
    host: str, text: str, *, allow_metadata: bool, networks: Sequence[Network] = ()
) -> None:
    """Check an address before it is connected to.

    Args:
        host: The host that has the address.
        text: The address.
        allow_metadata: Whether link-local and metadata addresses may be called.
        networks: Networks that endpoints must be in; empty allows all.

    Raises:
        ForbiddenAddressError: The service does not call the address.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    shown = text if host == text else f"{host} has the address {text}: it"
    if not allow_metadata and is_forbidden(address):
        raise ForbiddenAddressError(
            f"{shown} is a link-local or metadata address, which this service does not call"
        )
    if networks:
        mapped = getattr(address, "ipv4_mapped", None)
        if not any(one in network for one in (mapped or address,) for network in networks):
            raise ForbiddenAddressError(f"{shown} is not in a network that this service calls")
