"""Proxies: one rule for gRPC and Connect, and the key never in clear to anyone by accident."""

import base64
import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import grpc
import pytest

from dispatch_grpc import AsyncClient, Client, ConfigurationError, UnavailableError, new_call
from dispatch_grpc.testing import CallRecorder, Server
from tests import hostile
from tests.conftest import KEY, Driver

CALL = new_call("http://example.com", "f")
NAME = "http://service.example.com:1234"  # only the proxy knows where that is
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy", "no_grpc_proxy")


class Proxy:
    """A proxy that knows one server, whatever is asked for."""

    def __init__(self, target: str, refuse: str = "") -> None:
        self.requests: list[bytes] = []
        self.received = b""
        self._refuse = refuse
        self._target = ("127.0.0.1", int(target.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, function: Any, *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=function, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here = self._listener.accept()[0]
                self._sockets.append(here)
                head = b""
                while b"\r\n\r\n" not in head and (data := here.recv(1)):
                    head += data
                self.requests.append(head)
                if self._refuse:
                    no = b"HTTP/1.1 %s No\r\ncontent-length: 0\r\n\r\n" % self._refuse.encode()
                    here.sendall(no)
                    here.close()
                    continue
                there = socket.create_connection(self._target)
                self._sockets.append(there)
                if head.startswith(b"CONNECT"):
                    here.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:  # forwarded
                    there.sendall(re.sub(rb"^POST http://[^/]+", b"POST ", head))
                self._start(self._pump, here, there)
                self._start(self._pump, there, here)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in (self._listener, *self._sockets):
            one.close()


@pytest.fixture
def proxy(dispatch_server: Server) -> Iterator[Proxy]:
    proxy = Proxy(dispatch_server.url)
    yield proxy
    proxy.close()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "all_proxy", "grpc_proxy"])
def test_loopback_is_not_proxied(
    driver: Driver,
    name: str,
    proxy: Proxy,
    dispatch_server: Server,
    monkeypatch: pytest.MonkeyPatch,
):
    for variable in (name, name.upper()):
        monkeypatch.setenv(variable, proxy.url)
    driver.dispatch(driver.client(dispatch_server.url, env=None), CALL)
    assert not proxy.requests


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_http_goes_through_a_proxy_when_plaintext_is_allowed(
    driver: Driver, name: str, proxy: Proxy, dispatch_recorder: CallRecorder
):
    env = {name: proxy.url}
    driver.dispatch(driver.client(NAME, env=env, allow_plaintext=True), CALL)
    start = b"CONNECT service.example.com:1234 HTTP/1.1\r\n"
    if driver.protocol != "grpc":
        start = f"POST {NAME}/dispatch.sdk.v1.DispatchService/Dispatch HTTP/1.1\r\n".encode()
    assert proxy.requests[0].startswith(start)
    assert len(dispatch_recorder.requests) == 1


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_what_is_exempt(driver: Driver, variable: str, proxy: Proxy, dispatch_server: Server):
    for value in ("*", "example.com", "other, .example.com:1234", "service.example.com"):
        env = {"all_proxy": proxy.url, variable: value}
        client = driver.client(NAME, env=env, allow_plaintext=True, retry=None)
        with pytest.raises(UnavailableError, match="cannot be resolved"):
            driver.dispatch(client, CALL)
    for value in ("ample.com", "example.com:1235", "example.org", "127.0.0.0/8"):
        env = {"all_proxy": proxy.url, variable: value}
        driver.dispatch(driver.client(NAME, env=env, allow_plaintext=True), CALL)
    assert len(proxy.requests) == 4


def test_the_environment_is_not_trusted(driver: Driver, proxy: Proxy):
    client = driver.client(
        NAME, env={"http_proxy": proxy.url}, allow_plaintext=True, trust_env=False, retry=None
    )
    with pytest.raises(UnavailableError, match="cannot be resolved"):
        driver.dispatch(client, CALL)
    assert not proxy.requests


def test_an_explicit_proxy_wins(
    driver: Driver, proxy: Proxy, dispatch_server: Server, monkeypatch: pytest.MonkeyPatch
):
    """Over no_proxy too, also that of the process, which gRPC reads itself; for loopback too."""
    monkeypatch.setenv("no_proxy", "*")
    user, password = "us@er", "pa:ss"
    if driver.protocol == "grpc" and grpc.__version__.startswith("1.72."):
        user, password = "user", "pass"  # that version does not decode credentials
    userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}"
    other = proxy.url.replace("http://", f"http://{userinfo}@")
    for url in (NAME, dispatch_server.url):
        client = driver.client(
            url, env={"no_proxy": "*"}, proxy=other, trust_env=False, allow_plaintext=True
        )
        driver.dispatch(client, CALL)
    credentials = base64.b64encode(f"{user}:{password}".encode())
    assert len(proxy.requests) == 2
    assert all(b"basic " + credentials.lower() in head.lower() for head in proxy.requests)


def test_a_proxy_that_refuses(driver: Driver, dispatch_server: Server):
    proxy = Proxy(dispatch_server.url, refuse="407")
    url = proxy.url.replace("http://", "http://user:secret@")
    try:
        client = driver.client(NAME, proxy=url, allow_plaintext=True, retry=None)
        with pytest.raises(UnavailableError, match=r"proxy .* HTTP 407 \[UNAVAILABLE\]$"):
            driver.dispatch(client, CALL)
    finally:
        proxy.close()
    absent = f"http://127.0.0.1:{hostile.unused_port()}"
    client = driver.client(NAME, proxy=absent, allow_plaintext=True, retry=None)
    with pytest.raises(UnavailableError, match="refused"):
        driver.dispatch(client, CALL)


@pytest.mark.parametrize("cls", [Client, AsyncClient])
@pytest.mark.parametrize("protocol", ["grpc", "connect"])
def test_what_cannot_be_a_proxy(cls: type[Client], protocol: str):
    def make(**settings: Any) -> None:
        cls(KEY, **{"api_url": "https://example.com", "protocol": protocol, "env": {}, **settings})

    for url in ("socks5://a:secret@proxy:1", "https://proxy:1", "http://", "http://h:port"):
        with pytest.raises(ConfigurationError, match="proxy= must be the URL of an HTTP p") as one:
            make(proxy=url)
        assert "secret" not in str(one.value)
        with pytest.raises(ConfigurationError, match="HTTPS_PROXY must be the URL of an HTTP p"):
            make(env={"HTTPS_PROXY": url})
    with pytest.raises(ConfigurationError, match="would show the API key to the proxy"):
        make(api_url="http://127.0.0.1:1", proxy="http://127.0.0.1:2")
    make(env={"HTTP_PROXY": "socks5://elsewhere:1"})  # of no concern to https
