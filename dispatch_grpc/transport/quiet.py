"""Import grpcio with the log of its C core turned off: our errors carry the same information.

The core reads GRPC_VERBOSITY once: newer versions when they are imported, grpcio 1.72 with the
first channel. So the variable stays set, for child processes too. An existing value is kept.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio

__all__ = ["grpc"]
