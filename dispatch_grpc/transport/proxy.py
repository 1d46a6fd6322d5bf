"""The proxy rule, the same for gRPC and Connect.

1. `proxy=` is used for every host; it wins over the environment.
2. Otherwise `https_proxy` (for https) or `http_proxy` (for http), else `all_proxy`, lower case
   before upper case, unless `trust_env=False`. The environment never applies to loopback, nor
   to the hosts in `no_proxy`.
3. http through a proxy shows the API key to the proxy: it needs `allow_plaintext=True`.
4. Only http:// proxies can be used. https and gRPC go through a CONNECT tunnel; Connect by
   http is forwarded by the proxy.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.transport.target import Target, is_loopback


def proxy_of(
    target: Target,
    *,
    proxy: str | None,
    trust_env: bool,
    allow_plaintext: bool,
    env: Mapping[str, str],
) -> str | None:
    """Return the URL of the proxy to go through, with its credentials, or None.

    Raises:
        ConfigurationError: The proxy cannot be used.
    """
    if proxy is not None and not isinstance(proxy, str):
        raise ConfigurationError(f"proxy: a str is required; got {type(proxy).__name__}")
    url, source = (proxy or "").strip(), "proxy="
    if not url and trust_env and not is_loopback(target.host):
        url, source = _of_environment(target, env)
    if not url:
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        host, port = parts.hostname, parts.port or 80
    except ValueError:  # the port is not a number
        host, port = None, 0
    if parts.scheme != "http" or not host:
        raise ConfigurationError(
            f"{source} must be the URL of an HTTP proxy, as http://proxy.example.com:3128; got "
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        )
    if not target.secure and not allow_plaintext:
        raise ConfigurationError(
            f"{source} would show the API key to the proxy, since the API URL is "
            f"{target.url}: use https://, or pass allow_plaintext=True"
        )
    userinfo = parts.netloc.rpartition("@")[0]
    host = f"[{host}]" if ":" in host else host
    return f"http://{userinfo}{'@' if userinfo else ''}{host}:{port}"


def _of_environment(target: Target, env: Mapping[str, str]) -> tuple[str, str]:
    """Return the value of the variable that applies, and its name; both empty if none does."""

    def read(name: str) -> tuple[str, str]:
        key = name if env.get(name) else name.upper()
        return env.get(key, "").strip(), key

    if _is_exempt(target, read("no_proxy")[0]):
        return "", ""
    found = read("https_proxy" if target.secure else "http_proxy")
    return found if found[0] else read("all_proxy")


def _is_exempt(target: Target, no_proxy: str) -> bool:
    import ipaddress

    host = target.host.lower()
    for entry in no_proxy.lower().replace(",", " ").split():
        name, colon, port = entry.rpartition(":")
        if not (colon and port.isdigit() and (name.startswith("[") or ":" not in name)):
            name = entry
        elif int(port) != target.port:
            continue
        name = name.strip("[]").lstrip("*").lstrip(".")
        if entry == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:
            continue
    return False
