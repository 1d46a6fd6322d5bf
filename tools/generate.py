"""Write `generated/` from `proto/`, or check that it is what would be written.

    python -m tools.generate [--check] [python] [go] [ts] [java] [all]

Without a language: every one whose toolchain is there, and a line about each that is not.
Everything is generated into a temporary folder first. `generated/` changes when all of it
succeeded, and stays as it was otherwise.
"""

import contextlib
import filecmp
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from tools.languages import GENERATORS, LANGUAGES, ROOT, GenerationError, Language, run

_GENERATED = ROOT / "generated"
_BUILT = {"__pycache__", "node_modules", "target"}
"""What building the stubs leaves in their folders."""


def choose(words: Iterable[str]) -> list[Language]:
    """Choose the languages by their names; all of them must have their toolchains."""
    names = list(dict.fromkeys(words))
    unknown = [name for name in names if name not in LANGUAGES and name != "all"]
    if unknown:
        raise GenerationError(
            f"LANGS: unknown {', '.join(unknown)}; there are {', '.join(LANGUAGES)}, and all"
        )
    chosen = list(LANGUAGES.values()) if "all" in names else [LANGUAGES[name] for name in names]
    problems = []
    for language in chosen:
        try:
            language.check_toolchain()
        except GenerationError as problem:
            problems.append(f"{language.name}: {problem}")
    if problems:
        raise GenerationError("\n".join(problems))
    return chosen


def present() -> list[Language]:
    """Choose the languages whose toolchain is there, and say which are skipped."""
    chosen = []
    for language in LANGUAGES.values():
        try:
            language.check_toolchain()
            chosen.append(language)
        except GenerationError as problem:
            say(f"skipped {language.name}: {problem}")
    return chosen


def values() -> dict[str, str]:
    """What stands for `@…@` in the templates: names of the stubs, and their version."""
    names = tomllib.loads((ROOT / "tools/gen/names.toml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {f"{table}.{key}": str(v) for table, keys in names.items() for key, v in keys.items()}
    return {**found, "version": str(project["version"])}


def fill(text: str, known: dict[str, str]) -> str:
    """Fill a template in."""
    return re.sub("@([a-z_.]+)@", lambda match: known[match[1]], text)


def generate(language: Language, into: Path) -> Path:
    """Generate the package of a language into a folder, and return the package's folder."""
    known = values()
    template = into / f"{language.name}.yaml"
    template.write_text(fill(language.template.read_text(), known))
    search = [language.path, LANGUAGES["python"].path, os.environ.get("PATH", "")]
    buf = LANGUAGES["python"].path / "buf"
    run(
        [buf, "generate", "--template", template, "--output", into],
        PATH=os.pathsep.join(map(str, search)),
    )
    package = into / "generated" / language.name
    by_hand = language.source / "package"
    if by_hand.exists():
        shutil.copy(ROOT / "LICENSE", package)
        for file in filter(Path.is_file, by_hand.rglob("*")):
            target = package / file.relative_to(by_hand)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(fill(file.read_text(), known))
    language.finish(package)
    return package


def differences(written: Path, kept: Path) -> list[str]:
    """The files that differ between what is generated and what is kept."""
    names = [
        {
            path.relative_to(folder)
            for path in folder.rglob("*")
            if path.is_file() and not _BUILT & set(path.relative_to(folder).parts)
        }
        for folder in (written, kept)
    ]
    found = [f"{name} is missing" for name in names[0] - names[1]]
    found += [f"{name} is not generated" for name in names[1] - names[0]]
    found += [
        f"{name} differs"
        for name in names[0] & names[1]
        if not filecmp.cmp(written / name, kept / name, shallow=False)
    ]
    return sorted(found)


def replace(packages: dict[str, Path], aside: Path) -> None:
    """Put packages into `generated/`: all of them, or none."""
    aside.mkdir()
    with contextlib.ExitStack() as undo:
        for name, package in packages.items():
            kept = _GENERATED / name
            if kept.exists():
                kept.rename(aside / name)
                undo.callback((aside / name).rename, kept)
            package.rename(kept)
            undo.callback(kept.rename, package)
        undo.pop_all()


def say(text: str) -> None:
    """Print a line, after what was printed before."""
    print(f"gen: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Do what the arguments say; returns the exit status."""
    check = "--check" in arguments
    words = [name for word in arguments if word != "--check" for name in word.split(",") if name]
    try:
        chosen = choose(words) if words else present()
        for language in chosen:
            language.prepare()
        GENERATORS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="tmp-", dir=GENERATORS) as tmp:
            packages = {language.name: generate(language, Path(tmp)) for language in chosen}
            changed = {
                name: found
                for name, package in packages.items()
                if (found := differences(package, _GENERATED / name))
            }
            if check and changed:
                lines = [f"generated/{n}/{line}" for n, found in changed.items() for line in found]
                raise GenerationError("\n".join([*lines, "run 'make gen' and commit the result"]))
            if changed:
                replace({name: packages[name] for name in changed}, Path(tmp, "aside"))
            for name in packages:
                say(f"generated/{name} {'is written' if name in changed else 'is up to date'}")
    except GenerationError as problem:
        for line in str(problem).splitlines():
            say(line)
        if not check:
            say("nothing was changed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
