"""The commands for policies: how calls of a host or a function are run."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispatch_grpc.cli.input import MistakeError
from dispatch_grpc.cli.options import add_options, callback, json_option, new_database_options
from dispatch_grpc.cli.output import complain, print_lines
from dispatch_grpc.cli.policy_fields import (
    FIELDS,
    json_of,
    read_file,
    read_function,
    read_host,
    shown,
    shown_scope,
)
from dispatch_grpc.errors import missing_extra

if TYPE_CHECKING:
    from dispatch_grpc.service.policy_rules import Policy

_database_options = new_database_options("the embedded one", "Folder of the embedded database")
_scope_options = add_options(
    _database_options,
    click.option(
        "--host",
        metavar="URL",
        default="",
        callback=callback(read_host),
        help="Scheme, host and port of endpoints (default: any).",
    ),
    click.option(
        "--function",
        metavar="NAME",
        default="",
        callback=callback(read_function),
        help="Name of a function (default: any).",
    ),
)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


_setting_options = add_options(
    *(
        click.option(
            _option(name), metavar=field.metavar, callback=callback(field.read), help=field.help
        )
        for name, field in FIELDS.items()
    )
)
_unset_options = add_options(
    *(click.option(_option(name), is_flag=True, help=f"Unset {_option(name)}.") for name in FIELDS)
)


@click.group()
def policy() -> None:
    """Set how the calls of a host or a function run.

    --concurrency and --rate hold for all calls of the host and the function together, and each such
    policy holds. Of the other settings, each comes from the most specific policy that sets it: that
    of the host and the function, of the host, of the function, of everything. All processes of the
    service learn of changes within seconds; attempts that have begun go on as they are.
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
        print_lines([_json(one) if as_json else shown(one) for one in found])


@policy.command("set")
@_setting_options
@_scope_options
def set_policy(
    *, host: str, function: str, database: str | None, data_dir: Path, **settings: Any
) -> None:
    """Set settings of a policy; the others stay as they are."""
    given = {name: value for name, value in settings.items() if value is not None}
    if not given:
        options = ", ".join(_option(name) for name in FIELDS)
        raise MistakeError(f"nothing to set: give one of {options}")
    print_lines([shown(_change(database, data_dir, host, function, given))])


@policy.command("unset")
@_unset_options
@_scope_options
def unset_policy(
    *, host: str, function: str, database: str | None, data_dir: Path, **settings: bool
) -> None:
    """Unset settings of a policy, or all of them if none is named."""
    names: Sequence[str] = [name for name, is_given in settings.items() if is_given] or [*FIELDS]
    left = _change(database, data_dir, host, function, dict.fromkeys(names))
    print_lines(["no policy is left for it" if left is None else shown(left)])


@policy.command(
    "apply",
    epilog="""\b
Example of a file:
  [[policy]]
  function = "charge"
  concurrency = 10
  run_timeout = "30s"
""",
)
@click.argument(
    "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--dry-run", is_flag=True, help="Print the changes, and change nothing.")
@_database_options
def apply_policies(*, file: Path, dry_run: bool, database: str | None, data_dir: Path) -> None:
    """Replace all policies by those of a TOML file.

    The file has a table [[policy]] for each policy, with host, function and settings, whose names
    are those of the options of 'set', with underscores. All of it is applied, or nothing.
    """
    policies = read_file(file)

    async def act(connection: Any) -> Any:
        from dispatch_grpc.service.policy_rules import Policy
        from dispatch_grpc.service.store_policies import replace

        transaction = connection.transaction()
        await transaction.start()
        try:
            changed = await replace(connection, [Policy(**fields) for fields in policies])
        except BaseException:
            await transaction.rollback()
            raise
        await (transaction.rollback() if dry_run else transaction.commit())
        return changed

    changed: Sequence[Any] = _with_connection(database, data_dir, act)
    if not changed:
        complain("the policies are those of the file already", 0)
        return
    prefix = "would be " if dry_run else ""
    print_lines(
        [
            f"{prefix}removed: {shown_scope(*scope)}"
            if one is None
            else f"{prefix}set: {shown(one)}"
            for scope, one in changed
        ]
    )


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
    return json.dumps(json_of(one))
