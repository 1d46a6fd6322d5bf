"""The settings of a process, and of what runs calls in it: how much at once, and for how long."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from dispatch_grpc.client.settings import DEFAULT_MAX_MESSAGE_BYTES
from dispatch_grpc.service import machine
from dispatch_grpc.service.urls import Network


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How a process of the service is set up.

    Attributes:
        database: URL of a PostgreSQL; None for the embedded one.
        data_dir: Folder of the embedded database, and of the API key that was made.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        share_port: Whether other processes of the same user may listen on the port as well, all
            with this setting. The kernel spreads connections over them; needs Linux.
        api_keys: Keys of which a request must carry one.
        api_key_file: File of more keys, one `key` or `name:key` a line. Without any key, one is
            made and kept in `data_dir`.
        certfile: File of the certificate chain (PEM), to serve `https`.
        keyfile: File of the certificate's key.
        allow_plaintext: Whether to listen on other addresses than loopback without TLS.
        signing_key: Key to sign the requests to endpoints with, PEM or base64.
        allow_networks: Networks that endpoints must be in; empty allows all.
        endpoint_proxy: URL of an HTTP proxy to call endpoints through. It resolves their names, so
            that the service cannot check the addresses.
        max_request_bytes: Largest request to read.
        max_response_bytes: Largest answer of an endpoint to read.
        max_backlog: Number of calls that may wait to be run; more are refused.
        worker: How much is done at once.
    """

    database: str | None = None
    data_dir: Path = Path(".dispatch")
    host: str = "127.0.0.1"
    port: int = 7890
    share_port: bool = False
    api_keys: Sequence[str] = ()
    api_key_file: Path | None = None
    certfile: str | None = None
    keyfile: str | None = None
    allow_plaintext: bool = False
    signing_key: str | None = field(default=None, repr=False)
    allow_networks: Sequence[Network] = ()
    endpoint_proxy: str | None = field(default=None, repr=False)
    max_request_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    max_response_bytes: int = 16_000_000
    max_backlog: int = 1_000_000
    worker: Settings = field(default_factory=Settings)

    @property
    def url(self) -> str:
        """The API URL of a service that listens on `port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certfile else 'http'}://{host}:{self.port}"
