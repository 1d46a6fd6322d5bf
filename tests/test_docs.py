"""The README and the guides for callers and for tests, followed step by step."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from urllib.request import Request, urlopen

import pytest

from dispatch_grpc import Client
from tests.conftest import RunningService
from tests.hostile import unused_port

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TESTING = (ROOT / "docs/testing.md").read_text(encoding="utf-8")
CALLING = (ROOT / "docs/calling.md").read_text(encoding="utf-8")
HOSTING = (ROOT / "docs/hosting.md").read_text(encoding="utf-8")


def block(page: str, heading: str, language: str) -> str:
    """The first block of code below a heading."""
    section = page.partition(f"\n## {heading}\n")[2]
    blocks: list[tuple[str, str]] = re.findall(
        r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL
    )
    return next(code for of, code in blocks if of == language)


class Newcomer:
    """A folder with `app.py`, its endpoint on a free port, and a shell's variables."""

    def __init__(self, folder: Path, service: RunningService) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{unused_port()}"
        self.environment = {
            **os.environ,
            "DISPATCH_API_URL": service.url,
            "DISPATCH_API_KEY": service.api_key,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }

    def moved(self, code: str) -> str:
        """Put the free port where the page has the default one."""
        return code.replace("127.0.0.1:8000", self.address)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def newcomer(
    tmp_path_factory: pytest.TempPathFactory, service: RunningService
) -> Iterator[Newcomer]:
    newcomer = Newcomer(tmp_path_factory.mktemp("newcomer"), service)
    (newcomer.folder / "app.py").write_text(newcomer.moved(block(README, "Start here", "python")))
    endpoint = subprocess.Popen(
        [sys.executable, "-m", "dispatch_grpc", "run", "app:endpoint"],
        cwd=newcomer.folder,
        env={**newcomer.environment, "DISPATCH_ENDPOINT_ADDR": newcomer.address},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield newcomer
    finally:
        endpoint.terminate()
        endpoint.communicate(timeout=30)


def test_the_readme_is_read_in_two_minutes():
    assert len(README.splitlines()) <= 150


def test_the_first_call_of_the_readme(newcomer: Newcomer):
    (line,) = re.findall(r"^dispatch-grpc call .*$", README, re.MULTILINE)
    shown = newcomer.run(*shlex.split(newcomer.moved(line)))
    assert "Hello, World!" in shown


def test_calling_functions_as_the_readme_does(newcomer: Newcomer):
    code = newcomer.moved(block(README, "Calling functions", "python"))
    code += "print(client.wait(dispatch_id, str), [client.wait(one) for one in ids])\n"
    assert newcomer.run(sys.executable, "-c", code) == "Hello, World! ['Hello, Ada!', 14]\n"


@pytest.mark.parametrize("heading", ["With a recorder", "With a runner"])
def test_testing_a_program_as_the_guide_does(newcomer: Newcomer, heading: str):
    file = f"test_{heading.rsplit(maxsplit=1)[-1]}.py"
    (newcomer.folder / file).write_text(block(TESTING, heading, "python"))
    shown = newcomer.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file)
    assert "1 passed" in shown


def test_an_application_with_fastapi_as_in_the_guide(service: RunningService, tmp_path: Path):
    shop = Newcomer(tmp_path, service)
    (tmp_path / "shop.py").write_text(shop.moved(block(HOSTING, "In FastAPI", "python")))
    _, serve, request = block(HOSTING, "In FastAPI", "").splitlines()
    application = subprocess.Popen(
        [sys.executable, "-m", *serve.replace("8000", shop.address.partition(":")[2]).split()],
        cwd=tmp_path,
        env=shop.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert application.stderr is not None
        assert any("Uvicorn running" in line for line in application.stderr)
        _, method, url = request.removeprefix("curl ").split()
        with urlopen(Request(shop.moved(url), method=method)) as answer:
            dispatch_id = json.load(answer)["dispatch_id"]
        with Client(env=shop.environment) as client:
            assert client.wait(dispatch_id) == "Welcome, Ada!"
    finally:
        application.terminate()
        application.communicate(timeout=30)


# What the snippets of these pages take from the text around them.
BEFORE = """
from datetime import UTC, datetime, timedelta
from app import greet
from dispatch_grpc import Client, new_call
client = Client()
call = other = new_call("http://127.0.0.1:8000", "greet", "World")
batch = client.batch()
dispatch_id = client.dispatch(call)
"""
SNIPPETS = [
    pytest.param(code, id=f"{page}{number}")
    for page in ("calling", "operating", "schedules")
    for number, code in enumerate(
        re.findall(
            r"^```python\n(.*?)^```$",
            (ROOT / f"docs/{page}.md").read_text(encoding="utf-8"),
            re.MULTILINE | re.DOTALL,
        )
    )
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_each_snippet_runs(newcomer: Newcomer, snippet: str):
    """The pages on hosting, workflows, producing and tests have tests of their own."""
    code = "\n".join(
        line
        for line in snippet.splitlines()
        if not line.startswith("client.cancel")  # the call has finished by then
    )
    newcomer.run(sys.executable, "-c", newcomer.moved(f"{BEFORE}\n{code}"))


def test_the_details_of_an_error_as_in_the_guide(newcomer: Newcomer):
    code = newcomer.moved(f"{BEFORE}\n{block(CALLING, 'Errors', 'python')}")
    assert newcomer.run(sys.executable, "-c", code) == "['calls[0].endpoint']\n"


@pytest.mark.skipif(
    shutil.which("curl") is None and "CI" not in os.environ, reason="curl is not installed"
)
def test_a_call_by_curl_as_in_the_guide(newcomer: Newcomer):
    command = block(CALLING, "Without Python, or without the facade", "")
    shown = newcomer.run("bash", "-euo", "pipefail", "-c", newcomer.moved(command))
    (dispatch_id,) = json.loads(shown)["dispatchIds"]
    with Client(env=newcomer.environment) as client:
        assert client.wait(dispatch_id) == "Hello, Ada!"


@pytest.mark.slow
def test_the_probe_of_the_guide_fits_the_schema_of_kubernetes(tmp_path: Path):
    page = (ROOT / "docs/deploying.md").read_text(encoding="utf-8")
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: service}\nspec:\n  containers:\n"
    pod += "  - name: service\n    image: dispatch-grpc\n"
    pod += indent(block(page, "Probes", "yaml"), " " * 4)
    (tmp_path / "pod.yaml").write_text(pod)
    program = Path(sys.executable).with_name("kubernetes-validate")
    command = [program, "--strict", "-k", "1.37", tmp_path / "pod.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [Path("README.md"), *sorted(Path("docs").rglob("*.md"))], ids=str)
def test_links_between_pages_lead_somewhere(page: Path):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (ROOT / page.parent / target).exists(), target


def test_each_promise_has_a_test():
    page = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!promise ).* \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) > 20
    for row in rows:
        named = re.fullmatch(r"`(tests/\S+\.py)::(test_\w+)`", row)
        assert named is not None, row
        assert f"def {named[2]}(" in (ROOT / named[1]).read_text(encoding="utf-8"), row
