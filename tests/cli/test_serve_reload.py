"""SIGHUP to `dispatch-grpc serve`: what is in files is loaded again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatch_grpc import AuthenticationError, Client, TLSCredentials, new_call
from tests.cli.test_cli_service import COMMAND, Serving, folder, serve, variables
from tests.serving.test_certificate import Files, served

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")
__all__ = ["folder"]  # the fixture
CALL = new_call("http://127.0.0.1:9", "f")
OLD, NEW, OTHER = "sk-old-0123456789", "sk-new-0123456789", "sk-other-0123456789"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(f"ci:{OLD}\n{OTHER}\n")
    return file


def takes(serving: Serving, key: str) -> bool:
    with Client(key, api_url=serving.url, env={}) as client:
        try:
            client.list()
        except AuthenticationError:
            return False
        return True


def test_keys_and_certificate_are_loaded_again(folder: Path, tmp_path: Path, keys: Path):
    files = Files(tmp_path)
    tls = ["--certfile", files.certfile, "--keyfile", files.keyfile]
    with serve(folder, "--api-key-file", str(keys), *tls, keep=False) as serving:
        trusted = TLSCredentials(root_certificates=files.ca.cert_pem.bytes())
        url = serving.url.replace("127.0.0.1", "localhost")
        with Client(OLD, api_url=url, credentials=trusted, env={}) as client:
            client.list()
            renewed = files.renew()
            keys.write_text(f"ci:{OLD}\nci:{NEW}\n")
            serving.process.send_signal(signal.SIGHUP)
            serving.until(lambda: "the API keys are loaded again" in serving.err)
            assert served(url, files) == renewed
            client.list()  # its connection is still open
        with Client(NEW, api_url=url, credentials=trusted, env={}) as client:
            client.list()
        with Client(OTHER, api_url=url, credentials=trusted, env={}) as client:
            with pytest.raises(AuthenticationError):
                client.list()
        assert serving.stop() == 0


def test_a_file_without_keys_changes_nothing(folder: Path, keys: Path):
    with serve(folder, "--api-key-file", str(keys), keep=False) as serving:
        keys.write_text("# none\n")
        serving.process.send_signal(signal.SIGHUP)
        serving.until(lambda: "there is no API key in" in serving.err)
        assert takes(serving, OLD)
        keys.unlink()
        serving.process.send_signal(signal.SIGHUP)
        serving.until(lambda: "cannot be read" in serving.err)
        assert takes(serving, OLD)
        assert serving.stop() == 0


def test_a_key_that_was_made_is_replaced(folder: Path):
    with serve(folder) as serving:
        made = serving.key
        (serving.data / "api-key").write_text(NEW)
        serving.process.send_signal(signal.SIGHUP)
        serving.until(lambda: takes(serving, NEW))
        assert not takes(serving, made)
        assert serving.stop() == 0


@pytest.fixture
def heeded() -> Iterator[None]:
    """SIGHUP is not ignored, as it is by all that nohup starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heeded")
def test_without_files_it_stops_the_service_gracefully(folder: Path):
    with serve(folder, keep=False, DISPATCH_API_KEY=OLD) as serving:
        assert serving.stop(signal.SIGHUP) == 0
        assert "stopped" in serving.err
        assert not serving.database_runs


def test_before_it_has_started_it_changes_nothing(folder: Path) -> None:
    serving = Serving(folder)
    try:
        serving.until((serving.data / "postgres" / "base").exists)
        serving.process.send_signal(signal.SIGHUP)
        serving.read()
        assert takes(serving, serving.key)
        assert serving.stop() == 0
    finally:
        serving.close()


def test_idempotency_keys_are_scoped_by_the_names_of_keys(folder: Path, keys: Path):
    keys.write_text(f"ci:{OLD}\nci:{NEW}\nops:{OTHER}\n")
    with serve(folder, "--api-key-file", str(keys), keep=False) as serving:
        ids = []
        for key in (OLD, NEW, OTHER):
            with Client(key, api_url=serving.url, env={}) as client:
                ids.append(client.dispatch(CALL, idempotency_key="order-1"))
        assert ids[0] == ids[1] != ids[2]


def test_a_key_that_was_made_is_shown_on_a_terminal_only(folder: Path):
    screen, terminal = os.openpty()
    command = [*COMMAND, "serve", "--port", "0", "--data-dir", str(folder / "data")]
    with subprocess.Popen(
        command, env=variables(), stdout=terminal, stderr=subprocess.DEVNULL
    ) as process:
        os.close(terminal)
        shown = b""
        while b"call it" not in shown:
            shown += os.read(screen, 4096)
        process.terminate()
        process.wait(60)
    os.close(screen)
    assert (folder / "data" / "api-key").read_bytes().strip() in shown


@pytest.mark.parametrize("level", ["debug", "info", "warning"])
def test_no_log_holds_a_key(folder: Path, level: str):
    """hpack writes every header at the level debug."""
    with serve(folder, "--log-level", level) as serving:
        for protocol in ("grpc", "connect"):
            with Client(serving.key, api_url=serving.url, protocol=protocol, env={}) as client:
                client.dispatch(CALL)
                client.list()
        assert serving.stop() == 0
        assert serving.key not in serving.err
        assert serving.key.encode().hex() not in serving.err
