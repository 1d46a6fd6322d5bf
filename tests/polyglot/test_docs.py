"""What docs/polyglot.md and the READMEs of the packages tell a reader to run."""

import os
import re
import shutil
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dispatch_grpc import Endpoint, new_call
from dispatch_grpc.testing import RecordedRequest, serve_app
from tests.conftest import data_dir, run_service
from tests.hostile import unused_port
from tests.polyglot.languages import EXAMPLES, ROOT, Programs, run
from tests.polyglot.service import KEY, Service

pytestmark = pytest.mark.timeout(600)
NAMES = tomllib.loads((ROOT / "tools/gen/names.toml").read_text())
MODULE = "dispatch-grpc.example/generated/go"
GUIDE = (ROOT / "docs/polyglot.md").read_text(encoding="utf-8")

GO = """package main
import (
	"context"
	"fmt"
	"net/http"
	"os"
	"connectrpc.com/connect"
	"MODULE/dispatch"
	sdkv1 "MODULE/dispatch/sdk/v1"
	"MODULE/dispatch/sdk/v1/sdkv1connect"
)
func main() {
	CODE
	if err != nil { panic(err) }
	fmt.Println(response.Msg.DispatchIds)
}
""".replace("MODULE", NAMES["go"]["module"])
JAVA = """import com.google.protobuf.Any;
import com.google.protobuf.Int64Value;
import io.grpc.*;
import io.grpc.stub.MetadataUtils;
import PREFIX.dispatch.sdk.v1.*;
class Readme {
  public static void main(String[] args) {
    CODE
    System.out.println(ids);
    channel.shutdownNow();
  }
}
""".replace("PREFIX", NAMES["java"]["package_prefix"])


def block(text: str, after: str = "") -> str:
    """The first block of code after a line."""
    text = text.partition(after)[2] if after else text
    found = re.search(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def shell(commands: str, cwd: Path, **env: str) -> str:
    path = os.pathsep.join([str(ROOT / ".venv-gen/bin"), os.environ["PATH"]])
    return run("bash", "-euo", "pipefail", "-c", commands, cwd=cwd, **{"PATH": path, **env})


HEADINGS = {"go": "Go", "ts": "TypeScript", "java": "Java"}
FILES = {"go": "main.go", "ts": "main.ts", "xml": "pom.xml", "java": "src/main/java/Main.java"}


@pytest.mark.parametrize("programs", ["go", "ts", "java"], indirect=True)
def test_from_an_empty_project(programs: Programs, tmp_path: Path):
    """By the commands and the files of the guide, in their order, with a service on this machine.

    What Java calls is hosted in Python.
    """
    heading = HEADINGS[programs.language]
    section = GUIDE.partition(f"\n### {heading}\n")[2].partition("\n##")[0]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    ours = Endpoint("http://127.0.0.1:1", env={})

    @ours.function
    def greet(person: dict[str, str]) -> str:
        return f"Hello, {person['name']}, from Java"

    address, printed = f"127.0.0.1:{unused_port()}", ""
    (tmp_path / "dispatch-grpc").symlink_to(ROOT)
    with data_dir() as folder, run_service(folder) as durable, serve_app(ours.app) as server:
        if programs.language == "java":
            address = server.url.removeprefix("http://")
        for kind, text in blocks:
            code = text.replace(MODULE, NAMES["go"]["module"]).replace("127.0.0.1:8000", address)
            if kind != "sh":
                (tmp_path / FILES[kind]).write_text(code)
                continue
            printed = shell(
                code,
                tmp_path,
                DISPATCH_API_URL=durable.url,
                DISPATCH_API_KEY=durable.api_key,
                DISPATCH_ENDPOINT_ADDR=address,
                **own_repository(tmp_path, programs.language),
            )
    # Maven leaves an escape sequence before it.
    assert printed.splitlines()[-1].endswith(f"Hello, Ada, from {heading}")


def own_repository(folder: Path, language: str) -> dict[str, str]:
    """Let Maven install into a copy of the user's repository."""
    if language != "java":
        return {}
    copy = folder / "repository"
    if not copy.exists():
        shutil.copytree(Path.home() / ".m2/repository", copy)
    return {"MAVEN_OPTS": f"-Dmaven.repo.local={copy}"}


@pytest.mark.parametrize("programs", ["go", "ts", "java"], indirect=True)
def test_the_call_of_the_readme(programs: Programs, service: Service, tmp_path: Path):
    """In a project that depends on the package, but for Java on its classes."""
    readme = (ROOT / "generated" / programs.language / "README.md").read_text(encoding="utf-8")
    code = block(readme).replace("https://api.dispatch.run", service.url)
    if programs.language == "go":
        folder = EXAMPLES / "go/target/_readme"  # not a part of ./...
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "main.go").write_text(GO.replace("CODE", code))
        command, cwd = ["go", "run", "./target/_readme"], EXAMPLES / "go"
    elif programs.language == "ts":
        program = EXAMPLES / "ts/target/readme.js"
        program.write_text(f"{code}\nconsole.log(dispatchIds);")
        command, cwd = ["node", str(program)], tmp_path
    else:
        code = code.replace("api.dispatch.run:443", urlsplit(service.url).netloc)
        code = code.replace("TlsChannelCredentials", "InsecureChannelCredentials")
        (tmp_path / "Readme.java").write_text(JAVA.replace("CODE", code))
        command, cwd = ["java", "-cp", f"{EXAMPLES}/java/target/lib/*", "Readme.java"], tmp_path
    printed = run(*command, cwd=cwd, **service.env)

    (request,) = service.requests
    assert request.calls == [new_call("http://example.com", "myFunction", 23)]
    assert request.dispatch_ids[0] in printed


@pytest.mark.parametrize("programs", ["go"], indirect=True)
def test_the_commands_by_hand(programs: Programs, service: Service, tmp_path: Path):
    for name in (".venv-gen", "proto"):
        (tmp_path / name).symlink_to(ROOT / name)
    shell(block(GUIDE, "## By hand"), tmp_path, URL=service.url, DISPATCH_API_KEY=KEY)
    call = new_call("http://example.com", "myFunction", 23)
    keys = [f"by-hand-{number}" for number in (1, 2, 3)]
    assert [RecordedRequest(r.calls, {}) for r in service.requests] == [
        RecordedRequest([call], {}) for _ in keys
    ]
    assert [r.metadata["idempotency-key"] for r in service.requests] == keys


@pytest.mark.parametrize("programs", ["go", "java"], indirect=True)
def test_a_fork_under_other_names(programs: Programs, tmp_path: Path):
    """In a copy of the project, with the generators that are installed here."""
    if NAMES["go"]["module"] != MODULE:
        pytest.skip("this is a fork under other names")
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for file in filter(lambda name: (ROOT / name).is_file(), files):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    run("git", "init", "--quiet", cwd=tmp_path)
    run("git", "add", "--all", cwd=tmp_path)
    (tmp_path / ".gen").mkdir()
    *commands, last = block(GUIDE, "### In a fork").splitlines()
    assert last == "make gen"
    commands.append(f"python -m tools.generate {programs.language}")
    shell("\n".join(commands), tmp_path)
    if programs.language == "go":
        run("go", "vet", "./...", cwd=tmp_path / "generated/go")
        run("go", "vet", "./...", cwd=tmp_path / "examples/polyglot/go")
        for path in tmp_path.rglob("*.go"):
            assert MODULE not in path.read_text(), path
    else:
        run(
            "mvn", "--batch-mode", "--quiet", f"--file={tmp_path}/tests/polyglot/pom.xml", "package"
        )
        assert (
            tmp_path / "generated/java/src/main/java/com/acme/dispatch/sdk/v1/Call.java"
        ).exists()
        assert not (tmp_path / "generated/java/src/main/java/run").exists()
