"""The addresses that the service does not call, and the form of what it calls."""

import ipaddress

import pytest

from dispatch_grpc import Call, new_call
from dispatch_grpc.service.urls import (
    ForbiddenAddressError,
    check_address,
    is_forbidden,
    problem_of_call,
)

FORBIDDEN = [
    "169.254.169.254",
    "169.254.1.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fe80::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    # An IPv4 address inside an IPv6 address: mapped, compatible, NAT64, 6to4, Teredo.
    "::ffff:169.254.169.254",
    "::a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::a83f:8110",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1",
]
ALLOWED = ["127.0.0.1", "::1", "10.0.0.1", "192.0.2.1", "2001:db8::1", "64:ff9b::c000:201"]


@pytest.mark.parametrize("text", FORBIDDEN)
def test_metadata_addresses_are_not_called(text: str):
    assert is_forbidden(ipaddress.ip_address(text))
    with pytest.raises(
        ForbiddenAddressError,
        match=r"h\.example has the address .*: it is a link-local or metadata",
    ):
        check_address("h.example", text, allow_metadata=False)
    check_address("h.example", text, allow_metadata=True)


@pytest.mark.parametrize("text", ALLOWED)
def test_other_addresses_are_called(text: str):
    check_address("h.example", text, allow_metadata=False)


def test_a_zone_is_no_way_around():
    with pytest.raises(ForbiddenAddressError):
        check_address("h.example", "fe80::1%eth0", allow_metadata=False)


def test_only_the_networks_that_are_allowed_are_called():
    networks = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "2001:db8::/32")]
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::9"):
        check_address("h", text, allow_metadata=False, networks=networks)
    for text in ("11.0.0.1", "127.0.0.1", "2001:db9::9"):
        with pytest.raises(
            ForbiddenAddressError, match=f"the address {text}: it is not in a network"
        ):
            check_address("h", text, allow_metadata=False, networks=networks)


@pytest.mark.parametrize("name", ["endpoint", "function", "version"])
def test_texts_have_a_bound(name: str):
    call = Call(endpoint="http://x.example", function="f")
    setattr(call, name, getattr(call, name) + "/f" * 5000)
    problem = problem_of_call(call)
    assert problem is not None
    assert problem.startswith(f"{name}: at most ")
    assert len(problem) < 200
    assert problem_of_call(new_call("http://x.example/" + "y" * 2000, "f" * 1000)) is None
