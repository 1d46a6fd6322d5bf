"""The one import of the generated messages."""

import importlib.util

try:
    from dispatch.sdk.v1.call_pb2 import Call
    from dispatch.sdk.v1.dispatch_pb2 import DispatchRequest, DispatchResponse
except ImportError as error:
    _spec = importlib.util.find_spec("dispatch")
    if _spec is None or not _spec.origin:  # absent, or the namespace package of the stubs
        raise
    raise ImportError(
        f"dispatch-grpc needs the top-level package 'dispatch' for its generated stubs, but "
        f"another distribution has installed it at {_spec.origin} (dispatch-py does). The two "
        f"exclude each other: run 'pip uninstall dispatch-py', or use separate environments."
    ) from error

__all__ = ["Call", "DispatchRequest", "DispatchResponse", "load_all"]


def load_all() -> None:
    """Make all messages of the schema known, so that they can be found by their names."""
    import dispatch.sdk.python.v1.pickled_pb2
    import dispatch.sdk.v1.function_pb2  # noqa: F401
