"""The address of the API."""


class Target:
    """Where the API is: its URL, and what gRPC calls authority, its host and port."""

    def __init__(self, url: str, authority: str, *, secure: bool) -> None:
        self.url = url
        self.authority = authority
        self.secure = secure


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
