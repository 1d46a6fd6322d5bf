"""The client for threads."""

import logging
import os
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from google.protobuf.message import Message

from dispatch_grpc.calls import check_call
from dispatch_grpc.client import settings
from dispatch_grpc.client.batch import Batch, DispatchID
from dispatch_grpc.client.settings import NOT_GIVEN, Protocol
from dispatch_grpc.client.settings import new_idempotency_key as new_key
from dispatch_grpc.client.shared import DEFAULT_RETRY, DEFAULT_TIMEOUT, Core
from dispatch_grpc.codes import Status
from dispatch_grpc.errors import (
    ClientStateError,
    DeadlineExceededError,
    RPCError,
    UnavailableError,
)
from dispatch_grpc.log import logger
from dispatch_grpc.schema import Call, DispatchRequest
from dispatch_grpc.transport import RetryPolicy, TLSCredentials
from dispatch_grpc.transport.grpc import GRPCTransport
from dispatch_grpc.transport.protocols import Method, Transport

if TYPE_CHECKING:
    import builtins  # whose list is hidden by the method of that name

    import grpc
    import pyqwest

    from dispatch_grpc.client.following import State
    from dispatch_grpc.schema import CallInfo

_T = TypeVar("_T")


class Client:
    """A client of the Dispatch API.

    May be used from many threads. After `os.fork`, a child opens a connection of its own.
    Close it with `close`, or use it as a context manager.

    Args:
        api_key: The API key; else `DISPATCH_API_KEY`.
        api_url: Where the API is; else `DISPATCH_API_URL`, else `https://api.dispatch.run`.
        protocol: `"grpc"`, `"connect"` or `"connect+json"`; else `DISPATCH_PROTOCOL`, else gRPC.
            Connect needs the extra: `pip install 'dispatch-grpc[connect]'`.
        timeout: Time that a dispatch may take, with all its retries, or a wait; None is no
            limit.
        metadata: Metadata (HTTP headers) to send with every request.
        retry: When a failed request is sent again; None is never. With a service that
            ignores idempotency keys, calls can be recorded twice if an answer got lost on
            its way and the request was sent again.
        credentials: Certificates for `https`; else the system's authorities are trusted.
        allow_plaintext: Whether the key may be sent by `http` to another machine.
        max_message_bytes: Largest request to send; 4 MiB by default, which is what gRPC servers
            accept unless configured otherwise.
        max_response_bytes: Largest answer to read; else `max_message_bytes` if that is given,
            else 20 MiB, since the service keeps outputs of up to 16 MB.
        proxy: URL of an HTTP proxy to go through; it wins over the environment.
        trust_env: Whether `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy` count. They
            never apply to loopback; http goes through a proxy only with `allow_plaintext`.
        env: Variables to read instead of the process's environment.
        channel: A channel of `grpc` to use; its options and retries are its own, and it
            is not closed with the client.
        http_client: A `pyqwest.SyncClient` to use for Connect, not closed with the client.

    Raises:
        ConfigurationError: A setting is missing or not acceptable.
        ImportError: Connect is not installed.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        api_url: str | None = None,
        protocol: Protocol | None = None,
        timeout: timedelta | None = DEFAULT_TIMEOUT,
        metadata: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = DEFAULT_RETRY,
        credentials: TLSCredentials | None = None,
        allow_plaintext: bool = False,
        max_message_bytes: int = NOT_GIVEN,
        max_response_bytes: int = NOT_GIVEN,
        proxy: str | None = None,
        trust_env: bool = True,
        env: Mapping[str, str] | None = None,
        channel: "grpc.Channel | None" = None,
        http_client: "pyqwest.SyncClient | None" = None,
    ) -> None:
        self._core = Core(
            api_key=api_key,
            api_url=api_url,
            protocol=protocol,
            timeout=timeout,
            metadata=metadata,
            retry=retry,
            credentials=credentials,
            allow_plaintext=allow_plaintext,
            max_message_bytes=max_message_bytes,
            max_response_bytes=max_response_bytes,
            proxy=proxy,
            trust_env=trust_env,
            env=env,
            channel=channel,
            http_client=http_client,
        )
        self._channel = channel
        self._http_client = http_client
        self._closed = False
        self._open()

    def dispatch(
        self,
        call: Call,
        *,
        timeout: timedelta | None = NOT_GIVEN,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> DispatchID:
        """Dispatch a call: the service records it and runs it asynchronously.

        Args:
            call: The call, as `new_call` makes it.
            timeout: Time that this dispatch may take, with all its retries, instead of the
                client's; None is no limit.
            metadata: Metadata to send beside the client's.
            idempotency_key: Key by which the service knows a request that it has seen; else
                one is made. It stays the same for all retries.

        Returns:
            The id that the service gave to the call. The call is recorded by then.

        Raises:
            InvalidCallError: The call breaks a rule of the schema; nothing was sent.
            ConfigurationError: Another argument is not acceptable; nothing was sent.
            ClientStateError: The client is closed.
            AuthenticationError: The service rejected the API key.
            RequestTooLargeError: The call has too many bytes.
            DeadlineExceededError: There was no answer in time.
            UnavailableError: The service could not be reached.
            ProtocolError: What answered is not a Dispatch service.
            RPCError: Any other failure: see `dispatch_grpc.errors`.
        """
        check_call(call, 0)
        key = new_key() if idempotency_key is None else settings.idempotency_key(idempotency_key)
        return self._send(DispatchRequest(calls=[call]), timeout, metadata, key)[0]

    def batch(self) -> Batch:
        """Make an empty batch: calls to record together, all or none."""
        self._check_open()
        return Batch(self._send, self._core.seconds)

    @overload
    def wait(
        self, dispatch_id: DispatchID, T: type[_T], *, timeout: timedelta | None = NOT_GIVEN
    ) -> _T: ...
    @overload
    def wait(
        self, dispatch_id: DispatchID, T: Any = None, *, timeout: timedelta | None = NOT_GIVEN
    ) -> Any: ...
    def wait(
        self, dispatch_id: DispatchID, T: Any = None, *, timeout: timedelta | None = NOT_GIVEN
    ) -> Any:
        """Wait until a call has finished, and return its output.

        A connection that is lost meanwhile is made again, until the time is over.

        Args:
            dispatch_id: Id of the call.
            T: Type to decode the output into, as for `unmarshal`.
            timeout: Time to wait, instead of the client's; None waits for ever. A service that
                does not answer when it is over is given another second.

        Returns:
            The output, as `unmarshal` gives it; None if the call has none.

        Raises:
            CallError: The call failed, or was cancelled.
            DeadlineExceededError: The call has not finished in time; the message says where it
                is on its way.
            NotFoundError: There is no such call, or the service has no CallService.
            UnmarshalError: The output is no `T`.
            RPCError: Others as for `dispatch`.
        """
        from dispatch_grpc.client.following import Waiting

        waiting = Waiting(self._core, dispatch_id, timeout)
        while (step := waiting.next()) is not None:
            try:
                pause = waiting.take(self._call("WaitCall", *step))
            except (DeadlineExceededError, UnavailableError) as error:
                pause = waiting.lost(error)
            time.sleep(pause)
        return waiting.output(T)

    def get(self, dispatch_id: DispatchID, *, timeout: timedelta | None = NOT_GIVEN) -> "CallInfo":
        """Get a call as it is now, with its result if it has finished.

        Args:
            dispatch_id: Id of the call.
            timeout: Time that the request may take, with all its retries, instead of the
                client's; None is no limit.

        Returns:
            The call, as the message `dispatch.calls.v1.CallInfo`.

        Raises:
            NotFoundError: There is no such call, or the service has no CallService.
            RPCError: Others as for `dispatch`.
        """
        from dispatch_grpc.client import following

        request = following.get_request(dispatch_id)
        response = self._call("GetCall", request, self._core.seconds(timeout))
        return following.call_of(self._core, response)

    def list(
        self,
        *,
        state: "State | None" = None,
        status: Status | None = None,
        function: str | None = None,
        endpoint: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        parent: DispatchID | None = None,
        limit: int = 100,
        timeout: timedelta | None = NOT_GIVEN,
    ) -> "builtins.list[CallInfo]":
        """List calls, the newest first, without their results.

        Args:
            state: Only calls in this state: "queued", "running", "waiting" or "finished".
            status: Only calls of this status: how they ended, or how their last run went.
            function: Only calls of this function.
            endpoint: Only calls of this endpoint.
            created_after: Only calls recorded at this time or later.
            created_before: Only calls recorded before this time.
            parent: Only calls that this call made.
            limit: Largest number of calls to return. They come in pages of 100.
            timeout: Time that it may take, with all pages and retries, instead of the client's;
                None is no limit.

        Returns:
            The calls, as messages `dispatch.calls.v1.CallInfo`.

        Raises:
            ConfigurationError: An argument is not acceptable; nothing was sent.
            NotFoundError: The parent is no id of a call, or the service has no CallService.
            RPCError: Others as for `dispatch`.
        """
        from dispatch_grpc.client.following import Listing

        listing = Listing(
            self._core,
            state=state,
            status=status,
            function=function,
            endpoint=endpoint,
            created_after=created_after,
            created_before=created_before,
            parent=parent,
            limit=limit,
            timeout=timeout,
        )
        while (step := listing.next()) is not None:
            listing.take(self._call("ListCalls", *step))
        return listing.calls

    def cancel(self, dispatch_id: DispatchID, *, timeout: timedelta | None = NOT_GIVEN) -> int:
        """Cancel a call that has not finished, and the calls that it made, and theirs.

        A function that runs right now is not stopped, but what it answers is not used.

        Args:
            dispatch_id: Id of the call.
            timeout: As for `get`.

        Returns:
            Number of calls that were cancelled.

        Raises:
            NotFoundError: There is no such call, or the service has no CallService.
            RPCError: Its code is FAILED_PRECONDITION when the call has finished already; after
                a retry, it may be that the first attempt has cancelled it. Others as for
                `dispatch`.
        """
        from dispatch_grpc.client import following

        request = following.cancel_request(dispatch_id)
        response = self._call("CancelCall", request, self._core.seconds(timeout))
        return int(response.cancelled)

    def _send(
        self, request: DispatchRequest, timeout: Any, metadata: Mapping[str, str] | None, key: str
    ) -> "builtins.list[DispatchID]":
        """Send a request and return its ids. Every dispatch of the client goes through here."""
        core = self._core
        if request.ByteSize() > core.max_message_bytes:
            raise core.too_large(request, key)
        pairs = (*core.metadata, ("idempotency-key", key))
        if metadata is not None:
            pairs += settings.metadata(metadata)
        seconds = core.timeout if timeout is NOT_GIVEN else settings.timeout(timeout)
        if self._closed or self._pid != os.getpid():
            self._recover()
        try:
            response = self._transport.send(request, pairs, seconds)
        except RPCError as error:
            raise core.explain(error, request, key) from error.__cause__
        except ClientStateError as error:
            error.idempotency_key = key
            raise
        ids = list(response.dispatch_ids)
        if len(ids) != len(request.calls):
            raise core.miscounted(request, ids, key)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("dispatched %d calls to %s: %s", len(ids), core.target.url, ids)
        return ids

    def _call(self, method: Method, request: Message, seconds: float | None) -> Any:
        """Send a request of CallService. Every other request of the client goes through here."""
        core = self._core
        if self._closed or self._pid != os.getpid():
            self._recover()
        try:
            return self._transport.call(method, request, core.metadata, seconds)
        except RPCError as error:
            raise core.explain_call(error, request) from error.__cause__

    def _recover(self) -> None:
        """Open a connection of this process's own after a fork, unless the client is closed."""
        self._check_open()
        if not self._core.own_connection:
            raise ClientStateError(
                "the channel or http_client handed to this client belongs to the process "
                "that made it: make another client after a fork"
            )
        self._open()  # what the parent opened stays its own

    def _open(self) -> None:
        core = self._core
        if core.protocol == "grpc":
            self._transport: Transport = GRPCTransport(core.connection, channel=self._channel)
        else:
            from dispatch_grpc.transport.connect import ConnectTransport

            self._transport = ConnectTransport(core.connection, http_client=self._http_client)
        self._pid = os.getpid()

    def _check_open(self) -> None:
        if self._closed:
            raise ClientStateError("the client is closed")

    def close(self) -> None:
        """Close the connection. Closing twice is fine; dispatching afterwards is an error."""
        if not self._closed and self._pid == os.getpid():
            self._transport.close()
        self._closed = True

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._core!r}>"
