"""How the tests build and run the programs of each language."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples/polyglot"


def run(*command: str | Path, cwd: Path = ROOT, input: str | None = None, **env: str) -> str:
    """Run a program to its end, and return what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **env},
        input=input,
        capture_output=True,
        encoding="utf-8",
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Programs:
    """The example of a language, built from its stubs.

    Attributes:
        language: Its name.
        protocols: The protocols of its programs.
        commands: Its programs by their names.
    """

    language: str
    protocols: tuple[str, ...]
    commands: dict[str, list[str]]

    def run(self, program: str, input: str | None = None, **env: str) -> str:
        """Run a program to its end, and return what it printed."""
        return run(*self.commands[program], input=input, **env)

    @contextlib.contextmanager
    def endpoint(self) -> Iterator[str]:
        """Run the endpoint on a free port; yields its URL."""
        process = subprocess.Popen(
            self.commands["endpoint"],
            env={**os.environ, "DISPATCH_ENDPOINT_ADDR": "127.0.0.1:0"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def build_go() -> Programs:
    for folder in (ROOT / "generated/go", EXAMPLES / "go"):
        run("go", "mod", "tidy", "-diff", cwd=folder)
        run("go", "vet", "./...", cwd=folder)
    target = EXAMPLES / "go/target"
    target.mkdir(exist_ok=True)
    run("go", "build", "-o", target, "./...", cwd=EXAMPLES / "go")
    names = ("conformance", "dispatch", "endpoint", "values")
    return Programs("go", ("grpc", "connect"), {name: [str(target / name)] for name in names})


def build_ts() -> Programs:
    folder = EXAMPLES / "ts"
    run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)
    run("npm", "run", "build", cwd=folder)
    names = ("conformance", "dispatch", "endpoint", "values")
    commands = {name: ["node", str(folder / f"target/{name}.js")] for name in names}
    return Programs("ts", ("grpc", "connect"), commands)


def build_java() -> Programs:
    run("mvn", "--batch-mode", "--quiet", "--file=tests/polyglot/pom.xml", "package")
    target = EXAMPLES / "java/target"
    path = os.pathsep.join([str(target / "classes"), str(target / "lib/*")])
    names = {"dispatch": "example.Dispatch", "values": "example.Values"}
    commands = {name: ["java", "-cp", path, program] for name, program in names.items()}
    return Programs("java", ("grpc",), commands)


BUILD = {"go": build_go, "ts": build_ts, "java": build_java}
