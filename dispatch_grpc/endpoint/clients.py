"""The clients that an endpoint dispatches calls with."""

import asyncio
import threading
from collections.abc import Mapping
from typing import TypeVar

from dispatch_grpc.client import AsyncClient, Client
from dispatch_grpc.endpoint.fork import renew_in_children
from dispatch_grpc.errors import ConfigurationError, EndpointError

_Client = TypeVar("_Client", Client, AsyncClient)


class Clients:
    """The client that an endpoint was given, or those that it makes when they are needed.

    Args:
        given: The client, if there is one.
        env: Variables to make others from; None for those of the process.

    Raises:
        ConfigurationError: What was given is not a client.
    """

    def __init__(self, given: Client | AsyncClient | None, env: Mapping[str, str] | None) -> None:
        if given is not None and not isinstance(given, Client | AsyncClient):
            raise ConfigurationError(
                f"client: a Client, an AsyncClient or None is required; got {type(given).__name__}"
            )
        self._given = given
        self._env = env
        self._client = given if isinstance(given, Client) else None
        self._reset()
        renew_in_children(self._reset)

    def _reset(self) -> None:
        """Start without async clients: a forked child has none of its parent's event loops."""
        self._lock = threading.Lock()
        self._async_clients: dict[asyncio.AbstractEventLoop, AsyncClient] = {}

    def client(self) -> Client:
        """See `Endpoint.client`."""
        if isinstance(self._given, AsyncClient):
            raise EndpointError(
                "the endpoint was given an AsyncClient: await dispatch_async(), or make the call "
                "with call() and dispatch it with a Client of your own"
            )
        with self._lock:
            if self._client is None:
                self._client = self._make(Client)
            return self._client

    def async_client(self) -> AsyncClient:
        """See `Endpoint.async_client`."""
        if isinstance(self._given, AsyncClient):
            return self._given
        if self._given is not None:
            raise EndpointError(
                "the endpoint was given a Client, which would block the event loop: use "
                "dispatch(), or make the call with call() and dispatch it with an AsyncClient of "
                "your own"
            )
        loop = asyncio.get_running_loop()
        with self._lock:
            client = self._async_clients.get(loop)
            if client is None:
                client = self._make(AsyncClient)
                for past in [loop for loop in self._async_clients if loop.is_closed()]:
                    del self._async_clients[past]
                self._async_clients[loop] = client
            return client

    def _make(self, cls: type[_Client]) -> _Client:
        try:
            return cls(env=self._env)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"the endpoint's client: {error} (or make it yourself and pass it to the "
                f"Endpoint as client=)"
            ) from error
