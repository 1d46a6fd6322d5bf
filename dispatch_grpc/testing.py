"""A test kit for programs that dispatch calls.

    from dispatch_grpc import Client, new_call
    from dispatch_grpc.testing import CallRecorder, RecordedRequest, serve

    recorder = CallRecorder()
    with serve(recorder) as server, Client("key", api_url=server.url) as client:
        client.dispatch(new_call("http://example.com", "f", 23))
    recorder.assert_requests(RecordedRequest([new_call("http://example.com", "f", 23)]))

`Runner` runs the functions of endpoints without any server:

    assert Runner(endpoint).run(greet.call("World")) == "Hello, World!"

For pytest there are the fixtures `dispatch_recorder`, a `CallRecorder`, and
`dispatch_server`, which serves it.
"""

import asyncio
import contextlib
import difflib
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatch_grpc import _asgi
from dispatch_grpc._config import DEFAULT_MAX_MESSAGE_BYTES
from dispatch_grpc._proto import Call, DispatchRequest, DispatchResponse
from dispatch_grpc._runner import Runner
from dispatch_grpc.errors import Code, DispatchError, rpc_error
from dispatch_grpc.server import Handler, dispatch_app
from dispatch_grpc.values import unmarshal

__all__ = ["CallRecorder", "RecordedRequest", "Runner", "Server", "serve", "serve_app"]

_START_SECONDS = 10


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that a recorder got, or that a test expects.

    Attributes:
        calls: The calls, in their order.
        metadata: Metadata by lower-case key, without the API key.
        dispatch_ids: The ids that were answered; not compared.
    """

    calls: Sequence[Call]
    metadata: Mapping[str, str] = field(default_factory=dict)
    dispatch_ids: Sequence[str] = ()


class CallRecorder:
    """A handler that records requests and hands out ids, instead of running the calls.

    May be used from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []
        self._refused: list[RecordedRequest] = []
        self._failures: list[tuple[Code, str]] = []

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests that were recorded, in their order."""
        with self._lock:
            return list(self._requests)

    @property
    def refused(self) -> list[RecordedRequest]:
        """The requests that `fail_next` made fail, in their order."""
        with self._lock:
            return list(self._refused)

    @property
    def calls(self) -> list[Call]:
        """The calls of all recorded requests, in their order."""
        return [call for request in self.requests for call in request.calls]

    def fail_next(self, code: Code, message: str = "told to fail", *, times: int = 1) -> None:
        """Make the next requests fail; they are not recorded.

        Args:
            code: Status code to answer with.
            message: Message to answer with.
            times: How many requests fail.
        """
        with self._lock:
            self._failures.extend([(code, message)] * times)

    def clear(self) -> None:
        """Forget all requests and failures."""
        with self._lock:
            self._requests.clear()
            self._refused.clear()
            self._failures.clear()

    def assert_requests(self, *expected: RecordedRequest) -> None:
        """Assert that exactly these requests were recorded, in this order.

        Calls are compared in all fields. Of the metadata, only what is expected: a request
        may carry more.

        Args:
            expected: The requests.

        Raises:
            AssertionError: Others were recorded; the message shows the difference.
        """
        recorded = self.requests
        wanted_lines: list[str] = []
        found_lines: list[str] = []
        for index in range(max(len(expected), len(recorded))):
            wanted = expected[index] if index < len(expected) else None
            found = recorded[index] if index < len(recorded) else None
            wanted_lines += _lines(index, wanted, wanted)
            found_lines += _lines(index, found, wanted)
        if wanted_lines != found_lines:
            diff = difflib.unified_diff(
                wanted_lines, found_lines, "expected", "recorded", lineterm="", n=100
            )
            raise AssertionError("other requests were recorded:\n" + "\n".join(diff))

    async def dispatch(
        self, request: DispatchRequest, metadata: Mapping[str, str]
    ) -> DispatchResponse:
        """Record a request: the method of a `Handler`."""
        calls = [_copy(call) for call in request.calls]
        with self._lock:
            if self._failures:
                code, message = self._failures.pop(0)
                self._refused.append(RecordedRequest(calls, dict(metadata)))
                raise rpc_error(code, message)
            ids = [str(uuid.uuid4()) for _ in calls]
            self._requests.append(RecordedRequest(calls, dict(metadata), ids))
        return DispatchResponse(dispatch_ids=ids)


def _copy(call: Call) -> Call:
    copy = Call()
    copy.CopyFrom(call)
    return copy


def _lines(
    index: int, request: RecordedRequest | None, expected: RecordedRequest | None
) -> list[str]:
    """Describe a request for the diff, with the metadata that is expected."""
    if request is None:
        return []
    keys = sorted(expected.metadata) if expected is not None else []
    lines = [f"request {index}:"]
    lines += [f"  metadata {key}: {request.metadata.get(key, '(missing)')}" for key in keys]
    for number, call in enumerate(request.calls):
        lines.append(f"  call {number}:")
        for descriptor, value in call.ListFields():
            if descriptor.name == "input":
                lines.append(f"    input: {_input(call)}")
            else:
                lines.append(f"    {descriptor.name}: {str(value).strip()!s}")
    return lines


def _input(call: Call) -> str:
    try:
        return f"{unmarshal(call.input)!r} ({call.input.type_url}, {call.input.value.hex()})"
    except DispatchError:
        return f"{call.input.type_url}, {call.input.value.hex()}"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that `serve` runs.

    Attributes:
        url: Its API URL, for `Client(api_url=…)`.
    """

    url: str


@contextlib.contextmanager
def serve(
    handler: Handler,
    api_key: str | None = None,
    *,
    max_request_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
) -> Iterator[Server]:
    """Serve DispatchService on a free port of the loopback interface, in a thread.

    gRPC, Connect and gRPC-Web, all at the same URL.

    Args:
        handler: What becomes of the calls: a `CallRecorder`, or a `Handler` of your own.
        api_key: Key that requests must carry; None lets every one in.
        max_request_bytes: Largest request to read.

    Yields:
        The running server; it is stopped at the end of the `with` block.
    """
    app = dispatch_app(
        handler,
        api_keys=None if api_key is None else [api_key],
        max_request_bytes=max_request_bytes,
    )
    with serve_app(app) as server:
        yield server


@contextlib.contextmanager
def serve_app(app: _asgi.ASGIApplication, **tls: Any) -> Iterator[Server]:
    """Serve any ASGI application in a thread, like `serve`.

    Args:
        app: The application.
        tls: As for `_asgi.serve`; with it the server speaks https.

    Yields:
        The running server.
    """
    listener = _asgi.listen()
    scheme, port = "https" if tls else "http", listener.getsockname()[1]
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    started = threading.Event()

    async def main() -> None:
        event = asyncio.Event()
        stop.append((asyncio.get_running_loop(), event))

        async def until() -> None:
            started.set()
            await event.wait()

        await _asgi.serve(app, listener, until=until, **tls)

    thread = threading.Thread(
        target=asyncio.run, args=(main(),), name="dispatch-server", daemon=True
    )
    thread.start()
    try:
        if not started.wait(_START_SECONDS):
            raise RuntimeError("the server did not start")
        yield Server(f"{scheme}://localhost:{port}" if tls else f"http://127.0.0.1:{port}")
    finally:
        for loop, event in stop:
            loop.call_soon_threadsafe(event.set)
        thread.join(_START_SECONDS)
