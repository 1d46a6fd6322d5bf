"""A function that an endpoint hosts: its calls and its runs."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from functools import cached_property, partial, update_wrapper
from types import MethodType
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from dispatch_grpc.calls import mask_urls, new_call
from dispatch_grpc.client import AsyncClient, Client, DispatchID
from dispatch_grpc.client.settings import NOT_GIVEN
from dispatch_grpc.codes import Status
from dispatch_grpc.endpoint.answers import (
    failure,
    problem_of_response,
    refusal,
    respond,
    status_of,
)
from dispatch_grpc.endpoint.executor import CurrentCall, Executor, NotRunError, outcome_of
from dispatch_grpc.endpoint.parameters import Parameters
from dispatch_grpc.endpoint.pending import Pending, pending
from dispatch_grpc.errors import DispatchError, EndpointError, MarshalError, UnmarshalError
from dispatch_grpc.schema import Call, RunRequest, RunResponse
from dispatch_grpc.serving import LARGE_BYTES
from dispatch_grpc.values import marshal
from dispatch_grpc.workflow.errors import error_value, type_name
from dispatch_grpc.workflow.operations import returned_type, run

_P = ParamSpec("_P")
_R_co = TypeVar("_R_co", covariant=True)
_T = TypeVar("_T")


class Host(Protocol):
    """The part of an endpoint that its functions use."""

    url: str
    max_request_bytes: int

    @property
    def error_types(self) -> Mapping[str, type[Exception]]:
        """Return the classes of exceptions that are raised again, by name."""
        ...

    def client(self) -> Client:
        """Return the client to dispatch calls with."""
        ...

    def async_client(self) -> AsyncClient:
        """Return the client for the running event loop."""
        ...


class Function(Generic[_P, _R_co]):
    """A function that an endpoint hosts; calling it just calls the Python function.

    `Endpoint.function` and `Endpoint.primitive` make it. It has the attributes that
    `functools.wraps` copies, binds to objects as a method, and is pickled by its name in its
    module, like the Python function.

    Attributes:
        name: Name of the function in calls.
    """

    def __init__(
        self,
        endpoint: Host,
        function: Callable[_P, _R_co],
        name: str,
        *,
        primitive: bool,
        permanent: tuple[type[BaseException], ...] = (),
        retry: bool = True,
    ) -> None:
        if not inspect.isclass(function):
            for key, value in getattr(function, "__dict__", {}).items():
                if not hasattr(type(self), key):
                    setattr(self, key, value)
        self.__name__ = self.__qualname__ = name  # partials have none
        update_wrapper(self, function, updated=())
        self.name = name
        self._endpoint = endpoint
        self._function = function
        self._parameters = None if primitive else Parameters(function, name)
        self._permanent, self._retry = permanent, retry
        self._call_options: dict[str, Any] = {}
        self._dispatch_options: dict[str, Any] = {}
        self._is_async = is_kind(inspect.iscoroutinefunction, function)
        if self._is_async:
            _mark_as_coroutine_function(self, function)

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """Call the Python function."""
        return self._function(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> MethodType: ...
    def __get__(self, instance: object, owner: type | None = None) -> Self | MethodType:
        """Bind to an object, as a function in the body of a class does."""
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> str:
        return self.__qualname__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} of {mask_urls(self._endpoint.url)}>"

    def with_options(
        self,
        *,
        expiration: timedelta | None = NOT_GIVEN,
        version: str = NOT_GIVEN,
        timeout: timedelta | float | None = NOT_GIVEN,
        metadata: Mapping[str, str] | None = NOT_GIVEN,
        idempotency_key: str | None = NOT_GIVEN,
        delay: timedelta | float | None = NOT_GIVEN,
        at: datetime | None = NOT_GIVEN,
        labels: Mapping[str, str] | None = NOT_GIVEN,
    ) -> Self:
        """Return this function with options for its calls; options not given stay as they are.

            greet.with_options(expiration=timedelta(minutes=5)).dispatch("World")

        Args:
            expiration: Longest time that a call may take; None leaves it to the service.
            version: Version of the application that calls are meant for.
            timeout: Time that a dispatch may take, a timedelta or seconds, as for
                `Client.dispatch`; `call` does not use it.
            metadata: Metadata of a dispatch, as for `Client.dispatch`.
            idempotency_key: Key of one dispatch, as for `Client.dispatch`.
            delay: When a dispatched call begins, as for `Client.dispatch`.
            at: When a dispatched call begins, as for `Client.dispatch`.
            labels: Labels of a dispatched call, as for `Client.dispatch`.
        """
        call = {"expiration": expiration, "version": version}
        dispatch = {
            "timeout": timeout,
            "metadata": metadata,
            "idempotency_key": idempotency_key,
            "delay": delay,
            "at": at,
            "labels": labels,
        }
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._call_options = self._call_options | _given(call)
        other._dispatch_options = self._dispatch_options | _given(dispatch)
        return other

    def call(self, *args: _P.args, **kwargs: _P.kwargs) -> Call:
        """Make a call of this function, without dispatching it.

        Args:
            args: Arguments of the function; for a primitive, its input. Defaults are not sent:
                the endpoint applies its own.
            kwargs: Arguments by name.

        Returns:
            The call, as `new_call` makes it, with the options of `with_options`.

        Raises:
            TypeError: The arguments do not match the function's parameters.
            MarshalError: An argument has no representation.
            InvalidCallError: An option is invalid.
        """
        input: Any
        if self._parameters is not None:
            input = self._parameters.encode(args, kwargs)
        elif kwargs or len(args) > 1:
            raise TypeError(f"{self.name}() is a primitive: it accepts one argument, its input")
        else:
            input = args[0] if args else None
        return new_call(self._endpoint.url, self.name, input, **self._call_options)

    @overload
    def dispatch(
        self: "Function[_P, Coroutine[Any, Any, _T]]", *args: _P.args, **kwargs: _P.kwargs
    ) -> DispatchID[_T]: ...
    @overload
    def dispatch(self, *args: _P.args, **kwargs: _P.kwargs) -> DispatchID[_R_co]: ...
    def dispatch(self, *args: Any, **kwargs: Any) -> DispatchID[Any]:
        """Dispatch a call of this function with the endpoint's client.

        Arguments and errors are those of `call` and of `Client.dispatch`; `with_options` sets
        the options of both.

        Returns:
            The id of the call. `Client.wait` decodes the output into the annotated return type
            of the function.
        """
        call = self.call(*args, **kwargs)
        id = self._endpoint.client().dispatch(call, **self._dispatch_options)
        return DispatchID(id, self._result_type)

    @overload
    async def dispatch_async(
        self: "Function[_P, Coroutine[Any, Any, _T]]", *args: _P.args, **kwargs: _P.kwargs
    ) -> DispatchID[_T]: ...
    @overload
    async def dispatch_async(self, *args: _P.args, **kwargs: _P.kwargs) -> DispatchID[_R_co]: ...
    async def dispatch_async(self, *args: Any, **kwargs: Any) -> DispatchID[Any]:
        """Dispatch a call of this function with the endpoint's async client.

        Arguments and errors are those of `call` and of `AsyncClient.dispatch`; `with_options`
        sets the options of both.

        Returns:
            The id of the call. `Client.wait` decodes the output into the annotated return type
            of the function.
        """
        call = self.call(*args, **kwargs)
        client = self._endpoint.async_client()
        id = await client.dispatch(call, **self._dispatch_options)
        return DispatchID(id, self._result_type)

    @property
    def _result_type(self) -> Any:
        return None if self._parameters is None else self._parameters.result_type()

    @overload
    def run(
        self: "Function[_P, Coroutine[Any, Any, _T]]", *args: _P.args, **kwargs: _P.kwargs
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def run(self, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, _R_co]: ...
    def run(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Call this function from a workflow, and wait for its result.

        Arguments and errors are those of `call` and of `workflow.run`. The result is decoded by
        the function's return annotation.

        Returns:
            A coroutine of the result, for `await`, `asyncio.gather`, a TaskGroup and the like.
        """
        return run(self.call(*args, **kwargs), self._returns)

    @cached_property
    def _returns(self) -> Any:
        """The type of the result, or None."""
        return None if self._parameters is None else returned_type(self._function)

    async def _run(
        self,
        request: RunRequest,
        executor: Executor,
        call: CurrentCall,
    ) -> RunResponse:
        """Run the function, and return the answer in every case."""
        args: tuple[Any, ...] = (request,)
        kwargs: dict[str, Any] = {}
        if self._parameters is not None:
            if request.HasField("poll_result"):
                state_error = EndpointError(f"{self.name} cannot be resumed: it never polls")
                return refusal(self.name, state_error, Status.INCOMPATIBLE_STATE)
            decode = partial(outcome_of, partial(self._parameters.decode, request.input))
            large = len(request.input.value) >= LARGE_BYTES
            arguments, undecoded = await asyncio.to_thread(decode) if large else decode()
            if isinstance(undecoded, UnmarshalError):
                return refusal(self.name, undecoded, Status.INVALID_ARGUMENT)
            if undecoded is not None:  # raised by the code of a type
                return self._failure(undecoded)
            args, kwargs = arguments
        try:
            result, raised = await executor.run(
                lambda: self._function(*args, **kwargs),
                call,
                is_async=self._is_async,
            )
        except NotRunError as error:
            return failure(self.name, error.cause)
        if isinstance(raised, Pending):
            return pending()
        return self._answer(result) if raised is None else self._failure(raised)

    def _failure(self, error: BaseException) -> RunResponse:
        status = status_of(error)
        if status.retryable and (not self._retry or _holds(error, self._permanent)):
            status = Status.PERMANENT_ERROR
        return self._failed(error, status)

    def _failed(self, error: BaseException, status: Status) -> RunResponse:
        """Answer with an exception, and with its arguments if its class is registered."""
        response = failure(self.name, error, status)
        if type_name(type(error)) in self._endpoint.error_types:
            response.exit.result.error.value = error_value(error)
        return response

    def _answer(self, result: Any) -> RunResponse:
        try:
            response = self._response(result)
        except DispatchError as error:
            return refusal(self.name, error, Status.INVALID_RESPONSE)
        except BaseException as error:  # noqa: BLE001 (results may run code of their own)
            return failure(self.name, error, Status.INVALID_RESPONSE)
        size, limit = response.ByteSize(), self._endpoint.max_request_bytes
        if size > limit:
            size_error = EndpointError(
                f"the answer of {self.name} has {size} bytes; max_request_bytes allows {limit}"
            )
            return refusal(self.name, size_error, Status.INVALID_RESPONSE)
        return response

    def _response(self, result: Any) -> RunResponse:
        if self._parameters is not None:
            response = respond(Status.OK)
            try:
                response.exit.result.output.CopyFrom(marshal(result))
            except MarshalError as error:
                raise MarshalError(f"the result of {self.name}: {error}") from error
            return response
        if not isinstance(result, RunResponse):
            raise EndpointError(
                f"{self.name} is a primitive: a RunResponse is required; "
                f"got {type(result).__name__}"
            )
        if problem := problem_of_response(result):
            raise EndpointError(f"the answer of {self.name}: {problem}")
        return result


def is_kind(test: Callable[[Any], bool], function: Any) -> bool:
    """Apply an `inspect` predicate to the innermost callable."""
    function = _innermost(function)
    return test(function) or test(type(function).__call__)


def _innermost(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def _mark_as_coroutine_function(hosted: Any, function: Any) -> None:
    """Have `inspect.iscoroutinefunction` recognise a hosted function, as frameworks rely on."""
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:  # Python 3.12
        mark(hosted)
        return
    # Older versions of inspect read the flags of __code__.
    function = _innermost(function)
    code = getattr(function, "__code__", None)
    hosted.__code__ = code or type(function).__call__.__code__
    hosted.__defaults__ = hosted.__kwdefaults__ = None


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not NOT_GIVEN}


def _holds(error: BaseException, types: tuple[type[BaseException], ...]) -> bool:
    """Return True for an exception of these types, or a group that holds one."""
    if isinstance(error, BaseExceptionGroup) and types:
        return error.subgroup(types) is not None
    return isinstance(error, types)
