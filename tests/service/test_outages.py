"""An outage of the database that is longer than a heartbeat: the living keep their jobs."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from dispatch_grpc import new_call
from tests.service.conftest import Bench
from tests.service.faulty_proxy import FaultyProxy
from tests.service.processes import Process, service
from tests.service.test_faults import client, dispatch, results, runs
from tests.waiting import until

HEARTBEAT = 6  # seconds
BACK = "SELECT max(seen_at) > now() - interval '2 s' FROM processes"


class Way:
    """A way to the database that a test cuts and mends; it has an event loop of its own."""

    def __init__(self, socket: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._proxy = FaultyProxy(partial(asyncio.open_unix_connection, socket))
        self._do(self._proxy.start)
        self.url = f"postgresql://postgres@127.0.0.1:{self._proxy.port}/postgres"

    def _do(self, act: Callable[[], object]) -> None:
        async def main() -> None:
            found = act()
            if asyncio.iscoroutine(found):
                await found

        asyncio.run_coroutine_threadsafe(main(), self._loop).result(30)

    def cut(self) -> None:
        """Have no connection, and let none be made."""

        def cut() -> None:
            self._proxy.refuses = True
            self._proxy.cut()

        self._do(cut)

    def mend(self) -> None:
        self._do(self._proxy.heal)

    def close(self) -> None:
        self._do(self._proxy.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def ways(bench: Bench) -> Iterator[tuple[Way, Way]]:
    socket = f"{bench.folder}/postgres/.s.PGSQL.5432"
    found = Way(socket), Way(socket)
    try:
        yield found
    finally:
        for way in found:
            way.close()


@contextmanager
def after_an_outage(
    bench: Bench, tmp_path: Path, hosted: Process, log: Path
) -> Iterator[tuple[Way, Process, Process, list[str]]]:
    """The way of the second process, both processes, and the calls that the second one runs.

    The first one can reach the database again, after an outage of more than a heartbeat.
    """
    bench.run(lambda c: c.execute("TRUNCATE processes"))
    with ways(bench) as (one, two):
        with (
            service(tmp_path / "one", database=one.url, heartbeat_seconds=HEARTBEAT) as first,
            service(tmp_path / "two", database=two.url, heartbeat_seconds=HEARTBEAT) as second,
            client(second) as c,
        ):
            one.cut()
            seconds = 4 * HEARTBEAT
            ids = dispatch(c, [new_call(hosted.url, "slow", seconds) for _ in range(10)])
            until(lambda: log.exists() and set(runs(log)) == set(ids))
            two.cut()
            time.sleep(1.5 * HEARTBEAT)
            one.mend()
            until(lambda: bench.run(lambda c: c.fetchval(BACK)))
            yield two, first, second, ids


def test_the_first_process_back_leaves_the_others_time_to_come_back(
    bench: Bench, tmp_path: Path, hosted: Process, log: Path
):
    with after_an_outage(bench, tmp_path, hosted, log) as (two, first, _, ids):
        two.mend()
        with client(first) as c:
            assert results(c, ids) == [4 * HEARTBEAT] * 10
    assert set(runs(log).values()) == {1}


def test_a_process_that_does_not_come_back_loses_its_jobs(
    bench: Bench, tmp_path: Path, hosted: Process, log: Path
):
    with after_an_outage(bench, tmp_path, hosted, log) as (_, first, second, ids):
        second.kill()
        with client(first) as c:
            assert results(c, ids) == [4 * HEARTBEAT] * 10
    assert set(runs(log).values()) == {2}
