"""The languages of the stubs: their toolchains, and the generators that are pinned for each.

The generators are installed from the registry of their own language into `.gen/`, those of
Python by the Makefile into `.venv-gen`. Versions stand in one place per language, which
`pins` names.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
GENERATORS = ROOT / ".gen"
_STAMP = "pins.sha256"


class GenerationError(Exception):
    """Something that stops the generation, with what to do about it."""


def run(command: Sequence[str | Path], folder: Path = ROOT, **environment: str) -> str:
    """Run a program in a folder, and return what it printed.

    Raises:
        GenerationError: It is not there, or failed; the message has its output.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise GenerationError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        output = (done.stdout + done.stderr).rstrip()
        raise GenerationError(f"{' '.join(map(str, command))} failed:\n{output}")
    return done.stdout


class Language(ABC):
    """A language in which stubs are generated."""

    name: str
    pins: tuple[str, ...]
    """Files that pin the generators, from the root."""
    tools: tuple[tuple[str, tuple[str, ...], tuple[int, ...]], ...] = ()
    """The toolchain: programs, how they tell their version, the oldest that will do."""

    @property
    def source(self) -> Path:
        """What is written by hand: the template for buf, the files of the package."""
        return ROOT / "tools/gen" / self.name

    @property
    def template(self) -> Path:
        """The template for `buf generate`."""
        return self.source / "buf.gen.yaml"

    @property
    def folder(self) -> Path:
        """Where the generators are installed."""
        return GENERATORS / self.name

    @property
    def path(self) -> Path:
        """The folder of the programs that buf runs."""
        return self.folder

    def check_toolchain(self) -> None:
        """Raise a GenerationError that says what of the toolchain is missing, or too old."""
        for program, arguments, oldest in self.tools:
            needed = ".".join(map(str, oldest))
            if shutil.which(program) is None:
                raise GenerationError(f"{program} is not installed ({needed} or newer is needed)")
            # Where the pins are: there, go is the toolchain that go.mod asks for.
            text = run([program, *arguments], self.source)
            found = re.search(r"\d+(?:\.\d+)*", re.sub(r"\x1b\[[\d;]*m", "", text))
            if found is None or tuple(map(int, found[0].split("."))) < oldest:
                version = found[0] if found else text.strip()
                raise GenerationError(f"{program} is {version}; {needed} or newer is needed")

    def prepare(self) -> None:
        """Install the generators unless those of these pins are there, and check them."""
        digest = hashlib.sha256()
        for pin in self.pins:
            digest.update((ROOT / pin).read_bytes())
        stamp = self.folder / _STAMP
        if not stamp.exists() or stamp.read_text() != digest.hexdigest():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            print(f"gen: installing the generators of {self.name}", file=sys.stderr, flush=True)
            self.install()
            stamp.write_text(digest.hexdigest())
        remedy = f"remove {self.folder.relative_to(ROOT)} and run this again"
        self.check_versions(remedy)

    def check_versions(self, remedy: str) -> None:
        """Raise a GenerationError if a generator is of another version than the pinned one."""
        installed = self.installed()
        for program, version in self.pinned().items():
            found = installed.get(program)
            if found != version:
                raise GenerationError(
                    f"the generator {program} is {found or 'missing'}, but {self.pins[0]} pins "
                    f"{version}: {remedy}"
                )

    def finish(self, package: Path) -> None:  # noqa: B027 (most languages need nothing)
        """Build what is written by hand, in a package that is complete but for that."""

    @abstractmethod
    def install(self) -> None:
        """Install the generators, into `folder`."""

    @abstractmethod
    def pinned(self) -> dict[str, str]:
        """The versions that `pins` asks for, by generator."""

    @abstractmethod
    def installed(self) -> dict[str, str]:
        """The versions that are there, by generator."""


class Python(Language):
    """Python: the venv in which this program runs."""

    name = "python"
    pins = ("tools/requirements/gen.txt",)

    @property
    def template(self) -> Path:
        return ROOT / "buf.gen.yaml"

    @property
    def path(self) -> Path:
        return Path(sys.prefix, "Scripts" if os.name == "nt" else "bin")

    def prepare(self) -> None:
        self.check_versions("remove .venv-gen and run this again")

    def install(self) -> None:
        """The Makefile does."""

    def pinned(self) -> dict[str, str]:
        lines = (ROOT / self.pins[0]).read_text().splitlines()
        return dict(line.split("==") for line in lines if "==" in line and ";" not in line)

    def installed(self) -> dict[str, str]:
        return {
            re.sub(r"[-_.]+", "-", str(found.name)).lower(): found.version
            for found in importlib.metadata.distributions()
        }


class Go(Language):
    """Go: the tools of a module."""

    name = "go"
    pins = ("tools/gen/go/go.mod", "tools/gen/go/go.sum")
    tools = (("go", ("version",), (1, 24)),)

    def install(self) -> None:
        run(["go", "install", "tool"], self.source, GOBIN=str(self.folder))

    def pinned(self) -> dict[str, str]:
        text = (ROOT / self.pins[0]).read_text()
        versions = dict(re.findall(r"^\t(\S+) (v\S+)", text, re.MULTILINE))
        tools = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        return {
            tool.rpartition("/")[2]: version
            for tool in tools
            for module, version in versions.items()
            if tool == module or (tool.startswith(module + "/") and tool not in versions)
        }

    def installed(self) -> dict[str, str]:
        found = {}
        for program in self.pinned():
            with contextlib.suppress(GenerationError):
                about = run(["go", "version", "-m", self.folder / program])
                found[program] = about.split("\n\tmod\t")[1].split()[1]
        return found


class TypeScript(Language):
    """TypeScript: packages of npm."""

    name = "ts"
    pins = ("tools/gen/ts/package.json", "tools/gen/ts/package-lock.json")
    tools = (("node", ("--version",), (20,)), ("npm", ("--version",), (9,)))

    @property
    def path(self) -> Path:
        return self.folder / "node_modules/.bin"

    def install(self) -> None:
        for pin in self.pins:
            shutil.copy(ROOT / pin, self.folder)
        run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], self.folder)

    def finish(self, package: Path) -> None:
        """Compile the helpers; the package holds their JavaScript and types only."""
        modules = package / "node_modules"
        modules.symlink_to(self.folder / "node_modules")
        run([self.path / "tsc", "--project", package], package)
        modules.unlink()
        (package / "tsconfig.json").unlink()
        for source in package.glob("*.ts"):
            if not source.name.endswith(".d.ts"):
                source.unlink()

    def pinned(self) -> dict[str, str]:
        found = json.loads((ROOT / self.pins[0]).read_text())["dependencies"]
        return {str(name): str(version) for name, version in found.items()}

    def installed(self) -> dict[str, str]:
        manifests = {
            name: self.folder / "node_modules" / name / "package.json" for name in self.pinned()
        }
        return {
            name: str(json.loads(path.read_text())["version"])
            for name, path in manifests.items()
            if path.exists()
        }


class Java(Language):
    """Java: programs from Maven Central, built for this system."""

    name = "java"
    pins = ("tools/gen/java/pom.xml",)
    tools = (("javac", ("-version",), (11,)), ("mvn", ("--version",), (3, 6)))
    _programs = ("protoc", "protoc-gen-grpc-java")

    def install(self) -> None:
        run(
            [
                *("mvn", "--batch-mode", "--quiet", f"--file={ROOT / self.pins[0]}"),
                *("dependency:copy", f"-Dplatform={_platform()}", f"-Dfolder={self.folder}"),
            ]
        )
        for program in self._programs:
            for file in self.folder.glob(f"{program}-[0-9]*.exe"):
                file.chmod(0o755)
                (self.folder / program).symlink_to(file.name)

    def pinned(self) -> dict[str, str]:
        ns = "{http://maven.apache.org/POM/4.0.0}"
        properties = ET.parse(ROOT / self.pins[0]).find(f"{ns}properties")
        assert properties is not None
        versions = {item.tag.removeprefix(ns): str(item.text) for item in properties}
        return dict(
            zip(self._programs, (versions["protoc.version"], versions["grpc.version"]), strict=True)
        )

    def installed(self) -> dict[str, str]:
        # Only protoc tells its version, and numbers it otherwise: the file names have both.
        found = {}
        for program in self._programs:
            link = self.folder / program
            if link.exists() and (version := re.search(r"-(\d[\d.]*)-", link.resolve().name)):
                found[program] = version[1]
        return found


def _platform() -> str:
    """This system, as Maven Central names it."""
    system = {"Linux": "linux", "Darwin": "osx", "Windows": "windows"}.get(platform.system())
    machine = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch_64", "arm64": "aarch_64"}
    if system is None or platform.machine() not in machine:
        raise GenerationError(f"there is no protoc for {platform.system()} {platform.machine()}")
    return f"{system}-{machine[platform.machine()]}"


LANGUAGES: dict[str, Language] = {
    language.name: language for language in (Python(), Go(), TypeScript(), Java())
}
