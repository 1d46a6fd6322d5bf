"""Which endpoints the service calls: their hosts, and the addresses that it must not reach."""

import asyncio
import ipaddress
import socket
from functools import lru_cache
from urllib.parse import urlsplit

from dispatch_grpc.calls import problem_of
from dispatch_grpc.schema import Call

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Addresses by which cloud machines reach their own metadata, beside the link-local ones.
_METADATA = {ipaddress.ip_address(text) for text in ("100.100.100.200", "fd00:ec2::254")}
_METADATA_NAMES = {"metadata", "metadata.google.internal", "metadata.goog", "instance-data"}


class ForbiddenAddressError(OSError):
    """A host has an address that the service does not call."""


@lru_cache(maxsize=4096)
def host_of(endpoint: str) -> str:
    """The host of an endpoint, with scheme and port: what the concurrency is bounded by."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def problem_of_call(call: Call, *, allow_metadata: bool = False) -> str | None:
    """Why the service does not accept a call; None if it does."""
    if problem := problem_of(call):
        return problem.removeprefix(".")
    if "\0" in call.version:
        return f"version: a text without NUL is required; got {call.version!r:.80}"
    return problem_of_endpoint(call.endpoint, allow_metadata=allow_metadata)


@lru_cache(maxsize=4096)
def problem_of_endpoint(endpoint: str, *, allow_metadata: bool) -> str | None:
    """Why the service cannot call an endpoint; None if it can."""
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
        return f"endpoint: a query or a fragment has no place in it; got {endpoint!r}"
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
    """Whether an address is link-local, or one of cloud metadata."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_link_local or address in _METADATA


async def check_addresses(endpoint: str) -> None:
    """Resolve the host of an endpoint, and refuse it when one of its addresses is forbidden.

    Raises:
        socket.gaierror: There is no such host.
        ForbiddenAddressError: It has a link-local or metadata address.
    """
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(
        parts.hostname, port, type=socket.SOCK_STREAM
    )
    for *_, address in found:
        if is_forbidden(ipaddress.ip_address(str(address[0]).partition("%")[0])):
            raise ForbiddenAddressError(
                f"{parts.hostname} has the link-local or metadata address {address[0]}, which "
                f"this service does not call"
            )
