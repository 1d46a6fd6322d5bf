"""What the package promises as a whole: its names, its layers, its wheel, its schema."""

import inspect
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest
from dispatch.sdk.v1 import function_pb2
from google.protobuf import descriptor_pb2

import dispatch_grpc
from dispatch_grpc import AsyncBatch, AsyncClient, Batch, Client
from dispatch_grpc.testing import CallRecorder, Server

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dispatch_grpc"


def test_all_is_sorted_and_complete():
    names = dispatch_grpc.__all__
    assert names == sorted(names)
    for name in names:
        assert getattr(dispatch_grpc, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        dispatch_grpc.nothing  # type: ignore[attr-defined]  # noqa: B018
    for cls in vars(dispatch_grpc.errors).values():
        if inspect.isclass(cls) and issubclass(cls, dispatch_grpc.DispatchError):
            assert cls.__name__ in names


# What does I/O.
ASYNC = {"dispatch", "wait", "wait_all", "get", "list", "cancel", "complete", "fail", "close"}
ASYNC |= {"rerun", "rerun_calls", "purge_calls", "pause", "resume", "pauses"}


@pytest.mark.parametrize("pair", [(Client, AsyncClient), (Batch, AsyncBatch)])
def test_the_async_twin_differs_by_await_only(pair: tuple[type, type]):
    def public(cls: type) -> dict[str, Any]:
        return {
            name: member
            for name, member in inspect.getmembers(cls)
            if inspect.isfunction(member) and (not name.startswith("_") or name == "__init__")
        }

    sync, asynchronous = map(public, pair)
    assert sync.keys() == asynchronous.keys()
    for name, function in sync.items():
        twin = asynchronous[name]
        shape, other = (
            [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
            for f in (function, twin)
        )
        if name == "__init__" and pair[1] is AsyncClient:
            assert other.pop()[0] == "coalesce"  # threads have batches
        assert shape == other, name
        if name != "__init__":
            doc = (inspect.getdoc(twin) or "").replace("AsyncClient", "Client")
            assert doc == inspect.getdoc(function), name
        assert inspect.iscoroutinefunction(twin) == (name in ASYNC), name


def test_everything_public_has_a_docstring():
    for name in dispatch_grpc.__all__:
        thing = getattr(dispatch_grpc, name)
        if thing is str or name == "Call":
            continue
        assert inspect.getdoc(thing), name
        for attribute, member in inspect.getmembers(thing, inspect.isfunction):
            if not attribute.startswith("_"):
                assert inspect.getdoc(member), f"{name}.{attribute}"


def test_the_floors_are_those_of_the_generated_code():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    code = (ROOT / "generated/python/dispatch/sdk/v1/dispatch_pb2_grpc.py").read_text()
    version = code.split("GRPC_GENERATED_VERSION = '")[1].split("'")[0]
    assert f"grpcio>={version}" in project["dependencies"]
    code = (ROOT / "generated/python/dispatch/sdk/v1/call_pb2.py").read_text()
    version = code.split("# Protobuf Python Version: ")[1].split("\n")[0]
    floor = next(d for d in project["dependencies"] if d.startswith("protobuf"))
    assert floor.split(">=")[1].split(",")[0] == version.removesuffix(".0")


def test_a_wheel_in_a_clean_venv_dispatches_a_call(
    tmp_path: Path, dispatch_recorder: CallRecorder, dispatch_server: Server
):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True, timeout=300
    )
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    (python,) = [
        *(tmp_path / "venv").glob("bin/python"),
        *(tmp_path / "venv").glob("Scripts/python.exe"),
    ]
    subprocess.run([*pip, "--python", python, "install", wheel], check=True, timeout=300)
    code = (
        "import sys\n"
        "from dispatch.sdk.v1 import call_pb2, dispatch_pb2_grpc\n"
        "from dispatch_grpc import Client, new_call\n"
        "call = new_call('http://example.com', 'f', {'clean': 'venv'})\n"
        "assert type(call) is call_pb2.Call\n"
        "print(Client('key', api_url=sys.argv[1]).dispatch(call))\n"
        "try:\n"
        "    Client('key', protocol='connect')\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [python, "-W", "error", "-I", "-c", code, dispatch_server.url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    dispatch_id, complaint = done.stdout.splitlines()
    assert [dispatch_id] == dispatch_recorder.requests[0].dispatch_ids
    assert "pip install 'dispatch-grpc[connect]'" in complaint
    typed = {path.parent.name for path in (tmp_path / "venv").rglob("py.typed")}
    assert {"dispatch_grpc", "v1"} <= typed


# The contract, number by number: what a peer with another copy of the schema relies on.
CONTRACT = """
    Call 1 correlation_id uint64 | Call 2 endpoint string | Call 3 function string
    Call 4 input google.protobuf.Any | Call 5 expiration google.protobuf.Duration
    Call 6 version string | CallResult 1 correlation_id uint64
    CallResult 2 output google.protobuf.Any | CallResult 3 error dispatch.sdk.v1.Error
    CallResult 4 dispatch_id string | DispatchRequest 1 calls dispatch.sdk.v1.Call*
    DispatchResponse 1 dispatch_ids string* | Error 1 type string | Error 2 message string
    Error 3 value bytes | Error 4 traceback bytes | Exit 1 result dispatch.sdk.v1.CallResult
    Exit 2 tail_call dispatch.sdk.v1.Call | RunRequest 1 function string
    RunRequest 2 input google.protobuf.Any @directive
    RunRequest 3 poll_result dispatch.sdk.v1.PollResult @directive
    RunRequest 4 dispatch_id string | RunRequest 5 parent_dispatch_id string
    RunRequest 6 root_dispatch_id string | RunRequest 7 creation_time google.protobuf.Timestamp
    RunRequest 8 expiration_time google.protobuf.Timestamp
    RunResponse 1 status dispatch.sdk.v1.Status
    RunResponse 2 exit dispatch.sdk.v1.Exit @directive
    RunResponse 3 poll dispatch.sdk.v1.Poll @directive | Poll 1 coroutine_state bytes @state
    Poll 6 typed_coroutine_state google.protobuf.Any @state | Poll 2 calls dispatch.sdk.v1.Call*
    Poll 3 max_wait google.protobuf.Duration | Poll 4 max_results int32
    Poll 5 min_results int32 | PollResult 1 coroutine_state bytes @state
    PollResult 4 typed_coroutine_state google.protobuf.Any @state
    PollResult 2 results dispatch.sdk.v1.CallResult* | PollResult 3 error dispatch.sdk.v1.Error
    Pickled 1 pickled_value bytes
"""


def test_the_schema_is_the_contract():
    from dispatch.sdk.python.v1 import pickled_pb2
    from dispatch.sdk.v1 import (
        call_pb2,
        dispatch_pb2,
        error_pb2,
        exit_pb2,
        poll_pb2,
        status_pb2,
    )

    found = set()
    modules = (call_pb2, dispatch_pb2, error_pb2, exit_pb2, function_pb2, poll_pb2, status_pb2)
    module: Any
    for module in (*modules, pickled_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        assert file.syntax == "proto3"
        assert file.package == f"dispatch.sdk.{'python.' if module is pickled_pb2 else ''}v1"
        for message in file.message_type:
            for field in message.field:
                kind = (
                    field.type_name.lstrip(".")
                    or descriptor_pb2.FieldDescriptorProto.Type.Name(field.type)
                    .removeprefix("TYPE_")
                    .lower()
                )
                many = "*" if field.label == field.LABEL_REPEATED else ""
                one_of = (
                    f" @{message.oneof_decl[field.oneof_index].name}"
                    if field.HasField("oneof_index")
                    else ""
                )
                found.add(f"{message.name} {field.number} {field.name} {kind}{many}{one_of}")
    expected = {line.strip() for line in CONTRACT.replace("|", "\n").splitlines() if line.strip()}
    assert found == expected
    methods = {
        f"{service.full_name}/{method.name}"
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert methods == {
        "dispatch.sdk.v1.DispatchService/Dispatch",
        "dispatch.sdk.v1.FunctionService/Run",
    }
