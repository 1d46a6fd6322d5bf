"""The commands that serve the functions of an endpoint: run, echo."""

import importlib
import logging
import os
import sys
import traceback
from typing import Any

import click

from dispatch_grpc import ConfigurationError
from dispatch_grpc.cli.input import MistakeError
from dispatch_grpc.cli.options import log_level_option
from dispatch_grpc.client.settings import resolve_address

_address_option = click.option(
    "--address",
    metavar="HOST:PORT",
    help="Address to listen on (default: DISPATCH_ENDPOINT_ADDR, else 127.0.0.1:8000).",
)


@click.command(
    epilog="""\b
Example, if app.py contains endpoint = Endpoint("https://example.com"):
  dispatch-grpc run app:endpoint --address 0.0.0.0:8000"""
)
@click.argument("target", metavar="MODULE:ENDPOINT")
@_address_option
@log_level_option
def run(*, target: str, address: str | None, log_level: str) -> None:
    """Serve the functions of an endpoint until Ctrl-C or SIGTERM.

    ENDPOINT is the name of an Endpoint in MODULE, such as app:endpoint or app:web.endpoint.
    Modules of the current directory come first.
    """
    from dispatch_grpc.endpoint.endpoint import Endpoint

    _log(log_level)
    endpoint = _load(target)
    if not isinstance(endpoint, Endpoint):
        raise MistakeError(
            f"{target}: an Endpoint (dispatch_grpc.Endpoint) is required; "
            f"got {type(endpoint).__name__}"
        )
    endpoint.serve(address)


@click.command()
@_address_option
@log_level_option
def echo(*, address: str | None, log_level: str) -> None:
    """Serve the function 'echo', to try a service.

    The function returns its input. Its endpoint has the URL DISPATCH_ENDPOINT_URL, or else that
    of the address, and runs until Ctrl-C or SIGTERM.
    """
    from dispatch_grpc.endpoint.endpoint import Endpoint

    _log(log_level)
    host, port = resolve_address(address, os.environ)
    own = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    endpoint = Endpoint(os.environ.get("DISPATCH_ENDPOINT_URL", "").strip() or own)

    @endpoint.function(name="echo")
    def returned(value: Any = None) -> Any:
        return value

    endpoint.serve(address)


class _CallFormatter(logging.Formatter):
    """Formats records, those of a call with its id and attempt."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (its name)
        """Return the line of a record, before its traceback."""
        line, fields = super().formatMessage(record), record.__dict__
        if not fields["dispatch_id"]:
            return line
        return f"{line} [{fields['dispatch_id']}, attempt {fields['attempt']}]"


def _log(level: str) -> None:
    from dispatch_grpc.endpoint import CallLogFilter

    handler = logging.StreamHandler()
    handler.addFilter(CallLogFilter())
    handler.setFormatter(_CallFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def _load(target: str) -> object:
    """Import the object at MODULE:ENDPOINT."""
    name, _, path = target.partition(":")
    if not all(part.isidentifier() for part in f"{name}.{path}".split(".")):
        raise click.UsageError(f"MODULE:ENDPOINT is required, such as app:endpoint; got {target!r}")
    sys.path.insert(0, os.getcwd())
    try:
        found: object = importlib.import_module(name)
    except ConfigurationError:  # its message names the setting
        raise
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            raise MistakeError(f"{target}: there is no module {missing!r}") from error
        _show_traceback(error)
        raise MistakeError(f"{target}: importing {name} raised {type(error).__name__}") from error
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise MistakeError(f"{target}: {name} has no {attribute!r}") from error
        name = f"{name}.{attribute}"
    return found


def _show_traceback(error: Exception) -> None:
    """Print the traceback of a failed import, without this module's part of it."""
    first = error.__traceback__
    ours = {"importlib", "dispatch_grpc"}
    while first and first.tb_frame.f_globals.get("__name__", "").partition(".")[0] in ours:
        first = first.tb_next
    try:
        lines = traceback.format_exception(type(error), error, first)
    except Exception:  # noqa: BLE001 (3.15 looks for a similar module, which may fail as this did)
        lines = ["Traceback (most recent call last):\n", *traceback.format_tb(first)]
        lines.append(f"{type(error).__name__}: {error}\n")
    sys.stderr.write("".join(lines))
