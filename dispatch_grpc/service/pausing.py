"""CallService: functions, hosts and everything are paused and resumed."""

import re

from dispatch_grpc import schema
from dispatch_grpc.calls import FUNCTION, FUNCTION_RULE, mask_url
from dispatch_grpc.codes import Code
from dispatch_grpc.errors import rpc_error
from dispatch_grpc.schema import (
    ListPausesRequest,
    ListPausesResponse,
    PauseCallsRequest,
    PauseCallsResponse,
    ResumeCallsRequest,
    ResumeCallsResponse,
)
from dispatch_grpc.service import store_pause
from dispatch_grpc.service.database import Database
from dispatch_grpc.service.pauses import Pauses, name_of
from dispatch_grpc.service.urls import host_of, problem_of_endpoint
from dispatch_grpc.text import quoted

_MAX_REASON = 500


class Pausing:
    """The part of CallService that pauses and resumes.

    Args:
        database: Where the pauses are.
        pauses: Those that this process knows.
    """

    def __init__(self, database: Database, pauses: Pauses) -> None:
        self._database = database
        self._pauses = pauses

    async def pause_calls(self, request: PauseCallsRequest) -> PauseCallsResponse:
        """Pause a function, a host, or everything."""
        host, function = _target(request)
        reason = request.reason.strip()
        if len(reason) > _MAX_REASON or "\0" in reason:
            raise rpc_error(
                Code.INVALID_ARGUMENT,
                f"reason: a text of at most {_MAX_REASON} characters, without NUL, is required; "
                f"got {quoted(reason)}",
            )
        async with self._database.transaction() as connection:
            found = await store_pause.pause(connection, host, function, reason)
        if found is None:
            raise rpc_error(
                Code.RESOURCE_EXHAUSTED,
                f"there are {store_pause.MAX_PAUSES} pauses, and no more are possible: pause a "
                f"host or everything instead",
            )
        self._pauses.tell()
        await self._pauses.look()  # or this process might begin a call that comes next
        return PauseCallsResponse(pause=_message(found))

    async def resume_calls(self, request: ResumeCallsRequest) -> ResumeCallsResponse:
        """End a pause, or all of them."""
        host, function = _target(request)
        async with self._database.transaction() as connection:
            ended = await store_pause.resume(connection, host, function)
        self._pauses.tell()
        if not ended and (host or function):
            raise rpc_error(
                Code.NOT_FOUND, f"{name_of(host, function)} is not paused: see ListPauses"
            )
        return ResumeCallsResponse(pauses=map(_message, ended))

    async def list_pauses(self, _: ListPausesRequest) -> ListPausesResponse:
        """Return the pauses, the oldest first."""
        return ListPausesResponse(pauses=map(_message, await self.pauses()))

    async def pauses(self) -> list[store_pause.Pause]:
        """Return the pauses, the oldest first."""
        async with self._database.looks.acquire() as connection:
            return await store_pause.find(connection)


def _target(request: PauseCallsRequest | ResumeCallsRequest) -> tuple[str, str]:
    """Return the host and the function of a request."""
    host, function = request.host, request.function
    if request.all == bool(host or function):
        raise rpc_error(
            Code.INVALID_ARGUMENT,
            "all: give a host, a function or both, or else all; "
            + ("got all and another field" if request.all else "got none of them"),
        )
    if function and not re.fullmatch(FUNCTION, function):
        raise rpc_error(Code.INVALID_ARGUMENT, f"function: {FUNCTION_RULE}; got {quoted(function)}")
    if host:
        problem = problem_of_endpoint(host, allow_metadata=True) if len(host) <= 2048 else "long"
        if problem:
            raise rpc_error(
                Code.INVALID_ARGUMENT,
                f"host: the URL of an endpoint is required, such as https://example.com:8000; "
                f"got {quoted(mask_url(host))}",
            )
        host = host_of(host)
    return host, function


def _message(pause: store_pause.Pause) -> schema.Pause:
    message = schema.Pause(host=pause.host, function=pause.function, reason=pause.reason)
    message.pause_time.FromDatetime(pause.since)
    return message
