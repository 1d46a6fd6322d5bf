"""CallService.CompleteCall: calls are finished from outside."""

import re
from typing import Any
from uuid import UUID

from dispatch_grpc.codes import Code, Status
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.schema import (
    CallInfo,
    CallResult,
    CompleteCallRequest,
    CompleteCallResponse,
    time_of,
)
from dispatch_grpc.service import notices, reads, store_complete
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.ids import parse_id
from dispatch_grpc.service.machine import Finish, shortened
from dispatch_grpc.service.metrics import Metrics
from dispatch_grpc.service.worker import Worker
from dispatch_grpc.text import quoted

_CHILD = re.compile(r"([^.]+)\.([0-9a-f]{16})")


class Completing:
    """The handler of CompleteCall.

    Args:
        database: Where the calls are.
        worker: Told what follows.
        metrics: Counts the calls that finish.
    """

    def __init__(self, database: Database, worker: Worker, metrics: Metrics) -> None:
        self._database = database
        self._worker = worker
        self._metrics = metrics

    async def complete_call(self, request: CompleteCallRequest) -> CompleteCallResponse:
        """Finish a call with a result."""
        finish = _finish(request)

        async def complete(
            connection: Any,
        ) -> tuple[UUID, store_complete.Completed, CallInfo | None]:
            id, found = await self._complete(connection, request.dispatch_id, finish)
            return id, found, await reads.get(connection, id)

        id, found, info = await self._database.write(complete)
        if not found.is_new and not _is_same(found.result, finish.result):
            raise rpc_error(
                Code.FAILED_PRECONDITION,
                f"the call {id} has finished already, with {_described(found.result)}",
            )
        if found.is_new:
            now = self._database.clock.now()
            since = info and (time_of(info, "start_time") or time_of(info, "creation_time"))
            self._metrics.finished_one(finish.status, since or now, now)
            self._worker.rates.add(finish.status.value)
        self._worker.expect(found.lanes)
        self._worker.notices.tell(notices.FINISHED, [id.hex])
        return CompleteCallResponse(call=info)

    async def _complete(
        self, connection: Any, text: str, finish: Finish
    ) -> tuple[UUID, store_complete.Completed]:
        id = parse_id(text)
        if (child := _CHILD.fullmatch(text)) and (parent := parse_id(child[1])):
            id = await store_complete.child_of(connection, parent, int(child[2], 16))
        now = self._database.clock.now()
        found = None if id is None else await store_complete.complete(connection, id, finish, now)
        if id is None or found is None:
            raise rpc_error(
                Code.NOT_FOUND, f"dispatch_id: there is no call of the id {quoted(text)}"
            )
        return id, found


def _finish(request: CompleteCallRequest) -> Finish:
    """Return the end that a request asks for, but for the ids of the call."""
    kind = request.WhichOneof("result")
    if kind == "output" and request.output.type_url:
        return Finish(Status.OK, CallResult(output=request.output))
    if kind == "error":
        result = CallResult(error=shortened(request.error))
        result.error.type = result.error.type or "Error"
        return Finish(Status.PERMANENT_ERROR, result)
    raise rpc_error(
        Code.INVALID_ARGUMENT,
        "result: an output with a type or an error is required (google.protobuf.Empty for a "
        f"function that returns nothing); got {kind or 'neither'}",
    )


def _is_same(one: CallResult, other: CallResult) -> bool:
    """Tell whether two calls ended alike: a request may be sent again after a lost answer."""
    return all(
        one.HasField(name) == other.HasField(name) and getattr(one, name) == getattr(other, name)
        for name in ("output", "error")
    )


def _described(result: CallResult) -> str:
    return result.error.type if result.HasField("error") else "another output"
