"""A process of the service as a whole: its settings, its bounds, its end."""

import asyncio
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatch_grpc import Client, ConfigurationError, Endpoint, RPCError, new_call
from dispatch_grpc.service import Service, ServiceSettings
from dispatch_grpc.service.machine import Limits
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.testing import serve_app
from tests.conftest import RunningService, data_dir, run_service
from tests.service.conftest import Bench
from tests.waiting import until


def refused(**settings: Any) -> str:
    """How settings are refused."""

    async def main() -> None:
        async with Service.open(ServiceSettings(**{"port": 0, **settings})):
            pytest.fail("they are not")

    with pytest.raises(ConfigurationError) as caught:
        asyncio.run(main())
    return str(caught.value)


def test_settings_that_are_refused(tmp_path: Path):
    here = {"data_dir": tmp_path}
    assert "no loopback address" in refused(host="0.0.0.0", **here)
    assert "go together" in refused(certfile="x", **here)
    long = Settings(limits=Limits(max_expiration=timedelta(days=400)))
    assert "up to 366 days" in refused(worker=long, **here)
    (tmp_path / "no.pem").write_text("nonsense")
    pem = str(tmp_path / "no.pem")
    assert "cannot be used" in refused(certfile=pem, keyfile=pem, **here)
    for url in ("proxy:3128", "https://proxy", "http://", "http://u:secret@p:x"):
        text = refused(endpoint_proxy=url, **here)
        assert "endpoint_proxy: the URL of an HTTP proxy is required" in text
        assert "secret" not in text
    assert "signing key" in refused(signing_key="nonsense", **here)
    assert "the database cannot be used" in refused(database="postgresql://127.0.0.1:1/x", **here)
    (tmp_path / "api-key").write_text("\n")
    assert "there is no API key in" in refused(**here)


def test_a_key_is_made_once_and_kept_for_its_owner_only():
    with data_dir() as folder:
        with run_service(folder) as first:
            mode = (folder / "api-key").stat().st_mode
            assert stat.S_IMODE(mode) == 0o600
        with run_service(folder) as second:
            assert second.api_key == first.api_key
            with Client(second.api_key, api_url=second.url) as client:
                assert client.list() == []
            with Client("another", api_url=second.url) as client, pytest.raises(RPCError):
                client.list()


def test_what_to_know_of_a_key_is_told(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    url = bench.url()

    def told() -> list[str]:
        async def main() -> None:
            async with Service.open(ServiceSettings(database=url, data_dir=tmp_path, port=0)):
                pass

        caplog.clear()
        asyncio.run(main())
        return [one.getMessage() for one in caplog.records if "API key" in one.getMessage()]

    (message,) = told()
    assert message.startswith("an API key was made for this machine only: give")
    assert told() == []
    (tmp_path / "api-key").chmod(0o640)
    assert told() == [f"the API key in {tmp_path / 'api-key'} can be read by others: chmod 600"]


@pytest.fixture
def counting() -> Iterator[tuple[str, list[int]]]:
    """An endpoint that counts how many runs there are at once."""
    endpoint = Endpoint("http://127.0.0.1:1", env={})
    most, now = [0], [0]

    @endpoint.function
    async def busy() -> None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        await asyncio.sleep(0.05)
        now[0] -= 1

    with serve_app(endpoint.app) as server:
        yield server.url, most


@pytest.mark.parametrize("settings", [{"concurrency": 3}, {"host_concurrency": 3}])
def test_no_more_run_at_once_than_allowed(
    settings: dict[str, int], counting: tuple[str, list[int]]
):
    url, most = counting
    worker = Settings(batch_size=20, **settings)
    with data_dir() as folder, run_service(folder, worker=worker) as running:
        with Client(running.api_key, api_url=running.url) as client:
            batch = client.batch()
            batch.add(*[new_call(url, "busy")] * 60)
            for one in batch.dispatch():
                client.wait(one, timeout=None)
    assert most == [3]


def test_what_is_told_without_a_key(service: RunningService):
    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(service.url + path, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    assert get("/healthz") == (200, "ok\n")
    until(lambda: get("/readyz") == (200, "ready\n"))
    status, metrics = get("/metrics")
    assert status == 200
    for name in ("dispatch_calls_accepted_total", "dispatch_calls_running", "dispatch_run_seconds"):
        assert name in metrics


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("bridge://x", "http:// and https://"),
        ("arn:aws:lambda:eu:1:function:x", "http:// and https://"),
        ("http://169.254.169.254/latest", "link-local and metadata"),
        ("http://[fe80::1]/", "link-local and metadata"),
        ("http://[::ffff:169.254.169.254]/", "link-local and metadata"),
        ("http://2852039166/", "link-local and metadata"),
        ("http://metadata.google.internal/", "link-local and metadata"),
        ("http://x/?a=b", "a query or a fragment"),
    ],
)
def test_endpoints_that_are_not_called(url: str, why: str, service: RunningService):
    with Client(service.api_key, api_url=service.url) as client:
        batch = client.batch()
        batch.add(new_call("http://fine", "f"), new_call(url, "f"))
        with pytest.raises(RPCError, match=r"calls\[1\]\.endpoint: .*" + why):
            batch.dispatch()
        assert not client.list(endpoint="http://fine")


def test_when_too_many_calls_wait_new_ones_are_refused():
    with data_dir() as folder, run_service(folder, max_backlog=5) as running:
        with Client(running.api_key, api_url=running.url, retry=None) as client:
            batch = client.batch()
            batch.add(*[new_call("http://127.0.0.1:9", "f")] * 6)
            with pytest.raises(RPCError, match="at most 5 may; try again") as caught:
                batch.dispatch()
            assert caught.value.code.name == "RESOURCE_EXHAUSTED"
