"""A process of the service: its settings, its parts, its life."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dispatch_grpc.calls import mask_urls
from dispatch_grpc.client.settings import DEFAULT_MAX_MESSAGE_BYTES
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.accepting import Accepting
from dispatch_grpc.service.api_keys import ApiKeys
from dispatch_grpc.service.app import Application, unkeyed
from dispatch_grpc.service.caller import Caller
from dispatch_grpc.service.completing import Completing
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.dequeue import Worker
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.page import CALLS, HOME, Page
from dispatch_grpc.service.page_actions import Actions
from dispatch_grpc.service.pausing import Pausing
from dispatch_grpc.service.producing import SECONDS, Producing
from dispatch_grpc.service.rerunning import Rerunning
from dispatch_grpc.service.schedules import Schedules
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.urls import Network
from dispatch_grpc.service.watching import Watching
from dispatch_grpc.serving import one_port
from dispatch_grpc.serving.access import KeyRing
from dispatch_grpc.serving.certificate import Certificate
from dispatch_grpc.transport import is_loopback

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_END_SECONDS = 5


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


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the service that runs.

    Attributes:
        url: Its API URL, for `Client(api_url=…)`.
        api_keys: The keys that it takes at its start.
        made_key: Whether the key was made just now.
        reload: Loads the certificate and the API keys again, whichever are in files; what cannot
            be loaded is logged, and stays as it was.
    """

    url: str
    api_keys: Sequence[str] = field(repr=False)
    made_key: bool
    reload: Callable[[], None] = field(repr=False)

    @staticmethod
    @asynccontextmanager
    async def open(settings: ServiceSettings) -> "AsyncIterator[Service]":
        """Run a process of the service until the end of the block; then it stops gracefully.

        Raises:
            ConfigurationError: A setting is not acceptable, or the database cannot be used.
        """
        _check(settings)
        source = ApiKeys(settings.api_keys, settings.api_key_file, settings.data_dir)
        keys = KeyRing(source.load())
        certificate = _certificate(settings)
        signing_key = _signing_key(settings)
        listener = one_port.listen(settings.host, settings.port, share=settings.share_port)
        database = Database(settings.database, settings.data_dir)
        try:
            await database.open()
        except BaseException:
            listener.close()
            raise
        if source.made and settings.database is not None:
            logger.warning(
                "an API key was made for this machine only: give those that share the database one "
                "key, by DISPATCH_API_KEY or a file"
            )
        metrics = Metrics()
        caller = Caller(
            signing_key=signing_key,
            allow_metadata=settings.worker.allow_metadata,
            max_response_bytes=settings.max_response_bytes,
            networks=settings.allow_networks,
            proxy=settings.endpoint_proxy,
            run_timeout=settings.worker.run_timeout,
            now=database.clock.now,
        )
        worker = Worker(database, caller, settings.worker, metrics)
        watching = Watching(database, worker.notices)
        worker.warn_of_held_slots(watching.waited_for)
        accepting = Accepting(
            database, worker, settings.worker, metrics, max_backlog=settings.max_backlog
        )
        schedules = Schedules(
            database, settings.worker, metrics, worker.notices, expect=worker.expect
        )
        producing = Producing(
            database,
            settings.worker,
            max_backlog=settings.max_backlog,
            max_bytes=settings.max_request_bytes,
        )
        worker.add_chore(producing.tell, SECONDS)
        rerunning = Rerunning(
            database, worker, settings.worker, metrics, max_backlog=settings.max_backlog
        )
        pausing = Pausing(database, worker.pauses)
        stopping = asyncio.Event()
        app = Application(
            accepting,
            {
                "GetCall": unkeyed(watching.get_call),
                "ListCalls": unkeyed(watching.list_calls),
                "WaitCall": unkeyed(watching.wait_call),
                "CancelCall": unkeyed(watching.cancel_call),
                "CompleteCall": unkeyed(Completing(database, worker).complete_call),
                "RerunCall": rerunning.rerun_call,
                "RerunCalls": unkeyed(rerunning.rerun_calls),
                "PurgeCalls": unkeyed(rerunning.purge_calls),
                "PauseCalls": unkeyed(pausing.pause_calls),
                "ResumeCalls": unkeyed(pausing.resume_calls),
                "ListPauses": unkeyed(pausing.list_pauses),
            },
            schedules,
            metrics,
            keys=keys,
            max_request_bytes=settings.max_request_bytes,
            is_ready=lambda: not stopping.is_set() and worker.is_ready,
            is_alive=lambda: stopping.is_set() or worker.is_alive,
            page=Page(database, metrics, keys, Actions(rerunning, pausing, CALLS, HOME)),
        )
        serving = asyncio.create_task(
            one_port.serve(
                app,
                listener,
                until=stopping.wait,
                certificate=certificate,
                graceful_seconds=settings.worker.shutdown_timeout.total_seconds(),
            )
        )
        working = asyncio.create_task(worker.run())
        scheduling = asyncio.create_task(schedules.run())
        try:
            yield Service(
                _url(settings, listener),
                list(keys),
                source.made,
                reload=partial(_reload, source, keys, certificate),
            )
        finally:
            try:
                stopping.set()
                watching.stop()
                scheduling.cancel()
                await asyncio.gather(serving, worker.stop(working))
                await caller.close()
            except BaseException:  # it is ended at once: nobody waits for what still runs
                database.terminate()
                scheduling.cancel()
                working.cancel()  # or it would start the embedded database again
                await asyncio.wait({working}, timeout=_END_SECONDS)
                raise
            finally:
                await database.close()


def _url(settings: ServiceSettings, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return replace(settings, host=host, port=port).url


def _check(settings: ServiceSettings) -> None:
    limits = settings.worker.limits
    if not timedelta(0) < limits.max_expiration <= timedelta(days=366):
        raise ConfigurationError(
            f"max_expiration: a timedelta up to 366 days is required; got {limits.max_expiration}"
        )
    if settings.endpoint_proxy is not None:
        _check_proxy(settings.endpoint_proxy)
    if (settings.certfile is None) != (settings.keyfile is None):
        raise ConfigurationError("certfile and keyfile go together; got one of them")
    if (
        settings.certfile is None
        and not settings.allow_plaintext
        and not is_loopback(settings.host)
    ):
        raise ConfigurationError(
            f"host: {settings.host!r} is no loopback address, and without TLS API keys would be "
            f"sent in clear text: give a certificate, or allow_plaintext=True if something else "
            f"protects the connections"
        )


def _check_proxy(url: str) -> None:
    try:
        parts = urlsplit(url)
        fits = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ConfigurationError(
            f"endpoint_proxy: the URL of an HTTP proxy is required, such as "
            f"http://proxy.example.com:3128; got {mask_urls(url)!r}"
        )


def _signing_key(settings: ServiceSettings) -> "Ed25519PrivateKey | None":
    if not settings.signing_key:
        return None
    from dispatch_grpc.endpoint.keys import parse_signing_key

    return parse_signing_key(settings.signing_key)


def _certificate(settings: ServiceSettings) -> Certificate | None:
    if settings.certfile is None:
        return None
    try:
        return Certificate(settings.certfile, settings.keyfile)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(
            f"certfile, keyfile: {settings.certfile} and {settings.keyfile} cannot be used: {error}"
        ) from error


def _reload(source: ApiKeys, keys: KeyRing, certificate: Certificate | None) -> None:
    if certificate is not None:
        certificate.reload()
    if not source.is_reloadable:
        return
    try:
        keys.replace(source.load())
    except ConfigurationError as error:
        logger.warning("the API keys are not loaded, and those before stay in use: %s", error)
    else:
        logger.info("the API keys are loaded again: there are %d", len(keys))
