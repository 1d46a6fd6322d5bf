"""The page for the first ten minutes, followed word for word."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile import unused_port
from tests.polyglot.conftest import require
from tests.polyglot.languages import ROOT
from tests.waiting import until

pytestmark = pytest.mark.timeout(600)
PAGE = (ROOT / "docs/start.md").read_text(encoding="utf-8")


class Terminals:
    """A folder like a clone, and shells in it; ports are free ones instead of the page's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("examples", "generated"):
            (folder / name).symlink_to(ROOT / name)
        self._ports = {port: str(unused_port()) for port in ("7890", "8000", "9000")}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._env = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}

    def block(self, heading: str, language: str = "", number: int = 0) -> str:
        """A block of code below a heading."""
        section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        code = [code for of, code in blocks if of == language][number]
        for port, other in self._ports.items():
            code = code.replace(port, other)
        if "dispatch-grpc serve" in code:
            code = f"{code.strip()} --port {self._ports['7890']}"
        if "dispatch-grpc run" in code and "DISPATCH_ENDPOINT_ADDR" not in code:
            code = f"DISPATCH_ENDPOINT_ADDR=127.0.0.1:{self._ports['8000']} {code}"
        return str(code)

    def run(self, code: str) -> str:
        """Run commands to their end, and return what they print."""
        command = ["bash", "-euo", "pipefail", "-c", code]
        done = subprocess.run(
            command, cwd=self.folder, env=self._env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextlib.contextmanager
    def running(self, code: str, ready: str) -> Iterator[None]:
        """Run a server in a terminal until the end, where Ctrl-C stops it."""
        log = self.folder / f"log{unused_port()}"
        with log.open("w") as output:
            process = subprocess.Popen(
                ["bash", "-euc", code],
                cwd=self.folder,
                env=self._env,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            until(lambda: ready in log.read_text(), 120, problem=log.read_text)
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)


@pytest.mark.parametrize("language", ["go", "python"])
def test_the_page(tmp_path: Path, language: str):
    if language == "go":
        require("go")
    tmp_path.chmod(0o755)
    shell = Terminals(tmp_path)
    (tmp_path / "greet.py").write_text(shell.block("A function in Go", "python"))
    (tmp_path / "app.py").write_text(shell.block("A workflow in Python", "python"))
    service = shell.block("The service")
    greet = shell.block("A function in Go", number=0 if language == "go" else 1)
    workflow = shell.block("A workflow in Python")
    call = shell.block("A call")
    variables = call.splitlines()[0] + "\n"
    again = shell.block("Kill something", number=0)
    wait = shell.block("Kill something", number=1)
    with shell.running(workflow, "http"):
        with shell.running(service, "URL: "):
            with shell.running(greet, "http"):
                assert f"HELLO, ADA, FROM {language.upper()}!" in shell.run(call)
            dispatch_id = shell.run(variables + again).strip()
            assert "waiting" in shell.run(f"{variables} dispatch-grpc get {dispatch_id}")
        with shell.running(service, "URL: "), shell.running(greet, "http"):
            shown = shell.run(variables + wait.replace("ID", dispatch_id))
            assert f"HELLO, GRACE, FROM {language.upper()}!" in shown
