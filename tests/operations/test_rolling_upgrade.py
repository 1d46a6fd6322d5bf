"""A rolling upgrade: processes of an earlier version and of this one share the work."""

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatch_grpc import Client, new_call
from tests.conftest import data_dir
from tests.service.processes import KEY, Process, endpoint, service
from tests.waiting import until

ROOT = Path(__file__).parents[2]
# Versions that had other tables: each is the last one before a migration.
EARLIER = (
    "59481e7354c7e892bf31935f9870f9465379558a",
    "d73f447046792b1a7f1875dd8ac2a6ef5efa9fbf",
)
FIRST = """
import asyncio, pathlib, sys
from dispatch_grpc.service import Service, ServiceSettings

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(15, stop.set)
    settings = ServiceSettings(data_dir=pathlib.Path(sys.argv[1]), port=0, api_keys=[sys.argv[2]])
    async with Service.open(settings) as service:
        print(service.url, flush=True)
        await stop.wait()

asyncio.run(main())
"""


@contextmanager
def earlier(version: str, code: Path, data: Path) -> Iterator[Process]:
    """A process of the service of an earlier version, whose code comes from the history."""
    folders = ["dispatch_grpc", "generated/python"]
    archive = subprocess.run(
        ["git", "archive", version, *folders], cwd=ROOT, capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(code, filter="data")
    path = f"{code}:{code / folders[1]}"
    process = Process(sys.executable, "-P", "-c", FIRST, str(data), KEY, env={"PYTHONPATH": path})
    try:
        yield process
        assert process.stop() == 0
    finally:
        process.close()


def has(version: str) -> bool:
    """Whether the history is here: it is not in a source distribution or a shallow clone."""
    if shutil.which("git") is None:
        return False
    command = ["git", "cat-file", "-e", f"{version}^{{commit}}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize("version", EARLIER, ids=lambda version: version[:7])
def test_two_versions_share_the_work(version: str, tmp_path: Path):
    if not has(version):
        pytest.skip("the history of the repository is not here")
    with data_dir() as data, endpoint(tmp_path / "log") as hosted:
        calls = [new_call(hosted.url, "square", number) for number in range(50)]
        slow = new_call(hosted.url, "slow", 2.0)

        def dispatched(url: str) -> list[str]:
            with Client(KEY, api_url=url) as client:
                batch = client.batch()
                batch.add(*calls, slow)
                return batch.dispatch()

        with earlier(version, tmp_path / "code", data) as first:
            ids = dispatched(first.url)
            with service(data) as second:
                for url in (first.url, second.url) * 2:
                    ids += dispatched(url)
                log = tmp_path / "log"
                until(lambda: log.read_text().count("slow") == 5)
                first.stop()  # while it may run some of them
                with Client(KEY, api_url=second.url) as client:
                    results = client.wait_all(ids, timeout=60)
    assert results == [*(number * number for number in range(50)), 2.0] * 5
