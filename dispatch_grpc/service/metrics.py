"""The metrics for Prometheus. docs/observing.md lists them."""

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic, time
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from dispatch_grpc.codes import Status
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.machine import Finish, Retry
from dispatch_grpc.service.metrics_shared import OTHER, SharedMetrics, label_of
from dispatch_grpc.service.reads_counts import Counted
from dispatch_grpc.service.store import CallDecision, Loaded

MAX_FUNCTIONS = 100
SAMPLE_SECONDS = 0.5

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_LAG_SECONDS = 0.05
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LONG_SECONDS = (*_SECONDS[2:], 900, 3600, 6 * 3600, 24 * 3600)


def check_folder(env: Mapping[str, str]) -> None:
    """Check the folder by which several processes share their metrics, if one is set.

    Raises:
        ConfigurationError: There is no such folder, or it is not writable.
    """
    folder = env.get(_FOLDER)
    if folder is None or (folder and Path(folder).is_dir() and os.access(folder, os.W_OK)):
        return
    raise ConfigurationError(
        f"{_FOLDER}: a folder that this process may write to is required; got {folder!r}. Make it, "
        f"or unset the variable: 'dispatch-grpc serve --processes' sets it by itself"
    )


class Metrics:
    """The counters of one process.

    Where PROMETHEUS_MULTIPROC_DIR is set, as by `dispatch-grpc serve --processes`, they are kept
    in files of that folder, and `render` returns those of all processes together. The `shared`
    ones, which every process knows from the database, are not in these files: the process that is
    asked adds its own.

    Attributes:
        shared: What all processes know from the database.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.accepted: Counter = Counter(
            "dispatch_calls_accepted", "Calls that were recorded.", registry=registry
        )
        self.refused: Counter = Counter(
            "dispatch_requests_refused",
            "Requests to dispatch or submit calls that were refused, by the code of the error.",
            ["code"],
            registry=registry,
        )
        self.accept_seconds: Histogram = Histogram(
            "dispatch_accept_seconds",
            "Time to record the calls of a request.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._start_seconds: Histogram = Histogram(
            "dispatch_accept_to_start_seconds",
            "Time from the acceptance of a call, or from its start if that is later, until its "
            "first attempt begins.",
            buckets=_LONG_SECONDS,
            registry=registry,
        )
        self._finish_seconds: Histogram = Histogram(
            "dispatch_accept_to_finish_seconds",
            "Time from the acceptance of a call, or from its start if that is later, until it "
            "finishes.",
            buckets=_LONG_SECONDS,
            registry=registry,
        )
        self.running: Gauge = Gauge(
            "dispatch_calls_running",
            "Calls that have a running attempt.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.run_seconds: Histogram = Histogram(
            "dispatch_run_seconds", "Duration of an attempt.", buckets=_SECONDS, registry=registry
        )
        self.runs: Counter = Counter(
            "dispatch_runs",
            "Attempts that have ended, by what their calls do next: finish, retry, suspend (wait "
            "for other calls), resume (at once, since its Poll was refused), replace (go on as "
            "another call).",
            ["outcome"],
            registry=registry,
        )
        self._attempts: Counter = Counter(
            "dispatch_attempts",
            "Attempts that have ended, by function.",
            ["function"],
            registry=registry,
        )
        self._failures: Counter = Counter(
            "dispatch_attempt_failures",
            "Attempts that have failed, by function and status.",
            ["function", "status"],
            registry=registry,
        )
        self._finished_calls: Counter = Counter(
            "dispatch_calls_finished",
            "Calls that have finished, by status; cancelled calls are not counted.",
            ["status"],
            registry=registry,
        )
        self._takeovers: Counter = Counter(
            "dispatch_takeovers",
            "Calls taken over from processes that were lost.",
            registry=registry,
        )
        self._dequeued: Gauge = Gauge(
            "dispatch_last_dequeue_timestamp_seconds",
            "Time of the last query of the queue, whether it found calls or not; of several "
            "processes, the earliest.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._lag: Histogram = Histogram(
            "dispatch_event_loop_lag_seconds",
            "How late the event loop is, sampled twice a second.",
            buckets=_SECONDS[:13],
            registry=registry,
        )
        self._connections: Gauge = Gauge(
            "dispatch_database_connections",
            "Open connections to the database, by pool and state (used or idle).",
            ["pool", "state"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._most_connections: Gauge = Gauge(
            "dispatch_database_connections_max",
            "Largest number of connections to the database, by pool.",
            ["pool"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._waits: Counter = Counter(
            "dispatch_database_connection_waits",
            "Times that a connection was needed while all of its pool were in use.",
            ["pool"],
            registry=registry,
        )
        self._backlog: Gauge = Gauge(
            "dispatch_calls",
            "Calls in the database that have not finished, by state; the same from every process.",
            ["state"],
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.ticks: Counter = Counter(
            "dispatch_schedule_ticks",
            "Ticks of schedules, by outcome: fired, skipped or missed; triggers count as fired.",
            ["outcome"],
            registry=registry,
        )
        self.lateness: Histogram = Histogram(
            "dispatch_schedule_lateness_seconds",
            "Time from a tick to its firing.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._counted: Gauge = Gauge(
            "dispatch_calls_counted_timestamp_seconds",
            "Time at which the calls that have not finished were counted last; one process counts "
            "for all.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.dead: Gauge = Gauge(
            "dispatch_dead_calls",
            "Dead letters: calls without a parent that failed, and were neither cancelled nor "
            "rerun; counted up to 10,000.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.pauses: Gauge = Gauge(
            "dispatch_pauses",
            "Pauses in force: of functions, of hosts, or of everything.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.shared: SharedMetrics = SharedMetrics()
        self.counts: Mapping[str, int] = {}
        self._counted_at = 0.0
        self._attempts_of: dict[str, Any] = {}
        self._last_waits: dict[str, int] = {}
        self.dequeued()  # it would be 1970 at first

    def backlog(self, counted: Counted) -> None:
        """Set the number of calls that have not finished, by state."""
        self.counts = counted.numbers
        self._counted_at = monotonic() - counted.age.total_seconds()
        self._counted.set(time() - counted.age.total_seconds())
        for state, number in counted.numbers.items():
            self._backlog.labels(state).set(number)

    @property
    def age(self) -> timedelta:
        """How long ago the calls were counted; zero before they are."""
        return timedelta(seconds=monotonic() - self._counted_at if self.counts else 0)

    def dequeued(self) -> None:
        """Note that the queue was asked for jobs, and answered."""
        self._dequeued.set_to_current_time()

    def taken_over(self, number: int) -> None:
        """Count calls that were taken over from processes that were lost."""
        self._takeovers.inc(number)

    def started(self, loaded: Loaded, now: datetime) -> None:
        """Note that an attempt begins."""
        if loaded.running.runs == 0 and loaded.running.pickups == 1:
            self._start_seconds.observe(_seconds(loaded.starts_at or loaded.created_at, now))

    def attempted(self, function: str, outcome: Any) -> None:
        """Count an attempt that has ended, and whether it failed."""
        attempts = self._attempts_of.get(function)
        if attempts is None:
            is_known = len(self._attempts_of) < MAX_FUNCTIONS
            attempts = self._attempts.labels(label_of(function) if is_known else OTHER)
            if is_known:
                self._attempts_of[function] = attempts
        attempts.inc()
        if isinstance(outcome, Retry | Finish) and outcome.status is not Status.OK:
            name = label_of(function) if function in self._attempts_of else OTHER
            self._failures.labels(name, outcome.status.name).inc()

    def finished(self, items: Sequence[CallDecision], ids: Collection[UUID], now: datetime) -> None:
        """Count what follows attempts, and the calls that have finished.

        Args:
            items: The outcomes, which were written.
            ids: The calls that have finished.
            now: The time.
        """
        outcomes: dict[type, int] = {}
        statuses: dict[Status, int] = {}
        for item in items:
            outcome: Any = item.outcome
            outcomes[type(outcome)] = outcomes.get(type(outcome), 0) + 1
            if isinstance(outcome, Finish) and item.loaded.running.id in ids:
                since = item.loaded.starts_at or item.loaded.created_at
                self._finish_seconds.observe(_seconds(since, now))
                statuses[outcome.status] = statuses.get(outcome.status, 0) + 1
        for kind, number in outcomes.items():
            self.runs.labels(kind.__name__.lower()).inc(number)
        for status, number in statuses.items():
            self._finished_calls.labels(status.name).inc(number)

    def finished_one(self, status: Status, since: datetime, now: datetime) -> None:
        """Count a call that has finished.

        Args:
            status: Its status.
            since: When it was accepted, or its start if that is later.
            now: The time.
        """
        self._finished_calls.labels(status.name).inc()
        self._finish_seconds.observe(_seconds(since, now))

    async def sample(self, database: Database) -> None:
        """Look at the event loop and at the connections to the database."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(_LAG_SECONDS)
        self._lag.observe(max(loop.time() - start - _LAG_SECONDS, 0))
        for pool in database.pools():
            self._connections.labels(pool.name, "used").set(pool.used)
            self._connections.labels(pool.name, "idle").set(pool.idle)
            self._most_connections.labels(pool.name).set(pool.most)
            self._waits.labels(pool.name).inc(pool.waits - self._last_waits.get(pool.name, 0))
            self._last_waits[pool.name] = pool.waits

    def render(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        registry = self._registry
        if _FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry) + self.shared.render()


def _seconds(since: datetime, now: datetime) -> float:
    return max((now - since).total_seconds(), 0.0)
