"""DispatchService, and Submit of CallService: calls are recorded."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from dispatch_grpc import tracing
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import RPCError, rpc_error
from dispatch_grpc.schema import (
    Call,
    DispatchRequest,
    DispatchResponse,
    SubmitRequest,
    SubmitResponse,
)
from dispatch_grpc.service import store_accept
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.faults import is_transient, was_refused
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.recording import Recorder
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.store import NewCall
from dispatch_grpc.service.submissions import new_of
from dispatch_grpc.service.urls import problem_of_call
from dispatch_grpc.service.worker import Worker
from dispatch_grpc.serving.details import RETRY_SECONDS, reason
from dispatch_grpc.serving.dispatch_service import KEY_NAME


class Accepting:
    """The implementation of DispatchService and of Submit: checks calls and records them."""

    def __init__(
        self,
        database: Database,
        worker: Worker,
        settings: Settings,
        metrics: Metrics,
        *,
        max_backlog: int,
    ) -> None:
        self._database = database
        self._recorder = Recorder(database, worker.handovers)
        self._worker = worker
        self._settings = settings
        self._metrics = metrics
        self._max_backlog = max_backlog

    async def dispatch(
        self, request: DispatchRequest, metadata: Mapping[str, str]
    ) -> DispatchResponse:
        """Record the calls of a request, all or none: the method of a `Handler`."""
        return DispatchResponse(
            dispatch_ids=await self._observed(self._dispatch, request, metadata)
        )

    async def submit(self, request: SubmitRequest, metadata: Mapping[str, str]) -> SubmitResponse:
        """Record the calls of a request with their starts and labels, all or none."""
        return SubmitResponse(dispatch_ids=await self._observed(self._submit, request, metadata))

    async def _observed(
        self,
        act: Callable[[Any, str | None, str | None], Awaitable[Sequence[UUID]]],
        request: Message,
        metadata: Mapping[str, str],
    ) -> list[str]:
        start = perf_counter()
        try:
            key = metadata.get("idempotency-key")
            if key is not None and (name := metadata.get(KEY_NAME)):
                key = f"{name}\0{key}"  # each name has idempotency keys of its own
            ids = await act(request, key, tracing.context_of(metadata))
        except RPCError as error:
            self._metrics.refused.labels(error.code.name).inc()
            raise
        self._metrics.accept_seconds.observe(perf_counter() - start)
        return [str(id) for id in ids]

    async def _dispatch(
        self, request: DispatchRequest, key: str | None, trace: str | None
    ) -> Sequence[UUID]:
        self._check_number("calls", len(request.calls))
        for index, call in enumerate(request.calls):
            self._check(f"calls[{index}]", call)
        now, expires_at = self._database.clock.now(), self._settings.limits.expires_at
        calls = [
            NewCall(new_id(), call, expires_at(call, now), trace=trace) for call in request.calls
        ]
        return await self._record(calls, now, key, request)

    async def _submit(
        self, request: SubmitRequest, key: str | None, trace: str | None
    ) -> Sequence[UUID]:
        self._check_number("submissions", len(request.submissions))
        now, calls = self._database.clock.now(), []
        for index, submission in enumerate(request.submissions):
            self._check(f"submissions[{index}].call", submission.call)
            found = new_of(submission, now, self._settings.limits, trace)
            if isinstance(found, str):
                raise rpc_error(Code.INVALID_ARGUMENT, f"submissions[{index}].{found}")
            calls.append(found)
        return await self._record(calls, now, key, request)

    def _check_number(self, field: str, number: int) -> None:
        most = self._settings.limits.max_calls
        if number > most:
            raise rpc_error(
                Code.INVALID_ARGUMENT,
                f"{field}: at most {most} are allowed in a request; got {number}",
            )

    def _check(self, place: str, call: Call) -> None:
        problem = problem_of_call(call, allow_metadata=self._settings.allow_metadata)
        problem = problem or self._settings.limits.problem_of(call)
        if problem:
            raise rpc_error(Code.INVALID_ARGUMENT, f"{place}.{problem}")

    async def _record(
        self,
        calls: Sequence[NewCall],
        now: datetime,
        key: str | None,
        request: DispatchRequest | SubmitRequest,
    ) -> Sequence[UUID]:
        if not calls:
            return []
        check_backlog(self._metrics, len(calls), self._max_backlog)
        digest, body = None, b""
        if key is not None:
            digest, body = _digest(key.encode()), _body(request)
        try:
            self._worker.make_way()
            accepted = await self._recorder.record(
                store_accept.Request(calls, digest, body, request.ByteSize(), now)
            )
        except Exception as error:
            if is_transient(error):
                self._database.health.failed(error)
                raise _away(error) from error
            raise
        self._worker.make_way()
        if accepted.is_new:
            begun = {loaded.running.id for _, loaded in accepted.begun}
            self._expect([new for new in calls if new.id not in begun], now)
            self._metrics.accepted.inc(len(calls))
        return accepted.ids

    def _expect(self, calls: Sequence[NewCall], now: datetime) -> None:
        """Tell the worker which lanes have jobs now, and which have some later."""
        due = []
        for new, lane in zip(calls, store_accept.lanes_of(calls), strict=True):
            if new.starts_at is None:
                due.append(lane)
            else:
                self._worker.expect_later(lane, (new.starts_at - now).total_seconds())
        self._worker.expect(due)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _body(request: DispatchRequest | SubmitRequest) -> bytes:
    # Those of Dispatch and of Submit differ, also when their bytes do not.
    kind = b"" if isinstance(request, DispatchRequest) else b"Submit\0"
    return _digest(kind + request.SerializeToString(deterministic=True))


def _away(error: BaseException) -> RPCError:
    """Return the error of a dispatch that the database failed."""
    recorded = "nothing was recorded"
    if not was_refused(error):
        recorded = (
            "the calls may have been recorded; retry with an idempotency key to avoid duplicates"
        )
    return rpc_error(
        Code.UNAVAILABLE,
        f"the database is unavailable; {recorded}; try again in 1 s",
        [reason("DATABASE_UNAVAILABLE")],
    )


def check_backlog(metrics: Metrics, number: int, most: int) -> None:
    """Check that more calls may wait.

    Args:
        metrics: They know how many calls wait.
        number: Number of calls that would be added.
        most: Largest number of calls that may wait.

    Raises:
        RPCError: There would be too many.
    """
    waiting = metrics.counts.get("queued", 0) + metrics.counts.get("delayed", 0)
    if waiting + number > most:
        error = rpc_error(
            Code.RESOURCE_EXHAUSTED,
            f"the queue is full: {waiting} calls wait, at most {most} may; try again in 1 s",
            [reason("QUEUE_FULL", waiting=waiting, limit=most)],
        )
        error.retry_after = RETRY_SECONDS
        raise error
