"""The recorder that the programs talk to where their requests are looked at."""

import contextlib
from collections.abc import Iterator

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


@contextlib.contextmanager
def start() -> Iterator[Service]:
    """Start the service, and stop it at the end."""
    recorder = CallRecorder()
    with serve(recorder, KEY) as server:
        yield Service(server.url, recorder)
