"""The command itself: its options, and the order in which everything starts and stops."""

import asyncio
import shlex
import shutil
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from dispatch_grpc import AsyncClient
from dispatch_grpc.calls import mask_url
from dispatch_grpc.cli.dev.calls import LiveCalls
from dispatch_grpc.cli.dev.process import Process
from dispatch_grpc.cli.dev.sources import Sources
from dispatch_grpc.cli.input import MistakeError
from dispatch_grpc.cli.options import new_log_level_option, service_options
from dispatch_grpc.cli.output import print_lines
from dispatch_grpc.cli.service_process import Signals, key_command, log, loop_factory
from dispatch_grpc.client.settings import resolve_endpoint_url
from dispatch_grpc.errors import missing_extra
from dispatch_grpc.transport import is_loopback

if TYPE_CHECKING:
    from dispatch_grpc.service import ServiceSettings

_SHUTDOWN = timedelta(seconds=5)


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
Examples:
  dispatch-grpc dev -- dispatch-grpc run app:endpoint
  dispatch-grpc dev --watch src -- go run ./cmd/worker""",
)
@click.argument("command", metavar="-- COMMAND...", nargs=-1, required=True)
@service_options
@click.option(
    "--endpoint-url",
    envvar="DISPATCH_ENDPOINT_URL",
    metavar="URL",
    default="http://127.0.0.1:8000",
    help="URL of the endpoint (default: DISPATCH_ENDPOINT_URL, else http://127.0.0.1:8000).",
)
@click.option(
    "--watch",
    "folders",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    multiple=True,
    default=["."],
    help="Folder whose source files restart COMMAND when they change; repeatable (default: this "
    "folder).",
)
@new_log_level_option("warning")
def dev(
    *,
    command: tuple[str, ...],
    port: int,
    data_dir: Path,
    database: str | None,
    endpoint_url: str,
    folders: tuple[Path, ...],
    log_level: str,
) -> int:
    """Run a service and an endpoint for development.

    COMMAND starts the endpoint. Its environment has the URL and the API key of the service, the
    endpoint's own URL and address, and the verification key. It is restarted when a source file
    changes. A line is printed for a call when it runs, fails an attempt, or finishes. Ctrl-C stops
    the service, then the endpoint.
    """
    if shutil.which(command[0]) is None:
        raise MistakeError(f"COMMAND: there is no program {command[0]!r}")
    url = resolve_endpoint_url(endpoint_url, {})
    try:
        from dispatch_grpc.endpoint.signature import new_key_pair
        from dispatch_grpc.service import ServiceSettings
        from dispatch_grpc.service.settings import Settings
    except ImportError as error:
        raise missing_extra(error, "the service", "embedded") from error
    log(log_level, "text")
    pair = new_key_pair()
    settings = ServiceSettings(
        database=(database or "").strip() or None,
        data_dir=data_dir,
        port=port,
        signing_key=pair.signing_key,
        worker=replace(Settings(), shutdown_timeout=_SHUTDOWN),
    )
    variables = {
        "DISPATCH_ENDPOINT_URL": url,
        "DISPATCH_VERIFICATION_KEY": pair.verification_key,
        "PYTHONUNBUFFERED": "1",
    }
    parts = urlsplit(url)
    if parts.scheme == "http" and is_loopback(parts.hostname or ""):
        variables["DISPATCH_ENDPOINT_ADDR"] = parts.netloc if parts.port else f"{parts.netloc}:80"
    endpoint = Process(command, variables, Sources(folders))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_develop(settings, endpoint, url))


async def _develop(settings: "ServiceSettings", endpoint: Process, url: str) -> int:
    """Run everything until a signal; returns the exit code."""
    from dispatch_grpc.service import Service

    with Signals(is_reloadable=False) as signals:
        try:
            # The service stops first: calls that run may finish.
            async with endpoint, Service.open(settings) as service:
                signals.started = True
                endpoint.variables |= {
                    "DISPATCH_API_URL": service.url,
                    "DISPATCH_API_KEY": service.api_keys[0],
                }
                key = key_command(settings.data_dir / "api-key")
                print_lines(
                    [
                        f"service:  {service.url} (open it in a browser to see the calls)",
                        f"endpoint: {mask_url(url)} ({shlex.join(endpoint.command)})",
                        "In other terminals: "
                        f"export DISPATCH_API_URL={service.url} DISPATCH_API_KEY={key}",
                    ]
                )
                async with AsyncClient(service.api_keys[0], api_url=service.url, env={}) as client:
                    await _first(signals.stop.wait(), endpoint.keep(), LiveCalls(client).show())
        except asyncio.CancelledError as cancelled:
            return signals.exit_code(cancelled)
    return 0


async def _first(*works: Coroutine[Any, Any, Any]) -> None:
    """Do several things until one of them ends; an error of it is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
