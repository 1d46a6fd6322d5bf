"""docs/workflows.md and the workflow of the README: every snippet is run, its tests pass."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dispatch_grpc import CallError, Endpoint
from dispatch_grpc.testing import Runner

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/workflows.md"


def blocks_of(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == text.count("```python")
    return blocks


def test_the_page(monkeypatch):
    blocks = blocks_of(PAGE)
    assert len(blocks) == 8
    module = ModuleType("workflows_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # its annotations are looked up
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), vars(module))
    tests = [name for name in vars(module) if name.startswith("test_")]
    assert tests == ["test_checkout", "test_watch", "test_wrong"]
    for name in tests:
        vars(module)[name]()

    made = vars(module)
    stock = Endpoint("http://stock:9000", env={})
    stock.function(name="reserve")(lambda items: {"number": len(items)})
    runner = Runner(made["endpoint"], stock, replay_every_step=True)
    assert runner.run(made["book"].call(["tea", "milk"])) == 4
    assert runner.run(made["take"].call("tea")) == "one tea"
    order = made["Order"]("1", "ada@example.com", 3)
    assert runner.run(made["approve"].call(order)) == "nobody answered"
    with pytest.raises(CallError, match="pending"):
        runner.run(made["review"].call("a text"))
    assert runner.run(made["careful_checkout"].call(order)) == "payment of 3 for 1"


def test_the_workflow_of_the_readme(monkeypatch):
    """With the functions of the page, which it calls."""
    module = ModuleType("workflow_of_the_readme")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = vars(module)
    exec(blocks_of(PAGE)[0], made)
    page, made["endpoint"] = made["endpoint"], Endpoint("http://readme:8000", env={})
    (code,) = [block for block in blocks_of(ROOT / "README.md") if "@endpoint.workflow" in block]
    exec(code, made)
    runner = Runner(page, made["endpoint"], replay_every_step=True)
    assert runner.run(made["checkout"].call(made["Order"]("1", "ada@example.com", 30))) == 17


def example(**variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, ROOT / "examples/killed_workflow.py"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_the_example_that_is_killed():
    done = example()
    assert done.returncode == 0, done.stderr
    assert re.findall(r"prints invoice (\d)", done.stdout) == ["1", "2"]
    assert "is killed, and another one started" in done.stdout
    assert "flight='a flight is booked', invoice='invoices 1 to 2'" in done.stdout


def test_the_example_tells_why_the_service_does_not_come_up():
    done = example(DISPATCH_DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing listens there" in done.stderr
    assert "Traceback" not in done.stderr
