"""DispatchService: calls are recorded."""

import hashlib
from collections.abc import Mapping, Sequence
from time import perf_counter
from uuid import UUID

from asyncpg import PostgresConnectionError, PostgresError

from dispatch_grpc.codes import Code
from dispatch_grpc.errors import RPCError, rpc_error
from dispatch_grpc.schema import (
    DispatchRequest,
    DispatchResponse,
)
from dispatch_grpc.service import store_accept
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.dequeue import Worker
from dispatch_grpc.service.faults import is_transient
from dispatch_grpc.service.ids import new_id
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.settings import Settings
from dispatch_grpc.service.store import New
from dispatch_grpc.service.urls import problem_of_call
from dispatch_grpc.serving.dispatch_service import KEY_NAME


class Accepting:
    """The implementation of DispatchService: checks calls and records them with their jobs."""

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
        self._worker = worker
        self._settings = settings
        self._metrics = metrics
        self._max_backlog = max_backlog

    async def dispatch(
        self, request: DispatchRequest, metadata: Mapping[str, str]
    ) -> DispatchResponse:
        """Record the calls of a request, all or none: the method of a `Handler`."""
        start = perf_counter()
        try:
            key = metadata.get("idempotency-key")
            if key is not None and (name := metadata.get(KEY_NAME)):
                key = f"{name}\0{key}"  # each name has idempotency keys of its own
            ids = await self._record(request, key)
        except RPCError as error:
            self._metrics.refused.labels(error.code.name).inc()
            raise
        self._metrics.accept_seconds.observe(perf_counter() - start)
        return DispatchResponse(dispatch_ids=[str(id) for id in ids])

    async def _record(self, request: DispatchRequest, key: str | None) -> Sequence[UUID]:
        most = self._settings.limits.max_calls
        if len(request.calls) > most:
            raise rpc_error(
                Code.INVALID_ARGUMENT,
                f"calls: at most {most} are allowed in a request; got {len(request.calls)}",
            )
        for index, call in enumerate(request.calls):
            problem = problem_of_call(call, allow_metadata=self._settings.allow_metadata)
            problem = problem or self._settings.limits.problem_of(call)
            if problem:
                raise rpc_error(Code.INVALID_ARGUMENT, f"calls[{index}].{problem}")
        if not request.calls:
            return []
        waiting = self._metrics.counts.get("queued", 0) + self._metrics.counts.get("delayed", 0)
        if waiting + len(request.calls) > self._max_backlog:
            raise rpc_error(
                Code.RESOURCE_EXHAUSTED,
                f"the queue is full: {waiting} calls wait, at most {self._max_backlog} may; "
                f"try again in 1 s",
            )
        now = self._database.clock.now()
        expires_at = self._settings.limits.expires_at
        calls = [New(new_id(), call, expires_at(call, now)) for call in request.calls]
        digest = None if key is None else _digest(key.encode())
        try:
            self._worker.make_way()
            # One statement, and so a transaction, of the pool whose commits are on disk.
            async with self._database.durable.acquire() as connection:
                ids, lanes = await store_accept.accept(
                    connection, calls, now, key=digest, body=_body(request)
                )
        except Exception as error:
            if is_transient(error):
                self._database.health.failed(error)
                raise _away(error) from error
            raise
        self._worker.make_way()
        if lanes:
            self._worker.expect(lanes)
            self._metrics.accepted.inc(len(calls))
        return ids


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _body(request: DispatchRequest) -> bytes:
    return _digest(request.SerializeToString(deterministic=True))


def _away(error: BaseException) -> RPCError:
    """Return the error of a dispatch that the database failed."""
    # What the server refused is not recorded. What broke on the way may be.
    recorded = "nothing was recorded"
    if not isinstance(error, PostgresError) or isinstance(error, PostgresConnectionError):
        recorded = (
            "the calls may have been recorded; retry with an idempotency key to avoid duplicates"
        )
    return rpc_error(Code.UNAVAILABLE, f"the database is unavailable; {recorded}; try again in 1 s")
