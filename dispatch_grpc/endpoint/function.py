"""A function that an endpoint hosts: calls of it, and its runs."""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from functools import cached_property, partial, update_wrapper
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from dispatch_grpc.calls import new_call
from dispatch_grpc.client import AsyncClient, Client, DispatchID
from dispatch_grpc.codes import Status
from dispatch_grpc.endpoint.answers import failure, problem_of_response, refusal, respond
from dispatch_grpc.endpoint.executor import Executor, describe_call
from dispatch_grpc.endpoint.parameters import Parameters
from dispatch_grpc.errors import DispatchError, EndpointError, MarshalError, UnmarshalError
from dispatch_grpc.schema import Call, RunRequest, RunResponse
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
    """A function that an endpoint hosts: calling it calls the Python function, nothing else.

    `Endpoint.function` and `Endpoint.primitive` make it.

    Attributes:
        name: Name by which it is called.
    """

    def __init__(
        self, endpoint: Host, function: Callable[_P, _R_co], name: str, *, primitive: bool
    ) -> None:
        update_wrapper(self, function, updated=())
        self.name = name
        self._endpoint = endpoint
        self._function = function
        self._parameters = None if primitive else Parameters(function, name)
        self._is_async = is_kind(inspect.iscoroutinefunction, function)

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """Call the Python function."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Function {self.name} of {self._endpoint.url}>"

    def call(
        self,
        *args: Any,
        expiration: timedelta | None = None,
        version: str = "",
        **kwargs: Any,
    ) -> Call:
        """Make a call of this function, without dispatching it.

        Args:
            args: Arguments of the function. A primitive has one, its input.
            expiration: Longest time that it may take; None leaves it to the service.
            version: Version of the application that the call is meant for.
            kwargs: Arguments by name. Those named `expiration` or `version` go by position.

        Returns:
            The call, as `new_call` makes it.

        Raises:
            TypeError: The function does not take these arguments.
            MarshalError: An argument has no representation.
            InvalidCallError: The expiration or the version is not acceptable.
        """
        if self._parameters is not None:
            for option, given in (("expiration", expiration is not None), ("version", version)):
                if given and option in self._parameters.names:
                    raise TypeError(
                        f"{self.name}() has a parameter {option!r}, and so has the call: pass the "
                        f"parameter by position, and make the call by new_call to set its own"
                    )
            input = self._parameters.encode(args, kwargs)
        elif kwargs or len(args) > 1:
            raise TypeError(f"{self.name}() is a primitive: it takes one argument, its input")
        else:
            input = args[0] if args else None
        return new_call(
            self._endpoint.url, self.name, input, expiration=expiration, version=version
        )

    def dispatch(
        self,
        *args: Any,
        expiration: timedelta | None = None,
        version: str = "",
        **kwargs: Any,
    ) -> DispatchID:
        """Dispatch a call of this function, by the endpoint's client.

        Arguments and errors are those of `call` and of `Client.dispatch`.

        Returns:
            The id that the service gave to the call.
        """
        call = self.call(*args, expiration=expiration, version=version, **kwargs)
        return self._endpoint.client().dispatch(call)

    async def dispatch_async(
        self,
        *args: Any,
        expiration: timedelta | None = None,
        version: str = "",
        **kwargs: Any,
    ) -> DispatchID:
        """Dispatch a call of this function, by the endpoint's async client.

        Arguments and errors are those of `call` and of `AsyncClient.dispatch`.

        Returns:
            The id that the service gave to the call.
        """
        call = self.call(*args, expiration=expiration, version=version, **kwargs)
        return await self._endpoint.async_client().dispatch(call)

    @overload
    def run(
        self: "Function[_P, Coroutine[Any, Any, _T]]",
        *args: Any,
        expiration: timedelta | None = None,
        version: str = "",
        **kwargs: Any,
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def run(
        self,
        *args: Any,
        expiration: timedelta | None = None,
        version: str = "",
        **kwargs: Any,
    ) -> Coroutine[Any, Any, _R_co]: ...
    def run(
        self,
        *args: Any,
        expiration: timedelta | None = None,
        version: str = "",
        **kwargs: Any,
    ) -> Coroutine[Any, Any, Any]:
        """Call this function from a workflow, and wait for its result.

        Arguments and errors are those of `call` and of `workflow.run`. The result is decoded by
        the function's return annotation.

        Returns:
            A coroutine of the result, for `await`, `asyncio.gather`, a TaskGroup and the like.
        """
        call = self.call(*args, expiration=expiration, version=version, **kwargs)
        return run(call, self._returns)

    @cached_property
    def _returns(self) -> Any:
        """The type of the result, None if it is not known."""
        return None if self._parameters is None else returned_type(self._function)

    async def _run(self, request: RunRequest, executor: Executor) -> RunResponse:
        """Run the function, and answer how that went, whatever it does."""
        args: tuple[Any, ...] = (request,)
        kwargs: dict[str, Any] = {}
        if self._parameters is not None:
            if request.HasField("poll_result"):
                state_error = EndpointError(f"{self.name} has nothing to resume: it never polls")
                return refusal(self.name, state_error, Status.INCOMPATIBLE_STATE)
            try:
                args, kwargs = self._parameters.decode(request.input)
            except UnmarshalError as error:
                return refusal(self.name, error, Status.INVALID_ARGUMENT)
            except BaseException as error:  # noqa: BLE001 (types that decode themselves)
                return failure(self.name, error)
        result, raised = await executor.run(
            lambda: self._function(*args, **kwargs),
            describe_call(request),
            is_async=self._is_async,
        )
        return self._answer(result) if raised is None else self._failure(raised)

    def _failure(self, error: BaseException, status: Status | None = None) -> RunResponse:
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
                f"the answer of {self.name} has {size} bytes, more than the {limit} that "
                f"max_request_bytes allows"
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
    """Whether a test of functions holds for what is called in the end."""
    while isinstance(function, partial):
        function = function.func
    return test(function) or test(type(function).__call__)
