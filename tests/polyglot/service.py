"""The service that the programs talk to: the one place that knows what it is."""

import contextlib
from collections.abc import Iterator

from dispatch.sdk.v1.function_connect import FunctionServiceClientSync
from dispatch.sdk.v1.function_pb2 import RunRequest, RunResponse

from dispatch_grpc.testing import CallRecorder, RecordedRequest, serve

KEY = "sk-polyglot-0123456789"


class Service:
    """A Dispatch service on this machine: the recorder of the test kit.

    Attributes:
        url: Its API URL.
    """

    def __init__(self, url: str, recorder: CallRecorder) -> None:
        self.url = url
        self._recorder = recorder

    @property
    def env(self) -> dict[str, str]:
        """The variables by which a program finds the service."""
        return {"DISPATCH_API_URL": self.url, "DISPATCH_API_KEY": KEY}

    @property
    def requests(self) -> list[RecordedRequest]:
        """What was recorded."""
        return self._recorder.requests

    def result(self, dispatch_id: str) -> RunResponse:
        """Have a recorded call run by its endpoint; returns what that answered."""
        (call,) = (
            call
            for request in self.requests
            for call, id in zip(request.calls, request.dispatch_ids, strict=True)
            if id == dispatch_id
        )
        with FunctionServiceClientSync(call.endpoint, send_compression=None) as endpoint:
            return endpoint.run(
                RunRequest(
                    function=call.function,
                    input=call.input,
                    dispatch_id=dispatch_id,
                    root_dispatch_id=dispatch_id,
                ),
                timeout_ms=10_000,
            )


@contextlib.contextmanager
def start() -> Iterator[Service]:
    """Start the service, and stop it at the end."""
    recorder = CallRecorder()
    with serve(recorder, KEY) as server:
        yield Service(server.url, recorder)
