"""A handler for DispatchService that records calls instead of running them."""

import difflib
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import DispatchError, rpc_error
from dispatch_grpc.schema import Call, DispatchRequest, DispatchResponse
from dispatch_grpc.values import unmarshal


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that a recorder received, or that a test expects.

    Attributes:
        calls: The calls, in order.
        metadata: Metadata by lower-case key, without the API key.
        dispatch_ids: The ids in the answer; not compared.
    """

    calls: Sequence[Call]
    metadata: Mapping[str, str] = field(default_factory=dict)
    dispatch_ids: Sequence[str] = ()


class CallRecorder:
    """A handler that records requests and returns ids, instead of running the calls.

    Threads may share it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []
        self._refused: list[RecordedRequest] = []
        self._failures: list[tuple[Code, str]] = []

    @property
    def requests(self) -> list[RecordedRequest]:
        """The recorded requests, in order."""
        with self._lock:
            return list(self._requests)

    @property
    def refused(self) -> list[RecordedRequest]:
        """The requests that `fail_next` made fail, in order."""
        with self._lock:
            return list(self._refused)

    @property
    def calls(self) -> list[Call]:
        """The calls of all recorded requests, in order."""
        return [call for request in self.requests for call in request.calls]

    def fail_next(self, code: Code, message: str = "told to fail", *, times: int = 1) -> None:
        """Make the next requests fail; they are not recorded.

        Args:
            code: Status code to answer with.
            message: Message to answer with.
            times: Number of requests that fail.
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

        All fields of the calls are compared; of the metadata, only the expected keys.

        Args:
            expected: The requests.

        Raises:
            AssertionError: The recorded requests differ; the message shows how.
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
            raise AssertionError("the recorded requests differ:\n" + "\n".join(diff))

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
    """Describe a request for the diff, with the expected metadata."""
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
