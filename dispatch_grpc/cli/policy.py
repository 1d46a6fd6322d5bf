"""The commands for policies: how calls of a host or a function are run."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from dispatch_grpc import new_call
from dispatch_grpc.cli.input import (
    MistakeError,
    add_options,
    duration_option,
    json_option,
)
from dispatch_grpc.cli.output import complain, print_lines
from dispatch_grpc.client.as_json import duration_text
from dispatch_grpc.errors import missing_extra

if TYPE_CHECKING:
    from dispatch_grpc.service.store_policies import Policy

_MAX_DAYS = 366


def _host(_: click.Context, __: click.Parameter, text: str) -> str:
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        fits = fits and not (parts.path.strip("/") or parts.query or parts.username)
        host = f"{parts.scheme}://{parts.netloc.lower()}"
    except ValueError:
        fits, host = False, ""
    if not fits:
        raise click.BadParameter(
            f"a scheme, host and port such as https://example.com:8443 are required; got {text!r}"
        )
    return host


def _function(_: click.Context, __: click.Parameter, text: str) -> str:
    if text:
        new_call("http://localhost", text)  # raises for what is no name of a function
    return text


_database_options = add_options(
    click.option(
        "--database",
        envvar="DISPATCH_DATABASE_URL",
        metavar="URL",
        help="URL of the PostgreSQL (default: DISPATCH_DATABASE_URL, else the embedded one).",
    ),
    click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        default=".dispatch",
        help="Folder of the embedded database (default: .dispatch).",
    ),
)
_scope_options = add_options(
    _database_options,
    click.option(
        "--host",
        metavar="URL",
        default="",
        callback=_host,
        help="Scheme, host and port of endpoints (default: any).",
    ),
    click.option(
        "--function",
        metavar="NAME",
        default="",
        callback=_function,
        help="Name of a function (default: any).",
    ),
)


@click.group()
def policy() -> None:
    """Set how the calls of a host or a function run.

    For a call, each setting comes from the most specific policy that sets it: that of the host
    and the function, of the host, of the function, of everything. All processes of the service
    learn of changes within seconds; attempts that have begun go on as they are.
    """


@policy.command("list")
@json_option("Print each policy as a JSON object.")
@_database_options
def list_policies(*, as_json: bool, database: str | None, data_dir: Path) -> None:
    """List the policies."""
    from dispatch_grpc.service.store_policies import read

    found = _with_connection(database, data_dir, read)
    if not found:
        complain("no policies found", 0)
    else:
        print_lines([_json(one) if as_json else _text(one) for one in found])


@policy.command("set")
@click.option(
    "--run-timeout",
    metavar="DURATION",
    callback=duration_option(_MAX_DAYS),
    help="Longest time of one attempt of a call, such as 30s or 20m.",
)
@_scope_options
def set_policy(
    *, host: str, function: str, database: str | None, data_dir: Path, **settings: Any
) -> None:
    """Set settings of a policy; the others stay as they are."""
    given = {name: value for name, value in settings.items() if value is not None}
    if not given:
        raise MistakeError("nothing to set: give --run-timeout")
    print_lines([_text(_change(database, data_dir, host, function, given))])


@policy.command("unset")
@click.option("--run-timeout", is_flag=True, help="Unset the longest time of an attempt.")
@_scope_options
def unset_policy(
    *, host: str, function: str, database: str | None, data_dir: Path, **settings: bool
) -> None:
    """Unset settings of a policy: all if none is given."""
    from dispatch_grpc.service.store_policies import SETTINGS

    names = [name for name, is_given in settings.items() if is_given] or SETTINGS
    left = _change(database, data_dir, host, function, dict.fromkeys(names))
    print_lines(["no policy is left for it" if left is None else _text(left)])


def _change(
    database: str | None, data_dir: Path, host: str, function: str, settings: dict[str, Any]
) -> Any:
    from dispatch_grpc.service.store_policies import change

    async def act(connection: Any) -> "Policy | None":
        async with connection.transaction():
            return await change(connection, host, function, settings)

    return _with_connection(database, data_dir, act)


def _with_connection(database: str | None, data_dir: Path, act: Callable[[Any], Any]) -> Any:
    try:
        from dispatch_grpc.service.database import Database
    except ImportError as error:
        raise missing_extra(error, "policies", "service") from error
    url = (database or "").strip() or None
    if url is None and not data_dir.exists():
        raise MistakeError(
            f"--data-dir {data_dir}: there is no embedded database; name the folder that "
            f"'dispatch-grpc serve' uses, or give --database"
        )

    async def main() -> Any:
        opened = Database(url, data_dir)
        await opened.open()
        try:
            async with opened.relaxed.acquire() as connection:
                return await act(connection)
        finally:
            await opened.close()

    return asyncio.run(main())


def _json(one: "Policy") -> str:
    values = asdict(one)
    if one.run_timeout is not None:
        values["run_timeout"] = duration_text(one.run_timeout)
    return json.dumps({name: value for name, value in values.items() if value not in {None, ""}})


def _text(one: "Policy") -> str:
    scope = [f"{name} {value}" for name in ("host", "function") if (value := getattr(one, name))]
    return f"{' '.join(scope) or 'everything'}: {', '.join(_settings(one))}"


def _settings(one: "Policy") -> list[str]:
    found = []
    if one.run_timeout is not None:
        found.append(f"run timeout {_seconds(one.run_timeout)}")
    return found


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():g}s"
