"""Kill an application, relays and services at random moments, and count what was recorded.

`python -m tests.producers.kills` does it by hand: KILLS, 1,000 unless it says otherwise, and
KILLS_SEED. Each order that has committed must have each of its calls once, and no other may have
one.
"""

import asyncio
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from dispatch_grpc import marshal
from dispatch_grpc.outbox.table import DEFAULT_TABLE, create_statements
from dispatch_grpc.service.embedded import Embedded
from tests.hostile import unused_port
from tests.producers.application import CREATE
from tests.producers.conftest import execute, fetch
from tests.service.processes import KEY, Restarted, service_command
from tests.waiting import async_until

WAYS = ("sql", "outbox")
RELAYS = 2
FINISH_SECONDS = 120.0

# A relay with a short lease, so that batches are taken over soon.
RELAY = """
import asyncio, datetime, logging, sys
from dispatch_grpc import AsyncClient
from dispatch_grpc.outbox import Relay

logging.basicConfig(level=logging.INFO)

async def main():
    seconds = datetime.timedelta(seconds=2)
    async with AsyncClient(sys.argv[3], api_url=sys.argv[2], env={}, retry=None) as client:
        async with Relay(sys.argv[1], client, lease=seconds, poll_interval=seconds / 4):
            print("started", flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


class Report:
    """What became of the orders of one way."""

    def __init__(self) -> None:
        self.orders = self.calls = self.lost = self.twice = self.rolled_back = 0

    def __str__(self) -> str:
        return (
            f"{self.orders} orders with {self.calls} calls: {self.lost} lost, {self.twice} "
            f"recorded twice, {self.rolled_back} of transactions that did not commit"
        )


async def run(folder: Path, seed: int, kills: int) -> dict[str, Report]:
    """Run it.

    Args:
        folder: Folder for the databases and the logs, which the user of the database may enter.
        seed: What all random numbers come from.
        kills: Number of kills.
    """
    rng = random.Random(seed)
    embedded = Embedded(folder / "database")
    await embedded.open()
    host = folder / "database" / "postgres"
    # The service's own, which is the application's too, and one that is the application's alone.
    urls = {way: f"postgresql://postgres@/{way}?host={host}" for way in WAYS}
    processes: list[Restarted] = []
    try:
        for way in WAYS:
            await execute(f"postgresql://postgres@/postgres?host={host}", f"CREATE DATABASE {way}")
            await execute(urls[way], CREATE)
        await execute(urls["outbox"], create_statements(DEFAULT_TABLE))
        port = unused_port()
        api = f"http://127.0.0.1:{port}"
        service = service_command(folder / "service", database=urls["sql"], port=port)
        endpoint = "http://127.0.0.1:1"  # nothing listens: that calls are recorded is enough
        relay = [sys.executable, "-c", RELAY, urls["outbox"], api, KEY]
        commands = {"service": service, **{f"relay{n}": relay for n in range(RELAYS)}}
        for name, command in commands.items():
            processes.append(Restarted(folder, name, command))
            await processes[-1].start()
        applications = {}
        for way in WAYS:
            applications[way] = Application(folder, way, urls[way], endpoint, rng)
            await applications[way].start()
        for _ in range(kills):
            await asyncio.sleep(rng.random() * 0.6)
            victim: Any = rng.choice([*processes, *applications.values()])
            await victim.kill()
            await victim.start()
        for application in applications.values():
            await application.kill()
        await _until_empty(urls["outbox"])
        return {way: await _report(urls[way], urls["sql"]) for way in WAYS}
    finally:
        for process in processes:
            await process.kill()
        await embedded.close()


class Application(Restarted):
    """An application: each start has a seed of its own."""

    def __init__(self, folder: Path, way: str, url: str, endpoint: str, rng: random.Random) -> None:
        self._rng = rng
        command = [sys.executable, "-m", "tests.producers.application", way, url, endpoint]
        super().__init__(folder, f"application-{way}", command)

    async def start(self) -> None:
        self._command = [*self._command[:6], str(self._rng.getrandbits(32))]
        await super().start()


async def _until_empty(url: str) -> None:
    rows: list[Any] = []

    async def is_empty() -> bool:
        rows[:] = await fetch(url, f"SELECT error FROM {DEFAULT_TABLE} LIMIT 5")
        return not rows

    await async_until(is_empty, FINISH_SECONDS, problem=lambda: rows)


async def _report(application: str, service: str) -> Report:
    report = Report()
    orders = await fetch(application, "SELECT number, calls FROM orders")
    wanted = {f"{row['number']} {place}" for row in orders for place in range(row["calls"])}
    report.orders, report.calls = len(orders), len(wanted)
    inputs = {marshal(text).SerializeToString(): text for text in wanted}
    others = {
        marshal(f"{row['number']} {place}").SerializeToString()
        for way in WAYS
        for row in await fetch(service.replace("/sql?", f"/{way}?"), "SELECT * FROM orders")
        for place in range(row["calls"])
    }
    found = Counter(
        row["input"] for row in await fetch(service, "SELECT input FROM dispatch_grpc.every_call")
    )
    report.lost = sum(input not in found for input in inputs)
    report.twice = sum(found[input] > 1 for input in inputs)
    report.rolled_back = sum(input not in others for input in found)
    return report


def main() -> int:
    """Run it by hand."""
    kills = int(os.environ.get("KILLS", "1000"))
    seed = int(os.environ.get("KILLS_SEED", str(random.randrange(10**6))))
    sys.stdout.write(f"{kills} kills, seed {seed}\n")
    with tempfile.TemporaryDirectory(prefix="dispatch-grpc-") as folder:
        Path(folder).chmod(0o755)
        reports = asyncio.run(run(Path(folder), seed, kills))
    for way, report in reports.items():
        sys.stdout.write(f"{way}: {report}\n")
    return int(any(one.lost or one.twice or one.rolled_back for one in reports.values()))


if __name__ == "__main__":
    sys.exit(main())
