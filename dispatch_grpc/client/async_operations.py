"""The methods of `AsyncClient` that operate a service; their logic is in `operations`."""

from abc import abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from dispatch_grpc.client import settings
from dispatch_grpc.client.base import BaseClient
from dispatch_grpc.client.settings import NOT_GIVEN, Timeout
from dispatch_grpc.codes import Status
from dispatch_grpc.transport.protocols import Method

if TYPE_CHECKING:
    import grpc.aio  # noqa: F401 (in the base class)

    from dispatch_grpc.client.operations import Pause


class AsyncOperations(BaseClient["grpc.aio.Channel"]):
    """The methods of `AsyncClient` to run calls again, delete them, pause and resume."""

    @abstractmethod
    async def _call(
        self, method: Method, request: Message, seconds: float | None, key: str | None = None
    ) -> Any:
        """Send a CallService request."""

    async def rerun(
        self,
        dispatch_id: str,
        *,
        idempotency_key: str | None = None,
        timeout: Timeout = NOT_GIVEN,
    ) -> str:
        """Run a finished call again, as a new call.

        The new call has the endpoint, function, version and input of the finished one; after a
        tail call, those of the function that took over. It has no parent, even if the finished
        call had one. It expires after as long a time as the finished call had.

        Args:
            dispatch_id: Id of the finished call.
            idempotency_key: Key by which the service recognises a repeated request; by default a
                new one. All retries send the same key.
            timeout: As for `get`.

        Returns:
            The id of the new call.

        Raises:
            NotFoundError: There is no such call, or the service has no CallService.
            RPCError: With the code FAILED_PRECONDITION, the call has not finished. Other failures
                are as for `dispatch`.
        """
        from dispatch_grpc.client import following, operations

        request = operations.rerun_request(dispatch_id)
        key = settings.idempotency_key(idempotency_key)
        seconds = self._settings.seconds(timeout)
        response = await self._call("RerunCall", request, seconds, key)
        return following.id_in(self._settings, response)

    async def rerun_calls(
        self,
        *,
        status: Status | None = None,
        function: str | None = None,
        endpoint: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        finished_before: datetime | None = None,
        dry_run: bool = False,
        expected: int | None = None,
        progress: Callable[[int, int], object] | None = None,
        timeout: Timeout = NOT_GIVEN,
    ) -> int:
        """Run dead letters again: calls that failed, and were neither cancelled nor rerun.

        Only calls without a parent are taken: a parent runs its children again. Each is rerun as
        by `rerun`, the oldest first, in requests of up to 1,000 calls. After an
        interruption, call it again for the rest: no call is rerun twice.

        Args:
            status: Only calls that ended with this status; with `Status.OK`, calls that
                succeeded and were not rerun.
            function: Only calls of this function.
            endpoint: Only calls of this endpoint.
            created_after: Only calls recorded at or after this time.
            created_before: Only calls recorded before this time.
            finished_before: Only calls that finished before this time; by default, before now.
            dry_run: Whether to count the calls, and run none.
            expected: Largest number of calls that may match; with more, none is run.
            progress: Called after each request with the number of calls that were rerun so far,
                and the number of all.
            timeout: Longest time for each request with its retries, instead of the client's
                timeout; None means no limit.

        Returns:
            Number of calls that were rerun, or counted. If an answer of the service was lost, so
            that a request was sent again, the calls of the first one are not in it.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            RPCError: With the code FAILED_PRECONDITION, more calls match than expected. Other
                failures are as for `dispatch`.
        """
        from dispatch_grpc.client.operations import Selection

        selection = Selection(
            self._settings,
            "RerunCalls",
            status=status,
            function=function,
            endpoint=endpoint,
            created_after=created_after,
            created_before=created_before,
            finished_before=finished_before,
            dead=False,
            dry_run=dry_run,
            expected=expected,
            progress=progress,
            timeout=timeout,
        )
        while (step := selection.next()) is not None:
            selection.take(await self._call(*step))
        return selection.number

    async def purge_calls(
        self,
        *,
        status: Status | None = None,
        function: str | None = None,
        endpoint: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        finished_before: datetime | None = None,
        dead: bool = False,
        dry_run: bool = False,
        expected: int | None = None,
        progress: Callable[[int, int], object] | None = None,
        timeout: Timeout = NOT_GIVEN,
    ) -> int:
        """Delete finished calls before their retention is over.

        Calls whose results their parents have not been given yet are left.

        Args:
            status: Only calls that ended with this status.
            function: Only calls of this function.
            endpoint: Only calls of this endpoint.
            created_after: Only calls recorded at or after this time.
            created_before: Only calls recorded before this time.
            finished_before: Only calls that finished before this time; by default, before now.
            dead: Only dead letters, as for `rerun_calls`.
            dry_run: Whether to count the calls, and delete none.
            expected: Largest number of calls that may match; with more, none is deleted.
            progress: Called after each request with the number of calls that were deleted so
                far, and the number of all.
            timeout: As for `rerun_calls`.

        Returns:
            Number of calls that were deleted, or counted; after a lost answer as for
            `rerun_calls`.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            InvalidArgumentError: No filter was given other than `finished_before`.
            RPCError: With the code FAILED_PRECONDITION, more calls match than expected. Other
                failures are as for `dispatch`.
        """
        from dispatch_grpc.client.operations import Selection

        selection = Selection(
            self._settings,
            "PurgeCalls",
            status=status,
            function=function,
            endpoint=endpoint,
            created_after=created_after,
            created_before=created_before,
            finished_before=finished_before,
            dead=dead,
            dry_run=dry_run,
            expected=expected,
            progress=progress,
            timeout=timeout,
        )
        while (step := selection.next()) is not None:
            selection.take(await self._call(*step))
        return selection.number

    async def pause(
        self,
        *,
        function: str | None = None,
        host: str | None = None,
        everything: bool = False,
        reason: str = "",
        timeout: Timeout = NOT_GIVEN,
    ) -> "Pause":
        """Pause a function, a host, or everything: no call of it begins until `resume`.

        Calls are still recorded, and wait; they expire as if they were not paused. Running
        functions are not stopped.

        Args:
            function: Name of the function; with a host, only there.
            host: URL of an endpoint; its path does not matter.
            everything: Whether to pause all calls.
            reason: Why, for those who look at the pauses.
            timeout: As for `get`.

        Returns:
            The pause.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            InvalidArgumentError: The host is not a URL, or the function not a valid name.
            RPCError: Other failures, as for `dispatch`.
        """
        from dispatch_grpc.client import operations

        request = operations.pause_request(host, function, reason, everything=everything)
        response = await self._call("PauseCalls", request, self._settings.seconds(timeout))
        return operations.pauses_in([response.pause])[0]

    async def resume(
        self,
        *,
        function: str | None = None,
        host: str | None = None,
        everything: bool = False,
        timeout: Timeout = NOT_GIVEN,
    ) -> "list[Pause]":
        """End a pause.

        Args:
            function: As for `pause`.
            host: As for `pause`.
            everything: Whether to end all pauses.
            timeout: As for `get`.

        Returns:
            The pauses that have ended.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            NotFoundError: There is no such pause, perhaps because an earlier attempt of this
                request ended it.
            RPCError: Other failures, as for `dispatch`.
        """
        from dispatch_grpc.client import operations

        request = operations.resume_request(host, function, everything=everything)
        response = await self._call("ResumeCalls", request, self._settings.seconds(timeout))
        return operations.pauses_in(response.pauses)

    async def pauses(self, *, timeout: Timeout = NOT_GIVEN) -> "list[Pause]":
        """List the pauses, the oldest first.

        Args:
            timeout: As for `get`.

        Returns:
            The pauses.

        Raises:
            RPCError: As for `dispatch`.
        """
        from dispatch_grpc.client import operations
        from dispatch_grpc.schema import ListPausesRequest

        seconds = self._settings.seconds(timeout)
        response = await self._call("ListPauses", ListPausesRequest(), seconds)
        return operations.pauses_in(response.pauses)
