"""The command line: `dispatch-grpc`, or `python -m dispatch_grpc`.

====  ==========================================================================
code  meaning
====  ==========================================================================
0     done
1     refused by the service, the network or a bound of sizes; or something is
      missing here: an extra, room for the output
2     a mistake in what was given, found before anything was sent: an option, a
      setting, JSON, a call, the module to serve
130   interrupted by Ctrl-C (which ends `run` with 0: that is how it is stopped)
141   done, but nobody reads the output any more
====  ==========================================================================

A failure is one line on stderr. The exception: a module that fails when `run` imports it also
shows its traceback.
"""

import asyncio
import contextlib
import importlib
import json
import logging
import math
import os
import re
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, BinaryIO, TypeVar

import click

from dispatch_grpc import (
    AsyncBatch,
    AsyncClient,
    Call,
    ConfigurationError,
    DeadlineExceededError,
    DispatchError,
    InvalidCallError,
    MarshalError,
    UnavailableError,
    new_call,
)

_Command = TypeVar("_Command", bound=Callable[..., Any])

_DURATION = "".join(f"(?:([0-9]{{1,15}}){unit})?" for unit in ("d", "h", "m", "s", "ms"))
_MAX_TIMEOUT = timedelta(days=365)
_FIELDS = ("endpoint", "function", "input", "expiration", "version")
_PROGRESS_STEP = 256 * 1024

# What errors of the library name as arguments of Python, a person here knows as options.
_OPTIONS = {
    "pass api_key=": "pass --api-key",
    "from api_key=": "from --api-key",
    "from api_url=": "from --api-url",
    "pass allow_plaintext=True": "pass --allow-plaintext",
    "by max_message_bytes=": "by --max-request-bytes",
    "idempotency_key:": "--idempotency-key:",
}


def main(args: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        args: The arguments; None takes those of the process.

    Returns:
        The exit code: see this module's table.
    """
    try:
        return commands.main(args, prog_name="dispatch-grpc", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f" (see '{context.command_path} --help')" if context else ""
        return _complain(error.format_message() + hint, error.exit_code)
    except (ConfigurationError, InvalidCallError) as error:
        return _complain(str(error), 2)
    except (DeadlineExceededError, UnavailableError) as error:
        return _complain(
            f"{error}; whether anything was recorded is not known: to try again without "
            f"recording it twice, add --idempotency-key {error.idempotency_key}",
            1,
        )
    except (DispatchError, OSError, ImportError) as error:  # ImportError: an extra is missing
        return _complain(str(error), 1)


def _complain(text: str, code: int) -> int:
    """Say in one line what is wrong; what a service answered may hold any characters."""
    for argument, option in _OPTIONS.items():
        text = text.replace(argument, option)
    line = "".join(c if c.isprintable() else " " for c in text)
    click.echo(f"dispatch-grpc: {line}", err=True)
    return code


def _print(lines: Sequence[str]) -> None:
    try:
        click.echo("\n".join(lines))
    except OSError as error:
        # Python would try to write once more at its exit, and complain in its own way.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(141) from error
        raise click.ClickException(f"done, but the output cannot be written: {error}") from error


class _MistakeError(click.ClickException):
    """A mistake that `--help` does not help with."""

    exit_code = 2


def _duration(text: str) -> timedelta:
    match = re.fullmatch(_DURATION, text)
    if not text or match is None:
        raise click.BadParameter(
            f"a duration is required, of whole numbers with the units d, h, m, s and ms in this "
            f"order, such as 30s, 1h30m or 250ms; got {text!r:.80}"
        )
    days, hours, minutes, seconds, milliseconds = (int(number or 0) for number in match.groups())
    try:
        return timedelta(days, seconds, 0, milliseconds, minutes, hours)
    except OverflowError as error:
        raise click.BadParameter(f"at most 999999999d are possible; got {text!r:.80}") from error


def _duration_option(_: click.Context, option: click.Parameter, text: str | None) -> Any:
    if text is None:
        return None
    duration = _duration(text)
    if option.name == "timeout" and not timedelta(0) < duration <= _MAX_TIMEOUT:
        raise click.BadParameter(
            f"more than zero and at most {_MAX_TIMEOUT.days}d is required; got {text!r:.80}"
        )
    return duration


def _parse(data: bytes, *, one_line: bool = False) -> Any:
    """Parse JSON (RFC 8259); raises ValueError, also for what Python would change or drop."""
    try:
        return json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason} at byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        place = (
            f"column {error.colno}" if one_line else f"line {error.lineno}, column {error.colno}"
        )
        raise ValueError(f"not valid JSON: {error.msg} ({place})") from error
    except RecursionError as error:
        raise ValueError("lists and objects are nested too deep") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r:.80} is twice in one object")
        found[key] = value
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"not valid JSON: {name} is no number of JSON")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.80} is larger than a double can be")
    return number


def _read_call(line: bytes) -> Call:
    """Make the call that a line of a batch file describes; raises ValueError."""
    fields = _parse(line.rstrip(), one_line=True)
    if not isinstance(fields, dict):
        raise InvalidCallError(f"an object is required, {{…}}; got {_given(fields)}")
    for key, value in fields.items():
        if key not in _FIELDS:
            raise InvalidCallError(f"unknown key {key!r:.80}; the keys are {', '.join(_FIELDS)}")
        if key != "input" and not isinstance(value, str):
            raise InvalidCallError(f"{key}: a string is required; got {_given(value)}")
    for key in ("endpoint", "function"):
        if key not in fields:
            raise InvalidCallError(f"{key}: is required; it is missing")
    try:
        return new_call(
            fields["endpoint"],
            fields["function"],
            fields.get("input"),
            expiration=_duration(fields["expiration"]) if "expiration" in fields else None,
            version=fields.get("version", ""),
        )
    except click.BadParameter as error:
        raise InvalidCallError(f"expiration: {error.message}") from error
    except MarshalError as error:
        raise InvalidCallError(f"input: {error}") from error


def _given(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return f"{json.dumps(value):.80}"


class _Progress:
    """A line on stderr that is written over and over, and removed in the end."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._width = 0

    def show(self, text: str) -> None:
        if self._shown:
            click.echo(f"\r{text.ljust(self._width)}", nl=False, err=True)
            self._width = len(text)

    def close(self) -> None:
        if self._width:
            click.echo(f"\r{' ' * self._width}\r", nl=False, err=True)


def _lines(file: BinaryIO, progress: _Progress) -> Iterator[tuple[int, bytes]]:
    """Read a file's lines that are not blank, with their numbers."""
    status = os.fstat(file.fileno())
    total = status.st_size if stat.S_ISREG(status.st_mode) else 0
    read = reported = 0
    for number, line in enumerate(file, 1):
        read += len(line)
        if read - reported >= _PROGRESS_STEP:
            reported = read
            part = f"{min(100, read * 100 // total)} %" if total else f"{read / 1e6:.1f} MB"
            progress.show(f"reading: {number:,} lines, {part}")
        if line.strip():
            yield number, line


def _client(settings: dict[str, Any]) -> AsyncClient:
    """Make a client by the options that were given; the others are its own business."""
    names = {"max_request_bytes": "max_message_bytes"}
    return AsyncClient(
        **{names.get(name, name): value for name, value in settings.items() if value}
    )


def _dispatch(client: AsyncClient, batch: AsyncBatch, key: str | None) -> list[str]:
    """Dispatch a batch in an event loop, where Ctrl-C interrupts every transport at once."""

    async def dispatch() -> list[str]:
        async with client:
            return await batch.dispatch(idempotency_key=key)

    return asyncio.run(dispatch())


def _print_ids(ids: Sequence[str], *, as_json: bool) -> None:
    _print([json.dumps({"dispatch_id": one}) for one in ids] if as_json else ids)


def _client_options(command: _Command) -> _Command:
    """Add the options that `call` and `batch` have in common."""
    options = [
        click.option(
            "--api-key",
            metavar="KEY",
            help="API key. Better set DISPATCH_API_KEY: other users of this machine can see a "
            "key on the command line.",
        ),
        click.option(
            "--api-url",
            metavar="URL",
            help="The service; else DISPATCH_API_URL, else https://api.dispatch.run.",
        ),
        click.option(
            "--protocol",
            type=click.Choice(["grpc", "connect", "connect+json"]),
            metavar="NAME",
            help="grpc, connect or connect+json; else DISPATCH_PROTOCOL, else grpc.",
        ),
        click.option(
            "--allow-plaintext",
            is_flag=True,
            help="Send the key in clear text if the service is http:// on another machine.",
        ),
        click.option(
            "--timeout",
            metavar="DURATION",
            callback=_duration_option,
            help="Time for the request and its retries; else 10s.",
        ),
        click.option(
            "--idempotency-key",
            metavar="KEY",
            help="Requests with the same key are recorded once; else a new key.",
        ),
        click.option(
            "--max-request-bytes",
            type=click.IntRange(1, 2**30 - 1),
            metavar="N",
            help="Largest request; else 4194304, which services take unless set otherwise.",
        ),
        click.option("--json", "as_json", is_flag=True, help='Print {"dispatch_id": "…"}.'),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Exit codes:
  0    done
  1    refused by the service or the network, or something is missing here
  2    a mistake in what was given; nothing was sent
  130  interrupted by Ctrl-C
  141  done, but nobody reads the output
A failure is one line on stderr.""",
)
@click.version_option(package_name="dispatch-grpc", message="%(prog)s %(version)s")
def commands() -> None:
    """Dispatch calls to a Dispatch service, and serve their functions.

    A dispatched call is recorded by the service, which runs it asynchronously and durably.
    The API key is taken from the environment variable DISPATCH_API_KEY.
    """


@commands.command(
    epilog="""\b
Example:
  dispatch-grpc call https://example.com greet --input '{"name": "Ada"}'"""
)
@click.argument("url")
@click.argument("function")
@click.option("--input", "text", metavar="JSON", help="Input: any JSON.")
@click.option(
    "--input-file",
    "file",
    type=click.File("rb"),
    metavar="FILE",
    help="Input from a file of JSON; - is stdin.",
)
@click.option(
    "--expiration",
    metavar="DURATION",
    callback=_duration_option,
    help="Longest time that the function may take; else the service decides.",
)
@click.option("--version", default="", help="Version of the application that the call is for.")
@_client_options
def call(
    *,
    url: str,
    function: str,
    text: str | None,
    file: BinaryIO | None,
    expiration: timedelta | None,
    version: str,
    idempotency_key: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Dispatch one call, and print its id.

    FUNCTION is called at the endpoint URL: http://, https://, bridge:// or arn:aws:lambda.
    Its input is null unless given. DURATION is such as 30s, 5m, 1h30m, 250ms or 2d.
    """
    if text is not None and file is not None:
        raise click.UsageError("--input and --input-file exclude each other; got both.")
    input = None
    try:
        if text is not None:
            input = _parse(text.encode("utf-8", "surrogateescape"))
        elif file is not None:
            input = _parse(file.read())
        new = new_call(url, function, input, expiration=expiration, version=version)
    except InvalidCallError:
        raise
    except ValueError as error:
        source = "--input" if file is None else f"--input-file {file.name}"
        raise _MistakeError(f"{source}: {error}") from error
    client = _client(settings)
    batch = client.batch()
    batch.add(new)
    _print_ids(_dispatch(client, batch, idempotency_key), as_json=as_json)


@commands.command(
    epilog="""\b
A call, which has to be on one line; only endpoint and function are required:
  {"endpoint": "https://example.com", "function": "greet",
   "input": {"name": "Ada"}, "expiration": "30s", "version": "1.2"}"""
)
@click.argument("file", type=click.File("rb"))
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Show progress on stderr; else only if that is a terminal.",
)
@_client_options
def batch(
    *,
    file: BinaryIO,
    progress: bool | None,
    idempotency_key: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Dispatch the calls in FILE together: all or none.

    Prints their ids, one on each line, in the order of the calls. FILE is JSON Lines: each
    line is a call, blank lines are skipped; - is stdin. If any line is not valid, nothing is
    sent. DURATION is such as 30s, 5m, 1h30m, 250ms or 2d.
    """
    client = _client(settings)
    calls = client.batch()
    shown = bool(sys.stderr and sys.stderr.isatty()) if progress is None else progress
    with contextlib.closing(_Progress(shown=shown)) as line:
        for number, data in _lines(file, line):
            try:
                calls.add(_read_call(data))
            except ValueError as error:
                raise _MistakeError(f"{file.name}:{number}: {error}") from error
        if calls:
            line.show(f"sending {len(calls):,} calls")
        ids = _dispatch(client, calls, idempotency_key)
    if ids:
        _print_ids(ids, as_json=as_json)
    else:
        _complain(f"{file.name} holds no calls; nothing was sent", 0)


@commands.command(
    epilog="""\b
Example, for an app.py with endpoint = Endpoint("https://example.com"):
  dispatch-grpc run app:endpoint --address 0.0.0.0:8000"""
)
@click.argument("target", metavar="MODULE:ENDPOINT")
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Where to listen; else DISPATCH_ENDPOINT_ADDR, else 127.0.0.1:8000.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    metavar="LEVEL",
    default="info",
    help="What to log on stderr: debug, info, warning or error; else info.",
)
def run(*, target: str, address: str | None, log_level: str) -> None:
    """Serve an endpoint until Ctrl-C or SIGTERM.

    MODULE is imported, from the current directory first; ENDPOINT is the name of an Endpoint
    in it, dotted if need be.
    """
    from dispatch_grpc.endpoint import Endpoint

    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    endpoint = _load(target)
    if not isinstance(endpoint, Endpoint):
        raise _MistakeError(
            f"{target}: a dispatch_grpc.endpoint.Endpoint is required; "
            f"got {type(endpoint).__name__}"
        )
    endpoint.serve(address)


def _load(target: str) -> object:
    """Import what MODULE:ENDPOINT names."""
    name, _, path = target.partition(":")
    if not all(part.isidentifier() for part in f"{name}.{path}".split(".")):
        raise click.UsageError(
            f"MODULE:ENDPOINT is required, such as app:endpoint; got {target!r}."
        )
    sys.path.insert(0, os.getcwd())
    try:
        found: object = importlib.import_module(name)
    except ConfigurationError:  # says by itself which setting is missing
        raise
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            raise _MistakeError(f"{target}: there is no module {missing!r}") from error
        _show_traceback(error)
        raise _MistakeError(f"{target}: importing {name} raised {type(error).__name__}") from error
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise _MistakeError(f"{target}: there is no {attribute!r} in {name}") from error
        name = f"{name}.{attribute}"
    return found


def _show_traceback(error: Exception) -> None:
    """Show the traceback of a module that cannot be imported, without our own part of it."""
    first = error.__traceback__
    ours = {"importlib", __package__}
    while first and first.tb_frame.f_globals.get("__name__", "").partition(".")[0] in ours:
        first = first.tb_next
    traceback.print_exception(type(error), error, first)


@commands.command()
def keypair() -> None:
    """Print a new pair of keys, to sign and to verify requests.

    Two lines for a shell or an .env file. DISPATCH_SIGNING_KEY is secret, for the service that
    sends requests to endpoints; DISPATCH_VERIFICATION_KEY is for the endpoints.
    """
    from dispatch_grpc.signature import new_key_pair

    pair = new_key_pair()
    click.echo(
        "# DISPATCH_SIGNING_KEY is secret, for the service only; "
        "DISPATCH_VERIFICATION_KEY is for its endpoints",
        err=True,
    )
    _print(
        [
            f"DISPATCH_SIGNING_KEY={pair.signing_key}",
            f"DISPATCH_VERIFICATION_KEY={pair.verification_key}",
        ]
    )
