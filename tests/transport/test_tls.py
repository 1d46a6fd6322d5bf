"""TLS, with a private authority: what is trusted, and what is not."""

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from dispatch_grpc import (
    CertificateError,
    ConfigurationError,
    TLSCredentials,
    UnavailableError,
    new_call,
)
from dispatch_grpc.server import dispatch_app
from dispatch_grpc.testing import CallRecorder, Server, serve_app
from dispatch_grpc.transport import tls
from tests import hostile
from tests.conftest import Driver
from tests.transport.test_proxy import Proxy

CALL = new_call("http://example.com", "f")


class Authority:
    """A certificate authority with a server's and a client's certificate, for one session."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.client = self.ca.issue_cert("client@example.com")
        self.certfile, self.keyfile, self.cafile = (
            str(folder / name) for name in ("server.pem", "server.key", "ca.pem")
        )
        server = self.ca.issue_cert("localhost")
        server.private_key_pem.write_to_path(self.keyfile)
        for number, blob in enumerate(server.cert_chain_pems):
            blob.write_to_path(self.certfile, append=number > 0)
        self.ca.cert_pem.write_to_path(self.cafile)

    @property
    def root(self) -> bytes:
        return self.ca.cert_pem.bytes()

    def credentials(self, *, client: "Authority") -> TLSCredentials:
        """Trust this authority, and show a certificate of another one."""
        return TLSCredentials(
            root_certificates=self.root,
            certificate_chain=b"".join(pem.bytes() for pem in client.client.cert_chain_pems),
            private_key=client.client.private_key_pem.bytes(),
        )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


@contextlib.contextmanager
def serving(authority: Authority, recorder: CallRecorder, **options: str) -> Iterator[Server]:
    app = dispatch_app(recorder)
    files = {"certfile": authority.certfile, "keyfile": authority.keyfile}
    with serve_app(app, **files, **options) as server:
        yield server


def refuse(driver: Driver, url: str, credentials: TLSCredentials | None) -> str:
    client = driver.client(url, credentials=credentials, retry=None)
    with pytest.raises(CertificateError) as caught:
        driver.dispatch(client, CALL)
    assert str(caught.value).startswith(f"{url} cannot be used: ")
    return caught.value.message.partition("cannot be used: ")[2]


def test_an_authority_that_is_given(
    driver: Driver, authority: Authority, dispatch_recorder: CallRecorder
):
    with serving(authority, dispatch_recorder) as server:
        client = driver.client(
            server.url, credentials=TLSCredentials(root_certificates=authority.root)
        )
        driver.dispatch(client, CALL)
    assert len(dispatch_recorder.requests) == 1


def test_an_authority_that_is_not_known(
    driver: Driver, authority: Authority, stranger: Authority, dispatch_recorder: CallRecorder
):
    with serving(authority, dispatch_recorder) as server:
        for credentials in (None, TLSCredentials(root_certificates=stranger.root)):
            text = refuse(driver, server.url, credentials)
            assert text.startswith("the certificate of localhost is not trusted (issuer trustme")
            assert "pass root_certificates, or add the authority to the system's store" in text
    assert not dispatch_recorder.requests


def test_behind_a_proxy(driver: Driver, authority: Authority, dispatch_recorder: CallRecorder):
    """The certificate is looked at through the proxy, which alone knows the server."""
    with serving(authority, dispatch_recorder) as server:
        proxy = Proxy(server.url)
        through = proxy.url.replace("http://", "http://user:secret@")

        def text(**settings: Any) -> str:
            client = driver.client("https://service.example.com:1234", proxy=through, **settings)
            with pytest.raises(CertificateError) as caught:
                driver.dispatch(client, CALL)
            return caught.value.message.partition("cannot be used: ")[2]

        try:
            found = text()
            assert found.startswith("the certificate of service.example.com is not trusted")
            assert "(issuer trustme" in found
            found = text(credentials=TLSCredentials(root_certificates=authority.root))
            assert "is for another name (localhost)" in found
        finally:
            proxy.close()
    credentials = b"basic dxnlcjpzzwnyzxq="  # gRPC writes 'basic'
    assert all(credentials in head.lower() for head in proxy.requests)
    assert not dispatch_recorder.requests


def test_behind_what_is_no_proxy(driver: Driver):
    """The look at the certificate fails as the request did: that is all that is known."""
    with hostile.raw(b"SSH-2.0-OpenSSH\r\n", after=65536) as (url, _):
        client = driver.client("https://service.example.com:1234", proxy=url, retry=None)
        with pytest.raises(UnavailableError):
            driver.dispatch(client, CALL)


def test_a_server_that_closes_during_the_handshake(driver: Driver):
    """It may want a client's certificate, or serve no TLS: nobody can tell."""
    with hostile.raw(b"", after=65536) as (url, _):
        client = driver.client(url.replace("http://", "https://"), retry=None)
        with pytest.raises(UnavailableError, match="closed the connection during or right after"):
            driver.dispatch(client, CALL)


def test_another_host_name(driver: Driver, authority: Authority, dispatch_recorder: CallRecorder):
    with serving(authority, dispatch_recorder) as server:
        url = server.url.replace("localhost", "127.0.0.1")
        text = refuse(driver, url, TLSCredentials(root_certificates=authority.root))
    assert text.startswith("the certificate of 127.0.0.1 is for another name (localhost): ")
    assert not dispatch_recorder.requests


def test_client_certificates(
    driver: Driver, authority: Authority, stranger: Authority, dispatch_recorder: CallRecorder
):
    with serving(authority, dispatch_recorder, client_ca_file=authority.cafile) as server:
        client = driver.client(server.url, credentials=authority.credentials(client=authority))
        driver.dispatch(client, CALL)
        for wrong in (
            TLSCredentials(root_certificates=authority.root),
            authority.credentials(client=stranger),
        ):
            client = driver.client(server.url, credentials=wrong, retry=None)
            # TLS 1.3 has the client finish first, and asyncio's servers then close in silence.
            with pytest.raises((CertificateError, UnavailableError)) as caught:
                driver.dispatch(client, CALL)
            assert "pass certificate_chain and private_key from an authority" in str(caught.value)
    assert len(dispatch_recorder.requests) == 1


def test_plaintext_to_a_tls_port(
    driver: Driver, authority: Authority, dispatch_recorder: CallRecorder
):
    with serving(authority, dispatch_recorder) as server:
        client = driver.client(server.url.replace("https", "http"), retry=None)
        with pytest.raises(UnavailableError):
            driver.dispatch(client, CALL)
    assert not dispatch_recorder.requests


@contextlib.contextmanager
def roots_of(
    kind: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """Have an authority trusted by the environment, or by the system's store."""
    for name in ("SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        monkeypatch.delenv(name, raising=False)
    if kind != "system":
        yield {kind: authority.cafile}
        return
    monkeypatch.setattr(tls, "_SYSTEM_ROOTS", ("/nowhere", authority.cafile))
    yield {}


@pytest.mark.parametrize("kind", ["SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "system"])
def test_where_roots_come_from(
    driver: Driver,
    kind: str,
    authority: Authority,
    dispatch_recorder: CallRecorder,
    monkeypatch: pytest.MonkeyPatch,
):
    if kind.startswith("GRPC") and driver.protocol != "grpc":
        return  # a variable of gRPC's users
    with serving(authority, dispatch_recorder) as server:
        with roots_of(kind, authority, monkeypatch) as env:
            driver.dispatch(driver.client(server.url, env=env), CALL)
    assert len(dispatch_recorder.requests) == 1


def test_roots_that_cannot_be_read(driver: Driver):
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE: cannot read /nowhere: No such"):
        driver.client("https://example.com", env={"SSL_CERT_FILE": "/nowhere"})
    driver.client("http://127.0.0.1:1", env={"SSL_CERT_FILE": "/nowhere"})  # no TLS, no roots


def test_certificates_that_are_not_usable(driver: Driver, authority: Authority):
    broken = b"-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n"
    credentials = TLSCredentials(certificate_chain=broken, private_key=broken)
    with pytest.raises(ConfigurationError, match="credentials: "):
        driver.dispatch(driver.client("https://example.com", credentials=credentials), CALL)


def test_a_certificate_that_has_expired(
    driver: Driver, authority: Authority, dispatch_recorder: CallRecorder, tmp_path: Path
):
    old = authority.ca.issue_cert(
        "localhost", not_before=datetime(2020, 1, 1), not_after=datetime(2021, 2, 3)
    )
    expired = Authority(tmp_path)
    old.private_key_pem.write_to_path(expired.keyfile)
    for number, blob in enumerate(old.cert_chain_pems):
        blob.write_to_path(expired.certfile, append=number > 0)
    trusting = TLSCredentials(root_certificates=authority.root)
    with serving(expired, dispatch_recorder) as server:
        text = refuse(driver, server.url, trusting)
        assert text.startswith("the certificate of localhost expired on Feb  3 00:00:00 2021 GMT")
        start = time.monotonic()  # told once, although there would be time for many attempts
        with pytest.raises(CertificateError):
            client = driver.client(server.url, credentials=trusting, timeout=timedelta(hours=1))
            driver.dispatch(client, CALL)
        assert time.monotonic() - start < 20
