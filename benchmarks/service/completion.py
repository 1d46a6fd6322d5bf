"""Calls from their dispatch to their end: in batches, one by one, and many tasks at once."""

import sys
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.processes import Start, started
from benchmarks.service.load import BATCH, KEY, PEER_PYTHON, PROTOCOLS, SINGLE_TASKS, Load
from benchmarks.service.neighbours import CALLS as NEIGHBOURS_CALLS
from benchmarks.service.neighbours import CALLS_P99, Neighbours
from benchmarks.service.postgres import Postgres
from benchmarks.service.table import measure, milliseconds, rate, row

ONE_TASK_CALLS = 300
BACKLOG, BESIDE_ROUNDS = 10_000, 3


def report_completion(
    name: str, load: Load, peer: Callable[[], Sequence[float]], target: float
) -> None:
    samples = measure(7, {"ours": load.complete, "theirs": lambda: peer()[0]})
    title = f"no-op calls to completion / {name}"
    row(title, samples["ours"], samples["theirs"], target, rate, at_most=False)


def report_singles(load: Load) -> None:
    sides = {name: partial(load.singles, protocol) for protocol, name in PROTOCOLS.items()}
    samples = measure(7, {**sides, "batches": load.complete})
    for name in sides:
        title = f"single calls of {SINGLE_TASKS} tasks by {name}, to completion / in batches"
        row(title, samples[name], samples["batches"], 0.6, rate, at_most=False)


def report_one_by_one(load: Load, peer: Callable[[], Sequence[float]]) -> None:
    sides = {
        name: partial(load.singles, protocol, ONE_TASK_CALLS, 1)
        for protocol, name in PROTOCOLS.items()
    }
    samples = measure(7, {**sides, "absurd": lambda: peer()[0]})
    for name in sides:
        title = f"single calls of one task by {name}, to completion / tasks of absurd"
        row(title, samples[name], samples["absurd"], 1, rate, at_most=False)


def report_beside(url: str, load: Load, port: int) -> None:
    """Print how long calls take one by one, beside a batch of another function of the host."""
    measured = Neighbours(url, KEY, f"http://127.0.0.1:{port}")

    def alone() -> float:
        load.expect(NEIGHBOURS_CALLS)
        return measured.times()[CALLS_P99]

    def beside() -> float:
        for _ in range(BACKLOG // BATCH):
            load.batch(BATCH, function="backlog")
        p99 = alone()
        load.settle()
        return p99

    samples = measure(BESIDE_ROUNDS, {"beside": beside, "alone": alone})
    title = f"calls one by one, each waited for, beside {BACKLOG:,} in batches, p99 / alone"
    row(title, samples["beside"], samples["alone"], 3, milliseconds, at_most=True)


def singles(server: Postgres, start: Start) -> None:
    """Print the rows about single calls only."""
    endpoint = start(sys.executable, "service.endpoint").hello
    url = start(sys.executable, "service.process", server.url("ours"), KEY).hello["url"]
    load = Load(url, f"http://127.0.0.1:{endpoint}", server.watch_queue())
    report_singles(load)
    with started(PEER_PYTHON, "service.absurd", server.url("absurd")) as absurd:
        report_one_by_one(load, partial(absurd.ask, "spawn", ONE_TASK_CALLS))
    report_beside(url, load, endpoint)
