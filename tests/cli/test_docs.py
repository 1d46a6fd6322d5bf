"""docs/command-line.md is followed and complete; the commands of all pages exist."""

import json
import re
import shlex
from itertools import takewhile
from pathlib import Path

import click
import pytest

from dispatch_grpc.cli.commands import commands, main
from tests.test_docs import Newcomer, block, newcomer  # noqa: F401 (a fixture)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")


def test_every_command_is_in_the_table():
    table = PAGE.partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    named = {name for row in rows for name in re.findall("`([a-z]+)`", row)}
    assert named == set(commands.commands)


def test_the_commands_are_followed_as_they_stand(newcomer: Newcomer):  # noqa: F811
    script = newcomer.moved(block(PAGE, "Dispatch calls and follow them", ""))
    shown = newcomer.run("bash", "-euo", "pipefail", "-c", script).splitlines()
    assert shown[0] == '"Hello, Ada!"'
    got = json.loads(shown[1])
    assert "greet" in shown[3]
    assert json.loads(shown[-2]) == {**json.loads(shown[-2]), "output": "Hello, Bob!"}
    assert shown[-1] == "cancelled 1 call"
    example = json.loads(block(PAGE, "JSON", "json"))
    assert list(example) == list(got)
    for key in ("state", "status", "output", "labels", "error"):
        assert example[key] == got[key]


def test_the_exit_codes_are_those_of_the_help():
    table = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    shown = commands.get_help(click.Context(commands))
    assert table == re.findall(r"^ +(\d+) ", shown, re.MULTILINE)


def test_the_line_for_completion_is_that_of_the_help():
    line = block(PAGE, "Completion", "").strip()
    assert line in commands.get_help(click.Context(commands))


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))], ids=lambda page: page.name
)
def test_the_commands_of_each_page_exist(page: Path, capsys: pytest.CaptureFixture[str]):
    """With their options, which are parsed before `--help` ends the command."""
    text = page.read_text(encoding="utf-8").replace("\\\n", "")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    code = "".join(code for language, code in blocks if language in {"", "sh"})
    for line in re.findall(r"(?<![\w/])dispatch-grpc ([^|>)\n]+)", code):
        words = takewhile(lambda word: word != "--", shlex.split(line))
        assert main([*words, "--help"]) == 0, capsys.readouterr().err
