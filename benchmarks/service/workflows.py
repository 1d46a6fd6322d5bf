"""Workflows, and calls of the same functions by a client."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter

from benchmarks import activation
from benchmarks.processes import Child, Start, started
from benchmarks.service.load import KEY, PEER_PYTHON, Load
from benchmarks.service.postgres import Postgres
from benchmarks.service.table import measure, milliseconds, row, timed
from dispatch_grpc import Client, new_call

AWAITS, FAN_OUT = 100, 1000


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


def report_workflows(url: str, load: Load, start: Start, dbos: Child) -> None:
    workflows = Workflows(url, start(sys.executable, "service.workflow_endpoint").hello)
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


def workflows(server: Postgres, start: Start) -> None:
    """Print the rows of workflows alone."""
    port = start(sys.executable, "service.endpoint").hello
    url = start(sys.executable, "service.process", server.url("ours"), KEY).hello["url"]
    load = Load(url, f"http://127.0.0.1:{port}", server.watch_queue())
    with started(PEER_PYTHON, "service.dbos", server.url("dbos"), str(port)) as dbos:
        report_workflows(url, load, start, dbos)
    print(f"\n{states()}")
