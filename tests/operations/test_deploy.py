"""The files in `deploy/`, each checked by a tool of its ecosystem."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DEPLOY.is_dir(), reason="not in the sdist"),
]


def check(*command: Any) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_dockerfile():
    assert check(BIN / "hadolint", "--no-color", DEPLOY / "Dockerfile") == ""


def test_the_image_gets_what_the_wheel_is_made_of(tmp_path: Path):
    """The first stage builds from what it copies; the other files are not sent to it."""
    sources = re.findall(
        r"^COPY (?!--)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE
    )
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text()
    for name in " ".join(sources).split():
        assert f"!{name}\n" in allowed
        source, target = ROOT / name, tmp_path / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    check(BIN / "python", "-m", "build", "--wheel", "--outdir", tmp_path, tmp_path / "source")
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "dispatch_grpc/service/page/templates/home.html" in names
    assert "dispatch/calls/v1/calls_pb2.py" in names


def test_the_compose_file():
    check(
        BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml"
    )


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and "CI" not in os.environ,
    reason="systemd is not installed",
)
def test_the_systemd_unit():
    check("systemd-analyze", "verify", "--man=no", DEPLOY / "dispatch-grpc.service")


@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_the_kubernetes_manifests(version: str):
    for file in (DEPLOY / "kubernetes").glob("*.yaml"):
        check(BIN / "kubernetes-validate", "--strict", "-k", version, file)


def test_the_files_start_the_service_with_options_that_it_has():
    """What the image, the unit and the manifests pass to `serve`, `serve --help` knows."""
    known = check(BIN / "python", "-m", "dispatch_grpc", "serve", "--help")
    for file in DEPLOY.rglob("*"):
        for line in file.read_text().splitlines() if file.is_file() else ():
            if "serve" in line and not line.lstrip().startswith("#"):
                for option in re.findall(r"--[a-z-]+", line):
                    assert f"{option} " in known or f"{option}\n" in known, (file, option)
