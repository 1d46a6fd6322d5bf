"""The methods of `Client` that follow calls; their logic is in `following`."""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from dispatch_grpc.client.dispatch_id import DispatchID
from dispatch_grpc.client.settings import NOT_GIVEN, Timeout
from dispatch_grpc.client.sync_operations import Operations
from dispatch_grpc.codes import Status
from dispatch_grpc.errors import (
    DeadlineExceededError,
    DispatchError,
    RPCError,
    UnavailableError,
)

if TYPE_CHECKING:
    import builtins  # the method `list` hides the type

    from dispatch_grpc.client.call_info import CallInfo
    from dispatch_grpc.client.following import Waiting
    from dispatch_grpc.client.listing import State

_T = TypeVar("_T")
_R = TypeVar("_R")


class Following(Operations):
    """The methods of `Client` to wait for calls, look at them, and end them."""

    @overload
    def wait(self, dispatch_id: str, T: type[_T], *, timeout: Timeout = NOT_GIVEN) -> _T: ...
    @overload
    def wait(
        self, dispatch_id: DispatchID[_R], T: None = None, *, timeout: Timeout = NOT_GIVEN
    ) -> _R: ...
    @overload
    def wait(self, dispatch_id: str, T: Any = None, *, timeout: Timeout = NOT_GIVEN) -> Any: ...
    def wait(self, dispatch_id: str, T: Any = None, *, timeout: Timeout = NOT_GIVEN) -> Any:
        """Wait until a call has finished, and return its output.

        If the connection is lost, the client reconnects until the timeout is over.

        Args:
            dispatch_id: Id of the call.
            T: Type to decode the output into, as for `unmarshal`; else the type that the id of
                a `Function.dispatch` remembers.
            timeout: Time to wait, instead of the client's timeout; None waits forever. After
                that, the service has another second to answer.

        Returns:
            The output, as `unmarshal` returns it; None if the call has no output.

        Raises:
            CallError: The call failed or was cancelled.
            DeadlineExceededError: The call did not finish in time; the message describes its state.
            NotFoundError: There is no such call, or the service has no CallService.
            UnmarshalError: The output is not a `T`.
            RPCError: Other failures, as for `dispatch`.
        """
        from dispatch_grpc.client.following import Waiting

        seconds = self._settings.seconds(timeout)
        return self._wait(Waiting(self._settings, dispatch_id, T, seconds))

    @overload
    def wait_all(
        self,
        dispatch_ids: Iterable[str],
        T: type[_T],
        *,
        timeout: Timeout = NOT_GIVEN,
        return_exceptions: Literal[False] = False,
    ) -> "builtins.list[_T]": ...
    @overload
    def wait_all(
        self,
        dispatch_ids: Iterable[DispatchID[_R]],
        T: None = None,
        *,
        timeout: Timeout = NOT_GIVEN,
        return_exceptions: Literal[False] = False,
    ) -> "builtins.list[_R]": ...
    @overload
    def wait_all(
        self,
        dispatch_ids: Iterable[str],
        T: Any = None,
        *,
        timeout: Timeout = NOT_GIVEN,
        return_exceptions: bool = False,
    ) -> "builtins.list[Any]": ...
    def wait_all(
        self,
        dispatch_ids: Iterable[str],
        T: Any = None,
        *,
        timeout: Timeout = NOT_GIVEN,
        return_exceptions: bool = False,
    ) -> "builtins.list[Any]":
        """Wait until calls have finished, and return their outputs.

        The sync client waits for one call after the other, the async client for 64 at a time.

        Args:
            dispatch_ids: Ids of the calls.
            T: Type to decode every output into, as for `wait`.
            timeout: Time to wait for all calls together, as for `wait`.
            return_exceptions: Return each error in place of the output, instead of raising the
                first one.

        Returns:
            The outputs, in the order of the ids.

        Raises:
            DispatchError: As for `wait`. The other calls are not affected.
        """
        from dispatch_grpc.client.following import waits_for

        outcomes: builtins.list[Any] = []
        for waiting in waits_for(self._settings, dispatch_ids, T, timeout):
            try:
                outcomes.append(self._wait(waiting))
            except DispatchError as error:
                if not return_exceptions:
                    raise
                outcomes.append(error)
        return outcomes

    def _wait(self, waiting: "Waiting") -> Any:
        while (step := waiting.next()) is not None:
            try:
                pause = waiting.take(self._call("WaitCall", *step))
            except (DeadlineExceededError, UnavailableError) as error:
                pause = waiting.lost(error)
            time.sleep(pause)
        return waiting.output()

    def get(self, dispatch_id: str, *, timeout: Timeout = NOT_GIVEN) -> "CallInfo":
        """Get a call as it is now, with its result if it has finished.

        Args:
            dispatch_id: Id of the call.
            timeout: Longest time for the request with all its retries, instead of the client's
                timeout; None means no limit.

        Returns:
            The call.

        Raises:
            NotFoundError: There is no such call, or the service has no CallService.
            RPCError: Other failures, as for `dispatch`.
        """
        from dispatch_grpc.client import following

        request = following.get_request(dispatch_id)
        response = self._call("GetCall", request, self._settings.seconds(timeout))
        return following.call_in(self._settings, response)

    def list(
        self,
        *,
        state: "State | None" = None,
        status: Status | None = None,
        function: str | None = None,
        endpoint: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        parent: str | None = None,
        schedule: str | None = None,
        labels: Mapping[str, str] | None = None,
        dead: bool = False,
        limit: int = 100,
        timeout: Timeout = NOT_GIVEN,
    ) -> "builtins.list[CallInfo]":
        """List calls, the newest first, without their results.

        Args:
            state: Only calls in this state: "queued", "running", "waiting" or "finished".
            status: Only calls that ended with this status, or got it from their last run.
            function: Only calls of this function.
            endpoint: Only calls of this endpoint.
            created_after: Only calls recorded at or after this time.
            created_before: Only calls recorded before this time.
            parent: Only calls that this call made.
            schedule: Only calls that the schedule of this name dispatched.
            labels: Only calls that have all of these labels.
            dead: Only dead letters: calls of clients that failed, and were neither cancelled nor
                rerun.
            limit: Largest number of calls to return. One request returns at most 100.
            timeout: Longest time for all requests and their retries, instead of the client's
                timeout; None means no limit.

        Returns:
            The calls.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            NotFoundError: The parent is not the id of a call, or the service has no CallService.
            RPCError: Other failures, as for `dispatch`.
        """
        from dispatch_grpc.client import listing

        pages = listing.calls(
            self._settings,
            state=state,
            status=status,
            function=function,
            endpoint=endpoint,
            created_after=created_after,
            created_before=created_before,
            parent=parent,
            schedule=schedule,
            labels=labels,
            dead=dead,
            limit=limit,
            timeout=timeout,
        )
        while (step := pages.next()) is not None:
            pages.take(self._call("ListCalls", *step))
        return pages.items

    def cancel(self, dispatch_id: str, *, timeout: Timeout = NOT_GIVEN) -> int:
        """Cancel a call that has not finished, and all calls that descend from it.

        A running function is not stopped, but its result is discarded.

        Args:
            dispatch_id: Id of the call.
            timeout: As for `get`.

        Returns:
            Number of calls that were cancelled. If the service's answer was lost, so that the
            request was sent again and found the call cancelled, this is 1.

        Raises:
            NotFoundError: There is no such call, or the service has no CallService.
            RPCError: With the code FAILED_PRECONDITION, the call has finished already. Other
                failures are as for `dispatch`.
        """
        from dispatch_grpc.client import following

        cancelling = following.Cancelling(self._settings, dispatch_id, timeout)
        try:
            response = self._call("CancelCall", cancelling.request, cancelling.left())
        except RPCError as error:
            if not cancelling.is_in_doubt(error):
                raise
            request = following.get_request(dispatch_id)
            if not cancelling.is_done(self._call("GetCall", request, cancelling.left())):
                raise
            return 1
        return int(response.cancelled)

    def complete(
        self, dispatch_id: str, output: Any = None, *, timeout: Timeout = NOT_GIVEN
    ) -> None:
        """Finish a call with an output from outside: see `Pending` and `workflow.external`.

        A running function is not stopped, but its result is discarded. Completing a call again
        with the same output succeeds.

        Args:
            dispatch_id: Id of the call, or of an `External`.
            output: Output of the call, any value that `marshal` accepts.
            timeout: As for `get`.

        Raises:
            MarshalError: The output has no representation.
            RequestTooLargeError: The output is larger than `max_message_bytes`.
            NotFoundError: There is no such call, or the service has no CallService.
            RPCError: With the code FAILED_PRECONDITION, the call has finished already, with
                another result. Other failures are as for `dispatch`.
        """
        from dispatch_grpc.client import following

        request = following.complete_request(self._settings, dispatch_id, output)
        self._call("CompleteCall", request, self._settings.seconds(timeout))

    def fail(
        self,
        dispatch_id: str,
        error: BaseException | str,
        *,
        type: str | None = None,
        timeout: Timeout = NOT_GIVEN,
    ) -> None:
        """Finish a call with an error from outside, for good: see `complete`.

        Args:
            dispatch_id: Id of the call, or of an `External`.
            error: An exception, or a message. The wait for the call raises a CallError with it.
            type: Name of the type of the error; else that of the exception.
            timeout: As for `get`.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            RPCError: As for `complete`.
        """
        from dispatch_grpc.client import following

        request = following.fail_request(self._settings, dispatch_id, error, type)
        self._call("CompleteCall", request, self._settings.seconds(timeout))
