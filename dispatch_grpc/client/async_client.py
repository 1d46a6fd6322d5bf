"""The client for asyncio: the twin of `Client`.

It is long because every method has its documentation here; the logic is in `following`, `explain`,
`coalescing` and `settings`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from google.protobuf.message import Message

from dispatch_grpc import tracing
from dispatch_grpc.client import explain, settings
from dispatch_grpc.client.async_operations import AsyncOperations
from dispatch_grpc.client.batch import AsyncBatch
from dispatch_grpc.client.dispatch_id import DispatchID
from dispatch_grpc.client.grouping import Coalesce, GroupKey, coalesce_of
from dispatch_grpc.client.settings import NOT_GIVEN, LoadBalancing, Protocol, Timeout
from dispatch_grpc.codes import Status
from dispatch_grpc.errors import (
    ClientStateError,
    DeadlineExceededError,
    DispatchError,
    RPCError,
    UnavailableError,
)
from dispatch_grpc.schema import Call, DispatchRequest
from dispatch_grpc.transport import RetryPolicy, TLSCredentials
from dispatch_grpc.transport.grpc import AsyncGRPCTransport
from dispatch_grpc.transport.protocols import AsyncTransport, Method

if TYPE_CHECKING:
    import builtins  # the method `list` hides the type

    import grpc.aio

    from dispatch_grpc.client.call_info import CallInfo
    from dispatch_grpc.client.coalescing import Coalescer
    from dispatch_grpc.client.following import State, Waiting
    from dispatch_grpc.client.later import Delay
    from dispatch_grpc.client.schedules import AsyncSchedules

_T = TypeVar("_T")
_R = TypeVar("_R")


class AsyncClient(AsyncOperations):
    """A client of the Dispatch API, for asyncio.

    It belongs to the event loop that uses it first: make one for each event loop.
    Close it with `close`, or use it as a context manager.

    Args:
        api_key: The API key; else `DISPATCH_API_KEY`.
        api_url: The URL of the service; else `DISPATCH_API_URL`, else
            `https://api.dispatch.run`, which is out of service.
        protocol: `"grpc"`, `"connect"` or `"connect+json"`; else `DISPATCH_PROTOCOL`, else gRPC.
            Connect needs an extra: `pip install 'dispatch-grpc[connect]'`.
        timeout: Longest time for a dispatch with all its retries, and for a wait: a timedelta
            or a number of seconds; None means no limit.
        metadata: Metadata (HTTP headers) to send with every request.
        retry: When to retry a failed request; None means never. A service that ignores
            idempotency keys may record calls twice if an answer is lost and the request is
            retried.
        credentials: Certificates for `https`; by default, the system's certificate authorities
            are trusted.
        allow_plaintext: Whether to send the key by `http` to another machine.
        max_message_bytes: Largest request to send; by default 4 MiB, the usual limit of gRPC
            servers.
        max_response_bytes: Largest answer to read; else `max_message_bytes` if that is given,
            else 20 MiB, as the service keeps outputs of up to 16 MB.
        proxy: URL of an HTTP proxy to use instead of the environment's.
        trust_env: Whether to use the proxies in `https_proxy`, `http_proxy`, `all_proxy` and
            `no_proxy`. They never apply to loopback, and to `http` only with
            `allow_plaintext`.
        env: Variables to read instead of the process's environment.
        load_balancing: How gRPC spreads requests over the addresses that DNS gives for the host:
            `"round_robin"` over all of them; `"pick_first"`, the default of gRPC, keeps to one.
        channel: A channel of `grpc.aio` to use, with its own options and retries. The client
            does not close it, and sends every request over it: servers limit the requests of a
            connection at a time, often to 128, and each `wait` is one.
        coalesce: Whether dispatches that are made while a request is under way leave together, as
            the next request: True, or a `Coalesce` with its bounds. Each is recorded or refused by
            itself. Batches, and dispatches with a delay, labels, metadata, an idempotency key or a
            trace of their own, are requests of their own. The idempotency key in an error stands
            for all calls of the request: pass the object on as it is, not a copy of its text.

    Raises:
        ConfigurationError: A setting is missing or invalid.
        ImportError: The protocol is Connect, and its extra is not installed.
    """

    _loop: asyncio.AbstractEventLoop | None = None
    _transport: AsyncTransport | None = None
    _coalescer: "Coalescer | None" = None

    def __init__(
        self,
        api_key: str | None = None,
        *,
        api_url: str | None = None,
        protocol: Protocol | None = None,
        timeout: Timeout = settings.DEFAULT_TIMEOUT,
        metadata: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = settings.DEFAULT_RETRY,
        credentials: TLSCredentials | None = None,
        allow_plaintext: bool = False,
        max_message_bytes: int = NOT_GIVEN,
        max_response_bytes: int = NOT_GIVEN,
        proxy: str | None = None,
        trust_env: bool = True,
        env: Mapping[str, str] | None = None,
        load_balancing: LoadBalancing | None = None,
        channel: "grpc.aio.Channel | None" = None,
        coalesce: bool | Coalesce = False,
    ) -> None:
        rules = coalesce_of(coalesce)
        super().__init__(
            api_key,
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
            load_balancing=load_balancing,
            channel=channel,
        )
        if rules is not None:
            from dispatch_grpc.client.coalescing import Coalescer

            self._coalescer = Coalescer(rules, self._settings, self._send)

    async def dispatch(
        self,
        call: Call,
        *,
        delay: "Delay | None" = None,
        at: datetime | None = None,
        labels: Mapping[str, str] | None = None,
        timeout: Timeout = NOT_GIVEN,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Dispatch a call: the service records it and runs it asynchronously.

        Args:
            call: The call, as `new_call` makes it.
            delay: How long after it is recorded the call begins: a timedelta or a number of
                seconds, counted by the service's clock.
            at: When the call begins instead: a datetime with a time zone; one that has passed
                means at once. The call's expiration counts from when it is recorded.
            labels: Up to 16 labels, to find the call by: keys of 1 to 63 letters, digits, `_`,
                `.`, `-` and `/`, values of up to 255 bytes.
            timeout: Longest time for this dispatch with all its retries, instead of the
                client's timeout: a timedelta or a number of seconds; None means no limit.
            metadata: Metadata to send in addition to the client's.
            idempotency_key: Key by which the service recognises a repeated request; by default a
                new one. All retries send the same key.

        Returns:
            The id of the call, which the service has recorded.

        Raises:
            InvalidCallError: The call breaks a rule of the schema; nothing was sent.
            ConfigurationError: Another argument is invalid; nothing was sent.
            ClientStateError: The client is closed.
            AuthenticationError: The service rejected the API key.
            RequestTooLargeError: The call is too large.
            DeadlineExceededError: There was no answer in time.
            UnavailableError: The service could not be reached.
            ProtocolError: The server at the API URL is not a Dispatch service.
            NotFoundError: The service cannot delay or label calls (UNIMPLEMENTED); it has recorded
                nothing.
            RPCError: Any other failure: see `dispatch_grpc.errors`.
        """
        single = self._request(call)
        request: explain.Request = single
        seconds = self._settings.seconds(timeout)
        place = 0
        if not (delay is None and at is None and labels is None):
            from dispatch_grpc.client import later

            request = later.submit_request([call], {0: later.options_of(delay, at, labels)})
        elif isinstance(idempotency_key, GroupKey):
            request, place = idempotency_key.request_for(call) or (single, 0)
        elif self._coalescer is not None and not (metadata or idempotency_key or _is_traced()):
            if self._transport is None or self._loop is not asyncio.get_running_loop():
                self._start()
            return await self._coalescer.dispatch(single, seconds)
        key = settings.idempotency_key(idempotency_key)
        return (await self._send(request, seconds, metadata, key))[place]

    def batch(self) -> AsyncBatch:
        """Make an empty batch: its calls are recorded together, all or none.

        Raises:
            ClientStateError: The client is closed.
        """
        self._check_open()
        return AsyncBatch(self._send, self._settings.seconds)

    @overload
    async def wait(self, dispatch_id: str, T: type[_T], *, timeout: Timeout = NOT_GIVEN) -> _T: ...
    @overload
    async def wait(
        self, dispatch_id: DispatchID[_R], T: None = None, *, timeout: Timeout = NOT_GIVEN
    ) -> _R: ...
    @overload
    async def wait(
        self, dispatch_id: str, T: Any = None, *, timeout: Timeout = NOT_GIVEN
    ) -> Any: ...
    async def wait(self, dispatch_id: str, T: Any = None, *, timeout: Timeout = NOT_GIVEN) -> Any:
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
        return await self._wait(Waiting(self._settings, dispatch_id, T, seconds))

    @overload
    async def wait_all(
        self,
        dispatch_ids: Iterable[str],
        T: type[_T],
        *,
        timeout: Timeout = NOT_GIVEN,
        return_exceptions: Literal[False] = False,
    ) -> "builtins.list[_T]": ...
    @overload
    async def wait_all(
        self,
        dispatch_ids: Iterable[DispatchID[_R]],
        T: None = None,
        *,
        timeout: Timeout = NOT_GIVEN,
        return_exceptions: Literal[False] = False,
    ) -> "builtins.list[_R]": ...
    @overload
    async def wait_all(
        self,
        dispatch_ids: Iterable[str],
        T: Any = None,
        *,
        timeout: Timeout = NOT_GIVEN,
        return_exceptions: bool = False,
    ) -> "builtins.list[Any]": ...
    async def wait_all(
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
        from dispatch_grpc.client.following import WAITS_AT_ONCE, waits_for

        gate = asyncio.Semaphore(WAITS_AT_ONCE)

        async def outcome(waiting: "Waiting") -> Any:
            try:
                async with gate:
                    return await self._wait(waiting)
            except DispatchError as error:
                if not return_exceptions:
                    raise
                return error

        waits = waits_for(self._settings, dispatch_ids, T, timeout)
        tasks = [asyncio.ensure_future(outcome(waiting)) for waiting in waits]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self, waiting: "Waiting") -> Any:
        while (step := waiting.next()) is not None:
            try:
                pause = waiting.take(await self._call("WaitCall", *step))
            except (DeadlineExceededError, UnavailableError) as error:
                pause = waiting.lost(error)
            await asyncio.sleep(pause)
        return waiting.output()

    async def get(self, dispatch_id: str, *, timeout: Timeout = NOT_GIVEN) -> "CallInfo":
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
        response = await self._call("GetCall", request, self._settings.seconds(timeout))
        return following.call_in(self._settings, response)

    async def list(
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
        from dispatch_grpc.client.following import Listing

        listing = Listing(
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
        while (step := listing.next()) is not None:
            listing.take(await self._call("ListCalls", *step))
        return listing.calls

    async def cancel(self, dispatch_id: str, *, timeout: Timeout = NOT_GIVEN) -> int:
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
            response = await self._call("CancelCall", cancelling.request, cancelling.left())
        except RPCError as error:
            if not cancelling.is_in_doubt(error):
                raise
            request = following.get_request(dispatch_id)
            if not cancelling.is_done(await self._call("GetCall", request, cancelling.left())):
                raise
            return 1
        return int(response.cancelled)

    async def complete(
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
        await self._call("CompleteCall", request, self._settings.seconds(timeout))

    async def fail(
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
        await self._call("CompleteCall", request, self._settings.seconds(timeout))

    @property
    def schedules(self) -> "AsyncSchedules":
        """The schedules of the service, by which it dispatches calls again and again."""
        from dispatch_grpc.client.schedules import AsyncSchedules

        return AsyncSchedules(self._call, self._settings)

    async def _send(
        self,
        request: explain.Request,
        seconds: float | None,
        metadata: Mapping[str, str] | None,
        key: str,
    ) -> "builtins.list[str]":
        """Send a request and return its ids. Every dispatch of the client goes through here."""
        if not tracing.is_imported():
            return await self._record(request, seconds, metadata, key)
        with self._span(request) as span:
            ids = await self._record(request, seconds, self._traced(metadata, span), key)
            span.dispatched(ids)
            return ids

    async def _record(
        self,
        request: explain.Request,
        seconds: float | None,
        metadata: Mapping[str, str] | None,
        key: str,
    ) -> "builtins.list[str]":
        pairs = self._metadata(request, metadata, key)
        transport = self._transport
        if transport is None or self._loop is not asyncio.get_running_loop():
            transport = self._start()
        try:
            if isinstance(request, DispatchRequest):
                response = await transport.send(request, pairs, seconds)
            else:
                response = await transport.call("Submit", request, pairs, seconds)
        except RPCError as error:
            explained = explain.explain_dispatch(self._settings, error, request, key)
            raise explained from error.__cause__
        except ClientStateError as error:
            error.idempotency_key = key
            raise
        return self._ids(request, response, key)

    async def _call(
        self, method: Method, request: Message, seconds: float | None, key: str | None = None
    ) -> Any:
        """Send a CallService request. Every request but a dispatch goes through here."""
        own = self._settings
        transport = self._transport
        if transport is None or self._loop is not asyncio.get_running_loop():
            transport = self._start()
        pairs = own.metadata if key is None else (*own.metadata, ("idempotency-key", key))
        try:
            return await transport.call(method, request, pairs, seconds)
        except RPCError as error:
            raise explain.explain_call(own, error, request, key) from error.__cause__
        except ClientStateError as error:
            error.idempotency_key = explain.key_of(request, key)
            raise

    def _start(self) -> AsyncTransport:
        """Open the connection; from now on the client belongs to the running event loop."""
        self._check_open()
        if self._loop is not None:
            raise ClientStateError(
                "the client belongs to another event loop: make an AsyncClient for each event loop"
            )
        self._transport = self._connect()
        self._loop = asyncio.get_running_loop()
        return self._transport

    def _open(self) -> None:
        if self._settings.protocol != "grpc":
            import dispatch_grpc.transport.connect_async  # noqa: F401 (is the extra installed?)

    def _connect(self) -> AsyncTransport:
        connection = self._settings.connection
        if self._settings.protocol == "grpc":
            return AsyncGRPCTransport(connection, channel=self._channel)
        from dispatch_grpc.transport.connect_async import AsyncConnectTransport

        return AsyncConnectTransport(connection)

    async def close(self) -> None:
        """Close the connection. The client cannot be used afterwards; closing it again is fine."""
        self._closed = True
        transport, self._transport = self._transport, None
        if transport is not None:
            if self._coalescer is not None:
                await self._coalescer.close()
            await transport.close()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _is_traced() -> bool:
    """Return whether a dispatch has a trace, which is its request's."""
    if not tracing.is_imported():
        return False
    from dispatch_grpc.tracing import spans

    return spans.is_traced()
