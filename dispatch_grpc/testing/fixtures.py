"""Fixtures for pytest, which loads this module as a plugin: nothing heavy at import."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dispatch_grpc.testing import CallRecorder, Server


@pytest.fixture
def dispatch_recorder() -> "CallRecorder":
    """A recorder of the calls that `dispatch_server` accepts."""
    from dispatch_grpc.testing import CallRecorder

    return CallRecorder()


@pytest.fixture
def dispatch_server(dispatch_recorder: "CallRecorder") -> "Iterator[Server]":
    """A server of the Dispatch API for one test: `Client("key", api_url=dispatch_server.url)`."""
    from dispatch_grpc.testing import serve

    with serve(dispatch_recorder) as server:
        yield server
