"""The endpoint: functions by name, and serving.

It is long because 200 lines are the documentation of what users call.
"""

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime, timedelta
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from dispatch_grpc.calls import function_problem, mask_urls
from dispatch_grpc.client import AsyncClient, Client, settings
from dispatch_grpc.codes import Code
from dispatch_grpc.endpoint.clients import Clients
from dispatch_grpc.endpoint.executor import (
    CurrentCall,
    Executor,
    describe_call,
    running_call,
)
from dispatch_grpc.endpoint.function import Function, is_kind
from dispatch_grpc.endpoint.pending import refuse_to_resume
from dispatch_grpc.endpoint.remote import Remote
from dispatch_grpc.endpoint.reserved import RESERVED
from dispatch_grpc.endpoint.workflows import WORKFLOW_EXPIRATION, Workflow
from dispatch_grpc.errors import EndpointError, rpc_error
from dispatch_grpc.log import logger
from dispatch_grpc.schema import RunRequest, RunResponse
from dispatch_grpc.text import counted, quoted
from dispatch_grpc.workflow.journal import MAX_BYTES as MAX_JOURNAL_BYTES
from dispatch_grpc.workflow.operations import by_name

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from dispatch_grpc.serving import ASGIApplication

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Types = type[BaseException] | tuple[type[BaseException], ...]


class Endpoint:
    """Python functions that a Dispatch service can call.

    Args:
        url: URL by which the service reaches this endpoint, as in a call; else
            `DISPATCH_ENDPOINT_URL`. Signatures for this URL are also accepted behind a proxy
            that changes the Host or the path.
        verification_key: Public key of the service, PEM or base64, to verify the signature of
            every request; else `DISPATCH_VERIFICATION_KEY`. Without a key, requests are not
            verified.
        client: Client to dispatch calls with: a `Client` for `dispatch`, an `AsyncClient` for
            `dispatch_async`. Else clients are made from the environment when they are needed.
        max_request_bytes: Largest request to read, and largest answer to send.
        max_concurrency: Largest number of sync functions that run at the same time, each in a
            thread. Async functions run on the event loop.
        env: Variables to read instead of the process's environment.

    Attributes:
        url: URL by which the service reaches this endpoint.
        max_request_bytes: Largest request to read, and largest answer to send.

    Raises:
        ConfigurationError: A setting is missing or invalid.
        ImportError: There is a verification key, and the extra `endpoint` is not installed.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        verification_key: "str | bytes | Ed25519PublicKey | None" = None,
        client: Client | AsyncClient | None = None,
        max_request_bytes: int = 16_000_000,
        max_concurrency: int = 64,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._env = env
        variables = settings.environment(env)
        self.url: str = settings.resolve_endpoint_url(url, variables)
        self.verification_key: Ed25519PublicKey | None = _verification_key(
            verification_key, variables
        )
        self.max_request_bytes: int = settings.positive("max_request_bytes", max_request_bytes)
        self._executor = Executor(settings.positive("max_concurrency", max_concurrency))
        self._clients = Clients(client, env)
        self._functions: dict[str, Function[..., Any]] = {}
        self._error_types: dict[str, type[Exception]] = {}

    @property
    def functions(self) -> Mapping[str, Function[..., Any]]:
        """The functions by name."""
        return MappingProxyType(self._functions)

    @overload
    def function(self, function: Callable[_P, _R], /) -> Function[_P, _R]: ...
    @overload
    def function(
        self,
        /,
        *,
        name: str | None = None,
        permanent: _Types = (),
        retry: bool = True,
    ) -> Callable[[Callable[_P, _R]], Function[_P, _R]]: ...
    def function(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        permanent: _Types = (),
        retry: bool = True,
    ) -> Any:
        """Host a function: a decorator, with or without arguments.

        The annotations of its parameters decode the input, and its result is marshalled. An
        exception becomes an error with the status of `Status.of`. The service then tries the
        call again, unless the status is final: raise a `PermanentError`, give an exception a
        `status` of its own, or register its type.

        The input of a call holds the arguments that the caller passed, and no defaults:

        - no argument: no input;
        - the first parameter alone: the value itself, as `marshal` represents it;
        - others: a dict of the arguments by name, each as exact as a single value.

        A function of one parameter receives the value itself. A function of several receives a
        dict by name, or the value of its first parameter if all others have defaults; a dict is
        read by name if the name of the first parameter is one of its keys. So calls and
        endpoints of different versions work together when a parameter with a default is added
        after the others: old calls use the default, and new calls that do not pass it run on
        old endpoints.

        Args:
            function: A function, sync or async.
            name: Name for calls; else the name of the function.
            permanent: Types of exceptions that are final: they become a PERMANENT_ERROR.
            retry: False makes all its exceptions final.

        Returns:
            The `Function`, which can still be called directly.

        Raises:
            EndpointError: The function cannot be hosted, or the name is in use.
        """
        return self._register(function, name, permanent, retry=retry, primitive=False)

    @overload
    def primitive(self, function: Callable[..., Any], /) -> Function[..., Any]: ...
    @overload
    def primitive(
        self,
        /,
        *,
        name: str | None = None,
        permanent: _Types = (),
        retry: bool = True,
    ) -> Callable[[Callable[..., Any]], Function[..., Any]]: ...
    def primitive(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        permanent: _Types = (),
        retry: bool = True,
    ) -> Any:
        """Host a function that handles the protocol itself: a decorator.

        It receives the RunRequest and returns a RunResponse, made by `dispatch_grpc.primitives`,
        to finish, to wait for other calls, or to be replaced by another call. Its input may be
        any value.

        Args:
            function: A function of one RunRequest, sync or async.
            name: Name for calls; else the name of the function.
            permanent: Types of exceptions that are final, as for `function`.
            retry: False makes all its exceptions final.

        Returns:
            The `Function`.

        Raises:
            EndpointError: The function cannot be hosted, or the name is in use.
        """
        return self._register(function, name, permanent, retry=retry, primitive=True)

    @overload
    def workflow(
        self, function: Callable[_P, Coroutine[Any, Any, _R]], /
    ) -> Workflow[_P, Coroutine[Any, Any, _R]]: ...
    @overload
    def workflow(
        self,
        /,
        *,
        name: str | None = None,
        version: str = "",
        expiration: timedelta = ...,
        max_journal_bytes: int = ...,
    ) -> Callable[
        [Callable[_P, Coroutine[Any, Any, _R]]], Workflow[_P, Coroutine[Any, Any, _R]]
    ]: ...
    def workflow(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        version: str = "",
        expiration: timedelta = WORKFLOW_EXPIRATION,
        max_journal_bytes: int = MAX_JOURNAL_BYTES,
    ) -> Any:
        """Host a workflow: an async function that waits for other functions, durably.

        Its code is plain asyncio. It waits for `Function.run` and the functions of
        `dispatch_grpc.workflow`; after a crash it continues where it was.

        Args:
            function: An async function.
            name: Name for calls; else the name of the function.
            version: Version of the code, shown in the error if the code does not match a
                journal.
            expiration: Default of the longest time that a call may take.
            max_journal_bytes: Largest size of the journal.

        Returns:
            The `Workflow`, a `Function`.

        Raises:
            EndpointError: The function cannot be hosted, or the name is in use.
        """
        options = {
            "version": version,
            "expiration": expiration,
            "max_journal_bytes": settings.positive("max_journal_bytes", max_journal_bytes),
        }
        return self._register(function, name, workflow=options)

    def errors(self, *types: type[Exception]) -> None:
        """Register classes of exceptions that workflows raise again with their own type.

        If a function of this endpoint raises one, its arguments are sent with the error, as far
        as `marshal` supports them. If a call fails with one, a workflow of this endpoint that
        waits for the call gets it instead of a CallError.

        Args:
            types: The classes. Each is made again from its `args`, else from its message.

        Raises:
            WorkflowError: An argument is not a class of exceptions.
        """
        self._error_types.update(by_name(types))

    @property
    def error_types(self) -> Mapping[str, type[Exception]]:
        """The classes that `errors` registered, by name."""
        return MappingProxyType(self._error_types)

    @overload
    def remote(
        self,
        url: str,
        name: str,
        *,
        returns: type[_R],
        raises: Iterable[type[Exception]] = (),
    ) -> Remote[_R]: ...
    @overload
    def remote(
        self, url: str, name: str, *, returns: Any = None, raises: Iterable[type[Exception]] = ()
    ) -> Remote[Any]: ...
    def remote(
        self, url: str, name: str, *, returns: Any = None, raises: Iterable[type[Exception]] = ()
    ) -> Remote[Any]:
        """Refer to a function of another endpoint, perhaps in another language.

            reserve = endpoint.remote("http://stock:8000", "reserve", returns=Reservation)

        Args:
            url: URL of the other endpoint.
            name: Name of the function.
            returns: Type to decode its result into; None for the natural value.
            raises: Classes of exceptions that workflows raise again with their own type.

        Raises:
            InvalidCallError: The URL or the name is invalid.
        """
        return Remote(self, url, name, returns, raises)

    def _register(
        self,
        function: Any,
        name: str | None,
        permanent: Any = (),
        *,
        retry: bool = True,
        primitive: bool = False,
        workflow: dict[str, Any] | None = None,
    ) -> Any:
        if function is None:
            return lambda function: self._register(
                function, name, permanent, retry=retry, primitive=primitive, workflow=workflow
            )
        if not callable(function):
            raise EndpointError(f"a function is required; got {type(function).__name__}")
        if isinstance(function, Function):  # to host it by another name, or at two endpoints
            function = function._function
        if is_kind(inspect.isgeneratorfunction, function) or is_kind(
            inspect.isasyncgenfunction, function
        ):
            raise EndpointError(f"{function!r} is a generator, which has no single result")
        kind = "" if isinstance(function, partial) else type(function).__name__
        own: str = getattr(function, "__name__", kind)
        name = own if name is None else name
        if problem := function_problem(name):
            raise EndpointError(f"{problem}: pass name=")
        if name in self._functions:
            raise EndpointError(f"the endpoint already has a function {name!r}: pass another name=")
        hosted: Function[..., Any]
        if workflow is not None:
            hosted = Workflow(self, function, name, **workflow)
        else:
            hosted = Function(
                self,
                function,
                name,
                primitive=primitive,
                permanent=_exception_types(permanent),
                retry=retry,
            )
        self._functions[name] = hosted
        return hosted

    def client(self) -> Client:
        """Return the client given to the endpoint, else one made from the environment, once.

        Raises:
            EndpointError: The endpoint was given an AsyncClient.
            ConfigurationError: A setting such as the API key is missing or invalid.
        """
        return self._clients.client()

    def async_client(self) -> AsyncClient:
        """Return the async client given to the endpoint, else one for the running event loop.

        Raises:
            EndpointError: The endpoint was given a Client.
            ConfigurationError: A setting such as the API key is missing or invalid.
        """
        return self._clients.async_client()

    async def run(
        self,
        request: RunRequest,
        *,
        attempt: int | None = None,
        scheduled_time: datetime | None = None,
    ) -> RunResponse:
        """Run a function, as FunctionService/Run does.

        Args:
            request: The function, and its input or the results that it resumes with.
            attempt: Number of the attempt, for `current_call`; None if it is not known.
            scheduled_time: Tick of the schedule that dispatched the call, for `current_call`;
                None for other calls.

        Returns:
            The answer, with the result of the function or the error that it raised.

        Raises:
            NotFoundError: There is no such function.
            InvalidArgumentError: The request has neither an input nor a poll result.
        """
        call = describe_call(request, attempt, scheduled_time)
        token = running_call.set(call)  # also for what is logged before and after the function
        try:
            return await self._run(request, call)
        finally:
            running_call.reset(token)

    async def _run(self, request: RunRequest, call: CurrentCall) -> RunResponse:
        function = self._functions.get(request.function)
        if function is None and request.function not in RESERVED:
            raise rpc_error(Code.NOT_FOUND, self._not_found(request.function))
        directive = request.WhichOneof("directive")
        if directive is None:
            raise rpc_error(
                Code.INVALID_ARGUMENT,
                "directive: one of input and poll_result is required; got none",
            )
        if directive == "poll_result" and (refused := refuse_to_resume(request)) is not None:
            return refused
        if function is None:
            return await RESERVED[request.function](self, request)
        return await function._run(request, self._executor, call)

    def _not_found(self, name: str) -> str:
        import difflib

        message = f"there is no function {quoted(name, 200)} at {mask_urls(self.url)}"
        near = difflib.get_close_matches(name[:200], self._functions, 1)
        return f"{message}; did you mean {near[0]!r}?" if near else message

    @cached_property
    def app(self) -> "ASGIApplication":
        """The endpoint as an ASGI 3 application: Connect, gRPC and gRPC-Web.

        Run it with any ASGI server, or mount it in another application, at `/` or below. gRPC
        needs a server with HTTP/2 trailers, such as the one of `Endpoint.serve`, or hypercorn.
        """
        from dispatch_grpc.endpoint.app import Application

        if self.verification_key is None and not self.url.startswith("bridge://"):
            logger.warning(
                "the endpoint %s has no verification key: anyone who can reach it can run its "
                "functions. Set DISPATCH_VERIFICATION_KEY, or pass verification_key=",
                mask_urls(self.url),
            )
        return Application(self)

    def serve(
        self,
        address: str | None = None,
        *,
        shutdown_timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        """Serve the endpoint until SIGTERM or SIGINT (Ctrl-C).

        Connect, gRPC and gRPC-Web, and `/healthz`, on one port, without TLS.

        Args:
            address: `HOST:PORT` to listen on; else `DISPATCH_ENDPOINT_ADDR`, else
                `127.0.0.1:8000`. Port 0 chooses a free port.
            shutdown_timeout: Time that running functions have to finish after the signal.
                Meanwhile new requests are refused as UNAVAILABLE.

        Raises:
            ConfigurationError: The address is invalid, or the server cannot listen on it.
            EndpointError: This is not the main thread, or an event loop runs in it.
            ImportError: The extra `endpoint` is not installed.
        """
        from dispatch_grpc.endpoint.server import serve

        host, port = settings.resolve_address(address, settings.environment(self._env))
        serve(self, self.app, host, port, shutdown_timeout)

    def __repr__(self) -> str:
        return f"<Endpoint {mask_urls(self.url)} of {counted(len(self._functions), 'function')}>"


def _exception_types(given: Any) -> tuple[type[BaseException], ...]:
    types = given if isinstance(given, tuple) else (given,)
    for kind in types:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise EndpointError(
                f"permanent: classes of exceptions are required; got {quoted(kind, 200)}"
            )
    return types


def _verification_key(
    argument: "str | bytes | Ed25519PublicKey | None", env: Mapping[str, str]
) -> "Ed25519PublicKey | None":
    source, key = "verification_key=", argument
    if isinstance(key, str | bytes):
        key = key.strip()
    if not key:
        source, key = "DISPATCH_VERIFICATION_KEY", env.get("DISPATCH_VERIFICATION_KEY", "").strip()
    if not key:
        return None
    from dispatch_grpc.endpoint.signature import parse_verification_key

    return parse_verification_key(key, source)
