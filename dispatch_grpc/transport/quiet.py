"""grpcio, whose C core is kept from writing to stderr what our errors say.

The core reads GRPC_VERBOSITY once: newer versions when they are imported, grpcio 1.72 with the
first channel. So the variable stays set, for child processes too. A value that is set wins.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio

__all__ = ["grpc"]
