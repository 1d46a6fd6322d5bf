"""A newcomer's walk: an application from the pages, kills, a failure that is rerun, one trace."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from dispatch_grpc import Client
from tests.conftest import data_dir
from tests.hostile import unused_port
from tests.service.processes import KEY
from tests.tracing.files import spans_in
from tests.waiting import until

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# What the reader adds: a function that takes long, a workflow, one that fails until the bank opens.
OWN = """
import os, pathlib, time
from dispatch_grpc import PermanentError, workflow

def note(line):
    with open("notes", "a") as file:
        file.write(f"{line}\\n")

@endpoint.function
def pack(name: str) -> str:
    note(f"pack {os.getpid()}")
    while not pathlib.Path("packed").exists():
        time.sleep(0.02)
    return f"a parcel for {name}"

@endpoint.workflow
async def fulfil(name: str) -> str:
    await workflow.step(lambda: note("step"))
    return await pack.run(name)

@endpoint.function
def greet(order: str) -> str:
    if not pathlib.Path("open").exists():
        raise PermanentError("the bank is closed")
    return f"{order} is paid"

@app.post("/fulfil/{name}")
def start(name: str) -> dict[str, str]:
    return {"dispatch_id": fulfil.dispatch(name)}

@app.post("/order")
def order() -> dict[str, str]:
    TRANSACTION
    return {"dispatch_id": dispatch_id}

"""


def snippet(page: str, word: str) -> str:
    """The block of Python in a page that has a word."""
    text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if word in block]
    return str(found)


class Walk:
    """A folder with the application, and the processes of the service and of the application."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.app_port = unused_port(), unused_port()
        self.environment = {
            **os.environ,
            "DISPATCH_API_KEY": KEY,
            "DISPATCH_API_URL": f"http://127.0.0.1:{self.port}",
            "OTEL_TRACES_EXPORTER": "console",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "PYTHONUNBUFFERED": "1",
        }
        self.database = f"postgres@/postgres?host={folder}/data/postgres"
        transaction = snippet("producing", "create_engine").replace(
            "shop@db.example.com/shop", self.database
        )
        own = OWN.replace("TRANSACTION", transaction.replace("\n", "\n    "))
        shop = snippet("hosting", "FastAPI").replace("app.mount", f"{own}\napp.mount")
        shop = shop.replace("127.0.0.1:8000", f"127.0.0.1:{self.app_port}")
        (folder / "shop.py").write_text(shop)

    def start(self, name: str, command: str, ready: str) -> subprocess.Popen[bytes]:
        log = self.folder / name
        before = log.read_text().count(ready) if log.exists() else 0
        with log.open("a") as output:
            process = subprocess.Popen(
                [BIN / "opentelemetry-instrument", *shlex.split(command)],
                cwd=self.folder,
                env={**self.environment, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
                stdout=output,
                stderr=output,
            )
        until(lambda: log.read_text().count(ready) > before, problem=log.read_text)
        return process

    def service(self) -> subprocess.Popen[bytes]:
        return self.start(
            "service.log", f"dispatch-grpc serve --port {self.port} --data-dir data", "URL: "
        )

    def application(self) -> subprocess.Popen[bytes]:
        return self.start("app.log", f"uvicorn shop:app --port {self.app_port}", "Uvicorn running")

    def post(self, path: str) -> str:
        request = Request(f"http://127.0.0.1:{self.app_port}/{path}", method="POST")
        with urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["dispatch_id"])

    def packing(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until a process runs `pack`."""
        notes = self.folder / "notes"
        line = f"pack {process.pid}\n"
        until(lambda: notes.exists() and line in notes.read_text())

    def run(self, command: str) -> str:
        environment = {**self.environment, "OTEL_TRACES_EXPORTER": "none"}
        done = subprocess.run(
            [BIN / "dispatch-grpc", *shlex.split(command)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def end(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.wait(10)


def test_a_newcomers_walk():
    with data_dir() as parent:
        parent.chmod(0o755)
        walk = Walk(parent)
        service, application = walk.service(), walk.application()
        try:
            walk.run(f"migrate --producer --database 'postgresql://{walk.database}'")
            from sqlalchemy import create_engine, text

            engine = create_engine(f"postgresql+psycopg://{walk.database}")
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE orders (id int PRIMARY KEY)"))
            engine.dispose()
            with Client(env=walk.environment) as client:
                failing = walk.post("order")
                until(lambda: failing in walk.run("list --dead"))

                dispatch_id = walk.post("fulfil/Ada")
                walk.packing(application)
                end(application)
                application = walk.application()
                walk.packing(application)
                end(service, application)
                service, application = walk.service(), walk.application()
                (parent / "packed").touch()
                assert client.wait(dispatch_id, str, timeout=60) == "a parcel for Ada"
                assert (parent / "notes").read_text().count("step") == 1

                (parent / "open").touch()
                again = walk.run(f"rerun {failing}")
                assert client.wait(again, str, timeout=60) == "order 20 is paid"
                assert failing not in walk.run("list --dead")

                trace_id = client.get(dispatch_id).trace_id
                logs = (parent / "service.log", parent / "app.log")
                names = {"attempt pack", "run pack", "attempt fulfil", "run fulfil"}
                until(
                    lambda: names <= {s.name for s in spans_in(*logs) if s.trace == trace_id},
                    problem=lambda: [(s.name, s.trace) for s in spans_in(*logs)],
                )
        finally:
            service.terminate()  # and with it the database
            service.wait(40)
            end(application)
