"""What an import says when another module hides a package that the stubs need."""

import subprocess
import sys
from pathlib import Path

import pytest

OWN = "hides the installed package '{}', which dispatch-grpc needs. Rename it, for example to {}."


def run(folder: Path, script: str, code: str) -> str:
    """Run a script in a folder, and return the last line that it printed."""
    (folder / script).write_text(code)
    command = [sys.executable, "-W", "error", folder / script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    shown: list[str] = (done.stdout + done.stderr).splitlines()
    return shown[-1]


@pytest.mark.parametrize("imported", ["Client", "marshal", "new_call", "Endpoint", "Call"])
@pytest.mark.parametrize(
    ("file", "needed", "other"),
    [
        ("dispatch.py", "dispatch.sdk", "my_dispatch.py"),
        ("dispatch/__init__.py", "dispatch.sdk", "my_dispatch"),
        ("google/__init__.py", "google.protobuf", "my_google"),
        ("google.py", "google.protobuf", "my_google.py"),
    ],
)
def test_a_module_of_ones_own_hides_a_package(
    tmp_path: Path, file: str, needed: str, other: str, imported: str
):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("raise SystemExit('this must not run')" if "dispatch" in file else "")
    shown = run(tmp_path, "main.py", f"from dispatch_grpc import {imported}")
    hides = path.parent if path.name == "__init__.py" else path
    assert shown == f"ImportError: {hides} {OWN.format(needed, other)}"


def test_a_script_that_hides_the_package_itself(tmp_path: Path):
    shown = run(tmp_path, "dispatch.py", "import dispatch_grpc as d\nd.Client('key')")
    assert shown == (
        f"ImportError: {tmp_path / 'dispatch.py'} {OWN.format('dispatch.sdk', 'my_dispatch.py')}"
    )


def test_a_namespace_package_beside_the_script_is_no_obstacle(tmp_path: Path):
    for name in ("dispatch", "google"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.py").write_text("")
    code = (
        "import dispatch.own, google.own\nfrom dispatch_grpc import Client\nprint(Client.__name__)"
    )
    assert run(tmp_path, "main.py", code) == "Client"


def test_dispatch_py_is_named_where_it_is_installed(tmp_path: Path):
    """dispatch-py also has a top-level package `dispatch`."""
    (tmp_path / "dispatch").mkdir()
    (tmp_path / "dispatch" / "__init__.py").write_text("")
    info = tmp_path / "dispatch_py-0.8.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dispatch-py\nVersion: 0.8.0\n")
    (info / "RECORD").write_text("dispatch/__init__.py,,\n")
    shown = run(tmp_path, "main.py", "from dispatch_grpc import Client")
    assert shown.startswith(
        "ImportError: dispatch-grpc and dispatch-py cannot be installed together"
    )
    assert "Run 'pip uninstall dispatch-py'" in shown


def test_missing_stubs_are_a_plain_import_error(tmp_path: Path):
    (tmp_path / "dispatch").mkdir()
    code = f"""
import sys
sys.path[:] = [sys.path[0], *[p for p in sys.path if not p.endswith("generated/python")]]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
sys.path.append({str(Path(__file__).parents[1])!r})
from dispatch_grpc import Client
"""
    assert "No module named 'dispatch.sdk'" in run(tmp_path, "main.py", code)
