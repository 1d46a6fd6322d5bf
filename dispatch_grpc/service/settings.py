"""The settings of what runs calls: how much at once, and for how long."""

from dataclasses import dataclass, field
from datetime import timedelta

from dispatch_grpc.service import machine


@dataclass(frozen=True, slots=True)
class Settings:
    """How much a process does at once, and how long it waits.

    Attributes:
        concurrency: Number of calls that run at once.
        host_concurrency: Number of those that run on one host.
        batch_size: Number of jobs that are taken from the queue at once.
        heartbeat_timeout: How long a process may be silent before others take over its calls.
        run_timeout: How long an attempt may take.
        shutdown_timeout: How long runs may take to finish once the service is to stop.
        retention: How long a finished call is kept.
        request_retention: How long an idempotency key is remembered.
        memory: Number of bytes that large requests and answers of endpoints may hold together.
        allow_metadata: Whether link-local and metadata addresses may be called.
        limits: Bounds of what calls may ask for.
        max_schedules: Number of schedules that there may be.
    """

    concurrency: int = 256
    host_concurrency: int = 128
    batch_size: int = 100
    heartbeat_timeout: timedelta = timedelta(seconds=15)
    run_timeout: timedelta = timedelta(minutes=5)
    shutdown_timeout: timedelta = timedelta(seconds=30)
    retention: timedelta = timedelta(days=7)
    request_retention: timedelta = timedelta(days=1)
    memory: int = 64_000_000
    allow_metadata: bool = False
    limits: machine.Limits = field(default_factory=machine.Limits)
    max_schedules: int = 10_000
