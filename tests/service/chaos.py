"""Chaos: processes of the service on one database, which faults hit at random while calls run.

`python -m tests.service.chaos` runs it for as long as CHAOS_SECONDS says, with CHAOS_CALLS calls
and the faults that CHAOS_SEED stands for; `make chaos` does. No call may be lost, end for a reason
that is not its own, or miss a result. Attempts may be made more than once: they are counted.
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
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from dispatch_grpc import (
    AsyncClient,
    Call,
    CallError,
    DeadlineExceededError,
    Status,
    UnavailableError,
    new_call,
    unmarshal,
)
from dispatch_grpc.schema import CallResult
from dispatch_grpc.service.embedded import Embedded
from tests.service.processes import KEY, Process, service_command
from tests.service.ways import Way

SERVICES, ENDPOINTS = 3, 3
FINISH_SECONDS = 180.0  # for what is left when the faults are over
MINE = "application_name = 'dispatch-grpc' AND pid <> pg_backend_pid()"

# Each kind of fault, how often it comes compared to others, and its shortest and longest time.
FAULTS: dict[str, tuple[int, float, float]] = {
    "kill a service": (4, 0.1, 4),
    "freeze a service": (4, 0.5, 8),
    "cut a service from the database": (3, 0.1, 4),
    "swallow what a service sends to the database": (2, 0.1, 0.1),
    "hold back what a service and the database send": (3, 0.5, 6),
    "slow down the way to the database": (2, 1, 6),
    "end all sessions of the database": (2, 0.1, 0.1),
    "make the database read-only": (3, 1, 6),
    "crash the database": (2, 0.1, 0.1),
    "have a disk that is slow": (3, 2, 10),
    "have a disk that hangs": (3, 0.5, 4),
    "kill an endpoint": (3, 0.1, 4),
    "freeze an endpoint": (3, 0.5, 8),
    "hold back what an endpoint answers": (3, 0.5, 8),
    "cut an endpoint off": (3, 0.1, 5),
    "swallow what is sent to an endpoint": (2, 0.1, 0.1),
    "have a proxy answer 502": (3, 0.5, 5),
    "have a proxy answer 503": (3, 0.5, 5),
    "have a proxy answer 404": (2, 0.5, 5),
    "slow down the way to an endpoint": (3, 1, 6),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: when it begins, what is done to which, and for how long."""

    at: float
    kind: str
    target: int
    seconds: float


def plan(seed: int, seconds: float, interval: float) -> list[Fault]:
    """Return the faults that a seed stands for, one in each interval or so."""
    rng = random.Random(f"faults {seed}")
    found, at = [], rng.expovariate(1 / interval)
    kinds, weights = list(FAULTS), [weight for weight, _, _ in FAULTS.values()]
    while at < seconds:
        kind = rng.choices(kinds, weights)[0]
        _, shortest, longest = FAULTS[kind]
        found.append(Fault(at, kind, rng.randrange(3), rng.uniform(shortest, longest)))
        at += rng.expovariate(1 / interval)
    return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call, and what has to become of it."""

    function: str
    input: Any
    output: Any
    status: Status = Status.OK


def make(rng: random.Random) -> Wanted:
    """Return a call at random."""
    number = rng.randrange(1000)
    function = rng.choices(
        ["square", "slow", "unsteady", "refuses", "total", "gather", "chain"],
        [70, 12, 8, 2, 3, 3, 2],
    )[0]
    count = rng.randrange(1, 20)
    seconds = rng.randrange(5, 100) / 100
    sum_ = sum(one * one for one in range(count))
    return {
        "square": Wanted("square", number, number * number),
        "slow": Wanted("slow", seconds, seconds),
        "unsteady": Wanted("unsteady", number, -number),
        "refuses": Wanted("refuses", number, f"not {number}", Status.PERMANENT_ERROR),
        "total": Wanted("total", count, sum_),
        "gather": Wanted("gather", count, sum_),
        "chain": Wanted("chain", count % 7, "end"),
    }[function]


@dataclass(slots=True)
class Report:
    """What became of the calls.

    Attributes:
        lost: Calls that were accepted, and are not there or have not finished.
        wrong: Calls that ended for a reason that is not theirs.
        missing: Calls with another result than they should have.
        leftover: What else should not be there at the end.
        figures: What else is to be told.
    """

    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    leftover: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.wrong or self.missing or self.leftover)

    def __str__(self) -> str:
        lines = [f"{name}: {value}" for name, value in self.figures.items()]
        for name in ("lost", "wrong", "missing", "leftover"):
            found: list[str] = getattr(self, name)
            lines.append(f"{name}: {len(found)}")
            lines += [f"  {one}" for one in found[:10]]
        return "\n".join(lines)


class Restarted:
    """A process that is started again with the same arguments after it was killed.

    Args:
        folder: Folder for what it logs.
        name: Its name.
        command: Its command.
    """

    def __init__(self, folder: Path, name: str, command: Sequence[str]) -> None:
        self._folder, self._name, self._command = folder, name, command
        self._process: Process | None = None
        self._starts = 0
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Start it, again and again while the database does not let it."""
        async with self._lock:
            while self._process is None:
                self._starts += 1
                log = self._folder / f"{self._name}-{self._starts}.log"
                with suppress(AssertionError):
                    self._process = await asyncio.to_thread(Process, *self._command, log=log)

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.process.send_signal(number)

    async def kill(self) -> None:
        async with self._lock:
            process, self._process = self._process, None
            if process is not None:
                await asyncio.to_thread(process.close)

    async def stop(self) -> int | None:
        """Have it end by itself; returns its exit code."""
        async with self._lock:
            process, self._process = self._process, None
            if process is None:
                return None
            try:
                return await asyncio.to_thread(process.stop)
            finally:
                process.close()


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
        self._to_database = [Way(self._connect_database) for _ in range(SERVICES)]
        self._ports = [_free_port() for _ in range(ENDPOINTS + SERVICES)]
        self._to_endpoint = [
            Way(lambda port=port: asyncio.open_connection("127.0.0.1", port))  # type: ignore[misc]
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
            command = [sys.executable, "-m", "tests.service.chaos_endpoint", str(self._runs)]
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
        rows = await self._sql("SELECT * FROM dispatch_grpc.calls")
        self._judge(report, rows)
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

    def _judge(self, report: Report, rows: Sequence[Any]) -> None:
        by_id = {row["id"]: row for row in rows if row["finished_at"] is not None}
        for row in rows:
            if row["finished_at"] is None:
                report.lost.append(f"{row['function']} {row['id']}: state {row['state']}")
            elif row["function"] != "refuses" and row["status"] != Status.OK.value:
                report.wrong.append(f"{row['function']} {_outcome(row)}")
        for id, wanted in self._accepted.items():
            row = by_id.get(UUID(id))
            if row is None:
                report.lost.append(f"{wanted}: {id}")
            elif row["status"] != wanted.status.value:
                report.wrong.append(f"{wanted}: {_outcome(row)}")
            elif _outcome(row) != wanted.output:
                report.missing.append(f"{wanted}: {_outcome(row)}")

    def _logged(self) -> list[str]:
        """Return the errors in the logs of the services: there is to be none."""
        return [
            f"{log.name}: {line}"
            for log in sorted(self._folder.glob("service*.log"))
            for line in log.read_text().splitlines()
            if line.startswith(("ERROR", "CRITICAL", "Traceback")) and "cannot be used" not in line
        ]


def _outcome(row: Any) -> Any:
    result = CallResult.FromString(row["result"])
    if result.HasField("error"):
        return result.error.message
    return unmarshal(result.output)


async def _killed(process: Restarted, seconds: float) -> None:
    await process.kill()
    await asyncio.sleep(seconds)
    await process.start()


async def _frozen(process: Restarted, seconds: float) -> None:
    process.send(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    process.send(signal.SIGCONT)


async def _cut(way: Way, seconds: float) -> None:
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
