"""A protoc plugin that writes the grpcio stubs and their types (`_pb2_grpc.py`, `.pyi`).

buf has no built-in for them, and grpcio-tools carries the generator only inside its own
protoc. This plugin lets buf reach it: it hands the request's descriptors to that protoc
and answers with the files it wrote. Files without a service get none.
"""

import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2
from grpc_tools import protoc


def main() -> None:
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    wanted = set(request.file_to_generate)
    names = [f.name for f in request.proto_file if f.name in wanted and f.service]
    with tempfile.TemporaryDirectory() as tmp:
        descriptors = Path(tmp, "descriptors.binpb")
        files = descriptor_pb2.FileDescriptorSet(file=request.proto_file)
        descriptors.write_bytes(files.SerializeToString())
        out = Path(tmp, "out")
        out.mkdir()
        if names:
            options = [
                f"--descriptor_set_in={descriptors}",
                f"--grpc_python_out={out}",
                f"--mypy_grpc_out=quiet:{out}",
            ]
            if protoc.main(["protoc", *options, *names]) != 0:
                response.error = f"protoc could not generate grpcio stubs of {names}"
        # The stubs are a namespace package, in which every package is marked as typed.
        for folder in sorted({Path(name).parent for name in wanted}):
            response.file.add(name=f"{folder.as_posix()}/py.typed", content="")
        for path in sorted(out.rglob("*.py*")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text())
    sys.stdout.buffer.write(response.SerializeToString())


if __name__ == "__main__":
    main()
