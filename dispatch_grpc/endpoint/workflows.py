"""Workflows as functions of an endpoint: from a RunRequest to an activation to an answer."""

import inspect
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from dispatch_grpc import tracing
from dispatch_grpc.codes import Status
from dispatch_grpc.endpoint.answers import failure, refusal, respond
from dispatch_grpc.endpoint.cancelling import call_to_cancel, can_cancel, failed_cancellation
from dispatch_grpc.endpoint.executor import CurrentCall, Executor, NotRunError
from dispatch_grpc.endpoint.function import Function, Host, is_kind
from dispatch_grpc.endpoint.pending import Pending
from dispatch_grpc.errors import CallError, DispatchError, EndpointError, UnmarshalError
from dispatch_grpc.log import logger
from dispatch_grpc.schema import Call, Journal, PollResult, RunRequest, RunResponse
from dispatch_grpc.text import counted, shorten
from dispatch_grpc.workflow import journal as journals
from dispatch_grpc.workflow.activation import Activation
from dispatch_grpc.workflow.driver import Driver, mode
from dispatch_grpc.workflow.errors import ContinueAsNew, JournalError, WorkflowError
from dispatch_grpc.workflow.operations import is_replaying

_P = ParamSpec("_P")
_R = TypeVar("_R")

WORKFLOW_EXPIRATION = timedelta(days=30)
"""Expiration of a workflow's call unless the call or the workflow sets another."""


class Workflow(Function[_P, _R]):
    """A workflow that an endpoint hosts: `Endpoint.workflow` makes it."""

    def __init__(
        self,
        endpoint: Host,
        function: Callable[_P, _R],
        name: str,
        *,
        version: str,
        expiration: timedelta,
        max_journal_bytes: int,
    ) -> None:
        if not is_kind(inspect.iscoroutinefunction, function):
            raise EndpointError(
                f"workflow {name!r}: an async function is required; host a function that does not "
                f"wait with @endpoint.function"
            )
        super().__init__(endpoint, function, name, primitive=False)
        self._version, self._expiration = version, expiration
        self._max_journal_bytes = max_journal_bytes
        self._warned = False  # that the endpoint has no client

    def call(self, *args: _P.args, **kwargs: _P.kwargs) -> Call:
        """Make a call of this workflow, without dispatching it: see `Function.call`.

        It expires after the workflow's `expiration`, by default 30 days, unless `with_options`
        sets another.
        """
        call = super().call(*args, **kwargs)
        if "expiration" not in self._call_options:
            call.expiration.FromTimedelta(self._expiration)
        return call

    async def _run(
        self,
        request: RunRequest,
        executor: Executor,
        call: CurrentCall,
    ) -> RunResponse:
        """Run one activation, and return the answer."""
        if not tracing.is_imported():
            return await self._activate(request, executor, call)
        from dispatch_grpc.tracing import spans

        with spans.hidden_while(is_replaying):
            return await self._activate(request, executor, call)

    async def _activate(
        self, request: RunRequest, executor: Executor, call: CurrentCall
    ) -> RunResponse:
        async def execute(function: Callable[[], Any], *, is_async: bool) -> Any:
            result, error = await executor.run(function, call, is_async=is_async)
            if isinstance(error, Pending):
                error = WorkflowError("a step cannot raise Pending: await workflow.external()")
            return result, error

        resumed = request.poll_result if request.HasField("poll_result") else None
        if failed := failed_cancellation(request.poll_result):
            logger.warning(
                "cannot cancel calls of the workflow %s (call %s), so they continue: %s",
                self.name,
                request.dispatch_id,
                shorten(failed, 500),
            )
        try:
            journal = self._journal(request, resumed)
            before = journal.ByteSize()
            driver = Driver(self._maker(request), execute, _is_async, self.name)
            activation = await driver.run(journal, resumed)
        except JournalError as error:
            return refusal(self.name, error, Status.INCOMPATIBLE_STATE)
        except UnmarshalError as error:
            return refusal(self.name, error, Status.INVALID_ARGUMENT)
        except NotRunError as error:
            return failure(self.name, error.cause)
        except Exception as error:  # noqa: BLE001  (the call expired, types that decode themselves)
            return self._failure(error)
        cancellation: Call | None = None
        if (ids := activation.cancelled_calls()) and mode.get().has_service:
            if can_cancel(self._endpoint):
                cancellation = call_to_cancel(self._endpoint, ids)
            else:
                self._warn_without_client(request.dispatch_id, len(ids))
        if before < journals.WARN_BYTES <= activation.journal_bytes:
            logger.warning(
                "the journal of workflow %s (call %s) has %d bytes, which are sent each time that "
                "the workflow continues: raise workflow.ContinueAsNew(...) from time to time",
                self.name,
                request.dispatch_id,
                activation.journal_bytes,
            )
        try:
            response, raised = await execute(
                lambda: self._conclude(activation, cancellation), is_async=False
            )
        except NotRunError as error:
            return failure(self.name, error.cause)
        return response if raised is None else self._failure(raised)

    def _warn_without_client(self, dispatch_id: str, count: int) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "cannot cancel %s of the workflow %s (call %s), left to continue: the "
                "endpoint has no client; set DISPATCH_API_KEY and DISPATCH_API_URL, or pass a "
                "client to the Endpoint as client=. This is logged once",
                counted(count, "call"),
                self.name,
                dispatch_id,
            )

    def _journal(self, request: RunRequest, resumed: PollResult | None) -> Journal:
        if resumed is not None:
            return journals.decode(resumed.typed_coroutine_state)
        now_us = mode.get().now_us()
        return journals.new_journal(os.urandom(16), request.input, now_us, self._version)

    def _maker(self, request: RunRequest) -> Callable[[Journal], Activation]:
        expires_us = None
        if request.HasField("expiration_time"):
            expires_us = request.expiration_time.ToMicroseconds()

        def make(journal: Journal) -> Activation:
            assert self._parameters is not None  # noqa: S101
            args, kwargs = self._parameters.decode(journal.input)
            function: Callable[..., Any] = self._function
            return Activation(
                lambda: function(*args, **kwargs),
                journal,
                endpoint=self._endpoint.url,
                dispatch_id=request.dispatch_id,
                errors=self._endpoint.error_types,
                expires_us=expires_us,
                max_journal_bytes=self._max_journal_bytes,
            )

        return make

    def _conclude(self, activation: Activation, cancellation: Call | None) -> RunResponse:
        """Return the answer, and clean up. A workflow ends once its calls are cancelled."""
        try:
            if activation.done and cancellation is None:
                return self._end(activation)
            return self._suspend(activation, cancellation)
        finally:
            activation.discard()

    def _suspend(self, activation: Activation, cancellation: Call | None) -> RunResponse:
        response = respond(Status.OK)
        try:
            response.poll.CopyFrom(activation.poll(mode.get().now_us(), cancellation))
        except WorkflowError as error:
            return self._failure(error)
        size, limit = response.ByteSize(), self._endpoint.max_request_bytes
        if size > limit:
            return self._failure(
                WorkflowError(
                    f"the Poll of {self.name} has {size} bytes, more than the {limit} that "
                    f"max_request_bytes allows: make the inputs of its calls smaller, or start "
                    f"again with 'raise workflow.ContinueAsNew(...)'"
                )
            )
        return response

    def _end(self, activation: Activation) -> RunResponse:
        result, error = activation.outcome
        if isinstance(error, ContinueAsNew):
            return self._continue(error)
        if isinstance(error, Pending):
            error = WorkflowError("a workflow cannot raise Pending: await workflow.external()")
        if error is not None:
            return self._failed(error, _status(error))
        if left := activation.left:
            logger.warning(
                "workflow %s returned while %d of its tasks were running (%s): it does not wait "
                "for their calls, and calls that were not dispatched yet are dropped",
                self.name,
                len(left),
                shorten(", ".join(left), 200),
            )
        return self._answer(result)

    def _continue(self, again: ContinueAsNew) -> RunResponse:
        try:
            call = self.call(*again.args, **again.kwargs)
        except (TypeError, DispatchError) as error:
            return self._failed(error, Status.PERMANENT_ERROR)
        call.endpoint = ""
        response = respond(Status.OK)
        response.exit.result.SetInParent()
        response.exit.tail_call.CopyFrom(call)
        return response


def _is_async(function: Any) -> bool:
    return is_kind(inspect.iscoroutinefunction, function)


def _status(error: BaseException) -> Status:
    """Return the status of an exception that a workflow raised.

    A replay would raise it again, so a failure is final, unless the exception carries a retryable
    status of its own. A CallError is always final: its status is that of a call that has ended.
    """
    own = getattr(error, "status", None)
    if isinstance(own, Status) and own and own is not Status.OK:
        if not own.retryable or not isinstance(error, CallError):
            return own
        return Status.PERMANENT_ERROR
    status = Status.of(error) if isinstance(error, Exception) else Status.PERMANENT_ERROR
    return Status.PERMANENT_ERROR if status.retryable or status is Status.OK else status
