"""Chaos: processes of the service on one database, which faults hit at random while calls run.

`python -m tests.service.chaos` runs it for as long as CHAOS_SECONDS says, with CHAOS_CALLS calls
and the faults that CHAOS_SEED stands for; `make chaos` does. No call may be lost, end for a reason
that is not its own, or miss a result. Attempts may be made more than once: they are counted.
The load, the faults and the end share what they know of the run: so they are one class, and a file
of more than 350 lines.
"""

import asyncio
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable  # noqa: TC003 (at run time, as elsewhere)
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from dispatch_grpc import (
    AsyncClient,
    Call,
    CallError,
    DeadlineExceededError,
    Status,
    UnavailableError,
    new_call,
)
from dispatch_grpc.service.embedded import Embedded
from tests.service.chaos_plan import Fault, Report, Wanted, make, plan
from tests.service.faulty_proxy import FaultyProxy
from tests.service.processes import KEY, MINE, Restarted, service_command

SERVICES, ENDPOINTS = 3, 3
FINISH_SECONDS = 180.0  # for what is left when the faults are over


class Chaos:
    """Runs calls while faults happen.

    Args:
        folder: Folder for the database and the logs, which the user of the database may enter.
        seed: What all random numbers come from.
        seconds: For how long calls are dispatched and faults happen.
        calls: Number of calls to dispatch, their children not counted.
        interval: Mean time between two faults, in seconds.
    """

    def __init__(
        self, folder: Path, *, seed: int, seconds: float, calls: int, interval: float
    ) -> None:
        self._folder = folder
        self._seconds = seconds
        self._calls = calls
        self._rng = random.Random(f"calls {seed}")
        self._faults = plan(seed, seconds, interval)
        self._embedded = Embedded(folder / "database")
        self._admin: dict[str, Any] = {}
        self._runs = folder / "runs"
        self._to_database = [FaultyProxy(self._connect_database) for _ in range(SERVICES)]
        self._ports = [_free_port() for _ in range(ENDPOINTS + SERVICES)]
        self._to_endpoint = [
            FaultyProxy(partial(asyncio.open_connection, "127.0.0.1", port))
            for port in self._ports[:ENDPOINTS]
        ]
        self._services: list[Restarted] = []
        self._endpoints: list[Restarted] = []
        self._clients: list[AsyncClient] = []
        self._accepted: dict[str, Wanted] = {}
        self._refusals: Counter[str] = Counter()
        self._happened: Counter[str] = Counter()
        self._waits: list[asyncio.Task[None]] = []

    async def run(self) -> Report:
        """Run it to its end."""
        self._admin = await self._embedded.open()
        try:
            for way in (*self._to_database, *self._to_endpoint):
                await way.start()
            self._make_processes()
            everything = [*self._endpoints, *self._services]
            await asyncio.gather(*(one.start() for one in everything))
            await asyncio.gather(self._load(), self._disturb())
            report = await self._finish()
            codes = await asyncio.gather(*(one.stop() for one in self._services))
            if any(codes):
                report.leftover.append(f"exit codes of the services: {codes}")
            report.leftover += self._logged()
            return report
        finally:
            for wait in self._waits:
                wait.cancel()
            await asyncio.gather(*self._waits, return_exceptions=True)
            for client in self._clients:
                await client.close()
            for process in (*self._services, *self._endpoints):
                await process.kill()
            for way in (*self._to_database, *self._to_endpoint):
                await way.close()
            await self._embedded.close()

    def _make_processes(self) -> None:
        for number, way in enumerate(self._to_endpoint):
            command = [sys.executable, "-m", "tests.service.hosted", str(self._runs)]
            command += [str(self._ports[number]), f"http://127.0.0.1:{way.port}"]
            self._endpoints.append(Restarted(self._folder, f"endpoint{number}", command))
        for number, way in enumerate(self._to_database):
            port = self._ports[ENDPOINTS + number]
            command = service_command(
                self._folder / f"service{number}",
                database=f"postgresql://postgres@127.0.0.1:{way.port}/postgres",
                port=port,
                run_seconds=10,
                heartbeat_seconds=5,
                command_seconds=5,
            )
            self._services.append(Restarted(self._folder, f"service{number}", command))
            self._clients.append(
                AsyncClient(
                    KEY,
                    api_url=f"http://127.0.0.1:{port}",
                    protocol="connect" if number else "grpc",
                    timeout=timedelta(seconds=5),
                    env={},
                )
            )

    async def _connect_database(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(f"{self._admin['host']}/.s.PGSQL.5432")

    async def _sql(self, statement: str, *arguments: Any) -> list[Any]:
        """Execute a statement, again and again until the database does."""
        while True:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await asyncpg.connect(
                    **self._admin,
                    timeout=30,
                    command_timeout=60,
                    server_settings={"default_transaction_read_only": "off"},
                )
                try:
                    return list(await connection.fetch(statement, *arguments))
                finally:
                    connection.terminate()
            await asyncio.sleep(0.2)

    # Calls

    async def _load(self) -> None:
        """Dispatch the calls, one by one and in batches, spread over the time."""
        begin, done = time.monotonic(), 0
        tasks: list[asyncio.Task[None]] = []
        while done < self._calls:
            size = 1 if self._rng.random() < 0.8 else self._rng.randrange(2, 100)
            size = min(size, self._calls - done)
            wanted = [make(self._rng) for _ in range(size)]
            endpoint = self._rng.randrange(ENDPOINTS)
            url = f"http://127.0.0.1:{self._to_endpoint[endpoint].port}"
            limit = timedelta(hours=2)
            calls = [new_call(url, one.function, one.input, expiration=limit) for one in wanted]
            client = self._clients[self._rng.randrange(SERVICES)]
            waits = size == 1 and self._rng.random() < 0.1
            tasks.append(
                asyncio.create_task(self._dispatch(f"key-{done}", calls, wanted, client, waits))
            )
            done += size
            await asyncio.sleep(begin + self._seconds * done / self._calls - time.monotonic())
        await asyncio.gather(*tasks)

    async def _dispatch(
        self, key: str, calls: list[Call], wanted: list[Wanted], client: AsyncClient, waits: bool
    ) -> None:
        """Dispatch calls, as often as it takes, to whichever process accepts them."""
        while True:
            batch = client.batch()
            batch.add(*calls)
            try:
                ids = await batch.dispatch(idempotency_key=key)
                break
            except (UnavailableError, DeadlineExceededError) as error:
                self._refusals[type(error).__name__] += 1
                await asyncio.sleep(0.2)
                client = random.choice(self._clients)
        self._accepted |= dict(zip(ids, wanted, strict=True))
        if waits:
            self._waits.append(asyncio.create_task(self._wait(client, ids[0], wanted[0])))

    async def _wait(self, client: AsyncClient, id: str, wanted: Wanted) -> None:
        try:
            found = Status.OK, await client.wait(id, timeout=None)
        except CallError as error:
            found = error.status, wanted.output
        assert found == (wanted.status, wanted.output), (id, found, wanted)

    # Faults

    async def _disturb(self) -> None:
        begin = time.monotonic()
        tasks: list[asyncio.Task[None]] = []
        for fault in self._faults:
            await asyncio.sleep(begin + fault.at - time.monotonic())
            self._happened[fault.kind] += 1
            tasks.append(asyncio.create_task(self._do(fault)))
        await asyncio.gather(*tasks)

    async def _do(self, fault: Fault) -> None:
        target, seconds = fault.target, fault.seconds
        kind, _, what = fault.kind.partition(" ")
        service, endpoint = self._services[target], self._endpoints[target]
        database, way = self._to_database[target], self._to_endpoint[target]
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "kill a service": lambda: _killed(service, seconds),
            "freeze a service": lambda: _frozen(service, seconds),
            "cut a service from the database": lambda: _cut(database, seconds),
            "end all sessions of the database": self._end_sessions,
            "make the database read-only": lambda: self._read_only(seconds),
            "crash the database": self._crash,
            "have a disk that is slow": lambda: self._slow_disk(seconds),
            "have a disk that hangs": lambda: self._hung_disk(seconds),
            "kill an endpoint": lambda: _killed(endpoint, seconds),
            "freeze an endpoint": lambda: _frozen(endpoint, seconds),
            "cut an endpoint off": lambda: _cut(way, seconds),
        }
        if act := acts.get(fault.kind):
            await act()
            return
        disturbed = database if "database" in what else way
        if kind == "swallow":
            disturbed.fall_silent()
        elif kind == "hold":
            disturbed.hold()
        elif kind == "slow":
            disturbed.delay = 0.3
        else:
            disturbed.status = int(what.split()[-1])
            disturbed.cut()
        await asyncio.sleep(seconds)
        disturbed.heal()

    async def _end_sessions(self) -> None:
        await self._sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {MINE}")

    async def _read_only(self, seconds: float) -> None:
        await self._set("default_transaction_read_only", "on")
        await self._end_sessions()
        await asyncio.sleep(seconds)
        await self._reset("default_transaction_read_only")

    async def _slow_disk(self, seconds: float) -> None:
        await self._set("commit_delay", "100000")
        await self._set("commit_siblings", "0")
        await asyncio.sleep(seconds)
        await self._reset("commit_delay")
        await self._reset("commit_siblings")

    async def _hung_disk(self, seconds: float) -> None:
        """Stop the processes of the database that wait for a disk."""
        rows = await self._sql("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for row in rows:
                with suppress(ProcessLookupError):
                    os.kill(row["pid"], number)
            if number == signal.SIGSTOP:
                await asyncio.sleep(seconds)

    async def _crash(self) -> None:
        """Kill a session of the database: all others end, and it recovers."""
        rows = await self._sql(f"SELECT pid FROM pg_stat_activity WHERE {MINE} LIMIT 1")
        for row in rows:
            with suppress(ProcessLookupError):
                os.kill(row["pid"], signal.SIGKILL)

    async def _set(self, name: str, value: str) -> None:
        await self._sql(f"ALTER SYSTEM SET {name} = '{value}'")
        await self._sql("SELECT pg_reload_conf()")

    async def _reset(self, name: str) -> None:
        await self._sql(f"ALTER SYSTEM RESET {name}")
        await self._sql("SELECT pg_reload_conf()")

    # The end

    async def _finish(self) -> Report:
        """Wait until all calls have finished, and look at what became of them."""
        begin = time.monotonic()
        left = (
            "SELECT (SELECT count(*) FROM dispatch_grpc.calls WHERE finished_at IS NULL) AS calls, "
            "(SELECT count(*) FROM dispatch_grpc.pgqueuer) AS jobs"
        )
        while True:
            (row,) = await self._sql(left)
            seconds = time.monotonic() - begin
            if not (row["calls"] or row["jobs"]) or seconds > FINISH_SECONDS:
                break
            await asyncio.sleep(0.5)
        report = Report()
        if row["jobs"]:
            report.leftover.append(f"{row['jobs']} jobs")
        if self._waits:
            await asyncio.wait(self._waits, timeout=30)
        for wait in self._waits:
            if not wait.done():
                report.leftover.append("a client still waits for a call that has finished")
            elif error := wait.exception():
                report.leftover.append(f"a wait: {type(error).__name__}: {error}")
        rows = await self._sql("SELECT * FROM dispatch_grpc.every_call")
        if twice := len(rows) - len({row["id"] for row in rows}):
            report.leftover.append(f"{twice} calls that are there twice")
        report.judge(self._accepted, rows)
        attempts = Counter(line for line in self._runs.read_text().splitlines())
        once = {line: number for line, number in attempts.items() if line[:2] in {"sq", "sl"}}
        took = sorted(
            (row["finished_at"] - row["created_at"]).total_seconds()
            for row in rows
            if row["finished_at"] is not None
        )
        report.figures = {
            "calls": f"{len(self._accepted)}, and {len(rows) - len(self._accepted)} of calls",
            "attempts": sum(attempts.values()),
            "attempts more than needed": sum(once.values()) - len(once),
            "dispatches that were refused or had no answer in time": dict(self._refusals),
            "waits for single calls": len(self._waits),
            "faults": f"{sum(self._happened.values())}: {dict(self._happened)}",
            "seconds from the last fault to the end": f"{seconds:.1f}",
            "seconds from accepted to finished": ", ".join(
                f"{name} {took[int(place * (len(took) - 1))]:.2f}"
                for name, place in (("p50", 0.5), ("p99", 0.99), ("longest", 1))
            ),
        }
        return report

    def _logged(self) -> list[str]:
        """Return the errors in the logs of the services: there is to be none."""
        found = []
        for log in sorted(self._folder.glob("service*.log")):
            text = log.read_text()
            if "errors.ConfigurationError: the database cannot be used" in text:
                continue  # it was started while the database was away
            found += [
                f"{log.name}: {line}"
                for line in text.splitlines()
                if line.startswith(("ERROR", "CRITICAL", "Traceback"))
            ]
        return found


async def _killed(process: Restarted, seconds: float) -> None:
    await process.kill()
    await asyncio.sleep(seconds)
    await process.start()


async def _frozen(process: Restarted, seconds: float) -> None:
    process.send(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    process.send(signal.SIGCONT)


async def _cut(way: FaultyProxy, seconds: float) -> None:
    way.refuses = True
    way.cut()
    await asyncio.sleep(seconds)
    way.heal()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> None:
    seconds = float(os.environ.get("CHAOS_SECONDS", "600"))
    calls = int(os.environ.get("CHAOS_CALLS", "20000"))
    seed = int(os.environ.get("CHAOS_SEED", str(random.randrange(10**6))))
    say(f"CHAOS_SEED={seed} CHAOS_SECONDS={seconds:g} CHAOS_CALLS={calls}")
    folder = Path(tempfile.mkdtemp(prefix="dispatch-grpc-chaos-"))
    folder.chmod(0o755)
    chaos = Chaos(folder, seed=seed, seconds=seconds, calls=calls, interval=2)
    report = asyncio.run(chaos.run())
    say(report)
    say(f"logs: {folder}")
    sys.exit(not report.is_good)


if __name__ == "__main__":
    main()
