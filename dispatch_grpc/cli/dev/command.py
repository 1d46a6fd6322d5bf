"""The command for development: a service, an endpoint that is reloaded, and its calls, in one."""

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import click

from dispatch_grpc import (
    AsyncClient,
    CallInfo,
    CallState,
    DispatchError,
    NotFoundError,
    Status,
)
from dispatch_grpc.calls import mask_url
from dispatch_grpc.cli.input import MistakeError, new_log_level_option
from dispatch_grpc.cli.output import colour_of, complain, print_lines, printable
from dispatch_grpc.cli.service_process import Signals, key_command, log, loop_factory
from dispatch_grpc.cli.tree import took
from dispatch_grpc.client.settings import resolve_endpoint_url
from dispatch_grpc.errors import missing_extra
from dispatch_grpc.text import shorten
from dispatch_grpc.transport import is_loopback

if TYPE_CHECKING:
    from dispatch_grpc.service import ServiceSettings

_SUFFIXES = (".py", ".go", ".ts", ".tsx", ".js", ".mjs", ".java", ".kt", ".rs", ".toml", ".env")
_IGNORED = {"__pycache__", "node_modules", "site-packages"}
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 5.0
_SHUTDOWN = timedelta(seconds=5)
_MOST_NEW, _MOST_OLDER = 500, 50  # calls, in one look
_OVERLAP = timedelta(seconds=2)
_ERROR_CHARACTERS = 200


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
Examples:
  dispatch-grpc dev -- dispatch-grpc run app:endpoint
  dispatch-grpc dev --watch src -- go run ./cmd/worker""",
)
@click.argument("command", metavar="-- COMMAND...", nargs=-1, required=True)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    default=7890,
    help="Port of the service; 0 chooses a free port (default: 7890).",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    default=".dispatch",
    help="Folder of the embedded database and the API key (default: .dispatch).",
)
@click.option(
    "--database",
    envvar="DISPATCH_DATABASE_URL",
    metavar="URL",
    help="URL of your own PostgreSQL (default: DISPATCH_DATABASE_URL, else an embedded one).",
)
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
    help="Folder of source files that start COMMAND again; repeatable (default: this folder).",
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

    COMMAND starts the endpoint. Its environment has the URL and the API key of the service, its
    own URL and address, and the verification key. It starts again when a source file changes.
    Each call is a line when it runs, fails an attempt, or finishes. Ctrl-C stops the service,
    then the endpoint.
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
    endpoint = _Process(command, variables, _Sources(folders))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_develop(settings, endpoint, url))


async def _develop(settings: "ServiceSettings", endpoint: "_Process", url: str) -> int:
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
                    await _first(signals.stop.wait(), endpoint.keep(), _Calls(client).show())
        except asyncio.CancelledError as cancelled:
            return signals.exit_code(cancelled)
    return 0


async def _first(*works: Any) -> None:
    """Do several things until one of them ends; an error of it is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# The endpoint


class _Process:
    """A process of the endpoint, which starts again when a source file changes.

    Attributes:
        command: What starts it.
        variables: What its environment has in addition.
    """

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str], sources: "_Sources"
    ) -> None:
        self.command = command
        self.variables = dict(variables)
        self._sources = sources
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def keep(self) -> None:
        """Run the process; start it again after each change."""
        while True:
            changed = asyncio.create_task(self._sources.changed())
            try:
                ended = await self._start()
                await asyncio.wait({changed, ended}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    self._end_the_rest()
                if not changed.done():
                    complain(
                        f"the endpoint ended {_how(ended.result())}; it starts again when a "
                        f"source file changes",
                        0,
                    )
                path = await changed
            finally:
                changed.cancel()
            complain(f"{path} has changed: the endpoint starts again", 0)
            await self._stop()

    async def _start(self) -> "asyncio.Task[int]":
        # A session of its own: Ctrl-C is for this program, which ends everything in order.
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            env={**os.environ, **self.variables},
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        return asyncio.create_task(self._process.wait())

    def _end_the_rest(self) -> None:
        """End what a process that has ended has left: later its id may be another's."""
        process, self._process = self._process, None
        if process is not None:
            _signal(process, "SIGKILL")

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _signal(process, "SIGTERM")
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
        finally:
            _signal(process, "SIGKILL")  # also what the process has started
            await process.wait()


def _signal(process: asyncio.subprocess.Process, name: str) -> None:
    """Send a signal to a process and to those that it has started."""
    with suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, getattr(signal, name))


def _how(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"with the exit code {code}"


class _Sources:
    """The source files in folders: they are looked at, which needs no library, twice a second."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._seen = self._look()

    async def changed(self) -> Path:
        """Wait until files have changed, and rest; return one of them."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            before, self._seen = self._seen, await asyncio.to_thread(self._look)
            if self._seen == before:
                continue
            changed = {path for path, _ in self._seen.items() ^ before.items()}
            while (found := await asyncio.to_thread(self._look)) != self._seen:
                self._seen = found
                await asyncio.sleep(_LOOK_SECONDS)
            return min(changed)

    def _look(self) -> dict[Path, tuple[int, int]]:
        found = {}
        for folder in self._folders:
            for root, folders, files in os.walk(folder):
                folders[:] = [name for name in folders if self._is_own(Path(root, name))]
                for path in (Path(root, name) for name in files if name.endswith(_SUFFIXES)):
                    with suppress(OSError):  # it has just been deleted
                        status = path.stat()
                        found[path] = (status.st_mtime_ns, status.st_size)
        return found

    @staticmethod
    def _is_own(folder: Path) -> bool:
        return not (
            folder.name.startswith(".")
            or folder.name in _IGNORED
            or (folder / "pyvenv.cfg").exists()
        )


# The calls


class _Calls:
    """The calls that are recorded from now on: a line for each change of their states."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._since = datetime.now(UTC)
        # What was printed of the calls that are new or have not finished, by their ids.
        self._printed: dict[str, object] = {}

    async def show(self) -> None:
        """Print the lines, until it is cancelled."""
        while True:
            with suppress(DispatchError):  # the service is busy: the next look shows it
                await self._look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        calls = await self._client.list(created_after=self._since, limit=_MOST_NEW)
        if len(calls) == _MOST_NEW:
            print_lines(["… and more calls: see 'dispatch-grpc list'"])
        # Calls may become visible a little later than others that were recorded after them.
        times = [call.creation_time - _OVERLAP for call in calls if call.creation_time]
        self._since = max([self._since, *times])
        listed = {call.dispatch_id for call in calls}
        older = [id for id in self._printed if id not in listed][:_MOST_OLDER]
        calls += filter(None, await asyncio.gather(*map(self._get, older)))
        for call in reversed(calls):
            printed, state = self._printed.pop(call.dispatch_id, None), _state(call)
            if state != printed:
                print_lines([await self._line(call)])
            if call.dispatch_id in listed or call.state is not CallState.FINISHED:
                self._printed[call.dispatch_id] = state  # at the end: others have their turn

    async def _get(self, id: str) -> CallInfo | None:
        try:
            return await self._client.get(id)
        except NotFoundError:  # it was purged
            del self._printed[id]
            return None

    async def _line(self, call: CallInfo) -> str:
        now, error, word = datetime.now(UTC), call.last_error, str(call.state)
        if call.state is CallState.FINISHED:
            word, error = call.status.name.lower(), None
            if call.status is not Status.OK:
                error = (await self._client.get(call.dispatch_id)).error  # lists leave it out
        text = ""
        if error is not None:
            text = "  " + printable(shorten(f"{error.type}: {error.message}", _ERROR_CHARACTERS))
        return (
            f"{now.astimezone():%H:%M:%S}  {click.style(word, colour_of(call))}  "
            f"{printable(call.function)}  {took(call, now)}  {call.dispatch_id}{text}"
        )


def _state(call: CallInfo) -> object:
    """Return what a line is printed for; None for a call that waits for its first attempt."""
    if call.state is CallState.QUEUED and not call.last_error:
        return None
    return call.state, call.last_error and (call.runs, call.last_error.message)
