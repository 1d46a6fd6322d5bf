"""A server's certificate that is renewed while the server runs."""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from dispatch_grpc.serving.certificate import Certificate
from dispatch_grpc.testing import serve_app
from tests import hostile
from tests.waiting import until

APP = hostile.plain(200, b"ok", "text/plain")
REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n"


class Files:
    """The files of a certificate, which `renew` replaces as renewal tools do."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.certfile, self.keyfile = str(folder / "cert.pem"), str(folder / "key.pem")
        self.serial = self.renew()

    def renew(self, *, key: bool = True) -> int:
        """Write a new pair, or its certificate only; returns the serial number."""
        pair = self.ca.issue_cert("localhost")
        _replace(self.certfile, pair.cert_chain_pems[0].bytes())
        if key:
            _replace(self.keyfile, pair.private_key_pem.bytes())
        return _serial(pair.cert_chain_pems[0].bytes())


def _replace(name: str, content: bytes) -> None:
    Path(f"{name}.new").write_bytes(content)
    os.replace(f"{name}.new", name)


def _serial(pem: bytes) -> int:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem).serial_number


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@contextmanager
def connection(url: str, files: Files) -> Iterator[Any]:
    """A connection to the server, which trusts the authority of the files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    files.ca.configure_trust(context)
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 20) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as opened:
            yield opened


def served(url: str, files: Files) -> int:
    """The serial number of the certificate that a new connection is shown."""
    from cryptography import x509

    with connection(url, files) as opened:
        found = opened.getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(found).serial_number


def ask(opened: Any) -> bytes:
    opened.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"0\r\n\r\n"):
        answer += opened.recv(65536)
    return answer


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatch_grpc.serving.certificate._CHECK_SECONDS", 0.05)


@pytest.mark.usefixtures("quick")
def test_a_renewed_certificate_is_used_and_open_connections_stay(files: Files):
    with serve_app(APP, certfile=files.certfile, keyfile=files.keyfile) as server:
        assert served(server.url, files) == files.serial
        with connection(server.url, files) as before:
            assert ask(before).startswith(b"HTTP/1.1 200")
            renewed = files.renew()
            until(lambda: served(server.url, files) == renewed)
            assert ask(before).startswith(b"HTTP/1.1 200")


@pytest.mark.usefixtures("quick")
def test_a_pair_that_does_not_fit_is_logged_and_the_old_one_goes_on(
    files: Files, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "dispatch_grpc")
    with serve_app(APP, certfile=files.certfile, keyfile=files.keyfile) as server:
        files.renew(key=False)
        until(lambda: "stays in use: KEY_VALUES_MISMATCH" in caplog.text)
        assert served(server.url, files) == files.serial
        Path(files.certfile).unlink()
        until(lambda: "No such file" in caplog.text)
        assert served(server.url, files) == files.serial
        renewed = files.renew()
        until(lambda: served(server.url, files) == renewed)
    assert all(record.levelno <= logging.WARNING for record in caplog.records)


def test_a_reload_is_one_step(files: Files):
    """A client never meets a certificate without its key."""
    certificate = Certificate(files.certfile, files.keyfile)
    files.renew(key=False)
    assert not certificate.reload()
    files.renew()
    assert certificate.reload()


def test_files_that_do_not_change_are_not_read_again(files: Files, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dispatch_grpc.serving.certificate._CHECK_SECONDS", 0.01)
    certificate = Certificate(files.certfile, files.keyfile)
    before = certificate._current

    async def watch() -> None:
        watching = asyncio.create_task(certificate.watch())
        await asyncio.sleep(0.1)
        watching.cancel()

    asyncio.run(watch())
    assert certificate._current is before
