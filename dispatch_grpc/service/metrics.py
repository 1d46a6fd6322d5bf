"""What the service tells Prometheus."""

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from time import monotonic, time
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from dispatch_grpc.service.machine import Finish
from dispatch_grpc.service.reads import Counted
from dispatch_grpc.service.store import Written

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The counters of one process.

    Where PROMETHEUS_MULTIPROC_DIR is set, as by `dispatch-grpc serve --processes`, they are kept
    in files of that folder, and `render` returns the sums of all processes.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.accepted: Counter = Counter(
            "dispatch_calls_accepted", "Calls that were recorded.", registry=registry
        )
        self.refused: Counter = Counter(
            "dispatch_requests_refused", "Requests that were refused.", ["code"], registry=registry
        )
        self.accept_seconds: Histogram = Histogram(
            "dispatch_accept_seconds",
            "Time to record the calls of a request.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.running: Gauge = Gauge(
            "dispatch_calls_running",
            "Calls that run here.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.run_seconds: Histogram = Histogram(
            "dispatch_run_seconds", "Time of a run.", buckets=_SECONDS, registry=registry
        )
        self.runs: Counter = Counter(
            "dispatch_runs", "Runs, by what came of them.", ["outcome"], registry=registry
        )
        self.finished_calls: Counter = Counter(
            "dispatch_calls_finished", "Calls that have ended.", ["status"], registry=registry
        )
        self._backlog: Gauge = Gauge(
            "dispatch_calls",
            "Calls in the database that have not ended; all processes see the same.",
            ["state"],
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.ticks: Counter = Counter(
            "dispatch_schedule_ticks",
            "Ticks of schedules that were fired, skipped and missed; triggers count as fired.",
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
            "When the calls that have not ended were counted, by one process for all.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.dead: Gauge = Gauge(
            "dispatch_dead_calls",
            "Calls without a parent that failed, and were neither cancelled nor rerun; counted up "
            "to 10,000.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.pauses: Gauge = Gauge(
            "dispatch_pauses",
            "Pauses of functions, hosts or everything.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.counts: Mapping[str, int] = {}
        self._counted_at = 0.0

    def backlog(self, counted: Counted) -> None:
        """Tell how many calls there are that have not ended, by their state."""
        self.counts = counted.numbers
        self._counted_at = monotonic() - counted.age.total_seconds()
        self._counted.set(time() - counted.age.total_seconds())
        for state, number in counted.numbers.items():
            self._backlog.labels(state).set(number)

    @property
    def age(self) -> timedelta:
        """How long ago the calls were counted; zero before they are."""
        return timedelta(seconds=monotonic() - self._counted_at if self.counts else 0)

    def finished(self, items: Sequence[Written], ids: Collection[UUID]) -> None:
        """Count what came of runs."""
        for item in items:
            outcome: Any = item.outcome
            self.runs.labels(type(outcome).__name__.lower()).inc()
            if isinstance(outcome, Finish) and item.loaded.running.id in ids:
                self.finished_calls.labels(outcome.status.name).inc()

    def render(self) -> bytes:
        """The metrics in Prometheus's text format."""
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
