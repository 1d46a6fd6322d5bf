"""Run a process of the durable service until a signal: what `dispatch-grpc serve` does."""

import asyncio
import gc
import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import click

from dispatch_grpc import ConfigurationError
from dispatch_grpc.cli.output import JSON_LOG
from dispatch_grpc.errors import missing_extra
from dispatch_grpc.log import service_logger as logger
from dispatch_grpc.transport import is_loopback

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from dispatch_grpc.service import Service, ServiceSettings

SIGNALS = {signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])}
"""The signals that the service heeds; Windows has no SIGHUP."""
OR_SERVICE = ", or 'dispatch-grpc[service]' for a PostgreSQL of your own"


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of uvloop, or None on Windows, which uvloop does not support."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def run_service(
    settings: "ServiceSettings",
    announce: Callable[["Service"], None],
    supervisor: "Connection | None" = None,
) -> int:
    """Run the service until a signal; returns the exit code.

    Args:
        settings: Its settings.
        announce: Called when it has started.
        supervisor: A pipe to the process that started this one, which tells when to stop.
    """
    from dispatch_grpc.service import Service

    with Signals(is_reloadable=is_reloadable(settings)) as signals:
        if supervisor is not None:
            signals.obey(supervisor)
        try:
            async with Service.open(settings) as service:
                signals.started = True
                # The objects made so far stay for good: the garbage collector may skip them.
                gc.freeze()
                signals.reload_by(service.reload)
                announce(service)
                await signals.stop.wait()
                logger.info("stopping")
        except asyncio.CancelledError as cancelled:
            return signals.exit_code(cancelled)
        except (ConfigurationError, OSError, ImportError, click.exceptions.Exit):
            raise  # known to `main`
        except Exception as error:
            if signals.started:
                raise
            logger.debug("the service does not start", exc_info=True)
            raise click.ClickException(
                f"the service could not start: {type(error).__name__}: {error}"
            ) from error
    logger.info("stopped")
    return 0


def is_reloadable(settings: "ServiceSettings") -> bool:
    """Return whether the service has anything in files that SIGHUP may load again."""
    return bool(settings.certfile or settings.api_key_file or not settings.api_keys)


class Signals:
    """SIGTERM and SIGINT: the first stops the service gracefully, the second cancels it.

    After the cancellation the embedded database is still stopped. A third signal ends the
    process. A signal that arrives before the service has started cancels it.

    SIGHUP loads the certificate and the API keys again. When neither is in a file it stops the
    service as SIGTERM does, unless it was ignored, as by nohup.
    """

    def __init__(self, *, is_reloadable: bool) -> None:
        self.started = False
        self._reload: Callable[[], None] | None = None
        self._hung_up = False
        self._is_reloadable = is_reloadable
        self.stop: asyncio.Event = asyncio.Event()
        self.numbers: list[int] = []
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._handle)
        if hasattr(signal, "SIGHUP"):  # not on Windows
            if self._is_reloadable:
                self._previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)
            elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                self._previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: object) -> None:
        self.numbers.append(number)
        if len(self.numbers) > 1:
            for one in self._previous:
                signal.signal(one, signal.SIG_DFL)
        self._loop.call_soon_threadsafe(self._end)

    def exit_code(self, cancelled: asyncio.CancelledError) -> int:
        """Return the exit code after a cancellation; raise it again if no signal was the cause."""
        if not self.numbers:
            raise cancelled
        return 0 if len(self.numbers) == 1 else 128 + self.numbers[1]

    def reload_by(self, reload: Callable[[], None]) -> None:
        """Call a function on SIGHUP; call it now if SIGHUP arrived during the start."""
        self._reload = reload
        if self._hung_up:
            reload()

    def _hang_up(self, *_: object) -> None:
        self._hung_up = True
        if self._reload is not None:
            self._loop.call_soon_threadsafe(self._reload)

    def obey(self, supervisor: "Connection") -> None:
        """Do what a supervisor tells over a pipe; stop gracefully when it has ended."""

        def hear() -> None:
            try:
                word = supervisor.recv()
            except (EOFError, OSError):
                self._loop.remove_reader(supervisor.fileno())
                logger.warning("the supervisor has ended: this process stops")
                word = "stop"
            if word == "reload":
                self._hang_up()
                return
            # This process may have got the same signals as the supervisor: they count once.
            for _ in range(len(self.numbers), 1 if word == "stop" else 2):
                self._handle(signal.SIGTERM, None)

        self._loop.add_reader(supervisor.fileno(), hear)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the supervisor blocked them

    def _end(self) -> None:
        self.stop.set()
        if self._task is not None and (len(self.numbers) > 1 or not self.started):
            self._task.cancel()


def announcement(
    settings: "ServiceSettings", url: str, source: str, made_key: str | None
) -> list[str]:
    """Return the lines to print: the URL, the API key, and two commands to try them."""
    file, known = settings.data_dir / "api-key", ""
    if source:  # clients read DISPATCH_API_KEY as the service does
        key = f"API key: from {source}"
        if source != "DISPATCH_API_KEY":
            key += "; set DISPATCH_API_KEY to it for clients"
    else:
        key, known = f"API key: from {file}", f" DISPATCH_API_KEY={key_command(file)}"
        # Only on a terminal: elsewhere the key would end up in logs.
        if made_key is not None and sys.stdout.isatty():
            key = f"API key (kept in {file}): {made_key}"
    parts = urlsplit(url)
    tried, option = url, ""
    if parts.hostname in {"0.0.0.0", "::"}:  # noqa: S104 (which is not listened on here)
        tried = f"{parts.scheme}://localhost:{parts.port}"
    elif parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        option = " --allow-plaintext"
    endpoint = os.environ.get("DISPATCH_ENDPOINT_URL", "").strip() or "http://127.0.0.1:8000"
    return [
        f"URL: {url}",
        key,
        "To try it, start an endpoint in another terminal: dispatch-grpc echo",
        f"and call it from a third: DISPATCH_API_URL={tried}{known} dispatch-grpc call{option} "
        f"{shlex.quote(endpoint)} echo --input '\"World\"' --wait",
    ]


def key_command(file: Path) -> str:
    """Return the words of a shell for the key in a file, from any folder."""
    return f"$(cat {shlex.quote(str(file.resolve()))})"


def how_ended(code: int) -> str:
    """Return how a process has ended, by its exit code, such as "by SIGKILL"."""
    if code < 0:
        with suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"with the exit code {code}"


def in_format(lines: Sequence[str], format: str) -> Sequence[str]:
    """Return lines to print as they are, or each as JSON, like the log."""
    if format == "text":
        return lines
    fields = {"level": "INFO", "logger": logger.name, "time": datetime.now(UTC).isoformat()}
    return [json.dumps({**fields, "message": line}) for line in lines]


def log(level: str, format: str) -> None:
    """Log to stderr."""
    handler = logging.StreamHandler()
    if format == "json":
        try:
            from pythonjsonlogger.json import JsonFormatter
        except ImportError as error:
            raise missing_extra(error, "the service", "embedded", OR_SERVICE) from error
        handler.name = JSON_LOG
        names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
        handler.setFormatter(
            JsonFormatter(
                "%(levelname)s %(name)s %(message)s", rename_fields=names, timestamp="time"
            )
        )
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # At the level debug, libraries log requests with their API keys: only our loggers use it.
    libraries = "info" if level.lower() == "debug" else level
    logging.basicConfig(level=libraries.upper(), handlers=[handler], force=True)
    logging.getLogger("dispatch_grpc").setLevel(level.upper())
    logging.captureWarnings(format == "json")  # so that these are lines of JSON, too
