"""The address of the API."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The address of the API.

    Attributes:
        url: Its URL, without a slash at the end.
        authority: Its host and port, as gRPC takes them.
        secure: Whether to use TLS.
    """

    url: str
    authority: str
    secure: bool

    @property
    def host(self) -> str:
        """The host, without the brackets of an IPv6 address."""
        return self.authority.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.authority.rpartition(":")[2])


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
