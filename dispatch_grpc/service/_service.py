"""A process of the service: its settings, its parts, its life."""

import asyncio
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dispatch_grpc.client.settings import DEFAULT_MAX_MESSAGE_BYTES, api_key
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.app import Application
from dispatch_grpc.service.caller import Caller
from dispatch_grpc.service.calls import Accepting, Watching
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.page import Page
from dispatch_grpc.service.worker import Settings, Worker
from dispatch_grpc.serving import one_port
from dispatch_grpc.transport import is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How a process of the service is set up.

    Attributes:
        database: URL of a PostgreSQL; None for the embedded one.
        data_dir: Folder of the embedded database, and of the API key that was made.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        api_keys: Keys of which a request must carry one; none makes one, and keeps it.
        certfile: File of the certificate chain (PEM), to serve `https`.
        keyfile: File of the certificate's key.
        allow_plaintext: Whether to listen on other addresses than loopback without TLS.
        signing_key: Key to sign the requests to endpoints with, PEM or base64.
        max_request_bytes: Largest request to read.
        max_response_bytes: Largest answer of an endpoint to read.
        max_backlog: Number of calls that may wait to be run; more are refused.
        worker: How much is done at once.
    """

    database: str | None = None
    data_dir: Path = Path(".dispatch")
    host: str = "127.0.0.1"
    port: int = 7890
    api_keys: Sequence[str] = ()
    certfile: str | None = None
    keyfile: str | None = None
    allow_plaintext: bool = False
    signing_key: str | None = field(default=None, repr=False)
    max_request_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    max_response_bytes: int = 16_000_000
    max_backlog: int = 1_000_000
    worker: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the service that runs.

    Attributes:
        url: Its API URL, for `Client(api_url=…)`.
        api_keys: The keys that it takes.
        made_key: Whether the key was made just now.
    """

    url: str
    api_keys: Sequence[str] = field(repr=False)
    made_key: bool

    @staticmethod
    @asynccontextmanager
    async def open(settings: ServiceSettings) -> "AsyncIterator[Service]":
        """Run a process of the service until the end of the block; then it stops gracefully.

        Raises:
            ConfigurationError: A setting is not acceptable, or the database cannot be used.
        """
        _check(settings)
        keys, made = _keys(settings)
        signing_key = None
        if settings.signing_key:
            from dispatch_grpc.endpoint.keys import parse_signing_key

            signing_key = parse_signing_key(settings.signing_key)
        try:
            listener = one_port.listen(settings.host, settings.port)
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}"
            ) from error
        database = Database(settings.database, settings.data_dir)
        try:
            await database.open()
        except BaseException:
            listener.close()
            raise
        if made and settings.database is not None:
            logger.warning(
                "an API key was made for this machine only: give those that share the database one "
                "key, by DISPATCH_API_KEY or a file"
            )
        metrics = Metrics()
        caller = Caller(
            signing_key=signing_key,
            allow_metadata=settings.worker.allow_metadata,
            max_response_bytes=settings.max_response_bytes,
        )
        worker = Worker(database, caller, settings.worker, metrics)
        watching = Watching(database)
        accepting = Accepting(
            database, worker, settings.worker, metrics, max_backlog=settings.max_backlog
        )
        stopping = asyncio.Event()
        app = Application(
            accepting,
            watching,
            metrics,
            api_keys=keys,
            max_request_bytes=settings.max_request_bytes,
            is_ready=lambda: not stopping.is_set() and worker.is_connected,
            page=Page(database, metrics, keys),
        )
        host, port = listener.getsockname()[:2]
        scheme = "https" if settings.certfile else "http"
        serving = asyncio.create_task(
            one_port.serve(
                app,
                listener,
                until=stopping.wait,
                certfile=settings.certfile,
                keyfile=settings.keyfile,
                graceful_seconds=settings.worker.shutdown_timeout.total_seconds(),
            )
        )
        working = asyncio.create_task(worker.run())
        listening = asyncio.create_task(watching.run())
        try:
            host = f"[{host}]" if ":" in host else host
            yield Service(f"{scheme}://{host}:{port}", keys, made)
        finally:
            try:
                stopping.set()
                watching.stop()
                await asyncio.gather(serving, worker.stop(working))
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
                await caller.close()
            except BaseException:  # it is ended at once: nobody waits for what still runs
                database.terminate()
                raise
            finally:
                await database.close()


def _check(settings: ServiceSettings) -> None:
    if (settings.certfile is None) != (settings.keyfile is None):
        raise ConfigurationError("certfile and keyfile go together; got one of them")
    if settings.certfile is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                settings.certfile, settings.keyfile
            )
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"certfile, keyfile: {settings.certfile} and {settings.keyfile} cannot be used: "
                f"{error}"
            ) from error
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


def _keys(settings: ServiceSettings) -> tuple[Sequence[str], bool]:
    """The API keys, and whether one was made."""
    if settings.api_keys:
        environment: Mapping[str, str] = {}
        return [api_key(key, environment).value for key in settings.api_keys], False
    file = settings.data_dir / "api-key"
    try:
        if kept := file.read_text().strip():
            if file.stat().st_mode & 0o077:
                logger.warning("the API key in %s can be read by others: chmod 600", file)
            return [api_key(kept, {}).value], False
        raise ConfigurationError(f"there is no API key in {file}: write one, or delete the file")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigurationError(f"the API key in {file} cannot be read: {error}") from error
    key = secrets.token_urlsafe(32)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        # Two processes that begin at once: the file is there whole, or not at all.
        temporary = file.with_name(f"api-key.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(key + "\n")
        try:
            os.link(temporary, file)
        except FileExistsError:
            return [file.read_text().strip()], False
        finally:
            temporary.unlink()
    except OSError as error:
        raise ConfigurationError(f"the API key cannot be kept in {file}: {error}") from error
    return [key], True
