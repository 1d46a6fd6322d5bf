"""Measures the durable service, and prints the report: `python -m benchmarks.service`.

It takes about four minutes. With the argument `memory` it has 100,000 calls run instead, and
tells the memory that the service's process has; with `neighbours`, how long single calls take
beside endpoints that are dead or hang; with `profile`, it writes a flame graph of the service; with
`dispatches`, `singles` and `workflows`, it prints only the rows about single dispatches, single
calls to completion, and workflows.

There is one PostgreSQL, the embedded one, with a database for each system. Sides are measured in
turns, as by `benchmarks`, and a ratio is the median of the rounds' ratios.
"""

import asyncio
import http.client
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import uvloop

from benchmarks import activation
from benchmarks.__main__ import ROOT, Child, cpu, show, started
from benchmarks.service_accepts import CONNECTIONS, Accepts
from benchmarks.service_dispatches import TASKS, Dispatches
from benchmarks.service_neighbours import (
    CALLS as NEIGHBOURS_CALLS,
)
from benchmarks.service_neighbours import (
    DEAD_CALLS,
    HANGING_CALLS,
    HANGING_HOSTS,
    Neighbours,
    dead,
    hanging,
)
from dispatch_grpc import AsyncClient, Call, Client, new_call
from dispatch_grpc.client.settings import Protocol
from dispatch_grpc.service.embedded import Embedded

PEER_PYTHON = ROOT / ".venv-service-peer" / "bin" / "python"
KEY = "benchmark-key"
CALLS, DBOS_CALLS, BATCH = 3000, 300, 1000
SINGLES, ALONE, BATCHES = 50, 12, 3
PAUSE = 0.12  # the queue needs about as long to be empty again
CHILDREN = 500
CALLS_P50, CALLS_P99 = NEIGHBOURS_CALLS // 2, NEIGHBOURS_CALLS * 99 // 100
AWAITS, FAN_OUT = 100, 1000
NEIGHBOURS_ROUNDS = 3
SINGLE_CALLS, SINGLE_TASKS, ONE_TASK_CALLS = 1000, 64, 300
BACKLOG, BESIDE_ROUNDS = 10_000, 3
PROFILE = Path(tempfile.gettempdir()) / "dispatch-grpc-service.svg"
PROFILE_SECONDS = 20

PROTOCOLS: dict[Protocol, str] = {"grpc": "gRPC", "connect": "Connect"}
Sides = Mapping[str, Callable[[], float]]
Samples = Mapping[str, Sequence[float]]


class Postgres:
    """The PostgreSQL that all share."""

    def __init__(self, folder: Path) -> None:
        self._socket = quote(str(folder / "postgres"))
        self._embedded = Embedded(folder)
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._runner.run(self._embedded.open())
        names = (
            "ours",
            "grouped",
            "single",
            "dbos",
            "pgqueuer",
            "bare",
            "accepts",
            "trigger",
            "absurd",
        )
        for name in names:
            self._runner.run(self._execute("postgres", f"CREATE DATABASE {name}"))
        self._connection: Any = self._runner.run(asyncpg.connect(self.url("bare")))
        self._runner.run(self._connection.execute("CREATE TABLE calls (id uuid, input bytea)"))
        self.version = ".".join(map(str, self._connection.get_server_version()[:2]))

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._socket}"

    def watch_queue(self) -> Callable[[], bool]:
        """Whether the queue of the service is empty: what pgqueuer alone is measured by, too."""
        connection: Any = self._runner.run(asyncpg.connect(self.url("ours")))
        statement = "SELECT NOT EXISTS (SELECT FROM dispatch_grpc.pgqueuer)"
        return lambda: bool(self._runner.run(connection.fetchval(statement)))

    async def _execute(self, database: str, statement: str) -> None:
        connection = await asyncpg.connect(self.url(database))
        await connection.execute(statement)
        await connection.close()

    def insert(self, count: int, pause: float) -> float:
        """The time of an INSERT that is a transaction of its own."""

        async def insert() -> float:
            statement = await self._connection.prepare(
                "INSERT INTO calls VALUES (gen_random_uuid(), $1)"
            )

            times = []
            for _ in range(count):
                start = perf_counter()
                await statement.fetch(b"input")
                times.append(perf_counter() - start)
                if pause:
                    await asyncio.sleep(pause)
            return median(times)

        return self._runner.run(insert())

    def close(self) -> None:
        self._runner.run(self._connection.close())
        self._runner.run(self._embedded.close())
        self._runner.close()


@contextmanager
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder))
        try:
            yield server
        finally:
            server.close()


def timed(act: Callable[[], object]) -> float:
    start = perf_counter()
    act()
    return perf_counter() - start


class Load:
    """What clients ask of the service; all that they do, so that calls can be counted."""

    def __init__(self, url: str, endpoint: str, queue_is_empty: Callable[[], bool]) -> None:
        self._url = url
        self._endpoint = endpoint
        self._queue_is_empty = queue_is_empty
        self._clients = {
            protocol: Client(KEY, api_url=url, protocol=protocol) for protocol in PROTOCOLS
        }
        self._scraping = http.client.HTTPConnection(urlsplit(url).netloc)
        self._expected = self._finished()

    def call(self, number: int, function: str = "f") -> Call:
        return new_call(self._endpoint, function, number)

    def _finished(self) -> int:
        """The number of calls that have finished, by the metrics."""
        self._scraping.request("GET", "/metrics")
        text = self._scraping.getresponse().read().decode()
        lines = [line.rpartition(" ") for line in text.splitlines()]
        finished = {
            name: float(value)
            for name, _, value in lines
            if name.startswith("dispatch_calls_finished_total")
        }
        assert all('"OK"' in name for name in finished), finished
        return round(sum(finished.values()))

    def left(self) -> int:
        left = self._expected - self._finished()
        assert left >= 0, "more calls have finished than were dispatched"
        return left

    def expect(self, number: int) -> None:
        """Count calls that others dispatch."""
        self._expected += number

    def skip(self) -> None:
        """Leave what others have dispatched, and what has finished, out of the count."""
        self._expected = self._finished()

    def settle(self, left: int = 0, seconds: float = 0.01) -> None:
        """Wait until no more calls than these have yet to finish; look now and then."""
        while self.left() > left:
            time.sleep(seconds)

    def batch(self, size: int, protocol: Protocol = "grpc", function: str = "f") -> float:
        """The time to dispatch a batch that is ready."""
        batch = self._clients[protocol].batch()
        for number in range(size):
            batch.add(self.call(number, function))
        self._expected += size
        start = perf_counter()
        batch.dispatch()
        return perf_counter() - start

    def complete(self) -> float:
        """The time of a call, from the first that is dispatched to the last that has finished."""
        start = perf_counter()
        for _ in range(CALLS // BATCH):
            self.batch(BATCH)
        while not self._queue_is_empty():
            time.sleep(0.01)
        took = (perf_counter() - start) / CALLS
        assert self.left() == 0, "the queue is empty, and not all calls have finished"
        return took

    def single(self, protocol: Protocol, *, alone: bool) -> float:
        """The time to dispatch one call: when those before it are gone, or while they run."""
        times = []
        for number in range(ALONE if alone else SINGLES):
            call = self.call(number)
            self._expected += 1
            times.append(timed(partial(self._clients[protocol].dispatch, call)))
            while alone and not self._queue_is_empty():
                time.sleep(0.01)
        self.settle()
        return median(times)

    def singles(
        self, protocol: Protocol, count: int = SINGLE_CALLS, tasks: int = SINGLE_TASKS
    ) -> float:
        """The time of a call, as `complete`, of tasks that each dispatch one call at a time."""

        async def dispatch() -> None:
            calls = iter([self.call(number) for number in range(count)])
            async with AsyncClient(KEY, api_url=self._url, protocol=protocol) as client:

                async def task() -> None:
                    for call in calls:
                        await client.dispatch(call)

                await asyncio.gather(*(task() for _ in range(tasks)))

        self._expected += count
        start = perf_counter()
        uvloop.run(dispatch())
        while not self._queue_is_empty():
            time.sleep(0.01)
        took = (perf_counter() - start) / count
        self.settle()
        return took

    def batches(self, protocol: Protocol) -> float:
        """The time for one call of a batch."""
        times = []
        for _ in range(BATCHES):
            times.append(self.batch(BATCH, protocol) / BATCH)
            self.settle()
        return median(times)

    def roots(self) -> float:
        took = self.batch(CHILDREN)
        return took + timed(self.settle)

    def poll(self) -> float:
        start = perf_counter()
        self._expected += CHILDREN + 1
        self._clients["grpc"].dispatch(self.call(CHILDREN, "poll"))
        self.settle()
        return perf_counter() - start


def dispatching(url: str, protocol: Protocol) -> Callable[[int, float], float]:
    """The time to dispatch one call to something that does not run it."""
    client = Client(KEY, api_url=url, protocol=protocol)

    def single(count: int, pause: float) -> float:
        times = []
        for number in range(count):
            call = new_call("http://127.0.0.1:1", "f", number)
            times.append(timed(partial(client.dispatch, call)))
            if pause:
                time.sleep(pause)
        return median(times)

    return single


def measure(rounds: int, sides: Sides) -> Samples:
    """Measure sides in turns, after a round that does not count."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides.items())
    for _, side in order:
        side()
    for _ in range(rounds):
        for name, side in order:
            samples[name].append(side())
        order.reverse()
    return samples


def row(
    title: str,
    ours: Sequence[float],
    other: Sequence[float],
    target: float,
    show: Callable[[float], str],
    *,
    at_most: bool,
) -> None:
    """Print a row. A target that is not at most is at least, of how much faster the first is."""
    pairs = list(zip(ours, other, strict=True))
    ratios = [a / b if at_most else b / a for a, b in pairs]
    ratio = median(ratios)
    mark = "pass" if (ratio <= target if at_most else ratio >= target) else "**miss**"
    sign = "≤" if at_most else "≥"
    shown = (
        show(median(ours)),
        show(median(other)),
        f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{sign} {target:g}",
        mark,
    )
    print(f"| {' | '.join((title, *shown))} |", flush=True)


def rate(seconds: float) -> str:
    return f"{1 / seconds:,.0f} /s"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms"


def report(server: Postgres, start: Callable[..., Child]) -> None:
    port = start(sys.executable, "service_endpoint").hello
    recorder = start(sys.executable, "service_recorder", KEY).hello["url"]
    url = start(sys.executable, "service_ours", server.url("ours"), KEY).hello["url"]
    load = Load(url, f"http://127.0.0.1:{port}", server.watch_queue())
    print("| measured / compared with | ours | theirs | ratio (of rounds) | target | |")
    print("|---|--:|--:|--:|--:|---|", flush=True)
    versions = {"PostgreSQL": server.version, "Python": platform.python_version()}
    # The peers look at their queues now and then: each is there only while it is measured.
    with started(PEER_PYTHON, "service_dbos", server.url("dbos"), str(port)) as dbos:
        versions |= dbos.hello
        jobs = partial(dbos.ask, "queued", DBOS_CALLS)
        report_completion("DBOS", load, jobs, 5)
        report_workflows(url, load, start, dbos)
    with started(sys.executable, "service_pgqueuer", server.url("pgqueuer")) as pgqueuer:
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
    with started(PEER_PYTHON, "service_absurd", server.url("absurd")) as absurd:
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


class Workflows:
    """Workflows, and calls of the same functions by a client."""

    def __init__(self, url: str, port: int) -> None:
        self._endpoint = f"http://127.0.0.1:{port}"
        self._client = Client(KEY, api_url=url)

    def _wait(self, function: str, number: int) -> int:
        call = new_call(self._endpoint, function, number)
        return self._client.wait(self._client.dispatch(call), int, timeout=None)

    def chain(self) -> float:
        return timed(partial(self._wait, "chain", AWAITS))

    def one_by_one(self) -> float:
        return timed(lambda: [self._wait("f", number) for number in range(AWAITS)])

    def fan_out(self) -> float:
        return timed(partial(self._wait, "fan_out", FAN_OUT))

    def at_once(self) -> float:
        batch = self._client.batch()
        batch.add(*(new_call(self._endpoint, "f", number) for number in range(FAN_OUT)))
        start = perf_counter()
        ids = batch.dispatch()
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(partial(self._client.wait, timeout=None), ids))
        return perf_counter() - start


def states() -> str:
    size = activation.recorded()[1]
    return f"The states of a workflow\nthat waits for {AWAITS} calls in turn have {size:,} bytes."


def report_workflows(url: str, load: Load, start: Callable[..., Child], dbos: Child) -> None:
    workflows = Workflows(url, start(sys.executable, "service_workflows").hello)
    samples = measure(
        5,
        {
            "chain": workflows.chain,
            "one by one": workflows.one_by_one,
            "DBOS": lambda: dbos.ask("chain", AWAITS)[0] * AWAITS,
            "fan out": workflows.fan_out,
            "at once": workflows.at_once,
        },
    )
    title = f"a workflow that waits for {AWAITS} calls in turn / as many calls, each waited for"
    chain = samples["chain"]
    row(title, chain, samples["one by one"], 1.2, milliseconds, at_most=True)
    title = f"the same / a workflow of DBOS that waits for {AWAITS} steps of a queue in turn"
    row(title, chain, samples["DBOS"], 2, milliseconds, at_most=False)
    title = f"a workflow with a TaskGroup of {FAN_OUT:,} calls / as many calls, waited for"
    row(title, samples["fan out"], samples["at once"], 1.5, milliseconds, at_most=True)
    load.skip()


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


def report_accept(
    name: str,
    single: Callable[..., float],
    batches: Callable[[], float],
    server: Postgres,
    rpc: Callable[[int, float], float],
) -> None:
    samples = measure(
        7,
        {
            "alone": partial(single, alone=True),
            # These pause where those do: what waits for work is slower than what has some.
            "alone, bare": lambda: rpc(ALONE, PAUSE) + server.insert(ALONE, PAUSE),
            "in a row": partial(single, alone=False),
            "in a row, bare": lambda: rpc(SINGLES, 0) + server.insert(SINGLES, 0),
            "batch": batches,
        },
    )
    for what in ("alone", "in a row"):
        title = f"accept of a call by {name}, {what}, p50 / an RPC to the recorder + an INSERT"
        row(title, samples[what], samples[f"{what}, bare"], 2, milliseconds, at_most=True)
    title = f"accept of a call in a batch of 1,000 by {name} / alone"
    row(title, samples["batch"], samples["alone"], 25, milliseconds, at_most=False)


def report_accepts(server: Postgres) -> None:
    ours = Accepts(server.url("accepts"), with_trigger=False)
    theirs = Accepts(server.url("trigger"), with_trigger=True)
    samples = measure(7, {"ours": ours, "theirs": theirs})
    title = f"accepts from {CONNECTIONS} connections / with pgqueuer's trigger"
    row(title, samples["ours"], samples["theirs"], 2.5, rate, at_most=False)
    ours.close()
    theirs.close()


def report_dispatches(server: Postgres, start: Callable[..., Child]) -> None:
    """Print the rows about single dispatches. What they are compared with was the code before."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, ExitStack() as stack:

        def side(database: str, *how: str, coalesce: Sequence[bool]) -> list[Dispatches]:
            url = start(sys.executable, "service_ours", server.url(database), KEY, *how).hello[
                "url"
            ]
            found = [
                Dispatches(runner, url, KEY, server.url(database), coalesce=one) for one in coalesce
            ]
            for one in found:
                stack.callback(one.close)
            return found

        together, each = side("grouped", coalesce=(True, False))
        (before,) = side("single", "ungrouped", coalesce=(False,))
        clients = {"together": together, "each": each, "before": before}
        samples = measure(11, {name: one.at_once for name, one in clients.items()})
        title = f"{TASKS} single dispatches at once, {{}} / a request and a transaction each"
        for name, what, target in (("together", "coalesced", 3), ("each", "a request each", 1)):
            times = samples[name], samples["before"]
            row(title.format(what), *times, target, rate, at_most=False)
        samples = measure(15, {name: one.alone for name, one in clients.items()})
        title = "one dispatch alone, p50{} / a request and a transaction each"
        for name, what in (("together", ", coalesced"), ("each", "")):
            times = samples[name], samples["before"]
            row(title.format(what), *times, 1.05, milliseconds, at_most=True)


def neighbours(server: Postgres, start: Callable[..., Child]) -> None:
    """Measure single calls beside endpoints that are dead or hang; each beside an idle service."""
    port = start(sys.executable, "service_endpoint").hello
    url = start(sys.executable, "service_ours", server.url("ours"), KEY).hello["url"]
    measured = Neighbours(url, KEY, f"http://127.0.0.1:{port}")
    measured.times()  # does not count

    def middle() -> Sequence[float]:
        """The p50 and the p99: the medians of some rounds, since others use the machine too."""
        rounds = [measured.times() for _ in range(NEIGHBOURS_ROUNDS)]
        return [median(times[place] for times in rounds) for place in (CALLS_P50, CALLS_P99)]

    idle = middle()
    print("| single calls, beside | p50 | p99 | to idle, p50 | to idle, p99 | target | |")
    print("|---|--:|--:|--:|--:|--:|---|", flush=True)

    def report(name: str) -> None:
        times = middle()
        ratios = [one / other for one, other in zip(times, idle, strict=True)]
        shown = [milliseconds(one) for one in times]
        shown += [f"{ratio:.2f}" for ratio in ratios]
        mark = "pass" if max(ratios) <= 3 else "**miss**"
        print(f"| {' | '.join((name, *shown, '≤ 3', mark))} |", flush=True)

    report("nothing")
    with ExitStack() as stack:
        for _ in range(HANGING_HOSTS):
            measured.add(stack.enter_context(hanging()), HANGING_CALLS)
        report(f"{HANGING_HOSTS} hosts that hang, with {HANGING_CALLS} calls each")
    measured.add(dead(), DEAD_CALLS)
    report(f"{DEAD_CALLS:,} calls of a dead host")


def workflows(server: Postgres, start: Callable[..., Child]) -> None:
    """Print the rows of workflows alone."""
    port = start(sys.executable, "service_endpoint").hello
    url = start(sys.executable, "service_ours", server.url("ours"), KEY).hello["url"]
    load = Load(url, f"http://127.0.0.1:{port}", server.watch_queue())
    with started(PEER_PYTHON, "service_dbos", server.url("dbos"), str(port)) as dbos:
        report_workflows(url, load, start, dbos)
    print(f"\n{states()}")


def memory(server: Postgres, start: Callable[..., Child]) -> None:
    """Have 100,000 calls run, at most 5,000 waiting, and print the memory at times."""
    endpoint = start(sys.executable, "service_endpoint").hello
    service = start(sys.executable, "service_ours", server.url("ours"), KEY)
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


def singles(server: Postgres, start: Callable[..., Child]) -> None:
    """Print the rows about single calls only."""
    endpoint = start(sys.executable, "service_endpoint").hello
    url = start(sys.executable, "service_ours", server.url("ours"), KEY).hello["url"]
    load = Load(url, f"http://127.0.0.1:{endpoint}", server.watch_queue())
    report_singles(load)
    with started(PEER_PYTHON, "service_absurd", server.url("absurd")) as absurd:
        report_one_by_one(load, partial(absurd.ask, "spawn", ONE_TASK_CALLS))
    report_beside(url, load, endpoint)


def profile(server: Postgres, start: Callable[..., Child]) -> None:
    """Have calls run, single ones and batches, and write a flame graph of the service."""
    endpoint = start(sys.executable, "service_endpoint").hello
    service = start(sys.executable, "service_ours", server.url("ours"), KEY)
    load = Load(service.hello["url"], f"http://127.0.0.1:{endpoint}", server.watch_queue())
    command = ("record", "--pid", str(service.pid), "--format", "flamegraph", "--output", PROFILE)
    program = Path(sys.executable).with_name("py-spy")
    with subprocess.Popen([program, *command, "--duration", str(PROFILE_SECONDS)]) as recording:
        while recording.poll() is None:
            print(f"{rate(load.singles('grpc'))} single calls, {rate(load.complete())} in batches")
    if recording.returncode:
        sys.exit("py-spy could not record; on some systems it needs the rights of root")
    print(f"The flame graph is in {PROFILE}.")


def main() -> None:
    others = {
        "dispatches": report_dispatches,
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

        def start(python: Path | str, module: str, *arguments: str) -> Child:
            return stack.enter_context(started(python, module, *arguments))

        run(server, start)


if __name__ == "__main__":
    main()
