"""A test kit for programs that dispatch calls.

    from dispatch_grpc import Client, new_call
    from dispatch_grpc.testing import CallRecorder, RecordedRequest, serve

    recorder = CallRecorder()
    with serve(recorder) as server, Client("key", api_url=server.url) as client:
        client.dispatch(new_call("http://example.com", "f", 23))
    recorder.assert_requests(RecordedRequest([new_call("http://example.com", "f", 23)]))

`Runner` runs the functions of endpoints without a server:

    assert Runner(endpoint).run(greet.call("World")) == "Hello, World!"

For pytest there are the fixtures `dispatch_recorder`, a `CallRecorder`, and
`dispatch_server`, which serves it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dispatch_grpc.testing.recorder import CallRecorder, RecordedRequest
    from dispatch_grpc.testing.runner import Runner
    from dispatch_grpc.testing.servers import Server, serve, serve_app

__all__ = ["CallRecorder", "RecordedRequest", "Runner", "Server", "serve", "serve_app"]

_MODULES = {"CallRecorder": "recorder", "RecordedRequest": "recorder", "Runner": "runner"}


if not TYPE_CHECKING:  # or type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Import a name when it is used first: pytest loads the fixtures in every run."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(f"dispatch_grpc.testing.{_MODULES.get(name, 'servers')}")
        value = globals()[name] = getattr(module, name)
        return value
