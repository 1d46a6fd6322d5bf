"""The command that checks an endpoint in any language."""

import json
import os
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from dispatch_grpc.cli.connection import cacert_option
from dispatch_grpc.cli.options import duration_option, json_option
from dispatch_grpc.cli.output import print_lines, printable
from dispatch_grpc.errors import missing_extra

if TYPE_CHECKING:
    from dispatch_grpc.testing.conformance import Outcome

_MAX_TIMEOUT_DAYS = 1


@click.command(
    epilog="""\b
The endpoint hosts these functions, in any language:
  echo   returns its input
  fail   takes the name of a status, such as "THROTTLED", and fails with it
  crash  takes a text, and fails with an error of this message
  relay  takes a Call, suspends itself with it, and ends as that call did
         (optional)"""
)
@click.argument("url")
@click.option(
    "--signing-key-file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the key that signs the requests (default: DISPATCH_SIGNING_KEY, else requests "
    "are not signed, and the checks of signatures are skipped).",
)
@duration_option(
    "--timeout", "Time limit for each answer (default: 10s).", max_days=_MAX_TIMEOUT_DAYS
)
@cacert_option
@json_option("Print every check as JSON, one on each line.")
def conformance(
    *,
    url: str,
    signing_key_file: Path | None,
    timeout: timedelta | None,
    cacert: BinaryIO | None,
    as_json: bool,
) -> None:
    """Check an endpoint in any language.

    The checks are what a Dispatch service expects of it. A line is printed for each check that
    failed or was skipped, then the number of each result. The exit code is 1 if one failed.
    """
    try:
        from dispatch_grpc.endpoint.keys import parse_signing_key
        from dispatch_grpc.testing import conformance as checks
    except ImportError as error:
        raise missing_extra(error, "the check of endpoints", "endpoint") from error
    if signing_key_file is not None:
        text = signing_key_file.read_text("utf-8-sig", errors="surrogateescape").strip()
        source = f"--signing-key-file {signing_key_file}"
    else:
        text, source = os.environ.get("DISPATCH_SIGNING_KEY", "").strip(), "DISPATCH_SIGNING_KEY"
    count: Counter[str] = Counter()
    for outcome in checks.conformance(
        url,
        signing_key=parse_signing_key(text, source) if text or signing_key_file else None,
        timeout=timeout or checks.DEFAULT_TIMEOUT,
        root_certificates=cacert.read() if cacert else None,
    ):
        count[outcome.result] += 1
        if as_json:
            print_lines([json.dumps(_as_json(outcome))])
        elif outcome.result != "passed":
            print_lines([_line(outcome)])
    if not as_json:
        print_lines(
            [f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped"]
        )
    if count["failed"]:
        raise click.exceptions.Exit(1)


def _line(outcome: "Outcome") -> str:
    if outcome.result == "skipped":
        return f"{click.style('skipped', 'yellow')}  {outcome.check}: {outcome.reason}"
    text = f"{outcome.check}: expected {outcome.expected}; got {outcome.got}"
    return f"{click.style('failed', 'red')}  {printable(text)}"


def _as_json(outcome: "Outcome") -> dict[str, str]:
    found = {"check": outcome.check, "result": str(outcome.result)}
    if outcome.result == "failed":
        found |= {"expected": outcome.expected, "got": outcome.got}
    if outcome.result == "skipped":
        found["reason"] = outcome.reason
    return found
