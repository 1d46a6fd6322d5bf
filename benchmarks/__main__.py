"""Measures, and prints the report: `python -m benchmarks`, in about four minutes.

Words as arguments choose the rows whose titles hold one of them.

The sides of a row are measured in turns, in many short rounds, so that noise and drift fall
on both alike. The ratio is the median of the rounds' ratios, each of two measurements that
follow each other: a machine that changes its speed between rounds does not change it.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.processes import ROOT, Child, cpu, show, started
from dispatch_grpc.signature import new_key_pair

PEER_PYTHON = ROOT / ".venv-peer" / "bin" / "python"
CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]

Side = tuple[str, str]
"""Who measures, and what: `("ours", "sync raw")`."""


@dataclass(frozen=True)
class Row:
    """A row of the table: two sides, measured in turns.

    Attributes:
        title: What is measured, and against what.
        ours: The side of which we want to know.
        other: The side that it is compared with.
        by_time: Whether the ratio is of times (less is better) or of rates (more is better).
        target: What the ratio is to be at most, or at least; None if the row only informs.
        seconds: How long a side is measured in a round.
        rounds: How many rounds there are.
        one_core: Whether to keep both processes on one core, and the servers on another. Cores
            differ in speed while others use them, and a process stays where it was.
    """

    title: str
    ours: Side
    other: Side
    by_time: bool
    target: float | None
    seconds: float = 0.1
    rounds: int = 40
    one_core: bool = False

    def measure(self, children: dict[str, Child]) -> str:
        if self.one_core:
            for child in children.values():
                child.stay(CORES[0])
        # A row has two sides and no third: what ran just before is the same for both.
        sides = [self.ours, self.other]
        loops = {side: self._loops(children, side) for side in sides}
        samples: dict[Side, list[float]] = {side: [] for side in sides}
        for _ in range(self.rounds):
            for who, what in sides:
                samples[who, what].append(median(children[who].ask(what, loops[who, what])))
            sides.reverse()
        return self.render(samples[self.ours], samples[self.other])

    def _loops(self, children: dict[str, Child], side: Side) -> int:
        """Find the number of loops that fill a round; this warms the side up, too."""
        loops = 1
        while True:
            start = perf_counter()
            children[side[0]].ask(side[1], loops)
            took = perf_counter() - start
            if took >= self.seconds / 2:
                return max(1, round(loops * self.seconds / took))
            loops *= 2

    def render(self, ours: list[float], other: list[float]) -> str:
        pairs = zip(ours, other, strict=True)
        ratio = median(a / b if self.by_time else b / a for a, b in pairs)
        target, mark = "", ""
        if self.target is not None:
            target = f"{'≤' if self.by_time else '≥'} {self.target:.2f}"
            reached = ratio <= self.target if self.by_time else ratio >= self.target
            mark = "pass" if reached else "**miss**"
        # Three digits: with two, a near miss would look like its target.
        shown = self._show(median(ours)), self._show(median(other))
        return f"| {' | '.join((self.title, *shown, f'{ratio:.3f}', target, mark))} |"

    def _show(self, seconds: float) -> str:
        return f"{seconds * 1e6:,.0f} µs" if self.by_time else f"{1 / seconds:,.0f} /s"


def against_peer(name: str, target: float, title: str = "") -> Row:
    title = f"{title or name} / dispatch-py"
    return Row(title, ("ours", name), ("peer", name), False, target, 0.06, 30, one_core=True)


RAW, AIO_RAW = ("ours", "sync raw"), ("ours", "async raw")
AIO, AIO_CONNECT, PEER = ("ours", "async"), ("ours", "async connect"), ("peer", "async")
# Title and targets of marshal and unmarshal.
CONVERSIONS = [
    ("int", 1.7, 3),
    ("str", 1.7, 3),
    ("bytes", 1.7, 3),
    ("datetime", 1.6, 2.3),
    ("dict of 20", 2.4, 1.5),
    ("list of 1,000 floats", 8, 8),
    ("10 KB document", 3.3, 1.5),
]
ROWS = [
    Row("dispatch, p50 / raw gRPC stub", ("ours", "sync"), RAW, True, 1.05, rounds=80),
    Row("dispatch by Connect, p50 / raw gRPC stub", ("ours", "sync connect"), RAW, True, None),
    Row("64 tasks / raw grpc.aio stub", AIO, AIO_RAW, False, 0.9, 0.25, rounds=80),
    Row("64 tasks / dispatch-py", AIO, PEER, False, 1.45, 0.25),
    Row("64 tasks by Connect / dispatch-py", AIO_CONNECT, PEER, False, 0.8, 0.25),
    Row(
        "64 tasks, coalesced / one RPC each (lean server)",
        ("ours", "coalesced"),
        AIO,
        by_time=False,
        target=5,
        seconds=0.25,
    ),
    Row(
        "64 tasks by Connect, coalesced / one RPC each (lean server)",
        ("ours", "coalesced connect"),
        AIO_CONNECT,
        by_time=False,
        target=5,
        seconds=0.25,
    ),
    Row(
        "one dispatch alone, p50, of a client that coalesces / of one that does not",
        ("ours", "coalesced alone"),
        ("ours", "async alone"),
        by_time=True,
        target=None,
        rounds=80,
    ),
    against_peer("batch of values", 2, "1,000 calls from values"),
    against_peer("batch of calls", 2.5, "1,000 ready calls"),
    *(against_peer(f"marshal {name}", target) for name, target, _ in CONVERSIONS),
    *(against_peer(f"unmarshal {name}", target) for name, _, target in CONVERSIONS),
    Row(
        "activation, journal of 200 entries / the coroutine on asyncio, futures ready",
        ("ours", "activation"),
        ("ours", "coroutine"),
        by_time=True,
        target=3,
        rounds=30,
    ),
]


def runs(title: str, ours: str, other: str, target: float | None = None) -> Row:
    """A row of runs; a side is the name of an endpoint of `start_endpoints`, and a function."""
    rounds = 20 if target is None else 40
    return Row(title, ("load", ours), ("load", other), False, target, 0.25, rounds)


RUN, SIGNED_RUN = "ours async", "ours signed async"
RUN_ROWS = [
    runs("run of a no-op function / dispatch-py", RUN, "theirs async", 1),
    runs("run of a sync no-op function / dispatch-py", "ours sync", "theirs sync"),
    runs("run of a signed request / unsigned", SIGNED_RUN, RUN, 0.45),
    runs("run of a signed request / dispatch-py", SIGNED_RUN, "theirs signed async", 1.2),
]


def start_endpoints(start: Callable[..., Child]) -> Child:
    """Start endpoints, all on one core, and on another the process that calls them."""
    keys = new_key_pair()
    endpoints = {
        "ours": start(sys.executable, "endpoint"),
        "theirs": start(PEER_PYTHON, "peer_endpoint"),
        "ours signed": start(sys.executable, "endpoint", keys.verification_key),
        "theirs signed": start(PEER_PYTHON, "peer_endpoint", keys.verification_key),
    }
    hellos = {name: endpoint.hello for name, endpoint in endpoints.items()}
    load = start(sys.executable, "load", keys.signing_key, json.dumps(hellos))
    for endpoint in endpoints.values():
        endpoint.stay(CORES[0])
    load.stay(CORES[-1])
    return load


IMPORTS = {
    ("import", "ours"): "import dispatch_grpc",
    ("import", "raw"): "from dispatch.sdk.v1 import call_pb2, dispatch_pb2, dispatch_pb2_grpc",
}
IMPORT_ROW = Row("import / raw gRPC stubs", ("import", "ours"), ("import", "raw"), True, 1.1)


def measure_imports() -> dict[Side, list[float]]:
    """Time imports, each in a fresh process and from after its start."""
    samples: dict[Side, list[float]] = {side: [] for side in IMPORTS}
    for _ in range(40):
        for side, statement in IMPORTS.items():
            program = (
                f"from time import perf_counter as now; t = now(); {statement}; print(now() - t)"
            )
            command = [sys.executable, "-I", "-c", program]
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
            samples[side].append(float(done.stdout))
    return samples


def chosen(row: Row) -> bool:
    return not sys.argv[1:] or any(word in row.title for word in sys.argv[1:])


def main() -> None:
    rows = [row for row in ROWS if chosen(row)]
    run_rows = [row for row in RUN_ROWS if chosen(row)]
    if not PEER_PYTHON.exists():
        sys.exit("dispatch-py is not there to compare with: run 'make bench', which installs it")
    print("| measured / compared with | ours | theirs | ratio | target | |")
    print("|---|--:|--:|--:|--:|---|", flush=True)
    with ExitStack() as stack:

        def start(python: Path | str, module: str, *arguments: str) -> Child:
            return stack.enter_context(started(python, module, *arguments))

        grpc_port, http_port = (
            str(start(sys.executable, "servers", kind).hello) for kind in ("grpc", "http")
        )
        ours = start(sys.executable, "ours", grpc_port, http_port)
        peer = start(PEER_PYTHON, "peer", http_port)
        for row in rows:
            print(row.measure({"ours": ours, "peer": peer}), flush=True)
        if run_rows:
            load = start_endpoints(start)
            for row in run_rows:
                print(row.measure({"load": load}), flush=True)
    if chosen(IMPORT_ROW):
        imports = measure_imports()
        print(IMPORT_ROW.render(imports[IMPORT_ROW.ours], imports[IMPORT_ROW.other]))
    print(
        "\nµs: time, the ratio is of times (less is better); /s: calls or values in a second, the\n"
        "ratio is of rates (more is better). All are medians of rounds, so that a ratio is not\n"
        "quite the quotient of the numbers beside it. dispatch-py speaks Connect over HTTP/1.1.\n"
        "With 64 tasks the gRPC server is about as busy as its clients: it hides a part of what\n"
        "differs between clients of gRPC. Runs are requests to endpoints, 16 at a time by Connect\n"
        "over HTTP/1.1; that of dispatch-py is served by aiohttp.\n"
    )
    print(f"- {datetime.now(UTC):%Y-%m-%d}, {cpu()}, {os.cpu_count()} cores, {platform.system()}")
    print(f"- ours: {show(ours.hello)}")
    print(f"- theirs: {show(peer.hello)}")


if __name__ == "__main__":
    main()
