"""Options that several commands have, and options by what their values are."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from dispatch_grpc.calls import labels_problem
from dispatch_grpc.cli.input import duration, instant, since
from dispatch_grpc.text import quoted

_Command = TypeVar("_Command", bound=Callable[..., Any])


def add_options(*added: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """Return a decorator that adds options to a command; its help shows them in this order."""

    def add(command: _Command) -> _Command:
        for option in reversed(added):
            command = option(command)
        return command

    return add


def json_option(help: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds the option to print JSON."""
    return click.option("--json", "as_json", is_flag=True, help=help)


def new_log_level_option(default: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds the option for the level of the log."""
    return click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
        metavar="LEVEL",
        default=default,
        help=f"Level of the log on stderr: debug, info, warning or error (default: {default}).",
    )


def new_database_options(other: str, data_dir: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds the options for a database.

    Args:
        other: The database that is used without a URL.
        data_dir: Help of the option for the folder of the embedded database.
    """
    return add_options(
        click.option(
            "--data-dir",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            default=".dispatch",
            help=f"{data_dir} (default: .dispatch).",
        ),
        click.option(
            "--database",
            envvar="DISPATCH_DATABASE_URL",
            metavar="URL",
            help=f"URL of your own PostgreSQL (default: DISPATCH_DATABASE_URL, else {other}).",
        ),
    )


log_level_option: Callable[[Any], Any] = new_log_level_option("info")
service_options: Callable[[Any], Any] = add_options(
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        metavar="PORT",
        default=7890,
        help="Port of the service; 0 chooses a free port (default: 7890).",
    ),
    new_database_options(
        "an embedded one", "Folder of the embedded database and the generated API key"
    ),
)
input_options: Callable[[Any], Any] = add_options(
    click.option("--input", "text", metavar="JSON", help="Input of the function (default: null)."),
    click.option(
        "--input-file",
        "file",
        type=click.File("rb"),
        metavar="FILE",
        help="File with the input as JSON; - is stdin.",
    ),
)


# By their values


def callback(read: Callable[[Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """Make a callback that reads an option if it is given."""
    return lambda _, __, value: None if value is None else read(value)


def duration_option(
    name: str, help: str, *, max_days: int | None = None, default: str | None = None
) -> Callable[[_Command], _Command]:
    """Return a decorator that adds an option for a duration.

    Args:
        name: Name of the option.
        help: Its help.
        max_days: Upper limit; with it, zero is not allowed.
        default: Its value if it is not given.
    """

    def read(text: str) -> timedelta:
        found = duration(text)
        if max_days is not None and not timedelta(0) < found <= timedelta(max_days):
            raise click.BadParameter(
                f"a duration above zero and of at most {max_days}d is required; got {quoted(text)}"
            )
        return found

    return click.option(
        name, metavar="DURATION", default=default, callback=callback(read), help=help
    )


def time_option(name: str, help: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds an option for a time."""
    return click.option(name, metavar="TIME", callback=callback(instant), help=help)


def since_option(name: str, help: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds an option for a time, or a duration before now."""
    return click.option(name, metavar="TIME", callback=callback(since), help=help)


created_since_option: Callable[[Any], Any] = since_option(
    "--since",
    "Only calls recorded since this time (ISO 8601), or within a duration such as 1h.",
)


def label_option(help: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds the option for labels."""
    return click.option(
        "--label", "labels", metavar="KEY=VALUE", multiple=True, callback=_labels, help=help
    )


def _labels(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"KEY=VALUE is required; got {quoted(text)}")
        if key in found:
            raise click.BadParameter(f"the key {quoted(key)} is given twice")
        found[key] = value
    if problem := labels_problem(found):
        raise click.BadParameter(problem.removeprefix("labels: "))
    return found or None
