"""Running calls in this process as a Dispatch service does, without a network."""

import asyncio
import uuid
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar, overload

from dispatch_grpc.calls import mask_urls, problem_of
from dispatch_grpc.client.following import output_of
from dispatch_grpc.client.settings import positive
from dispatch_grpc.codes import Status
from dispatch_grpc.endpoint.answers import describe, respond, status_of
from dispatch_grpc.endpoint.endpoint import Endpoint
from dispatch_grpc.errors import (
    ConfigurationError,
    EndpointError,
    InvalidCallError,
    RPCError,
)
from dispatch_grpc.schema import Call, CallResult, PollResult, RunRequest, RunResponse

_T = TypeVar("_T")


class Runner:
    """Runs calls in this process until they finish, with their polls, child and tail calls.

        Runner(endpoint).run(greet.call("World"))  # "Hello, World!"

    Child calls that a function does not wait for end with it; a service runs them on.

    Args:
        endpoints: The endpoints of the functions, each with a URL of its own.
        max_attempts: Number of times that a call is run at most while it fails with a status
            after which a service tries again.

    Raises:
        ConfigurationError: Two endpoints have the same URL, or a setting is not acceptable.
    """

    def __init__(self, *endpoints: Endpoint, max_attempts: int = 1) -> None:
        self._endpoints: dict[str, Endpoint] = {}
        for endpoint in endpoints:
            if self._endpoints.setdefault(endpoint.url, endpoint) is not endpoint:
                raise ConfigurationError(f"endpoints: two have the URL {mask_urls(endpoint.url)}")
        self._max_attempts = positive("max_attempts", max_attempts)

    @overload
    def run(self, call: Call, T: type[_T]) -> _T: ...
    @overload
    def run(self, call: Call, T: Any = None) -> Any: ...
    def run(self, call: Call, T: Any = None) -> Any:
        """Run a call until it finishes. In a coroutine, use `run_async`.

        Args:
            call: The call, as `Function.call` or `new_call` makes it.
            T: Type to decode the output into, as for `unmarshal`.

        Returns:
            The result of the function, as `unmarshal` returns it.

        Raises:
            CallError: The call failed; it holds the type, the message and the status.
            InvalidCallError: The call breaks a rule of the schema.
            UnmarshalError: The output is not a `T`.
            EndpointError: An event loop is running: await `run_async` there.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.run_async(call, T))
        raise EndpointError("Runner.run() cannot run in an event loop: await run_async()")

    @overload
    async def run_async(self, call: Call, T: type[_T]) -> _T: ...
    @overload
    async def run_async(self, call: Call, T: Any = None) -> Any: ...
    async def run_async(self, call: Call, T: Any = None) -> Any:
        """Run a call until it finishes, like `run`."""
        if problem := problem_of(call):
            raise InvalidCallError(f"call{problem}")
        status, result = await self._finish(call, _Run(str(uuid.uuid4())))
        return output_of(result, status, T)

    async def _finish(self, call: Call, run: "_Run") -> tuple[Status, CallResult]:
        """Run a call and the calls that it makes, until it exits."""
        endpoint, attempts = call.endpoint, 0
        request = run.request(call)
        try:
            while True:
                attempts += 1
                response = await self._respond(endpoint, request, attempts)
                status = Status(response.status)
                if status.retryable and attempts < self._max_attempts:
                    if status is Status.INCOMPATIBLE_STATE:
                        await run.drop_children()
                        request = run.request(call)
                elif response.HasField("poll") and status is Status.OK:
                    attempts = 0
                    self._start(run, response.poll.calls, endpoint)
                    request = await run.resume(call, response)
                elif response.exit.HasField("tail_call") and status is Status.OK:
                    attempts, call = 0, response.exit.tail_call
                    endpoint = call.endpoint or endpoint
                    await run.drop_children()
                    request = run.request(call)
                else:
                    return status, _result(run.dispatch_id, status, response)
        finally:
            await run.drop_children()

    async def _respond(self, url: str, request: RunRequest, attempt: int) -> RunResponse:
        endpoint = self._endpoints.get(url.rstrip("/"))
        try:
            if endpoint is None:
                known = ", ".join(map(mask_urls, self._endpoints)) or "none"
                raise LookupError(f"the runner has no endpoint {mask_urls(url)!r}; it has: {known}")
            return await endpoint.run(request, attempt=attempt)
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
            run.add(asyncio.create_task(self._follow(run, child)))

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
    """A running call and its child calls."""

    def __init__(self, dispatch_id: str, parent_id: str = "", root_id: str = "") -> None:
        self.dispatch_id = dispatch_id
        self._parent_id, self._root_id = parent_id, root_id or dispatch_id
        self._created = datetime.now(UTC)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self.results: list[CallResult] = []

    def child(self) -> "_Run":
        return _Run(str(uuid.uuid4()), self.dispatch_id, self._root_id)

    def add(self, task: asyncio.Task[None]) -> None:
        """Keep the task of a child call."""
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ended.set()

    async def drop_children(self) -> None:
        """Cancel the child calls that the function no longer waits for."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self.results.clear()

    def request(self, call: Call) -> RunRequest:
        """Return the request that starts a call."""
        request = RunRequest(
            function=call.function,
            dispatch_id=self.dispatch_id,
            parent_dispatch_id=self._parent_id,
            root_dispatch_id=self._root_id,
        )
        request.creation_time.FromDatetime(self._created)
        if expires := self._expires(call):
            request.expiration_time.FromDatetime(expires)
        request.input.CopyFrom(call.input)
        return request

    def _expires(self, call: Call) -> datetime | None:
        if not call.HasField("expiration"):
            return None
        try:
            return self._created + call.expiration.ToTimedelta()
        except OverflowError:
            return datetime.max.replace(tzinfo=UTC)

    async def resume(self, call: Call, response: RunResponse) -> RunRequest:
        """Wait as a Poll asks, and return the request that resumes the function."""
        poll = response.poll
        seconds = poll.max_wait.ToTimedelta().total_seconds()
        if expires := self._expires(call):
            seconds = min(seconds, (expires - datetime.now(UTC)).total_seconds())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._tasks and len(self.results) < poll.min_results:
                    self._ended.clear()
                    await self._ended.wait()
        request = self.request(call)
        result = PollResult(results=self.results[: poll.max_results])
        del self.results[: poll.max_results]
        if poll.HasField("typed_coroutine_state"):
            result.typed_coroutine_state.CopyFrom(poll.typed_coroutine_state)
        else:
            result.coroutine_state = poll.coroutine_state
        request.poll_result.CopyFrom(result)
        return request
