"""Run calls in this process as a Dispatch service does, without a network."""

import asyncio
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar, overload

from dispatch_grpc.calls import mask_urls, problem_of
from dispatch_grpc.client.following import output_of
from dispatch_grpc.client.settings import positive
from dispatch_grpc.codes import Status
from dispatch_grpc.endpoint.answers import describe, respond, status_of
from dispatch_grpc.endpoint.endpoint import Endpoint
from dispatch_grpc.endpoint.pending import is_pending
from dispatch_grpc.endpoint.workflows import WORKFLOW_EXPIRATION
from dispatch_grpc.errors import (
    ConfigurationError,
    EndpointError,
    InvalidCallError,
    RPCError,
)
from dispatch_grpc.schema import Call, CallResult, Poll, PollResult, RunRequest, RunResponse
from dispatch_grpc.testing.clock import Clock
from dispatch_grpc.testing.completions import Completions
from dispatch_grpc.values import marshal
from dispatch_grpc.workflow.driver import Mode, mode

_T = TypeVar("_T")


class Runner:
    """Runs calls in this process until they finish, including polls, child calls and tail calls.

        Runner(endpoint).run(greet.call("World"))  # "Hello, World!"

    Child calls that a function does not wait for are cancelled when it ends, whereas a service
    continues them. Time is skipped while everything waits: a workflow that sleeps for three days
    finishes immediately.

    Args:
        endpoints: The endpoints of the functions, each with a URL of its own.
        max_attempts: Largest number of attempts of a call that fails with a retryable status.
        replay_every_step: Whether to replay a workflow from its start after each entry of its
            journal. Code that behaves differently in a replay (it reads `time.time()`, iterates
            over a set of objects, or reads what other calls have changed) raises a
            NondeterminismError.

    Raises:
        ConfigurationError: Two endpoints have the same URL, or a setting is invalid.
    """

    def __init__(
        self, *endpoints: Endpoint, max_attempts: int = 1, replay_every_step: bool = False
    ) -> None:
        self._endpoints: dict[str, Endpoint] = {}
        for endpoint in endpoints:
            if self._endpoints.setdefault(endpoint.url, endpoint) is not endpoint:
                raise ConfigurationError(
                    f"endpoints: two endpoints have the URL {mask_urls(endpoint.url)}"
                )
        self._completions = Completions()
        self._max_attempts = positive("max_attempts", max_attempts)
        self._replay_every_step = bool(replay_every_step)

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
        raise EndpointError("an event loop is running: await run_async() instead of run()")

    @overload
    async def run_async(self, call: Call, T: type[_T]) -> _T: ...
    @overload
    async def run_async(self, call: Call, T: Any = None) -> Any: ...
    async def run_async(self, call: Call, T: Any = None) -> Any:
        """Run a call until it finishes, like `run`."""
        if problem := problem_of(call):
            raise InvalidCallError(f"call{problem}")
        clock = Clock()
        workflows = Mode(clock.now_us, clock.sleep, self._replay_every_step, has_service=False)
        token = mode.set(workflows)
        try:
            run = _Run(clock, self._completions, str(uuid.uuid4()))
            status, result = await self._finish(call, run)
        finally:
            mode.reset(token)
        return output_of(result, status, T)

    def complete(self, dispatch_id: str, output: Any = None) -> None:
        """Finish a call with an output from outside, like `Client.complete`.

        Functions and steps call it while the runner runs, from any thread.

        Args:
            dispatch_id: Id of the call, or of an `External`.
            output: Output of the call, any value that `marshal` accepts.
        """
        self._completions.add(dispatch_id, Status.OK, CallResult(output=marshal(output)))

    def fail(self, dispatch_id: str, error: BaseException) -> None:
        """Finish a call with an error from outside, like `Client.fail`; see `complete`."""
        self._completions.add(
            dispatch_id, Status.PERMANENT_ERROR, CallResult(error=describe(error))
        )

    async def _finish(self, call: Call, run: "_Run") -> tuple[Status, CallResult]:
        """Run a call and the calls that it makes, until it exits."""
        endpoint, attempts = call.endpoint, 0
        request = run.request(call)
        try:
            while True:
                attempts += 1
                if run.expired(call):
                    response = _failed(TimeoutError("the call expired before it ran"))
                else:
                    response = await self._respond(endpoint, request, attempts)
                completed = self._completions.find(run.names)
                if completed is None and is_pending(response.poll):
                    completed = await run.completion(call)
                if completed is not None:
                    return completed
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
            return _failed(error)

    def _start(self, run: "_Run", calls: Iterable[Call], endpoint: str) -> None:
        for given in calls:
            child = Call()
            child.CopyFrom(given)
            child.endpoint = given.endpoint or endpoint
            run.add(asyncio.create_task(self._follow(run, child)))

    async def _follow(self, run: "_Run", child: Call) -> None:
        """Run a child call; its result waits until the function is resumed."""
        _, result = await self._finish(child, run.child(child.correlation_id))
        result.correlation_id = child.correlation_id
        run.results.append(result)


def _failed(error: Exception) -> RunResponse:
    response = respond(Status.NOT_FOUND if isinstance(error, LookupError) else status_of(error))
    response.exit.result.error.CopyFrom(describe(error))
    return response


def _result(dispatch_id: str, status: Status, response: RunResponse) -> CallResult:
    result = CallResult()
    result.CopyFrom(response.exit.result)
    result.dispatch_id = dispatch_id
    if status is not Status.OK and not result.HasField("error"):
        result.error.type = status.name
        result.error.message = f"the function answered {status.name} without an error"
    return result


class _Run:
    """A running call and its child calls."""

    def __init__(
        self,
        clock: Clock,
        completions: Completions,
        dispatch_id: str,
        parent_id: str = "",
        root_id: str = "",
        *,
        correlation_id: int = 0,
    ) -> None:
        self._clock, self._completions = clock, completions
        self.dispatch_id = dispatch_id
        self.names = (dispatch_id, f"{parent_id}.{correlation_id:016x}")
        self._parent_id, self._root_id = parent_id, root_id or dispatch_id
        self._created = clock.datetime()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiter: asyncio.Future[None] | None = None
        self.results: list[CallResult] = []

    def child(self, correlation_id: int) -> "_Run":
        return _Run(
            self._clock,
            self._completions,
            str(uuid.uuid4()),
            self.dispatch_id,
            self._root_id,
            correlation_id=correlation_id,
        )

    def add(self, task: asyncio.Task[None]) -> None:
        """Keep the task of a child call."""
        self._clock.begin()
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._waiter is not None:
            self._clock.wake(self._waiter)
        self._clock.end()

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

    def expired(self, call: Call) -> bool:
        """Return whether a call has expired."""
        expires = self._expires(call)
        return expires is not None and self._clock.datetime() >= expires

    def _expires(self, call: Call) -> datetime | None:
        if not call.HasField("expiration"):
            return None
        try:
            return self._created + call.expiration.ToTimedelta()
        except OverflowError:
            return datetime.max.replace(tzinfo=UTC)

    async def completion(self, call: Call) -> tuple[Status, CallResult]:
        """Wait until the call is completed, or expires."""
        expires = self._expires(call) or self._clock.datetime() + WORKFLOW_EXPIRATION
        waiter = asyncio.get_running_loop().create_future()
        with self._completions.waiting(self.names, partial(self._clock.wake, waiter)):
            if self._completions.find(self.names) is None:
                await self._clock.wait(waiter, expires.timestamp())
        if (found := self._completions.find(self.names)) is not None:
            return found
        expired = _failed(TimeoutError("the call is pending, and nobody completed it"))
        return Status.TIMEOUT, _result(self.dispatch_id, Status.TIMEOUT, expired)

    async def resume(self, call: Call, response: RunResponse) -> RunRequest:
        """Wait as a Poll asks, and return the request that resumes the function."""
        poll = response.poll
        until = self._clock.now() + poll.max_wait.ToTimedelta().total_seconds()
        if expires := self._expires(call):
            until = min(until, expires.timestamp())
        while self._clock.now() < until and self._waits(poll):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._clock.wait(self._waiter, until)
        request = self.request(call)
        result = PollResult(results=self.results[: poll.max_results])
        del self.results[: poll.max_results]
        if poll.HasField("typed_coroutine_state"):
            result.typed_coroutine_state.CopyFrom(poll.typed_coroutine_state)
        else:
            result.coroutine_state = poll.coroutine_state
        request.poll_result.CopyFrom(result)
        return request

    def _waits(self, poll: Poll) -> bool:
        """Return whether there is more to wait for; a Poll without calls is a timer."""
        if self._tasks:
            return len(self.results) < poll.min_results
        return not self.results and not poll.calls
