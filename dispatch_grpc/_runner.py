"""Running calls to their end in this process, as a Dispatch service does, without network."""

import asyncio
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from dispatch_grpc._function_proto import CallResult, PollResult, RunRequest, RunResponse
from dispatch_grpc._proto import Call
from dispatch_grpc._responses import describe, respond, status_of
from dispatch_grpc.calls import problem_of
from dispatch_grpc.endpoint import Endpoint
from dispatch_grpc.errors import CallError, InvalidCallError, RPCError
from dispatch_grpc.status import Status
from dispatch_grpc.values import unmarshal


class Runner:
    """Runs calls in this process until they finish: polls, child calls and tail calls included.

        Runner(endpoint).run(greet.call("World"))  # "Hello, World!"

    Args:
        endpoints: The endpoints whose functions are called, told apart by their URLs.
        max_attempts: How often a call is run at most when its status is one after which a
            service tries again.
    """

    def __init__(self, *endpoints: Endpoint, max_attempts: int = 1) -> None:
        self._endpoints = {endpoint.url: endpoint for endpoint in endpoints}
        self._max_attempts = max_attempts

    def run(self, call: Call, T: Any = None) -> Any:
        """Run a call to its end. In a coroutine, use `run_async`.

        Args:
            call: The call, as `Function.call` or `new_call` makes it.
            T: Type to decode the output into, as for `unmarshal`.

        Returns:
            What the function returned, as `unmarshal` gives it.

        Raises:
            CallError: The call failed; it holds the type, the message and the status.
            InvalidCallError: The call breaks a rule of the schema.
            UnmarshalError: The output is no `T`.
        """
        return asyncio.run(self.run_async(call, T))

    async def run_async(self, call: Call, T: Any = None) -> Any:
        """Run a call to its end, like `run`."""
        if problem := problem_of(call):
            raise InvalidCallError(f"call{problem}")
        status, result = await self._finish(call, _Run(str(uuid.uuid4())))
        if result.HasField("error"):
            output = unmarshal(result.output) if result.HasField("output") else None
            error = result.error
            raise CallError(
                error.message,
                type=error.type,
                status=status,
                output=output,
                traceback=error.traceback.decode(errors="replace"),
            )
        return unmarshal(result.output, T) if result.HasField("output") else None

    async def _finish(self, call: Call, run: "_Run") -> tuple[Status, CallResult]:
        """Run a call, and what it calls, until it exits."""
        endpoint, attempts = call.endpoint, 0
        request = run.request(call)
        try:
            while True:
                response = await self._respond(endpoint, request)
                status = Status(response.status)
                attempts += 1
                if status.retryable and attempts < self._max_attempts:
                    if status is Status.INCOMPATIBLE_STATE:
                        request = run.request(call)
                elif response.HasField("poll") and status is Status.OK:
                    attempts = 0
                    self._start(run, response.poll.calls, endpoint)
                    request = await run.resume(call, response)
                elif response.exit.HasField("tail_call") and status is Status.OK:
                    attempts, call = 0, response.exit.tail_call
                    endpoint = call.endpoint or endpoint
                    request = run.request(call)
                else:
                    return status, _result(run.dispatch_id, status, response)
        finally:
            for task in run.tasks:
                task.cancel()  # child calls that the function did not wait for

    async def _respond(self, url: str, request: RunRequest) -> RunResponse:
        endpoint = self._endpoints.get(url.rstrip("/"))
        try:
            if endpoint is None:
                known = ", ".join(self._endpoints) or "none"
                raise LookupError(f"the runner has no endpoint {url!r}; it has: {known}")
            return await endpoint.run(request)
        except (LookupError, RPCError) as error:
            status = status_of(error) if isinstance(error, RPCError) else Status.NOT_FOUND
            response = respond(status)
            response.exit.result.error.CopyFrom(describe(error))
            return response

    def _start(self, run: "_Run", calls: Iterable[Call], endpoint: str) -> None:
        for given in calls:
            child = Call()
            child.CopyFrom(given)
            child.endpoint = given.endpoint or endpoint
            task = asyncio.create_task(self._follow(run, child))
            run.tasks.add(task)
            task.add_done_callback(run.tasks.discard)

    async def _follow(self, run: "_Run", child: Call) -> None:
        """Run a child call; its result waits until the function is resumed."""
        _, result = await self._finish(child, run.child())
        result.correlation_id = child.correlation_id
        run.results.append(result)


def _result(dispatch_id: str, status: Status, response: RunResponse) -> CallResult:
    result = CallResult()
    result.CopyFrom(response.exit.result)
    result.dispatch_id = dispatch_id
    if status is not Status.OK and not result.HasField("error"):
        result.error.type = status.name
        result.error.message = f"the function answered {status.name} and no error"
    return result


class _Run:
    """A call that runs, and its child calls."""

    def __init__(self, dispatch_id: str, parent_id: str = "", root_id: str = "") -> None:
        self.dispatch_id = dispatch_id
        self._parent_id, self._root_id = parent_id, root_id or dispatch_id
        self._created = datetime.now(UTC)
        self.tasks: set[asyncio.Task[None]] = set()
        self.results: list[CallResult] = []

    def child(self) -> "_Run":
        return _Run(str(uuid.uuid4()), self.dispatch_id, self._root_id)

    def request(self, call: Call) -> RunRequest:
        """The request that runs a call from its beginning."""
        request = RunRequest(
            function=call.function,
            dispatch_id=self.dispatch_id,
            parent_dispatch_id=self._parent_id,
            root_dispatch_id=self._root_id,
        )
        request.creation_time.FromDatetime(self._created)
        if call.HasField("expiration"):
            try:
                expires = self._created + call.expiration.ToTimedelta()
            except OverflowError:
                expires = datetime.max.replace(tzinfo=UTC)
            request.expiration_time.FromDatetime(expires)
        request.input.CopyFrom(call.input)
        return request

    async def resume(self, call: Call, response: RunResponse) -> RunRequest:
        """Wait as a Poll asks, and make the request that resumes the function."""
        poll = response.poll
        deadline = asyncio.get_running_loop().time() + poll.max_wait.ToTimedelta().total_seconds()
        while self.tasks and len(self.results) < poll.min_results:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.wait(self.tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        request = self.request(call)
        result = PollResult(results=self.results[: poll.max_results])
        del self.results[: poll.max_results]
        if poll.HasField("typed_coroutine_state"):
            result.typed_coroutine_state.CopyFrom(poll.typed_coroutine_state)
        else:
            result.coroutine_state = poll.coroutine_state
        request.poll_result.CopyFrom(result)
        return request
