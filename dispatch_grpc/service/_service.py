"""The door to a process of the service: what it is set up with is checked, and it runs."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dispatch_grpc.calls import mask_urls
from dispatch_grpc.errors import ConfigurationError
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.service.api_keys import ApiKeys
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.metrics import check_folder
from dispatch_grpc.service.process import Process
from dispatch_grpc.service.settings import ServiceSettings
from dispatch_grpc.serving import sockets
from dispatch_grpc.serving.access import KeyRing
from dispatch_grpc.serving.certificate import Certificate
from dispatch_grpc.transport import is_loopback

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


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
        check_folder(os.environ)
        source = ApiKeys(settings.api_keys, settings.api_key_file, settings.data_dir)
        keys = KeyRing(source.load())
        certificate = _certificate(settings)
        signing_key = _signing_key(settings)
        listener = sockets.listen(settings.host, settings.port, share=settings.share_port)
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
        process = Process(settings, database, keys, signing_key)
        async with process.running(listener, certificate):
            url = _url(settings, listener)
            logger.info("listening on %s", url)
            yield Service(
                url, list(keys), source.made, reload=partial(_reload, source, keys, certificate)
            )


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
