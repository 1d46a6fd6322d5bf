"""TLS, with a private authority: what is trusted, and what is not."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
import urllib3
from pyqwest import Headers, SyncRequest

from dispatch_grpc import TLSCredentials, UnavailableError, new_call
from dispatch_grpc.server import dispatch_app
from dispatch_grpc.testing import CallRecorder, Server, serve_app
from dispatch_grpc.transport.forked import ForkedTransport
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
    with pytest.raises(UnavailableError) as caught:
        driver.dispatch(client, CALL)
    assert str(caught.value).startswith(f"{url} is not available: ")
    return str(caught.value).lower()


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
            assert "certificate" in refuse(driver, server.url, credentials)
    assert not dispatch_recorder.requests


def test_another_host_name(driver: Driver, authority: Authority, dispatch_recorder: CallRecorder):
    with serving(authority, dispatch_recorder) as server:
        url = server.url.replace("localhost", "127.0.0.1")
        refuse(driver, url, TLSCredentials(root_certificates=authority.root))
    assert not dispatch_recorder.requests


def test_client_certificates(
    driver: Driver, authority: Authority, stranger: Authority, dispatch_recorder: CallRecorder
):
    with serving(authority, dispatch_recorder, client_ca_file=authority.cafile) as server:
        client = driver.client(server.url, credentials=authority.credentials(client=authority))
        driver.dispatch(client, CALL)
        refuse(driver, server.url, TLSCredentials(root_certificates=authority.root))
        refuse(driver, server.url, authority.credentials(client=stranger))
    assert len(dispatch_recorder.requests) == 1


def test_client_certificates_in_a_forked_child(
    authority: Authority, stranger: Authority, dispatch_recorder: CallRecorder
):
    request = {"content-type": "application/json"}
    with serving(authority, dispatch_recorder, client_ca_file=authority.cafile) as server:
        url = f"{server.url}/dispatch.sdk.v1.DispatchService/Dispatch"
        for client, works in ((authority, True), (stranger, False)):
            transport = ForkedTransport(authority.credentials(client=client))
            try:
                answer = transport.execute_sync(SyncRequest("POST", url, Headers(request), b"{}"))
                assert works
                assert answer.status == 200
            except urllib3.exceptions.HTTPError:
                assert not works
            transport.close()
    assert len(dispatch_recorder.requests) == 1


def test_plaintext_to_a_tls_port(
    driver: Driver, authority: Authority, dispatch_recorder: CallRecorder
):
    with serving(authority, dispatch_recorder) as server:
        client = driver.client(server.url.replace("https", "http"), retry=None)
        with pytest.raises(UnavailableError):
            driver.dispatch(client, CALL)
    assert not dispatch_recorder.requests
