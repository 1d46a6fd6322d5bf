"""grpcio, whose C core is kept from writing to stderr what our errors tell.

The core reads GRPC_VERBOSITY when it is imported, and never again. A value that is set stays.
"""

import os

_is_set = "GRPC_VERBOSITY" in os.environ
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc  # noqa: E402
import grpc.aio  # noqa: E402

if not _is_set:
    del os.environ["GRPC_VERBOSITY"]

__all__ = ["grpc"]
