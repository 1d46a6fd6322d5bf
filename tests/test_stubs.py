"""The packages of the stubs, and the tool that writes them; no toolchain is needed here."""

import json
import re
import shutil
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tools import generate, languages
from tools.languages import LANGUAGES, GenerationError, Language

ROOT = Path(__file__).parent.parent
GENERATED = ROOT / "generated"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
NAMES = tomllib.loads((ROOT / "tools/gen/names.toml").read_text())
POM = "{http://maven.apache.org/POM/4.0.0}"


def read_json(path: Path):
    return json.loads(path.read_text())


def go_versions(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^\t(\S+) (v\S+)", path.read_text(), re.MULTILINE))


def pom_versions(path: Path) -> dict[str, str]:
    properties = ET.parse(path).find(f"{POM}properties")
    assert properties is not None
    return {item.tag.removeprefix(POM): item.text or "" for item in properties}


@pytest.mark.parametrize("name", ["go", "ts", "java"])
def test_a_package_has_its_licence_and_ten_lines_about_it(name: str):
    folder = GENERATED / name
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    readme = (folder / "README.md").read_text()
    assert len([line for line in readme.splitlines() if line]) <= 10
    assert f"version {VERSION}" in readme
    assert "Dispatch(" in readme or "dispatch(" in readme


def test_the_names_and_versions_are_those_of_the_project():
    assert (GENERATED / "go/go.mod").read_text().startswith(f"module {NAMES['go']['module']}\n")
    manifest = read_json(GENERATED / "ts/package.json")
    assert (manifest["name"], manifest["version"]) == (NAMES["ts"]["package"], VERSION)
    pom = ET.parse(GENERATED / "java/pom.xml")
    found = [pom.findtext(f"{POM}{tag}") for tag in ("groupId", "artifactId", "version")]
    assert found == [NAMES["java"]["group"], NAMES["java"]["artifact"], VERSION]
    (stubs,) = (
        item
        for item in ET.parse(ROOT / "examples/polyglot/java/pom.xml").iter(f"{POM}dependency")
        if item.findtext(f"{POM}artifactId") == NAMES["java"]["artifact"]
    )
    assert stubs.findtext(f"{POM}version") == VERSION


def test_the_floors_are_those_of_the_generators():
    generators = go_versions(ROOT / "tools/gen/go/go.mod")
    floors = go_versions(GENERATED / "go/go.mod")
    for module in ("google.golang.org/protobuf", "connectrpc.com/connect"):
        assert floors[module] == generators[module]

    pins, manifest = LANGUAGES["ts"].pinned(), read_json(GENERATED / "ts/package.json")
    assert manifest["dependencies"] == {"@bufbuild/protobuf": f"^{pins['@bufbuild/protoc-gen-es']}"}
    # The helpers are compiled with these.
    assert manifest["dependencies"]["@bufbuild/protobuf"] == f"^{pins['@bufbuild/protobuf']}"
    assert manifest["peerDependencies"] == {
        "@connectrpc/connect": f"^{pins['@connectrpc/connect']}"
    }

    pins, floors = (
        pom_versions(path) for path in (ROOT / "tools/gen/java/pom.xml", GENERATED / "java/pom.xml")
    )
    assert floors["protobuf.version"] == pins["protoc.version"]
    assert floors["grpc.version"] == pins["grpc.version"]


def test_every_generator_is_pinned():
    for language in LANGUAGES.values():
        assert language.pinned()
        for version in language.pinned().values():
            assert re.fullmatch(r"v?\d+(\.\w+)+", version), version


def test_lock_files_have_no_download_addresses():
    locks = [
        path
        for folder in ("generated", "examples", "tests", "tools")
        for path in (ROOT / folder).rglob("package-lock.json")
        if "node_modules" not in path.parts
    ]
    assert {path.parent.relative_to(ROOT).as_posix() for path in locks} == {
        "tools/gen/ts",
        "examples/polyglot/ts",
    }
    for lock in locks:
        assert "http" not in lock.read_text(), lock
        assert "omit-lockfile-registry-resolved=true" in (lock.parent / ".npmrc").read_text()


# The tool. Its languages are replaced by ones that need no toolchain.


class Words(Language):
    """A language whose stubs are words."""

    def __init__(self, name: str, version: str = "1", problem: str | None = None) -> None:
        self.name = name
        self.version = version
        self.problem = problem

    pins = ("pins.txt",)

    def check_toolchain(self) -> None:
        if self.problem:
            raise GenerationError(self.problem)

    def install(self) -> None:
        (self.folder / "generator").write_text(self.version)

    def pinned(self) -> dict[str, str]:
        return {"generator": (languages.ROOT / self.pins[0]).read_text()}

    def installed(self) -> dict[str, str]:
        return {"generator": (self.folder / "generator").read_text()}


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Words]:
    """Two languages, `a` and `b`, whose stubs are there, of an older schema."""
    known = {"a": Words("a"), "b": Words("b")}
    for module in (generate, languages):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "GENERATORS", tmp_path / ".gen")
    monkeypatch.setattr(generate, "_GENERATED", tmp_path / "generated")
    monkeypatch.setattr(generate, "LANGUAGES", known)
    (tmp_path / "pins.txt").write_text("1")
    for name in known:
        (tmp_path / "generated" / name).mkdir(parents=True)
        (tmp_path / "generated" / name / "stub").write_text("old")
        (tmp_path / "generated" / name / "gone").write_text("")

    def write(language: Language, into: Path) -> Path:
        package = into / language.name
        package.mkdir()
        (package / "stub").write_text("new")
        return package

    monkeypatch.setattr(generate, "generate", write)
    return known


def tree(folder: Path) -> dict[str, str]:
    """Every file of `generated/`, with what is in it."""
    found = folder / "generated"
    return {
        path.relative_to(found).as_posix(): path.read_text()
        for path in sorted(found.rglob("*"))
        if path.is_file()
    }


OLD = {"a/gone": "", "a/stub": "old", "b/gone": "", "b/stub": "old"}
NEW = {"a/stub": "new", "b/stub": "new"}


def test_it_writes_what_is_missing_and_nothing_else(words, tmp_path: Path, capsys):
    assert generate.main(["--check"]) == 1
    assert "gen: generated/a/gone is not generated" in capsys.readouterr().err
    assert generate.main(["a"]) == 0
    assert tree(tmp_path) == {**NEW, "b/gone": "", "b/stub": "old"}
    assert generate.main(["all"]) == 0
    assert tree(tmp_path) == NEW
    assert generate.main(["--check"]) == 0
    assert "gen: generated/b is up to date" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / ".gen").glob("tmp-*")] == []


def test_builds_in_a_package_are_no_difference(words, tmp_path: Path):
    generate.main([])
    (tmp_path / "generated/a/target").mkdir()
    (tmp_path / "generated/a/target/built").write_text("")
    assert generate.main(["--check"]) == 0


def test_an_unknown_language(words, tmp_path: Path, capsys):
    assert generate.main(["a,cobol", "zig"]) == 1
    assert "gen: LANGS: unknown cobol, zig; there are a, b, and all" in capsys.readouterr().err
    assert tree(tmp_path) == OLD


def test_a_missing_toolchain(words, tmp_path: Path, capsys):
    words["b"].problem = "bc is not installed"
    assert generate.main(["a", "b"]) == 1
    assert "gen: b: bc is not installed\ngen: nothing was changed" in capsys.readouterr().err
    assert tree(tmp_path) == OLD
    assert generate.main([]) == 0
    assert "gen: skipped b: bc is not installed" in capsys.readouterr().err
    assert tree(tmp_path) == {"a/stub": "new", "b/gone": "", "b/stub": "old"}


def test_a_generator_of_another_version(words, tmp_path: Path, capsys):
    words["b"].version = "0.9"
    assert generate.main([]) == 1
    assert "the generator generator is 0.9, but pins.txt pins 1: remove" in capsys.readouterr().err
    assert tree(tmp_path) == OLD


def test_generators_are_installed_anew_when_the_pins_change(words, tmp_path: Path):
    assert generate.main(["a"]) == 0
    (tmp_path / "pins.txt").write_text("2")
    words["a"].version = "2"
    assert generate.main(["a"]) == 0


@pytest.mark.parametrize("failure", ["generate", "replace"])
def test_a_failure_leaves_the_tree_as_it_was(
    failure: str, words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of the second language, after the first one is done."""
    write = generate.generate

    def fail(language: Language, into: Path) -> Path:
        package = write(language, into)
        if language.name == "b":
            if failure == "generate":
                raise GenerationError("the plugin failed")
            monkeypatch.setattr(generate, "differences", lambda *_: ["all"])
            shutil.rmtree(package)
        return package

    monkeypatch.setattr(generate, "generate", fail)
    if failure == "generate":
        assert generate.main([]) == 1
    else:
        with pytest.raises(FileNotFoundError):
            generate.main([])
    assert tree(tmp_path) == OLD


def test_toolchains_that_are_missing_or_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    go = LANGUAGES["go"]
    with pytest.raises(GenerationError, match=r"^go is not installed \(1\.24 or newer is needed\)"):
        go.check_toolchain()
    program = tmp_path / "go"
    program.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    program.chmod(0o755)
    with pytest.raises(GenerationError, match=r"^go is 1\.19\.8; 1\.24 or newer is needed"):
        go.check_toolchain()
    program.write_text("#!/bin/sh\nprintf '\\033[1mgo 1.100\\033[m\\n'\n")
    go.check_toolchain()
