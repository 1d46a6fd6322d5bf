"""References to functions of other endpoints."""

from collections.abc import Coroutine, Iterable
from datetime import timedelta
from typing import Any, Generic, TypeVar

from dispatch_grpc.calls import new_call
from dispatch_grpc.client import DispatchID
from dispatch_grpc.endpoint.function import Host
from dispatch_grpc.schema import Call
from dispatch_grpc.workflow.operations import run

_R = TypeVar("_R")


class Remote(Generic[_R]):
    """A function of another endpoint: `Endpoint.remote` makes it.

    Attributes:
        url: URL of its endpoint.
        name: Its name.
    """

    def __init__(
        self, endpoint: Host, url: str, name: str, returns: Any, raises: Iterable[type[Exception]]
    ) -> None:
        new_call(url, name)  # checks both
        self.url: str = url
        self.name: str = name
        self._endpoint, self._returns, self._raises = endpoint, returns, tuple(raises)

    def call(
        self,
        *args: Any,
        expiration: timedelta | None = None,
        version: str = "",
        **kwargs: Any,
    ) -> Call:
        """Make a call of the function, without dispatching it.

        Args:
            args: The input, as one value; nothing for a function without input.
            expiration: Longest time that it may take; None leaves it to the service.
            version: Version of the application that the call is meant for.
            kwargs: The input as a dict of arguments, instead of one value.

        Raises:
            TypeError: There is more than one input.
            MarshalError: The input has no representation.
            InvalidCallError: The expiration or the version is invalid.
        """
        if len(args) > 1 or (args and kwargs):
            raise TypeError(
                f"{self.name}: an input is one value, or a dict by arguments with names; "
                f"got {len(args)} values{' and names' if kwargs else ''}"
            )
        input = args[0] if args else (kwargs or None)
        return new_call(self.url, self.name, input, expiration=expiration, version=version)

    def dispatch(
        self,
        *args: Any,
        expiration: timedelta | None = None,
        version: str = "",
        **kwargs: Any,
    ) -> DispatchID[_R]:
        """Dispatch a call of the function, by the endpoint's client.

        Arguments and errors are those of `call` and of `Client.dispatch`.
        """
        call = self.call(*args, expiration=expiration, version=version, **kwargs)
        return DispatchID(self._endpoint.client().dispatch(call), self._returns)

    async def dispatch_async(
        self,
        *args: Any,
        expiration: timedelta | None = None,
        version: str = "",
        **kwargs: Any,
    ) -> DispatchID[_R]:
        """Dispatch a call of the function, by the endpoint's async client.

        Arguments and errors are those of `call` and of `AsyncClient.dispatch`.
        """
        call = self.call(*args, expiration=expiration, version=version, **kwargs)
        return DispatchID(await self._endpoint.async_client().dispatch(call), self._returns)

    def run(
        self,
        *args: Any,
        expiration: timedelta | None = None,
        version: str = "",
        **kwargs: Any,
    ) -> Coroutine[Any, Any, _R]:
        """Call the function from a workflow, and wait for its result.

        Arguments and errors are those of `call` and of `workflow.run`.
        """
        call = self.call(*args, expiration=expiration, version=version, **kwargs)
        return run(call, self._returns, raises=self._raises)

    def __repr__(self) -> str:
        return f"<Remote {self.name} of {self.url}>"
