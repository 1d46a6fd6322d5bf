"""Texts of error messages that are cut end in '…'."""

import ast
from pathlib import Path

from dispatch_grpc.text import quoted, shorten

PACKAGE = Path(__file__).parents[1] / "dispatch_grpc"


def test_a_cut_text_ends_in_an_ellipsis() -> None:
    assert shorten("x" * 80) == "x" * 80
    assert shorten("x" * 81) == "x" * 79 + "…"
    assert shorten("Connection refused", 14) == "Connection re…"
    assert quoted("x" * 100) == "'" + "x" * 78 + "…"


def test_a_value_whose_repr_fails_is_quoted_by_its_type() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert quoted(Odd()) == "<Odd>"
    assert quoted(10**5000) == "<int>"  # more digits than Python converts


def test_no_text_is_cut_by_a_format() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FormattedValue) and isinstance(node.format_spec, ast.JoinedStr):
                spec = ast.unparse(node.format_spec)[2:-1]
                if spec.startswith(".") and spec[1:].isdigit():
                    found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert not found, f"use dispatch_grpc.text.shorten or quoted: {found}"
