"""Settings: argument, environment, default; what is refused; and that no key is shown."""

import inspect
from datetime import timedelta
from typing import Any

import pytest

from dispatch_grpc import AsyncClient, Client, ConfigurationError, TLSCredentials
from tests.conftest import KEY

CLIENTS = pytest.mark.parametrize("cls", [Client, AsyncClient])


@CLIENTS
def test_defaults(cls: type[Client]):
    client = cls(KEY, env={})
    assert repr(client) == (
        f"<{cls.__name__} api_url='https://api.dispatch.run', protocol='grpc', "
        f"api_key='sk-********'>"
    )


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("a", "********"),
        ("elevenchars", "********"),
        ("twelve-chars", "twe********"),
        (KEY, "sk-********"),
    ],
)
def test_keys_are_redacted(key: str, shown: str):
    assert f"api_key='{shown}'" in repr(Client(key, env={}))


@CLIENTS
def test_arguments_win_over_the_environment(cls: type[Client]):
    env = {
        "DISPATCH_API_KEY": " env-key-0123\n",
        "DISPATCH_API_URL": " http://localhost:1234/ ",
        "DISPATCH_PROTOCOL": "connect",
    }
    client = cls(env=env)
    assert "'env********'" in repr(client)
    assert "'http://localhost:1234'" in repr(client)
    assert "'connect'" in repr(client)
    client = cls("arg-key-0123", api_url="http://[::1]:5/", protocol="grpc", env=env)
    assert "'arg********'" in repr(client)
    assert "'http://[::1]:5'" in repr(client)
    assert "'grpc'" in repr(client)
    client = cls("", api_url="", protocol="", env=env)
    assert "'env********'" in repr(client)


def test_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DISPATCH_API_KEY", "process-key-0123")
    monkeypatch.setenv("DISPATCH_API_URL", "http://127.0.0.1:1")
    assert "pro********" in repr(Client())
    monkeypatch.setenv("DISPATCH_API_KEY", "other-key-0123")
    assert "oth********" in repr(Client())


@CLIENTS
@pytest.mark.parametrize("env", [{}, {"DISPATCH_API_KEY": ""}, {"DISPATCH_API_KEY": " "}])
@pytest.mark.parametrize("key", [None, "", "  "])
def test_no_key(cls: type[Client], env: dict[str, str], key: str | None):
    with pytest.raises(ConfigurationError, match=r"DISPATCH_API_KEY.* api_key="):
        cls(key, env=env)


@pytest.mark.parametrize("key", ["a\nsecret", "a\0secret", "secret é", "a\x7fsecret"])
@pytest.mark.parametrize("source", ["api_key=", "DISPATCH_API_KEY"])
def test_keys_that_a_header_cannot_carry(key: str, source: str):
    with pytest.raises(ConfigurationError, match=f"the API key from {source} contains") as caught:
        Client(key, env={}) if source == "api_key=" else Client(env={source: key})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("example.com", "must begin with https://"),
        ("ftp://example.com", "must begin with https://"),
        ("https://", "must have a host"),
        ("https://:443", "must have a host"),
        ("https://host:0", "must have a host, and no port 0"),
        ("https://host:99999", "is not a URL"),
        ("https://host:http", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https://me:hidden@host", "must not contain credentials"),
        ("https://hidden@host", "must not contain credentials"),
        ("https://host/path", "must not have a path with gRPC"),
        ("https://host?q", "must not have a query"),
        ("https://host/#f", "must not have a query or a fragment"),
        ("https://ho st", "contains whitespace"),
        ("https://höst", "non-ASCII"),
        ("http://example.com", "would send the API key in clear text"),
        ("http://10.0.0.1:80", "would send the API key in clear text"),
        ("http://localhost.example.com", "would send the API key in clear text"),
    ],
)
@pytest.mark.parametrize("source", ["api_url=", "DISPATCH_API_URL"])
def test_urls_that_are_refused(url: str, message: str, source: str):
    with pytest.raises(ConfigurationError, match=message) as caught:
        if source == "api_url=":
            Client(KEY, api_url=url, env={})
        else:
            Client(KEY, env={source: url})
    assert f"(from {source})" in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "http://LOCALHOST:1",
        "http://a.localhost:1",
        "http://127.9.9.9:1",
        "http://[::1]",
        "https://example.com",
        "https://example.com:8443/",
    ],
)
def test_urls_that_are_accepted(url: str):
    Client(KEY, api_url=url, env={}).close()


def test_plaintext_when_it_is_allowed():
    Client(KEY, api_url="http://10.0.0.1", allow_plaintext=True, env={}).close()


def test_a_path_for_connect():
    client = Client(KEY, api_url="https://example.com/api/", protocol="connect", env={})
    assert "'https://example.com/api'" in repr(client)


@CLIENTS
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"api_key": 5}, "api_key: a str is required; got int"),
        ({"api_url": b"x"}, "api_url: a str is required; got bytes"),
        (
            {"protocol": "http"},
            r"protocol= must be one of grpc, connect, connect\+json; got",
        ),
        ({"env": {"DISPATCH_API_KEY": "k", "DISPATCH_PROTOCOL": "x"}}, "DISPATCH_PROTOCOL must be"),
        ({"timeout": timedelta(0)}, "timeout: a timedelta or a number of seconds, greater"),
        ({"timeout": "10"}, "timeout: a timedelta or a number.* got '10'"),
        ({"metadata": {"Authorization": "x"}}, "the client itself sets 'Authorization'.*api_key="),
        ({"metadata": {"te": "x"}}, "the client itself sets 'te'$"),
        ({"metadata": {"a": 1}}, "is required as the value of 'a'"),
        ({"metadata": {1: "a"}}, "a key of letters"),
        ({"max_message_bytes": 0}, "max_message_bytes: an int from 1"),
        ({"max_message_bytes": "1"}, "max_message_bytes: an int from 1"),
        ({"credentials": b"x", "api_url": "https://x"}, "credentials: a TLSCredentials or None"),
        ({"credentials": TLSCredentials(), "api_url": "http://[::1]"}, "credentials are for https"),
        (
            {"channel": object(), "protocol": "connect"},
            "channel cannot be used with protocol=",
        ),
        ({"channel": object(), "credentials": TLSCredentials()}, "credentials cannot be used with"),
    ],
)
def test_settings_that_are_refused(cls: type[Client], settings: dict[str, Any], message: str):
    with pytest.raises(ConfigurationError, match=message):
        cls(**{"api_key": KEY, "env": {}, **settings})


def test_credentials_are_checked_and_their_key_is_not_shown():
    pem = b"-----BEGIN CERTIFICATE-----\n"
    with pytest.raises(ConfigurationError, match="root_certificates must be bytes in PEM form"):
        TLSCredentials(root_certificates=b"/etc/ssl/cert.pem")
    with pytest.raises(ConfigurationError, match="go together"):
        TLSCredentials(certificate_chain=pem)
    shown = repr(TLSCredentials(certificate_chain=pem, private_key=b"-----BEGIN hidden"))
    assert "hidden" not in shown


@pytest.mark.parametrize("protocol", ["connect", "connect+json"])
def test_certificates_that_are_none(protocol: Any):
    pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    broken = TLSCredentials(certificate_chain=pem, private_key=pem)
    with pytest.raises(ConfigurationError, match=r"^credentials: "):
        Client(KEY, api_url="https://x", protocol=protocol, credentials=broken, env={})


def test_no_timeout_and_empty_metadata():
    Client(KEY, timeout=None, metadata={}, env={}).close()


def test_a_sentinel_has_a_readable_signature():
    parameter = inspect.signature(Client.dispatch).parameters["timeout"]
    assert str(parameter).endswith("= <not given>")


def test_a_long_value_in_an_error_is_cut_visibly():
    with pytest.raises(ConfigurationError) as caught:
        Client(KEY, env={}, max_message_bytes="9" * 500)
    assert str(caught.value).endswith(f"got '{'9' * 78}…")
