"""The command that runs the durable service."""

import asyncio
import ipaddress
import os
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dispatch_grpc import ConfigurationError
from dispatch_grpc.cli.input import MistakeError
from dispatch_grpc.cli.options import duration_option, log_level_option, service_options
from dispatch_grpc.cli.output import print_lines
from dispatch_grpc.cli.service_process import (
    OR_SERVICE,
    announcement,
    in_format,
    log,
    loop_factory,
    run_service,
)
from dispatch_grpc.client.settings import resolve_api_key
from dispatch_grpc.errors import missing_extra

if TYPE_CHECKING:
    from dispatch_grpc.service import Service, ServiceSettings

_Command = TypeVar("_Command", bound=Callable[..., Any])

_MAX_DAYS = 36_500
_MAX_EXPIRATION_DAYS = 366


def _duration(
    name: str, default: str, help: str, max_days: int = _MAX_DAYS
) -> Callable[[_Command], _Command]:
    return duration_option(
        name, f"{help} (default: {default}).", max_days=max_days, default=default
    )


def _number(
    name: str, default: int, help: str, most: int | None = None
) -> Callable[[_Command], _Command]:
    return click.option(
        name,
        metavar="N",
        type=click.IntRange(1, most),
        default=default,
        help=f"{help} (default: {default}).",
    )


def _file(name: str, help: str) -> Callable[[_Command], _Command]:
    return click.option(
        name,
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=help,
    )


def _networks(_: click.Context, __: click.Parameter, given: Sequence[str]) -> tuple[Any, ...]:
    try:
        return tuple(ipaddress.ip_network(text.strip()) for text in given)
    except ValueError as error:
        raise click.BadParameter(f"a network such as 10.0.0.0/8 is required: {error}") from error


@click.command(
    epilog="""\b
Examples:
  dispatch-grpc serve                            with an embedded database
  dispatch-grpc serve --database postgresql://…  on any number of machines"""
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    help="Address to listen on (default: 127.0.0.1).",
)
@service_options
@click.option(
    "--api-key",
    "api_keys",
    multiple=True,
    metavar="KEY",
    help="API key that clients may use; repeatable. Prefer DISPATCH_API_KEY or --api-key-file: "
    "other users of this machine can read command lines.",
)
@_file(
    "--api-key-file",
    "File with API keys, one on each line as key or name:key; # begins a comment. SIGHUP reloads "
    "it. Without any key, the service generates one and keeps it in the data directory.",
)
@_file(
    "--certfile",
    "Certificate chain (PEM), to serve https; reloaded when it changes and on SIGHUP.",
)
@_file("--keyfile", "Private key of the certificate (PEM), not encrypted.")
@click.option(
    "--allow-plaintext",
    is_flag=True,
    help="Listen without TLS on an address that other machines can reach.",
)
@_file(
    "--signing-key-file",
    "File with the key that signs requests to endpoints; 'dispatch-grpc keypair' makes one "
    "(default: DISPATCH_SIGNING_KEY, else requests are not signed).",
)
@click.option(
    "--allow-metadata-endpoints",
    is_flag=True,
    help="Also call endpoints at link-local and cloud metadata addresses.",
)
@click.option(
    "--allow-network",
    "allow_networks",
    multiple=True,
    metavar="CIDR",
    callback=_networks,
    help="Only call endpoints with addresses in this network, such as 10.0.0.0/8; repeatable.",
)
@click.option(
    "--endpoint-proxy",
    envvar="DISPATCH_ENDPOINT_PROXY",
    metavar="URL",
    help="HTTP proxy to call endpoints through (default: DISPATCH_ENDPOINT_PROXY, else none; "
    "http_proxy is ignored). The proxy resolves the names of endpoints, so it has to block "
    "addresses that must not be called.",
)
@_number("--concurrency", 256, "Number of calls that run at the same time")
@_number("--host-concurrency", 128, "Number of calls that run at the same time on one host")
@_duration("--default-expiration", "1h", "Expiration of a call that does not set one")
@_duration(
    "--max-expiration",
    "30d",
    "Longest expiration of a call, up to 366d",
    _MAX_EXPIRATION_DAYS,
)
@_duration(
    "--grace",
    "15m",
    "How long to retry after failures that a deploy or a key rotation can cause",
)
@_duration("--run-timeout", "5m", "Longest time of one attempt of a call")
@_duration("--retention", "7d", "How long to keep finished calls")
@_duration("--key-retention", "1d", "How long to remember idempotency keys")
@_number("--max-calls", 10_000, "Largest number of calls in one request or one Poll")
@_number("--max-backlog", 1_000_000, "Number of calls that may wait to run; more are refused")
@_number("--max-schedules", 10_000, "Largest number of schedules; more are refused")
@_number(
    "--memory", 64_000_000, "Bytes that large requests to endpoints and large answers may hold"
)
@_number("--max-request-bytes", 4_194_304, "Largest request to accept, in bytes", 2**30 - 1)
@_number(
    "--processes",
    1,
    "Number of processes, all on one port: about one for each core; --concurrency and "
    "--host-concurrency hold for each. Needs Linux",
    256,
)
@_duration("--shutdown-timeout", "30s", "Time for running calls to finish when the service stops")
@log_level_option
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"], case_sensitive=False),
    metavar="FORMAT",
    default="text",
    help="Format of the log: text, or json with one object on each line (default: text).",
)
def serve(*, processes: int, log_level: str, log_format: str, **options: Any) -> int:
    """Run the durable service until Ctrl-C or SIGTERM.

    Calls are recorded in PostgreSQL, embedded or your own, and run on their endpoints until
    they finish. The first signal stops the service gracefully, a second one immediately. A
    DURATION is written like 30s, 5m, 1h30m, 250ms or 2d.
    """
    log(log_level, log_format)
    keys = _api_keys(options.pop("api_keys"), options["api_key_file"], os.environ)
    settings = _settings(keys.values, **options)
    if processes > 1:
        if sys.platform != "linux":
            raise MistakeError(
                "--processes: several processes on one port need Linux, whose kernel spreads "
                "connections over them; elsewhere, start services on several ports"
            )
        from dispatch_grpc.cli.supervisor import supervise

        with asyncio.Runner() as runner:
            return runner.run(supervise(settings, keys.source, processes, (log_level, log_format)))

    def announce(service: "Service") -> None:
        made = service.api_keys[0] if service.made_key else None
        lines = announcement(settings, service.url, keys.source, made)
        print_lines(in_format(lines, log_format))

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(run_service(settings, announce))


# Settings


@dataclass(frozen=True, slots=True)
class _Keys:
    values: Sequence[str]
    source: str


def _api_keys(given: Sequence[str], file: Path | None, environment: Mapping[str, str]) -> _Keys:
    """Return the API keys and their source."""
    sources = []
    found: list[str] = []
    if given := [key for key in given if key.strip()]:
        found += [resolve_api_key(key, {}).value for key in given]
        sources.append("--api-key")
    if file is not None:
        from dispatch_grpc.service.api_keys import read_key_file

        try:
            read_key_file(file)
        except ConfigurationError as error:
            raise MistakeError(f"--api-key-file: {error}") from error
        sources.append(str(file))
    if not sources and environment.get("DISPATCH_API_KEY", "").strip():
        found.append(resolve_api_key(None, environment).value)
        sources.append("DISPATCH_API_KEY")
    return _Keys(found, " and ".join(sources))


def _read(file: Path) -> str:
    return file.read_text("utf-8-sig", errors="surrogateescape")


def _signing_key(file: Path | None, environment: Mapping[str, str]) -> str | None:
    if file is not None:
        text, source = _read(file).strip(), f"--signing-key-file {file}"
    else:
        text, source = environment.get("DISPATCH_SIGNING_KEY", "").strip(), "DISPATCH_SIGNING_KEY"
        if not text:
            return None
    from dispatch_grpc.endpoint.keys import parse_signing_key

    parse_signing_key(text, source)  # the message names the source
    return text


def _check_certificate(certfile: Path | None, keyfile: Path | None) -> None:
    """Raise for a certificate that cannot be used, before anything is started."""
    if certfile is None or keyfile is None:
        return

    def no_password() -> str:
        raise MistakeError(f"--keyfile {keyfile}: the key is encrypted and cannot be read")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile, no_password)
    except (ssl.SSLError, OSError) as error:
        what = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise MistakeError(
            f"--certfile {certfile} and --keyfile {keyfile}: not a certificate chain and its key "
            f"in PEM form: {what or error}"
        ) from error


def _settings(
    api_keys: Sequence[str],
    *,
    database: str | None,
    endpoint_proxy: str | None,
    certfile: Path | None,
    keyfile: Path | None,
    signing_key_file: Path | None,
    allow_metadata_endpoints: bool,
    concurrency: int,
    host_concurrency: int,
    memory: int,
    default_expiration: timedelta,
    max_expiration: timedelta,
    grace: timedelta,
    max_calls: int,
    max_schedules: int,
    retention: timedelta,
    key_retention: timedelta,
    run_timeout: timedelta,
    shutdown_timeout: timedelta,
    **others: Any,
) -> "ServiceSettings":
    try:
        from dispatch_grpc.service import ServiceSettings
        from dispatch_grpc.service.machine import Limits
        from dispatch_grpc.service.settings import Settings
    except ImportError as error:
        raise missing_extra(error, "the service", "embedded", OR_SERVICE) from error
    _check_certificate(certfile, keyfile)
    return ServiceSettings(
        database=(database or "").strip() or None,
        endpoint_proxy=(endpoint_proxy or "").strip() or None,
        api_keys=api_keys,
        certfile=None if certfile is None else str(certfile),
        keyfile=None if keyfile is None else str(keyfile),
        signing_key=_signing_key(signing_key_file, os.environ),
        worker=Settings(
            concurrency=concurrency,
            host_concurrency=host_concurrency,
            memory=memory,
            # The queue runs at least twice as many jobs as its batch size.
            batch_size=min(max(concurrency // 2, 1), Settings().batch_size),
            run_timeout=run_timeout,
            shutdown_timeout=shutdown_timeout,
            retention=retention,
            request_retention=key_retention,
            allow_metadata=allow_metadata_endpoints,
            max_schedules=max_schedules,
            limits=Limits(
                default_expiration=default_expiration,
                max_expiration=max_expiration,
                grace=grace,
                max_calls=max_calls,
            ),
        ),
        **others,
    )
