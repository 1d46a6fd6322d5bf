"""The order of the rooms: a module imports only from the rooms above its own, without circles.

Read from the code itself, imports for type checkers and inside functions included.
"""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dispatch_grpc"
PAGE = ROOT / "docs" / "contributing.md"

# From the top. docs/contributing.md describes each room, in the same order.
ROOMS = (
    "version",
    "log",
    "text",
    "codes",
    "errors",
    "schema",
    "tracing",
    "values",
    "calls",
    "database_url",
    "transport",
    "client",
    "sql",
    "serving",
    "workflow",
    "endpoint",
    "testing",
    "service",
    "outbox",
    "cli",
)
# Public import paths that lead into a room, and the entry point of the command line.
ALIASES = {"status": "codes", "primitives": "endpoint", "signature": "endpoint"}
ALIASES |= {"server": "serving", "__main__": "cli"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def imports(name: str) -> set[str]:
    """Modules of the package that a module imports."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in FILES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {module for module in found if module.split(".")[0] == "dispatch_grpc"}


def room_of(module: str) -> str:
    parts = module.split(".")
    room = parts[1] if len(parts) > 1 else ""
    return ALIASES.get(room, room)


def test_every_module_is_in_a_room():
    assert {room_of(name) for name in FILES} - {""} == set(ROOMS)


@pytest.mark.parametrize("name", FILES)
def test_a_module_imports_only_from_the_rooms_above(name: str):
    room = room_of(name)
    if room:  # the package's own names come from everywhere
        for module in imports(name):
            if module == "dispatch_grpc":
                assert room == "cli", f"{name} imports the package itself"
            else:
                assert ROOMS.index(room_of(module)) <= ROOMS.index(room), f"{name}: {module}"


def test_no_module_imports_itself_by_a_circle():
    graph = {name: imports(name) - {name} for name in FILES if name != "dispatch_grpc"}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


def test_private_modules_stay_in_their_room():
    for name in FILES:
        for module in imports(name):
            if re.search(r"\._[a-z]", module):
                assert room_of(module) == room_of(name), f"{name}: {module}"


def libraries(name: str) -> set[str]:
    """Distributions that a module imports, by their top-level names."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
    return found


@pytest.mark.parametrize("name", FILES)
def test_each_library_is_known_to_few_rooms(name: str):
    allowed = {
        "grpc": {"transport", "client"},  # the client: types of the arguments that it takes
        "urllib3": {"transport"},
        "aiohttp": {"transport", "service"},  # the service calls endpoints
        "pyqwest": set(),
        "connectrpc": {"transport", "serving", "endpoint", "service"},
        "uvicorn": {"serving"},
        "zttp": {"serving"},
        "asyncpg": {"service", "outbox", "database_url"},
        "psycopg": {"sql"},
        "sqlalchemy": {"sql"},
        "django": set(),
        "pgqueuer": {"service"},
        "click": {"cli"},
        "opentelemetry": {"tracing"},
    }
    for library in libraries(name) & set(allowed):
        assert room_of(name) in allowed[library], library


def test_only_the_schema_imports_the_generated_messages():
    for name, path in FILES.items():
        if name != "dispatch_grpc.schema":
            assert not re.search(r"from dispatch\.\S*_pb2 import", path.read_text()), path


def test_only_the_store_changes_calls():
    change = r"(UPDATE|INSERT INTO|DELETE FROM|TRUNCATE)\s+(calls|finished|requests)\b"
    for path in (PACKAGE / "service").rglob("*.py"):
        if not path.stem.startswith("store") and path.parent.name != "schema":
            assert not re.search(change, path.read_text()), path


def test_the_page_for_contributors_lists_the_rooms_in_this_order():
    rows = re.findall(r"^\| `(\w+)/?`", PAGE.read_text(), re.MULTILINE)
    assert tuple(rows) == ROOMS


def test_the_page_for_contributors_names_every_module():
    named = set(re.findall(r"`(\w+)/?`", PAGE.read_text()))
    modules = {name.rpartition(".")[2] for name in FILES}
    assert modules - named <= {"dispatch_grpc", "__main__"}
