"""Running calls: jobs of the queue, their runs on endpoints, and what becomes of them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any
from uuid import UUID

import asyncpg
from pgqueuer.core.executors import EntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.core.qm import QueueManager
from pgqueuer.errors import RetryRequested
from pgqueuer.models import Job as QueueJob
from pgqueuer.queries import Queries

from dispatch_grpc.codes import Status
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service import machine, reads, store
from dispatch_grpc.service.batching import Batcher
from dispatch_grpc.service.caller import Caller
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.store import Job, Loaded, Release, Written
from dispatch_grpc.service.urls import problem_of_call

# Jobs that come within the first time are taken together, and as long as more keep coming, up to
# the second: meanwhile what accepts them can answer.
_GATHER_SECONDS = 0.003
_MAX_GATHER_SECONDS = 0.03

# What a database raises that is away for a while, or has no room for a while.
AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
)
AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


@dataclass(frozen=True, slots=True)
class Settings:
    """How much a process does at once, and how long it waits.

    Attributes:
        concurrency: Number of calls that run at once.
        host_concurrency: Number of those that run on one host.
        batch_size: Number of jobs that are taken from the queue at once.
        heartbeat_timeout: How long a process may be silent before others take over its calls.
        shutdown_timeout: How long runs may take to finish once the service is to stop.
        retention: How long a finished call is kept.
        request_retention: How long an idempotency key is remembered.
        allow_metadata: Whether link-local and metadata addresses may be called.
        limits: Bounds of what calls may ask for.
    """

    concurrency: int = 256
    host_concurrency: int = 128
    batch_size: int = 100
    heartbeat_timeout: timedelta = timedelta(seconds=15)
    shutdown_timeout: timedelta = timedelta(seconds=30)
    retention: timedelta = timedelta(days=7)
    request_retention: timedelta = timedelta(days=1)
    allow_metadata: bool = False
    limits: machine.Limits = field(default_factory=machine.Limits)


class Worker:
    """Runs the calls that are in the database."""

    def __init__(
        self, database: Database, caller: Caller, settings: Settings, metrics: Metrics
    ) -> None:
        self._database = database
        self._caller = caller
        self._settings = settings
        self._metrics = metrics
        self._loads: Batcher[Job, Loaded | None] = Batcher(self._load, 500)
        self._writes: Batcher[Written, None] = Batcher(self._write, 500)
        self._lanes: dict[str, _Lane] = {}
        self._slots = asyncio.Semaphore(settings.concurrency)  # the queue may give more jobs
        self._stopping = asyncio.Event()
        self._runs: set[asyncio.Task[Any]] = set()
        self._released = asyncio.Event()
        self._manager: _Manager | None = None
        self._connected = False
        self._accepting_until = 0.0

    def make_way(self) -> None:
        """Let a request go first: take jobs a little later."""
        self._accepting_until = asyncio.get_running_loop().time() + _GATHER_SECONDS

    async def gather(self) -> None:
        """Wait for jobs that come together."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _MAX_GATHER_SECONDS
        await asyncio.sleep(_GATHER_SECONDS)
        while (now := loop.time()) < min(self._accepting_until, end):
            await asyncio.sleep(self._accepting_until - now)

    def expect(self, hosts: Sequence[str] | set[str]) -> None:
        """Learn of hosts for which there are jobs."""
        for host in hosts:
            if host not in self._lanes:
                self._lanes[host] = _Lane(self._settings.host_concurrency)

    def hosts_with_room(self) -> set[Any]:
        """The hosts on which more calls may run."""
        return {host for host, lane in self._lanes.items() if lane.has_room}

    async def run(self) -> None:
        """Run calls until `stop`; goes on when the database was away."""
        chores = [
            asyncio.create_task(self._repeatedly(chore, seconds))
            for chore, seconds in (
                (self._learn_hosts, 1.0),
                (self._count, 5.0),
                (self._wake, 0.25),
                (self._revive, 1.0),
                (self._prune, 60.0),
                (self._recover, 60.0),
            )
        ]
        try:
            while not self._stopping.is_set():
                try:
                    await self._take_jobs()
                except AWAY as error:
                    logger.warning("the database is away: %s", error)
                except Exception:
                    logger.exception("taking jobs failed; it goes on")
                await self._wait(1)
        finally:
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)

    async def _take_jobs(self) -> None:
        self.expect(await self._reading(reads.hosts))
        manager = self._manager = _Manager(Queries.from_asyncpg_pool(self._database.relaxed))
        manager.attach(self)
        if self._stopping.is_set():
            return
        self._connected = True
        try:
            # Its check of the listener is not used: it may begin before the listener does, and
            # fails then. Where notices get lost, the queue is looked at once a second.
            await manager.run(
                batch_size=self._settings.batch_size,
                max_concurrent_tasks=max(self._settings.concurrency, 2 * self._settings.batch_size),
                heartbeat_timeout=self._settings.heartbeat_timeout,
                log_aggregation_interval=timedelta(0),
                dequeue_timeout=timedelta(seconds=1),
            )
        finally:
            self._connected = False

    async def stop(self, running: "asyncio.Task[None]") -> None:
        """Take no more jobs; give the runs a time to finish, then give the calls back.

        Args:
            running: The task of `run`.
        """
        self._stopping.set()
        if self._manager is not None:
            self._manager.shutdown.set()
        await asyncio.wait({running}, timeout=self._settings.shutdown_timeout.total_seconds())
        self._release()
        # Where the database is away nothing can be given back: others take over in time.
        await asyncio.wait({running}, timeout=5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    @property
    def is_connected(self) -> bool:
        """Whether the database is there, and jobs are taken."""
        return self._connected

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    # Chores

    async def _repeatedly(self, chore: Callable[[], Any], seconds: float) -> None:
        while True:
            try:
                await chore()
            except AWAY:
                pass  # `run` tells
            except Exception:
                logger.exception("a chore of the service failed")
            await asyncio.sleep(seconds)

    async def _reading(self, read: Callable[[Any], Any]) -> Any:
        async with self._database.relaxed.acquire() as connection:
            return await read(connection)

    async def _learn_hosts(self) -> None:
        hosts = await self._reading(reads.hosts)
        self.expect(hosts)
        for host, lane in list(self._lanes.items()):
            if lane.is_idle and host not in hosts:
                del self._lanes[host]

    async def _count(self) -> None:
        self._metrics.backlog(await self._reading(reads.count))

    async def _revive(self) -> None:
        # Not by `run`, which goes on only when the runs under way have ended: they wait for it.
        await self._database.revive()

    async def _wake(self) -> None:
        async with self._database.transaction() as connection:
            self.expect(await store.wake(connection))

    async def _recover(self) -> None:
        async with self._database.transaction() as connection:
            hosts = await store.recover(connection)
        if hosts:
            logger.warning("calls without a job were found, and have one again")
            self.expect(hosts)

    async def _prune(self) -> None:
        settings = self._settings
        while True:
            async with self._database.transaction() as connection:
                pruned = await store.prune(
                    connection, settings.retention, settings.request_retention
                )
            if pruned < 10_000:
                return

    # A job

    async def handle(self, queue_job: QueueJob) -> None:
        """Do what a job says. The job is given back when that is not possible."""
        try:
            loaded = await self._loads.submit(Job.unpack(queue_job.payload or b""))
            if loaded is None:
                return  # stale: done by another, or cancelled
            outcome = await self._outcome(loaded, queue_job.entrypoint)
            await self._writes.submit(Written(loaded, outcome))
        except Exception as error:
            logger.exception("a job cannot be done, and is tried again")
            raise RetryRequested(timedelta(seconds=1), str(error)) from error

    async def _outcome(self, loaded: Loaded, host: str) -> machine.Outcome | Release:
        running, limits = loaded.running, self._settings.limits
        if running.pickups > limits.max_pickups:
            return machine.park(running)
        if datetime.now(UTC) >= running.expires_at:
            return machine.expire(running)
        self.expect([host])
        async with self._lanes[host], self._slots:
            answer = await self._run_or_release(loaded)
        if answer is None:
            return Release()
        return machine.decide(
            running,
            answer.response,
            datetime.now(UTC),
            limits,
            retry_after=answer.retry_after,
            passing=answer.passing,
            problem_of_call=lambda call: problem_of_call(
                call, allow_metadata=self._settings.allow_metadata
            ),
        )

    async def _run_or_release(self, loaded: Loaded) -> Any:
        """Run a call; None when the service has to stop before it has finished."""
        if self._released.is_set():
            return None
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        start = perf_counter()
        self._runs.add(task)
        self._metrics.running.inc()
        try:
            response = await self._caller.run(loaded)
        except asyncio.CancelledError:
            if not self._released.is_set() or task.uncancel():
                raise
            return None
        else:
            self._metrics.run_seconds.observe(perf_counter() - start)
            return response
        finally:
            self._runs.discard(task)
            self._metrics.running.dec()

    def _release(self) -> None:
        """End the runs under way: their calls are given back."""
        self._released.set()
        for task in self._runs:
            task.cancel()

    async def _load(self, jobs: Sequence[Job]) -> Sequence[Loaded | None]:
        async def load(connection: Any) -> dict[Job, Loaded]:
            return await store.load(connection, jobs)

        found = await self._persistently(self._database.relaxed, load)
        return [found.get(job) for job in jobs]

    async def _write(self, items: Sequence[Written]) -> Sequence[None]:
        async def write(connection: Any) -> tuple[set[str], list[UUID]]:
            return await store.write(connection, items, datetime.now(UTC), self._settings.limits)

        try:
            hosts, finished = await self._persistently(self._database.durable, write)
        except asyncpg.PostgresError as error:
            if len(items) > 1:  # one of them is to blame
                for item in items:
                    await self._write([item])
                return [None] * len(items)
            (item,) = items
            logger.exception("the outcome of a call cannot be written")
            finish = machine.fail(
                item.loaded.running,
                Status.INVALID_RESPONSE,
                f"what came of the call cannot be written: {error}",
            )
            await self._write([Written(item.loaded, finish)])
            return [None]
        self.expect(hosts)
        self._metrics.finished(items, set(finished))
        return [None] * len(items)

    async def _persistently(self, pool: Any, act: Callable[[Any], Any]) -> Any:
        """Do something in a transaction, again and again while the database is away."""
        seconds = 0.1
        while True:
            try:
                async with pool.acquire() as connection, connection.transaction():
                    return await act(connection)
            except AGAIN:
                continue
            except AWAY as error:
                logger.debug("the database is away: %s", error)
                await asyncio.sleep(seconds)
                seconds = min(seconds * 2, 2)


class _Lane:
    """Bounds the calls that run on one host."""

    def __init__(self, limit: int) -> None:
        self._semaphore = asyncio.Semaphore(limit)
        self._limit = limit
        self._inside = 0

    @property
    def has_room(self) -> bool:
        return self._inside < self._limit

    @property
    def is_idle(self) -> bool:
        return self._inside == 0

    async def __aenter__(self) -> None:
        self._inside += 1
        try:
            await self._semaphore.acquire()
        except BaseException:
            self._inside -= 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self._inside -= 1
        self._semaphore.release()


class _Executors(dict[Any, Any]):
    """One executor, whatever the host: hosts come and go, and each has its jobs in the queue."""

    def __init__(self, executor: EntrypointExecutor) -> None:
        super().__init__()
        self._executor = executor

    def __missing__(self, host: Any) -> EntrypointExecutor:
        return self._executor


class _Manager(QueueManager):
    """Takes jobs for the hosts that have room."""

    def attach(self, worker: Worker) -> None:
        self._worker = worker
        parameters = EntrypointExecutorParameters(
            func=worker.handle, concurrency_limit=0, on_failure="hold"
        )
        self.entrypoint_registry = _Executors(EntrypointExecutor(parameters))

    def entrypoints_below_capacity_limits(self) -> set[Any]:
        return self._worker.hosts_with_room()

    async def fetch_jobs(self, *args: Any, **settings: Any) -> AsyncGenerator[QueueJob, None]:
        await self._worker.gather()
        async for job in super().fetch_jobs(*args, **settings):
            yield job
