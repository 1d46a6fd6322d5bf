"""Measures the durable service, and prints the report: `python -m benchmarks.service`.

It takes about four minutes. An argument chooses one of the others: `dispatches`, `singles` and
`workflows` print only the rows about single dispatches, single calls to completion, and workflows;
`neighbours` tells how long single calls take beside endpoints that are dead or hang; `memory` has
100,000 calls run and tells the memory of the service; `earlier` compares it with an earlier
version; `profile` writes a flame graph.

Sides are measured in turns, as by `benchmarks`, and a ratio is the median of the rounds' ratios.
"""

import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.processes import Child, Start, cpu, show, started
from benchmarks.service.accepts import report_accept, report_accepts
from benchmarks.service.completion import (
    ONE_TASK_CALLS,
    report_beside,
    report_completion,
    report_one_by_one,
    report_singles,
    singles,
)
from benchmarks.service.dispatches import report_dispatches
from benchmarks.service.earlier import earlier
from benchmarks.service.load import (
    BATCH,
    CALLS,
    DBOS_CALLS,
    KEY,
    PEER_PYTHON,
    PROTOCOLS,
    Load,
    dispatching,
)
from benchmarks.service.memory import memory
from benchmarks.service.neighbours import neighbours
from benchmarks.service.postgres import Postgres, postgres
from benchmarks.service.profile import profile
from benchmarks.service.table import measure, milliseconds, row
from benchmarks.service.workflows import report_workflows, states, workflows


def report(server: Postgres, start: Start) -> None:
    port = start(sys.executable, "service.endpoint").hello
    recorder = start(sys.executable, "service.recorder", KEY).hello["url"]
    url = start(sys.executable, "service.process", server.url("ours"), KEY).hello["url"]
    load = Load(url, f"http://127.0.0.1:{port}", server.watch_queue())
    print("| measured / compared with | ours | theirs | ratio (of rounds) | target | |")
    print("|---|--:|--:|--:|--:|---|", flush=True)
    versions = {"PostgreSQL": server.version, "Python": platform.python_version()}
    # The peers look at their queues now and then: each is there only while it is measured.
    with started(PEER_PYTHON, "service.dbos", server.url("dbos"), str(port)) as dbos:
        versions |= dbos.hello
        jobs = partial(dbos.ask, "queued", DBOS_CALLS)
        report_completion("DBOS", load, jobs, 5)
        report_workflows(url, load, start, dbos)
    with started(sys.executable, "service.pgqueuer", server.url("pgqueuer")) as pgqueuer:
        versions |= pgqueuer.hello
        jobs = partial(pgqueuer.ask, "jobs", CALLS)
        report_completion("empty jobs of pgqueuer alone", load, jobs, 0.3)
    for protocol, name in PROTOCOLS.items():
        report_accept(
            name,
            partial(load.single, protocol),
            partial(load.batches, protocol),
            server,
            dispatching(recorder, protocol),
        )
    report_accepts(server)
    report_singles(load)
    report_dispatches(server, start)
    with started(PEER_PYTHON, "service.absurd", server.url("absurd")) as absurd:
        versions |= absurd.hello
        report_one_by_one(load, partial(absurd.ask, "spawn", ONE_TASK_CALLS))
    report_beside(url, load, port)
    samples = measure(11, {"poll": load.poll, "roots": load.roots})
    title = "a poll with 500 children / 500 calls"
    row(title, samples["poll"], samples["roots"], 1.5, milliseconds, at_most=True)
    print(
        f"\nRatios are medians of rounds, so that they are not quite the quotients of the numbers\n"
        f"beside them. To completion: from the first request until the queue is empty, {CALLS:,}\n"
        f"calls in batches of {BATCH:,}, the client included. DBOS: {DBOS_CALLS} workflows on a\n"
        f"queue, each with one step, which sends a POST to the same endpoint. Alone: nothing else\n"
        f"runs. In a row: those before it run meanwhile. {states()}\n"
    )
    print(f"- {datetime.now(UTC):%Y-%m-%d}, {cpu()}, {os.cpu_count()} cores, {platform.system()}")
    print(f"- {show(versions)}")


def main() -> None:
    others: dict[str, Callable[[Postgres, Start], None]] = {
        "dispatches": report_dispatches,
        "earlier": earlier,
        "memory": memory,
        "neighbours": neighbours,
        "profile": profile,
        "singles": singles,
        "workflows": workflows,
    }
    run = others[sys.argv[1]] if sys.argv[1:] else report
    if run in {report, singles, workflows} and not PEER_PYTHON.exists():
        sys.exit("the peers are not installed: run 'make bench-service', which does it")
    with postgres() as server, ExitStack() as stack:

        def start(
            python: Path | str, module: str, *arguments: str, path: Sequence[Path] = ()
        ) -> Child:
            return stack.enter_context(started(python, module, *arguments, path=path))

        run(server, start)


if __name__ == "__main__":
    main()
