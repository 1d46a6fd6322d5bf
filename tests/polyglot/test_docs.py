"""What docs/polyglot.md and the READMEs of the packages tell a reader to run."""

import os
import re
import shutil
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dispatch_grpc import new_call
from dispatch_grpc.testing import RecordedRequest
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
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
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


@pytest.mark.parametrize("programs", ["go", "ts", "java"], indirect=True)
def test_a_new_project_dispatches_the_call_of_the_readme(
    programs: Programs, service: Service, tmp_path: Path
):
    """By the commands of the guide, but for Java, whose command installs for the whole user."""
    readme = (ROOT / "generated" / programs.language / "README.md").read_text(encoding="utf-8")
    code = block(readme).replace("https://api.dispatch.run", service.url)
    (tmp_path / "dispatch-grpc").symlink_to(ROOT)
    if programs.language == "go":
        (tmp_path / "main.go").write_text(GO.replace("CODE", code))
        (tmp_path / "go.mod").write_text("module example\n\ngo 1.24.0\n")
        shell(block(GUIDE, "### Go").replace(MODULE, NAMES["go"]["module"]), tmp_path)
        command = ["go", "run", "."]
    elif programs.language == "ts":
        (tmp_path / "main.mjs").write_text(f"{code}\nconsole.log(dispatchIds);")
        (tmp_path / "package.json").write_text("{}")
        shell(block(GUIDE, "### TypeScript"), tmp_path)
        command = ["node", "main.mjs"]
    else:
        code = code.replace("api.dispatch.run:443", urlsplit(service.url).netloc)
        code = code.replace("TlsChannelCredentials", "InsecureChannelCredentials")
        (tmp_path / "Readme.java").write_text(JAVA.replace("CODE", code))
        command = ["java", "-cp", f"{EXAMPLES}/java/target/lib/*", "Readme.java"]
    printed = run(*command, cwd=tmp_path, **service.env)

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
