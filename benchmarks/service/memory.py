"""The memory of the service while 100,000 calls run."""

import sys
from pathlib import Path
from time import perf_counter

from benchmarks.processes import Start
from benchmarks.service.load import BATCH, KEY, Load
from benchmarks.service.postgres import Postgres


def memory(server: Postgres, start: Start) -> None:
    """Have 100,000 calls run, at most 5,000 waiting, and print the memory at times."""
    endpoint = start(sys.executable, "service.endpoint").hello
    service = start(sys.executable, "service.process", server.url("ours"), KEY)
    load = Load(service.hello["url"], f"http://127.0.0.1:{endpoint}", server.watch_queue())
    total = 100_000
    print("| calls finished | resident memory of the service |")
    print("|--:|--:|", flush=True)
    begun = perf_counter()
    for number in range(BATCH, total + 1, BATCH):
        load.batch(BATCH)
        load.settle(5 * BATCH, 0.05)
        if number in {total // 10, total // 2, total}:
            load.settle()
            print(f"| {number:,} | {resident(service.pid):,.1f} MiB |", flush=True)
    print(f"\n{total / (perf_counter() - begun):,.0f} calls a second.")


def resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError
