"""TLS, with a private authority: what is trusted, and what is not."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from dispatch_grpc import CertificateError, TLSCredentials, UnavailableError, new_call
from dispatch_grpc.server import dispatch_app
from dispatch_grpc.testing import CallRecorder, Server, serve_app
from tests.conftest import Driver

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
