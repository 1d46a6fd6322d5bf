"""The settings of policies as people write them: as options, in a TOML file, in a list.

A file has a table `[[policy]]` for each policy:

    [[policy]]
    function = "charge"
    concurrency = 10
    run_timeout = "30s"
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from dispatch_grpc import new_call
from dispatch_grpc.cli.input import MistakeError, duration
from dispatch_grpc.client.as_json import duration_text
from dispatch_grpc.errors import InvalidCallError
from dispatch_grpc.text import quoted

if TYPE_CHECKING:
    from dispatch_grpc.service.policy_rules import Policy

_MAX_DAYS = 366


@dataclass(frozen=True, slots=True)
class Field:
    """A setting.

    Attributes:
        help: What it sets.
        metavar: Placeholder of its value.
        read: Makes a value of what a file holds, or of the text of an option; raises
            click.BadParameter with what is required.
        unit: What follows the value in a list.
    """

    help: str
    metavar: str
    read: Callable[[Any], Any]
    unit: str = ""


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        try:
            found = int(value) if isinstance(value, str) else value
        except ValueError:
            found = None
        if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
            raise click.BadParameter(
                f"a whole number from {low} to {high} is required; got {quoted(value)}"
            )
        return found

    return read


def _number(low: float, high: int) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        try:
            found = float(value)
        except (ValueError, TypeError, OverflowError):
            found = -1
        if isinstance(value, bool) or not low <= found <= high:
            raise click.BadParameter(
                f"a number from {low:g} to {high} is required; got {quoted(value)}"
            )
        return found

    return read


def _duration(value: Any) -> timedelta:
    if not isinstance(value, str):
        raise click.BadParameter(
            f'a duration as a string, such as "30s" or "1h30m", is required; got {quoted(value)}'
        )
    found = duration(value)
    if not timedelta(0) < found <= timedelta(_MAX_DAYS):
        raise click.BadParameter(
            f"a duration above zero and of at most {_MAX_DAYS}d is required; got {quoted(value)}"
        )
    return found


def read_host(value: Any) -> str:
    """Read a host: a URL without a path; empty for any."""
    if value == "":
        return ""
    try:
        parts = urlsplit(value)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        fits = fits and not (parts.path.strip("/") or parts.query or parts.username)
        host = f"{parts.scheme}://{parts.netloc.lower()}"
    except (ValueError, TypeError, AttributeError):
        fits, host = False, ""
    if not fits:
        raise click.BadParameter(
            f"a scheme, host and port such as https://example.com:8443 are required; "
            f"got {quoted(value)}"
        )
    return host


def read_function(value: Any) -> str:
    """Read the name of a function; empty for any."""
    if value == "":
        return ""
    if not isinstance(value, str):
        raise click.BadParameter(f"the name of a function is required; got {quoted(value)}")
    try:
        new_call("http://localhost", value)
    except InvalidCallError as error:
        raise click.BadParameter(str(error).removeprefix("function: ")) from error
    return value


FIELDS: Mapping[str, Field] = {
    "run_timeout": Field(
        "Longest time of one attempt of a call, such as 30s or 20m.", "DURATION", _duration
    ),
    "concurrency": Field(
        "Number of attempts that run at the same time, of all processes together.",
        "NUMBER",
        _whole(1, 1_000_000),
    ),
    "rate": Field(
        "Number of attempts that begin in a second, of all processes together.",
        "NUMBER",
        _number(0.001, 100_000),
        "/s",
    ),
    "priority": Field(
        "Which calls begin first when slots are few: from -100 (last) to 100 (default: 0).",
        "NUMBER",
        _whole(-100, 100),
    ),
    "max_attempts": Field(
        "Number of failed attempts in a row after which a call ends.",
        "NUMBER",
        _whole(1, 1_000_000),
    ),
    "first_backoff": Field(
        "Longest wait before the second attempt; it doubles with each.", "DURATION", _duration
    ),
    "max_backoff": Field("Longest wait before any attempt.", "DURATION", _duration),
    "retention": Field(
        "How long to keep finished calls, if shorter than the service's --retention.",
        "DURATION",
        _duration,
    ),
}
"""The settings, by the names of their attributes."""

_SCOPE: Mapping[str, Callable[[Any], str]] = {"host": read_host, "function": read_function}


def read_file(file: Path) -> list[dict[str, Any]]:
    """Read the policies of a TOML file.

    Returns:
        The attributes of each.

    Raises:
        MistakeError: The file cannot be read, or a field of it is wrong.
    """
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:  # what is no TOML, or not UTF-8, is a ValueError
        raise MistakeError(f"{file}: {error}") from error
    given = tables.pop("policy", [])
    if tables or not isinstance(given, list):
        wrong = quoted(next(iter(tables), "policy"))
        raise MistakeError(f"{file}: {wrong}: only tables [[policy]] are allowed")
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for number, table in enumerate(given, 1):
        place = f"{file}: policy {number}"
        if not isinstance(table, dict):
            raise MistakeError(f"{place}: a table is required; got {quoted(table)}")
        fields = _fields(place, table)
        if fields.keys() <= _SCOPE.keys():
            raise MistakeError(f"{place}: sets nothing; the settings are {', '.join(FIELDS)}")
        scope = fields.get("host", ""), fields.get("function", "")
        if scope in found:
            other = [*found].index(scope) + 1
            raise MistakeError(f"{place}: the host and the function are those of policy {other}")
        found[scope] = fields
    return [*found.values()]


def _fields(place: str, table: Mapping[str, Any]) -> dict[str, Any]:
    fields = {}
    for name, value in table.items():
        read = _SCOPE.get(name) or (FIELDS[name].read if name in FIELDS else None)
        if read is None:
            names = ", ".join([*_SCOPE, *FIELDS])
            raise MistakeError(f"{place}: {quoted(name)} is not a field; the fields are {names}")
        try:
            fields[name] = read(value)
        except click.BadParameter as error:
            raise MistakeError(f"{place}: {name}: {error.message}") from error
    return fields


def shown(policy: "Policy") -> str:
    """Return a policy as a line for people."""
    settings = [
        f"{name.replace('_', ' ')} {_seconds(value)}{field.unit}"
        for name, field in FIELDS.items()
        if (value := getattr(policy, name)) is not None
    ]
    return f"{shown_scope(policy.host, policy.function)}: {', '.join(settings)}"


def shown_scope(host: str, function: str) -> str:
    """Return a host and a function for people."""
    parts = [f"host {host}"] * bool(host) + [f"function {function}"] * bool(function)
    return " ".join(parts) or "everything"


def json_of(policy: "Policy") -> dict[str, Any]:
    """Return a policy for JSON, with durations as the command line reads them."""
    values = {name: getattr(policy, name) for name in (*_SCOPE, *FIELDS)}
    return {
        name: duration_text(value) if isinstance(value, timedelta) else value
        for name, value in values.items()
        if value is not None and value != ""
    }


def _seconds(value: Any) -> str:
    return f"{value.total_seconds():g}s" if isinstance(value, timedelta) else f"{value:g}"
